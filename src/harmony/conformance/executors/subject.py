"""What a conformance run must know of the executor that it tests."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

import pytest

from harmony.jobs import (
    Job,
    JobAttributes,
    JobExecutor,
    JobSpec,
    JobState,
    JobStatus,
)


@dataclass
class Subject:
    """An executor under test.

    `make` returns a new executor of the same scheduler each time; it should be one that asks the scheduler often and
    whose patience is short. Jobs run in `directory`, which every node must see. `lacks` names what it cannot do, with
    the reason: a key of ``Subject.FEATURES``; tests that need it are skipped and say so. `attributes` are given to
    every job. `bad_queue` is one that the scheduler refuses, `short_walltime` the shortest that it enforces within the
    `patience`, in seconds, after which a test gives up.
    """

    FEATURES: ClassVar[dict[str, str]] = {
        "after": "dependencies on a start",
        "after_ok": "dependencies on success",
        "after_any": "dependencies on an end",
        "nodes": "two nodes",
        "walltime": "a walltime that is enforced soon",
        "refusal": "a queue that is refused",
        "grace": "a signal before the end",
        "attach": "attaching to any job of the scheduler",
        "handover": "jobs that a later client can follow",
    }

    make: Callable[[], JobExecutor]
    directory: Path
    lacks: Mapping[str, str] = field(default_factory=dict)
    attributes: Mapping[str, Any] = field(default_factory=dict)
    bad_queue: str | None = None
    short_walltime: timedelta | None = None
    patience: float = 50.0

    def needs(self, *features: str) -> None:
        """Skip the test when one of the features is lacking."""
        for feature in features:
            assert feature in self.FEATURES, feature
            if feature in self.lacks:
                pytest.skip(f"lacks {self.FEATURES[feature]}: {self.lacks[feature]}")

    def spec(self, executable: str = "/bin/true", arguments: Sequence[str] = (), **more: Any) -> JobSpec:
        """Return a specification that runs in the subject's directory with its attributes."""
        more.setdefault("directory", self.directory)
        duration = more.pop("duration", timedelta(minutes=5))
        attributes = JobAttributes(**{"duration": duration, **self.attributes, **more.pop("attributes", {})})
        return JobSpec(executable, list(arguments), attributes=attributes, **more)

    def job(self, executable: str = "/bin/true", arguments: Sequence[str] = (), **more: Any) -> Job:
        """Return a job of `spec`."""
        return Job(self.spec(executable, arguments, **more))

    def shell(self, script: str, **more: Any) -> Job:
        """Return a job that runs a line of shell."""
        return self.job("/bin/sh", ["-c", script], **more)

    def end(self, job: Job) -> JobStatus:
        """Wait for the job's end and return its status."""
        status = job.wait(self.patience)
        assert status is not None, f"{job!r} has not ended within {self.patience} s"
        return status

    def run(self, executor: JobExecutor, job: Job) -> JobStatus:
        """Submit, and wait for the end."""
        executor.submit(job)
        return self.end(job)

    def completed(self, executor: JobExecutor, job: Job) -> JobStatus:
        """Submit, wait, and see that all went well."""
        status = self.run(executor, job)
        assert status.state is JobState.COMPLETED, status
        return status

    def gate(self, name: str = "gate") -> Gate:
        """Return a gate that a job can wait at."""
        return Gate(self.directory / name)

    def appears(self, path: Path) -> str:
        """Wait for a file with something in it; return its text."""
        deadline = time.monotonic() + self.patience
        while time.monotonic() < deadline:
            if path.exists() and (text := path.read_text()):
                return text
            time.sleep(0.02)
        raise AssertionError(f"{path} has not appeared within {self.patience} s")


@dataclass(frozen=True)
class Gate:
    """A FIFO at which jobs wait until it is opened, so that a test decides when they end."""

    path: Path

    def __post_init__(self) -> None:
        os.mkfifo(self.path)

    @property
    def wait(self) -> str:
        """Shell text that waits until the gate is opened."""
        return f"read -r _ < {shlex.quote(str(self.path))}"

    def open(self, patience: float = 50.0) -> None:
        """Let one job through; waits until there is one."""
        deadline = time.monotonic() + patience
        while not self._try_to_open():
            assert time.monotonic() < deadline, "no job has come to the gate"
            time.sleep(0.01)

    def _try_to_open(self) -> bool:
        try:
            descriptor = os.open(self.path, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:
            return False
        os.write(descriptor, b"\n")
        os.close(descriptor)
        return True
