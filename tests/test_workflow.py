"""Workflow: what a program's author holds. Its life, its settings, its tasks on each engine, and its report."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.core import functions
from tests.core.fake_engine import FakeEngine
from tests.core.gate import PATIENCE, Gate, pass_through

import harmony
from harmony import (
    Call,
    Command,
    ConfigError,
    CycleError,
    DependencyError,
    EngineFailed,
    File,
    NoWorkflowError,
    Options,
    Task,
    TaskFuture,
    Workflow,
    WorkflowClosedError,
    task,
)
from harmony.core.report import Counts, Failure, Report


@pytest.fixture(params=["inline", "threads", "local"])
def wf(request: pytest.FixtureRequest) -> Iterator[Workflow]:
    with Workflow("test", engine=request.param, workers=2) as made:
        yield made


@pytest.fixture(params=["threads", "local"])
def parallel(request: pytest.FixtureRequest) -> Iterator[Workflow]:
    """Over the engines that do not run work in the caller."""
    with Workflow("test", engine=request.param, workers=2) as made:
        yield made


@pytest.fixture
def gate() -> Iterator[Gate]:
    with Gate() as made:
        yield made


@task
def squared(number: int) -> int:
    return number * number


# -- tasks --------------------------------------------------------------------------------------------


def test_submit(wf: Workflow) -> None:
    plain, decorated = wf.submit(functions.square, 3), wf.submit(squared, 4)
    assert isinstance(plain, TaskFuture)
    assert (plain.result(PATIENCE), decorated.result(PATIENCE)) == (9, 16)
    assert (plain.name, decorated.name) == ("square", "squared")
    assert wf.submit(functions.echo, 1, fn=2, self=3).result(PATIENCE) == ((1,), {"fn": 2, "self": 3})


def test_submit_what_cannot_be_called(wf: Workflow) -> None:
    not_a_function: Any = 5
    with pytest.raises(ConfigError, match=r"submit\(\) takes a function and its arguments; 5 cannot be called"):
        wf.submit(not_a_function)


def test_map_and_gather(wf: Workflow) -> None:
    futures = wf.map(functions.add, range(100), [1] * 50)
    assert len(futures) == 50
    assert wf.gather({"all": futures, "first": (futures[0],)}) == {"all": list(range(1, 51)), "first": (1,)}
    assert harmony.gather([futures[1]]) == [2]


def test_gather_raises_the_first_error_met(wf: Workflow) -> None:
    futures = [wf.submit(functions.fail_on, number, 3) for number in range(5)]
    with pytest.raises(ValueError, match="3 is bad"):
        wf.gather(futures)


def test_a_diamond(wf: Workflow) -> None:
    top = wf.submit(functions.square, 2)
    left, right = wf.submit(functions.add, top, 1), wf.submit(functions.add, top, 2)
    assert wf.submit(functions.add, left, right).result(PATIENCE) == 11


def test_wait_and_as_completed(wf: Workflow) -> None:
    futures = wf.map(functions.square, range(20))
    assert {ended.result() for ended in wf.as_completed(futures, PATIENCE)} == {n * n for n in range(20)}
    waited = wf.wait(futures, PATIENCE)
    assert not isinstance(waited, bool)
    assert waited.done == set(futures)
    assert wf.wait() is True
    assert harmony.wait(futures, 0).not_done == set()


def test_wait_for_all_times_out(parallel: Workflow, gate: Gate) -> None:
    held = parallel.submit(pass_through, gate.port)
    gate.arrival()
    assert parallel.wait(timeout=0) is False
    gate.open()
    assert parallel.wait(timeout=PATIENCE) is True
    assert held.done()


def test_ten_thousand_cancelled_at_once(parallel: Workflow, gate: Gate) -> None:
    held = [parallel.submit(pass_through, gate.port, name) for name in ("a", "b")]
    gate.arrival()
    gate.arrival()
    futures = parallel.map(functions.square, range(10_000))
    assert all(future.cancel() for future in futures)
    gate.open()
    assert parallel.wait(timeout=PATIENCE)
    assert [future.exception(0) for future in held] == [None, None]
    assert (parallel.counts.cancelled, parallel.counts.done) == (10_000, 2)


def test_a_failure_and_who_waited_for_it(wf: Workflow) -> None:
    bad = wf.submit(functions.fail, "the root")
    heir = wf.submit(functions.square, bad)
    assert isinstance(bad.exception(PATIENCE), ValueError)
    error = heir.exception(PATIENCE)
    assert isinstance(error, DependencyError)
    assert isinstance(error.__cause__, ValueError)
    assert "fail (task 1) failed with ValueError: the root" in str(error)


def test_commands_and_files(wf: Workflow, tmp_path: Path) -> None:
    first, second = File(tmp_path / "first"), File(tmp_path / "second")
    reader = Task(Call(Path.read_text, (second,)), "read")
    writer = Task(Command(("touch", first)), "touch", outputs=(first,))  # type: ignore[arg-type]
    middle = Task(Command(f"echo from $(basename {first}) > {second}"), "echo", inputs=(first,), outputs=(second,))
    futures = wf.submit_tasks([reader, middle, writer])
    assert [future.name for future in futures] == ["read", "echo", "touch"]
    assert futures[0].result(PATIENCE) == "from first\n"


def test_tasks_that_wait_for_each_other_are_refused_together(wf: Workflow) -> None:
    files = {"x": ("a", "b"), "y": ("b", "a"), "z": ("nothing", "c")}
    tasks = [
        Task(Command("true"), name, inputs=(File(reads),), outputs=(File(writes),))
        for name, (reads, writes) in files.items()
    ]
    with pytest.raises(CycleError, match="x writes b, which y reads"):
        wf.submit_tasks(tasks)
    assert wf.counts.total == 0


def test_tasks_of_which_one_is_refused_are_refused_together(wf: Workflow) -> None:
    good = Task(Call(functions.square, (3,)))
    bad = Task(Call(functions.square, (4,)), "bad", Options(engine="elsewhere"))
    with pytest.raises(ConfigError, match="bad asks for engine 'elsewhere'"):
        wf.submit_tasks([good, bad])
    assert wf.counts.total == 0


def test_from_other_threads(parallel: Workflow) -> None:
    futures: list[TaskFuture[int]] = []
    threads = [threading.Thread(target=lambda: futures.extend(parallel.map(squared, range(100)))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert sum(future.result(PATIENCE) for future in futures) == 4 * sum(n * n for n in range(100))
    assert len({future.id for future in futures}) == 400


def test_prints_are_shown(wf: Workflow, capsys: pytest.CaptureFixture[str]) -> None:
    future = wf.submit(functions.say, "hello from a task")
    future.result(PATIENCE)
    wf.close()
    assert capsys.readouterr().out == "hello from a task\n"


def test_a_callback_may_go_on_though_the_block_is_left() -> None:
    done: list[int] = []
    with Workflow(engine="threads", workers=2) as wf:

        def go_on(future: Any) -> None:
            done.append(future.result())
            if len(done) < 50:
                wf.submit(functions.add, len(done)).add_done_callback(go_on)

        wf.submit(functions.add, 0).add_done_callback(go_on)
    assert done == list(range(50))


# -- life ---------------------------------------------------------------------------------------------


def test_leaving_the_block_waits_for_all_tasks(wf: Workflow) -> None:
    futures = wf.map(functions.square, range(50))
    wf.__exit__(None, None, None)
    assert [future.result(0) for future in futures] == [n * n for n in range(50)]


@pytest.mark.parametrize("error", [ValueError("in the block"), KeyboardInterrupt()])
def test_leaving_the_block_by_an_exception_cancels(gate: Gate, error: BaseException) -> None:
    futures: list[TaskFuture[Any]] = []

    def program() -> None:
        with Workflow(engine="local", workers=2) as wf:
            futures.extend(wf.submit(pass_through, gate.port, str(name)) for name in range(10))
            gate.arrival()
            raise error

    with pytest.raises(type(error)):
        program()
    assert all(future.cancelled() for future in futures)


def test_a_workflow_is_used_once(wf: Workflow) -> None:
    wf.close()
    wf.close()
    with pytest.raises(WorkflowClosedError, match="workflow 'test' was started before; make a new Workflow"):
        wf.start()
    with pytest.raises(WorkflowClosedError, match="workflow 'test' is closed; square was not accepted"):
        wf.submit(functions.square, 1)
    assert wf.wait() is True


def test_before_it_is_started() -> None:
    wf = Workflow("early", engine="threads")
    with pytest.raises(WorkflowClosedError, match="workflow 'early' is not started; square was not accepted"):
        wf.submit(functions.square, 1)
    with pytest.raises(RuntimeError):
        wf.executor().submit(functions.square, 1)


def test_the_inner_workflow_gets_the_calls() -> None:
    with Workflow("outer", engine="inline") as outer:
        squared(1)
        with Workflow("inner", engine="inline") as inner:
            squared(2)
            squared(3)
        squared(4)
    assert (outer.counts.total, inner.counts.total) == (2, 2)
    with pytest.raises(NoWorkflowError):
        squared(5)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2)])
def test_workflows_may_close_in_any_order(order: tuple[int, ...]) -> None:
    started = [Workflow(f"w{index}", engine="inline").start() for index in range(3)]
    open_ones = list(started)
    for index in order:
        squared(2)
        assert open_ones[-1].counts.total > 0, "the latest that is open gets the call"
        started[index].close()
        open_ones.remove(started[index])
    with pytest.raises(NoWorkflowError):
        squared(2)


def test_two_workflows_at_once_feed_each_other() -> None:
    with Workflow("a", engine="threads", workers=2) as a, Workflow("b", engine="local", workers=1) as b:
        future: TaskFuture[Any] = a.submit(functions.add, 0, 1)
        for _ in range(10):
            future = b.submit(functions.add, future, 1)
            future = a.submit(functions.add, future, 1)
        assert future.result(PATIENCE) == 21
        failed = b.submit(functions.square, a.submit(functions.fail))
        assert isinstance(failed.exception(PATIENCE), DependencyError)


def test_a_thread_of_its_own_needs_its_own_door(wf: Workflow) -> None:
    seen: list[BaseException] = []

    def elsewhere() -> None:
        try:
            squared(3)
        except NoWorkflowError as error:
            seen.append(error)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join(PATIENCE)
    assert "use wf.submit(squared, ...) from other threads" in str(seen[0])


def test_inside_a_running_event_loop() -> None:
    async def program() -> list[int]:
        with Workflow(engine="threads", workers=2):
            return [await squared(number) for number in range(5)]

    assert asyncio.run(program()) == [0, 1, 4, 9, 16]


def test_an_engine_that_cannot_start() -> None:
    good, bad = FakeEngine(), FakeEngine()
    bad.start_error = EngineFailed("no licence")
    with pytest.raises(EngineFailed, match="no licence"), Workflow(engines={"good": good, "bad": bad}):
        raise AssertionError("the block must not be entered")
    assert good.calls == ["start", "close"]
    with pytest.raises(NoWorkflowError):
        squared(1)


# -- the report ---------------------------------------------------------------------------------------


def test_a_report() -> None:
    engine = FakeEngine()
    with Workflow("campaign", engine=engine) as wf:
        first = wf.submit(functions.square, 1)
        wf.submit(functions.square, first)
        engine.done(engine.take(), seconds=2.0)
        engine.done(engine.take(), seconds=3.0)
        wf.wait()
        report = wf.report()
    assert (report.name, report.work, report.critical_path, report.ok) == ("campaign", 5.0, 5.0, True)
    assert report.counts == Counts(done=2)
    assert wf.report().wall >= report.wall > 0
    assert wf.report().wall == wf.report().wall, "once it is closed the clock stands"


def test_efficiency() -> None:
    def report(**numbers: float) -> Report:
        return Report(**{"name": "r", "counts": Counts(), "wall": 10.0, "work": 0.0, "critical_path": 0.0,
                         "cores": 4, **numbers})  # type: ignore[arg-type]  # fmt: skip

    assert report(work=20.0).ideal == 5.0
    assert report(work=20.0).efficiency == 0.5
    assert report(critical_path=8.0, work=20.0).efficiency == 0.8
    assert report(wall=0.0).efficiency == 0.0
    assert report(work=1e9).efficiency == 1.0


def test_failures_are_told_at_the_end(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "harmony"), Workflow("campaign", engine="threads", workers=1) as wf:
        bad = [wf.submit(functions.fail, "first line\nsecond line") for _ in range(3)]
        wf.submit(functions.square, bad[0])
        wf.submit(functions.square, 3)
    (record,) = caplog.records
    assert record.getMessage() == ("workflow 'campaign': 4 of 5 tasks failed: 3 × ValueError: first line (first: fail)")
    report = wf.report()
    assert not report.ok
    assert report.failures == (Failure(count=3, task="fail", error="ValueError: first line\nsecond line"),)


def test_repr(wf: Workflow) -> None:
    assert repr(wf).startswith("<Workflow 'test' on ")
    wf.submit(functions.square, 3).result(PATIENCE)
    wf.close()
    assert repr(wf).endswith("closed: 1 of 1 tasks ended, 0 failed>")
