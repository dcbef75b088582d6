"""What a run leaves is found by the next: results, the files that they stand for, and work still under way."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.store.making import WHAT, Run, done, look, record, work

from harmony import Workflow, task
from harmony.core.data import File
from harmony.core.journal import Attached, Found, PathState, StaleError
from harmony.core.memo import Memo
from harmony.core.record import Record
from harmony.core.task import Call, Join, Options, Task
from harmony.core.travel import dump_value
from harmony.store.opened import Beginning

ALWAYS = Options(cache="always")


def found_after(directory: Path, ended: Record) -> Found | None:
    """Write it in one run; return what the next one finds."""
    with Run(directory) as first:
        first.write(ended)
    assert ended.key is not None
    with Run(directory) as second:
        return second.journal.find(ended.key)


@pytest.mark.parametrize("value", [None, True, 7, 2.5, "text ⚛", b"bytes", [1, {"a": (2, 3)}], "x" * 100_000])
def test_a_result_is_found_by_the_next_run(tmp_path: Path, value: Any) -> None:
    found = found_after(tmp_path, done(record(1), value))
    assert found is not None
    assert (found.run, found.task, found.files) == (1, 1, None)
    assert (found.object is None) == (value != "x" * 100_000)
    with Run(tmp_path) as run:
        assert run.journal.load(found) == value


@pytest.mark.parametrize("size", [10, 1000, 1_000_000])
def test_arrays_can_be_written_to(tmp_path: Path, size: int) -> None:
    value = {"a": np.arange(size), "b": np.ones((3, size))}
    found = found_after(tmp_path, done(record(1), value))
    assert found is not None
    with Run(tmp_path) as run:
        loaded = run.journal.load(found)
    assert np.array_equal(loaded["a"], value["a"])
    loaded["a"][0] = loaded["b"][1, 2] = 5
    assert loaded["a"][0] == loaded["b"][1, 2] == 5


def test_a_result_that_was_pickled_before_it_could_change(tmp_path: Path) -> None:
    result = [1]
    ended = done(record(1), result, data=dump_value(result))
    result.append(2)
    found = found_after(tmp_path, ended)
    assert found is not None
    with Run(tmp_path) as run:
        assert run.journal.load(found) == [1]


@pytest.mark.parametrize(
    "made",
    [
        record(1, options=Options(cache="never")),
        record(1, origin=(1, 1)),
        record(1, Task(Join(work, (), {}), "join")),
    ],
    ids=["never", "recalled", "join"],
)
def test_what_is_not_remembered(tmp_path: Path, made: Any) -> None:
    assert found_after(tmp_path, done(made, 1)) is None


def test_recalled_tasks_say_where_they_were_done(tmp_path: Path) -> None:
    with Run(tmp_path):
        pass
    with Run(tmp_path) as run:
        run.write(*(done(record(id, origin=(origin, 3), started=None), 1) for id, origin in ((5, 1), (6, 2))))
        rows = run.rows("SELECT id, origin_run, origin_task, attempts, state, started FROM task ORDER BY id")
        assert rows == [(5, 1, 3, 0, 3, None), (6, 2, 3, 0, 3, None)]
        assert run.rows("SELECT recalled FROM run WHERE id = 2") == [(1,)], "only what an earlier run had done"


def test_what_cannot_be_pickled_is_told_once_a_name(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with Run(tmp_path) as run:
        run.write(*(done(record(id), threading.Lock()) for id in (1, 2)))
        assert run.told.ids == [1, 2]
        assert run.rows("SELECT id, state FROM task") == [(1, 3), (2, 3)]
        events = run.rows("SELECT kind, subject, data FROM event")
        assert [event[:2] for event in events] == [("task.unkept", "1"), ("task.unkept", "2")]
        assert "lock" in json.loads(events[0][2])["reason"]
        assert run.rows("SELECT count(*) FROM recent") == [(0,)]
    assert caplog.text.count("cannot be pickled") == 1


def test_always_is_found_at_once_and_by_other_programs(tmp_path: Path) -> None:
    with Run(tmp_path) as one, Run(tmp_path, Beginning(program="other.py", workflow="w")) as two:
        made = record(1, options=ALWAYS)
        assert made.key is not None
        assert one.journal.find(made.key) is None
        one.write(done(made, 7))
        found = one.journal.find(made.key)
        assert found is not None
        assert one.journal.load(found) == 7
        two.write(done(record(2)))  # at each batch it hears whether others have written
        assert two.journal.find(made.key) == found


def test_the_same_content_later_replaces_what_was_found(tmp_path: Path) -> None:
    assert found_after(tmp_path, done(record(1), "old")) is not None
    found = found_after(tmp_path, done(record(1), "new"))
    assert found is not None
    with Run(tmp_path) as run:
        assert run.journal.load(found) == "new"


def test_a_fresh_run_finds_nothing_and_records(tmp_path: Path) -> None:
    key = b"key 000000000001"
    assert found_after(tmp_path, done(record(1), "old")) is not None
    with Run(tmp_path, fresh=True) as run:
        assert run.journal.find(key) is None
        run.write(done(record(1), "new"), done(record(2, options=ALWAYS), "own"))
        assert run.journal.find(key) is None
        assert run.journal.find(b"key 000000000002") is not None
    with Run(tmp_path) as run:
        found = run.journal.find(key)
        assert found is not None
        assert run.journal.load(found) == "new"


def test_keys_tell_campaigns_and_calls_apart(tmp_path: Path) -> None:
    keys = set()
    for what in (WHAT, Beginning(program="campaign.py", workflow="screen", ordinal=2), WHAT):
        with Run(tmp_path, what) as run:
            memo = Memo(run.journal, "", ())
            for id in range(6):  # three of each content, the first of each by the long way
                made = record(id, Task(Call(work, (id % 2,))), key=None)
                assert memo.look(made) is None
                keys.add(made.key)
    assert len(keys) == 12


def test_what_this_run_did_itself_is_not_recalled_from_an_earlier_one(tmp_path: Path) -> None:
    gate = threading.Event()

    @task(cache="always")
    def pure(x: int) -> int:
        assert gate.wait(10)
        return x

    for recalled in (0, 3):
        gate.clear()
        with Workflow(engine="threads", store=tmp_path) as wf:
            one, two = pure(1), pure(1)
            gate.set()
            assert one.result() == two.result() == pure(1).result() == 1
            assert wf.report().counts.recalled == recalled
    rows = look(tmp_path, "SELECT run, id, origin_run FROM task")
    assert rows == [(1, 1, None), (1, 2, 1), (1, 3, 1), (2, 1, 1), (2, 2, 1), (2, 3, 1)]
    assert look(tmp_path, "SELECT recalled FROM run") == [(0,), (3,)]


# -- files that must be as they were ---------------------------------------------------------------------------


def promised(directory: Path, *, output: Path | None = None, paths: tuple[PathState, ...] = ()) -> Found:
    outputs = (File(output),) if output else ()
    made = record(1, Task(Call(work), "work", outputs=outputs), paths=paths)
    with Run(directory / "store", Beginning(program="p", workflow="w", root=str(directory))) as run:
        run.write(done(made, "value"))
    with Run(directory / "store") as run:
        found = run.journal.find(b"key 000000000001")
    assert found is not None
    return found


def load(directory: Path, found: Found) -> Any:
    with Run(directory / "store", Beginning(program="p", workflow="w", root=str(directory))) as run:
        return run.journal.load(found)


def test_outputs_must_be_as_they_were(tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.write_text("content")
    found = promised(tmp_path, output=path)
    assert load(tmp_path, found) == "value"
    path.touch()
    assert load(tmp_path, found) == "value"  # by content
    path.write_text("changed")
    with pytest.raises(StaleError, match="is not as it was"):
        load(tmp_path, found)
    path.unlink()
    with pytest.raises(StaleError, match="is gone"):
        load(tmp_path, found)


def test_a_project_may_be_moved(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    path = tmp_path / "a" / "out"
    path.write_text("content")
    found = promised(tmp_path / "a", output=path)
    (tmp_path / "a").rename(tmp_path / "b")
    assert load(tmp_path / "b", found) == "value"


def state(path: Path) -> PathState:
    if not path.exists():
        return PathState(str(path), -1, 0)
    return PathState(str(path), path.stat().st_size, path.stat().st_mtime_ns)


def test_paths_may_be_as_they_were_before_or_after(tmp_path: Path) -> None:
    path = tmp_path / "data"
    before = state(path)
    path.write_text("written by the task")
    found = promised(tmp_path, paths=(before,))
    assert load(tmp_path, found) == "value"
    path.unlink()
    assert load(tmp_path, found) == "value"
    path.write_text("something else")
    with pytest.raises(StaleError):
        load(tmp_path, found)


def test_contents_of_files_are_remembered(tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.write_text("content")
    os.utime(path, (1e9, 1e9))
    promised(tmp_path, output=path)
    rows = look(tmp_path / "store", "SELECT path, size, mtime, inode FROM digest")
    assert rows == [(str(path), 7, 10**18, path.stat().st_ino)]
    with Run(tmp_path / "store") as run:
        assert str(path) in run.journal.digests._known


# -- work that outlives the driver -------------------------------------------------------------------------------


def test_what_was_left_running_is_handed_to_the_next_driver(tmp_path: Path) -> None:
    key = b"key 000000000001"
    with Run(tmp_path) as run:
        run.write(Attached(record(1), "job 17"))
        other = Run(tmp_path, Beginning(program="other.py", workflow="w"))
        assert other.journal.handle(key, "local") is None  # its driver lives
        other.end()
    with Run(tmp_path) as run:
        assert run.journal.handle(key, "local") == "job 17"
        assert run.journal.handle(key, "cluster") is None
        again = record(2, key=None)
        memo = Memo(run.journal, "", ("local",))
        assert memo.look(again) is None
        run.write(Attached(again, "job 18"))
        again.handle, again.failures = "job 18", 1
        assert memo.look(again) is None
        assert again.handle is None, "another attempt is another job"
        run.write(done(record(1)), done(again))
        assert run.rows("SELECT count(*) FROM attachment") == [(0,)]
