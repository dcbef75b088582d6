"""How the history gets at the store: a connection that can only read, and the question whether a driver lives.

SQLite reads a store in WAL mode through a shared file beside it. Where that file cannot be made, because the store
lies on a medium that cannot be written to, the store is read as what it then is: a file that does not change.
"""

from __future__ import annotations

import os
import sqlite3
import struct
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from harmony.errors import StoreError
from harmony.store.database import APPLICATION_ID, VERSION, query

#: Seconds that a reader waits for a lock that no other part of Harmony takes.
_PATIENCE = 10.0


def open_for_reading(path: Path) -> sqlite3.Connection:
    """Open the store in this file. Raises `StoreError`."""
    if not path.is_file():
        raise StoreError(f"there is no store in {path.parent}: it has no file {path.name}")
    with translated(path.parent):
        try:
            base = _connect(path, "mode=ro")
        except sqlite3.OperationalError as error:
            if "unable to open" not in str(error) or not os.access(path, os.R_OK):
                raise
            base = _connect_unchanging(path)
        try:
            _check(base, path.parent)
        except BaseException:
            base.close()
            raise
    return base


def read(
    base: sqlite3.Connection, directory: Path, name: str, values: Mapping[str, object]
) -> Iterator[tuple[Any, ...]]:  # fmt: skip
    """Yield the rows of a query as they are read. Raises `StoreError`."""
    with translated(directory), closing(base.execute(query(name), values)) as cursor:
        yield from cursor


@contextmanager
def translated(directory: Path) -> Iterator[None]:
    """Raise SQLite's errors as `StoreError`."""
    try:
        yield
    except sqlite3.Error as error:
        raise _translated(error, directory) from error


def _connect(path: Path, how: str) -> sqlite3.Connection:
    base = sqlite3.connect(
        f"file:{quote(os.path.abspath(path))}?{how}", uri=True, timeout=_PATIENCE, isolation_level=None
    )
    try:
        base.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
    except BaseException:
        base.close()
        raise
    return base


def _connect_unchanging(path: Path) -> sqlite3.Connection:
    log = Path(f"{path}-wal")
    if log.exists() and log.stat().st_size:
        raise StoreError(
            f"the store {path.parent} was left with changes in {log.name}, and they cannot be read where nothing can "
            "be written: copy the directory to a place where you can write, and point there with --store"
        )
    return _connect(path, "immutable=1")


def _check(base: sqlite3.Connection, directory: Path) -> None:
    (application,) = base.execute("PRAGMA application_id").fetchone()
    (version,) = base.execute("PRAGMA user_version").fetchone()
    if application not in (APPLICATION_ID, 0) or (not application and version):
        raise StoreError(f"{directory / 'store.db'} is a database of another program; point to a store with --store")
    if not version:
        raise StoreError(
            f"the store {directory} has nothing in it yet: it is being made, or its making was interrupted"
        )
    if version > VERSION:
        raise StoreError(
            f"the store {directory} was written by a newer Harmony (version {version} of the schema, this one knows "
            f"{VERSION}): read it with that, or upgrade"
        )


def _translated(error: sqlite3.Error, directory: Path) -> StoreError:
    text = str(error)
    if "malformed" in text or "not a database" in text:
        return StoreError(
            f"the store {directory} is damaged ({text}): put a copy of store.db back, or move the directory away and "
            "run the program again; `sqlite3 store.db .recover` saves what can be read"
        )
    if "locked" in text or "busy" in text:
        return StoreError(f"the store {directory} is locked by another process ({text}): try again when that has ended")
    return StoreError(f"the store {directory} cannot be read: {text}")


def is_alive(directory: Path, lock: str, pid: int, host: str) -> bool:
    """True when the driver of a run lives: it holds its lock."""
    if pid == os.getpid() and host == os.uname().nodename:
        return True  # and its lock must not be touched: closing its file anywhere in a process lets go of it
    try:
        descriptor = os.open(directory / "locks" / lock, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return _is_held(descriptor)
    finally:
        os.close(descriptor)


def _is_held(descriptor: int) -> bool:
    """Ask who holds the lock, without trying for it: a driver that begins just now would find it taken."""
    import fcntl

    if sys.platform == "linux":
        asked = struct.pack("@hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        answer = struct.unpack_from("@h", fcntl.fcntl(descriptor, fcntl.F_GETLK, asked))
    else:
        asked = struct.pack("@qqihh", 0, 0, 0, fcntl.F_WRLCK, os.SEEK_SET)
        answer = struct.unpack_from("@qqih", fcntl.fcntl(descriptor, fcntl.F_GETLK, asked))[-1:]
    return bool(answer[0] != fcntl.F_UNLCK)
