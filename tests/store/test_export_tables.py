"""Runs as lines and rows, and how any export gets to where it is wanted."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.store.sample import make_sample

from harmony.errors import StoreError
from harmony.events import CATALOGUE, VERSION
from harmony.store.exports import write_csv, write_jsonl, write_trace, write_wfformat
from harmony.store.exports.story import Grouped
from harmony.store.exports.tables import COLUMNS
from harmony.store.history import History

WRITERS = [write_csv, write_jsonl, write_trace, write_wfformat]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_sample(tmp_path_factory.mktemp("sample") / "store", 200)


def rows_of(store: Path) -> list[dict[str, str]]:
    text = io.StringIO()
    with History(store) as history:
        write_csv(history, 2, text)
    return list(csv.DictReader(io.StringIO(text.getvalue())))


def test_the_lines_are_the_catalogues_events_in_order(store: Path) -> None:
    text = io.StringIO()
    with History(store) as history:
        write_jsonl(history, 2, text)
        expected = list(history.events(2))
    events = [json.loads(line) for line in text.getvalue().splitlines()]
    assert len(events) == len(expected)
    assert {event["version"] for event in events} == {VERSION}
    assert {"version", "kind", "subject", "time", "monotonic", "data"} <= set(events[0])
    assert [event["kind"] for event in events] == [event["kind"] for event in expected]
    assert {event["kind"] for event in events} <= set(CATALOGUE)
    assert events[0]["kind"] == "run.started"


def test_a_task_is_a_row(store: Path) -> None:
    rows = rows_of(store)
    with History(store) as history:
        tasks = list(history.tasks(2))
        parents = sorted(parent for task, parent in history.edges(2) if task == 41)
    assert [int(row["id"]) for row in rows] == [task.id for task in tasks]
    assert tuple(rows[0]) == COLUMNS
    task = tasks[99]
    row = rows[99]
    assert (row["name"], row["state"], float(row["seconds"])) == (task.name, task.state.name.lower(), task.seconds)
    assert row["parents"] or not task.name.startswith("relax")
    assert rows[40]["parents"] == " ".join(map(str, parents))
    assert {row["cores"] for row in rows if row["kind"] == "command"} == {"4"}


def test_what_failed_has_its_error_in_the_row(store: Path) -> None:
    failed = [row for row in rows_of(store) if row["state"] == "failed"]
    own = [row for row in failed if row["error"] == "harmony.errors.CommandError"]
    assert {row["exit_code"] for row in own} == {"3"}
    assert "lost atoms" in own[0]["message"]
    assert {row["error"] for row in failed} == {"harmony.errors.CommandError", "harmony.errors.DependencyError"}


def test_what_is_not_known_is_an_empty_field(store: Path) -> None:
    recalled = [row for row in rows_of(store) if row["origin_run"]]
    assert recalled
    assert {row["cpu"] for row in recalled} == {""}
    assert {row["error"] for row in recalled} == {""}


def test_rows_are_handed_out_by_task() -> None:
    grouped = Grouped([(1, "a"), (1, "b"), (3, "c"), (6, "d")], lambda row: row[0])
    assert [grouped.of(task) for task in (1, 2, 4, 6, 7)] == [[(1, "a"), (1, "b")], [], [], [(6, "d")], []]


@pytest.mark.parametrize("write", WRITERS)
def test_a_file_is_written_as_a_stream_is(store: Path, tmp_path: Path, write: Callable[..., None]) -> None:
    text = io.StringIO()
    with History(store) as history:
        write(history, 2, text)
        write(history, 2, tmp_path / "out")
    assert (tmp_path / "out").read_text(encoding="utf-8") == text.getvalue()
    assert os.listdir(tmp_path) == ["out"]


@pytest.mark.parametrize("write", WRITERS)
def test_a_file_that_is_there_stays_unless_asked(store: Path, tmp_path: Path, write: Callable[..., None]) -> None:
    (tmp_path / "out").write_text("old")
    with History(store) as history:
        with pytest.raises(StoreError, match="out is there already"):
            write(history, 2, tmp_path / "out")
        assert (tmp_path / "out").read_text() == "old"
        write(history, 2, tmp_path / "out", force=True)
    assert (tmp_path / "out").read_text() != "old"


@pytest.mark.parametrize("write", WRITERS)
def test_an_export_that_fails_leaves_nothing_and_keeps_the_old(
    store: Path, tmp_path: Path, write: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> Any:
        raise RuntimeError("in the middle")

    (tmp_path / "out").write_text("old")
    monkeypatch.setattr("harmony.store.exports.trace.hosts", broken)
    monkeypatch.setattr("harmony.store.exports.wfformat.Draft._executed", broken)
    monkeypatch.setattr("harmony.store.exports.tables._cells", broken)
    monkeypatch.setattr(History, "events", broken)
    with History(store) as history, pytest.raises(RuntimeError, match="in the middle"):
        write(history, 2, tmp_path / "out", force=True)
    assert os.listdir(tmp_path) == ["out"]
    assert (tmp_path / "out").read_text() == "old"


def test_a_place_that_cannot_be_written_is_refused_with_its_name(store: Path, tmp_path: Path) -> None:
    with History(store) as history:
        with pytest.raises(StoreError, match=r"none/out cannot be written: No such file or directory"):
            write_csv(history, 2, tmp_path / "none" / "out")
        with pytest.raises(StoreError, match="cannot be written: Is a directory"):
            write_csv(history, 2, tmp_path, force=True)


@pytest.mark.parametrize("write", WRITERS)
def test_a_run_that_is_not_there_is_refused(store: Path, tmp_path: Path, write: Callable[..., None]) -> None:
    with History(store) as history, pytest.raises(StoreError, match="no run 9"):
        write(history, 9, tmp_path / "out")
    assert os.listdir(tmp_path) == []
