"""The history: what the store knows, for whoever wants to look, also while a run goes on.

Everything here only reads; nothing is unpickled. Each call sees the store as it is at that moment.
"""

from __future__ import annotations

import difflib
import logging
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harmony.core.report import Counts
from harmony.core.task import TaskState
from harmony.errors import StoreError
from harmony.store.rows import (
    AttemptRow,
    ErrorRow,
    FailureRow,
    FileRow,
    NameRow,
    Relative,
    Run,
    Summary,
    TaskDetail,
    TaskRow,
    load_object,
    load_texts,
)

if TYPE_CHECKING:
    from typing_extensions import Self

#: The orders in which tasks can be had.
ORDERS = ("id", "slowest", "ended")
#: Queries that need no tasks that simply worked.
_APART = frozenset(
    {
        "runs",
        "workflows",
        "running",
        "roots",
        "last_failed",
        "last_failed_of_many",
        "last_failure",
        "shapes",
        "gc_newest",
    }
)
_TRIES = 3
_log = logging.getLogger("harmony")
_STATES = tuple(TaskState)  # by their numbers, quicker than a call of the class


class History:
    """A store, to be read: its directory, or the file ``store.db`` in it. Use it in one thread.

    Raises `StoreError` where there is no store, or one that cannot be read.
    """

    def __init__(self, path: str | Path) -> None:
        from harmony.store.database import NAME, open_database

        path = Path(path)
        self.directory = path.parent if path.name == NAME and not path.is_dir() else path
        self._file = self.directory / NAME
        self._base = open_database(self._file, write=False)
        self._is_wal = self._base.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
        self._is_partial = False  # True when there are rows that cannot be put in their places

    def close(self) -> None:
        """Let go of the store."""
        self._base.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def rows(self, name: str, /, **values: object) -> Iterator[tuple[Any, ...]]:
        """Yield the rows of a query of ``queries/*.sql``, by its name, as they are read. Raises `StoreError`.

        On file systems that several machines share, they are read at once: nobody can write meanwhile.
        """
        from harmony.store.database import query

        if name not in _APART:
            self._gather()
        with self._told(), closing(self._base.execute(query(name), values)) as cursor:
            yield from cursor if self._is_wal else cursor.fetchall()

    @contextmanager
    def _told(self) -> Iterator[None]:
        import sqlite3

        from harmony.store.database import explained

        try:
            yield
        except sqlite3.Error as error:
            raise explained(error, self._file) from error

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """See the store, until the end of the block, as it is now."""
        if not self._is_wal:
            with self._copied():
                yield
            return
        for _ in range(_TRIES):
            self._gather()
            with self._told():
                self._base.execute("BEGIN")
                if not self._has_chunks():
                    break
            self._base.rollback()
        else:
            self._base.execute("BEGIN")
        try:
            yield
        finally:
            self._base.rollback()

    def _has_chunks(self) -> bool:
        from harmony.store.bulk import has_chunks

        return has_chunks(self._base)

    def _gather(self) -> None:
        """Have rows put in their places, so that they are found; not while the store is seen as it was."""
        import sqlite3

        from harmony.store.bulk import gather

        if self._base.in_transaction or self._is_partial:
            return
        try:
            gather(self._base, self._file)
        except (StoreError, sqlite3.Error) as error:
            self._is_partial = True
            _log.warning(
                "not all tasks in %s are shown: some are to be put in their places first: %s", self._file, error
            )

    @contextmanager
    def _copied(self) -> Iterator[None]:
        """Read a copy, until the end of the block: here, whoever is in a transaction keeps others from writing."""
        import sqlite3

        from harmony.store.bulk import fold

        with closing(sqlite3.connect("", isolation_level=None)) as copy:  # a file of SQLite's own, without a name
            with self._told():
                self._base.backup(copy)
                while fold(copy):
                    pass
            base, self._base = self._base, copy
            try:
                yield
            finally:
                self._base = base

    # -- runs --------------------------------------------------------------------------------------------------

    def runs(self, limit: int | None = None) -> list[Run]:
        """Return the runs, the last one first."""
        return self._runs(None, None, limit)

    def run(self, which: str | int | None = None) -> Run:
        """Return a run by its number, or the last one of a workflow by that name; None or "last" is the last of all.

        Raises `StoreError` where there is none.
        """
        if which is None or which == "last":
            found = self._runs(None, None, 1)
        elif isinstance(which, int) or which.isdecimal():
            found = self._runs(int(which), None, 1)
        else:
            found = self._runs(None, which, 1)
        if found:
            return found[0]
        raise StoreError(self._no_run(which))

    def _runs(self, run: int | None, workflow: str | None, limit: int | None) -> list[Run]:
        limit = -1 if limit is None else limit
        return [_run(row, self.directory) for row in self.rows("runs", run=run, workflow=workflow, limit=limit)]

    def _no_run(self, which: str | int | None) -> str:
        newest = self._runs(None, None, 1)
        if not newest:
            return f"the store {self.directory} has no runs yet: run a program with a workflow first"
        if isinstance(which, str) and not which.isdecimal():
            names = [name for (name,) in self.rows("workflows")]
            near = difflib.get_close_matches(which, names, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(map(repr, names[:5]))}"
            return f"no workflow of the store {self.directory} is called {which!r}{hint}"
        return f"the store {self.directory} has no run {which}; the last one is {newest[0].id}"

    # -- tasks -------------------------------------------------------------------------------------------------

    def tasks(
        self,
        run: int,
        *,
        state: TaskState | None = None,
        name: str | None = None,
        order: str = "id",
        limit: int | None = None,
    ) -> Iterator[TaskRow]:
        """Yield the tasks of a run that have begun to run or have ended.

        `name` is a name or a pattern such as ``relax*``; `order` one of `ORDERS`: "slowest" first, or as they "ended".
        Those that are RUNNING are found quickly, however many tasks the run has; their "slowest" began first.
        """
        if order not in ORDERS:
            raise StoreError(f"order={order!r} must be one of {', '.join(map(repr, ORDERS))}")
        values = {"run": run, "name": name, "limit": -1 if limit is None else limit}
        if state is TaskState.RUNNING:
            return map(_task, self.rows("running", order=order, **values))
        if order == "id":
            return map(_task, self.rows("tasks", state=state, **values))
        return map(_task, self.rows("tasks_sorted", state=state, order=order, **values))

    def task(self, run: int, task: int) -> TaskDetail:
        """Return all that is known of a task. Raises `StoreError` where nothing is."""
        found = next(self.rows("task", run=run, task=task), None)
        if found is None:
            raise StoreError(f"run {run} has no task {task}, or it has not begun to run")
        *row, key = found
        ids = {"run": run, "task": task}
        printed = next(self.rows("output", **ids), ("", ""))
        return TaskDetail(
            row=_task(tuple(row)),
            key=key,
            attempts=list(map(_attempt, self.rows("attempts", **ids))),
            failures=list(map(_failure, self.rows("failures", **ids))),
            parents=list(map(_relative, self.rows("parents", **ids))),
            children=list(map(_relative, self.rows("children", **ids))),
            files=[FileRow._make(file) for file in self.rows("files", **ids)],
            command=next((line for (line,) in self.rows("command", **ids)), None),
            stdout=printed[0],
            stderr=printed[1],
        )

    # -- what belongs to them ----------------------------------------------------------------------------------

    def attempts(self, run: int) -> Iterator[AttemptRow]:
        """Yield all attempts, those that ended a task too, by task and number."""
        return map(_attempt, self.rows("attempts", run=run, task=None))

    def failures(self, run: int) -> Iterator[FailureRow]:
        """Yield why attempts failed, by task and attempt."""
        return map(_failure, self.rows("failures", run=run, task=None))

    def summary(self, run: int) -> Summary:
        """Return what the tasks of each name came to, and the distinct errors."""
        names = [NameRow._make((row[0] or "?", *row[1:])) for row in self.rows("names", run=run)]
        return Summary(names, [ErrorRow._make(row) for row in self.rows("errors", run=run)])

    def edges(self, run: int) -> Iterator[tuple[int, int]]:
        """Yield each task with each that it waited for."""
        return ((task, parent) for task, parent in self.rows("edges", run=run))

    def files(self, run: int) -> Iterator[FileRow]:
        """Yield the files that tasks declared, by task."""
        return map(FileRow._make, self.rows("files", run=run, task=None))

    def commands(self, run: int) -> Iterator[tuple[int, str]]:
        """Yield the tasks that were commands, with their command lines."""
        return ((task, line) for task, line in self.rows("commands", run=run))

    def shapes(self) -> dict[int, dict[str, Any]]:
        """Return what tasks ask for, by the number of it."""
        return {number: load_object(text) for number, text in self.rows("shapes")}

    def events(self, run: int) -> Iterator[dict[str, Any]]:
        """Yield the events of a run in the order of time, made up from what is written of it.

        Kinds and data are those of `events.CATALOGUE`; the rest is `subject`, `time` (seconds since the epoch, by the
        wall clock when the run began) and `monotonic` (the driver's clock, in seconds).
        """
        from harmony.store.replay import events

        return events(self, self.run(run))


def _run(row: tuple[Any, ...], directory: Path) -> Run:
    (
        number, uuid, campaign, program, workflow, ordinal, resumes, argv, where, user, host, pid, lock, engines, cores,
        environment, began, monotonic, told, waiting, submitted, running, done, failed, cancelled, recalled, ended,
        state, work, critical_path,
    ) = row  # fmt: skip
    return Run(
        id=number,
        uuid=uuid,
        campaign=campaign,
        program=program,
        workflow=workflow,
        ordinal=ordinal,
        resumes=resumes,
        argv=load_texts(argv),
        directory=where,
        user=user,
        host=host,
        pid=pid,
        lock=lock,
        engines=load_texts(engines),
        cores=cores,
        environment=load_object(environment),
        began=began,
        monotonic=monotonic,
        told=told,
        counts=Counts(
            waiting=waiting,
            submitted=submitted,
            running=running,
            done=done,
            failed=failed,
            cancelled=cancelled,
            recalled=recalled,
        ),
        ended=ended,
        state=state,
        work=work,
        critical_path=critical_path,
        is_alive=state is None and _is_alive(directory / "locks" / lock, number, pid),
    )


def _is_alive(lock: Path, run: int, pid: int) -> bool:
    """True when the driver of this run holds the lock, and not one of a later run with the same lock."""
    from harmony.store.locks import holder, is_held

    if not is_held(lock):
        return False
    who = holder(lock)
    return bool(who["run"] == run if who.get("run") else who.get("pid", pid) == pid)


def _task(row: tuple[Any, ...]) -> TaskRow:
    head, name, kind, state, rest, shape = row[:2], row[2], row[3], row[4], row[5:19], row[19]
    return TaskRow._make((*head, name or "?", kind, _STATES[state], *rest, shape or "{}"))


def _attempt(row: tuple[Any, ...]) -> AttemptRow:
    seconds = None if row[7] is None else max(0.0, row[7])
    return AttemptRow._make((*row[:2], _STATES[row[2]], *row[3:7], seconds))


def _failure(row: tuple[Any, ...]) -> FailureRow:
    return FailureRow._make((*row[:8], bool(row[8])))


def _relative(row: tuple[Any, ...]) -> Relative:
    return Relative(row[0], row[1], None if row[2] is None else _STATES[row[2]])
