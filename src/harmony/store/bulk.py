"""Many rows at once: statements of many rows each; and chunks, which keep rows in one piece until there is time.

To put a row in its place costs more than a short task does otherwise. In a flood of them a transaction therefore
writes one chunk, which is as safe, and `fold` turns it into rows: when the writer has nothing else to do or ends, when
a run begins, and when somebody reads. Whoever may write can do so, at any time: a chunk goes when its rows come.
"""

from __future__ import annotations

import functools
import io
import pickle
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, NoReturn

from harmony.store.database import open_database, query

#: How many parameters a statement may have; rows in one statement.
_MOST_PARAMETERS = 32_766 if sqlite3.sqlite_version_info >= (3, 32) else 999
_MOST_ROWS = 1024
#: The rows that may be kept in a chunk, those of tasks that worked, and where the key and the id are in each. The last
#: value is the pickled result, if any, which goes to `recent`.
WORKED = {"worked": (3, 0), "measured": (7, 4)}


def insert(connection: sqlite3.Connection, table: str, run: int, values: list[Any]) -> None:
    """Write rows that lie one after another in `values`, by the query ``add_TABLE``."""
    width = _parts(table, run)[2]
    if table in WORKED:
        key, id = WORKED[table]
        results = zip(values[key :: width + 1], values[id :: width + 1], values[width :: width + 1], strict=True)
        kept = [part for key, id, value in results if value is not None for part in (key, id, value, len(value))]
        insert(connection, "kept", run, kept)
        values = values.copy()
        del values[width :: width + 1]
    done, size = 0, _fit(width)
    while done < len(values):
        while done + size * width > len(values):
            size //= 2
        part = values[done : done + size * width]
        connection.execute(_repeated(table, run, size), part)
        done += size * width


def pack(tables: Mapping[str, list[Any]]) -> bytes:
    """Return the data of a chunk: rows as `insert` takes them, by table. There is nothing but atoms in them."""
    return pickle.dumps(tables, 5)


def has_chunks(connection: sqlite3.Connection) -> bool:
    """True when there are rows that are not in their places."""
    return bool(connection.execute(query("any_chunk")).fetchone()[0])


def fold(connection: sqlite3.Connection, last: int = 2**62) -> bool:
    """Put the rows of the oldest chunk, by numbers up to `last`, in their places; False where there is none.

    Raises `sqlite3.Error`, also for a chunk that is damaged.
    """
    if not has_chunks(connection):
        return False
    connection.execute("BEGIN IMMEDIATE")
    try:
        found = connection.execute(query("first_chunk"), (last,)).fetchall()
        for number, run, data in found:
            _insert_all(connection, number, run, data)
            connection.execute(query("drop_chunk"), (number,))
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return bool(found)


def _insert_all(connection: sqlite3.Connection, number: int, run: int, data: bytes) -> None:
    try:
        for table, values in _Unpickler(io.BytesIO(data)).load().items():
            insert(connection, table, run, values)
    except sqlite3.Error:
        raise
    except Exception as error:  # whatever comes of bytes that were changed
        raise sqlite3.DatabaseError(f"chunk {number} is malformed: {error!r}") from error


def gather(connection: sqlite3.Connection, path: Path) -> None:
    """Put the rows of all chunks in their places, for a connection to `path` that only reads.

    Raises `StoreError` or `sqlite3.Error` where the database cannot be written.
    """
    if has_chunks(connection):
        last = connection.execute(query("last_chunk")).fetchone()[0]  # what comes meanwhile is for the next look
        with closing(open_database(path, write=True)) as writing:
            while fold(writing, last):
                pass


class _Unpickler(pickle.Unpickler):
    """Who reads a store runs nothing that is in it."""

    def find_class(self, module: str, name: str) -> NoReturn:
        raise pickle.UnpicklingError(f"a chunk holds a {module}.{name}, which none does")


@functools.lru_cache(maxsize=256)
def _parts(table: str, run: int) -> tuple[str, str, int]:
    """Split a statement into what comes before its row, and the row; and count the row's parameters."""
    head, row = query(f"add_{table}").replace(":run", str(run)).rsplit("VALUES", 1)
    return f"{head}VALUES", row.strip(), row.count("?")


@functools.cache
def _fit(width: int) -> int:
    """The most rows in one statement: a power of two."""
    most = min(_MOST_ROWS, _MOST_PARAMETERS // width)
    return 1 << most.bit_length() - 1


@functools.lru_cache(maxsize=256)
def _repeated(table: str, run: int, rows: int) -> str:
    head, row, _ = _parts(table, run)
    return f"{head} {', '.join([row] * rows)}"
