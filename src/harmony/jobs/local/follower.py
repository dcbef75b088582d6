"""Following local jobs: from their start, or from where another program left them, to their end."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
import weakref
from functools import partial

from harmony.errors import InvalidStateException
from harmony.jobs.local import children, durable
from harmony.jobs.local.adoption import adopt
from harmony.jobs.local.config import LocalExecutorConfig
from harmony.jobs.local.news import News
from harmony.jobs.local.reaper import Reaper
from harmony.jobs.local.run import Run
from harmony.jobs.local.tree import Snapshot, look
from harmony.jobs.spec import JobSpec
from harmony.jobs.state import JobState, JobStatus, Reason

#: How long what has been killed may take to be gone.
_GONE_WITHIN = 2.0
#: Phases of a job script in which the program has been started; None: there is no script.
_AFTER_START = (None, "run", "post_launch", "stage_out", "cleanup", "done")


class Follower:
    """Follows the jobs of one executor: reports their states, enforces walltimes, ends them on demand.

    `live` holds what is followed, by the identity of the job. When the follower is dropped, its thread ends as soon as
    nothing is followed.
    """

    def __init__(self, settings: LocalExecutorConfig) -> None:
        self._settings = settings
        self.lock = threading.Lock()
        self.live: dict[int, Run] = {}
        self.closed = False
        self._settled = threading.Condition(self.lock)
        self._reaper = Reaper()
        self._news = News(self._reaper)
        self._dropped = weakref.finalize(self, _release, self._reaper, self._news)
        self._dropped.atexit = False

    def leave_to_parent(self) -> None:
        """This is the child of a fork: touch nothing that the parent uses."""
        self._dropped.detach()

    def hear_of(self, directory: str) -> None:
        """Hear of what the scripts in an executor's own directory report; before the first is started."""
        self._news.own(directory)

    def follow_child(self, run: Run, spec: JobSpec) -> None:
        """Follow a job that was just started."""
        self.live[id(run.job)] = run
        if run.place is None:
            run.tell(JobStatus(JobState.ACTIVE))
        else:
            run.tell(JobStatus(JobState.QUEUED))
            self._news.follow(run.place, run)
        if run.place is None or not self._settings.durable:
            seconds = spec.attributes.duration.total_seconds()
            run.timer = self._reaper.at(time.monotonic() + seconds, partial(self._overtime, run))
        self._reaper.watch(run.pid, partial(self._ended, run))

    def adopt(self, run: Run) -> None:
        """Follow a process that is not a child of this executor."""
        found = adopt(run, self._settings.work_directory / "local", not self._settings.keep_files)
        if found is not None:
            self.finish(run, found)
            return
        if run.place is not None:
            run.tell(JobStatus(JobState.QUEUED))
            self._news.follow(run.place, run)
        else:
            run.tell(JobStatus(JobState.ACTIVE))
        self._reaper.watch(run.pid, partial(self._ended, run))

    def _overtime(self, run: Run) -> None:
        self.end(run, Reason.WALLTIME, self._settings.walltime_grace)

    def end(self, run: Run, reason: Reason, grace: float) -> None:
        """End a job: SIGTERM now, SIGKILL after the grace."""
        with self.lock:
            if run.has_ended():
                return  # how it ended stays as it is
            first, run.stop = run.stop is None, run.stop or reason
            if run.pid and first:
                if run.place is not None and reason is Reason.CANCELED:
                    _touch(run.place.cancel_flag)
                if grace > 0:
                    snapshot = Snapshot()
                    run.signal(signal.SIGTERM, snapshot)
                    run.signal(signal.SIGCONT, snapshot)  # one that is stopped hears of it only then
        if not run.pid:
            if run.waits_for >= 0:
                self.finish(run, run.outcome())
        elif grace > 0:
            self._reaper.at(time.monotonic() + grace, partial(self.kill, run))
        else:
            self.kill(run)

    def kill(self, run: Run, last: bool = False) -> None:
        """End a job surely. What stages files out may go on with that for a while."""
        spec = run.job.spec
        stages = run.place is not None and spec is not None and bool(spec.stage_out or spec.cleanup)
        with self.lock:
            if run.has_ended():
                return
            if last or not stages:
                run.signal(signal.SIGKILL, Snapshot())
                return
            if not run.job.status.state.is_greater_than(JobState.ACTIVE):
                run.signal_children(signal.SIGKILL, Snapshot())
        self._reaper.at(time.monotonic() + self._settings.staging_grace, partial(self.kill, run, last=True))

    def _ended(self, run: Run, snapshot: Snapshot) -> None:
        with self.lock:
            run.collect(snapshot)
        self._settle(run, time.monotonic() + _GONE_WITHIN)

    def _settle(self, run: Run, until: float) -> None:
        """Report the end when the whole tree is gone."""
        run.rest = [member for member in run.rest if look(member.pid) == member]
        if run.rest and time.monotonic() < until:
            self._reaper.at(time.monotonic() + 0.005, partial(self._settle, run, until))
            return
        if run.place is not None:
            self._news.collect()
        self.finish(run, run.outcome())

    def finish(self, run: Run, status: JobStatus) -> None:
        """Report how a job has ended, once."""
        with self.lock:
            if run.over:
                return
            run.over = True
        if run.timer is not None:
            run.timer.cancel()
        if run.place is not None:
            self._news.forget(run.place, run)
            if not self._settings.keep_files:
                durable.forget(run.place)
        if status.reason in (Reason.EXIT, Reason.SIGNAL) and status.metadata.get("phase") in _AFTER_START:
            run.tell(JobStatus(JobState.CLEANUP))  # a program that fails goes this way too
        run.settle(status)
        with self.lock:
            self.live.pop(id(run.job), None)
            if not self.live:
                self._settled.notify_all()

    def wait_all(self) -> None:
        """Wait until nothing is followed."""
        with self.lock:
            self._settled.wait_for(lambda: not self.live or self.closed)
            if self.live:
                raise InvalidStateException("this local executor was closed while its jobs ran; nothing follows them")

    def close(self) -> None:
        """Stop; whoever waits for a job that is not final is told so."""
        with self.lock:
            if self.closed:
                return
            self.closed = True
            self._settled.notify_all()
        self._reaper.close()
        self._news.close()
        runs = list(self.live.values())
        if left := [run.pid for run in runs if run.is_child and not run.reaped]:
            children.leave(left)
        for run in runs:
            for listener in run.listeners:
                listener(None)
            run.job.abandon(f"{run.job!r} is not followed any more: its executor was closed. Attach it to another one.")


def _release(reaper: Reaper, news: News) -> None:
    """The executor was dropped without being closed, and follows no job."""
    news.close()
    reaper.release()


def _touch(path: str) -> None:
    with contextlib.suppress(OSError), open(path, "w", encoding="ascii"):
        pass  # without it, files are staged out as after an error
