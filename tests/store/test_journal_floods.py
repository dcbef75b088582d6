"""A flood of short tasks is written in one piece, which is as safe, and put in its places when there is time."""

from __future__ import annotations

import os
import pickle
import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tests.store.making import Options, Run, done, look, record

from harmony.core.engine import Usage
from harmony.core.journal import Started
from harmony.core.task import TaskState
from harmony.errors import StoreError
from harmony.store import bulk, writer
from harmony.store.database import open_database

COUNT = writer._FLOOD // 12 + 10


@pytest.fixture(autouse=True)
def _without_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave chunks to those who read."""
    monkeypatch.setattr(writer, "_LULL", 3600.0)
    monkeypatch.setattr(writer, "_MOST_FOLDING", 0.0)


def raw(directory: Path, sql: str) -> list[tuple[Any, ...]]:
    """What is in the database, with nothing done to it."""
    with closing(open_database(directory / "store.db", write=False)) as base:
        return base.execute(sql).fetchall()


def flood(run: Run, first: int = 1) -> None:
    run.write(*(done(record(id), id) for id in range(first, first + COUNT)))


def test_a_flood_is_one_row_until_it_is_read(tmp_path: Path) -> None:
    with Run(tmp_path) as run:
        flood(run)
        assert run.told.ids == list(range(1, COUNT + 1))
        assert raw(tmp_path, "SELECT run, (SELECT count(*) FROM task), (SELECT count(*) FROM recent) FROM chunk") == [
            (1, 0, 0)
        ]
    assert look(tmp_path, "SELECT id, state FROM task") == [(id, 3) for id in range(1, COUNT + 1)]
    assert look(tmp_path, "SELECT count(*), sum(size) > 0 FROM recent") == [(COUNT, 1)]
    assert raw(tmp_path, "SELECT count(*) FROM chunk") == [(0,)]


def test_rows_are_the_same_as_without(tmp_path: Path) -> None:
    made = [
        record(1, usage=Usage(0.5, 10, 20, 30)),
        record(2, options=Options(cache="never")),
        record(3, options=Options(cache="always")),
        record(4),
        record(5),
        record(6, key=None),
    ]
    results = [1, 2, 3, [4], b"5" * 100_000, None]
    for folder, size in (("few", 1), ("flood", COUNT)):
        entries = [done(one, result, seconds=0.25) for one, result in zip(made, results, strict=True)]
        with Run(tmp_path / folder) as run:
            run.journal.write(entries + [done(record(id), None) for id in range(10, 10 + size)])
            run.journal.flush()
    for sql in (
        "SELECT id, kind, state, attempts, key, seconds, cpu, memory, read, written, path FROM task WHERE id < 10",
        "SELECT key, task, value, object, size FROM recent WHERE task < 10 ORDER BY task",
        "SELECT key, task, value, object, size FROM memo",
    ):
        rows = look(tmp_path / "few", sql)
        assert rows == look(tmp_path / "flood", sql)
        assert rows != []


def test_what_a_flood_came_to_is_found_by_the_next_run(tmp_path: Path) -> None:
    with Run(tmp_path) as run:
        flood(run)
    with Run(tmp_path) as run:
        for id in range(1, COUNT + 1):
            found = run.journal.find(b"key %012d" % id)
            assert found is not None
            assert run.journal.load(found) == id


def test_what_was_seen_running_is_not_in_a_chunk(tmp_path: Path) -> None:
    with Run(tmp_path) as run:
        long = record(10**6)
        long.state = TaskState.RUNNING
        run.write(Started(long, time.monotonic()))
        assert raw(tmp_path, "SELECT id, state FROM task") == [(10**6, 2)]
        run.write(done(long), *(done(record(id)) for id in range(COUNT)))
        assert raw(tmp_path, "SELECT id, state FROM task") == [(10**6, 3)]
        assert raw(tmp_path, "SELECT count(*) FROM chunk") == [(1,)]


def test_the_writer_puts_it_in_its_places_when_there_is_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folded = threading.Event()

    def fold(connection: sqlite3.Connection) -> bool:
        there_was_one = bulk.fold(connection)
        if not there_was_one:
            folded.set()
        return there_was_one

    monkeypatch.setattr(writer, "_LULL", 0.01)
    monkeypatch.setattr(writer, "fold", fold)
    with Run(tmp_path) as run:
        flood(run)
        flood(run, COUNT + 1)
        assert folded.wait(30)
        assert raw(tmp_path, "SELECT count(*), (SELECT count(*) FROM chunk) FROM task") == [(2 * COUNT, 0)]


def test_the_writer_puts_it_in_its_places_at_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "_MOST_FOLDING", 60.0)
    with Run(tmp_path) as run:
        flood(run)
    assert raw(tmp_path, "SELECT count(*), (SELECT count(*) FROM chunk) FROM task") == [(COUNT, 0)]


def test_several_may_put_it_in_its_places_at_once(tmp_path: Path) -> None:
    with Run(tmp_path) as run:
        for first in range(0, 20 * COUNT, COUNT):
            flood(run, first)

    def fold_all() -> None:
        with closing(open_database(tmp_path / "store.db", write=True)) as base:
            while bulk.fold(base):
                pass

    threads = [threading.Thread(target=fold_all) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    counts = "SELECT count(*), (SELECT count(*) FROM recent), (SELECT count(*) FROM chunk) FROM task"
    assert raw(tmp_path, counts) == [(20 * COUNT, 20 * COUNT, 0)]
    assert raw(tmp_path, "PRAGMA integrity_check") == [("ok",)]


def test_who_may_not_write_is_told(tmp_path: Path) -> None:
    with Run(tmp_path) as run:
        flood(run)
    os.chmod(tmp_path / "store.db", 0o666)  # which nobody writes to, as anybody else could
    with closing(open_database(tmp_path / "store.db", write=False)) as base, pytest.raises(StoreError, match="chmod"):
        bulk.gather(base, tmp_path / "store.db")


def test_a_chunk_runs_no_code(tmp_path: Path) -> None:
    with Run(tmp_path):
        pass
    with closing(open_database(tmp_path / "store.db", write=True)) as base:
        base.execute("INSERT INTO chunk (run, data) VALUES (1, ?)", (pickle.dumps({"worked": [os.getcwd]}),))
        with pytest.raises(sqlite3.DatabaseError, match=r"chunk 1 is malformed.*getcwd"):
            bulk.fold(base)
        assert not base.in_transaction
