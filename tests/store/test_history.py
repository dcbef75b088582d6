"""The history: what is read of a store is what was written, also of what has not ended, and of what is broken."""

from __future__ import annotations

import os
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from tests.store.making import COUNTS, Run, done, record
from tests.store.sample import PROGRAM, create, held, make_sample

from harmony import events
from harmony.cli import history_status
from harmony.core.task import TaskState
from harmony.errors import StoreError
from harmony.store import database, writer
from harmony.store.bulk import has_chunks
from harmony.store.history import History


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return make_sample(tmp_path / ".harmony")


@pytest.fixture
def history(store: Path) -> Iterator[History]:
    with History(store) as history:
        yield history


def test_runs_are_found_by_number_name_and_as_the_last(history: History) -> None:
    assert [run.id for run in history.runs()] == [2, 1]
    assert [run.id for run in history.runs(limit=1)] == [2]
    assert [history.run(which).id for which in (None, "last", 1, "1", "relaxations")] == [2, 2, 1, 1, 2]
    run = history.run()
    assert (run.program, run.workflow, run.ordinal, run.resumes) == (PROGRAM, "relaxations", 0, 1)
    assert (run.status, run.total, run.counts.recalled, run.engines) == ("failed", 200, 30, ("local",))
    assert run.environment["packages"] == {"numpy": "2.1"}


@pytest.mark.parametrize(
    ("which", "text"),
    [(7, "has no run 7; the last one is 2"), ("relaxation", "did you mean 'relaxations'?"), ("x", "'relaxations'")],
)
def test_a_run_that_is_not_there_is_refused(history: History, which: str | int, text: str) -> None:
    with pytest.raises(StoreError, match="store") as caught:
        history.run(which)
    assert text in str(caught.value)


def test_a_file_is_as_good_as_its_directory(store: Path) -> None:
    with History(store / "store.db") as history:
        assert history.directory == store
        assert history.run().id == 2


def test_tasks_are_chosen_and_ordered(history: History) -> None:
    tasks = list(history.tasks(2))
    assert [task.id for task in tasks] == list(range(1, 201))
    assert Counter(task.state.name for task in tasks) == {"DONE": 193, "FAILED": 6, "CANCELLED": 1}
    assert {task.name for task in history.tasks(2, name="s*")} == {"simulate"}
    assert [task.id for task in history.tasks(2, state=TaskState.FAILED, name="simulate")] == [26, 187]
    slowest = [task.seconds for task in history.tasks(2, order="slowest", limit=5)]
    assert slowest == sorted((task.seconds or 0.0 for task in tasks), reverse=True)[:5]
    ended = [task.ended or 0.0 for task in history.tasks(2, order="ended")]
    assert ended == sorted(ended)
    with pytest.raises(StoreError, match="order='size' must be one of"):
        history.tasks(2, order="size")


def test_a_task_is_told_in_full(history: History) -> None:
    retried = history.task(2, 52)
    assert [(a.number, a.state.name, a.place) for a in retried.attempts] == [
        (1, "FAILED", "worker-3"),
        (2, "DONE", "worker-2"),
    ]
    assert [a.seconds for a in retried.attempts] == pytest.approx([2.8, 2.8])
    assert [(f.attempt, f.type, f.root) for f in retried.failures] == [(1, "ValueError", True)]
    assert [(r.id, r.name) for r in retried.parents] == [(42, "prepare")]
    assert [(r.id, r.name) for r in retried.children] == [(62, "simulate")]
    failed = history.task(2, 26)
    assert (failed.command, failed.stderr) == ("lmp -in in.26 -log log.26", "ERROR: lost atoms\n")
    assert [(file.role, file.size) for file in failed.files] == [("input", 512)]
    recalled = history.task(2, 1)
    assert (recalled.row.origin_run, recalled.row.origin_task, recalled.attempts) == (1, 1, [])
    with pytest.raises(StoreError, match="run 2 has no task 999"):
        history.task(2, 999)


def test_what_belongs_to_tasks_is_all_there(history: History) -> None:
    assert {(task, parent) for task, parent in history.edges(2) if task == 41} == {(41, id) for id in range(31, 41)}
    ran = [task for task in history.tasks(2) if task.started is not None]
    assert len(list(history.attempts(2))) == sum(task.attempts for task in ran)
    assert {f.task for f in history.failures(2) if not f.root} == {36, 41, 82, 197}
    assert len(list(history.commands(2))) == 50
    readers = [task for task in ran if task.name in ("simulate", "analyse")]
    writers = [task for task in ran if task.name == "simulate" and task.state is TaskState.DONE]
    assert Counter(file.role for file in history.files(2)) == Counter(input=len(readers), output=len(writers))
    assert [shape["cache"] for shape in history.shapes().values()] == ["run"] * 3


def test_the_summary_adds_up(history: History) -> None:
    names, errors = history.summary(2)
    tasks = list(history.tasks(2))
    assert [row.name for row in names] == ["simulate", "relax", "analyse", "prepare", "collect"]
    assert sum(row.tasks for row in names) == len(tasks)
    assert sum(row.recalled for row in names) == 30
    for row in names:
        mine = [task for task in tasks if task.name == row.name and task.started is not None]
        assert row.seconds == pytest.approx(sum(task.seconds or 0.0 for task in mine))
        assert row.memory == max(task.memory or 0 for task in mine)
    assert [(error.tasks, error.retried) for error in errors] == [(1, 0), (1, 0), (0, 2), (0, 2), (0, 2)]


@pytest.mark.parametrize("unfinished", [False, True])
def test_events_are_those_of_the_catalogue_in_the_order_of_time(tmp_path: Path, unfinished: bool) -> None:
    with History(make_sample(tmp_path / "s", 500, unfinished=unfinished)) as history:
        found = list(history.events(2))
        run, tasks = history.run(2), list(history.tasks(2))
    assert [event["monotonic"] for event in found] == sorted(event["monotonic"] for event in found)
    assert [event["time"] - run.began for event in found] == pytest.approx(
        [event["monotonic"] - run.monotonic for event in found], abs=1e-5
    )
    for event in found:
        assert set(event["data"]) == set(events.CATALOGUE[event["kind"]])
    kinds = Counter(event["kind"] for event in found)
    states = Counter(task.state.name for task in tasks)
    assert kinds["task.accepted"] == len(tasks)
    assert (kinds["task.done"], kinds["task.failed"], kinds["task.recalled"]) == (
        states["DONE"], states["FAILED"], run.counts.recalled,
    )  # fmt: skip
    assert kinds["attempt.started"] == sum(task.attempts for task in tasks if task.started is not None)
    assert (kinds["run.started"], kinds["run.ended"]) == (1, 0 if unfinished else 1)
    assert found[0]["kind"] == "run.started"


def test_each_task_is_accepted_begins_and_ends_in_this_order(history: History) -> None:
    seen: dict[int, list[str]] = {}
    for event in history.events(2):
        if event["kind"].startswith(("task.", "attempt.")):
            seen.setdefault(event["subject"], []).append(event["kind"])
    assert seen[52] == ["task.accepted", "attempt.started", "attempt.failed", "attempt.started", "task.done"]
    assert seen[26] == ["task.accepted", "attempt.started", "attempt.failed", "task.failed"]
    assert seen[1] == ["task.accepted", "task.recalled", "task.done"]
    assert seen[73] == ["task.accepted", "task.cancelled"]


def test_whoever_holds_the_lock_tells_whether_a_run_goes_on(tmp_path: Path) -> None:
    store = make_sample(tmp_path / "s", 500, unfinished=True)
    with History(store) as history:
        run = history.run()
        assert (run.status, run.is_alive, run.ended) == ("interrupted", False, None)
        with held(store, run.lock):
            assert history.run().status == "running"
            assert history.run(1).status == "interrupted"
        assert history.run().status == "interrupted"
        running = list(history.tasks(run.id, state=TaskState.RUNNING, order="slowest"))
        assert len(running) == run.counts.running > 0
        assert [task.started for task in running] == sorted(task.started or 0.0 for task in running)
        assert all(task.ended is None and task.seconds is None for task in running)
        assert [attempt.state for attempt in history.task(run.id, running[0].id).attempts][-1] is TaskState.RUNNING


def test_a_store_without_runs_says_so(tmp_path: Path) -> None:
    create(tmp_path / "store.db").close()
    with History(tmp_path) as history:
        assert history.runs() == []
        with pytest.raises(StoreError, match="has no runs yet"):
            history.run()


def test_what_is_written_meanwhile_is_seen_unless_a_snapshot_is_held(store: Path) -> None:
    with sqlite3.connect(store / "store.db", isolation_level=None) as writer, History(store) as history:
        with history.snapshot():
            assert history.run(1).counts.done == 30
            writer.execute("UPDATE run SET done = 31 WHERE id = 1")
            assert history.run(1).counts.done == 30
        assert history.run(1).counts.done == 31
        writer.execute("BEGIN IMMEDIATE")  # a reader does not wait for it
        assert history.run(1).counts.done == 31
    writer.close()


def test_odd_values_do_not_stop_a_reader(store: Path) -> None:
    with sqlite3.connect(store / "store.db") as base:
        base.execute("UPDATE run SET argv = '{', engines = '7', environment = '[]' WHERE id = 2")
        base.execute("DELETE FROM text WHERE value = 'relax'")
        base.execute("DELETE FROM shape")
        base.execute("UPDATE task SET ended = NULL, seconds = NULL WHERE id = 60")
    base.close()
    with History(store) as history:
        run = history.run(2)
        assert (run.argv, run.engines, run.environment) == ((), (), {})
        assert history.task(2, 60).row.name == "?"
        assert len(list(history.tasks(2, order="slowest"))) == 200
        assert "?" in [row.name for row in history.summary(2).names]
        assert [event["data"]["resources"] for event in history.events(2) if event["kind"] == "task.accepted"][:1] == [
            {}
        ]


def test_a_damaged_store_is_refused_with_what_to_do(store: Path) -> None:
    size = os.path.getsize(store / "store.db")
    with open(store / "store.db", "r+b") as file:
        file.seek(8192)
        file.write(b"\xff" * (size - 8192))
    with pytest.raises(StoreError, match="is damaged"), History(store) as history:
        list(history.tasks(2))


def test_no_store_and_no_database_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="--store or HARMONY_STORE"):
        History(tmp_path / "nowhere")
    (tmp_path / "store.db").write_text("this is a text, and longer than a page needs to be" * 10)
    with pytest.raises(StoreError, match="no database"):
        History(tmp_path)


@pytest.fixture(params=["WAL", "shared"])
def either(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Path:
    """A store, also as it is on a file system that several machines share."""
    monkeypatch.setattr(database, "is_shared", lambda path: request.param == "shared")
    return make_sample(tmp_path / ".harmony")


def test_a_slow_reader_keeps_nobody_from_writing(either: Path) -> None:
    with closing(create(either / "store.db")) as base, History(either) as history:
        base.execute("PRAGMA busy_timeout = 0")
        tasks = history.tasks(2)
        assert next(tasks).id == 1
        base.execute("UPDATE task SET attempts = 7 WHERE run = 2")
        assert len(list(tasks)) == 199
        with history.snapshot():
            assert {task.attempts for task in history.tasks(2)} == {7}
            base.execute("UPDATE task SET attempts = 8 WHERE run = 2")
            assert {task.attempts for task in history.tasks(2)} == {7}
        assert {task.attempts for task in history.tasks(2)} == {8}


@pytest.fixture
def flooded(either: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """A run whose journal writes as in a flood of tasks, and never finds the time to put them in their places."""
    monkeypatch.setattr(writer, "_FLOOD", 1)
    monkeypatch.setattr(writer, "_LULL", 3600.0)
    with Run(either) as run:
        yield run


def has_rows_apart(store: Path) -> bool:
    with closing(create(store / "store.db")) as base:
        return has_chunks(base)


def test_rows_that_are_not_in_their_places_yet_are_found(either: Path, flooded: Run) -> None:
    with History(either) as history:
        flooded.write(done(record(1)))
        assert history.run().counts.done == COUNTS.done
        assert has_rows_apart(either), "who asks for the run only does not wait for them"
        assert history.task(3, 1).row.name == "work"
        assert not has_rows_apart(either)
        flooded.write(done(record(2)))
        with history.snapshot():
            assert [task.id for task in history.tasks(3)] == [1, 2]
            flooded.write(done(record(3)))
            assert [task.id for task in history.tasks(3)] == [1, 2]
        assert [task.id for task in history.tasks(3)] == [1, 2, 3]


def test_rows_that_cannot_be_put_in_their_places_are_told_of_once(
    either: Path, flooded: Run, caplog: pytest.LogCaptureFixture
) -> None:
    flooded.write(done(record(1)))
    either.chmod(0o770)  # others could write to it, so Harmony does not
    with History(either) as history:
        for _ in range(2):
            assert list(history.tasks(3)) == []
    assert [record.getMessage().split(":")[0] for record in caplog.records] == [
        f"not all tasks in {either / 'store.db'} are shown"
    ]


@pytest.mark.parametrize("many", [20_000, 3])
def test_the_last_failures_are_the_latest_by_time(store: Path, monkeypatch: pytest.MonkeyPatch, many: int) -> None:
    """Whatever their ids are, and whichever way they are looked for."""
    monkeypatch.setattr(history_status, "_MANY", many)
    with closing(create(store / "store.db")) as base:
        base.execute("UPDATE task SET state = 3 WHERE run = 2")
        base.execute("DELETE FROM failure WHERE run = 2")
        for task in range(1, 3001):
            base.execute(
                "INSERT OR REPLACE INTO task (run, id, name, kind, shape, state, accepted, ended) "
                "VALUES (2, ?, 2, 'call', 1, 4, 0, ?)", (task, 10_000.0 - task),
            )  # fmt: skip
            for attempt in (1, 2):
                base.execute(
                    "INSERT INTO failure VALUES (2, ?, ?, 'ValueError', ?, '', '', NULL, NULL, ?)",
                    (task, attempt, f"try {attempt}", task % 2),
                )
    with History(store) as history:
        found = history_status._failures(history, history.run(2))
    assert [(failure.task, failure.message, name) for failure, name, _ in found] == [
        (task, "try 2", "prepare") for task in (1, 3, 5, 7, 9)
    ]
