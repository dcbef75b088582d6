"""Stores for the tests of exports: the sample, with a program and files that are really there."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from tests.store.sample import BEGAN, make_sample

HOME = "/home/ada/project"


@contextmanager
def changed(store: Path) -> Iterator[sqlite3.Connection]:
    """Change a store behind Harmony's back."""
    with closing(sqlite3.connect(store / "store.db")) as base:
        yield base
        base.commit()


def make_project(folder: Path, tasks: int = 45) -> Path:
    """Make a project with its store, its program, and the files that the tasks read and wrote; return the store."""
    store = make_sample(folder / ".harmony", tasks)
    (folder / "campaign.py").write_text("print('the program')\n")
    (folder / "work").mkdir()
    with changed(store) as base:
        base.execute("UPDATE run SET directory = ?", (str(folder),))
        base.execute("UPDATE file SET path = replace(path, ?, ?), mtime = ?", (HOME, str(folder), int(BEGAN * 1e9)))
        rows = base.execute("SELECT DISTINCT path, size, mtime FROM file").fetchall()
        for path, size, mtime in rows:
            put(Path(path), size, mtime)
    return store


def put(path: Path, size: int, mtime: int) -> None:
    """Make a file of that size and time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size)
    os.utime(path, ns=(mtime, mtime))
