"""Record: what the ledger knows of one task that has not ended, and what can be said of it."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import CancelledError, Future
from typing import Any, NamedTuple

from harmony.core.engine import Submission, Usage
from harmony.core.future import TaskFuture
from harmony.core.graph import ATOMS
from harmony.core.journal import PathState
from harmony.core.task import Join, Options, Task, TaskState, Template, Work
from harmony.core.travel import dump_value
from harmony.errors import DependencyError, MissingFileError, text_of


class Cancelled(CancelledError):
    """A cancellation through Harmony, as told from a `CancelledError` that a user's function raises."""


#: The outbox of work that runs in the driver: joins, and the building of commands.
DRIVER = ""
DRIVER_OPTIONS = Options()


class Record(Submission):
    """What the ledger knows of one task that has not ended.

    It is also what the engine is handed: a million pending tasks cost enough without a second object for each.
    `unresolved` is the work as it was submitted, where futures have to be replaced in it first, or where it is
    a template or a join; else None, and `work` is right from the start. `data` is the result, pickled when the task
    ended, where it may change before the journal comes to it.
    """

    __slots__ = (
        "accepted", "cores", "data", "engine", "failures", "future", "inputs", "key", "losses", "origin", "others",
        "parents", "path", "paths", "started", "state", "successors", "unresolved", "usage", "waiting",
    )  # fmt: skip

    def __init__(
        self, future: TaskFuture[Any], task: Task, engines: tuple[str, ...], cores: int, parents: Sequence[Future[Any]]
    ) -> None:
        work, self.name, self.options, self.inputs, outputs = task
        self.id = future.id
        self.work = work  # type: ignore[assignment]  # until `ready` it may be any work
        self.unresolved: Work | Joined | Asking | None = None
        if parents or isinstance(work, (Template, Join)):
            self.unresolved = work
        self.outputs = tuple(map(str, outputs)) if outputs else ()
        self.future = future
        future._record = self
        self.engine = engines[0]
        self.others = engines[1:]
        self.cores = cores
        self.parents = parents
        self.state = TaskState.WAITING
        self.waiting = 0
        self.successors: list[Record] | None = None
        self.path = 0.0
        self.failures = 0
        self.losses = 0
        self.handle = None
        self.accepted = 0.0
        self.started: float | None = None
        self.usage: Usage | None = None
        self.key: bytes | None = None
        self.paths: Sequence[PathState] = ()
        self.origin: tuple[int, int] | None = None
        self.data: bytes | None = None


class Known(NamedTuple):
    """The result that a task will have, from an earlier one of the same content."""

    value: Any


class Joined:
    """The value of a join while the futures inside it are not all done."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


class Same(Joined):
    """The future of another task of the same content, whose end is this one's too."""

    __slots__ = ()


class Asking:
    """The driver is finding out what is known of a task that could run."""

    __slots__ = ()


ASKING = Asking()


def is_settled(future: TaskFuture[Any]) -> bool:
    """True when it is decided how a task has ended. Its future may say so later, once the journal has it."""
    record = future._record
    return future.done() if record is None else record.state.is_final


def result_of(future: Future[Any]) -> Any:
    """Return the result of a future that is settled; raise its error."""
    if not isinstance(future, TaskFuture) or future._record is None or not is_settled(future):
        return future.result()
    if future._exception is not None:
        raise future._exception
    return future._result


def as_it_is(result: Any) -> bytes | None:
    """Return a result pickled, when it is an object that may change before the journal's thread comes to it."""
    if type(result) in ATOMS:
        return None
    try:
        return dump_value(result)
    except Exception:  # noqa: BLE001  the journal will try too, and say why
        return None


def leads_back(record: Record, futures: Sequence[Future[Any]]) -> bool:
    """True when one of the futures is the task's own, or waits for it."""
    owner = record.future.owner
    targets = {future.id for future in futures if isinstance(future, TaskFuture) and future.owner is owner}
    seen: set[int] = set()
    todo = [record]
    while todo:
        item = todo.pop()
        if item.future.id in targets:
            return True
        if item.future.id not in seen:
            seen.add(item.future.id)
            todo.extend(item.successors or ())
    return False


def check_inputs(record: Record) -> None:
    """Raise `MissingFileError` for an input that is not there."""
    for file in record.inputs:
        if not file.exists():
            raise MissingFileError(
                f"{record.name} reads {file.shown}, which is not there, and no task submitted before it writes it"
            )


def error_of(future: Future[Any]) -> BaseException | None:
    """Return why a settled future has no result, or None."""
    if future.cancelled():
        return Cancelled()
    if isinstance(future, TaskFuture) and future._record is not None:
        return future._exception
    return future.exception(timeout=0)


def dependency_error(record: Record, parent: Future[Any], error: BaseException) -> DependencyError:
    """The error of a task that is not run because `parent` has ended by `error`."""
    root = error.__cause__ if isinstance(error, DependencyError) and error.__cause__ else error
    name = f"{parent.name} (task {parent.id})" if isinstance(parent, TaskFuture) else "a future it needs"
    if isinstance(error, DependencyError):
        why = text_of(error).partition(" was not run: ")[2]
    elif isinstance(error, Cancelled):
        why = f"{name} was cancelled"
    else:
        why = f"{name} failed with {type(error).__name__}: {text_of(error)}"
    failure = DependencyError(f"{record.future.name} was not run: {why}")
    failure.__cause__ = root
    return failure
