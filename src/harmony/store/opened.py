"""Store: the directory of a program's journal, and how a run begins in it.

``store.db`` (SQLite) holds what happened, and small results; ``objects/`` large results, by content; ``locks/`` one
file a driver, locked while it lives.
"""

from __future__ import annotations

import contextlib
import getpass
import hashlib
import json
import os
import socket
import sqlite3
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from harmony.core.files import FileDigests
from harmony.core.report import Counts
from harmony.errors import StoreError
from harmony.store import database
from harmony.store.bulk import fold
from harmony.store.database import check_owner, explained, open_database, query
from harmony.store.encoding import Encoder
from harmony.store.environment import environment
from harmony.store.filestates import FileStates
from harmony.store.journal import Memory, StoreJournal
from harmony.store.locks import DriverLock, is_held
from harmony.store.objects import Objects
from harmony.store.writer import Writer

#: The program of a session that has no file: each is a campaign's driver of its own.
INTERACTIVE = "<interactive>"
#: Rows that are put in order in one transaction.
_MERGED = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Beginning:
    """What is run, and with what. `ordinal` tells workflows of one name in one program apart.

    Paths below `root` (None: the current directory) are remembered relative to it, so that it can be moved.
    """

    program: str
    workflow: str
    ordinal: int = 1
    argv: Sequence[str] = ()
    engines: Sequence[str] = ()
    cores: int = 1
    root: str | None = None


class Store:
    """Opens the store in `directory`, and makes it where there is none. Raises `StoreError`."""

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        self.directory = Path(os.path.abspath(directory))
        self._path = self.directory / database.NAME
        self._make()
        self._connection = open_database(self._path, write=True)

    def _make(self) -> None:
        try:
            self.directory.mkdir(0o700, parents=True, exist_ok=True)
            check_owner(self.directory)
            for name in ("objects", "locks"):
                (self.directory / name).mkdir(0o700, exist_ok=True)
                check_owner(self.directory / name)
            ignore = self.directory / ".gitignore"
            if not ignore.exists():
                ignore.write_text("*\n", "utf-8")
        except OSError as error:
            raise StoreError(
                f"the store {self.directory} cannot be made ({error.strerror}): see that you may write there and that "
                "there is room, or name a store elsewhere with --store or HARMONY_STORE"
            ) from error

    def begin(
        self, what: Beginning, *, counts: Callable[[], Counts], fresh: bool = False, threaded: bool = True
    ) -> StoreJournal:
        """Begin a run; return its journal, to be closed. With `fresh` nothing is found, but all is recorded.

        `counts` tells, from the journal's thread, how many tasks are where. Without `threaded` nothing is written
        before `flush`. Raises `StoreError`, also when a living driver has the run.
        """
        name = _lock_name(what)
        lock = DriverLock(self.directory / "locks" / name, f"workflow {what.workflow!r} of {what.program}")
        try:
            with self._explained():
                return self._begin(what, lock, counts, fresh=fresh, threaded=threaded)
        except BaseException:
            lock.release()
            raise

    def _begin(
        self, what: Beginning, lock: DriverLock, counts: Callable[[], Counts], *, fresh: bool, threaded: bool
    ) -> StoreJournal:
        zero, began = time.monotonic(), time.time()
        if not fresh:
            self._merge()
        with transaction(self._connection) as execute:
            campaign = self._campaign(what)
            resumes = execute(query("last_run"), (campaign,)).fetchone()[0]
            run = execute(
                query("add_run"),
                (
                    str(uuid.uuid4()), campaign, resumes, json.dumps(list(what.argv)), os.getcwd(), _user(),
                    socket.gethostname(), os.getpid(), lock.path.name, json.dumps(list(what.engines)), what.cores,
                    json.dumps(environment()), began, zero,
                ),
            ).lastrowid  # fmt: skip
        assert run is not None
        lock.tell(run=run)
        handles = {} if fresh else self._handles(lock)
        memory = Memory(partial(open_database, self._path, write=False), handles, run if fresh else None)
        if self._connection.execute(query("any_memo")).fetchone()[0] and not fresh:
            memory.fill()
        digests = FileDigests()
        digests.load(self._connection.execute(query("digests")))
        files = FileStates(what.root or os.getcwd(), digests)
        objects = Objects(self.directory / "objects", lock.path.name)
        encoder = Encoder(run, zero, objects, files)
        encoder.attached(list(handles))
        tag = hashlib.sha256(repr((what.program, what.workflow, what.ordinal)).encode()).digest()[:16]
        writer = Writer(open_database(self._path, write=True), run, zero, encoder, counts, memory.fill)
        return StoreJournal((run, resumes), writer, memory, (objects, files), lock, tag, threaded=threaded)

    def _campaign(self, what: Beginning) -> int:
        named = (what.program, what.workflow, what.ordinal)
        found = self._connection.execute(query("find_campaign"), named).fetchone()
        if found is not None:
            return int(found[0])
        return int(self._connection.execute(query("add_campaign"), named).lastrowid or 0)

    def _merge(self) -> None:
        """Put what recent runs came to in order, so that it is found."""
        while fold(self._connection):
            pass
        first, last = self._connection.execute(query("recent_bounds")).fetchone()
        while first <= last:
            bounds = (first, first + _MERGED - 1)
            with transaction(self._connection) as execute:
                execute(query("merge_recent"), bounds)
                execute(query("drop_recent"), bounds)
            first += _MERGED

    def _handles(self, ours: DriverLock) -> dict[bytes, tuple[str, str]]:
        """What drivers that are dead have left running; as is whoever had the lock that we have now."""
        found: dict[bytes, tuple[str, str]] = {}
        living: dict[str | None, bool] = {None: False, ours.path.name: False}
        for key, engine, handle, name in self._connection.execute(query("attachments")).fetchall():
            if name not in living:
                living[name] = is_held(self.directory / "locks" / name)
            if not living[name]:
                found[key] = (engine, handle)
        return found

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise explained(error, self._path) from error

    def close(self) -> None:
        """Let go of the database. Idempotent; journals are closed by themselves."""
        self._connection.close()


@contextlib.contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[Callable[..., sqlite3.Cursor]]:
    """Write, or leave everything as it was."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield connection.execute
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _lock_name(what: Beginning) -> str:
    parts: list[Any] = [what.program, what.workflow, what.ordinal, list(what.argv), os.getcwd()]
    if what.program == INTERACTIVE:
        parts.append(f"{socket.gethostname()} {os.getpid()}")
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        return str(os.getuid())
