"""The journal of one run, in a store: what the kernel's port asks for, and how the run ends."""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from harmony.core.files import FileDigests
from harmony.core.journal import Entry, Found, Journal, Safe, StaleError
from harmony.core.report import Report
from harmony.errors import StoreError
from harmony.events import Event
from harmony.store.database import query
from harmony.store.filestates import FileStates
from harmony.store.locks import DriverLock
from harmony.store.objects import Objects, unpickled
from harmony.store.writer import Finish, Note, Writer

_log = logging.getLogger("harmony")


class Memory:
    """What tasks came to. `connect` makes a connection for the kernel's loop, when there is a need.

    `only` is the run whose results alone are found, None for all. `is_empty` is True until there is something to find.
    """

    def __init__(
        self, connect: Callable[[], sqlite3.Connection], handles: Mapping[bytes, tuple[str, str]], only: int | None
    ) -> None:
        self._connect = connect
        self._connection: sqlite3.Connection | None = None
        self._sql = query("find_memo")
        self._handles = handles
        self._only = only
        self._is_broken = False
        self.is_empty = True

    def fill(self) -> None:
        """Take note that something can be found. From any thread."""
        self.is_empty = self._is_broken

    def find(self, key: bytes) -> Found | None:
        """See `Journal.find`."""
        try:
            if self._connection is None:
                self._connection = self._connect()
            row = self._connection.execute(self._sql, (key,)).fetchone()
        except (sqlite3.Error, StoreError) as error:
            self._is_broken = self.is_empty = True
            _log.warning(
                "the store cannot be read, so what was done before is run again (%s: %s)", type(error).__name__, error
            )
            return None
        return None if row is None or self._only not in (None, row[0]) else Found._make(row)

    def handle(self, key: bytes, engine: str) -> str | None:
        """See `Journal.handle`."""
        found = self._handles.get(key)
        return found[1] if found is not None and found[0] == engine else None

    def close(self) -> None:
        """Let go of the connection."""
        self._is_broken = self.is_empty = True
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class StoreJournal(Journal):
    """See the module. Made by `Store.begin`."""

    def __init__(
        self,
        run: tuple[int, int | None],
        writer: Writer,
        memory: Memory,
        contents: tuple[Objects, FileStates],
        lock: DriverLock,
        campaign: bytes,
        *,
        threaded: bool,
    ) -> None:
        self._run, self.resumes = run
        self._writer = writer
        self._memory = memory
        self._objects, self._files = contents
        self._lock = lock
        self._campaign = campaign
        self._threaded = threaded
        self._is_closed = False

    @property
    def run_id(self) -> int:
        """The number of this run in its store."""
        return self._run

    @property
    def campaign(self) -> bytes:
        """What tells this run and those that resume it from all others."""
        return self._campaign

    @property
    def digests(self) -> FileDigests:
        """The contents of files that earlier runs have read; what is added is kept for later ones."""
        return self._files.digests

    def find(self, key: bytes) -> Found | None:
        """See `Journal.find`."""
        return None if self._memory.is_empty else self._memory.find(key)

    def load(self, found: Found) -> Any:
        """See `Journal.load`."""
        if found.files is not None:
            self._files.verify(found.files)
        if found.value is not None:
            return unpickled(found.value)
        if found.object is None:
            raise StaleError("the store has no value for this task")
        return self._objects.load(found.object)

    def handle(self, key: bytes, engine: str) -> str | None:
        """See `Journal.handle`."""
        return self._memory.handle(key, engine)

    def start(self, safe: Safe) -> None:
        """See `Journal.start`."""
        self._writer.start(safe, threaded=self._threaded)

    def write(self, entries: Sequence[Entry]) -> None:
        """See `Journal.write`."""
        self._writer.write(entries)

    def note(self, events: Sequence[Event]) -> None:
        """Keep events of the run, its engines, workers and jobs. From any thread."""
        now = time.monotonic()
        for event in events:
            at = event.monotonic or now
            self._writer.put(Note(event.kind, str(event.subject), event.time, at, dict(event.data)))

    def flush(self) -> None:
        """See `Journal.flush`."""
        self._writer.flush()

    def finish(self, state: str, report: Report) -> None:
        """Write how the run has ended: 'done', 'failed' or 'stopped'. Once; nothing in a process that was forked."""
        if self._is_closed or not self._lock.is_mine:
            return
        self._writer.put(Finish(time.monotonic(), state, report.work, report.critical_path))
        self._writer.flush()

    def close(self) -> None:
        """Write what is left, and let the next driver begin. Idempotent; nothing in a process that was forked."""
        if self._is_closed or not self._lock.is_mine:
            return
        self._is_closed = True
        try:
            self._writer.close()
            self._memory.close()
        finally:
            self._lock.release()
