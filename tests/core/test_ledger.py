"""Ledger: moments between two steps that a running kernel passes too fast for a test to stand in."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from tests.core.fake_engine import PATIENCE

from harmony.core.engine import Submission, Update
from harmony.core.future import TaskFuture, mark_cancelled, mark_running, mark_waiting
from harmony.core.ledger import Ledger
from harmony.core.record import Record
from harmony.core.task import Call, Task, TaskState
from harmony.errors import DependencyError
from harmony.events import Bus


class Desk:
    """A ledger worked by hand: it is told what a kernel would tell it, step by step."""

    def __init__(self) -> None:
        self.ledger = Ledger(self._post, Bus(), lambda: 0.0)
        self._count = 0

    def _post(self, message: Callable[[], None]) -> None:
        message()

    def cancel(self, future: TaskFuture[Any]) -> bool:
        return mark_cancelled(future, also_running=True) is not False

    def add(self, *parents: TaskFuture[Any]) -> TaskFuture[Any]:
        self._count += 1
        future: TaskFuture[Any] = TaskFuture(self._count, f"t{self._count}", self, stoppable=True)
        self.ledger.accept(Record(future, Task(Call(print, parents), future.name), ("engine",), 1, parents))
        return future

    def sent(self) -> list[Submission]:
        """What an engine would be handed now."""
        return self.ledger.outbox.pop("engine", [])


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_cancelled_between_the_news_of_its_end_and_the_end(desk: Desk) -> None:
    parent = desk.add()
    child = desk.add(parent)
    desk.sent()
    desk.ledger.update([Update(parent.id, TaskState.DONE, "result")])
    assert parent.cancel()
    desk.ledger.settle()
    desk.ledger.cancel(parent)
    desk.ledger.settle()
    assert parent.cancelled()
    assert desk.sent() == []
    assert isinstance(child.exception(0), DependencyError)
    assert "t1 (task 1) was cancelled" in str(child.exception(0))
    assert desk.ledger.records == {}


def test_a_state_never_goes_back(desk: Desk) -> None:
    future = desk.add()
    desk.sent()
    states = [future.state]
    desk.ledger.update([Update(future.id, TaskState.RUNNING)])
    states.append(future.state)
    desk.ledger.update([Update(future.id, TaskState.DONE)])
    states.append(future.state)
    desk.ledger.settle()
    states.append(future.state)
    assert states == sorted(states)
    assert states[-1] is TaskState.DONE


def test_a_finished_task_costs_its_successors_and_nothing_else(desk: Desk) -> None:
    futures = [desk.add() for _ in range(100)]
    child = desk.add(futures[0])
    desk.sent()
    desk.ledger.update([Update(future.id, TaskState.DONE) for future in futures])
    desk.ledger.settle()
    assert [submission.id for submission in desk.sent()] == [child.id]
    assert len(desk.ledger.records) == 1


class Watched:
    """A lock that says when somebody is about to wait for it."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self.wanted = threading.Event()
        self.holder: threading.Thread | None = None

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        self.wanted.set()
        got = self._lock.acquire(blocking, timeout)
        self.holder = threading.current_thread() if got else self.holder
        return got

    def release(self) -> None:
        self.holder = None
        self._lock.release()

    def _is_owned(self) -> bool:
        return self.holder is threading.current_thread()

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *error: object) -> None:
        self.release()


class Hook(str):
    """A state that, when it is compared, lets another thread cancel, unless that thread has to wait for the lock."""

    __slots__ = ("action",)
    action: Callable[[], None]

    def __eq__(self, other: object) -> bool:
        self.action()
        return str(self) == other

    __hash__ = str.__hash__


@pytest.mark.parametrize(("mark", "before"), [(mark_running, "PENDING"), (mark_waiting, "RUNNING")])
def test_a_cancellation_in_the_midst_of_a_change_of_state(
    desk: Desk, mark: Callable[[TaskFuture[Any]], None], before: str
) -> None:
    future = desk.add()
    lock = Watched()
    assert not future.running()  # from here it has a condition
    future._condition = threading.Condition(lock)  # type: ignore[arg-type]
    canceller = threading.Thread(target=future.cancel)
    state = Hook(before)

    def let_it_cancel() -> None:
        future._state = before
        lock.wanted.clear()
        canceller.start()
        assert lock.wanted.wait(PATIENCE)
        if not lock._is_owned():
            canceller.join(PATIENCE)

    state.action = let_it_cancel
    future._state = state
    mark(future)
    canceller.join(PATIENCE)
    assert future.cancelled()
