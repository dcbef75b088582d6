"""The database of a store: opening it safely, bringing it up to date, and the SQL that is used on it.

SQL lives in .sql files: migrations in ``schema/NNNN.sql``, one number a version; queries, each under a line
``-- name: what``, in ``queries/*.sql``.
"""

from __future__ import annotations

import functools
import os
import sqlite3
import stat
import time
from importlib import resources
from pathlib import Path
from urllib.parse import quote

from harmony.errors import StoreError

#: The file's name within the store's directory.
NAME = "store.db"
#: "HRMY": how SQLite files tell whose they are.
APPLICATION_ID = 0x48524D59
#: Of the schema: how many scripts make it.
VERSION = 1
#: Seconds to wait for another process that writes, when a store is opened.
PATIENCE = 15.0
#: File systems that are shared between machines: SQLite's WAL needs memory that all its users share.
_SHARED = frozenset(
    {
        "9p", "acfs", "afs", "beegfs", "ceph", "cifs", "fhgfs", "fuse.ceph", "fuse.glusterfs", "fuse.sshfs", "gfs2",
        "glusterfs", "gpfs", "lustre", "ncpfs", "nfs", "nfs4", "ocfs2", "orangefs", "panfs", "pvfs2", "smb3", "smbfs",
        "wekafs",
    }
)  # fmt: skip
#: The least with which a power failure cannot damage the file.
_SYNCHRONOUS = {"WAL": "NORMAL", "TRUNCATE": "FULL"}
#: Pages of WAL after which they are copied to the database; and how large the WAL is left then.
_CHECKPOINT_PAGES = 8000
_WAL_BYTES = 64 << 20
_CACHE_KIB = 64 << 10


@functools.cache
def query(name: str) -> str:
    """Return the SQL of this name."""
    return _queries()[name]


@functools.cache
def _queries() -> dict[str, str]:
    found: dict[str, str] = {}
    for file in (resources.files("harmony.store") / "queries").iterdir():
        if not file.name.endswith(".sql"):
            continue
        for block in f"\n{file.read_text('utf-8')}".split("\n-- name:")[1:]:
            name, _, sql = block.partition("\n")
            if name.strip() in found:
                raise ValueError(f"two queries are named {name.strip()!r}")
            found[name.strip()] = sql.strip().removesuffix(";")
    return found


@functools.cache
def migrations() -> tuple[str, ...]:
    """Return the scripts that make the schema, in order: the version of a database is how many were run on it."""
    folder = resources.files("harmony.store") / "schema"
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".sql")), key=lambda file: file.name)
    return tuple(file.read_text("utf-8") for file in files)


def open_database(path: str | os.PathLike[str], *, write: bool) -> sqlite3.Connection:
    """Open the database, and with `write` make it and bring it up to date. In autocommit; usable from any thread.

    Raises `StoreError` where it cannot be used as it is, also (for writing) where others could have put something
    into it: what tasks came to is unpickled from it.
    """
    path = Path(path)
    try:
        if write:
            check_owner(path.parent)
            if path.exists():
                check_owner(path)
            return _open_to_write(path)
        return _open_to_read(path)
    except (sqlite3.Error, OSError) as error:
        raise explained(error, path) from error


def _open_to_write(path: Path) -> sqlite3.Connection:
    if not path.exists():
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    connection = _connect(path, "mode=rw", PATIENCE)
    try:
        _check_identity(connection, path)
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL").fetchall()  # heeded while the file is empty
        mode = _set_journal(connection, path)
        for pragma in (
            f"synchronous = {_SYNCHRONOUS[mode]}", f"wal_autocheckpoint = {_CHECKPOINT_PAGES}",
            f"journal_size_limit = {_WAL_BYTES}", f"cache_size = -{_CACHE_KIB}", "temp_store = MEMORY", "mmap_size = 0",
            "secure_delete = OFF",
        ):  # fmt: skip
            connection.execute(f"PRAGMA {pragma}").fetchall()
        _migrate(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def _open_to_read(path: Path) -> sqlite3.Connection:
    if not path.is_file():
        raise StoreError(f"{path} is not there: no run was recorded here; name the store with --store or HARMONY_STORE")
    connection = _connect(path, "mode=ro", PATIENCE)
    try:
        try:
            version = _check_identity(connection, path)
        except sqlite3.OperationalError:
            if os.access(path.parent, os.W_OK) or Path(f"{path}-wal").exists():
                raise
            connection.close()  # on a medium that cannot be written even SQLite's own files beside it cannot be made
            connection = _connect(path, "mode=ro&immutable=1", PATIENCE)
            version = _check_identity(connection, path)
        if version < VERSION:
            connection.close()
            _open_to_write(path).close()
            connection = _connect(path, "mode=ro", PATIENCE)
        connection.execute("PRAGMA temp_store = MEMORY").fetchall()
    except BaseException:
        connection.close()
        raise
    return connection


def _connect(path: Path, mode: str, patience: float) -> sqlite3.Connection:
    return sqlite3.connect(
        f"file:{quote(os.path.abspath(path))}?{mode}", uri=True, timeout=patience, isolation_level=None,
        check_same_thread=False, cached_statements=256,
    )  # fmt: skip


def _check_identity(connection: sqlite3.Connection, path: Path) -> int:
    """Return the version; raise `StoreError` for what is another's, or of a later Harmony."""
    owner = connection.execute("PRAGMA application_id").fetchone()[0]
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if owner != APPLICATION_ID and (tables or version or owner):
        raise StoreError(f"{path} is a database, but not of Harmony; name another store with --store or HARMONY_STORE")
    if version > VERSION:
        raise StoreError(
            f"{path} is of version {version}, this Harmony knows {VERSION}: use a later Harmony, "
            "or name another store with --store or HARMONY_STORE"
        )
    return version


def _set_journal(connection: sqlite3.Connection, path: Path) -> str:
    """WAL, where all who use the file are on one machine; elsewhere the journal that needs file locks only."""
    mode = "TRUNCATE" if is_shared(path) else "WAL"
    if connection.execute("PRAGMA journal_mode").fetchone()[0].upper() == mode:
        return mode
    begun = time.monotonic()
    while True:  # while another process opens it too, SQLite refuses this at once
        try:
            connection.execute(f"PRAGMA journal_mode = {mode}").fetchone()
            return mode
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() - begun > PATIENCE:
                raise
            time.sleep(0.01)


def is_shared(path: Path) -> bool:
    """True when the file system may be used by several machines at once."""
    place = os.path.realpath(path.parent)
    best, kind = "", ""
    try:
        with open("/proc/self/mounts", encoding="utf-8", errors="surrogateescape") as mounts:
            for line in mounts:
                _, point, found, *_ = line.split(" ")
                point = point.replace("\\040", " ")
                if len(point) >= len(best) and (place == point or place.startswith(os.path.join(point, ""))):
                    best, kind = point, found
    except OSError:  # not Linux
        return False
    return kind in _SHARED


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    scripts = migrations()
    if connection.execute("PRAGMA user_version").fetchone()[0] == VERSION:
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        for number in range(_check_identity(connection, path), VERSION):
            for statement in statements(scripts[number]):
                connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {VERSION}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def statements(script: str) -> list[str]:
    """Split a script: SQLite's own way to run one ends the transaction around it."""
    found, text = [], ""
    for line in script.splitlines(keepends=True):
        text += line
        if sqlite3.complete_statement(text):
            found.append(text)
            text = ""
    return [*found, text] if text.strip() else found


def check_owner(path: Path) -> None:
    """Raise `StoreError` where others could write: what is read from there is unpickled, which runs code."""
    status = os.stat(path)
    if status.st_uid != os.geteuid():
        raise StoreError(
            f"{path} belongs to user {status.st_uid}, you are {os.geteuid()}: Harmony writes to a store of your own "
            "only, since whoever can write to it can run code as you; name one with --store or HARMONY_STORE"
        )
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise StoreError(
            f"{path} can be written by others, who could run code as you by it; if you trust what is in it: "
            f"chmod -R go-w {path if path.is_dir() else path.parent}"
        )


#: Part of SQLite's text → what it means here, and what to do.
_MEANINGS = (
    ("locked", "is in use by another process that does not let go; end that process (`fuser {path}` names it)"),
    ("busy", "is in use by another process that does not let go; end that process (`fuser {path}` names it)"),
    ("full", "cannot be written, the disk is full; make room, or name a store elsewhere"),
    ("readonly", "cannot be written; give yourself permission, or name a store elsewhere"),
    ("not a database", "is no database, or damaged; move {folder} away, and a new one is made"),
    (
        "malformed",
        "is damaged; move {folder} away, and a new one is made; `sqlite3 {path} .recover` saves what can be read",
    ),
    ("protocol", "is on a file system without file locks; name a store elsewhere"),
)


def explained(error: sqlite3.Error | OSError, path: Path) -> StoreError:
    """Return what a failure means, and what to do."""
    text = str(error)
    otherwise = "cannot be used; see that you may write there, or name a store elsewhere"
    meaning = next((meaning for part, meaning in _MEANINGS if part in text), otherwise)
    where = "" if "elsewhere" not in meaning else " with --store or HARMONY_STORE, or use none with HARMONY_STORE=none"
    return StoreError(f"{path} {meaning.format(path=path, folder=path.parent)}{where} ({type(error).__name__}: {text})")
