"""TaskFuture: a `concurrent.futures.Future` that knows its task, can be awaited, and is cheap to make.

A million tasks may be pending, and most futures are never waited for one by one. So the condition
variable, the waiters and the callbacks that the standard Future makes at birth are made here when they
are first asked for. `_birth` guards that moment against the kernel's thread, which ends futures:

    user's thread   f.result() ──▶ __getattr__("_condition") ──[_birth]──▶ condition made, `_born` set
    kernel's thread finish([...]) ──[_birth]──▶ not born: set the state; born: notify under its condition

The attributes of the standard Future used here are those its own `wait` and `as_completed` rely on.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future
from html import escape
from typing import Any, Protocol, TypeVar

from harmony.core.task import TaskState
from harmony.errors import text_of

T = TypeVar("T")

_PENDING, _RUNNING, _CANCELLED, _NOTIFIED, _FINISHED = (
    "PENDING",
    "RUNNING",
    "CANCELLED",
    "CANCELLED_AND_NOTIFIED",
    "FINISHED",
)
_ENDED = frozenset({_CANCELLED, _NOTIFIED, _FINISHED})
_birth = threading.Lock()


class Stateful(Protocol):
    """What a kernel knows of a task that has not ended."""

    state: TaskState


class Owner(Protocol):
    """Whoever ends the future: a kernel."""

    def cancel(self, future: TaskFuture[Any]) -> bool:
        """See `TaskFuture.cancel`."""
        ...


class TaskFuture(Future[T]):
    """The result to be of one task. Made by a workflow, never by hand.

    Beyond the standard Future: it is awaitable; `cancel` also ends work that already runs, where the
    engine can; `id`, `name`, `state`, `place` (the worker), `seconds` (run time) and `stdout` (what a
    function printed) tell about the task. Callbacks run on the workflow's delivery thread.
    """

    __slots__ = (
        "_born", "_condition", "_done_callbacks", "_exception", "_record", "_result", "_state",
        "_waiters", "id", "name", "owner", "path", "place", "seconds", "stdout", "stoppable",
    )  # fmt: skip

    def __init__(self, id: int, name: str, owner: Owner, stoppable: bool) -> None:
        # The standard __init__ is not called: it would make the condition, four fifths of the cost.
        self.id = id
        self.name = name
        self.place = ""
        self.seconds = 0.0
        self.stdout = ""
        self.owner = owner
        self.stoppable = stoppable
        self.path = 0.0
        self._record: Stateful | None = None
        self._born = False
        self._state = _PENDING
        self._result: T | None = None
        self._exception: BaseException | None = None

    def __getattr__(self, name: str) -> Any:
        if name not in ("_condition", "_waiters", "_done_callbacks"):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        with _birth:
            if not self._born:
                self._waiters: list[Any] = []
                self._done_callbacks: list[Callable[[Future[T]], object]] = []
                self._condition = threading.Condition()
                self._born = True
        return object.__getattribute__(self, name)

    @property
    def state(self) -> TaskState:
        """Where the task is."""
        if self._state in (_CANCELLED, _NOTIFIED):
            return TaskState.CANCELLED
        if self._state == _FINISHED:
            return TaskState.DONE if self._exception is None else TaskState.FAILED
        record = self._record
        if record is None:
            return TaskState.WAITING
        return TaskState.RUNNING if record.state.is_final else record.state  # until the journal has its end

    def result(self, timeout: float | None = None) -> T:
        """See `concurrent.futures.Future.result`."""
        if self._state == _FINISHED and self._exception is None:
            return self._result  # type: ignore[return-value]  # without a lock, and without the condition's birth
        return super().result(timeout)

    def done(self) -> bool:
        """See `concurrent.futures.Future.done`."""
        return self._state in _ENDED

    def cancel(self) -> bool:
        """Cancel the task, also while it runs if its engine can end running work.

        Returns False when it has ended, or runs where it cannot be ended. The engine is told a moment later: what
        was about to start may still start, and is then ended. `workflow.wait()` returns after it was told.
        """
        return self.owner.cancel(self)

    def __await__(self) -> Generator[Any, None, T]:
        import asyncio  # whoever awaits has it; the others, and each worker, save its 20 ms

        return asyncio.wrap_future(self).__await__()

    def _describe(self) -> str:
        text = self.state.name.lower()
        if self.place:
            text += f" on {self.place}"
        if self.state is TaskState.FAILED:
            first, *_ = [*text_of(self._exception or Exception()).strip().splitlines(), ""]
            text += f": {type(self._exception).__name__}: {first}"
        return text

    def __repr__(self) -> str:
        return f"<TaskFuture {self.id} {self.name} {self._describe()}>"

    def _repr_html_(self) -> str:
        return f"<code>{escape(self.name)}</code> <small>task {self.id}</small>: {escape(self._describe())}"


def mark_cancelled(future: TaskFuture[Any], *, also_running: bool) -> bool | None:
    """Mark a future cancelled: True if this call did it, None if it was already, False if it cannot be.

    Who waits for it by the standard `wait` is told by `finish`, which must follow.
    """
    with future._condition:
        if future._state in (_CANCELLED, _NOTIFIED):
            return None
        if future._state == _FINISHED or (future._state == _RUNNING and not also_running):
            return False
        future._state = _CANCELLED
        future._condition.notify_all()
        return True


def is_cancelled(future: TaskFuture[Any]) -> bool:
    """`future.cancelled()`, without the lock."""
    return future._state in (_CANCELLED, _NOTIFIED)


def mark_running(future: TaskFuture[Any]) -> None:
    """Note that a task has started. Kernel only."""
    _move(future, _PENDING, _RUNNING)


def mark_waiting(future: TaskFuture[Any]) -> None:
    """Note that a task waits for its parts, or for another try. Kernel only."""
    _move(future, _RUNNING, _PENDING)


def _move(future: TaskFuture[Any], old: str, new: str) -> None:
    with _birth:
        if not future._born:
            if future._state == old:
                future._state = new
            return
    with future._condition:
        if future._state == old:
            future._state = new


def finish(futures: Iterable[TaskFuture[Any]]) -> list[TaskFuture[Any]]:
    """End futures whose result or error is in place, wake who waits; return those that have callbacks. Kernel only."""
    born: list[TaskFuture[Any]] = []
    with _birth:
        for future in futures:
            if future._born:
                born.append(future)
            else:
                future._state = _FINISHED
                future._record = None
    return [future for future in born if _finish_born(future)]


def _finish_born(future: TaskFuture[Any]) -> bool:
    with future._condition:
        if future._state in (_CANCELLED, _NOTIFIED):
            _notify_cancelled(future)
        else:
            future._state = _FINISHED
            for waiter in future._waiters:
                waiter.add_exception(future) if future._exception else waiter.add_result(future)
            future._condition.notify_all()
        future._record = None
        return bool(future._done_callbacks)


def _notify_cancelled(future: TaskFuture[Any]) -> None:
    if future._state == _CANCELLED:
        future._state = _NOTIFIED
        for waiter in future._waiters:
            waiter.add_cancelled(future)
        future._condition.notify_all()


def run_callbacks(future: TaskFuture[Any]) -> None:
    """Call what was added with `add_done_callback`. Delivery thread only."""
    future._invoke_callbacks()
