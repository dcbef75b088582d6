"""The writer: one thread that makes the journal's news safe, a transaction at a time.

    kernel's loop ──write──▶ ┌───────┐ all that is queued ┌─────────┐ rows ┌────────────┐
    any thread    ──note───▶ │ queue │ ─────────────────▶ │ encoder │ ───▶ │ BEGIN…     │ ──safe──▶ kernel
    finish, flush ─────────▶ └───────┘                    └─────────┘      │ …COMMIT    │
                                                                           └────────────┘

While it writes, more is queued, so that batches grow with the load. Rows go in by statements of many rows each: the
interpreter's lock is let go at each step of a statement, and to have it back takes milliseconds when the program is
busy. What cannot be written is kept and tried again: a full disk ends no workflow.
"""

from __future__ import annotations

import logging
import math
import queue
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harmony.core.journal import Entry, Safe
from harmony.core.record import Record
from harmony.core.report import Counts
from harmony.store.bulk import WORKED, fold, insert, pack
from harmony.store.database import explained, query
from harmony.store.encoding import Encoder, News, Rows

_log = logging.getLogger("harmony")
#: Entries that one transaction takes, at the most: it keeps other programs from writing.
_MOST_ENTRIES = 20_000
#: Tasks whose rows are kept while they cannot be written.
_MOST_KEPT = 200_000
#: Seconds between two tries to write what could not be written, and how long each waits for a lock.
_PAUSE = 2.0
_PATIENCE_MS, _SHORT_PATIENCE_MS = 5000, 250
#: Seconds for which `close` tries.
_LAST_PATIENCE = 5.0
#: From so many values of tasks that worked in a transaction, twelve or more each, it is a flood, and they are written
#: as a chunk (see `bulk`), to be folded when nothing has come for so many seconds.
_FLOOD = 2400
_LULL = 0.25
#: For so many seconds chunks are folded when the run ends; the rest is for who reads them.
_MOST_FOLDING = 0.1


@dataclass(frozen=True)
class Flush:
    """Asks to be told when all before it has been dealt with."""

    done: threading.Event


@dataclass(frozen=True)
class Note:
    """An event, for the table of events."""

    kind: str
    subject: str
    time: float
    monotonic: float
    data: Any


@dataclass(frozen=True)
class Finish:
    """The run has ended, at a time of the monotonic clock."""

    at: float
    state: str
    work: float
    critical_path: float


Item = News | Flush | Note | Finish | None


class Writer:
    """See the module. It owns the connection, and closes it. Without `threaded`, `flush` writes, in the caller.

    `findable` is called when something has been written, here or elsewhere, that another task can find.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        run: int,
        zero: float,
        encoder: Encoder,
        counts: Callable[[], Counts],
        findable: Callable[[], None],
    ) -> None:
        self._connection = connection
        self._run = run
        self._zero = zero
        self._encoder = encoder
        self._counts = counts
        self._findable = findable
        self._path = Path(connection.execute("PRAGMA database_list").fetchone()[2])
        self._others = -1  # SQLite's number of what other connections have written
        self._queue: queue.SimpleQueue[Item] = queue.SimpleQueue()
        self._safe: Safe = lambda ended: None
        self._thread: threading.Thread | None = None
        self._turning = threading.RLock()
        self._kept: deque[Rows] = deque()
        self._next_try = 0.0
        self._has_chunks = False
        self._lost = 0
        self._has_warned = False

    def start(self, safe: Safe, *, threaded: bool) -> None:
        """Begin to write."""
        self._safe = safe
        self._set_patience(_PATIENCE_MS)
        self._others = self._count_others()
        if threaded:
            self._thread = threading.Thread(target=self._work, name="harmony-store", daemon=True)
            self._thread.start()

    def put(self, item: Item) -> None:
        """Queue it. From any thread."""
        self._queue.put(item)

    def write(self, entries: Sequence[Entry]) -> None:
        """Queue news."""
        self._queue.put((time.monotonic(), entries))

    def flush(self) -> None:
        """Return when all that was queued has been dealt with."""
        if self._thread is None:
            self._turn()
        elif threading.current_thread() is not self._thread and self._thread.is_alive():
            asked = Flush(threading.Event())
            self._queue.put(asked)
            asked.done.wait()

    def close(self) -> None:
        """Write what is left, and let go of the database."""
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join()
        else:
            self._turn()
            self._end()

    # -- the thread ------------------------------------------------------------------------------------

    def _work(self) -> None:
        while True:
            try:
                first = [self._queue.get(timeout=_PAUSE if self._kept else _LULL if self._has_chunks else None)]
            except queue.Empty:
                first = []
                self._fold()
            if self._turn(first):
                break
        self._end()
        self._turn()  # for who asked meanwhile to be told

    def _taken(self) -> list[Item]:
        items: list[Item] = []
        size = 0
        try:
            while size < _MOST_ENTRIES:
                item = self._queue.get_nowait()
                items.append(item)
                size += len(item[1]) if type(item) is tuple else 1
        except queue.Empty:
            pass
        return items

    def _turn(self, first: Sequence[Item] = ()) -> bool:
        """Write all that is queued; True when that is to be the end."""
        with self._turning:
            items = [*first, *self._taken()]
            news = [item for item in items if type(item) is tuple]
            ended = [entry for _, entries in news for entry in entries if type(entry) is Record]
            try:
                self._write_items(items, news, len(ended))
            except Exception:  # noqa: BLE001  a fault of ours must not leave futures waiting for ever
                _log.exception("a fault inside Harmony, please report it: tasks are not recorded")
        if ended:
            try:
                self._safe(ended)
            except Exception:  # noqa: BLE001  the same
                _log.exception("a fault inside Harmony, please report it")
        for item in items:
            if isinstance(item, Flush):
                item.done.set()
        return None in items

    def _write_items(self, items: Sequence[Item], news: Sequence[News], ended: int) -> None:
        rows = self._encoder.encode(news)
        rows.tasks = ended
        for item in items:
            if isinstance(item, Note):
                self._encoder.note(item.kind, item.subject, item.time, item.monotonic, item.data)
            elif isinstance(item, Finish):
                rows.ended = (item.at - self._zero, item.state, item.work, item.critical_path)
        lost, self._encoder.lost_objects = self._encoder.lost_objects, []
        rows.unkept = len(lost)
        for error in lost[:1]:
            self._warn(error)
        worked = {table: rows.tables[table] for table in WORKED if rows.tables[table]}
        if self._thread is not None and sum(map(len, worked.values())) >= _FLOOD:
            for table in worked:
                del rows.tables[table]
            rows.tables["chunk"] += [pack(worked)]
            self._has_chunks = True
        if any(rows.tables.values()) or rows.undone or rows.detached or rows.ended:
            self._told(rows)
            self._kept.append(rows)
        if self._kept:
            self._write_kept()

    def _told(self, rows: Rows) -> None:
        counts = self._counts()
        rows.told = (
            time.monotonic() - self._zero, counts.waiting, counts.submitted, counts.running, counts.done,
            counts.failed, counts.cancelled, self._encoder.recalled,
        )  # fmt: skip

    def _write_kept(self) -> None:
        now = time.monotonic()
        if now < self._next_try:
            self._bound()
            return
        try:
            while self._kept:
                self._commit(self._kept[0])
                self._lost += self._kept.popleft().unkept
        except (sqlite3.OperationalError, sqlite3.DatabaseError, OSError) as error:
            self._next_try = time.monotonic() + _PAUSE
            self._warn(error)
            self._bound()
        except Exception:  # noqa: BLE001  rows that no database takes must not stand in the way of the next
            _log.exception("a fault inside Harmony, please report it: tasks are not recorded")
            self._lost += self._kept.popleft().tasks
        else:
            if self._has_warned:
                self._has_warned = False
                self._set_patience(_PATIENCE_MS)
                _log.warning("the store can be written again")

    def _commit(self, rows: Rows) -> None:
        execute = self._connection.execute
        execute("BEGIN IMMEDIATE")
        try:
            for name, texts in (("add_text", rows.texts), ("add_shape", rows.shapes)):
                for value, number in texts.items():
                    execute(query(name), (number, value))
            for task in rows.undone:
                execute(query("drop_running"), (self._run, task))
            for table, values in rows.tables.items():
                insert(self._connection, table, self._run, values)
            for key in rows.detached:
                execute(query("drop_attachment"), (key,))
            execute(query("tell_run"), (*rows.told, self._run))
            if rows.ended:
                execute(query("end_run"), (*rows.ended, self._run))
            others = self._count_others()
            execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                execute("ROLLBACK")
            raise
        if others != self._others or rows.tables["memo"]:
            self._others = others
            self._findable()

    def _fold(self, seconds: float = math.inf) -> None:
        """Put the rows of chunks in their places while nothing else is to be done."""
        deadline = time.monotonic() + seconds
        try:
            while self._has_chunks and not self._kept and self._queue.empty() and time.monotonic() < deadline:
                self._has_chunks = fold(self._connection)
        except (sqlite3.Error, OSError):
            self._has_chunks = False  # whoever reads them will do it

    def _count_others(self) -> int:
        return int(self._connection.execute("PRAGMA data_version").fetchone()[0])

    # -- when it cannot be written -----------------------------------------------------------------------

    def _warn(self, error: sqlite3.Error | OSError) -> None:
        if not self._has_warned:
            self._has_warned = True
            self._set_patience(_SHORT_PATIENCE_MS)
            _log.warning(
                "the store cannot be written (%s: %s); the workflow goes on, and this is tried again: %s",
                type(error).__name__,
                error,
                str(explained(error, self._path)).rpartition(" (")[0],
            )

    def _set_patience(self, milliseconds: int) -> None:
        self._connection.execute(f"PRAGMA busy_timeout = {milliseconds}").fetchall()

    def _bound(self) -> None:
        kept = sum(rows.tasks for rows in self._kept)
        while kept > _MOST_KEPT and len(self._kept) > 1:
            dropped = self._kept.pop()
            self._kept[-1].texts.update(dropped.texts)  # which later rows speak of
            self._kept[-1].shapes.update(dropped.shapes)
            self._lost += dropped.tasks
            kept -= dropped.tasks

    def _end(self) -> None:
        deadline = time.monotonic() + _LAST_PATIENCE
        while self._kept:
            self._next_try = 0.0
            self._write_kept()
            if not self._kept or time.monotonic() > deadline:
                break
            time.sleep(_SHORT_PATIENCE_MS / 1000)
        self._fold(_MOST_FOLDING)
        self._lost += sum(rows.tasks for rows in self._kept)
        if self._lost:
            _log.error("%d tasks that have ended are not in the store: a resumed run will run them again", self._lost)
        self._connection.close()
