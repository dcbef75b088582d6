"""Following jobs to their end: one thread hears of their marker files, one asks the scheduler about all of them."""

from __future__ import annotations

import logging
import os
import selectors
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from harmony.errors import InvalidStateException
from harmony.jobs.asking import Inquiry
from harmony.jobs.evidence import Case
from harmony.jobs.job import Job
from harmony.jobs.scheduler import Scheduler
from harmony.jobs.script import Marker, Place
from harmony.jobs.shell import Shell
from harmony.jobs.state import JobStatus, Reason
from harmony.jobs.watch import Notice

logger = logging.getLogger("harmony.jobs")

#: Listing the marker directories may cost this share of the time.
_LOOK_SHARE = 0.01
_LOOK_EVERY = 1.0
#: How many seconds `close` waits for a command under way, or for a callback that does not return.
_CLOSING = 2.0
#: Jobs that ended for these reasons may lie in the queue until someone removes them; an administrator might start them.
_STUCK = (Reason.LAUNCH, Reason.DEPENDENCY)


@dataclass(eq=False, slots=True)
class Followed:
    """A job that is followed; `place` is where its script reports, None when that is not known."""

    job: Job
    case: Case
    native_id: str
    place: Place | None = None
    finished: bool = False
    #: The names of the marker files it has left.
    markers: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class Pace:
    """How often the scheduler is asked, in seconds.

    `first` after a submission and after any news; then each time half as long again, up to `most`. `quick`, doubled up
    to `first`, while the end of a job is near. `timeout`: how long a command may take.
    """

    first: float = 2.0
    most: float = 30.0
    quick: float = 0.2
    timeout: float = 60.0


class Follower:
    """Follows jobs: reports their states, and calls `ended` once for each when it is final.

    Its two threads start with the first job and end in `close`. With no job to follow they sleep without waking.
    """

    def __init__(
        self, scheduler: Scheduler, shell: Shell, pace: Pace, ended: Callable[[Followed, JobStatus], JobStatus]
    ) -> None:
        self.inquiry = Inquiry(scheduler, shell, pace.timeout)
        self._name = f"harmony-{scheduler.name}"
        self._pace = pace
        self._ended = ended
        self._changed = threading.Condition()
        self._followed: dict[int, Followed] = {}
        self._by_job: dict[int, Followed] = {}
        self._by_marker: dict[str, list[Followed]] = {}
        self._unclaimed: dict[str, list[Marker]] = {}
        self._kills: list[tuple[float, Followed]] = []
        self._due = float("inf")
        self._interval = pace.first
        self._quick = pace.quick
        self._closed = False
        self._threads: list[threading.Thread] = []
        self._new_directories: list[str] = []
        self._wake_read, self._wake_write = -1, -1

    # -- what the executor says ---------------------------------------------------------------------

    def watch(self, directory: str) -> None:
        """Hear of the marker files of this directory; before jobs that report there are submitted."""
        with self._changed:
            self._start()
            self._new_directories.append(directory)
        self._wake_news()

    def follow(self, item: Followed) -> None:
        """Follow a job from now on; after `close`, whoever waits for it is told so."""
        now = time.monotonic()
        with self._changed:
            if self._closed:
                _abandon(item.job)
                return
            self._start()
            self._followed[id(item)] = self._by_job[id(item.job)] = item
            markers: list[Marker] = []
            if item.place is not None:
                self._by_marker.setdefault(item.place.job_id, []).append(item)
                markers = self._unclaimed.pop(item.place.job_id, [])
            self._interval = self._pace.first
            self._hurry(self._pace.first)
            idle = len(self._followed) == 1
        if idle:
            self._wake_news()
        for marker in markers:
            self._mark(item, marker, now)

    def find(self, *, job: Job | None = None, native_id: str | None = None) -> Followed | None:
        """Return what is followed under this job or this id."""
        with self._changed:
            if job is not None:
                return self._by_job.get(id(job))
            return next((item for item in self._followed.values() if item.native_id == native_id), None)

    def cancel_asked(self, item: Followed, kill_after: float | None = None) -> None:
        """Note that a cancel was asked for; with `kill_after`, end the job surely so many seconds from now."""
        with self._changed:
            if kill_after is not None:
                self._kills.append((time.monotonic() + kill_after, item))
                self._due = min(self._due, time.monotonic() + kill_after)
            self._quick = self._pace.quick
            self._hurry(self._quick)

    def refresh(self) -> None:
        """Ask about all jobs now; return when the answer is taken in."""
        with self._changed:
            items = [item for item in self._followed.values() if not item.finished]
        self._look_again(items)
        items = [item for item in items if not item.finished]
        if items:
            self._poll(items)

    def wait_all(self) -> None:
        """Wait until nothing is followed."""
        with self._changed:
            self._changed.wait_for(lambda: not self._followed or self._closed)
            if self._followed:
                raise InvalidStateException(f"{len(self._followed)} jobs go on, but their executor was closed")

    @property
    def live(self) -> int:
        """How many jobs are followed."""
        return len(self._followed)

    def close(self) -> None:
        """Stop; whoever waits for a job that is not final is told so."""
        with self._changed:
            if self._closed:
                return
            self._closed = True
            left = [item.job for item in self._followed.values()]
            self._changed.notify_all()
        self._wake_news()
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(_CLOSING)
        for job in left:
            _abandon(job)

    # -- marker files -------------------------------------------------------------------------------

    def _start(self) -> None:
        if self._threads or self._closed:
            return
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)
        for suffix, run in (("news", self._hear), ("polls", self._ask)):
            thread = threading.Thread(target=run, name=f"{self._name}-{suffix}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def _wake_news(self) -> None:
        # Under the lock, or the number might be another file's by now; full, so it wakes anyway, or closed.
        with self._changed, suppress(OSError):
            os.write(self._wake_write, b"\0")

    def _hear(self) -> None:
        notice = Notice()
        pause = _LOOK_EVERY
        with selectors.DefaultSelector() as selector:
            selector.register(self._wake_read, selectors.EVENT_READ)
            if notice.fileno() >= 0:
                selector.register(notice.fileno(), selectors.EVENT_READ)
            while not self._closed:
                events = selector.select(pause if self._followed else None)
                names, lost = notice.told()
                woken = any(key.fd == self._wake_read for key, _ in events)
                if woken:
                    self._drain_wake()
                    with self._changed:
                        fresh, self._new_directories = self._new_directories, []
                    for directory in fresh:
                        notice.add(directory)
                if woken or lost or not events:
                    began = time.monotonic()
                    names += notice.look()
                    pause = max(_LOOK_EVERY, (time.monotonic() - began) / _LOOK_SHARE)
                for name in names:
                    self._heard(name)
        notice.close()
        with self._changed:
            os.close(self._wake_read)
            os.close(self._wake_write)
            self._wake_write = -1

    def _drain_wake(self) -> None:
        with suppress(BlockingIOError):
            os.read(self._wake_read, 4096)

    def _heard(self, name: str) -> None:
        marker = Marker.parse(name)
        if marker is None:
            return
        with self._changed:
            items = list(self._by_marker.get(marker.job_id, ()))
            if not items:
                self._unclaimed.setdefault(marker.job_id, []).append(marker)
        now = time.monotonic()
        for item in items:
            self._mark(item, marker, now)

    def _mark(self, item: Followed, marker: Marker, now: float) -> None:
        with self._changed:
            if item.finished or marker.name in item.markers:
                return
            item.markers.add(marker.name)
            status = item.case.marked(marker, now)
            verdict = item.case.judge(now)
            if verdict is None and item.case.unsettled:
                self._quick = self._pace.quick
                self._hurry(self._quick)
        if status is not None:
            item.job.advance(status)
        if verdict is not None:
            self._finish(item, verdict)

    # -- the scheduler ------------------------------------------------------------------------------

    def _hurry(self, delay: float) -> None:
        due = time.monotonic() + delay
        if due < self._due:
            self._due = due
            self._changed.notify_all()

    def _ask(self) -> None:
        while True:
            with self._changed:
                while not self._closed and (left := self._due - time.monotonic()) > 0:
                    self._changed.wait(None if left == float("inf") else left)
                if self._closed:
                    return
                self._due = float("inf")
                items = list(self._followed.values())
            self._kill_overdue()
            if items:
                self._poll(items)
            self._next_poll()

    def _next_poll(self) -> None:
        with self._changed:
            if not self._followed:
                return
            if any(item.case.unsettled for item in self._followed.values()):
                delay = self._quick
                self._quick = min(self._quick * 2, max(self._pace.first, self._pace.quick))
            else:
                delay = self._interval
                self._quick = self._pace.quick
                self._interval = min(self._interval * 1.5, self._pace.most)
            if self._kills:
                delay = min(delay, max(0.0, min(when for when, _ in self._kills) - time.monotonic()))
            self._hurry(delay)

    def _poll(self, items: Sequence[Followed]) -> None:
        """Ask the queue, then accounting about those that are not in it, then judge."""
        ids = list(dict.fromkeys(item.native_id for item in items))
        asked = time.monotonic()  # what the answer tells may be as old as this
        found = self.inquiry.statuses(ids)
        if self._closed:
            return
        stuck: list[str] = []
        if found is not None:
            self._look_again([item for item in items if _may_have_reported(item, found.get(item.native_id))])
            for item in items:
                status = found.get(item.native_id)
                self._sight(item, status, asked)
                if status is not None and status.final and status.reason in _STUCK:
                    stuck.append(item.native_id)
        wanting = [item for item in items if item.case.wants_accounting and not item.finished]
        if wanting:
            self._look_again(wanting)
            self._account(wanting)
        now = time.monotonic()
        for item in items:
            if item.case.unsettled and not item.finished:
                verdict = item.case.judge(now)
                if verdict is not None:
                    self._finish(item, verdict)
        if stuck:
            self.inquiry.cancel(stuck)

    def _look_again(self, items: Sequence[Followed]) -> None:
        """Hear of markers that another client has put away before we saw them."""
        places = {item.place.directory: item.place for item in items if item.place is not None}
        for place in places.values():
            for directory in (place.ended, place.news):
                with suppress(OSError):
                    for name in os.listdir(directory):
                        if name.partition(".")[0] in self._by_marker:
                            self._heard(name)

    def _sight(self, item: Followed, status: JobStatus | None, asked: float) -> None:
        with self._changed:
            if status is None:
                item.case.gone(asked)
                item.job.record.setdefault("gone", time.time())
                return
            item.job.record.pop("gone", None)
            news = item.case.seen(status, asked)
            if news is not None:
                self._interval = self._pace.first
            verdict = item.case.judge(asked) if status.state.final else None
        if news is not None:
            item.job.advance(news)
        item.job.learn(status)
        if verdict is not None:
            self._finish(item, verdict)

    def _account(self, items: Sequence[Followed]) -> None:
        found = self.inquiry.outcomes(list(dict.fromkeys(item.native_id for item in items)))
        if found is None:
            return
        now = time.monotonic()
        with self._changed:
            for item in items:
                item.case.accounted(found.get(item.native_id), now)

    def _kill_overdue(self) -> None:
        now = time.monotonic()
        with self._changed:
            overdue = [item for when, item in self._kills if when <= now and id(item) in self._followed]
            self._kills = [(when, item) for when, item in self._kills if when > now]
        if overdue and not self.inquiry.cancel([item.native_id for item in overdue]):
            with self._changed:
                self._kills += [(now + self._pace.first, item) for item in overdue]

    # -- ends ---------------------------------------------------------------------------------------

    def _finish(self, item: Followed, status: JobStatus) -> None:
        with self._changed:
            if item.finished:
                return  # the other thread was first
            item.finished = True
        try:
            status = self._ended(item, status)
        except OSError as error:
            logger.warning("the files of %r stay: %s", item.job, error)
        item.job.advance(status)
        with self._changed:
            del self._followed[id(item)]
            self._by_job.pop(id(item.job), None)
            if item.place is not None:
                others = self._by_marker[item.place.job_id]
                others.remove(item)
                if not others:
                    del self._by_marker[item.place.job_id]
            self._changed.notify_all()


def _may_have_reported(item: Followed, status: JobStatus | None) -> bool:
    """Whether a job that the queue shows as ended may have left a marker of which we have not heard yet."""
    return status is not None and status.final and item.place is not None and not item.case.end_reported


def _abandon(job: Job) -> None:
    job.abandon(f"{job!r} is not followed any more: its executor was closed. Attach it to another one.")
