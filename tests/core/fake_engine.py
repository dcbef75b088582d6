"""An engine driven by hand: it reports when the test says so, through the port and nothing else."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from harmony.core.engine import Capability, Capacity, Report, Submission, Update
from harmony.core.future import TaskFuture
from harmony.core.kernel import Kernel
from harmony.core.task import Call, Options, Task, TaskState
from harmony.events import Bus

#: Seconds after which a test gives up waiting; nothing here ever takes so long.
PATIENCE = 30.0
ANYTHING = frozenset(Capability) - {Capability.IN_CALLER}
_PLUG = "plug"


class FakeEngine:
    """Keeps what it is given until the test ends it with `done`, `fail` or `report`."""

    def __init__(self, capabilities: frozenset[Capability] = ANYTHING, capacity: Capacity | None = None) -> None:
        self.capabilities = capabilities
        self.capacity = capacity or Capacity(nodes=None)
        self.calls: list[str] = []
        self.cancelled: list[int] = []
        self.closed = threading.Event()
        self.start_error: Exception | None = None
        self.close_error: Exception | None = None
        self.submit_errors: list[Exception] = []
        self.cancel_errors: list[Exception] = []
        self.while_cancelling: Callable[[], None] | None = None
        self._given: queue.SimpleQueue[Submission] = queue.SimpleQueue()
        self._report: Report | None = None
        self._plugged = threading.Event()
        self._unplug = threading.Event()

    # -- the port ------------------------------------------------------------------------------------

    def start(self, report: Report) -> None:
        self.calls.append("start")
        if self.start_error:
            raise self.start_error
        self._report = report

    def submit(self, batch: Sequence[Submission]) -> None:
        self.calls.append("submit")
        if self.submit_errors:
            raise self.submit_errors.pop(0)
        for submission in batch:
            if submission.name == _PLUG:
                self._plugged.set()
                assert self._unplug.wait(PATIENCE)
                self.done(submission, None)
            else:
                self._given.put(submission)

    def cancel(self, ids: Sequence[int]) -> None:
        self.calls.append("cancel")
        self.cancelled.extend(ids)
        if self.while_cancelling:
            self.while_cancelling()
        if self.cancel_errors:
            raise self.cancel_errors.pop(0)

    def close(self) -> None:
        self.calls.append("close")
        self.closed.set()
        if self.close_error:
            raise self.close_error

    # -- for the test --------------------------------------------------------------------------------

    def take(self) -> Submission:
        """The next task that was handed to this engine; waits for it."""
        return self._given.get(timeout=PATIENCE)

    @property
    def is_empty(self) -> bool:
        """True when every task that was handed over has been taken."""
        return self._given.empty()

    def report(self, *updates: Update) -> None:
        """Send news to the kernel, as one batch."""
        assert self._report is not None
        self._report(updates)

    def running(self, submission: Submission, place: str = "w0") -> None:
        self.report(Update(submission.id, TaskState.RUNNING, place=place))

    def done(self, submission: Submission, result: Any = None, seconds: float = 0.0) -> None:
        self.report(Update(submission.id, TaskState.DONE, result, seconds=seconds))

    def fail(self, submission: Submission, error: BaseException) -> None:
        self.report(Update(submission.id, TaskState.FAILED, error=error))

    def run(self, submission: Submission) -> None:
        """Do the work here and report how it ended."""
        assert isinstance(submission.work, Call)
        try:
            result = submission.work.fn(*submission.work.args, **submission.work.kwargs)
        except Exception as error:
            self.fail(submission, error)
        else:
            self.done(submission, result)

    @contextmanager
    def one_turn(self, kernel: Kernel, *, breaks: bool = False) -> Iterator[None]:
        """What is sent to the kernel inside this block is handled by its loop in one turn, which may break."""
        self._plugged.clear()
        self._unplug.clear()
        plug = kernel.submit(Task(Call(int), _PLUG))
        assert self._plugged.wait(PATIENCE)
        try:
            yield
        finally:
            self._unplug.set()
            assert (plug.exception(PATIENCE) is not None) is breaks

    def barrier(self, kernel: Kernel) -> None:
        """Return when the kernel has handled all that was sent to it before."""
        with self.one_turn(kernel):
            pass


def call(*args: Any, name: str = "call", options: Options | None = None, **kwargs: Any) -> Task:
    """A task over a function that is never looked at: the fake engine decides its result."""
    return Task(Call(_unused, args, kwargs), name, options or Options())


def _unused(*args: Any, **kwargs: Any) -> None:
    raise AssertionError("the fake engine does not run work")


@contextmanager
def opened(
    engine: FakeEngine | None = None,
    *,
    driver: FakeEngine | None = None,
    bus: Bus | None = None,
    engines: Mapping[str, FakeEngine] | None = None,
) -> Iterator[Kernel]:
    """A kernel over fake engines, closed at the end."""
    named = dict(engines) if engines is not None else {"fake": engine or FakeEngine()}
    kernel = Kernel(named, driver or FakeEngine(), name="test", bus=bus or Bus())
    kernel.start()
    try:
        yield kernel
    finally:
        kernel.close()


def wait_for(future: TaskFuture[Any]) -> BaseException | None:
    """Wait until the task has ended; return its error. A cancelled one raises `CancelledError`."""
    return future.exception(PATIENCE)
