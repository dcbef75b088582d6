"""Executor.shutdown, as the standard library documents it; and that ours ends the executor, not its workflow."""

from __future__ import annotations

import concurrent.futures
import threading
from concurrent.futures import CancelledError, Executor, wait
from pathlib import Path

import pytest
from tests.core import functions
from tests.core.gate import PATIENCE, Gate, pass_through
from tests.executor.conftest import Starts

from harmony import Options, Retry, Workflow, WorkflowClosedError


def test_it_waits_for_what_was_submitted(executor: Executor) -> None:
    futures = [executor.submit(functions.square, number) for number in range(50)]
    executor.shutdown()
    assert all(future.done() for future in futures)
    assert [future.result(0) for future in futures] == [n * n for n in range(50)]


def test_it_waits_until_running_work_has_ended(executor: Executor, gate: Gate) -> None:
    future = executor.submit(pass_through, gate.port)
    gate.arrival()
    is_over = threading.Event()

    def shut_down() -> None:
        executor.shutdown(wait=True)
        is_over.set()

    thread = threading.Thread(target=shut_down)
    thread.start()
    assert not future.done()
    assert not is_over.is_set()
    gate.open()
    thread.join(PATIENCE)
    assert is_over.is_set()
    assert future.done()


def test_without_waiting_it_returns_at_once_and_the_work_goes_on(executor: Executor, gate: Gate) -> None:
    held = [executor.submit(pass_through, gate.port, name, name) for name in ("a", "b")]
    queued = executor.submit(functions.square, 3)
    gate.arrival()
    gate.arrival()
    executor.shutdown(wait=False)
    assert not held[0].done()
    with pytest.raises(RuntimeError):
        executor.submit(functions.square, 1)
    gate.open()
    assert [future.result(PATIENCE) for future in held] == ["a", "b"]
    assert queued.result(PATIENCE) == 9


@pytest.mark.parametrize("waits", [True, False])
def test_cancel_futures_cancels_what_has_not_begun(
    executor: Executor, gate: Gate, starts: Starts, tmp_path: Path, waits: bool
) -> None:
    held = [executor.submit(pass_through, gate.port, name, name) for name in ("a", "b")]
    assert {gate.arrival(), gate.arrival()} == {"a", "b"}
    for future in held:
        starts.wait_for(future)
    queued = [executor.submit(functions.touch, str(tmp_path / str(index))) for index in range(20)]
    thread = threading.Thread(target=executor.shutdown, kwargs={"wait": waits, "cancel_futures": True})
    thread.start()
    with pytest.raises(CancelledError):
        queued[-1].result(PATIENCE)
    if not waits:
        thread.join(PATIENCE)
    gate.open()
    thread.join(PATIENCE)
    for future in queued[:10]:
        concurrent.futures.wait([future], PATIENCE if not future.cancelled() else 0)
    assert [future.result(PATIENCE) for future in held] == ["a", "b"]
    cancelled = [future.cancelled() for future in queued]
    assert cancelled[-10:] == [True] * 10, "a pool may have handed a few to its workers already"
    ran = {path.name for path in tmp_path.iterdir()}
    assert ran == {str(index) for index in range(20) if not cancelled[index]}


def test_again_and_again(executor: Executor) -> None:
    executor.submit(functions.square, 1)
    executor.shutdown()
    executor.shutdown(wait=False)
    executor.shutdown(cancel_futures=True)


def test_before_anything_was_submitted(executor: Executor) -> None:
    executor.shutdown()


def test_from_several_threads(executor: Executor) -> None:
    if isinstance(executor, concurrent.futures.ProcessPoolExecutor):
        pytest.skip("it does not allow that")
    futures = [executor.submit(functions.square, number) for number in range(20)]
    threads = [threading.Thread(target=executor.shutdown) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert all(future.done() for future in futures)


# -- ours ---------------------------------------------------------------------------------------------


def test_who_waits_for_the_cancelled_is_told(workflow: Workflow, gate: Gate) -> None:
    """The standard pools leave `wait` waiting here for ever."""
    executor = workflow.executor()
    held = [executor.submit(pass_through, gate.port, name) for name in ("a", "b")]
    queued = [executor.submit(functions.square, number) for number in range(20)]
    gate.arrival()
    gate.arrival()
    executor.shutdown(wait=False, cancel_futures=True)
    assert wait(queued, PATIENCE).not_done == set()
    gate.open()
    assert wait(held, PATIENCE).not_done == set()


def test_the_workflow_goes_on(workflow: Workflow, gate: Gate) -> None:
    other = workflow.submit(pass_through, gate.port, "other", "other")
    gate.arrival()
    first, second = workflow.executor(), workflow.executor()
    future = first.submit(functions.square, 3)
    first.shutdown(cancel_futures=True)
    assert future.done()
    assert not other.done(), "what others submitted is theirs"
    assert second.submit(functions.square, 4).result(PATIENCE) == 16
    assert workflow.submit(functions.square, 5).result(PATIENCE) == 25
    gate.open()
    assert other.result(PATIENCE) == "other"
    second.shutdown()


def test_the_workflow_ends_first() -> None:
    with Workflow(engine="threads", workers=1) as workflow:
        executor = workflow.executor()
        future = executor.submit(functions.square, 3)
    assert future.result(0) == 9
    with pytest.raises(RuntimeError):
        executor.submit(functions.square, 3)
    with pytest.raises(WorkflowClosedError):
        executor.submit(functions.square, 3)
    executor.shutdown()


def test_options_hold_for_all_its_tasks(workflow: Workflow, tmp_path: Path) -> None:
    with workflow.executor(Options(retry=Retry(2))) as executor:
        future = executor.submit(functions.fail_until, str(tmp_path / "tries"), 3)
        assert future.result(PATIENCE) == 3


def test_futures_among_the_arguments_are_waited_for(workflow: Workflow) -> None:
    with workflow.executor() as executor:
        total = executor.submit(functions.square, 2)
        for _ in range(20):
            total = executor.submit(functions.add, total, 1)
        assert executor.submit(sum, [total, executor.submit(functions.square, 3)]).result(PATIENCE) == 33


def test_futures_that_have_ended_are_not_kept(workflow: Workflow) -> None:
    with workflow.executor() as executor:
        for _ in range(5):
            assert sum(executor.map(functions.square, range(1_500), chunksize=1)) > 0
        assert len(executor._futures) < 5_000
