"""``harmony job`` as users call it, for the tests of the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.cli_commands import harmony

PATIENCE = 30.0


def job(*words: str | Path) -> subprocess.CompletedProcess[str]:
    """Run ``harmony job`` with these words."""
    return harmony("job", *words)


def submitted(*words: str | Path) -> str:
    """Submit a job with these words; return its id."""
    done = job("submit", *words)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout.strip()


def facts(name: str) -> dict[str, Any]:
    """What ``harmony job status --json`` says of one job."""
    done = job("status", name, "--json")
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    (found,) = json.loads(done.stdout)
    assert isinstance(found, dict)
    return found


def how(found: dict[str, Any]) -> tuple[str, int | None, str | None]:
    """State, exit code and reason."""
    return found["state"], found["exit_code"], found["reason"]


def rows(text: str) -> list[list[str]]:
    """The cells of a table between tabs, without its head."""
    return [line.split("\t") for line in text.splitlines()[1:]]


def started(*words: str | Path) -> subprocess.Popen[str]:
    """Start ``harmony job`` with these words."""
    command = [sys.executable, "-m", "harmony", "job", *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def until(what: str, happened: Callable[[], object]) -> None:
    """Wait until something has happened that another process does."""
    deadline = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < deadline, f"{what}: not within {PATIENCE:g} s"
        time.sleep(0.01)


def follows(process: subprocess.Popen[str]) -> bool:
    """Whether a command has come as far as following its jobs, which takes threads."""
    return len(os.listdir(f"/proc/{process.pid}/task")) > 1


class Gate:
    """Where a job waits until the test lets it go on: ``cat GATE`` in its program."""

    def __init__(self, path: Path) -> None:
        self.path = path
        os.mkfifo(path)

    def open(self) -> None:
        """Let the job go on, once it is there."""
        self.path.write_text("")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty directory to work in; records and job scripts are kept in it too."""
    monkeypatch.setenv("HARMONY_JOBS", str(tmp_path / "jobs"))
    monkeypatch.setenv("HARMONY_WORK_DIRECTORY", str(tmp_path / "work"))
    monkeypatch.delenv("HARMONY_EXECUTOR", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def gate(here: Path) -> Gate:
    return Gate(here / "gate")
