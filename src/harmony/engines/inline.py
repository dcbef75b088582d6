"""The inline engine: runs each task where it is submitted, so that a debugger sees it."""

from __future__ import annotations

from collections.abc import Sequence

from harmony.core.engine import Capability, Capacity, Notice, Report, Submission, Update
from harmony.core.task import TaskState
from harmony.engines._here import run_here


class InlineEngine:
    """Runs one task at a time, in the caller's thread: ``Workflow(engine="inline")``.

    For debugging: breakpoints, profilers and prints work as in a plain program. Walltimes hold for commands only,
    so they are not declared.
    """

    capabilities = frozenset(
        {
            Capability.CALLS,
            Capability.COMMANDS,
            Capability.ENVIRONMENT,
            Capability.DIRECTORY,
            Capability.MEMORY,
            Capability.IN_CALLER,
            Capability.SHARED_MEMORY,
        }
    )
    capacity = Capacity()

    def __init__(self, workers: int | None = None) -> None:
        del workers  # accepted because ``--workers`` is; there is one, the caller
        self._report: Report = _silent

    def start(self, report: Report) -> None:
        """See `Engine`."""
        self._report = report

    def submit(self, batch: Sequence[Submission]) -> None:
        """Run the tasks now. Ctrl-C goes through to the caller."""
        for submission in batch:
            self._report([Update(submission.id, TaskState.RUNNING, place="caller")])
            update = run_here(submission, place="caller")
            self._report([update])
            if isinstance(update.error, KeyboardInterrupt):
                raise update.error

    def cancel(self, ids: Sequence[int]) -> None:
        """Nothing to do: what was submitted has run."""

    def close(self) -> None:
        """See `Engine`."""
        self._report = _silent


def _silent(updates: Sequence[Update | Notice]) -> None:
    del updates
