"""Kernel without threads: with an engine that runs in the caller, the loop turns inside submit."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

import pytest
from tests.core import functions
from tests.core.gate import PATIENCE

from harmony import DependencyError, Retry, TaskFuture, TaskState, Workflow, WorkflowClosedError, join, task


@pytest.fixture
def wf() -> Iterator[Workflow]:
    with Workflow("test", engine="inline") as made:
        yield made


def test_a_task_has_ended_when_submit_returns(wf: Workflow) -> None:
    future = wf.submit(functions.square, 3)
    assert future.done()
    assert (future.state, future.place) == (TaskState.DONE, "caller")
    assert wf.submit(threading.get_ident).result(0) == threading.get_ident()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("harmony")]


def test_a_task_may_submit_and_wait(wf: Workflow) -> None:
    def outer(depth: int) -> int:
        return depth if depth == 0 else 1 + wf.submit(outer, depth - 1).result(0)

    assert wf.submit(outer, 10).result(0) == 10


def test_a_task_may_wait_for_what_was_ready_beside_it(wf: Workflow) -> None:
    futures: list[TaskFuture[int]] = []

    def first(number: int) -> int:
        return number + futures[1].result(PATIENCE)

    def started(number: int) -> int:
        futures.extend(wf.map(functions.square, [number, number + 1]))
        return first(number)

    assert wf.submit(started, 2).result(0) == 2 + 9


def test_tasks_that_become_ready_together(wf: Workflow) -> None:
    gate: Future[int] = Future()
    futures = [wf.submit(functions.add, gate, number) for number in range(50)]
    assert not any(future.done() for future in futures)
    gate.set_result(1)
    assert [future.result(0) for future in futures] == [number + 1 for number in range(50)]


def test_callbacks_run_in_the_caller(wf: Workflow) -> None:
    gate: Future[int] = Future()
    future = wf.submit(functions.add, gate)
    called: list[int] = []
    future.add_done_callback(lambda done: called.append(threading.get_ident()))
    gate.set_result(1)
    assert called == [threading.get_ident()]


def test_joins_and_retries_with_delays(wf: Workflow) -> None:
    tries: list[int] = []

    @task(retries=Retry(2, delay=0.001))
    def flaky() -> int:
        tries.append(len(tries))
        if len(tries) < 3:
            raise OSError("not yet")
        return len(tries)

    @join
    def parts() -> list[TaskFuture[int]]:
        return [flaky()]

    assert parts().result(0) == [3]


def test_a_failure_reaches_the_successors(wf: Workflow) -> None:
    gate: Future[int] = Future()
    bad = wf.submit(functions.fail_on, gate, 1)
    heir = wf.submit(functions.square, bad)
    gate.set_result(1)
    assert isinstance(bad.exception(0), ValueError)
    assert isinstance(heir.exception(0), DependencyError)


def test_cancelling_what_waits(wf: Workflow) -> None:
    gate: Future[int] = Future()
    future = wf.submit(functions.square, gate)
    assert future.cancel()
    gate.set_result(1)
    assert future.cancelled()


def test_ctrl_c_goes_through_and_nothing_hangs(wf: Workflow) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        wf.submit(interrupted)
    assert wf.submit(functions.square, 3).result(0) == 9
    assert wf.wait(timeout=PATIENCE)
    assert wf.counts.failed == 1


def test_exit_is_the_tasks_error(wf: Workflow) -> None:
    assert isinstance(wf.submit(functions.leave).exception(0), SystemExit)


def test_from_several_threads(wf: Workflow) -> None:
    sums: list[int] = []
    threads = [
        threading.Thread(target=lambda: sums.append(sum(f.result(0) for f in wf.map(functions.square, range(100)))))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert sums == [sum(n * n for n in range(100))] * 4


def test_closing_inside_a_task(wf: Workflow) -> None:
    def close() -> str:
        wf.close()
        return "closed"

    future: TaskFuture[Any] = wf.submit(close)
    assert future.done()
    with pytest.raises(WorkflowClosedError):
        wf.submit(functions.square, 1)


def test_twenty_thousand_links(wf: Workflow) -> None:
    """No recursion over the successors: a chain that is released at once."""
    gate: Future[int] = Future()
    last = wf.submit(functions.add, gate, 1)
    for _ in range(20_000):
        last = wf.submit(functions.add, last, 1)
    gate.set_result(0)
    assert last.result(0) == 20_001
