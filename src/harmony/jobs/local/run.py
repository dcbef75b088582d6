"""One job's process tree: how it is signalled, and what is known when it has ended."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from harmony.jobs.evidence import Case, Patience
from harmony.jobs.job import Job
from harmony.jobs.local.children import exit_status
from harmony.jobs.local.reaper import Timer
from harmony.jobs.local.tree import Member, Snapshot, send
from harmony.jobs.local.waiting import Wait
from harmony.jobs.scheduler import ended
from harmony.jobs.script import Marker, Place
from harmony.jobs.state import JobState, JobStatus, Reason

if TYPE_CHECKING:
    from harmony.jobs.local.follower import Follower


Listener = Callable[[JobStatus | None], object]


class Run:
    """A job that an executor follows: not started yet, running, or over.

    Its executor's lock guards everything but `tell`. A signal is sent only while the leader is not reaped, so that its
    number, and that of its group, cannot be another's.
    """

    __slots__ = (
        "case", "is_child", "job", "leader", "listeners", "met", "notes", "over", "owner", "pid", "place", "reaped",
        "rest", "source", "status", "stop", "tidies", "timer", "waits_for",
    )  # fmt: skip

    def __init__(self, job: Job, owner: Follower) -> None:
        self.job = job
        self.owner = owner
        self.pid = 0
        #: Whether the executor has started it; another's process is known as `leader`, its start time included.
        self.is_child = False
        self.leader: Member | None = None
        self.place: Place | None = None
        self.case: Case | None = None
        self.notes: dict[int, str] = {}
        self.timer: Timer | None = None
        #: Why we end it, once we do.
        self.stop: Reason | None = None
        self.status: int | None = None
        self.reaped = False
        self.over = False
        self.rest: list[Member] = []
        self.tidies = True
        #: How many things it waits for before it starts, and which of them have come; -1: it is being started.
        self.waits_for = 0
        self.met: list[Wait] = []
        #: The run of another executor here, of which this one only tells.
        self.source: Run | None = None
        self.listeners: list[Listener] = []

    def reports_at(self, place: Place, tidies: bool) -> None:
        """The job is a script, and leaves its markers and files here."""
        self.place, self.tidies = place, tidies
        self.case = Case(Patience())

    # -- while it runs ------------------------------------------------------------------------------

    def marked(self, marker: Marker) -> None:
        """Take a marker of its script."""
        if self.case is None:
            return
        self.notes[marker.attempt] = marker.name
        status = self.case.marked(marker, time.monotonic())
        if status is not None:
            self.tell(status)

    def tell(self, status: JobStatus) -> None:
        """Advance the job, and whoever listens."""
        if self.job.advance(status) and self.listeners:
            for listener in list(self.listeners):
                listener(status)

    def has_ended(self) -> bool:
        """Whether the leader has ended by itself already."""
        if self.reaped or self.over:
            return True
        if not self.is_child:
            return False
        try:
            return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None
        except ChildProcessError:
            return True

    def signal(self, number: int, snapshot: Snapshot) -> None:
        """Send a signal to the process group, and to whoever else is in the session where that is not our child's."""
        if self.reaped or self.over:
            return
        if not self.is_child:
            for member in self._members(snapshot):
                send(member, number)
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)
        if number == signal.SIGKILL:
            for member in self._members(snapshot):
                if member.group != self.pid:
                    send(member, number)

    def signal_children(self, number: int, snapshot: Snapshot) -> None:
        """Send a signal to all but the job script itself."""
        for member in self._members(snapshot):
            if member.pid != self.pid and not self.over:
                send(member, number)

    def _members(self, snapshot: Snapshot) -> list[Member]:
        if self.leader is not None and self.leader.pid not in (self.leader.group, self.leader.session):
            return [self.leader]  # attached to, in the middle of someone's tree
        return snapshot.members(self.pid)

    # -- its end ------------------------------------------------------------------------------------

    def collect(self, snapshot: Snapshot) -> None:
        """The leader has ended: end what it left behind, and reap it."""
        if self.is_child:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
        if self.stop is not None:
            self.rest = [member for member in self._members(snapshot) if member.pid != self.pid]
            for member in self.rest:
                send(member, signal.SIGKILL)
        self.status = self._wait()
        self.reaped = True

    def _wait(self) -> int | None:
        if not self.is_child:
            return exit_status(self.pid, self.leader)
        try:
            return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        except ChildProcessError:
            return None

    def outcome(self) -> JobStatus:
        """Judge what is known."""
        code = self.status
        number = -code if code is not None and code < 0 else None
        if self.stop is None and self.place is not None and code != 0 and os.path.exists(self.place.cancel_flag):
            self.stop = Reason.CANCELED  # by another program that follows the job
        judged = self._judged()
        if self.stop is not None:
            shown = judged.exit_code if judged is not None else 128 + number if number else code
            facts = {"reason": self.stop} | ({"signal": number} if number else {})
            if self.stop is Reason.CANCELED:
                return JobStatus(JobState.CANCELED, message="cancelled", exit_code=shown, metadata=facts)
            spec = self.job.spec
            limit = f" of {spec.attributes.duration}" if spec is not None else ""
            message = f"ran longer than its walltime{limit}"
            return JobStatus(JobState.FAILED, message=message, exit_code=shown, metadata=facts)
        if judged is not None:
            said = self.place.printed() if self.place is not None and judged.state is JobState.FAILED else ""
            text = f"{judged.message}\n{said}" if said else judged.message
            return JobStatus(judged.state, judged.time, text, judged.exit_code, judged.metadata)
        if code is None:
            return unknown(self._why_unknown())
        return ended(signal=number) if number else ended(code)

    def _judged(self) -> JobStatus | None:
        """What the job script has said of its end."""
        if self.case is None:
            return None
        now = time.monotonic()
        if self.case.judge(now) is None and not self.case.unsettled:
            return None  # no marker of its end
        self.case.gone(now)
        self.case.accounted(None, now)
        return self.case.judge(now)

    def _why_unknown(self) -> str:
        if self.is_child:
            return (
                "it has ended, but its exit status was taken by another wait() of this program, or SIGCHLD is ignored"
            )
        if self.case is not None:
            return "it has ended without a word from its job script: killed from outside, or the machine was restarted"
        return "it has ended, but only the program that started it can know its exit status"

    def settle(self, status: JobStatus) -> None:
        """Report its final state, and tidy its files away."""
        if self.place is not None and self.tidies:
            with contextlib.suppress(OSError):
                self.place.tidy(self.notes.values())
        self.tell(status)


def unknown(message: str) -> JobStatus:
    """The status of a job of whose end there is no evidence."""
    return JobStatus(JobState.FAILED, message=message, metadata={"reason": Reason.UNKNOWN})
