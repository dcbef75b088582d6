"""TaskFuture: the standard Future's meaning, made late; awaitable; and what it says of its task."""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ALL_COMPLETED, FIRST_COMPLETED, FIRST_EXCEPTION, CancelledError
from typing import Any

import pytest
from tests.core.fake_engine import PATIENCE, FakeEngine, call, opened, wait_for

from harmony.core.future import TaskFuture, finish, mark_cancelled, mark_running, mark_waiting, run_callbacks
from harmony.core.task import TaskState


class Nobody:
    """An owner that takes every cancellation, as the kernel does, without a loop behind it."""

    def cancel(self, future: TaskFuture[Any]) -> bool:
        return mark_cancelled(future, also_running=True) is not False


@pytest.fixture
def future() -> TaskFuture[Any]:
    return new()


@pytest.fixture
def _switching_often() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def new(id: int = 1) -> TaskFuture[Any]:
    return TaskFuture(id, "name", Nobody(), stoppable=True)


def given(future: TaskFuture[Any], result: Any = None, error: BaseException | None = None) -> TaskFuture[Any]:
    """Put in place what it has come to."""
    future._result, future._exception = result, error
    return future


def end(future: TaskFuture[Any], result: Any = None, error: BaseException | None = None) -> None:
    for waiting in finish([given(future, result, error)]):
        run_callbacks(waiting)


def in_threads(*works: Callable[[], object]) -> None:
    """Run each in a thread of its own, all at once; raise what one of them raises."""
    barrier = threading.Barrier(len(works))
    errors: list[BaseException] = []

    def run(work: Callable[[], object]) -> None:
        try:
            barrier.wait(PATIENCE)
            work()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive(), "a waiter was never told"
    if errors:
        raise errors[0]


# -- one by one ---------------------------------------------------------------------------------------


def test_it_is_a_standard_future(future: TaskFuture[Any]) -> None:
    assert isinstance(future, concurrent.futures.Future)
    assert not future.done()
    assert not future.running()
    assert not future.cancelled()
    with pytest.raises(concurrent.futures.TimeoutError):
        future.result(timeout=0)
    with pytest.raises(concurrent.futures.TimeoutError):
        future.exception(timeout=0)


@pytest.mark.parametrize("looked_at", [False, True])
def test_a_result(future: TaskFuture[Any], looked_at: bool) -> None:
    if looked_at:
        assert not future.running()
    end(future, [1])
    assert future.result(timeout=0) == [1]
    assert future.exception(timeout=0) is None
    assert future.done()
    assert future.state is TaskState.DONE
    assert not future.cancel()
    assert not future.cancelled()


@pytest.mark.parametrize("looked_at", [False, True])
def test_an_error(future: TaskFuture[Any], looked_at: bool) -> None:
    if looked_at:
        assert not future.running()
    error = ValueError("x")
    end(future, error=error)
    assert future.exception(timeout=0) is error
    with pytest.raises(ValueError, match="x"):
        future.result(timeout=0)
    assert future.state is TaskState.FAILED
    assert not future.cancel()


def test_a_cancellation(future: TaskFuture[Any]) -> None:
    assert future.cancel()
    assert future.cancelled()
    assert future.done()
    assert future.cancel(), "as often as one likes"
    end(future, error=CancelledError())
    assert future.cancelled()
    assert future.state is TaskState.CANCELLED
    with pytest.raises(CancelledError):
        future.result(timeout=0)
    with pytest.raises(CancelledError):
        future.exception(timeout=0)


def test_a_result_after_a_cancellation_is_dropped(future: TaskFuture[Any]) -> None:
    future.cancel()
    end(future, "late")
    assert future.cancelled()
    with pytest.raises(CancelledError):
        future.result(timeout=0)


@pytest.mark.parametrize("looked_at", [False, True])
def test_running_and_waiting_again(future: TaskFuture[Any], looked_at: bool) -> None:
    if looked_at:
        assert not future.running()
    mark_running(future)
    assert future.running()
    assert mark_cancelled(future, also_running=False) is False
    mark_waiting(future)
    assert not future.running()
    assert mark_cancelled(future, also_running=False) is True
    for mark in (mark_running, mark_waiting):
        mark(future)
        assert future.cancelled()


def test_callbacks_in_their_order_and_once(future: TaskFuture[Any]) -> None:
    called: list[Any] = []
    for index in range(3):
        future.add_done_callback(lambda done, index=index: called.append((index, done.result())))  # type: ignore[misc]
    end(future, "r")
    assert called == [(0, "r"), (1, "r"), (2, "r")]
    future.add_done_callback(lambda done: called.append("at once"))
    assert called[-1] == "at once"
    assert len(called) == 4


def test_a_callback_that_raises_is_logged(future: TaskFuture[Any], caplog: pytest.LogCaptureFixture) -> None:
    called: list[Any] = []
    future.add_done_callback(lambda done: 1 / 0)
    future.add_done_callback(called.append)
    end(future)
    assert called == [future]
    assert "ZeroDivisionError" in caplog.text


def test_other_attributes_are_not_invented(future: TaskFuture[Any]) -> None:
    with pytest.raises(AttributeError, match="'TaskFuture' object has no attribute 'resullt'"):
        future.resullt  # noqa: B018
    assert not hasattr(future, "__len__")


def test_a_future_that_nobody_looks_at_costs_no_condition() -> None:
    future = new()
    finish([given(future, "result")])
    assert future.result() == "result"
    assert future.done()
    assert not any(isinstance(held, threading.Condition) for held in gc.get_referents(future))


# -- what it says -------------------------------------------------------------------------------------


def test_repr_says_state_place_and_error() -> None:
    engine = FakeEngine()
    with opened(engine) as kernel:
        future = kernel.submit(call(name="relax"))
        engine.running(taken := engine.take(), "worker-3")
        engine.barrier(kernel)
        assert repr(future) == "<TaskFuture 1 relax running on worker-3>"
        engine.fail(taken, ValueError("no <convergence>\nafter 500 steps"))
        wait_for(future)
        assert repr(future) == "<TaskFuture 1 relax failed on worker-3: ValueError: no <convergence>>"
        html = future._repr_html_()
        assert "relax" in html
        assert "task 1" in html
        assert "ValueError: no &lt;convergence&gt;" in html


@pytest.mark.parametrize("text", ["", " ", "\n\n"])
def test_repr_of_an_error_without_a_text(future: TaskFuture[Any], text: str) -> None:
    end(future, error=ValueError(text))
    assert repr(future).startswith("<TaskFuture 1 name failed: ValueError")
    assert "ValueError" in future._repr_html_()


def test_repr_of_an_error_whose_text_cannot_be_had(future: TaskFuture[Any]) -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no text")

    end(future, error=Mute())
    assert "Mute" in repr(future)
    assert "Mute" in future._repr_html_()


def test_repr_html_escapes_the_name() -> None:
    assert "<script>" not in TaskFuture(1, "<script>", Nobody(), stoppable=True)._repr_html_()


# -- the standard library's wait and as_completed ---------------------------------------------------------


def test_wait_for_all(future: TaskFuture[Any]) -> None:
    futures = [new(i) for i in range(4)]

    def end_them() -> None:
        end(futures[0], "r")
        end(futures[1], error=ValueError())
        futures[2].cancel()
        end(futures[2], error=CancelledError())
        end(futures[3])

    in_threads(end_them, lambda: concurrent.futures.wait(futures, PATIENCE, ALL_COMPLETED))
    assert concurrent.futures.wait([*futures, future], 0).not_done == {future}


@pytest.mark.parametrize("return_when", [FIRST_COMPLETED, FIRST_EXCEPTION])
def test_wait_for_the_first(return_when: str) -> None:
    futures = [new(i) for i in range(3)]
    end(futures[0], error=ValueError())
    done, not_done = concurrent.futures.wait(futures, PATIENCE, return_when)
    assert done == {futures[0]}
    assert not_done == set(futures[1:])


def test_as_completed_gives_each_once() -> None:
    futures = [new(i) for i in range(50)]
    end(futures[7], 7)
    seen: list[Any] = []
    in_threads(
        lambda: seen.extend(done.result() for done in concurrent.futures.as_completed(futures, PATIENCE)),
        lambda: finish([given(future, future.id) for future in futures if future.id != 7]),
    )
    assert sorted(seen) == list(range(50))


def test_as_completed_mixes_with_standard_futures() -> None:
    plain: concurrent.futures.Future[Any] = concurrent.futures.Future()
    ours = new()
    plain.set_result("plain")
    end(ours, "ours")
    assert {done.result() for done in concurrent.futures.as_completed([plain, ours], PATIENCE)} == {"plain", "ours"}


# -- races --------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("_switching_often")
def test_waiters_born_while_futures_end() -> None:
    for _ in range(5):
        futures = [new(i) for i in range(400)]
        called: list[int] = []

        def end_them(futures: list[TaskFuture[Any]] = futures) -> None:
            for first in range(0, len(futures), 10):
                for waiting in finish([given(future, future.id) for future in futures[first : first + 10]]):
                    run_callbacks(waiting)

        def get(futures: list[TaskFuture[Any]] = futures) -> None:
            assert [future.result(PATIENCE) for future in futures] == list(range(400))

        def listen(futures: list[TaskFuture[Any]] = futures, called: list[int] = called) -> None:
            for future in futures:
                future.add_done_callback(lambda done: called.append(done.result()))

        def iterate(futures: list[TaskFuture[Any]] = futures) -> None:
            seen = {done.result() for done in concurrent.futures.as_completed(futures, PATIENCE)}
            assert seen == set(range(400))

        in_threads(end_them, get, get, listen, listen, iterate, iterate)
        assert sorted(called) == sorted([*range(400), *range(400)])


@pytest.mark.usefixtures("_switching_often")
@pytest.mark.parametrize("born", [False, True])
def test_a_cancellation_is_never_overwritten(born: bool) -> None:
    for _ in range(5):
        futures = [new(i) for i in range(400)]
        if born:
            assert not any(future.running() for future in futures)
        answers: list[bool | None] = []

        def run_them(futures: list[TaskFuture[Any]] = futures) -> None:
            for future in futures:
                mark_running(future)
                mark_waiting(future)
                mark_running(future)

        def cancel(futures: list[TaskFuture[Any]] = futures, answers: list[bool | None] = answers) -> None:
            answers.extend(mark_cancelled(future, also_running=True) for future in futures)

        in_threads(run_them, cancel)
        assert answers == [True] * len(futures)
        assert all(future.cancelled() for future in futures)


@pytest.mark.usefixtures("_switching_often")
def test_a_future_is_cancelled_or_ended_never_both() -> None:
    for _ in range(5):
        futures = [new(i) for i in range(400)]
        answers: list[bool] = []

        def cancel(futures: list[TaskFuture[Any]] = futures, answers: list[bool] = answers) -> None:
            answers.extend(future.cancel() for future in futures)

        def end_them(futures: list[TaskFuture[Any]] = futures) -> None:
            for future in futures:
                finish([given(future, future.id)])

        in_threads(end_them, cancel)
        assert [future.cancelled() for future in futures] == answers
        for future, cancelled in zip(futures, answers, strict=True):
            if not cancelled:
                assert future.result(0) == future.id


# -- await --------------------------------------------------------------------------------------------


def test_await() -> None:
    engine = FakeEngine()
    with opened(engine) as kernel:
        futures = [kernel.submit(call()) for _ in range(3)]

        async def program() -> list[Any]:
            taken = [engine.take() for _ in futures]
            waiting = [asyncio.ensure_future(_value(future)) for future in futures]
            await asyncio.sleep(0)
            engine.done(taken[0], "first")
            engine.fail(taken[1], ValueError("second"))
            futures[2].cancel()
            return await asyncio.gather(*waiting, return_exceptions=True)

        results = asyncio.run(program())
    assert results[0] == "first"
    assert isinstance(results[1], ValueError)
    assert isinstance(results[2], asyncio.CancelledError)


async def _value(future: TaskFuture[Any]) -> Any:
    return await future


def test_cancelling_who_awaits_cancels_the_task() -> None:
    engine = FakeEngine()
    with opened(engine) as kernel:
        future = kernel.submit(call())

        async def program() -> None:
            waiting = asyncio.ensure_future(_value(future))
            await asyncio.sleep(0)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting

        asyncio.run(program())
        assert future.cancelled()


def test_await_of_what_has_ended() -> None:
    future = new()
    end(future, 5)
    assert asyncio.run(_value(future)) == 5
