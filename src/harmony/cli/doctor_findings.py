"""The trials of ``harmony doctor``: each in a process of its own, which is ended when it takes too long."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any

from harmony.cli.doctor_needs import Subject
from harmony.engines._guard import VARIABLE, sweep

#: So many trials run at once: some systems start a dozen processes.
_AT_ONCE = 2
#: Seconds between two looks at those that run, and those that one may take to end when it is told to.
_LOOK, _GRACE = 0.02, 3.0
#: So much of what a trial printed is kept when it fails, in characters.
_TAIL = 4000
#: What a trial does in each of its steps, for a sentence.
_DOING = {
    "import": "being imported",
    "version": "saying its version",
    "start": "starting",
    "call": "running a call",
    "command": "running a command",
    "close": "closing",
    "queue": "listing jobs",
    "job": "running a job",
    "exit": "ending its process",
}


@dataclass(frozen=True)
class Trials:
    """How much is tried: without `smoke` nothing runs; with `submit` schedulers are given a job.

    `timeout` is the most seconds that a trial may take; a job that is submitted may wait as long besides.
    """

    smoke: bool = True
    submit: bool = False
    timeout: float = 60.0


@dataclass
class Finding:
    """What was found of an engine or a scheduler.

    `state` is "works", "fails", "missing" (something that it needs is not here), or "found" when nothing was run.
    `seconds` is what the trial took with the start of its process, `times` what its steps took. `output` is the end of
    what it printed, of a trial that has failed.
    """

    kind: str
    name: str
    state: str
    distribution: str
    versions: dict[str, str]
    missing: list[str]
    install: str | None
    problem: str | None = None
    seconds: float | None = None
    times: dict[str, float] = field(default_factory=dict)
    output: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the fields, in plain values."""
        return asdict(self)


def examine(subjects: Sequence[Subject], trials: Trials, tell: Callable[[Sequence[str]], None]) -> list[Finding]:
    """Return a finding for each, in their order; `tell` hears of the names that are under trial."""
    findings: dict[int, Finding] = {}
    waiting: deque[tuple[int, Subject]] = deque()
    for place, subject in enumerate(subjects):
        if subject.missing:
            findings[place] = _finding(subject, "missing")
        else:
            waiting.append((place, subject))
    running: dict[int, _Trial] = {}
    try:
        while waiting or running:
            while waiting and len(running) < _AT_ONCE:
                place, subject = waiting.popleft()
                running[place] = _Trial(subject, trials)
                tell([trial.subject.name for trial in running.values()])
            for place in [place for place, trial in running.items() if trial.has_ended()]:
                findings[place] = running.pop(place).finding()
            time.sleep(_LOOK)
    finally:
        for trial in running.values():
            trial.stop()
    return [findings[place] for place in sorted(findings)]


def _finding(subject: Subject, state: str) -> Finding:
    return Finding(
        subject.kind, subject.name, state, subject.distribution, subject.versions, subject.missing, subject.install
    )


class _Trial:
    """A trial under way, in a directory of its own."""

    def __init__(self, subject: Subject, trials: Trials) -> None:
        self.subject = subject
        self._trials = trials
        self._directory = tempfile.mkdtemp(prefix="harmony-doctor-")
        self._began = time.monotonic()
        self._limit = trials.timeout
        if trials.submit and subject.kind == "scheduler":
            self._limit *= 2
        self._token = f"doctor-{uuid.uuid4().hex}"
        self._is_late = False
        with open(self._path("output"), "wb") as output:
            self._process = subprocess.Popen(  # noqa: S603  our own program
                [sys.executable, "-m", "harmony.cli.doctor_trial", self._order()],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=self._directory,
                env=self._environment(),
                start_new_session=True,
            )

    def _path(self, name: str) -> str:
        return os.path.join(self._directory, name)

    def _order(self) -> str:
        subject, trials = self.subject, self._trials
        return json.dumps(
            {
                "kind": subject.kind,
                "name": subject.name,
                "notes": self._path("notes"),
                "packages": subject.packages,
                "modules": subject.modules,
                "programs": subject.programs,
                "smoke": trials.smoke,
                "submit": trials.submit,
                "wait": trials.timeout,
            }
        )

    def _environment(self) -> dict[str, str]:
        outer = os.environ.get(VARIABLE)
        added = {VARIABLE: f"{outer}:{self._token}" if outer else self._token, "HARMONY_STORE": "none"}
        if paths := os.environ.get("PYTHONPATH"):
            added["PYTHONPATH"] = os.pathsep.join(os.path.abspath(path) for path in paths.split(os.pathsep))
        return {**os.environ, **added}

    def has_ended(self) -> bool:
        """Whether it has; one that is late is ended."""
        if self._process.poll() is None and time.monotonic() - self._began > self._limit:
            self._is_late = True
            self._end()
        return self._process.returncode is not None

    def _end(self) -> None:
        """Interrupt it, so that it closes what it has opened; kill it when that does not help."""
        self._process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_GRACE)
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def stop(self) -> None:
        """End it, and leave nothing of it."""
        if self._process.returncode is None:
            self._end()
        if os.path.isdir("/proc/self"):
            sweep(self._token)
        shutil.rmtree(self._directory, ignore_errors=True)

    def finding(self) -> Finding:
        """Return what it has found, and leave nothing of it."""
        finding = _finding(self.subject, "works" if self._trials.smoke else "found")
        finding.seconds = time.monotonic() - self._began
        notes = self._notes()
        finding.times = {note["ended"]: note["seconds"] for note in notes if "ended" in note}
        finding.versions = finding.versions | {note["program"]: note["version"] for note in notes if "program" in note}
        if missing := [note["missing"] for note in notes if "missing" in note]:
            finding.state, finding.missing = "missing", missing
        elif problem := self._problem(notes):
            finding.state, finding.problem = "fails", problem
            with open(self._path("output"), encoding="utf-8", errors="replace") as stream:
                finding.output = stream.read()[-_TAIL:] or None
        self.stop()
        return finding

    def _notes(self) -> list[dict[str, Any]]:
        try:
            with open(self._path("notes"), encoding="utf-8") as stream:
                return [json.loads(line) for line in stream if line.endswith("\n")]
        except OSError:
            return []

    def _problem(self, notes: Sequence[dict[str, Any]]) -> str | None:
        step = next((note["begun"] for note in reversed(notes) if "begun" in note), "import")
        if self._is_late:
            return f"it has not ended within {self._limit:g} s: it hung while {_DOING.get(step, step)}"
        told = next((note["problem"] for note in notes if "problem" in note), None)
        code = self._process.returncode
        if told is not None or code == 0:
            return told
        if code < 0:
            return f"its process was ended by signal {-code} ({signal.strsignal(-code)}) while {_DOING.get(step, step)}"
        return f"its process ended with exit status {code} while {_DOING.get(step, step)}"
