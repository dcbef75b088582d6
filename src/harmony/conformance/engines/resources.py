"""Level resources: what is not there is refused, what is there is never given twice, and time limits hold."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from harmony.conformance.engines import processes, work
from harmony.conformance.engines.driver import Driver
from harmony.conformance.engines.gates import Gate, News, lines
from harmony.conformance.engines.subject import EngineTests
from harmony.core.engine import Capability
from harmony.core.place import place
from harmony.core.task import Call, Command, Options, Task
from harmony.engines.inline import InlineEngine
from harmony.errors import ResourceError, WalltimeExceeded
from harmony.resources import Resources


class Refusals(EngineTests):
    """Tests that more than there is, is refused at once, by the engine's name, and that others are still asked."""

    level = "resources"

    def refusal(self, driver: Driver, **options: Any) -> str:
        """The words in which a task is refused, which name the engine."""
        with pytest.raises(ResourceError) as refused:
            place(self.asking(driver, **options), {"it": driver.engine})
        assert "engine 'it'" in str(refused.value)
        assert "task seven" in str(refused.value)
        return str(refused.value)

    def asking(self, driver: Driver, **options: Any) -> Task:
        """A task that asks for these."""
        call = Capability.CALLS in driver.can
        return Task(Call(work.square, (1,)) if call else Command(("true",)), "task seven", Options(**options))

    def test_more_cores_than_there_are_are_refused(self, driver: Driver) -> None:
        cores = driver.engine.capacity.cores
        if cores is None:
            pytest.skip("its capacity says no number of cores")
        asked = Resources(cpu_cores_per_process=cores + 1)
        said = self.refusal(driver, resources=asked)
        assert f"{cores + 1} cores" in said
        assert f"at most {cores} cores" in said
        engines = {"it": driver.engine, "other": InlineEngine()}
        assert "it" not in place(self.asking(driver, resources=asked), engines), "who has enough is asked instead"

    def test_more_gpus_than_there_are_are_refused(self, driver: Driver) -> None:
        gpus = driver.engine.capacity.gpus
        if Capability.GPUS not in driver.can:
            said = self.refusal(driver, resources=Resources(gpu_cores_per_process=1))
            assert "no support for GPUs" in said
        elif gpus is None:
            pytest.skip("its capacity says no number of GPUs")
        else:
            said = self.refusal(driver, resources=Resources(gpu_cores_per_process=gpus + 1))
            assert f"{gpus} GPUs" in said
        assert "1 GPU" in said or f"{(gpus or 0) + 1} GPUs" in said

    def test_more_memory_than_there_is_is_refused(self, driver: Driver) -> None:
        memory = driver.engine.capacity.memory
        if Capability.MEMORY not in driver.can:
            assert "no support for memory limits" in self.refusal(driver, resources=Resources(memory=1))
        elif memory is None:
            pytest.skip("its capacity says no amount of memory")
        else:
            assert "memory" in self.refusal(driver, resources=Resources(memory=memory + 1))

    def test_more_time_than_there_is_is_refused(self, driver: Driver) -> None:
        walltime = driver.engine.capacity.walltime
        if Capability.WALLTIME not in driver.can:
            assert "no support for walltimes" in self.refusal(driver, walltime=1.0)
        elif walltime is None:
            pytest.skip("its capacity says no walltime")
        else:
            assert f"{walltime:g} s" in self.refusal(driver, walltime=walltime + 1)

    def test_more_nodes_than_there_are_are_refused(self, driver: Driver) -> None:
        nodes = driver.engine.capacity.nodes
        if Capability.MULTI_NODE not in driver.can:
            said = self.refusal(driver, resources=Resources(node_count=2))
            assert "no support for several nodes" in said
        elif nodes is None:
            pytest.skip("its capacity says no number of nodes")
        else:
            assert f"{nodes + 1} nodes" in self.refusal(driver, resources=Resources(node_count=nodes + 1))

    def test_ranks_are_refused_where_there_are_none(self, driver: Driver) -> None:
        driver.lacks(Capability.RANKS)
        assert "no support for MPI ranks" in self.refusal(driver, resources=Resources(process_count=1))


class Sharing(EngineTests):
    """Tests of tasks side by side: as many as there is room for, and never more."""

    level = "resources"

    @pytest.fixture
    def sharer(self, driver: Driver) -> Driver:
        """An engine that runs functions and knows how many at once."""
        driver.needs(Capability.CALLS)
        driver.needs_cores()
        return driver

    def test_as_many_at_once_as_there_are_cores(self, sharer: Driver, gate: Gate, news: News) -> None:
        sharer.needs_to_run_elsewhere()
        cores = sharer.needs_cores(2)
        batch = [sharer.call(work.hold, gate.path, news.path, number) for number in range(cores)]
        sharer.submit(*batch)
        news.hear(cores)
        gate.open()
        assert [end.result for end in sharer.ends_of(batch)] == list(range(cores))

    @pytest.mark.parametrize("ask", ["one", "all", "some of each"])
    def test_no_more_at_once_than_there_are_cores(self, sharer: Driver, tmp_path: Path, ask: str) -> None:
        log = tmp_path / "log"
        share, shares = sharer.engine.capacity.cores, sharer.engine.capacity.workers
        assert share is not None
        assert shares is not None
        asked = {"one": [1], "all": [share], "some of each": [1, share]}[ask]
        sizes = [asked[number % len(asked)] for number in range(max(40, 8 * share * shares))]
        batch = [
            sharer.call(work.enter_and_leave, str(log), size, resources=Resources(cpu_cores_per_process=size))
            for size in sizes
        ]
        sharer.submit(*batch)
        assert [end.error for end in sharer.ends_of(batch)] == [None] * len(batch)
        assert len(lines(log)) == 2 * len(sizes)
        assert most_at_once(lines(log)) <= share * shares

    def test_no_gpu_is_given_twice(self, sharer: Driver, gate: Gate, news: News) -> None:
        sharer.needs(Capability.GPUS)
        gpus = sharer.engine.capacity.gpus or 0
        cores = sharer.needs_cores(2)
        if gpus < 2:
            pytest.skip(f"its capacity is {gpus} GPUs, and 2 are needed")
        count = min(gpus * (sharer.engine.capacity.workers or 1), cores)
        asked = Resources(gpu_cores_per_process=1)
        batch = [sharer.call(work.hold_gpus, gate.path, news.path, resources=asked) for _ in range(count + 2)]
        sharer.submit(*batch)
        seen = news.hear(count)
        assert len(set(seen)) == count
        assert all(len(ids.split(",")) == 1 and ids for ids in seen)
        gate.open()
        sharer.ends_of(batch)

    def test_memory_is_not_given_twice(self, sharer: Driver, tmp_path: Path) -> None:
        sharer.needs(Capability.MEMORY)
        memory = sharer.engine.capacity.memory
        if memory is None or sharer.engine.capacity.workers != 1:
            pytest.skip("its capacity says no amount of memory that tasks share")
        log = tmp_path / "log"
        asked = Resources(memory=memory * 2 // 3)
        batch = [sharer.call(work.enter_and_leave, str(log), 1, resources=asked) for _ in range(8)]
        sharer.submit(*batch)
        sharer.ends_of(batch)
        assert lines(log) == ["in 1", "out 1"] * 8


def most_at_once(log: list[str]) -> int:
    """The most cores that were in use at once, by the log of `work.enter_and_leave`."""
    used = most = 0
    for line in log:
        way, cores = line.split()
        used += int(cores) if way == "in" else -int(cores)
        most = max(most, used)
    return most


class Walltimes(EngineTests):
    """Tests of time limits."""

    level = "resources"

    def test_a_walltime_of_a_function(self, driver: Driver, gate: Gate) -> None:
        driver.needs(Capability.CALLS, Capability.WALLTIME)
        error = driver.error(driver.call(work.pass_gate, gate.path, walltime=0.1))
        assert isinstance(error, WalltimeExceeded)
        assert "0.1 s" in str(error)
        assert driver.result(driver.call(work.square, 3, walltime=600.0)) == 9

    def test_a_walltime_of_a_function_that_takes_no_notice(self, driver: Driver) -> None:
        driver.needs(Capability.CALLS, Capability.WALLTIME)
        assert isinstance(driver.error(driver.call(work.ignore_all, walltime=0.2)), WalltimeExceeded)

    def test_a_walltime_of_one_costs_its_neighbours_nothing(self, driver: Driver, gate: Gate) -> None:
        driver.needs(Capability.CALLS, Capability.WALLTIME)
        late = driver.call(work.pass_gate, gate.path, walltime=0.1)
        others = [driver.call(work.square, number) for number in range(20)]
        driver.submit(*others[:10], late, *others[10:])
        assert isinstance(driver.end_of(late).error, WalltimeExceeded)
        assert [end.result for end in driver.ends_of(others)] == [number * number for number in range(20)]

    def test_a_walltime_of_a_command(self, driver: Driver, news: News) -> None:
        driver.needs(Capability.COMMANDS, Capability.WALLTIME)
        asked = driver.task(Command(f"sleep 600 & echo $! > {news.path}; wait"), walltime=0.3)
        assert isinstance(driver.error(asked), WalltimeExceeded)
        (grandchild,) = news.numbers()
        processes.wait_gone(grandchild, driver.patience)

    def test_a_walltime_that_is_not_used_up(self, driver: Driver) -> None:
        driver.needs(Capability.CALLS, Capability.WALLTIME)
        longest = driver.engine.capacity.walltime or math.inf
        for walltime in (60.0, 1e6):
            assert driver.result(driver.call(work.square, 3, walltime=min(walltime, longest / 2))) == 9
