"""Story: what the store knows of each task of a run, put together task by task, however many there are."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from harmony.core.task import TaskState
from harmony.errors import ResourceError
from harmony.resources import Resources
from harmony.store.rows import FailureRow, FileRow, Run, TaskRow

if TYPE_CHECKING:
    from harmony.store.history import History

R = TypeVar("R")


class Story(NamedTuple):
    """A task of a run. `work` is the row of the task that did its work: of an earlier run, if it was recalled.

    `work` is None where that run is not in the store any more.
    """

    row: TaskRow
    work: TaskRow | None
    parents: list[int]
    files: list[FileRow]
    failures: list[FailureRow]
    command: str | None

    @property
    def seconds(self) -> float | None:
        """Run time of its work; None where it did not run, is still running, or where that is not known."""
        work = self.work
        return None if work is None or work.started is None or work.ended is None else work.seconds

    @property
    def files_read(self) -> list[FileRow]:
        """The files it read."""
        return [file for file in self.files if file.role == "input"]

    @property
    def files_written(self) -> list[FileRow]:
        """The files it wrote."""
        return [file for file in self.files if file.role == "output"]


class Grouped(Generic[R]):
    """Rows in the order of their tasks, handed out to tasks that come in the same order."""

    def __init__(self, rows: Iterable[R], task: Callable[[R], int]) -> None:
        self._rows = iter(rows)
        self._task = task
        self._next = next(self._rows, None)

    def of(self, task: int) -> list[R]:
        """Return the rows of a task; those of tasks before it are gone."""
        found: list[R] = []
        while self._next is not None and (owner := self._task(self._next)) <= task:
            if owner == task:
                found.append(self._next)
            self._next = next(self._rows, None)
        return found


def stories(history: History, run: int) -> Iterator[Story]:
    """Yield the tasks of a run that have begun or ended, by their ids. Only the one that is yielded is in memory."""
    origins = Grouped(history.rows("export_origins", run=run), first)
    parents = Grouped(history.edges(run), first)
    files = Grouped(map(FileRow._make, history.rows("export_files", run=run)), first)
    failures = Grouped(history.failures(run), first)
    commands = Grouped(history.rows("export_commands", run=run), first)
    for row in history.tasks(run):
        task = row.id
        found = origins.of(task)
        origin = task_row(found[0][1:]) if found else None
        yield Story(
            row=row,
            work=row if row.origin_run is None else origin,
            parents=[parent for _, parent in parents.of(task)],
            files=files.of(task),
            failures=failures.of(task),
            command=next((line for _, line in commands.of(task)), None),
        )


def first(row: tuple[Any, ...]) -> int:
    """Return the task that a row belongs to."""
    return int(row[0])


def task_row(values: tuple[Any, ...]) -> TaskRow:
    """Make a row of what a query gave, in the order of its fields."""
    row = TaskRow._make(values)
    return row._replace(state=TaskState(row.state))


def resources_of(shape: str) -> Resources:
    """Return what a task asked for; the default where that is not told."""
    try:
        return Resources(**(json.loads(shape).get("resources") or {}))
    except (ResourceError, TypeError, ValueError, AttributeError):
        return Resources()


def end_of(run: Run) -> float:
    """Return when a run ended, or, where it has not, when it was last heard of; in seconds since it began."""
    return run.told if run.ended is None else run.ended


def iso(seconds: float) -> str:
    """Return a time since the epoch as ISO 8601 has it: milliseconds, UTC, with an offset in digits."""
    return datetime.fromtimestamp(seconds, tz=timezone.utc).isoformat(timespec="milliseconds")


def remark(run: Run) -> str | None:
    """Say what is special about a run that has not ended as it should, None if it has."""
    if run.status == "running":
        return f"run {run.id} is still going: exported as far as it had come"
    if run.status == "interrupted":
        return f"run {run.id} was interrupted, its driver is gone: exported as far as it came"
    if run.status == "stopped":
        return f"run {run.id} was stopped before its end: exported as far as it came"
    return None


def hosts(history: History, run: Run) -> dict[str, str]:
    """Return the machine of each worker that was told of."""
    found = {}
    for worker, data in history.rows("export_hosts", run=run.id):
        host = json.loads(data).get("host")
        if host:
            found[str(worker)] = str(host)
    return found
