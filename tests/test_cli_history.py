"""``harmony runs``, ``status``, ``show``, ``report`` and ``gc``: what a person and a program see of a store."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.cli_commands import harmony
from tests.store.sample import held, make_sample

from harmony.cli.history_gc import seconds_of


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_sample(tmp_path_factory.mktemp("project") / ".harmony")


@pytest.fixture(scope="module")
def unfinished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_sample(tmp_path_factory.mktemp("project") / ".harmony", 500, unfinished=True)


def shown(*words: str | Path) -> str:
    """What a command prints that goes well."""
    done = harmony(*words)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_runs_are_listed_the_last_one_first(store: Path) -> None:
    head, *rows = [line.split("\t") for line in shown("runs", "--store", store).splitlines()]
    assert head == ["RUN", "WORKFLOW", "PROGRAM", "STATE", "TASKS", "DONE (RECALLED)", "FAILED", "BEGAN", "TOOK"]
    assert [row[:7] for row in rows] == [
        ["2", "relaxations", "campaign.py", "failed", "200", "193 (30)", "6"],
        ["1", "relaxations", "campaign.py", "interrupted", "41", "30", "2"],
    ]
    (run,) = json.loads(shown("runs", "-n", "1", "--json", "--store", store))
    assert (run["id"], run["status"], run["counts"]["total"], run["counts"]["recalled"]) == (2, "failed", 200, 30)


def test_the_store_is_found_from_below_and_by_the_environment(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    below = store.parent / "a" / "b"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    monkeypatch.delenv("HARMONY_STORE", raising=False)
    assert shown("runs").count("\n") == 3
    monkeypatch.chdir(tmp_path)
    done = harmony("runs")
    assert (done.returncode, done.stdout) == (1, "")
    assert "--store" in done.stderr
    assert "HARMONY_STORE" in done.stderr
    monkeypatch.setenv("HARMONY_STORE", str(store))
    assert shown("runs").count("\n") == 3


def test_status_of_a_run_that_ended(store: Path) -> None:
    text = shown("status", "--store", store)
    assert text.startswith("run 2 of relaxations (campaign.py): failed\n")
    assert "200: 193 done (30 recalled), 6 failed, 1 cancelled" in text
    assert "187  simulate  harmony.errors.CommandError: command lmp" in text


def test_status_of_a_run_that_goes_on(unfinished: Path) -> None:
    lock = f"node01-{4_000_002}"
    with held(unfinished, lock):
        text = shown("status", "--store", unfinished)
        facts = json.loads(shown("status", "--json", "--store", unfinished))
    assert text.startswith("run 2 of relaxations (campaign.py): running\n")
    assert "\nrunning\n  TASK  NAME" in text
    assert (facts["status"], facts["is_alive"], len(facts["now"])) == ("running", True, facts["counts"]["running"])
    assert all(task["for"] >= 0 for task in facts["now"])
    assert "running when it was interrupted" in shown("status", "--store", unfinished)


def test_watching_ends_when_the_driver_does(unfinished: Path) -> None:
    command = [sys.executable, "-m", "harmony", "status", "--watch", "--store", str(unfinished)]
    with held(unfinished, f"node01-{4_000_002}"):
        watching = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    text, _ = watching.communicate(timeout=30)
    assert watching.returncode == 1
    assert text.startswith("run 2 of relaxations (campaign.py): interrupted\n")


def test_a_run_is_shown(store: Path) -> None:
    text = shown("show", "relaxations", "--store", store)
    assert "  4 × not run, because a task it needs failed\n" in text
    assert "  2 × ValueError: no convergence after 100 steps (first in relax, task 52)\n" in text
    assert "tasks by name\n  NAME      TASKS  DONE  RECALLED  FAILED" in text
    facts = json.loads(shown("show", "2", "--json", "--store", store))
    assert [row["name"] for row in facts["names"]] == ["simulate", "relax", "analyse", "prepare", "collect"]
    assert facts["slowest"][0]["name"] == "simulate"
    assert [error["tasks"] for error in facts["errors"]] == [1, 1, 0, 0, 0]


def test_tasks_are_listed(store: Path) -> None:
    assert shown("show", "2", "--tasks", "--store", store).count("\n") == 201
    rows = shown("show", "2", "--state", "failed", "--name", "s*", "--store", store).splitlines()[1:]
    assert [row.split("\t")[:4] for row in rows] == [
        ["26", "simulate", "command", "failed"],
        ["187", "simulate", "command", "failed"],
    ]
    listed = json.loads(shown("show", "2", "--order", "slowest", "-n", "3", "--json", "--store", store))
    assert [task["name"] for task in listed] == ["simulate"] * 3
    assert listed[0]["shape"]["resources"] == {"process_count": 4, "memory": 2_000_000_000}
    assert json.loads(shown("show", "2", "--name", "nothing", "--json", "--store", store)) == []


def test_a_task_is_shown(store: Path) -> None:
    text = shown("show", "2", "26", "--store", store)
    assert text.startswith("task 26 of run 2, simulate: failed\n")
    for part in ("lmp -in in.26 -log log.26", "exit code 3", "36 (analyse)", "ERROR: lost atoms", "work/in.26"):
        assert part in text
    assert "recalled from  task 1 of run 1" in shown("show", "2", "1", "--store", store)
    facts = json.loads(shown("show", "2", "52", "--json", "--store", store))
    assert (facts["name"], facts["state"], len(facts["attempts"])) == ("relax", "done", 2)
    assert facts["failures"][0]["type"] == "ValueError"


@pytest.mark.parametrize(
    ("words", "status", "text"),
    [
        (["show", "9"], 1, "has no run 9; the last one is 2"),
        (["show", "2", "999"], 1, "run 2 has no task 999"),
        (["show", "2", "collect"], 1, "several tasks of run 2 are called 'collect': 41, 82, 123, 164"),
        (["show", "2", "simulat"], 1, "did you mean 'simulate'?"),
        (["show", "2", "26", "--tasks"], 2, "leave out the one or the other"),
        (["show"], 2, "Missing argument 'RUN'"),
        (["status", "--watch", "--json"], 2, "--watch shows a run to a person"),
    ],
)
def test_what_cannot_be_shown_is_explained(store: Path, words: list[str], status: int, text: str) -> None:
    done = harmony(*words, "--store", store)
    assert (done.returncode, done.stdout) == (status, "")
    assert text in " ".join(done.stderr.split())


def test_a_report_is_written(store: Path, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    done = harmony("report", "-o", page, "--store", store)
    assert (done.returncode, done.stderr) == (0, f"run 2 is in {page}\n")
    assert page.read_text(encoding="utf-8").lstrip().lower().startswith("<!doctype html>")
    done = harmony("report", "-o", tmp_path / "no" / "report.html", "--store", store)
    assert done.returncode == 1
    assert "cannot be written" in done.stderr


def test_a_reader_may_leave(store: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "harmony", "show", "2", "--tasks", "--store", str(store)]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    assert b"Traceback" not in done.stderr


def test_old_runs_are_removed(tmp_path: Path) -> None:
    store = make_sample(tmp_path / ".harmony")
    told = shown("gc", "--older", "30d", "--dry-run", "--store", store)
    assert told.startswith("RUN\tWORKFLOW\tSTATE\tTASKS\tBEGAN\n1\trelaxations\tinterrupted\t41\t2025-06-")
    assert "\nwould remove 1 run, 36 tasks: about 8" in told
    assert shown("runs", "--store", store).count("\n") == 3
    facts = json.loads(shown("gc", "--older", "30d", "--keep", "1", "--json", "--store", store))
    assert facts.pop("bytes") >= 0
    assert facts == {"dry_run": False, "runs": [1], "tasks": 36, "results": 0, "objects": 0, "files": 0}
    assert shown("runs", "--store", store).count("\n") == 2
    assert shown("gc", "--older", "30d", "--store", store) == "there is nothing to remove\n"
    assert "removed 1 run, 200 tasks, 193 results: " in shown("gc", "--keep", "0", "--results", "--store", store)
    assert shown("runs", "--store", store).count("\n") == 1


@pytest.mark.parametrize(
    ("words", "status", "text"),
    [
        (["--older", "30"], 2, "give minutes, hours, days or weeks: 90m, 12h, 30d, 8w"),
        (["--older", "-3d"], 2, "'-3d' is not an age"),
        (["--keep", "-1"], 2, "-1 is not in the range"),
        (["--store", "nowhere"], 1, "no run was recorded"),
    ],
)
def test_what_cannot_be_removed_is_explained(words: list[str], status: int, text: str) -> None:
    done = harmony("gc", *words)
    assert (done.returncode, done.stdout) == (status, "")
    assert text in " ".join(done.stderr.split())


@pytest.mark.parametrize(("age", "seconds"), [("90m", 5400), ("12h", 43200), (" 1.5 d", 129600), ("8w", 4838400)])
def test_ages(age: str, seconds: float) -> None:
    assert seconds_of(age) == seconds
