"""Run a submission in this thread: the base of the engines that have nothing but threads."""

from __future__ import annotations

import time

from harmony.core.engine import Submission, Update
from harmony.core.task import Command, TaskState
from harmony.core.work import check_outputs, run_call, run_command


def run_here(submission: Submission, place: str) -> Update:
    """Run one task in this thread and return how it ended."""
    options, work = submission.options, submission.work
    started = time.perf_counter()
    try:
        if isinstance(work, Command):
            result = run_command(work, options, submission.outputs)
        else:
            result = run_call(work, dict(options.environment), options.directory)
            check_outputs(submission.name, submission.outputs)
    except BaseException as error:  # noqa: BLE001  sys.exit() in a function ends its task, not the engine's thread
        return Update(submission.id, TaskState.FAILED, None, error, time.perf_counter() - started, place)
    return Update(submission.id, TaskState.DONE, result, None, time.perf_counter() - started, place)
