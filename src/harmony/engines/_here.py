"""Run a submission in this thread: the base of the engines that have nothing but threads."""

from __future__ import annotations

import threading
import time
from typing import Any

from harmony.core.engine import Submission, Update, Usage
from harmony.core.task import Command, TaskState
from harmony.core.usage import MEASURED, STALE
from harmony.core.work import check_outputs, run_call, run_command


class _Clock(threading.local):
    """The CPU time of this thread, as it was last read, and when that was."""

    cpu = 0.0
    at = -1.0


_clock = _Clock()


def run_here(submission: Submission, place: str) -> Update:
    """Run one task in this thread and return how it ended."""
    options, work = submission.options, submission.work
    if isinstance(work, Command):
        return _run_command(submission, work, place)
    result: Any = None
    failure: BaseException | None = None
    started = time.perf_counter()
    if started - _clock.at > STALE:
        _clock.at, _clock.cpu = started, time.thread_time()
    try:
        result = run_call(work, dict(options.environment) if options.environment else {}, options.directory)
        if submission.outputs:
            check_outputs(submission.name, submission.outputs)
    except BaseException as error:  # noqa: BLE001  sys.exit() in a function ends its task, not the engine's thread
        result, failure = None, error
    ended = time.perf_counter()
    usage = None
    if ended - started >= MEASURED:
        before, _clock.at, _clock.cpu = _clock.cpu, ended, time.thread_time()
        usage = Usage(_clock.cpu - before)
    state = TaskState.DONE if failure is None else TaskState.FAILED
    return Update(submission.id, state, result, failure, ended - started, place, "", usage)


def _run_command(submission: Submission, command: Command, place: str) -> Update:
    used: list[Usage] = []
    result: Any = None
    failure: BaseException | None = None
    started = time.perf_counter()
    try:
        result = run_command(command, submission.options, submission.outputs, used.append)
    except BaseException as error:  # noqa: BLE001  as above
        failure = error
    seconds = time.perf_counter() - started
    state = TaskState.DONE if failure is None else TaskState.FAILED
    return Update(submission.id, state, result, failure, seconds, place, "", used[0] if used else None)
