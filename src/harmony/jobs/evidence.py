"""Judging: what follows from the evidence about one job. No clock, no thread, no file; `now` is given.

    markers of the job script ──▶ marked()       ┐
    the queue                 ──▶ seen(), gone() ├──▶ judge(now) ──▶ a status, or None: not known yet
    accounting                ──▶ accounted()    ┘

An end with status 0, reported by the job script, is believed at once. Any other end may have been caused from outside,
which only the scheduler knows; it is asked first. Of a job that has left the queue the end is unknown until evidence
is in; a job is never guessed to have completed.
"""

from __future__ import annotations

from dataclasses import dataclass

from harmony.jobs.script import Marker
from harmony.jobs.state import JobState, JobStatus, Reason

#: Phases of the job script in which the user's program was not, or not any more, to blame.
_PHASES = {
    "stage_in": (Reason.STAGING, "staging in failed"),
    "stage_out": (Reason.STAGING, "staging out failed"),
    "cleanup": (Reason.STAGING, "the cleanup failed"),
    "directory": (Reason.LAUNCH, "the job's directory cannot be used"),
    "launch": (Reason.LAUNCH, "the program could not be started"),
    "pre_launch": (Reason.EXIT, "the pre-launch script failed"),
    "post_launch": (Reason.EXIT, "the post-launch script failed"),
    "walltime": (Reason.WALLTIME, "ran longer than its walltime"),
}


#: The exit statuses by which a shell says that a signal ended a program; 128 and those above are a program's own.
_KILLED = range(129, 128 + 65)


@dataclass(frozen=True, slots=True)
class Patience:
    """How long evidence is waited for, in seconds.

    `confirm`: for the scheduler's word on an end that the job script has reported; `signal`: the same, when the
    program was killed and may be started anew; `vanished`: for any evidence about a job that has left the queue;
    `canceled`: the same after a cancel; `silent`: for accounting that does not answer.
    """

    confirm: float = 10.0
    signal: float = 60.0
    vanished: float = 60.0
    canceled: float = 3.0
    silent: float = 300.0


class Case:
    """The evidence about one job."""

    __slots__ = (
        "_accounted",
        "_doubted",
        "_end",
        "_end_since",
        "_gone_since",
        "_restarts",
        "_sighting",
        "_started",
        "_word",
        "cancel_asked",
        "patience",
        "walltime",
    )

    def __init__(self, patience: Patience, walltime: float | None = None) -> None:
        self.patience = patience
        self.walltime = walltime
        self._started: float | None = None
        self.cancel_asked = False
        self._sighting: JobStatus | None = None
        self._word: JobStatus | None = None
        self._end: Marker | None = None
        self._doubted: Marker | None = None  # an end after which the queue showed the job as waiting
        self._end_since = 0.0
        self._gone_since: float | None = None
        self._accounted = False
        self._restarts = 0

    # -- evidence -----------------------------------------------------------------------------------

    def marked(self, marker: Marker, now: float) -> JobStatus | None:
        """Take a marker of the job script; return the state on the way that it reports, if any."""
        self._restarts = max(self._restarts, marker.attempt)
        if marker.code is not None:
            if self._end is None or (marker.attempt, marker.time) >= (self._end.attempt, self._end.time):
                self._end, self._end_since = marker, now
            return None
        if self._end is not None and marker.attempt > self._end.attempt:
            self._end = None  # the scheduler has started the job anew
        if self._doubted is not None and marker.attempt > self._doubted.attempt:
            self._doubted = None
        assert marker.state is not None
        if marker.state is JobState.ACTIVE:
            self._started = marker.time
        return JobStatus(marker.state, marker.time)

    def seen(self, status: JobStatus, now: float) -> JobStatus | None:
        """Take what the queue says of the job; return a state on the way to report, if it is news."""
        previous, self._sighting = self._sighting, status
        self._restarts = max(self._restarts, int(status.metadata.get("restarts") or 0))
        if status.state.final:
            self._hear(status, now)
            return None
        self._gone_since = None
        self._word = None
        if status.state is JobState.QUEUED and self._end is not None and now > self._end_since:
            self._end, self._doubted = None, self._end  # requeued, or the queue is behind
        if previous is not None and previous.state is status.state:
            return None
        return status

    def gone(self, now: float) -> None:
        """Note that the queue, reliably asked, does not show the job."""
        if self._gone_since is None:
            self._gone_since = now

    def accounted(self, status: JobStatus | None, now: float) -> None:
        """Take what accounting says; None: nothing of this job, or there is no accounting."""
        self._accounted = status is None or status.final  # not when it says that the job is alive
        if status is not None and status.state.final:
            self._hear(status, now)

    def _hear(self, status: JobStatus, now: float) -> None:
        """A final state without an exit code and a reason says only that the job has ended, not how."""
        if status.exit_code is None and status.reason is None and status.state is not JobState.CANCELED:
            self.gone(now)
            return
        self._word = status
        if self._end is None and self._doubted is not None and self._doubted.code == status.exit_code:
            self._end = self._doubted

    # -- what follows -------------------------------------------------------------------------------

    @property
    def unsettled(self) -> bool:
        """Whether the end is near or there: the scheduler should be asked soon."""
        return self.cancel_asked or self._end is not None or self._gone_since is not None

    @property
    def end_reported(self) -> bool:
        """Whether the job script has told of its end."""
        return self._end is not None

    @property
    def wants_accounting(self) -> bool:
        """Whether the queue can tell nothing more."""
        return self._gone_since is not None and self._word is None

    def judge(self, now: float) -> JobStatus | None:
        """Return the final status, once the evidence is in."""
        end, word = self._end, self._word
        if end is not None and end.code == 0:
            return self._status(JobState.COMPLETED, end.time, None, 0, {})
        if word is not None:
            return self._by_word(word, end)
        if end is not None:
            waited = now - self._end_since
            patience = self.patience.signal if end.code in _KILLED else self.patience.confirm
            told_nothing = self._gone_since is not None and self._accounted
            if end.phase == "walltime" or told_nothing or waited >= patience:
                return self._by_marker(end)
            return None
        if self._gone_since is None:
            return None
        patience = self.patience.canceled if self.cancel_asked else self.patience.vanished
        if not self._accounted:
            patience = max(patience, self.patience.silent)
        return self._unknown() if now - self._gone_since >= patience else None

    def _by_word(self, word: JobStatus, end: Marker | None) -> JobStatus:
        killed = word.reason == Reason.SIGNAL or word.exit_code in _KILLED
        if self.cancel_asked and (killed or word.reason == Reason.DEPENDENCY):
            return self._canceled(word.time, word.exit_code, word.metadata)
        if end is None:
            return self._status(word.state, word.time, word.message, word.exit_code, word.metadata)
        if word.state is JobState.COMPLETED or word.reason in (Reason.EXIT, Reason.SIGNAL):
            return self._by_marker(end, word.metadata)
        return self._status(word.state, word.time, word.message, end.code, word.metadata)

    def _by_marker(self, end: Marker, facts: dict[str, object] | None = None) -> JobStatus:
        code = end.code or 0
        known = {**(facts or {}), "phase": end.phase}
        if self.cancel_asked:
            return self._canceled(end.time, code, known)
        if end.phase in _PHASES:
            reason, message = _PHASES[end.phase]
            return self._status(JobState.FAILED, end.time, message, code, {**known, "reason": reason})
        if code in _KILLED:
            if self._time_was_up(end):
                known.update(reason=Reason.WALLTIME)
                return self._status(JobState.FAILED, end.time, _PHASES["walltime"][1], code, known)
            known.update(reason=Reason.SIGNAL, signal=code - 128)
            return self._status(JobState.FAILED, end.time, f"ended by signal {code - 128}", code, known)
        known.update(reason=Reason.EXIT)
        return self._status(JobState.FAILED, end.time, f"ended with exit status {code}", code, known)

    def _time_was_up(self, end: Marker) -> bool:
        """Whether a program was killed as its walltime ran out; some batch systems do not tell."""
        if self.walltime is None or self._started is None:
            return False
        return end.time - self._started >= self.walltime - 1  # the times are whole seconds

    def _canceled(self, time: float, code: int | None, facts: dict[str, object]) -> JobStatus:
        return self._status(JobState.CANCELED, time, "cancelled", code, {**facts, "reason": Reason.CANCELED})

    def _unknown(self) -> JobStatus:
        if self.cancel_asked:
            return JobStatus(JobState.CANCELED, message="cancelled", metadata={"reason": Reason.CANCELED})
        where = "it was never in the queue" if self._sighting is None else "it has left the queue"
        message = f"{where}, and neither its job script nor accounting says how it ended"
        return JobStatus(JobState.FAILED, message=message, metadata={"reason": Reason.UNKNOWN})

    def _status(
        self, state: JobState, time: float, message: str | None, code: int | None, facts: dict[str, object]
    ) -> JobStatus:
        known = {**facts, "restarts": self._restarts} if self._restarts else facts
        return JobStatus(state, time, message, code, known)
