"""Garbage collection: what is old goes, what is needed stays, and drivers that live go on."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from tests.store.making import Run, done, look, record
from tests.store.sample import create, held, key_of, make_sample

from harmony.errors import StoreError
from harmony.store import database, gc, locks
from harmony.store.gc import Garbage, Limits, choose, collect
from harmony.store.history import History
from harmony.store.locks import DriverLock, is_held

TABLES = ("task", "attempt", "failure", "edge", "file", "command", "output", "event")
DAY = 86400.0
TAKER = "import fcntl, sys; fcntl.lockf(open(sys.argv[1], 'a'), fcntl.LOCK_EX | fcntl.LOCK_NB)"
REMOVER = """
import fcntl, os, sys
file = open(sys.argv[1])
fcntl.lockf(file, fcntl.LOCK_SH)
print("locked", flush=True)
sys.stdin.readline()
os.unlink(sys.argv[1])
"""


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return make_sample(tmp_path / ".harmony")


@contextmanager
def opened(store: Path) -> Iterator[sqlite3.Connection]:
    """Change a store by SQL."""
    with closing(create(store / "store.db")) as base:
        yield base


def rows_of(store: Path, run: int) -> dict[str, list[tuple[object, ...]]]:
    """What the tables have of a run."""
    return {table: look(store, f"SELECT * FROM {table} WHERE run = {run}") for table in (*TABLES, "memo")}


def make_old(*paths: Path) -> None:
    """Let files be of yesterday."""
    for path in paths:
        os.utime(path, (time.time() - DAY, time.time() - DAY))


# -- which runs ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limits", "chosen"),
    [
        (Limits(), []),
        (Limits(keep=3), []),
        (Limits(keep=2), [1]),
        (Limits(keep=1), [2, 1]),
        (Limits(keep=0), [3, 2, 1]),
        (Limits(older=0.5 * DAY), [2, 1]),
        (Limits(older=1.5 * DAY), [1]),
        (Limits(older=1.5 * DAY, keep=2), [1]),
        (Limits(older=2.5 * DAY, keep=0), []),
        (Limits(older=1.5 * DAY, keep=0), [1]),
    ],
)
def test_runs_go_that_are_both_old_and_beyond_those_kept(store: Path, limits: Limits, chosen: list[int]) -> None:
    with History(store) as history:
        run = history.run(2)
    now = 1_800_000_000.0
    runs = [replace(run, id=number, began=now - (3 - number) * DAY - 10.0, ended=5.0) for number in (3, 2, 1)]
    assert [run.id for run in choose(runs, limits, now)] == chosen
    of_another = replace(runs[0], id=4, campaign=9)
    assert [run.id for run in choose([of_another, *runs], Limits(keep=1), now)] == [2, 1]


def test_a_run_that_goes_on_or_was_heard_of_just_now_stays(store: Path) -> None:
    with History(store) as history:
        run = replace(history.run(2), state=None, ended=None, told=100.0)
    assert choose([replace(run, is_alive=True)], Limits(keep=0), run.began + 30 * DAY) == []
    assert choose([run], Limits(keep=0), run.began + 200.0) == []
    assert choose([run], Limits(keep=0), run.began + 30 * DAY) == [run]


# -- rows ---------------------------------------------------------------------------------------------------------


def test_a_run_leaves_all_tables_and_the_others_are_as_they_were(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gc, "_BATCH", 7)
    before, tasks = rows_of(store, 2), len(rows_of(store, 1)["task"])
    results = look(store, "SELECT * FROM memo")
    would = collect(store, Limits(keep=1), dry_run=True)
    assert rows_of(store, 1)["task"]
    garbage = collect(store, Limits(keep=1))
    assert [run.id for run in garbage.runs] == [run.id for run in would.runs] == [1]
    assert garbage.tasks == would.tasks == tasks > 7
    assert rows_of(store, 2) == before
    assert [table for table in TABLES if rows_of(store, 1)[table]] == []
    assert look(store, "SELECT id FROM run") == [(2,)]
    assert look(store, "SELECT * FROM memo") == results
    assert look(store, "PRAGMA integrity_check") == [("ok",)]
    assert collect(store, Limits(keep=1)) == Garbage()


def test_runs_that_nobody_needs_leave_no_text_and_no_page(tmp_path: Path) -> None:
    store = make_sample(tmp_path / ".harmony", 3000)
    size = (store / "store.db").stat().st_size
    garbage = collect(store, Limits(keep=0, results=True))
    assert len(garbage.runs) == 2
    assert garbage.results > 100
    for table in (*TABLES, "memo", "recent", "text", "shape", "campaign", "run"):
        assert look(store, f"SELECT COUNT(*) FROM {table}") == [(0,)], table
    assert look(store, "PRAGMA freelist_count") == [(0,)]
    assert (store / "store.db").stat().st_size < size / 2
    assert 0 < garbage.size <= size


def test_texts_that_are_used_still_stay(store: Path) -> None:
    with opened(store) as base:
        base.execute("INSERT INTO text VALUES (77, 'nobody says this')")
    collect(store, Limits(keep=1))
    texts = {text for (text,) in look(store, "SELECT value FROM text")}
    assert texts >= {"local", "prepare", "worker-1"}
    assert "nobody says this" not in texts


def test_what_a_killed_collector_has_left_goes_with_the_next(store: Path) -> None:
    with opened(store) as base:
        base.execute("DELETE FROM run WHERE id = 1")  # the first thing that it does
        base.execute("DELETE FROM task WHERE run = 1 AND id < 20")
        base.execute("DELETE FROM event WHERE run = 1")
        left = base.execute("SELECT COUNT(*) FROM task WHERE run = 1").fetchone()[0]
    assert collect(store, Limits(), dry_run=True).tasks == left
    assert collect(store, Limits()).tasks == left
    assert [table for table in TABLES if rows_of(store, 1)[table]] == []


def test_a_store_that_several_machines_share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "is_shared", lambda path: True)
    store = make_sample(tmp_path / ".harmony")
    assert look(store, "PRAGMA journal_mode") != [("wal",)]
    assert collect(store, Limits(keep=1)).tasks > 0
    assert look(store, "SELECT DISTINCT run FROM task") == [(2,)]


def test_where_there_is_no_store_none_is_made(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="is not there"):
        collect(tmp_path / ".harmony", Limits(keep=0))
    assert list(tmp_path.iterdir()) == []


# -- results and objects ------------------------------------------------------------------------------------------


def add_results(base: sqlite3.Connection, *results: tuple[str, int, int]) -> None:
    """Add results: their table, run, and number."""
    for table, run, number in results:
        base.execute(
            f"INSERT INTO {table} (key, run, task, value, size) VALUES (?, ?, ?, 'x', 1)", (key_of(number), run, number)
        )


def keys(store: Path) -> set[int]:
    """The numbers of the results that are there."""
    found = look(store, "SELECT key FROM memo UNION ALL SELECT key FROM recent")
    return {int.from_bytes(key[::-1], "big") for (key,) in found}


def test_results_go_that_no_kept_run_has_made_or_recalled(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gc, "_BATCH", 7)
    before = keys(store)
    with opened(store) as base:
        base.execute("UPDATE run SET state = 'done' WHERE id = 2")
        add_results(base, ("memo", 1, 900), ("recent", 1, 901), ("memo", 2, 902), ("recent", 2, 903))
    assert collect(store, Limits(keep=1, results=True), dry_run=True).results == 2
    assert collect(store, Limits(keep=1, results=True)).results == 2
    assert keys(store) == before | {902, 903}


def test_a_workflow_that_has_not_ended_well_keeps_what_it_may_need(store: Path) -> None:
    with opened(store) as base:
        add_results(base, ("memo", 1, 900))
    assert collect(store, Limits(keep=1, results=True)).results == 0
    with opened(store) as base:
        base.execute("UPDATE run SET state = 'done' WHERE id = 2")
    assert 900 in keys(store)
    assert collect(store, Limits(keep=1, results=True)).results == 1  # of a run that went before
    assert 900 not in keys(store)


def test_objects_without_a_result_go_when_they_are_old(store: Path) -> None:
    there = set((store / "objects").glob("*/*"))
    folder = store / "objects" / "ab"
    folder.mkdir()
    old, young = folder / ("0" * 30), folder / ("1" * 30)
    part, young_part = folder / ("2" * 30 + ".1.2.part"), folder / ("3" * 30 + ".1.2.part")
    for path in (old, young, part, young_part):
        path.write_bytes(b"x" * 1000)
    make_old(old, part, *there)
    would = collect(store, Limits(), dry_run=True)
    assert old.exists()
    garbage = collect(store, Limits())
    assert would == garbage == Garbage(objects=1, files=1, size=2000)
    assert set((store / "objects").glob("*/*")) == {*there, young, young_part}


def test_an_object_goes_with_the_result_that_it_is(store: Path) -> None:
    make_old(*(store / "objects").glob("*/*"))
    needed = {digest.hex() for (digest,) in look(store, "SELECT object FROM memo WHERE run = 2 AND object NOT NULL")}
    assert needed
    with opened(store) as base:
        base.execute("UPDATE run SET state = 'done' WHERE id = 2")
        digest = bytes.fromhex("cd" * 16)
        base.execute("INSERT INTO memo VALUES (?, 1, 900, NULL, ?, 3, NULL)", (key_of(900), digest))
    path = store / "objects" / "cd" / ("cd" * 15)
    path.parent.mkdir()
    path.write_bytes(b"...")
    make_old(path)
    assert collect(store, Limits(keep=1)).objects == 0
    assert collect(store, Limits(keep=1, results=True)).objects == 1
    assert {path.parent.name + path.name for path in (store / "objects").glob("*/*")} >= needed


# -- locks --------------------------------------------------------------------------------------------------------


def test_locks_go_that_nobody_has_held_for_an_hour(store: Path) -> None:
    folder = store / "locks"
    dead, young, own, others = (folder / name for name in ("dead", "young", "own", "others"))
    for path in (dead, young, others):
        path.touch()
    alone, half = folder / "gone.driver", folder / "dead.driver.123"
    for path in (alone, half, folder / "dead.driver"):
        path.write_text("{}")
    lock = DriverLock(own, "w")
    make_old(*folder.iterdir())
    os.utime(young)
    with held(store, "others"):
        assert collect(store, Limits(), dry_run=True).files == 3
        assert collect(store, Limits()).files == 3
        assert {path.name for path in folder.iterdir()} == {"young", "own", "own.driver", "others"}
        assert is_held(own)
        assert is_held(others)
    taken = subprocess.run(
        [sys.executable, "-c", TAKER, str(own)], capture_output=True, text=True, timeout=50, check=False
    )
    assert "BlockingIOError" in taken.stderr, "it is this process's still"
    lock.release()


def test_a_driver_makes_the_lock_anew_that_was_removed_while_it_took_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "lock"
    path.touch()
    with subprocess.Popen(
        [sys.executable, "-c", REMOVER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as remover:
        assert remover.stdout is not None
        assert remover.stdout.readline() == "locked\n"
        assert not is_held(path)
        monkeypatch.setattr("harmony.store.locks.time.sleep", lambda seconds: remover.communicate("go\n"))
        lock = DriverLock(path, "w")
    assert path.exists()
    assert is_held(path)
    lock.release()
    assert locks.remove(path)
    assert not path.exists()
    assert not locks.remove(path)


# -- beside drivers -----------------------------------------------------------------------------------------------


def test_a_driver_that_lives_goes_on(tmp_path: Path) -> None:
    with Run(tmp_path) as first:
        first.write(done(record(1), "kept"))
    with Run(tmp_path) as second:
        second.write(done(record(2), "here"))
        garbage = collect(tmp_path, Limits(keep=0, results=True))
        assert [run.id for run in garbage.runs] == [1]
        assert garbage.results == 0, "what the living run may still need stays"
        second.write(done(record(3), "too"))
        found = second.journal.find(record(1).key or b"")
        assert found is not None
        assert second.journal.load(found) == "kept"
    assert look(tmp_path, "SELECT run, id FROM task") == [(2, 2), (2, 3)]
    with History(tmp_path) as history:
        assert {task.name for task in history.tasks(2)} == {"work"}


PROGRAM = """
import sys
from harmony import Workflow, task

@task
def square(x):
    return x * x

if __name__ == "__main__":
    with Workflow("squares", store=sys.argv[1], workers=2) as wf:
        for _ in range(10):
            assert sum(f.result() for f in wf.map(square, range(200))) == 2646700
    print(wf.report().counts.recalled)
"""


def orphan(store: Path, run: int) -> None:
    """Add tasks of a run that is not there."""
    with opened(store) as base:
        base.execute(
            "INSERT INTO task (run, id, name, kind, shape, state, accepted) "
            "SELECT ?, id, name, kind, shape, state, accepted FROM task WHERE run = 2", (run,),
        )  # fmt: skip


def test_collecting_again_and_again_while_a_program_runs(tmp_path: Path) -> None:
    store = make_sample(tmp_path / ".harmony", 1000)
    program = tmp_path / "squares.py"
    program.write_text(textwrap.dedent(PROGRAM))
    command = [sys.executable, str(program), str(store)]
    environment = {name: value for name, value in os.environ.items() if name != "HARMONY_STORE"}
    removed, rounds = 0, 0
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as running:
        while running.poll() is None:
            rounds += 1
            orphan(store, 1000 + rounds)
            removed += collect(store, Limits(keep=1, results=True)).tasks
        printed, errors = running.communicate()
    assert (printed, errors) == ("0\n", "")
    assert removed >= 1000 * rounds > 1000
    again = subprocess.run(command, capture_output=True, text=True, env=environment, check=True, timeout=50)
    assert again.stdout == "2000\n", "all that was done meanwhile is there"
    assert look(store, "SELECT run, COUNT(*) FROM task GROUP BY run ORDER BY run DESC LIMIT 2") == [
        (4, 2000),
        (3, 2000),
    ]
    assert look(store, "PRAGMA integrity_check") == [("ok",)]
    assert collect(store, Limits(keep=1, results=True)).tasks == 2000
    again = subprocess.run(command, capture_output=True, text=True, env=environment, check=True, timeout=50)
    assert again.stdout == "2000\n", "what the kept run has recalled from the one that is gone is there"
