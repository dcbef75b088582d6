"""What the tests of the local executor share."""

from __future__ import annotations

import os
from pathlib import Path
from time import monotonic, sleep

from harmony.jobs import Job, JobExecutor, JobSpec, JobStatus

SECONDS = 30


def final(executor: JobExecutor, spec: JobSpec) -> tuple[Job, JobStatus]:
    """Submit a job and wait for its end."""
    job = Job(spec)
    executor.submit(job)
    status = job.wait(SECONDS)
    assert status is not None
    return job, status


def shell(text: str, **fields: object) -> JobSpec:
    """A job of a shell command."""
    return JobSpec("/bin/sh", ["-c", text], **fields)  # type: ignore[arg-type]


def fifo(directory: Path) -> Path:
    """Make a named pipe, on which a job waits for the test."""
    os.mkfifo(directory / "fifo")
    return directory / "fifo"


def lines(path: Path, number: int) -> list[str]:
    """Wait until a file has so many lines; return its words."""
    deadline = monotonic() + SECONDS
    while not path.exists() or path.read_text().count("\n") < number:
        assert monotonic() < deadline, path
        sleep(0.005)
    return path.read_text().split()
