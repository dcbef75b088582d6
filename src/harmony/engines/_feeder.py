"""Feeder: which tasks an engine's system is given next, and how many at once. Pure: no thread, no clock.

What is not needed by the system yet stays here, so that cancelling it is exact. Short tasks of one name travel
together, as many as take about `TOGETHER` seconds by their recent pace; a task that was never seen travels alone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Sequence
from itertools import islice

from harmony.core.engine import Submission
from harmony.resources import Resources

#: Seconds of work that travel together, and the most tasks that do.
TOGETHER, MOST = 0.05, 500
_ONE_CORE = Resources()


def is_plain(submission: Submission) -> bool:
    """True for a task that takes one core of a worker and nothing else."""
    options = submission.options
    return options.walltime is None and (options.resources is _ONE_CORE or options.resources == _ONE_CORE)


class Feeder:
    """See the module. `cores` is what a worker has: a task that asks for more takes several workers.

    Where workers die together (`one_fate`), what may have been the cause of that is run with nothing beside it.
    """

    def __init__(self, workers: int = 0, cores: int = 1, *, one_fate: bool = False) -> None:
        self.workers = workers
        self._cores = cores
        self._one_fate = one_fate
        self._queue: deque[Submission] = deque()
        self._pace: dict[str, float] = {}
        self._suspects: set[int] = set()
        self._suspect_is_out = False
        self._out = 0
        #: The longest walltime among the tasks that were held back for want of time, when `take` was called last.
        self.held: float | None = None

    def __len__(self) -> int:
        return len(self._queue)

    @property
    def busy(self) -> int:
        """How many workers have, or will have, something to do with what is out."""
        return self._out

    def weight(self, submission: Submission) -> int:
        """How many workers a task takes."""
        return -(-submission.options.resources.cores // self._cores)

    def add(self, batch: Iterable[Submission]) -> None:
        """Queue tasks."""
        self._queue.extend(batch)

    def drop(self, ids: Collection[int]) -> list[Submission]:
        """Take tasks out of the queue; return those that were in it."""
        dropped = [submission for submission in self._queue if submission.id in ids]
        if dropped:
            self._queue = deque(submission for submission in self._queue if submission.id not in ids)
        return dropped

    def drop_longer(self, walltime: float) -> list[Submission]:
        """Take out the tasks that ask for more time; return them."""
        return self.drop({task.id for task in self._queue if (task.options.walltime or 0) > walltime})

    def drop_all(self) -> list[Submission]:
        """Forget all tasks, those that are out too; return those that were in the queue."""
        dropped = list(self._queue)
        self._queue.clear()
        self._out = 0
        self._suspect_is_out = False
        return dropped

    def out_too(self, submission: Submission) -> None:
        """A parcel was too large, and what is left of it, beginning with this task, goes out as another."""
        self._out += self.weight(submission)

    def suspect(self, ids: Iterable[int]) -> None:
        """One of these tasks has cost a worker its life: from now on they travel alone, and one at a time."""
        self._suspects.update(ids)

    def take(self, remaining: float | None = None) -> list[list[Submission]]:
        """Return the parcels that are to go out now.

        `remaining` is for how many seconds the workers will be there: tasks that may take longer are held back.
        """
        parcels: list[list[Submission]] = []
        held: list[Submission] = []
        self.held = None
        while self._queue and not (self._one_fate and self._suspect_is_out):
            first = self._queue[0]
            walltime = first.options.walltime or 0
            if remaining is not None and walltime > remaining:
                self.held = max(self.held or 0, walltime)
                held.append(self._queue.popleft())
                continue
            weight = self.weight(first)
            limit = self.workers * (2 if self._is_short(first) else 1)
            if not self.workers or (self._out and self._out + weight > limit):
                break
            if first.id in self._suspects:
                if self._suspect_is_out or (self._one_fate and self._out):
                    held.append(self._queue.popleft())
                    continue
                self._suspect_is_out = True
            parcel = self._parcel()
            self._out += weight
            parcels.append(parcel)
        self._queue.extendleft(reversed(held))
        return parcels

    def ended(self, parcel: Sequence[Submission], seconds: float | None) -> None:
        """Note that a parcel has ended, and how long its tasks took; None when that is not known."""
        first = parcel[0]
        self._out -= self.weight(first)
        if first.id in self._suspects:
            self._suspect_is_out = False
            if seconds is not None:
                self._suspects.discard(first.id)
        if seconds is not None:
            pace = seconds / len(parcel)
            self._pace[first.name] = max(pace, 0.7 * self._pace.get(first.name, pace) + 0.3 * pace)

    def _is_short(self, submission: Submission) -> bool:
        return self._pace.get(submission.name, TOGETHER + 1) <= TOGETHER and is_plain(submission)

    def _parcel(self) -> list[Submission]:
        queue, first = self._queue, self._queue.popleft()
        parcel = [first]
        if not self._is_short(first) or first.id in self._suspects:
            return parcel
        share = -(-(len(queue) + 1) // (2 * self.workers))
        size = min(int(TOGETHER / max(self._pace[first.name], 1e-9)), MOST, share)
        idle = max(1, self.workers - self._out)
        alike = 1
        for other in islice(queue, max(0, size * idle - 1)):
            if not self._goes_with(first, other):
                break
            alike += 1
        parcel.extend(queue.popleft() for _ in range(min(size, -(-alike // idle)) - 1))
        return parcel

    def _goes_with(self, first: Submission, other: Submission) -> bool:
        return (
            other.name == first.name
            and type(other.work) is type(first.work)
            and other.id not in self._suspects
            and is_plain(other)
        )
