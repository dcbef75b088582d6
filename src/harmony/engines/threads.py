"""The threads engine: tasks as threads of this process, for work that releases the GIL or waits."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Sequence

from harmony.core.engine import Capability, Capacity, Report, Submission, Update
from harmony.core.task import TaskState
from harmony.engines._here import run_here
from harmony.resources import check_whole


class ThreadEngine:
    """Runs tasks on up to `workers` cores at once in threads of this process; they start when there is work.

    Arguments and results are shared, not copied. Running functions cannot be ended, and environment variables
    and working directories belong to the whole process, so neither is offered.
    """

    capabilities = frozenset({Capability.CALLS, Capability.COMMANDS, Capability.SHARED_MEMORY})

    def __init__(self, workers: int | None = None, *, name: str = "thread") -> None:
        if workers is not None:
            check_whole("workers", workers, 1)
        self._limit = workers or os.cpu_count() or 1
        self._name = name
        self._report: Report | None = None
        self._changed = threading.Condition()
        self._queue: deque[Submission] = deque()
        self._idle = 0
        self._free = self._limit
        self._threads: list[threading.Thread] = []
        self._closed = False

    @property
    def capacity(self) -> Capacity:
        """As many cores as there are threads."""
        return Capacity(cores=self._limit)

    def start(self, report: Report) -> None:
        """See `Engine`."""
        self._report = report

    def submit(self, batch: Sequence[Submission]) -> None:
        """See `Engine`."""
        with self._changed:
            self._queue.extend(batch)
            self._changed.notify(len(batch))
            missing = min(len(self._queue) - self._idle, self._limit - len(self._threads))
            for _ in range(missing):
                name = f"harmony-{self._name}-{len(self._threads)}"
                thread = threading.Thread(target=self._work, args=(name,), name=name, daemon=True)
                self._threads.append(thread)
                thread.start()

    def cancel(self, ids: Sequence[int]) -> None:
        """Take tasks out of the queue; those that run go on."""
        unwanted = set(ids)
        with self._changed:
            dropped = [submission for submission in self._queue if submission.id in unwanted]
            self._queue = deque(submission for submission in self._queue if submission.id not in unwanted)
        if dropped and self._report:
            self._report([Update(submission.id, TaskState.CANCELLED) for submission in dropped])

    def close(self) -> None:
        """Wait for the tasks that run: a thread cannot be ended from outside."""
        with self._changed:
            self._closed = True
            self._report = None
            self._queue.clear()
            self._changed.notify_all()
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join()

    def _work(self, name: str) -> None:
        while True:
            with self._changed:
                self._idle += 1
                self._changed.wait_for(self._may_start)
                self._idle -= 1
                if self._closed:
                    return
                submission = self._queue.popleft()
                cores = submission.options.resources.cores
                self._free -= cores
                # Told before `cancel` can look: what it does not find has been said to run.
                self._tell(Update(submission.id, TaskState.RUNNING, place=name))
            update = run_here(submission, name)
            with self._changed:
                self._free += cores
                self._changed.notify_all()
            self._tell(update)

    def _may_start(self) -> bool:
        return self._closed or bool(self._queue and self._queue[0].options.resources.cores <= self._free)

    def _tell(self, update: Update) -> None:
        report = self._report
        if report is not None:
            report([update])
