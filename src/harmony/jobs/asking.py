"""Asking a batch system about jobs. An answer that cannot be used is None, which only delays news."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TypeVar

from harmony.jobs.scheduler import NoAccounting, NoAnswer, Scheduler
from harmony.jobs.shell import CommandUnavailable, Completed, Shell
from harmony.jobs.state import JobStatus

logger = logging.getLogger("harmony.jobs")
T = TypeVar("T")
#: Of so many jobs one accounting command is asked.
_AT_ONCE = 200


class Inquiry:
    """A scheduler's commands, run by a shell. May be used from several threads."""

    def __init__(self, scheduler: Scheduler, shell: Shell, timeout: float) -> None:
        self._scheduler = scheduler
        self._shell = shell
        self._timeout = timeout
        #: Why the scheduler's last answer could not be used; None when it could.
        self.trouble: str | None = None

    def statuses(self, ids: Sequence[str]) -> dict[str, JobStatus] | None:
        """What the queue says of these jobs, and maybe of others."""
        return self._answer(lambda: self._scheduler.statuses(self._run(self._scheduler.status_command(ids))))

    def outcomes(self, ids: Sequence[str]) -> dict[str, JobStatus] | None:
        """What accounting says of these jobs; nothing where there is none.

        Asked a few at a time: some systems read the whole of their accounts for each job.
        """
        found: dict[str, JobStatus] = {}
        for start in range(0, len(ids), _AT_ONCE):
            some = self._some_outcomes(ids[start : start + _AT_ONCE])
            if some is None:
                return None
            found |= some
        return found

    def _some_outcomes(self, ids: Sequence[str]) -> dict[str, JobStatus] | None:
        def ask() -> dict[str, JobStatus]:
            command = self._scheduler.accounting_command(ids)
            try:
                return {} if command is None else self._scheduler.outcomes(self._run(command))
            except NoAccounting:
                return {}

        return self._answer(ask)

    def cancel(self, ids: Sequence[str]) -> bool:
        """Have these jobs ended; False if it should be tried again."""
        done = self._answer(lambda: self._run(self._scheduler.cancel_command(ids)))
        if done is None:
            return False
        return not (self._scheduler.cancel_failed(done) and self._scheduler.refusal_is_transient(done))

    def _run(self, command: Sequence[str]) -> Completed:
        return self._shell.run(command, timeout=self._timeout)

    def _answer(self, ask: Callable[[], T]) -> T | None:
        try:
            found = ask()
        except Exception as error:  # the scheduler's file may be anyone's, and meet any output
            expected = isinstance(error, NoAnswer | CommandUnavailable)
            trouble = str(error) if expected else repr(error)
            if trouble != self.trouble:
                logger.warning("%s does not answer: %s", self._scheduler.name, trouble, exc_info=not expected)
            self.trouble = trouble
            return None
        self.trouble = None
        return found
