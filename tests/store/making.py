"""Tasks that have ended, as the kernel hands them to a journal, without a kernel."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harmony.core.engine import Usage
from harmony.core.future import TaskFuture
from harmony.core.journal import Entry, PathState, Started
from harmony.core.record import Record
from harmony.core.report import Counts, Report
from harmony.core.task import Call, Options, Task, TaskState, Work
from harmony.errors import DependencyError
from harmony.store.bulk import gather
from harmony.store.database import open_database
from harmony.store.journal import StoreJournal
from harmony.store.opened import Beginning, Store

if TYPE_CHECKING:
    from typing_extensions import Self

COUNTS = Counts(waiting=1, submitted=2, running=3, done=4, failed=5, cancelled=6)
WHAT = Beginning(program="campaign.py", workflow="screen", argv=["campaign.py", "-x"], engines=["local"], cores=4)


class Owner:
    """Stands for a kernel, which these futures never ask for anything."""

    def cancel(self, future: TaskFuture[Any]) -> bool:
        return False


OWNER = Owner()


def work(*args: Any, **kwargs: Any) -> None:
    """What the tasks call; it is never run."""


def record(id: int, task: Task | None = None, parents: Sequence[TaskFuture[Any]] = (), **more: Any) -> Record:
    """Make the record of a task that was accepted and started just now; `more` are attributes to set."""
    task = task or Task(Call(work, (id,)), "work")
    made = Record(TaskFuture(id, task.name, OWNER, True), task, ("local",), 1, parents)
    made.accepted = made.started = time.monotonic()
    made.key = b"key %012d" % id
    made.future.place = "local-1"
    for name, value in more.items():
        setattr(made, name, value)
    return made


def done(made: Record, result: Any = None, seconds: float = 0.0, data: bytes | None = None) -> Record:
    """End it well."""
    made.state = TaskState.DONE
    made.future.seconds = made.path = seconds
    made.future._result, made.data = result, data
    return made


def failed(made: Record, error: BaseException, state: TaskState = TaskState.FAILED) -> Record:
    """End it badly: by an attempt of its own, unless it was cancelled or not run."""
    made.state = state
    made.failures += state is TaskState.FAILED and not isinstance(error, DependencyError)
    made.future._exception = error
    return made


class Told:
    """Takes what a journal says is safe."""

    def __init__(self) -> None:
        self.ended: list[Record] = []

    def __call__(self, ended: Sequence[Record]) -> None:
        self.ended += ended

    @property
    def ids(self) -> list[int]:
        return [made.id for made in self.ended]


class Run:
    """A run in a store, open until `end`; a context manager."""

    def __init__(self, directory: Path, what: Beginning = WHAT, **how: Any) -> None:
        self.told = Told()
        self.store = Store(directory)
        try:
            self.journal: StoreJournal = self.store.begin(what, counts=lambda: COUNTS, **how)
        except BaseException:
            self.store.close()
            raise
        self.journal.start(self.told)

    def write(self, *entries: Entry) -> None:
        """Write, and return when it is safe."""
        self.journal.write(entries)
        self.journal.flush()

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """What is in the database now, as another program sees it."""
        return look(self.store.directory, sql)

    def end(self, state: str = "done") -> None:
        report = Report(name="screen", counts=COUNTS, wall=1.0, work=2.0, critical_path=0.5, cores=4)
        try:
            self.journal.finish(state, report)
            self.journal.close()
        finally:
            self.store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()


def look(directory: Path, sql: str) -> list[tuple[Any, ...]]:
    """Ask the database of a store, with all rows in their places."""
    with closing(open_database(directory / "store.db", write=False)) as base:
        gather(base, directory / "store.db")
        return base.execute(sql).fetchall()


__all__ = [
    "COUNTS", "OWNER", "WHAT", "Beginning", "Call", "Options", "Owner", "PathState", "Run", "Started", "Store",
    "Task", "TaskState", "Told", "Usage", "Work", "done", "failed", "look", "record", "work",
]  # fmt: skip
