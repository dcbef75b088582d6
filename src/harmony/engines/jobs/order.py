"""From a task to a job: its specification, where its streams go, and the handle by which it is found again. Pure."""

from __future__ import annotations

import json
import os
import re
import shlex
from datetime import timedelta
from typing import Any, NamedTuple

from harmony.core.engine import Submission
from harmony.core.task import Command
from harmony.errors import EngineError, InvalidJobException
from harmony.jobs.attributes import JobAttributes
from harmony.jobs.job import Job
from harmony.jobs.resource_spec import ResourceSpecV1
from harmony.jobs.spec import JobSpec

#: The walltime of a job whose task has none, in seconds.
WALLTIME = 3600.0
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_VERSION = 1


class Streams(NamedTuple):
    """The files that take what is captured; None for a stream that goes to a file of the user's."""

    stdout: str | None
    stderr: str | None


def streams_of(command: Command, folder: str, name: str) -> Streams:
    """Return where a command's captured streams go, in a folder of ours."""
    path = os.path.join(folder, name)
    return Streams(
        f"{path}.out" if command.stdout is None else None,
        f"{path}.err" if command.stderr is None else None,
    )


def specification(submission: Submission, streams: Streams, launcher: str) -> JobSpec:
    """Return the job that runs a task's command. `launcher` is for commands that ask for ranks.

    Raises `InvalidJobException` for resources that no job can have.
    """
    command, options = submission.work, submission.options
    assert isinstance(command, Command)
    directory = os.path.abspath(options.directory or "")

    def place(path: str | None) -> str | None:
        return None if path is None else os.path.join(directory, path)

    asked = options.resources
    argv, environment = _literally(command.argv, dict(options.environment))
    return JobSpec(
        argv[0],
        list(argv[1:]),
        directory=directory,
        name=submission.name,
        environment=environment,
        stdin_path=place(command.stdin),
        stdout_path=streams.stdout or place(command.stdout),
        stderr_path=streams.stderr or place(command.stderr),
        resources=ResourceSpecV1(
            asked.node_count,
            asked.process_count,
            asked.processes_per_node,
            asked.cpu_cores_per_process,
            asked.gpu_cores_per_process or None,
            asked.exclusive,
            asked.memory,
        ),
        attributes=JobAttributes(duration=timedelta(seconds=options.walltime or WALLTIME)),
        launcher=launcher if asked.is_parallel else None,
    )


def _literally(argv: tuple[str, ...], environment: dict[str, str]) -> tuple[tuple[str, ...], dict[str, str]]:
    """Return a command and variables in which nothing stands for a variable of the job, as ``${NAME}`` would."""
    odd = {name: value for name, value in environment.items() if "${" in value or not _NAME.fullmatch(name)}
    if odd:
        argv = ("/usr/bin/env", *(f"{name}={value}" for name, value in odd.items()), *argv)
    if any("${" in word for word in argv):
        words = " ".join(shlex.quote(word).replace("${", "$''{") for word in argv)
        argv = ("/bin/sh", "-c", f"exec {words}")
    return argv, {name: value for name, value in environment.items() if name not in odd}


def handle_of(job: Job, streams: Streams) -> str:
    """Return the text by which another program finds a job that was submitted, and what it has written."""
    return json.dumps({"version": _VERSION, "job": job.to_dict(), "stdout": streams.stdout, "stderr": streams.stderr})


def read_handle(handle: str, executor: str) -> tuple[Job, Streams]:
    """Undo `handle_of`. Raises `EngineError` for what this executor cannot follow."""
    try:
        data: dict[str, Any] = json.loads(handle)
        if data["version"] != _VERSION:
            raise InvalidJobException(f"its version is {data['version']!r}")
        job, streams = Job.from_dict(data["job"]), Streams(data["stdout"], data["stderr"])
    except (ValueError, KeyError, TypeError, InvalidJobException) as error:
        raise EngineError(f"what is kept of a job that an earlier program has left cannot be read: {error}") from error
    if job.origin not in (None, executor):
        raise EngineError(
            f"an earlier program has left job {job.native_id} of {job.origin!r}, and this engine submits to "
            f"{executor!r}; use {job.origin!r} again, or cancel that job and start afresh"
        )
    return job, streams
