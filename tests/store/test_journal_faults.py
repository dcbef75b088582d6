"""What cannot be written ends no workflow: it is kept, tried again, and told."""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path

import pytest
from tests.store.making import Options, Run, Task, TaskState, done, look, record

from harmony.errors import StoreError
from harmony.events import Event
from harmony.store import writer

Limit = Callable[[int], AbstractContextManager[None]]


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail, and try again, sooner."""
    for name, value in {"_PATIENCE_MS": 50, "_SHORT_PATIENCE_MS": 10, "_PAUSE": 0.02, "_LAST_PATIENCE": 0.2}.items():
        monkeypatch.setattr(writer, name, value)


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Another process writes, and does not end it."""
    with closing(sqlite3.connect(directory / "store.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


def written(run: Run) -> int:
    count: int = run.rows("SELECT count(*) FROM task")[0][0]
    return count


def wait_until_written(run: Run, count: int) -> None:
    while written(run) != count:  # the test's own limit ends it
        run.journal.flush()


def test_a_locked_database(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with Run(tmp_path) as run:
        with locked(tmp_path):
            for id in range(3):
                run.write(done(record(id)))
            assert run.told.ids == [0, 1, 2]
            assert written(run) == 0
        wait_until_written(run, 3)
        run.write(done(record(3)))
        wait_until_written(run, 4)
    assert caplog.text.count("the store cannot be written (OperationalError: database is locked)") == 1
    assert caplog.text.count("can be written again") == 1
    assert run.rows("SELECT value, count(*) FROM task JOIN text ON text.id = name GROUP BY 1") == [("work", 4)]


def test_a_full_disk(tmp_path: Path, caplog: pytest.LogCaptureFixture, file_limit: Limit) -> None:
    with Run(tmp_path) as run:
        with file_limit(4096):
            run.write(*(done(record(id), "x" * 1000) for id in range(100)))
            run.journal.note([Event("worker.started", 0, 1.0, {})])
            run.write(done(record(100)))
            assert len(run.told.ids) == 101
        wait_until_written(run, 101)
        assert run.rows("SELECT count(*) FROM event") == [(1,)]
    assert caplog.text.count("the store cannot be written") == 1
    assert run.rows("PRAGMA integrity_check") == [("ok",)]


def test_a_full_disk_at_a_large_result(tmp_path: Path, caplog: pytest.LogCaptureFixture, file_limit: Limit) -> None:
    with Run(tmp_path) as run:
        with file_limit(2**20):
            run.write(done(record(1), bytes(2**21)))
        assert run.told.ids == [1]
        assert run.rows("SELECT state FROM task") == [(3,)]
        assert run.rows("SELECT count(*) FROM recent") == [(0,)]  # so it will run again
    assert caplog.text.count("the store cannot be written (OSError") == 1


def test_what_is_lost_is_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with Run(tmp_path) as run:
        run.write(done(record(1)))
        with locked(tmp_path):
            run.write(*(done(record(id)) for id in range(2, 9)))
            run.end()
    assert "7 tasks that have ended are not in the store" in caplog.text
    assert look(tmp_path, "SELECT id, state FROM task") == [(1, 3)]


def test_what_is_kept_is_bounded(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "_MOST_KEPT", 10)
    with Run(tmp_path) as run:
        with locked(tmp_path):
            for id in range(30):
                run.write(done(record(id, Task(record(0).work, f"name {id}"))))
        wait_until_written(run, 10)
        run.write(done(record(40, Task(record(0).work, "name 29"))))
    assert "20 tasks that have ended are not in the store" in caplog.text
    names = run.rows("SELECT task.id, value FROM task JOIN text ON text.id = name ORDER BY task.id")
    assert names == [*((id, f"name {id}") for id in range(10)), (40, "name 29")]


def test_rows_that_no_database_takes_do_not_stand_in_the_way(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with Run(tmp_path) as run:
        run.write(done(record(2**70)))
        run.write(done(record(1)))
        assert run.told.ids == [2**70, 1]
        assert run.rows("SELECT id FROM task") == [(1,)]
    assert "1 tasks that have ended are not in the store" in caplog.text


def test_a_fault_in_one_task_costs_no_other(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with Run(tmp_path) as run:
        bad = record(1)
        bad.state = TaskState.DONE
        del bad.future.seconds
        run.write(bad, done(record(2)))
        assert run.told.ids == [1, 2]
        assert run.rows("SELECT id FROM task") == [(2,)]
    assert "a fault inside Harmony, please report it: task 1 is not recorded" in caplog.text


def test_counts_that_fail_leave_no_future_waiting(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with Run(tmp_path) as run:
        real = run.journal._writer._counts
        run.journal._writer._counts = lambda: 1 / 0  # type: ignore[assignment, return-value]
        run.write(done(record(1)))
        assert run.told.ids == [1]
        run.journal._writer._counts = real
    assert "ZeroDivisionError" in caplog.text


def test_a_store_that_cannot_be_read_any_more_finds_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with Run(tmp_path) as run:
        run.write(done(record(1)))
    with Run(tmp_path) as run:
        run.journal._memory._connect = lambda: (_ for _ in ()).throw(StoreError("gone"))
        assert run.journal.find(b"key 000000000001") is None
        run.write(done(record(2, options=Options(cache="always"))))
        assert run.journal.find(b"key 000000000001") is None
    assert caplog.text.count("so what was done before is run again") == 1


def test_a_forked_process_leaves_the_journal_alone(tmp_path: Path) -> None:
    with Run(tmp_path, threaded=False) as run:
        run.write(done(record(1)))
        child = os.fork()
        if child == 0:
            status = 1
            try:
                run.journal.finish("stopped", None)  # type: ignore[arg-type]
                run.journal.close()
                status = 0
            finally:
                os._exit(status)
        assert os.waitpid(child, 0)[1] == 0
        run.write(done(record(2)))
        assert run.rows("SELECT state FROM run") == [(None,)]
    assert look(tmp_path, "SELECT count(*) FROM task") == [(2,)]
    assert look(tmp_path, "SELECT state FROM run") == [("done",)]


def test_warnings_are_harmonys(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with Run(tmp_path) as run:
        with locked(tmp_path):
            run.write(done(record(1)))
        wait_until_written(run, 1)
    assert {entry.name for entry in caplog.records} == {"harmony"}
    assert {entry.levelno for entry in caplog.records} == {logging.WARNING}
