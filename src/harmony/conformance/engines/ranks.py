"""Level ranks: functions and commands on MPI ranks, which are tasks like others."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

from harmony.conformance.engines import processes, work
from harmony.conformance.engines.driver import Driver
from harmony.conformance.engines.gates import Gate, News
from harmony.conformance.engines.subject import EngineTests
from harmony.core.engine import Capability
from harmony.core.mpi import find_launcher
from harmony.core.task import Command, TaskState
from harmony.errors import CommandError, WalltimeExceeded, WorkerLost
from harmony.resources import Resources

TWO = Resources(process_count=2)


@pytest.mark.mpi
class Ranks(EngineTests):
    """Tests of ranks, each task on two of one core."""

    level = "ranks"

    @pytest.fixture
    def ranker(self, driver: Driver) -> Driver:
        """An engine that runs two ranks."""
        driver.needs(Capability.RANKS)
        capacity = driver.engine.capacity
        if capacity.cores is not None and capacity.cores < TWO.cores:
            pytest.skip(f"its capacity is {capacity.cores} cores for one task, and {TWO.cores} are needed")
        if importlib.util.find_spec("mpi4py") is None:
            pytest.skip("mpi4py is not installed")
        if find_launcher() is None:
            pytest.skip("there is no MPI launcher, such as mpiexec")
        return driver

    def test_results_and_prints_come_in_the_order_of_the_ranks(self, ranker: Driver) -> None:
        ranker.needs(Capability.CALLS)
        end = ranker.run(ranker.call(work.on_each_rank, 10, resources=TWO))
        assert end.error is None
        assert end.result == [(2, 0, 21), (2, 1, 21)]
        assert end.stdout == "rank 0\nrank 1\n"

    def test_one_rank_is_a_rank(self, ranker: Driver) -> None:
        ranker.needs(Capability.CALLS)
        assert ranker.result(ranker.call(work.on_each_rank, 10, resources=Resources(process_count=1))) == [(1, 0, 10)]

    def test_a_command_runs_on_each_rank(self, ranker: Driver) -> None:
        ranker.needs(Capability.COMMANDS)
        program = "import sys; from mpi4py import MPI; sys.stdout.write(f'{MPI.COMM_WORLD.size} {sys.argv[1:]}\\n')"
        command = Command((sys.executable, "-c", program, "a b", "--bind-to", ":"))
        result = ranker.result(ranker.task(command, resources=TWO))
        assert result.stdout.splitlines() == ["2 ['a b', '--bind-to', ':']"] * 2

    def test_an_environment_and_a_directory_of_ranks(self, ranker: Driver, tmp_path: Path) -> None:
        ranker.needs(Capability.CALLS, Capability.ENVIRONMENT, Capability.DIRECTORY)
        environment = (("HARMONY_TEST_A", "a b"),)
        asked = ranker.call(
            work.where_on_rank, "HARMONY_TEST_A", resources=TWO, environment=environment, directory=str(tmp_path)
        )
        assert ranker.result(asked) == [(rank, "a b", str(tmp_path)) for rank in range(2)]

    def test_one_rank_that_raises_ends_those_that_wait_for_it(self, ranker: Driver) -> None:
        ranker.needs(Capability.CALLS)
        error = ranker.error(ranker.call(work.fail_on_rank, 1, resources=TWO))
        assert (type(error), str(error)) == (LookupError, "on rank 1")
        assert "on rank 1 of 2:" in str(error.__cause__)
        assert "in fail_on_rank" in str(error.__cause__)

    def test_a_rank_that_dies_is_lost_and_the_others_do_not_wait_for_it(self, ranker: Driver) -> None:
        ranker.needs(Capability.CALLS)
        assert isinstance(ranker.error(ranker.call(work.die_on_rank, 1, resources=TWO)), WorkerLost)

    def test_a_command_that_fails_on_ranks(self, ranker: Driver) -> None:
        ranker.needs(Capability.COMMANDS)
        error = ranker.error(ranker.task(Command("echo the reason >&2; exit 7"), resources=TWO))
        assert isinstance(error, CommandError)
        assert error.exit_code == 7
        assert "the reason" in error.stderr

    def test_a_walltime_ends_all_ranks(self, ranker: Driver, gate: Gate, news: News) -> None:
        ranker.needs(Capability.CALLS, Capability.WALLTIME)
        asked = ranker.call(work.hold_ranks, gate.path, news.path, resources=TWO, walltime=3.0)
        ranker.submit(asked)
        assert isinstance(ranker.end_of(asked).error, WalltimeExceeded)
        for process in news.numbers(2):
            processes.wait_gone(process, ranker.patience)

    def test_cancelling_ends_all_ranks(self, ranker: Driver, gate: Gate, news: News) -> None:
        ranker.needs(Capability.CALLS, Capability.CANCEL_RUNNING)
        asked = ranker.call(work.hold_ranks, gate.path, news.path, resources=TWO)
        ranker.submit(asked)
        found = news.numbers(2)
        ranker.cancel(asked)
        assert ranker.end_of(asked).state is TaskState.CANCELLED
        for process in found:
            processes.wait_gone(process, ranker.patience)

    def test_each_rank_has_gpus_of_its_own(self, ranker: Driver) -> None:
        ranker.needs(Capability.CALLS, Capability.GPUS)
        if (ranker.engine.capacity.gpus or 0) < 2:
            pytest.skip(f"its capacity is {ranker.engine.capacity.gpus} GPUs, and 2 are needed")
        asked = Resources(process_count=2, gpu_cores_per_process=1)
        seen = ranker.result(ranker.call(work.gpus_on_rank, resources=asked))
        assert sorted(rank for rank, _ in seen) == [0, 1]
        assert len({gpus for _, gpus in seen}) == 2
