"""Jobs that wait for other jobs: what each asks of the other, and whether it can still come."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from harmony.errors import InvalidJobException
from harmony.jobs.executor import DEPENDENCIES, Dependencies
from harmony.jobs.job import Job
from harmony.jobs.state import JobState, JobStatus


@dataclass(frozen=True)
class Wait:
    """One job must have got somewhere before another starts; `kind` is the key word of `submit`."""

    job: Job
    kind: str

    def judge(self, status: JobStatus | None) -> bool | None:
        """Whether the other job's status lets this one start; None: not yet. A status of None will never change."""
        if status is None:
            return False
        if self.kind == "after_any":
            return True if status.final else None
        if self.kind == "after_ok":
            return status.state is JobState.COMPLETED if status.final else None
        if status.final:
            return status.state is JobState.COMPLETED or status.exit_code is not None
        return True if status.state.order >= JobState.ACTIVE.order else None

    def complaint(self, status: JobStatus | None) -> str:
        """Why the job that waits cannot start any more."""
        state = "is not followed any more" if status is None else f"is {status.state}"
        return f"{self.kind}: it was to start when {self.job!r} {DEPENDENCIES[self.kind]}, and that {state}"


def resolve(dependencies: Dependencies, find: Callable[[str], Job]) -> list[Wait]:
    """Return what is still to be waited for. Raises `InvalidJobException` for a job of another executor."""
    waits: dict[Wait, None] = {}
    for kind in DEPENDENCIES:
        for native_id in getattr(dependencies, kind):
            job = dependencies.jobs.get(native_id) or find(native_id)
            if job.executor is None or job.executor.name != "local":
                raise InvalidJobException(
                    f"{kind}: {job!r} is no job of a local executor, which can wait for those only"
                )
            wait = Wait(job, kind)
            if wait.judge(job.status) is not True:
                waits[wait] = None
    return list(waits)
