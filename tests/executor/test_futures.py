"""What an executor's futures promise: states, cancellation, timeouts and callbacks, as in the standard library."""

from __future__ import annotations

import concurrent.futures
import os
import threading
from concurrent.futures import CancelledError, Executor, Future
from pathlib import Path
from typing import Any

import pytest
from tests.core import functions
from tests.core.gate import PATIENCE, Gate, pass_through
from tests.executor.conftest import Starts


def hold(executor: Executor, gate: Gate, *names: str) -> list[Future[Any]]:
    """Keep the workers busy until the gate opens."""
    futures = [executor.submit(pass_through, gate.port, name, name) for name in names]
    for _ in names:
        gate.arrival()
    return futures


def test_while_it_runs(executor: Executor, gate: Gate, starts: Starts) -> None:
    (future,) = hold(executor, gate, "a")
    starts.wait_for(future)
    assert future.running()
    assert not future.done()
    assert not future.cancelled()
    assert not future.cancel(), "running work cannot be cancelled"
    assert future.running()
    gate.open()
    assert future.result(PATIENCE) == "a"
    assert future.done()
    assert not future.running()


def test_after_it_has_ended_it_cannot_be_cancelled(executor: Executor) -> None:
    good: Future[Any] = executor.submit(functions.square, 3)
    bad: Future[Any] = executor.submit(functions.fail)
    concurrent.futures.wait([good, bad], PATIENCE)
    for future in (good, bad):
        assert not future.cancel()
        assert not future.cancelled()
        assert future.done()
    assert good.result(0) == 9


def test_before_it_begins_it_can(executor: Executor, gate: Gate, tmp_path: Path) -> None:
    held = hold(executor, gate, "a", "b")
    queued = [executor.submit(functions.touch, str(tmp_path / str(index))) for index in range(10)]
    doomed = queued[-1]
    assert not doomed.running()
    assert doomed.cancel()
    assert doomed.cancel(), "as often as one likes"
    assert doomed.cancelled()
    assert doomed.done()
    assert not doomed.running()
    for ask in (doomed.result, doomed.exception):
        with pytest.raises(CancelledError):
            ask(0)
    gate.open()
    concurrent.futures.wait([*held, *queued[:-1]], PATIENCE)
    executor.shutdown()
    assert sorted(path.name for path in tmp_path.iterdir()) == [str(index) for index in range(9)]


def test_what_says_it_is_cancelled_never_runs(executor: Executor, tmp_path: Path) -> None:
    log = tmp_path / "log"
    futures: list[Future[None]] = []
    for index in range(1_000):
        futures.append(executor.submit(functions.note, str(log), index))
        if index % 3 == 2:
            assert futures[-2].cancel() is futures[-2].cancelled()
    cancelled = {index for index, future in enumerate(futures) if future.cancelled()}
    executor.shutdown()
    ran = {int(line) for line in log.read_text().splitlines()}
    assert ran == set(range(1_000)) - cancelled


def test_timeouts(executor: Executor, gate: Gate) -> None:
    (future,) = hold(executor, gate, "a")
    for timeout in (0, 0.01):
        with pytest.raises(concurrent.futures.TimeoutError):
            future.result(timeout)
        with pytest.raises(concurrent.futures.TimeoutError):
            future.exception(timeout=timeout)
    gate.open()
    assert future.result(timeout=PATIENCE) == "a"
    assert future.exception(timeout=0) is None


def test_a_result_wakes_all_who_wait(executor: Executor, gate: Gate) -> None:
    (future,) = hold(executor, gate, "a")
    results: list[str] = []
    threads = [threading.Thread(target=lambda: results.append(future.result(PATIENCE))) for _ in range(5)]
    for thread in threads:
        thread.start()
    gate.open()
    for thread in threads:
        thread.join(PATIENCE)
    assert results == ["a"] * 5


# -- callbacks ----------------------------------------------------------------------------------------


def test_callbacks_are_called_once_in_their_order_with_the_future(executor: Executor, gate: Gate) -> None:
    (future,) = hold(executor, gate, "a")
    called: list[tuple[int, Future[Any], int]] = []
    last = threading.Event()
    for index in range(3):
        future.add_done_callback(lambda done, index=index: called.append((index, done, os.getpid())))  # type: ignore[misc]
    future.add_done_callback(lambda done: last.set())
    assert called == []
    gate.open()
    assert last.wait(PATIENCE)
    assert called == [(index, future, os.getpid()) for index in range(3)]
    assert future.done()


def test_a_callback_added_after_the_end_is_called_at_once(executor: Executor) -> None:
    future = executor.submit(functions.square, 3)
    future.result(PATIENCE)
    called: list[Any] = []
    future.add_done_callback(lambda done: called.append((done.result(0), threading.current_thread())))
    assert called == [(9, threading.current_thread())]


def test_a_callback_that_raises_is_logged_and_the_next_is_called(
    executor: Executor, gate: Gate, caplog: pytest.LogCaptureFixture
) -> None:
    (future,) = hold(executor, gate, "a")
    called = threading.Event()

    def fail(done: Future[Any]) -> None:
        raise KeyError("in the callback")

    future.add_done_callback(fail)
    future.add_done_callback(lambda done: called.set())
    gate.open()
    assert called.wait(PATIENCE)
    assert "in the callback" in caplog.text
    assert future.result(PATIENCE) == "a"


def test_a_callback_sees_an_error(executor: Executor) -> None:
    seen: list[BaseException | None] = []
    called = threading.Event()

    def look(done: Future[Any]) -> None:
        seen.append(done.exception(0))
        called.set()

    executor.submit(functions.fail, "why").add_done_callback(look)
    assert called.wait(PATIENCE)
    assert isinstance(seen[0], ValueError)


def test_a_cancelled_futures_callbacks_are_called(executor: Executor, gate: Gate) -> None:
    hold(executor, gate, "a", "b")
    queued = [executor.submit(functions.square, index) for index in range(10)]
    seen: list[bool] = []
    called = threading.Event()

    def look(done: Future[Any]) -> None:
        seen.append(done.cancelled())
        called.set()

    queued[-1].add_done_callback(look)
    assert queued[-1].cancel()
    assert called.wait(PATIENCE)
    assert seen == [True]
    gate.open()


def test_a_callback_may_submit(executor: Executor) -> None:
    following: list[Future[int]] = []
    called = threading.Event()

    def go_on(done: Future[int]) -> None:
        following.append(executor.submit(functions.square, done.result(0)))
        called.set()

    executor.submit(functions.square, 3).add_done_callback(go_on)
    assert called.wait(PATIENCE)
    assert following[0].result(PATIENCE) == 81
