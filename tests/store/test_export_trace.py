"""Runs as traces for Chrome and Perfetto: nothing overlaps on a line, and nothing is missing."""

from __future__ import annotations

import json
from array import array
from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from tests.store.exported import changed
from tests.store.sample import make_sample

from harmony.store.exports import trace, write_trace
from harmony.store.history import History

Event = dict[str, Any]


def export(store: Path, run: int = 2) -> tuple[list[Event], Event]:
    path = store.parent / "trace.json"
    with History(store) as history:
        write_trace(history, run, path)
    document = json.loads(path.read_text(encoding="utf-8"))
    return document["traceEvents"], document["otherData"]


def of_phase(events: list[Event], *phases: str) -> list[Event]:
    return [event for event in events if event["ph"] in phases]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return make_sample(tmp_path / "store", 200)


def test_every_attempt_of_this_run_is_a_slice(store: Path) -> None:
    events, _ = export(store)
    with History(store) as history:
        rows = {row.id: row for row in history.tasks(2) if row.started is not None}
        attempts = {(row.task, row.number) for row in history.attempts(2) if row.started is not None}
    slices = {(event["args"]["task"], event["args"]["attempt"]): event for event in of_phase(events, "X")}
    assert set(slices) == attempts
    row = rows[60]
    assert (row.started, row.ended) != (None, None)
    event = slices[60, row.attempts]
    assert event["name"] == row.name
    assert event["ts"] == pytest.approx((row.started or 0) * 1e6, abs=trace.TOLERANCE * 1e6)
    assert event["ts"] + event["dur"] == pytest.approx((row.ended or 0) * 1e6, abs=0.01)
    assert event["args"]["memory_bytes"] == row.memory
    assert {slices[key]["args"]["state"] for key in slices if key != (key[0], rows[key[0]].attempts)} == {"retried"}


def test_nothing_overlaps_on_a_line(store: Path) -> None:
    with changed(store) as base:  # a worker that does five at once
        base.execute("UPDATE task SET started = 1 + id / 1000.0, ended = 5 + id / 1000.0 WHERE id BETWEEN 60 AND 64")
        base.execute(
            "UPDATE task SET place = (SELECT id FROM text WHERE value = 'worker-1') WHERE id BETWEEN 60 AND 64"
        )
    events, _ = export(store)
    lines: dict[tuple[int, int], list[tuple[float, float]]] = defaultdict(list)
    for event in of_phase(events, "X"):
        lines[event["pid"], event["tid"]].append((event["ts"], event["ts"] + event["dur"]))
    for spans in lines.values():
        spans.sort()
        for (_, end), (start, _) in pairwise(spans):
            assert end <= start + 0.01
    names = [event["args"]["name"] for event in of_phase(events, "M") if event["name"] == "thread_name"]
    assert len(names) == len(set(names))
    assert {"worker-1", "worker-1 (5)"} <= set(names)


def test_what_overlaps_by_less_than_clocks_can_tell_stays_on_one_line(store: Path) -> None:
    with changed(store) as base:
        base.execute("DELETE FROM task WHERE run = 2")
        base.execute("DELETE FROM attempt WHERE run = 2")
        base.execute("UPDATE task SET run = 2 WHERE run = 1 AND id IN (1, 2)")
        base.execute("UPDATE task SET place = (SELECT id FROM text WHERE value = 'worker-1') WHERE run = 2")
        base.execute("UPDATE task SET started = id, ended = id + 1.0005 WHERE run = 2")
    first, second = of_phase(export(store)[0], "X")
    assert first["tid"] == second["tid"]
    assert second["ts"] == 2_000_500
    assert second["dur"] == 1_000_000


def test_lines_and_processes_have_names(store: Path) -> None:
    events, about = export(store)
    names = {(event["name"], event["pid"], event["tid"]): event["args"]["name"] for event in of_phase(events, "M")}
    assert names["process_name", 1, 0] == "run 2 of relaxations"
    for event in of_phase(events, "X"):
        assert names["process_name", event["pid"], 0] == "local on node01"
        assert ("thread_name", event["pid"], event["tid"]) in names
    assert (about["run"], about["recalled"] > 0, about["harmony"]) == (2, True, "0.1.0")
    assert "remark" not in about


def test_arrows_lead_from_parents_to_children(store: Path) -> None:
    events, _ = export(store)
    slices = {(event["pid"], event["tid"], event["ts"]): event for event in of_phase(events, "X")}
    leaves = {event["id"]: event for event in of_phase(events, "s")}
    drawn = set()
    for event in of_phase(events, "f"):
        child = slices[event["pid"], event["tid"], event["ts"]]
        leave = leaves[event["id"]]
        (parent,) = [
            found
            for (pid, tid, at), found in slices.items()
            if (pid, tid) == (leave["pid"], leave["tid"]) and at <= leave["ts"] < at + found["dur"]
        ]
        drawn.add((child["args"]["task"], parent["args"]["task"]))
    with History(store) as history:
        ran = {row.id for row in history.tasks(2) if row.started is not None}
        assert drawn == {edge for edge in history.edges(2) if set(edge) <= ran}


def test_too_many_edges_are_not_drawn(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trace, "MOST_EDGES", 10)
    events, _ = export(store)
    assert of_phase(events, "s", "f") == []
    assert of_phase(events, "X")


def test_the_counter_rises_and_falls_to_nothing(store: Path) -> None:
    events, _ = export(store)
    levels = [(event["ts"], event["args"]["tasks"]) for event in of_phase(events, "C")]
    assert levels == sorted(levels, key=lambda level: level[0])
    assert max(level for _, level in levels) == 4  # the sample's slots
    assert levels[-1][1] == 0


def test_the_counter_is_thinned_out_where_it_has_too_many_points(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trace, "MOST_POINTS", 100)
    starts, ends = array("d", range(1000)), array("d", [at + 0.5 for at in range(1000)])
    levels = list(trace._levels(starts, ends))
    assert 50 <= len(levels) <= 101
    assert levels[-1] == (999.5, 0)


def test_what_still_runs_has_no_end(tmp_path: Path) -> None:
    store = make_sample(tmp_path / "store", 200, unfinished=True)
    events, about = export(store)
    with History(store) as history:
        running = {row.id for row in history.tasks(2) if row.ended is None}
    begun = of_phase(events, "B")
    assert {event["args"]["task"] for event in begun} == running
    assert all(event["args"]["state"] == "running" for event in begun)
    ends = {(event["pid"], event["tid"]): event["ts"] + event["dur"] for event in of_phase(events, "X")}
    assert all(ends.get((event["pid"], event["tid"]), 0) <= event["ts"] + 0.01 for event in begun)
    assert "was interrupted" in about["remark"]
    assert of_phase(events, "C")[-1]["args"]["tasks"] == len(running)
