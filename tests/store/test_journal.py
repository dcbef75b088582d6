"""What the kernel tells a journal is in the store, and is found again."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.store.making import WHAT, Run, done, failed, record, work

from harmony.core.data import File
from harmony.core.engine import Usage
from harmony.core.journal import Started, Tried
from harmony.core.record import Cancelled
from harmony.core.task import Call, Command, CommandResult, Join, Options, Task, TaskState
from harmony.core.travel import dump_exception, load_exception
from harmony.errors import CommandError, DependencyError, MissingFileError, RemoteError, WorkerLost
from harmony.events import Event
from harmony.resources import Resources
from harmony.store.opened import Beginning


def test_a_run_is_described(tmp_path: Path) -> None:
    with Run(tmp_path / "store") as run:
        row = run.rows("SELECT resumes, argv, engines, cores, state, pid > 0, host != '' FROM run")
        assert row == [(None, '["campaign.py", "-x"]', '["local"]', 4, None, 1, 1)]
        [(environment,)] = run.rows("SELECT environment FROM run")
        assert json.loads(environment)["packages"]["numpy"] == np.__version__
        run.write(done(record(1)))
        counts = run.rows("SELECT waiting, submitted, running, done, failed, cancelled, recalled, told > 0 FROM run")
        assert counts == [(1, 2, 3, 4, 5, 6, 0, 1)]
    assert run.rows("SELECT state, work, critical_path, ended > 0 FROM run") == [("done", 2.0, 0.5, 1)]


def test_a_run_resumes_the_last_of_its_campaign(tmp_path: Path) -> None:
    other = Beginning(program="other.py", workflow="screen")
    seen = []
    for what in (WHAT, other, WHAT):
        with Run(tmp_path, what) as run:
            seen.append((run.journal.run_id, run.journal.resumes))
    assert seen == [(1, None), (2, None), (3, 1)]


@pytest.mark.parametrize("threaded", [True, False])
def test_tasks_that_ended_are_safe_in_their_order(tmp_path: Path, threaded: bool) -> None:
    with Run(tmp_path, threaded=threaded) as run:
        for start in range(0, 3000, 7):
            run.journal.write([done(record(id)) for id in range(start, min(start + 7, 3000))])
        if not threaded:
            assert run.told.ids == []
        run.journal.flush()
        assert run.told.ids == list(range(3000))
        assert run.rows("SELECT count(*), sum(state) FROM task") == [(3000, 9000)]


def test_what_is_safe_can_be_read_by_others(tmp_path: Path) -> None:
    with Run(tmp_path) as run:
        seen: list[int] = []
        run.journal._writer._safe = lambda _: seen.append(run.rows("SELECT count(*) FROM task")[0][0])
        run.write(*(done(record(id)) for id in range(50)))
    assert seen == [50]


def test_a_task_is_described(tmp_path: Path) -> None:
    options = Options(resources=Resources(cpu_cores_per_process=3), environment=(("A", "1"),), walltime=9.0)
    third = record(3, Task(Call(work), "résumé", options), key=None, failures=1, losses=1)
    with Run(tmp_path) as run:
        run.write(
            done(record(1), seconds=0.25),
            done(record(2, usage=Usage(0.5, 10, 20, 30)), seconds=2.0),
            *(Tried(third, number, ValueError(), "local-1", time.monotonic(), 0.0) for number in (1, 2)),
            done(third),
        )
        names = "SELECT text.value, kind, state, attempts, seconds, path, cpu, memory, read, written, key FROM task"
        rows = run.rows(f"{names} JOIN text ON text.id = task.name ORDER BY task.id")
        assert rows == [
            ("work", "call", 3, 1, 0.25, 0.25, None, None, None, None, b"key 000000000001"),
            ("work", "call", 3, 1, 2.0, 2.0, 0.5, 10, 20, 30, b"key 000000000002"),
            ("résumé", "call", 3, 3, 0.0, 0.0, None, None, None, None, None),
        ]
        shapes = run.rows("SELECT shape.value FROM task JOIN shape ON shape.id = task.shape WHERE task.id != 2")
        assert json.loads(shapes[0][0])["resources"] == {}
        asked = json.loads(shapes[1][0])
        assert asked["resources"] == {"cpu_cores_per_process": 3}
        assert (asked["environment"], asked["walltime"], asked["cache"]) == ({"A": "1"}, 9.0, "run")
        places = "SELECT DISTINCT e.value, p.value FROM task JOIN text e ON e.id = engine JOIN text p ON p.id = place"
        assert run.rows(places) == [("local", "local-1")]


def test_times_count_from_the_beginning_and_are_in_order(tmp_path: Path) -> None:
    with Run(tmp_path) as run:
        made = record(1)
        made.started = time.monotonic() + 5.0  # the news of start and end came together, after it had run for 0.25 s
        short, tried = record(2, started=None), record(3, started=None, failures=1)
        tried.future.seconds = 1.0
        run.write(
            done(made, seconds=0.25),
            done(short, seconds=0.125),  # of which nobody told that it had begun
            Tried(tried, 1, ValueError(), "local-1", time.monotonic(), 0.75),
            failed(tried, ValueError()),
            failed(record(4, started=None), DependencyError("x was not run")),
            failed(record(5, started=None), Cancelled(), TaskState.CANCELLED),
        )
        rows = run.rows("SELECT accepted >= 0, round(ended - started, 6) FROM task ORDER BY id")
        assert rows == [(1, 0.25), (1, 0.125), (1, 0.25), (1, None), (1, None)]


def test_a_task_that_runs_longer_is_seen_running(tmp_path: Path) -> None:
    with Run(tmp_path) as run:
        long, short = record(1), record(2)
        long.state = TaskState.RUNNING
        run.write(Started(long, time.monotonic()), Started(short, time.monotonic()), done(short))
        assert run.rows("SELECT id, state, ended FROM task WHERE state = 2") == [(1, 2, None)]
        run.write(done(long))
        assert run.rows("SELECT id, state FROM task") == [(1, 3), (2, 3)]


def test_a_task_that_will_be_tried_again_does_not_run(tmp_path: Path) -> None:
    with Run(tmp_path) as run:
        made = record(1)
        run.write(Started(made, time.monotonic()))
        made.failures = 1
        run.write(Tried(made, 1, ValueError("once"), "local-7", time.monotonic(), 0.5))
        assert run.rows("SELECT count(*) FROM task") == [(0,)]
        run.write(Started(made, time.monotonic()), done(made))
        assert run.rows("SELECT state, attempts FROM task") == [(3, 2)]
        attempts = "SELECT number, seconds, round(ended - started, 6), text.value FROM attempt JOIN text ON id = place"
        assert run.rows(attempts) == [(1, 0.5, 0.5, "local-7")]
        assert run.rows("SELECT attempt, type, message, root FROM failure") == [(1, "ValueError", "once", 1)]


class OddError(Exception):
    """Of a user's own module."""


def remote(error: BaseException) -> BaseException:
    """Return the error as it comes from a worker."""

    def place_of_the_error() -> None:
        raise error

    try:
        place_of_the_error()
    except BaseException as raised:
        return load_exception(dump_exception(raised))
    raise AssertionError


@pytest.mark.parametrize(
    ("error", "row"),
    [
        (OddError("a ⚛"), (f"{__name__}.OddError", "a ⚛", None, None, 1)),
        (RemoteError("lib.Gone", "text"), ("lib.Gone", "text", None, None, 1)),
        (CommandError("ls", exit_code=3, stderr="no"), ("harmony.errors.CommandError", None, 3, None, 1)),
        (CommandError("ls", signal=9), ("harmony.errors.CommandError", None, None, 9, 1)),
        (DependencyError("x was not run"), ("harmony.errors.DependencyError", "x was not run", None, None, 0)),
        (ValueError("\udcff"), ("ValueError", "\\udcff", None, None, 1)),
    ],
)
def test_why_a_task_failed(tmp_path: Path, error: BaseException, row: tuple[Any, ...]) -> None:
    with Run(tmp_path) as run:
        run.write(failed(record(1, Task(Call(work, (1, "b" * 999), {"x": [2]}), "work")), error))
        [(kind, message, *rest)] = run.rows("SELECT type, message, exit_code, signal, root FROM failure")
        assert (kind, *rest) == (row[0], *row[2:])
        assert message == (row[1] if row[1] is not None else str(error))
        [(arguments,)] = run.rows("SELECT arguments FROM failure")
        assert arguments.startswith("1, 'bbb")
        assert arguments.endswith("x=[2]")
        assert len(arguments) < 200
        assert run.rows("SELECT state FROM task") == [(4,)]
        assert run.rows("SELECT count(*) FROM recent") == [(0,)]


def test_the_traceback_is_that_of_the_place_where_it_was_raised(tmp_path: Path) -> None:
    here = ValueError("here")
    try:
        raise here
    except ValueError:
        pass
    with Run(tmp_path) as run:
        run.write(failed(record(1), remote(OddError("there"))), failed(record(2), here))
        [(there,), (local,)] = run.rows("SELECT traceback FROM failure ORDER BY task")
    assert "in place_of_the_error" in there
    assert there.rstrip().endswith("OddError: there")
    assert "test_the_traceback" in local
    assert local.rstrip().endswith("ValueError: here")


def test_a_task_that_fails_before_its_next_try_keeps_the_reason_of_the_last(tmp_path: Path) -> None:
    with Run(tmp_path) as run:
        made = record(1, started=None)
        made.failures = 1
        run.write(Tried(made, 1, ValueError("first"), "local-7", time.monotonic(), 0.5))
        made.state, made.future._exception = TaskState.FAILED, MissingFileError("gone")
        run.write(made)
        assert run.rows("SELECT state, attempts, started FROM task") == [(4, 1, None)]
        assert run.rows("SELECT attempt, message FROM failure ORDER BY 1") == [(1, "first"), (2, "gone")]


def test_cancelled_tasks_and_lost_workers(tmp_path: Path) -> None:
    with Run(tmp_path) as run:
        run.write(
            failed(record(1), Cancelled(), TaskState.CANCELLED),
            failed(record(2), WorkerLost("died")),
            failed(record(3, started=None), Cancelled(), TaskState.CANCELLED),
        )
        assert run.rows("SELECT id, state, attempts FROM task") == [(1, 5, 1), (2, 4, 1), (3, 5, 0)]
        assert run.rows("SELECT task, type FROM failure") == [(2, "harmony.errors.WorkerLost")]


def test_parents_commands_and_streams(tmp_path: Path) -> None:
    first, second = record(1), record(2)
    third = record(3, Task(Command(("echo", "a b")), "say"), [first.future, second.future])
    second.future.stdout = "x" * 100_000 + "end"
    result = CommandResult("echo 'a b'", "a b\n", "wrong")
    joined = record(4, Task(Join(work, (), {}), "join"))
    with Run(tmp_path) as run:
        run.write(done(first), done(second), done(third, result), done(joined, 5))
        assert run.rows("SELECT task, parent FROM edge") == [(3, 1), (3, 2)]
        assert run.rows("SELECT task, line FROM command") == [(3, "echo 'a b'")]
        streams = run.rows("SELECT task, stdout, stderr FROM output")
        assert streams[1] == (3, "a b\n", "wrong")
        assert streams[0] == (2, "x" * (65536 - 3) + "end", "")
        assert run.rows("SELECT id, kind FROM task") == [(1, "call"), (2, "call"), (3, "command"), (4, "join")]
        assert run.rows("SELECT task FROM recent") == [(1,), (2,), (3,)]


def test_files_are_described(tmp_path: Path) -> None:
    source, output = tmp_path / "in.txt", tmp_path / "out.txt"
    source.write_text("in")
    output.write_text("output")
    task = Task(Call(work), "work", inputs=(File(source),), outputs=(File(output),))
    with Run(tmp_path / "store") as run:
        run.write(done(record(1, task)))
        rows = run.rows("SELECT role, path, size, mtime, length(digest) FROM file")
        assert rows == [
            ("input", str(source), 2, source.stat().st_mtime_ns, 16),
            ("output", str(output), 6, output.stat().st_mtime_ns, 16),
        ]


def test_events_are_numbered(tmp_path: Path) -> None:
    with Run(tmp_path) as run:
        run.journal.note([Event("worker.started", 0, 12.5, {"engine": "local", "pid": 7})])
        run.journal.note([Event("worker.ended", 0, 13.5, {"engine": "local", "how": object})])
        run.journal.flush()
        rows = run.rows("SELECT number, kind, subject, time, monotonic >= 0, data FROM event")
        assert rows[0] == (1, "worker.started", "0", 12.5, 1, '{"engine": "local", "pid": 7}')
        assert [row[0] for row in rows] == [1, 2]
