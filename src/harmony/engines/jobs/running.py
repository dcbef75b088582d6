"""A task while the engine has it: its job, and how far that is."""

from __future__ import annotations

import time
from collections.abc import Callable

from harmony.core.engine import Submission
from harmony.engines.jobs.order import Streams
from harmony.jobs.job import Job
from harmony.jobs.state import JobStatus


class Running:
    """See the module. Everything but `is_unwanted` and `is_over` belongs to the engine's own threads."""

    __slots__ = (
        "began", "handle", "is_attached", "is_over", "is_submitted", "is_unwanted", "job", "place", "refusals",
        "refused_since", "started", "streams", "submission", "verdict",
    )  # fmt: skip

    def __init__(self, submission: Submission) -> None:
        self.submission = submission
        self.job = Job()
        self.streams = Streams(None, None)
        self.place = ""
        self.handle: str | None = None
        self.is_submitted = False
        self.is_attached = False
        self.is_unwanted = False
        self.is_over = False
        self.refused_since: float | None = None
        self.refusals = 0
        self.verdict: BaseException | None = None
        #: When it was seen to begin, by the monotonic clock, and when it did, by the scheduler's.
        self.began: float | None = None
        self.started: float | None = None

    @property
    def id(self) -> int:
        """The task's."""
        return self.submission.id

    def running(self, status: JobStatus) -> None:
        """The job has begun."""
        self.began, self.started = time.monotonic(), status.time

    def seconds(self, status: JobStatus) -> float:
        """How long it ran, now that it has ended; by the scheduler's clock, of whole seconds, if we were not there."""
        if self.began is None:
            return 0.0
        if self.is_attached and self.started is not None:
            return max(0.0, status.time - self.started)
        return time.monotonic() - self.began

    def bound(self, act: Callable[[Running], None]) -> Callable[[], None]:
        """Return `act` of this task, to be done later."""
        return lambda: act(self)
