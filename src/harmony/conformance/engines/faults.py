"""Level faults: workers, the engine's own processes and drivers that are killed. Nothing hangs, nothing is left."""

from __future__ import annotations

import os
import re
import signal
import socket
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from harmony import Workflow
from harmony.conformance.engines import processes, work
from harmony.conformance.engines.driver import Driver
from harmony.conformance.engines.gates import Gate, News
from harmony.conformance.engines.processes import Program
from harmony.conformance.engines.subject import EngineTests, Start, Subject
from harmony.core.engine import Capability
from harmony.core.task import TaskState
from harmony.errors import EngineError, WorkerLost


class Workers(EngineTests):
    """Tests of workers that die: it costs the task they ran, and nothing else."""

    level = "faults"

    @pytest.fixture
    def doomed(self, fresh: Callable[[], Driver]) -> Driver:
        """An engine whose workers are other processes."""
        driver = fresh()
        driver.needs(Capability.CALLS)
        driver.needs_processes()
        return driver

    def test_a_task_that_kills_its_worker(self, doomed: Driver) -> None:
        others = [doomed.call(work.square, number) for number in range(40)]
        fatal = doomed.call(work.kill_myself, (os.getpid(),))
        doomed.submit(*others[:20], fatal, *others[20:])
        end = doomed.end_of(fatal)
        assert end.state is TaskState.FAILED
        assert isinstance(end.error, WorkerLost)
        for number, other in enumerate(doomed.ends_of(others)):
            assert other.result == number * number or isinstance(other.error, WorkerLost)  # it was in the same worker
        assert doomed.result(doomed.call(work.square, 7)) == 49

    def test_in_a_workflow_it_is_tried_again(self, doomed: Driver, subject: Subject, tmp_path: Path) -> None:
        doomed.close()  # what has been lost is to be known by its number, which only a workflow of its own gives it
        with Workflow(engine=subject.make(), show_prints=False, store=False) as workflow:
            others = workflow.map(work.square, range(40))
            once = workflow.submit(work.kill_once, str(tmp_path / "marker"), 5)
            always = workflow.submit(work.kill_myself, (os.getpid(),))
            more = workflow.map(work.square, range(40))
            assert once.result(doomed.patience) == 5
            assert isinstance(always.exception(doomed.patience), WorkerLost)
            assert [future.result(doomed.patience) for future in others + more] == 2 * [n * n for n in range(40)]

    def test_a_worker_that_is_killed_from_outside(self, doomed: Driver, gate: Gate, news: News) -> None:
        held = doomed.call(work.hold_from, gate.path, news.path, "x")
        doomed.submit(held)
        host, process, _ = news.hear()[0].split()
        if host != socket.gethostname():
            pytest.skip("its workers are on another machine")
        os.kill(int(process), signal.SIGKILL)
        end = doomed.end_of(held)
        assert isinstance(end.error, WorkerLost)
        assert doomed.result(doomed.call(work.square, 7)) == 49

    def test_every_worker_is_killed_again_and_again(self, doomed: Driver, gate: Gate, news: News) -> None:
        for _ in range(3):
            held = doomed.call(work.hold_from, gate.path, news.path, "x")
            doomed.submit(held)
            host, process, _ = news.hear()[0].split()
            if host != socket.gethostname():
                pytest.skip("its workers are on another machine")
            os.kill(int(process), signal.SIGKILL)
            assert isinstance(doomed.end_of(held).error, WorkerLost)
        batch = [doomed.call(work.square, number) for number in range(20)]
        doomed.submit(*batch)
        assert [end.result for end in doomed.ends_of(batch)] == [number * number for number in range(20)]


class Services(EngineTests):
    """Tests of engines whose own processes are killed, in a driver of its own."""

    level = "faults"

    @pytest.fixture
    def processes_of_its_own(self, subject: Subject) -> None:
        """Skip the test if the engine has none."""
        without(subject, Capability.IN_CALLER, Capability.SHARED_MEMORY)

    @pytest.mark.usefixtures("processes_of_its_own")
    def test_all_its_processes_are_killed(self, start: Start, gate: Gate, news: News, subject: Subject) -> None:
        with start("lose processes", gate.path, news.path) as program:
            news.hear(int(program.line()))
            kill(program.started())
            gate.open()
            self.ends_well(program, subject)

    @pytest.mark.usefixtures("processes_of_its_own")
    def test_each_kind_of_its_processes_is_killed(self, start: Start, tmp_path: Path, subject: Subject) -> None:
        killed: set[str] = set()
        for gate, news in barriers(tmp_path, subject.patience):
            with start("lose processes", gate.path, news.path) as program:
                news.hear(int(program.line()))
                kinds = {kind_of(process): process for process in program.started()}
                left = sorted(kinds.keys() - killed - {""})
                if left:
                    killed.add(left[0])
                    kill([kinds[left[0]]])
                gate.open()
                self.ends_well(program, subject)
                if len(left) <= 1:
                    return

    def ends_well(self, program: Program, subject: Subject) -> None:
        """Every task ends, done or by an error that is the engine's; and so do the program and all of its processes."""
        program.go_on()
        ends = list(iter(program.line, "closed"))
        assert len(ends) >= 2
        for end in ends:
            state, *names = end.split()
            assert state == "DONE" or (state == "FAILED" and {EngineError.__name__, "CommandError"} & set(names)), end
        assert program.wait() == 0
        processes.wait_unmarked(program.mark, subject.patience)


class Drivers(EngineTests):
    """Tests of programs that end without closing the engine: no process is left."""

    level = "faults"

    def test_the_driver_is_killed(self, start: Start, gate: Gate, news: News, subject: Subject) -> None:
        without(subject, Capability.REATTACH, Capability.IN_CALLER)
        with start("be killed", gate.path, news.path) as program:
            news.hear(int(program.line()))
            program.kill()
            processes.wait_unmarked(program.mark, subject.patience)

    def test_a_close_with_a_thousand_that_wait(self, fresh: Callable[[], Driver], gate: Gate, news: News) -> None:
        driver = fresh()
        driver.needs(Capability.CALLS)
        driver.needs_to_run_elsewhere()
        driver.submit(*[driver.call(work.hold, gate.path, news.path) for _ in range(1_000)])
        news.hear()
        if Capability.CANCEL_RUNNING not in driver.can:
            gate.open()
        driver.close()

    @pytest.mark.parametrize(("how", "status"), [("end", 0), ("exit", 3), ("error", 1), ("bare", 0)])
    def test_the_program_ends_without_closing(
        self, start: Start, gate: Gate, news: News, subject: Subject, how: str, status: int
    ) -> None:
        without(subject, Capability.REATTACH)
        with start("go without closing", gate.path, news.path, how) as program:
            news.hear(int(program.line()))
            program.go_on()
            if Capability.CANCEL_RUNNING not in subject.make().capabilities:
                gate.open()
            assert program.wait() == status
            processes.wait_unmarked(program.mark, subject.patience)


def without(subject: Subject, *capabilities: Capability) -> None:
    """Skip the test if the engine declares one of these."""
    declared = subject.make().capabilities
    for capability in capabilities:
        if capability in declared:
            pytest.skip(f"it declares {capability.value}")


def barriers(folder: Path, patience: float) -> Iterator[tuple[Gate, News]]:
    """A new gate and its news each time."""
    for number in range(20):
        gate, news = Gate(folder / f"gate-{number}"), News(folder / f"news-{number}", patience)
        try:
            yield gate, news
        finally:
            gate.open()
            news.close()


def kind_of(process: int) -> str:
    """What a process is for, by the words of its command line that are the same each time."""
    words = processes.command_line(process).split()[:6]
    return " ".join(word for word in map(os.path.basename, words) if word and not re.search(r"\d", word[2:]))


def kill(found: Iterable[int]) -> None:
    """Kill these processes, as far as they are still there."""
    for process in found:
        try:
            os.kill(process, signal.SIGKILL)
        except ProcessLookupError:
            continue
