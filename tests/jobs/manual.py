"""An executor whose jobs do what a test says: for the rules that hold above every scheduler."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from harmony.errors import SubmitException
from harmony.jobs.executor import Dependencies, JobExecutor, JobExecutorConfig
from harmony.jobs.job import Job, Timeout
from harmony.jobs.state import JobState, JobStatus


class ManualExecutor(JobExecutor):
    """Takes jobs and leaves them QUEUED; `refusals` are raised first, one by one."""

    name = "manual"

    def __init__(self, url: str | None = None, config: JobExecutorConfig | None = None) -> None:
        super().__init__(url, config)
        self.refusals: list[SubmitException] = []
        self.taken: list[tuple[Job, Dependencies]] = []
        self.cancelled: list[tuple[Job, Timeout]] = []
        self.waited: list[Callable[[], object]] = []
        self.closed = 0

    def _submit(self, jobs: Sequence[Job], dependencies: Dependencies) -> None:
        for job in jobs:
            if self.refusals:
                raise self.refusals.pop(0)
            self.taken.append((job, dependencies))
            job.bind(self, str(len(self.taken)))
            job.advance(JobStatus(JobState.QUEUED))

    def cancel(self, job: Job, grace: Timeout = None) -> None:
        self.cancelled.append((job, grace))
        job.advance(JobStatus(JobState.CANCELED))

    def list(self) -> list[str]:
        return [str(job.native_id) for job, _ in self.taken]

    def attach(self, job: Job, native_id: str | None = None) -> None:
        job.bind(self, self._to_attach(job, native_id))

    def wait_all(self) -> None:
        for job, _ in self.taken:
            job.advance(JobStatus(JobState.COMPLETED, exit_code=0))

    def close(self) -> None:
        self.closed += 1
        for job, _ in self.taken:
            job.abandon("the executor was closed")


def reach(job: Job, *states: JobState) -> list[bool]:
    """Report the states one after the other; return which the job took."""
    return [job.advance(JobStatus(state)) for state in states]


def in_threads(actions: Sequence[object]) -> None:
    """Call them all at once."""
    together = threading.Barrier(len(actions))

    def run(action: object) -> None:
        together.wait()
        assert callable(action)
        action()

    threads = [threading.Thread(target=run, args=[action]) for action in actions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
