"""Engines that break one promise each, to see that the suite finds it."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Sequence
from typing import Any

from harmony.core.engine import Capability, Capacity, Notice, Report, Submission, Update
from harmony.core.task import TaskState
from harmony.engines.local import LocalEngine
from harmony.engines.threads import ThreadEngine

News = Sequence[Update | Notice]


class Filtered(ThreadEngine):
    """Threads whose news go through `heard`."""

    def start(self, report: Report) -> None:
        super().start(lambda news: report([item for update in news for item in self.heard(update)]))

    def heard(self, update: Update | Notice) -> News:
        raise NotImplementedError


class Repeats(Filtered):
    """Reports ends twice."""

    def heard(self, update: Update | Notice) -> News:
        return [update, update]


class Forgets(Filtered):
    """Does not report failures."""

    def heard(self, update: Update | Notice) -> News:
        return [] if isinstance(update, Update) and update.state is TaskState.FAILED else [update]


class Remembers(Filtered):
    """Keeps what it has reported."""

    def __init__(self, workers: int = 2) -> None:
        super().__init__(workers)
        self.kept: list[Any] = []

    def heard(self, update: Update | Notice) -> News:
        self.kept.append(update)
        return [update]


class RunsCancelled(ThreadEngine):
    """Reports that tasks are cancelled, and runs them."""

    def cancel(self, ids: Sequence[int]) -> None:
        with self._changed:
            known = [submission.id for submission in self._queue if submission.id in ids]
        if self._report:
            self._report([Update(number, TaskState.CANCELLED) for number in known])


class Waits(ThreadEngine):
    """Its submit waits for the work."""

    def submit(self, batch: Sequence[Submission]) -> None:
        ended = threading.Event()
        report = self._report
        left = {submission.id for submission in batch}

        def hear(news: News) -> None:
            assert report is not None
            report(news)
            left.difference_update(item.id for item in news if isinstance(item, Update) and item.state.is_final)
            if not left:
                ended.set()

        self._report = hear
        super().submit(batch)
        if batch:
            ended.wait()
        self._report = report


class Crowded(LocalEngine):
    """Runs more at once than it says it has cores."""

    def __init__(self) -> None:
        super().__init__(workers=4)

    @property
    def capacity(self) -> Capacity:
        return Capacity(cores=2)


class Boasts(LocalEngine):
    """Says it has more cores than it has."""

    @property
    def capacity(self) -> Capacity:
        return Capacity(cores=super().capacity.cores, workers=2)


class Leaves(ThreadEngine):
    """Leaves a process when it is closed."""

    capabilities = ThreadEngine.capabilities - {Capability.SHARED_MEMORY}

    def start(self, report: Report) -> None:
        super().start(report)
        self.left = subprocess.Popen(["sleep", "40"], start_new_session=True)
