"""Opening a database: made where there is none, and refused, with what to do, where it cannot be used."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import AbstractContextManager, closing, suppress
from pathlib import Path

import pytest
from tests.store.making import Run, done, look, record

from harmony.errors import StoreError
from harmony.store import database
from harmony.store.database import APPLICATION_ID, VERSION, migrations, open_database, query, statements
from harmony.store.opened import Store


def test_a_new_database_has_the_schema_and_is_ours_alone(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    with closing(open_database(path, write=True)) as base:
        assert base.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
        assert base.execute("PRAGMA user_version").fetchone() == (VERSION,) == (len(migrations()),)
        assert base.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        tables = {row[0] for row in base.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    assert {"run", "task", "memo", "recent", "event"} <= tables
    assert path.stat().st_mode & 0o077 == 0


def test_it_is_opened_again_and_read_while_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    with closing(open_database(path, write=True)) as writer, closing(open_database(path, write=False)) as reader:
        writer.execute("BEGIN IMMEDIATE")
        writer.execute(query("add_text"), (1, "a"))
        assert reader.execute("SELECT count(*) FROM text").fetchone() == (0,)
        writer.execute("COMMIT")
        assert reader.execute("SELECT count(*) FROM text").fetchone() == (1,)
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            reader.execute(query("add_text"), (2, "b"))


def test_every_query_is_understood(tmp_path: Path) -> None:
    with closing(open_database(tmp_path / "store.db", write=True)) as base:
        for name in ("gc_temporary_goes", "gc_temporary_used"):
            base.execute(query(name))
        for name in set(database._queries()) - {"gc_temporary_goes", "gc_temporary_used"}:
            with suppress(sqlite3.ProgrammingError):  # it was understood, and takes other parameters
                base.execute(f"EXPLAIN {query(name)}")


def test_statements_are_split_at_their_ends() -> None:
    script = "-- one; two\nCREATE TABLE a (\n  x TEXT DEFAULT ';'\n);\nCREATE TABLE b (y);\n"
    assert len(statements(script)) == 2


def refuses(path: Path, *, write: bool = True) -> str:
    with pytest.raises(StoreError) as refused:
        open_database(path, write=write)
    assert str(path.name) in str(refused.value)
    return str(refused.value)


def test_nothing_to_read(tmp_path: Path) -> None:
    assert "no run was recorded here" in refuses(tmp_path / "store.db", write=False)


def test_what_is_no_database(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    path.write_text("a letter to a friend " * 400)
    path.chmod(0o600)
    for write in (True, False):
        assert "is no database, or damaged; move" in refuses(path, write=write)


def test_another_programs_database(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    with closing(sqlite3.connect(path)) as base:
        base.execute("CREATE TABLE t (x)")
    path.chmod(0o600)
    assert "not of Harmony" in refuses(path)


def test_a_later_version(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    with closing(open_database(path, write=True)) as base:
        base.execute(f"PRAGMA user_version = {VERSION + 1}")
    for write in (True, False):
        assert f"is of version {VERSION + 1}" in refuses(path, write=write)


def test_a_damaged_database(tmp_path: Path) -> None:
    with Run(tmp_path) as run:
        run.write(*(done(record(id)) for id in range(2000)))
    path = tmp_path / "store.db"
    data = bytearray(path.read_bytes())
    data[100:4096] = b"\xee" * (4096 - 100)  # the page that holds the schema
    path.write_bytes(data)
    for write in (True, False):
        assert "is damaged; move" in refuses(path, write=write)


def test_one_that_others_can_write(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    open_database(path, write=True).close()
    path.chmod(0o666)
    assert "chmod -R go-w" in refuses(path)
    path.chmod(0o600)
    tmp_path.chmod(0o777)
    with pytest.raises(StoreError, match="can be written by others"):
        Store(tmp_path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_one_that_belongs_to_another(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    open_database(path, write=True).close()
    os.chown(path, 12345, -1)
    assert "belongs to user 12345" in refuses(path)


@pytest.mark.parametrize("name", ["file/store", "file"])
def test_a_place_where_no_directory_can_be(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be made"):
        Store(tmp_path / name)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_directory_that_cannot_be_written(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(StoreError, match="see that you may write there"):
        Store(tmp_path / "store")


def test_a_full_disk(tmp_path: Path, file_limit: Callable[[int], AbstractContextManager[None]]) -> None:
    Run(tmp_path / "old").end()
    with file_limit(0):
        for name in ("new", "old"):
            with pytest.raises(StoreError, match="name a store elsewhere"):
                Run(tmp_path / name)
    Run(tmp_path / "old").end()


def test_one_that_another_process_does_not_let_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "store.db"
    open_database(path, write=True).close()
    monkeypatch.setattr(database, "PATIENCE", 0.05)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        other.execute("INSERT INTO text VALUES (1, 'a')")
        other.execute("COMMIT")
        assert "is in use by another process" in refuses(path)


def test_an_archive_that_cannot_be_written_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Run(tmp_path / "store") as run:
        run.write(done(record(1)))
    real = database._connect

    class Late:
        """Fails like SQLite where its own files beside the database cannot be made, which root could make anywhere."""

        def __init__(self, *_: object) -> None: ...
        def execute(self, _: str) -> None:
            raise sqlite3.OperationalError("unable to open database file")

        def close(self) -> None: ...

    monkeypatch.setattr(os, "access", lambda *_: False)
    monkeypatch.setattr(
        database, "_connect", lambda path, mode, patience: real(path, mode, patience) if "immutable" in mode else Late()
    )
    assert look(tmp_path / "store", "SELECT id FROM task") == [(1,)]


def test_shared_file_systems_do_not_get_a_wal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "store.db"
    open_database(path, write=True).close()
    monkeypatch.setattr(database, "is_shared", lambda _: True)
    with closing(open_database(path, write=True)) as base:
        assert base.execute("PRAGMA journal_mode").fetchone() == ("truncate",)
    with Run(tmp_path) as run:
        run.write(done(record(1)))
        assert run.rows("SELECT id FROM task") == [(1,)]
