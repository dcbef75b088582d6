"""Programs whose clock steps back come to the same results, and are shown in order."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from tests.cli_commands import harmony
from tests.projects import Project

from harmony.store.history import History


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Return an empty project."""
    return Project(tmp_path)


CLOCK = """
import time

real, ahead = time.time, [float(os.environ.get("AHEAD", 0))]
time.time = lambda: real() + ahead[0]

@task
def write(x, to: Output):
    note(f"write {x}")
    to.write_text(str(x))
    return x

@task(retries=1)
def read(source: File):
    note(f"read {source.name}")
    if not os.path.exists(f"{HERE}/tried"):
        open(f"{HERE}/tried", "w").close()
        raise ValueError("not yet")
    return source.read_text()

if __name__ == "__main__":
    with Workflow() as wf:
        for i in range(4):
            write(i, File(f"{HERE}/out{i}")).result()
            ahead[0] -= 3600  # it steps back by an hour, again and again
            print(read(File(f"{HERE}/out{i}")).result(), end=" ")
        print(read(File(f"{HERE}/input")).result())
    print(wf.report().wall >= 0)
"""


@pytest.fixture
def stepped(project: Project) -> Project:
    """Return a project that was run by a clock that stepped back, then by one that was a day behind."""
    project.write(CLOCK)
    (project.directory / "input").write_text("in")
    assert project.run(AHEAD="0") == "0 1 2 3 in\nTrue\n"
    assert len(project.ran()) == 10
    assert project.run(AHEAD="-86400") == "0 1 2 3 in\nTrue\n"
    assert project.ran() == []
    return project


def test_a_clock_that_steps_back_puts_nothing_out_of_order(stepped: Project) -> None:
    with History(stepped.store) as history:
        last, first = history.runs()
        assert (last.id, last.resumes, last.recalled, last.status) == (2, first.id, 9, "done")
        assert history.run(None).id == last.id
        for run in (first, last):
            times = [event["monotonic"] for event in history.events(run.id)]
            assert times == sorted(times)
            for task in history.tasks(run.id):
                at = [at for at in (0.0, task.accepted, task.started, task.ended, run.ended) if at is not None]
                assert at == sorted(at)
                assert task.seconds is None or task.seconds >= 0
            for attempt in history.attempts(run.id):
                assert attempt.started is not None
                assert attempt.ended is not None
                assert 0 <= attempt.started <= attempt.ended


SHOWN = (
    "runs", "status", "show 1", "show 1 1", "report 1 -o report.html", "export 1 --format jsonl -o events",
    "export 1 --format wfformat -o instance", "export 1 --format rocrate -o crate", "export 1 --format trace -o trace",
)  # fmt: skip


def test_it_is_shown_all_the_same(stepped: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(stepped.directory)
    monkeypatch.delenv("HARMONY_STORE")
    for words in SHOWN:
        done = harmony(*words.split())
        assert done.returncode == 0, done.stderr
        assert "error" not in done.stderr.lower()
    trace = json.loads((stepped.directory / "trace").read_text())["traceEvents"]
    assert all(event.get("ts", 0) >= 0 and event.get("dur", 0) >= 0 for event in trace)


def test_files_from_the_future(project: Project) -> None:
    project.write(CLOCK)
    later = 4_000_000_000
    (project.directory / "input").write_text("in")
    os.utime(project.directory / "input", (later, later))
    project.run()
    project.ran()
    for path in project.directory.glob("out*"):
        os.utime(path, (later, later))
    assert project.run() == "0 1 2 3 in\nTrue\n"
    assert project.ran() == []
    (project.directory / "input").write_text("IN")  # as long as it was, and changed in the same moment
    os.utime(project.directory / "input", (later, later))
    assert project.run() == "0 1 2 3 IN\nTrue\n"
    assert project.ran() == ["read input"]
