"""Kernel: engines that break, faults of its own, callbacks of the user, and the end. Nothing hangs."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError, Future
from typing import Any

import pytest
from tests.core.fake_engine import PATIENCE, FakeEngine, call, opened, wait_for

from harmony.core.engine import Update
from harmony.core.future import TaskFuture
from harmony.core.kernel import Kernel
from harmony.core.retry import MACHINERY_RETRIES, Retry
from harmony.core.task import Options, TaskState
from harmony.errors import EngineFailed, HarmonyError, WorkflowClosedError
from harmony.events import Bus


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def kernel(engine: FakeEngine) -> Iterator[Kernel]:
    with opened(engine) as kernel:
        yield kernel


def nonsense() -> Update:
    """What no engine may report: the loop fails over it."""
    return Update(1, TaskState.FAILED, error=None)


# -- engines that break -----------------------------------------------------------------------------------


def test_an_engine_that_cannot_start_closes_those_before_it() -> None:
    driver, good, bad, never = (FakeEngine() for _ in range(4))
    bad.start_error = EngineFailed("no licence")
    kernel = Kernel({"good": good, "bad": bad, "never": never}, driver, bus=Bus())
    with pytest.raises(EngineFailed, match="no licence"):
        kernel.start()
    assert (driver.calls, good.calls) == (["start", "close"], ["start", "close"])
    assert bad.calls[0] == "start"
    assert never.calls == []


@pytest.mark.parametrize("failures", range(1, MACHINERY_RETRIES + 1))
def test_a_submit_that_raises_is_tried_again(
    kernel: Kernel, engine: FakeEngine, caplog: pytest.LogCaptureFixture, failures: int
) -> None:
    engine.submit_errors = [OSError("connection lost")] * failures
    future = kernel.submit(call())
    engine.done(engine.take(), "in the end")
    assert future.result(PATIENCE) == "in the end"
    assert "connection lost" in caplog.text


def test_a_submit_that_keeps_raising_fails_the_tasks(
    kernel: Kernel, engine: FakeEngine, caplog: pytest.LogCaptureFixture
) -> None:
    with engine.one_turn(kernel):
        engine.submit_errors = [OSError("connection lost")] * (MACHINERY_RETRIES + 1)
        futures = [kernel.submit(call()) for _ in range(10)]
    for future in futures:
        error = wait_for(future)
        assert isinstance(error, EngineFailed)
        assert isinstance(error.__cause__, OSError)
        assert "engine 'fake' failed to take work: OSError('connection lost')" in str(error)
    later = kernel.submit(call())
    engine.done(engine.take(), "works again")
    assert later.result(PATIENCE) == "works again"


def test_a_cancel_that_raises_harms_nobody(
    kernel: Kernel, engine: FakeEngine, caplog: pytest.LogCaptureFixture
) -> None:
    doomed, other = kernel.submit(call(name="doomed")), kernel.submit(call(name="other"))
    taken = {submission.name: submission for submission in (engine.take(), engine.take())}
    engine.cancel_errors = [OSError("connection lost")]
    assert doomed.cancel()
    engine.barrier(kernel)
    assert doomed.cancelled()
    engine.done(taken["other"], "fine")
    assert other.result(PATIENCE) == "fine"
    assert "connection lost" in caplog.text


# -- faults of the loop -----------------------------------------------------------------------------------


def test_a_fault_inside_fails_the_futures(kernel: Kernel, engine: FakeEngine, caplog: pytest.LogCaptureFixture) -> None:
    first = kernel.submit(call())
    second = kernel.submit(call())
    third = kernel.submit(call(second, name="third"))
    called = threading.Event()
    second.add_done_callback(lambda done: called.set())
    engine.report(nonsense())
    for future in (first, second, third):
        error = wait_for(future)
        assert type(error) is HarmonyError
        assert "a fault inside Harmony, please report it" in str(error)
    assert called.wait(PATIENCE)
    assert kernel.wait(PATIENCE)
    assert "a fault inside Harmony" in caplog.text


def test_after_a_fault_what_comes_fails_too(
    kernel: Kernel, engine: FakeEngine, caplog: pytest.LogCaptureFixture
) -> None:
    first = kernel.submit(call())
    engine.report(nonsense())
    wait_for(first)
    while not engine.is_empty:
        engine.take()
    later = kernel.submit(call())
    assert isinstance(wait_for(later), HarmonyError)
    assert kernel.wait(PATIENCE)
    assert engine.is_empty
    assert "a fault inside Harmony" in caplog.text


def test_a_fault_starts_nothing_that_was_about_to_start(
    kernel: Kernel, engine: FakeEngine, caplog: pytest.LogCaptureFixture
) -> None:
    kernel.submit(call(name="running"))
    engine.take()
    with engine.one_turn(kernel, breaks=True):
        about_to = [kernel.submit(call(name="about to start")) for _ in range(5)]
        engine.report(nonsense())
    for future in about_to:
        assert isinstance(wait_for(future), HarmonyError)
    kernel.close()
    assert engine.is_empty
    assert "a fault inside Harmony" in caplog.text


# -- callbacks ------------------------------------------------------------------------------------------


def test_a_callback_that_blocks_delays_no_task(kernel: Kernel, engine: FakeEngine) -> None:
    release, entered = threading.Event(), threading.Event()

    def block(done: Future[Any]) -> None:
        entered.set()
        assert release.wait(PATIENCE)

    blocked = kernel.submit(call())
    blocked.add_done_callback(block)
    engine.done(engine.take())
    assert entered.wait(PATIENCE)
    try:
        parent = kernel.submit(call())
        child = kernel.submit(call(parent))
        for _ in range(2):
            engine.done(engine.take(), "r")
        assert child.result(PATIENCE) == "r"
        assert kernel.wait(PATIENCE)
    finally:
        release.set()


@pytest.mark.parametrize("error", [ValueError("in a callback"), SystemExit("in a callback")])
def test_a_callback_that_raises_is_logged_and_the_next_is_called(
    kernel: Kernel, engine: FakeEngine, caplog: pytest.LogCaptureFixture, error: BaseException
) -> None:
    def fail(done: Future[Any]) -> None:
        raise error

    called = threading.Event()
    first, second = kernel.submit(call()), kernel.submit(call())
    first.add_done_callback(fail)
    second.add_done_callback(lambda done: called.set())
    for _ in range(2):
        engine.done(engine.take())
    assert called.wait(PATIENCE)
    assert "in a callback" in caplog.text


def test_callbacks_run_on_one_thread_in_the_order_of_the_ends(kernel: Kernel, engine: FakeEngine) -> None:
    futures = [kernel.submit(call()) for _ in range(100)]
    seen: list[tuple[int, str]] = []
    for future in futures:
        future.add_done_callback(lambda done, id=future.id: seen.append((id, threading.current_thread().name)))  # type: ignore[misc]
    taken = [engine.take() for _ in futures]
    for submission in taken:
        engine.done(submission)
    kernel.wait(PATIENCE)
    kernel.close()  # runs what is left
    assert seen == [(future.id, "harmony-delivery") for future in futures]


def test_a_callback_may_submit_and_wait(kernel: Kernel, engine: FakeEngine) -> None:
    results: list[Any] = []
    finished = threading.Event()

    def go_on(done: Future[Any]) -> None:
        following = kernel.submit(call(done, name="following"))
        engine.done(engine.take(), "second")
        results.append(following.result(PATIENCE))
        finished.set()

    first = kernel.submit(call())
    first.add_done_callback(go_on)
    engine.done(engine.take(), "first")
    assert finished.wait(PATIENCE)
    assert results == ["second"]


def test_a_callback_may_close_the_kernel(kernel: Kernel, engine: FakeEngine) -> None:
    closed = threading.Event()
    first = kernel.submit(call())

    def close(done: Future[Any]) -> None:
        kernel.close()
        closed.set()

    first.add_done_callback(close)
    engine.done(engine.take())
    assert closed.wait(PATIENCE)
    assert engine.closed.is_set()


# -- the end ---------------------------------------------------------------------------------------------


def test_closing_cancels_what_has_not_ended(kernel: Kernel, engine: FakeEngine) -> None:
    running, handed, told = kernel.submit(call()), kernel.submit(call()), threading.Event()
    waiting = kernel.submit(call(running))
    waiting.add_done_callback(lambda done: told.set())
    engine.running(engine.take())
    engine.take()
    kernel.close()
    for future in (running, handed, waiting):
        assert future.cancelled()
        with pytest.raises(CancelledError):
            future.result(0)
    assert told.is_set(), "close runs the last callbacks"
    assert engine.calls[-1] == "close"
    assert sorted(engine.cancelled) == [1, 2]


def test_closing_while_a_task_waits_for_another_try(kernel: Kernel, engine: FakeEngine) -> None:
    future = kernel.submit(call(options=Options(retry=Retry(1, delay=3600))))
    engine.fail(engine.take(), ValueError())
    engine.barrier(kernel)
    kernel.close()
    assert future.cancelled()


def test_closing_twice(kernel: Kernel, engine: FakeEngine) -> None:
    kernel.close()
    kernel.close()
    assert engine.calls.count("close") == 1


def test_a_close_that_raises_closes_the_others(caplog: pytest.LogCaptureFixture) -> None:
    driver, bad, good = FakeEngine(), FakeEngine(), FakeEngine()
    bad.close_error = OSError("cannot be closed")
    kernel = Kernel({"bad": bad, "good": good}, driver, bus=Bus())
    kernel.start()
    future = kernel.submit(call())
    with contextlib.suppress(OSError):
        kernel.close()
    assert good.closed.is_set()
    assert driver.closed.is_set()
    assert future.cancelled()


def test_reports_after_the_end_are_silent(kernel: Kernel, engine: FakeEngine) -> None:
    future = kernel.submit(call())
    taken = engine.take()
    kernel.close()
    engine.done(taken, "too late")
    assert future.cancelled()


def test_submitting_after_the_end(kernel: Kernel) -> None:
    kernel.close()
    with pytest.raises(WorkflowClosedError, match="workflow 'test' has ended; call was not accepted"):
        kernel.submit(call())
    with pytest.raises(RuntimeError):
        kernel.submit(call())
    assert kernel.wait(PATIENCE)


def test_closing_while_others_submit(kernel: Kernel, engine: FakeEngine) -> None:
    futures: list[TaskFuture[Any]] = []
    many, refused = threading.Semaphore(0), threading.Semaphore(0)

    def submit() -> None:
        try:
            while True:
                futures.append(kernel.submit(call(futures[-1] if futures else None)))
                many.release()
        except WorkflowClosedError:
            refused.release()

    threads = [threading.Thread(target=submit) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(200):
        assert many.acquire(timeout=PATIENCE)
    kernel.close()
    for _ in threads:
        assert refused.acquire(timeout=PATIENCE)
    for future in futures:
        assert isinstance(_end_of(future), (CancelledError, HarmonyError))
    assert kernel.tally.counts.ended == kernel.tally.counts.total == len(futures)


def _end_of(future: TaskFuture[Any]) -> BaseException | None:
    try:
        return wait_for(future)
    except CancelledError as error:
        return error


def test_waiting_for_all(kernel: Kernel, engine: FakeEngine) -> None:
    assert kernel.wait(PATIENCE), "nothing to wait for"
    future = kernel.submit(call())
    assert not kernel.wait(0)
    engine.done(engine.take())
    assert kernel.wait(PATIENCE)
    assert future.done()


def test_many_may_wait(kernel: Kernel, engine: FakeEngine) -> None:
    kernel.submit(call())
    answers: list[bool] = []
    threads = [threading.Thread(target=lambda: answers.append(kernel.wait(PATIENCE))) for _ in range(8)]
    for thread in threads:
        thread.start()
    engine.done(engine.take())
    for thread in threads:
        thread.join(PATIENCE)
    assert answers == [True] * 8


def test_waiters_are_let_go_when_the_kernel_is_closed(kernel: Kernel, engine: FakeEngine) -> None:
    kernel.submit(call())
    answers: list[bool] = []
    thread = threading.Thread(target=lambda: answers.append(kernel.wait(PATIENCE)))
    thread.start()
    engine.take()
    kernel.close()
    thread.join(PATIENCE)
    assert answers == [True]
