"""The stream of events: each kind of the catalogue comes from a program that does what it tells of, and no other."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.projects import Project

from harmony import Workflow
from harmony.core.engine import Notice, Report
from harmony.engines.inline import InlineEngine
from harmony.events import CATALOGUE, KINDS, REPORTED, VERSION, Event
from harmony.store.history import History

Events = Sequence[dict[str, Any]]
PAGE = Path(__file__).parents[2] / "docs" / "reference" / "events.md"

PROGRAM = """
import signal, threading, time
from harmony.engines.jobs import JobEngine
from harmony.engines.local import LocalEngine

@task
def double(x):
    return 2 * x

@task(retries=1)
def second_time(path):
    if not os.path.exists(path):
        open(path, "w").close()
        raise ValueError("not yet")
    return 1

@task
def killed(path):
    if not os.path.exists(path):
        open(path, "w").close()
        os.kill(os.getpid(), signal.SIGKILL)
    return 1

@task(on="threads")
def unkept():
    return threading.Lock()

@task
def bad(value):
    raise ZeroDivisionError(value)

@task
def write(out: Output):
    out.write_text("text")

@task
def read(path: File):
    return path.read_text()

@command(on="jobs")
def job():
    return ["true"]

if __name__ == "__main__":
    os.chdir(HERE)
    engines = {"local": LocalEngine(workers=1), "threads": "threads", "jobs": JobEngine(workers=1)}
    with Workflow("all", engines=engines) as wf:
        good = double(1)
        ended = [second_time("second"), killed("killed"), write(File("out")), read(File("out")), job(), bad(good)]
        wf.wait([*ended, good, double(bad(2))])
        unkept().result()
        wf.submit(time.sleep, 600).cancel()
"""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Events, Events]:
    """The events of a program's run, and of the run after it."""
    project = Project(tmp_path_factory.mktemp("project"))
    project.write(PROGRAM)
    for _ in range(2):
        project.run()
    with History(project.directory / ".harmony") as history:
        return list(history.events(1)), list(history.events(2))


class Blocks(InlineEngine):
    """An engine that tells of blocks, as one does that has its workers in batch jobs."""

    def start(self, report: Report) -> None:
        super().start(report)
        report([Notice(0, "block.queued", "b-1", {"engine": "blocks", "job": "4711"})])
        report([Notice(0, "block.running", "b-1", {"engine": "blocks"})])
        report([Notice(0, "block.ended", "b-1", {"engine": "blocks", "reason": "idle"})])


def test_each_kind_comes_and_has_the_fields_that_the_catalogue_says(
    runs: tuple[Events, Events], tmp_path: Path
) -> None:
    with Workflow("blocks", engine=Blocks(), store=tmp_path / ".harmony"):
        pass
    with History(tmp_path / ".harmony") as history:
        blocks = [event for event in history.events(1) if event["kind"].startswith("block.")]
    assert [event["kind"] for event in blocks] == ["block.queued", "block.running", "block.ended"]
    seen = {event["kind"] for event in (*runs[0], *runs[1], *blocks)}
    assert seen == set(CATALOGUE)
    for event in (*runs[0], *runs[1], *blocks):
        assert set(event) == {"run", "kind", "subject", "time", "monotonic", "data"}
        assert tuple(event["data"]) == CATALOGUE[event["kind"]], event


def test_both_clocks_tell_the_same(runs: tuple[Events, Events]) -> None:
    for events in runs:
        assert events[0]["kind"] == "run.started"
        assert events[-1]["kind"] == "run.ended"
        ticks = [event["monotonic"] for event in events]
        assert ticks == sorted(ticks)
        began = events[0]
        for event in events:
            since = event["monotonic"] - began["monotonic"]
            assert event["time"] - began["time"] == pytest.approx(since, abs=0.5)


def test_causes_come_before_effects(runs: tuple[Events, Events]) -> None:
    first: dict[tuple[str, Any], int] = {}
    for number, event in enumerate(runs[0]):
        first.setdefault((event["kind"], event["subject"]), number)
    names = {event["subject"]: event["data"]["name"] for event in runs[0] if event["kind"] == "task.accepted"}
    for (kind, subject), number in first.items():
        if kind in ("attempt.started", "task.done", "task.failed", "task.cancelled"):
            assert first["task.accepted", subject] < number
        elif kind == "worker.ended":
            assert first["worker.started", subject] < number
        elif kind == "job.ended":
            assert first["job.submitted", subject] < number
    by_name = defaultdict(list)
    for event in runs[0]:
        if event["subject"] in names and event["kind"].startswith(("task.", "attempt.")):
            by_name[names[event["subject"]]].append(event["kind"])
    assert by_name["second_time"] == [
        "task.accepted", "attempt.started", "attempt.failed", "attempt.started", "task.done",
    ]  # fmt: skip
    assert by_name["unkept"] == ["task.accepted", "attempt.started", "task.done", "task.unkept"]
    assert by_name["sleep"][-1] == "task.cancelled"


def test_what_was_done_before_is_recalled(runs: tuple[Events, Events]) -> None:
    origins = {event["subject"]: event["data"] for event in runs[1] if event["kind"] == "task.recalled"}
    done = {event["subject"] for event in runs[0] if event["kind"] == "task.done"}
    assert {data["origin_run"] for data in origins.values()} == {1}
    assert {data["origin_task"] for data in origins.values()} <= done
    assert {data["name"] for data in origins.values()} == {"double", "second_time", "killed", "write", "read", "job"}


def test_subjects_are_what_the_page_says(runs: tuple[Events, Events]) -> None:
    for event in (*runs[0], *runs[1]):
        kind = event["kind"].partition(".")[0]
        is_number = kind in ("run", "environment", "task", "attempt")
        assert isinstance(event["subject"], int if is_number else str), event


# -- the page -----------------------------------------------------------------------------------------------------


def test_the_page_has_each_kind_with_its_fields() -> None:
    rows = re.findall(r"^\| `([a-z]+\.[a-z]+)` \| [^|]+ \| ([^|]+) \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    told = {kind: tuple(re.findall(r"`(\w+)`", fields)) for kind, fields in rows}
    live = {kind: fields for kind, fields in told.items() if kind in KINDS and kind not in CATALOGUE}
    assert {kind: fields for kind, fields in told.items() if kind not in live} == dict(CATALOGUE)
    assert f"version {VERSION}" in PAGE.read_text(encoding="utf-8")


def test_the_page_has_what_is_published_while_a_run_goes_on(tmp_path: Path) -> None:
    text = PAGE.read_text(encoding="utf-8").split("## While the run goes on")[1]
    rows = dict(re.findall(r"^\| `([a-z]+\.[a-z]+)` \| ([^|]+) \|", text, re.MULTILINE))
    assert set(rows) == set(KINDS)
    seen: list[Event] = []
    workflow = Workflow("bus", engine="threads", store=False, show_prints=False)
    workflow.bus.observe(seen.extend, (*KINDS, *REPORTED))
    with workflow:
        workflow.submit(int, "7").result()
        assert workflow.submit(int, "x").exception() is not None
    assert {event.kind for event in seen} >= {
        "engine.started", "engine.closed", "task.submitted", "task.done", "task.failed",
    }  # fmt: skip
    for event in seen:
        if event.kind in rows:
            assert tuple(event.data) == tuple(re.findall(r"`(\w+)`", rows[event.kind])), event
