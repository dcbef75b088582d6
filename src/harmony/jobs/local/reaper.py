"""The reaper: one thread that hears when processes end and when times are up, and costs nothing in between.

    submit (any thread) --watch(pid)--> epoll <-- the kernel: that process has ended
    cancel (any thread) --at(time)----> timers       |
                                                     v
                            "harmony-local-jobs": calls back, one thing after the other

There is no SIGCHLD handler: signals belong to the user's program.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial

from harmony.jobs.local.tree import Snapshot

logger = logging.getLogger("harmony.jobs")

#: What is called when a process ends; the snapshot serves all that ended at about the same time.
Ended = Callable[[Snapshot], object]
Call = Callable[[], object]

#: Seconds; `epoll` cannot wait for more than 24 days.
_LONGEST_SLEEP = 86_400.0


class Timer:
    """Something that is to be done at a time; `cancel` before that."""

    __slots__ = ("call",)

    def __init__(self, call: Call) -> None:
        self.call: Call | None = call

    def cancel(self) -> None:
        """Do not do it."""
        self.call = None


class Reaper:
    """Calls back when processes end, when descriptors can be read, and at given times; all in one thread.

    The thread starts at the first `watch` or `at`. It ends with `close`, and after `release` when nothing is watched.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._ended: dict[int, Ended] = {}  # by pidfd
        self._readers: dict[int, Call] = {}
        self._reported: deque[Ended] = deque()  # by threads that wait, where there is no pidfd
        self._waiting = 0
        self._timers: list[tuple[float, int, Timer]] = []
        self._numbers = itertools.count()
        self._asleep_until = 0.0
        self._closed = self._released = False
        self._waking = threading.RLock()  # a finalizer may call `release`, in whichever thread, also while that wakes
        self._wake_read, self._wake_write = -1, -1
        self._epoll: select.epoll | None = None

    # -- from any thread ----------------------------------------------------------------------------

    def watch(self, pid: int, ended: Ended) -> None:
        """Call `ended` once when a process has ended. It must be a child that is not yet waited for, or alive."""
        self._start()
        if self._epoll is not None and hasattr(os, "pidfd_open"):
            try:
                descriptor = os.pidfd_open(pid)
            except ProcessLookupError:
                self._report(ended)
                return
            except OSError:
                pass  # no descriptor is left, or an old kernel
            else:
                self._ended[descriptor] = ended
                try:
                    self._epoll.register(descriptor, select.EPOLLIN)
                except (OSError, ValueError):
                    if self._ended.pop(descriptor, None) is not None:
                        os.close(descriptor)
                    if not self._closed:
                        raise
                return
        with self._lock:
            self._waiting += 1
        threading.Thread(target=self._wait, args=(pid, ended), name=f"harmony-wait-{pid}", daemon=True).start()

    def read(self, descriptor: int, readable: Call) -> None:
        """Call `readable` whenever the descriptor can be read."""
        self._start()
        self._readers[descriptor] = readable
        if self._epoll is not None:
            self._epoll.register(descriptor, select.EPOLLIN)
        else:
            self._wake()

    def unread(self, descriptor: int) -> None:
        """The opposite of `read`; before the descriptor is closed."""
        if self._readers.pop(descriptor, None) is not None and self._epoll is not None and not self._closed:
            self._epoll.unregister(descriptor)

    def at(self, when: float, call: Call) -> Timer:
        """Call something at a time of the monotonic clock."""
        self._start()
        timer = Timer(call)
        with self._lock:
            if len(self._timers) > 1000 and len(self._timers) > 3 * len(self._ended):
                self._purge()
            heapq.heappush(self._timers, (when, next(self._numbers), timer))
            wake = when < self._asleep_until
        if wake:
            self._wake()
        return timer

    def release(self) -> None:
        """Nobody will ask for anything new: end when nothing is watched any more."""
        self._released = True
        self._wake()

    def close(self) -> None:
        """Forget all that is watched and end the thread; processes go on."""
        with self._lock:
            self._closed = True
            thread = self._thread
        self._wake()
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    # -- its own thread -----------------------------------------------------------------------------

    def _start(self) -> None:
        if self._thread is not None:
            return
        with self._lock:
            if self._thread is None and not self._closed:
                self._wake_read, self._wake_write = os.pipe()
                os.set_blocking(self._wake_read, False)
                os.set_blocking(self._wake_write, False)
                if hasattr(select, "epoll"):
                    self._epoll = select.epoll()
                    self._epoll.register(self._wake_read, select.EPOLLIN)
                thread = threading.Thread(target=self._run, name="harmony-local-jobs", daemon=True)
                thread.start()
                self._thread = thread

    def _wake(self) -> None:
        with self._waking:  # or the number might be another file's by now
            try:
                os.write(self._wake_write, b".")
            except OSError:
                pass  # it has ended, was never started, or has been woken often enough

    def _run(self) -> None:
        try:
            while self._turn():
                pass
        finally:
            with self._lock:
                self._closed = True
            if self._epoll is not None:
                self._epoll.close()
            with self._waking:
                descriptors = [self._wake_read, self._wake_write, *self._ended]
                self._wake_read = self._wake_write = -1
            for descriptor in descriptors:
                os.close(descriptor)
            self._ended.clear()

    def _turn(self) -> bool:
        """Do what is due, or else wait for the next thing; False when it is over."""
        now = time.monotonic()
        due: list[Timer] = []
        with self._lock:
            if self._released or (self._timers and self._timers[0][0] <= now):
                self._purge()
            while self._timers and self._timers[0][0] <= now:
                due.append(heapq.heappop(self._timers)[2])
            idle = not (self._ended or self._waiting or self._reported or self._timers or due)
            if self._closed or (self._released and idle):
                return False
            until = self._timers[0][0] if self._timers else float("inf")
            self._asleep_until = 0.0 if due or self._reported else until
        for timer in due:
            _call(timer.call)
        reported, snapshot = [self._reported.popleft() for _ in range(len(self._reported))], Snapshot()
        for ended in reported:
            _call(partial(ended, snapshot))
        if not due and not reported:
            self._listen(None if until == float("inf") else min(max(0.0, until - now), _LONGEST_SLEEP))
        return True

    def _purge(self) -> None:
        """Drop cancelled timers. One at the head is let be until its time: that saves waking for each new one."""
        self._timers = [item for item in self._timers if item[2].call is not None]
        heapq.heapify(self._timers)

    def _listen(self, timeout: float | None) -> None:
        if self._epoll is not None:
            ready = [descriptor for descriptor, _ in self._epoll.poll(timeout)]
        else:
            ready, _, _ = select.select([self._wake_read, *self._readers], [], [], timeout)
        snapshot = Snapshot()
        for descriptor in ready:
            ended = self._ended.pop(descriptor, None)
            if ended is not None:
                # Closing alone leaves it in epoll as long as a child that is being started holds a copy.
                if self._epoll is not None:
                    self._epoll.unregister(descriptor)
                os.close(descriptor)
                _call(partial(ended, snapshot))
            elif descriptor == self._wake_read:
                try:
                    os.read(descriptor, 4096)
                except BlockingIOError:
                    pass
            elif (readable := self._readers.get(descriptor)) is not None:
                _call(readable)

    def _wait(self, pid: int, ended: Ended) -> None:
        try:
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        except ChildProcessError:
            pass  # someone else has waited for it; it has ended all the same
        self._report(ended)
        with self._lock:
            self._waiting -= 1

    def _report(self, ended: Ended) -> None:
        self._reported.append(ended)
        self._wake()


def _call(call: Call | None) -> None:
    if call is None:
        return
    try:
        call()
    except Exception:
        logger.exception("following a local job failed; the others are followed all the same")
