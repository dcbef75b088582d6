"""Garbage collection: old runs leave the store, and with them what nothing refers to any more.

It may be done beside drivers that live, and be killed at any moment: the row of a run goes first, and with it the run
from every reader's sight; what belongs to it goes in short transactions, by this process or by the next that collects.
Results are kept apart from the runs that made them, so that by itself this makes no task run again.
"""

from __future__ import annotations

import os
import re
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from harmony.store.bulk import fold
from harmony.store.database import NAME, explained, open_database, query
from harmony.store.history import History
from harmony.store.locks import TOLD, is_held, last_used, remove
from harmony.store.opened import transaction
from harmony.store.rows import Run

#: Seconds for which a run that has not ended, an object and a lock are left alone: someone may be at it.
SPARED = 3600.0
#: Tasks, or results, whose rows go in one transaction; pages that are given back in one.
_BATCH = 10_000
_PAGES = 2000
#: The name of an object, with that of its folder.
_OBJECT = re.compile("[0-9a-f]{32}")
_TABLES = ("attempt", "failure", "edge", "file", "command", "output", "event")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What is old: runs beyond the last `keep` of their workflow (1 if not given) that ended `older` seconds ago.

    With neither no run goes. With `results`, what tasks came to goes too, unless a kept run has made or recalled it,
    or its workflow may need it to be resumed.
    """

    keep: int | None = None
    older: float | None = None
    results: bool = False


@dataclass(slots=True, kw_only=True)
class Garbage:
    """What was removed, or would be: runs, their tasks, results, objects, and files of locks or half written ones.

    `size` is in bytes; before anything is removed, that of the rows is an estimate.
    """

    runs: list[Run] = field(default_factory=list)
    tasks: int = 0
    results: int = 0
    objects: int = 0
    files: int = 0
    size: int = 0


def collect(directory: str | Path, limits: Limits, *, dry_run: bool = False, now: float | None = None) -> Garbage:
    """Remove from a store what is old by `limits`, and what is left over; with `dry_run` only tell what would go.

    A run that goes on stays, whatever the limits. `now` is the time to judge by, in seconds since the epoch. Raises
    `StoreError`.
    """
    now = time.time() if now is None else now
    with History(directory) as history:
        newest = next(history.rows("gc_newest"))[0]
        runs = history.runs()
        directory = history.directory
    path = directory / NAME
    garbage = Garbage(runs=choose(runs, limits, now))
    try:
        before = _size(path)
        with closing(open_database(path, write=not dry_run)) as connection:
            collector = _Collector(connection, directory, now, garbage, dry_run=dry_run)
            collector.judge(runs, newest, results=limits.results)
            collector.collect()
        if not dry_run:
            garbage.size += max(0, before - _size(path))
    except (sqlite3.Error, OSError) as error:
        raise explained(error, path) from error
    return garbage


def choose(runs: Sequence[Run], limits: Limits, now: float) -> list[Run]:
    """Return the runs that go, of all runs of a store, which are given with the last one first."""
    if limits.keep is None and limits.older is None:
        return []
    keep = 1 if limits.keep is None else limits.keep
    ranks: dict[int, int] = {}
    chosen = []
    for run in runs:
        rank = ranks[run.campaign] = ranks.get(run.campaign, 0) + 1
        quiet = now - run.wall(run.told if run.ended is None else run.ended)
        is_over = run.state is not None or (not run.is_alive and quiet > SPARED)
        if rank > keep and is_over and quiet > (limits.older or 0.0):
            chosen.append(run)
    return chosen


class _Collector:
    """See the module. Adds what it finds to `garbage`; removes nothing when `dry_run`."""

    def __init__(
        self, connection: sqlite3.Connection, directory: Path, now: float, garbage: Garbage, *, dry_run: bool
    ) -> None:
        self._connection = connection
        self._directory = directory
        self._since = now - SPARED
        self._garbage = garbage
        self._dry = dry_run
        self._execute("gc_temporary_goes")
        self._execute("gc_temporary_used")

    def _execute(self, name: str, **values: object) -> sqlite3.Cursor:
        return self._connection.execute(query(name), values)

    def judge(self, runs: Sequence[Run], newest: int, *, results: bool) -> None:
        """Find out whose results go; `newest` is the number of the last run when `runs` was read."""
        if not results:
            return
        gone = {run.id for run in self._garbage.runs}
        last = {run.campaign: run for run in reversed(runs)}
        staying = [run for run in runs if run.id not in gone]
        unfinished = {
            run.campaign for run in staying if run.is_alive or (run.state != "done" and run is last[run.campaign])
        }
        known = {run.id for run in runs}
        for (run,) in self._execute("gc_remembered").fetchall():
            if run not in known and run <= newest and not unfinished:  # it went before, nobody knows whose it was
                self._execute("gc_add_goes", run=run)
        for removed in self._garbage.runs:
            if removed.campaign not in unfinished:
                self._execute("gc_add_goes", run=removed.id)
        for run_that_stays in staying:
            self._execute("gc_add_used", run=run_that_stays.id)

    def collect(self) -> None:
        """Remove what goes, or count it."""
        if self._dry:
            self._estimate()
        else:
            self._remove_rows()
        self._remove_objects()
        self._remove_locks()
        if not self._dry:
            self._give_back()

    # -- rows ------------------------------------------------------------------------------------------------

    def _estimate(self) -> None:
        orphans = [run for (run,) in self._execute("gc_orphans")]
        for number in (*orphans, *(run.id for run in self._garbage.runs)):
            tasks, size = self._execute("gc_size", run=number).fetchone()
            self._garbage.tasks += tasks
            self._garbage.size += size
        self._garbage.results, size = self._execute("gc_results").fetchone()
        self._garbage.size += size

    def _remove_rows(self) -> None:
        self._fold()
        with transaction(self._connection):
            for run in self._garbage.runs:
                self._execute("gc_run", run=run.id)
            self._execute("gc_campaigns")
        orphans = [run for (run,) in self._execute("gc_orphans").fetchall()]
        for number in orphans:
            self._remove_run(number)
        self._remove_results()
        if orphans:
            self._remove_texts()

    def _fold(self) -> None:
        while not self._dry and fold(self._connection):
            pass

    def _remove_run(self, number: int) -> None:
        last = self._execute("gc_last", run=number).fetchone()[0]
        for first in range(0, last + 1, _BATCH):
            span = {"run": number, "first": first, "last": first + _BATCH - 1}
            with self._turn():
                for table in _TABLES:
                    self._execute(f"gc_{table}", **span)
                self._garbage.tasks += self._execute("gc_task", **span).rowcount

    def _remove_results(self) -> None:
        first, last = self._execute("recent_bounds").fetchone()
        for start in range(first, last + 1, _BATCH):
            with self._turn():
                cursor = self._execute("gc_recent", first=start, last=start + _BATCH - 1)
                self._garbage.results += cursor.rowcount
        after: bytes | None = b""
        while after is not None:
            step = self._execute("gc_memo_step", after=after, step=_BATCH).fetchone()
            upto = step[0] if step else None
            with self._turn():
                self._garbage.results += self._execute("gc_memo", after=after, upto=upto).rowcount
            after = upto

    def _remove_texts(self) -> None:
        """Drivers that live know which texts they have written; so this is done when there are none."""
        newest = self._execute("gc_newest").fetchone()[0]
        unused = {name: self._execute(f"gc_unused_{name}s").fetchall() for name in ("text", "shape")}
        with transaction(self._connection):
            if self._is_in_use() or newest != self._execute("gc_newest").fetchone()[0]:
                return
            for name, rows in unused.items():
                self._connection.executemany(query(f"gc_{name}"), rows)

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """A transaction, after which others have theirs."""
        begun = time.monotonic()
        with transaction(self._connection):
            yield
        self._let_others(begun)

    def _let_others(self, begun: float) -> None:
        """Leave the database to drivers that live for as long as this process had it."""
        if self._is_in_use():
            time.sleep(time.monotonic() - begun)

    def _give_back(self) -> None:
        """Give free pages back to the file system."""
        before, left = -1, self._free_pages()
        while left not in (0, before):
            begun = time.monotonic()
            self._connection.execute(f"PRAGMA incremental_vacuum({_PAGES})").fetchall()
            self._let_others(begun)
            before, left = left, self._free_pages()
        self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    def _free_pages(self) -> int:
        return int(self._connection.execute("PRAGMA freelist_count").fetchone()[0])

    # -- files -----------------------------------------------------------------------------------------------

    def _remove_objects(self) -> None:
        """Remove what no result is in; it was listed before, so that what is written meanwhile is not among it."""
        there = list(self._old((self._directory / "objects").glob("*/*")))
        self._fold()
        needed = {bytes(digest).hex() for (digest,) in self._execute("gc_objects")}
        for path in there:
            name = path.parent.name + path.name
            if name.endswith(".part"):
                self._garbage.files += self._unlink(path)
            elif _OBJECT.fullmatch(name) and name not in needed:
                self._garbage.objects += self._unlink(path)

    def _remove_locks(self) -> None:
        for path in self._old(self._locks(told=True)):
            if not path.name.endswith(TOLD) or not path.with_suffix("").exists():
                self._garbage.files += self._unlink(path)
        locks = [path for path in self._locks() if last_used(path) < self._since and not is_held(path)]
        if self._dry:
            self._garbage.files += len(locks)
        else:
            with transaction(self._connection):  # which one process at a time is in
                self._garbage.files += sum(map(remove, locks))

    def _locks(self, *, told: bool = False) -> list[Path]:
        folder = self._directory / "locks"
        return [path for path in folder.iterdir() if (TOLD in path.name) == told]

    def _old(self, paths: Iterable[Path]) -> Iterator[Path]:
        for path in paths:
            with suppress(FileNotFoundError):
                if path.stat().st_mtime < self._since:
                    yield path

    def _unlink(self, path: Path) -> bool:
        """Remove a file that is old still; False where it is not."""
        try:
            status = path.stat()
            if status.st_mtime >= self._since:
                return False
            if not self._dry:
                path.unlink()
        except FileNotFoundError:
            return False
        self._garbage.size += status.st_size
        return True

    def _is_in_use(self) -> bool:
        return any(map(is_held, self._locks()))


def _size(path: Path) -> int:
    """Bytes of a database, with its journal."""
    size = 0
    for name in (path, f"{path}-wal"):
        with suppress(FileNotFoundError):
            size += os.stat(name).st_size
    return size
