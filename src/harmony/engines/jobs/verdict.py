"""From the end of a job to that of its task: a result, or the error that the same command has on every engine."""

from __future__ import annotations

import os
from collections.abc import Sequence

from harmony.core.engine import Submission
from harmony.core.task import Command, CommandResult
from harmony.core.work import cannot_start, judge, walltime_exceeded
from harmony.engines.jobs.order import WALLTIME, Streams
from harmony.errors import CommandError, EngineError, WorkerLost
from harmony.jobs.state import JobState, JobStatus, Reason

_LOST = {Reason.NODE_FAILURE: "its node failed", Reason.PREEMPTED: "it was preempted"}
#: The statuses by which a shell says why a program cannot be started.
_REFUSALS: dict[int | None, type[OSError]] = {126: PermissionError, 127: FileNotFoundError}


def outcome(submission: Submission, status: JobStatus, streams: Streams, seconds: float, place: str) -> CommandResult:
    """Return what a command has come to whose job is COMPLETED, FAILED or CANCELED; else raise its error."""
    command, reason = submission.work, status.reason
    assert isinstance(command, Command)
    if status.state is JobState.COMPLETED or reason == Reason.EXIT:
        return _judged(submission, command, status.exit_code or 0, streams, seconds)
    if reason == Reason.SIGNAL:
        return _judged(submission, command, -int(status.metadata.get("signal") or 9), streams, seconds)
    if reason == Reason.WALLTIME:
        raise walltime_exceeded(submission.name, submission.options.walltime or WALLTIME)
    if reason == Reason.OUT_OF_MEMORY:
        raise CommandError(command.args, reason=f"was ended, for it took more memory than its job had ({place})")
    if status.state is JobState.CANCELED:
        raise CommandError(command.args, reason=f"was cancelled from outside, as {place}")
    if reason == Reason.LAUNCH and status.metadata.get("phase"):
        raise _not_started(command, status)
    if reason in _LOST or reason == Reason.UNKNOWN:
        raise WorkerLost(f"{place} was lost while it ran {submission.name}: {_why(status)}")
    raise EngineError(f"{place} failed before it could run {submission.name}: {_why(status)}")


def _why(status: JobStatus) -> str:
    lost = [text for reason, text in _LOST.items() if reason == status.reason]
    return status.message or (lost[0] if lost else status.reason or str(status.state))


def _not_started(command: Command, status: JobStatus) -> CommandError:
    refusal = _REFUSALS.get(status.exit_code)
    if refusal is not None and status.metadata.get("phase") == "launch":
        return cannot_start(command, refusal())
    return CommandError(command.args, reason=f"could not be started: {status.message}")


def _judged(submission: Submission, command: Command, code: int, streams: Streams, seconds: float) -> CommandResult:
    opened: list[int] = []
    try:
        opened.extend(_open(path, must_be_there=code == 0) for path in streams)
        return judge(
            command,
            code,
            (-1, opened[0], opened[1]),
            directory=submission.options.directory,
            seconds=seconds,
            outputs=submission.outputs,
        )
    finally:
        for descriptor in opened:
            os.close(descriptor)


def _open(path: str | None, *, must_be_there: bool) -> int:
    if path is not None and not must_be_there and not os.path.exists(path):
        path = None  # it was ended before it could write
    try:
        return os.open(os.devnull if path is None else path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise EngineError(f"what a job has written to {path} cannot be read: {error.strerror}") from error


def is_all_there(outputs: Sequence[str], streams: Streams) -> bool:
    """Whether every file is seen here that a job which has ended well must have written; other nodes' files lag."""
    for path in (*outputs, *filter(None, streams)):
        if not os.path.exists(path):
            try:
                os.listdir(os.path.dirname(path) or ".")  # has NFS look again
            except OSError:
                return False
            if not os.path.exists(path):
                return False
    return True
