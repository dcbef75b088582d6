"""What an emulated batch system remembers of jobs: the queue, and the accounts."""

from __future__ import annotations

import re
import time

from harmony.conformance.emulators.dialect import Dialect
from harmony.conformance.emulators.model import Job, Settings


class Registry:
    """The jobs of an emulated batch system, by id."""

    def __init__(self, dialect: Dialect, settings: Settings) -> None:
        self.dialect, self.settings = dialect, settings
        self.jobs: dict[str, Job] = {}
        self._by_number: dict[int, list[Job]] = {}
        self._ledger: list[Job] = []

    def now(self) -> float:
        """The time, in seconds since the epoch."""
        return time.time()

    def queue(self) -> list[Job]:
        """The jobs that the queue remembers, also such as have ended."""
        return [job for job in self.jobs.values() if job.visible]

    def find(self, job_id: str) -> list[Job]:
        """The jobs that the queue remembers under an id: of a job, of an array's task, or of a whole array."""
        job = self.jobs.get(job_id)
        if job is None:
            digits = re.match(r"\d+", job_id)
            group = self._by_number.get(int(digits[0]), []) if digits else []
            found = group if digits and job_id in (self.dialect.job_id(int(digits[0]), None), digits[0]) else []
        else:
            found = [job]
        return [each for each in found if each.visible]

    def records(self) -> list[Job]:
        """What accounting has by now: each ended attempt, as it was then."""
        if not self.settings.accounting:
            return []
        until = self.now() - self.settings.accounting_delay
        return [record for record in self._ledger if (record.ended or 0.0) <= until]

    def _keep(self, job: Job) -> None:
        self.jobs[job.id] = job
        self._by_number.setdefault(job.number, []).append(job)

    def _any(self, job_id: str) -> list[Job]:
        """The jobs of that id, also such as the queue has forgotten."""
        if job_id in self.jobs:
            return [self.jobs[job_id]]
        digits = re.match(r"\d+", job_id)
        return self._by_number.get(int(digits[0]), []) if digits else []
