"""The ready queue: tasks that could start, by what they take. Pure.

First come, first served, except that a task may pass one that does not fit now. A task that has been passed
`PATIENCE` times is passed only by those that take nothing it waits for, so a wide task is not starved by narrow ones.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from harmony.core.engine import Submission
from harmony.core.task import Options, Work
from harmony.engines.local.slots import Shape, Slots, shape_of

PATIENCE = 64


class ReadyQueue:
    """Queues by shape, with the order of submission across them, which is that of the tasks' ids."""

    def __init__(self) -> None:
        self._queues: dict[Shape, deque[Submission]] = {}
        self._shapes: dict[tuple[int, type], tuple[Options, Shape]] = {}
        self._passed = 0
        self._lacks_cores = False

    def __bool__(self) -> bool:
        return any(self._queues.values())

    @property
    def holds_cores_back(self) -> bool:
        """True when a task that needs cores has been passed so often that workers must not be sent more."""
        return self._lacks_cores and self._passed >= PATIENCE

    @property
    def plain(self) -> deque[Submission] | None:
        """The queue of plain calls, if there is one."""
        for shape, queue in self._queues.items():
            if shape.is_plain:
                return queue
        return None

    def extend(self, batch: Sequence[Submission]) -> None:
        """Add tasks at the end."""
        options: Options | None = None
        kind: type[Work] | None = None
        append: Callable[[Submission], None] | None = None
        for submission in batch:
            if append is None or submission.options is not options or type(submission.work) is not kind:
                options, kind = submission.options, type(submission.work)
                append = self.queue(self._shape(submission)).append
            append(submission)

    def put_back(self, submissions: Sequence[Submission]) -> None:
        """Add tasks at the front, in their order."""
        for submission in reversed(submissions):
            self.queue(self._shape(submission)).appendleft(submission)

    def _shape(self, submission: Submission) -> Shape:
        work, options = submission.work, submission.options
        known = self._shapes.get((id(options), type(work)))
        if known is None or known[0] is not options:
            if len(self._shapes) >= 1024:
                self._shapes.clear()
            known = self._shapes[id(options), type(work)] = (options, shape_of(work, options))
        return known[1]

    def queue(self, shape: Shape) -> deque[Submission]:
        """Return the queue of one shape."""
        found = self._queues.get(shape)
        if found is None:
            found = self._queues[shape] = deque()
        return found

    def choose(self, slots: Slots, has_room: Callable[[], bool]) -> Shape | None:
        """Return the shape whose turn it is among those that can start, or None. `has_room` is asked for calls."""
        if len(self._queues) > 16:
            self._queues = {shape: queue for shape, queue in self._queues.items() if queue}
        heads = [(queue[0].id, shape) for shape, queue in self._queues.items() if queue]
        if len(heads) > 1:
            heads.sort(key=lambda head: head[0])
        blocked: Shape | None = None
        self._lacks_cores = False
        for _, shape in heads:
            if not slots.fits(shape):
                if blocked is None:
                    blocked = shape
                    self._lacks_cores = shape.cores > slots.free_cores
            elif shape.is_call and not has_room():
                continue  # it waits for a worker only, which no other shape takes from it
            elif blocked is None:
                self._passed = 0
                return shape
            elif self._passed < PATIENCE or slots.fit_beside(shape, blocked):
                self._passed += 1
                return shape
        if blocked is None:
            self._passed = 0
        return None

    def pass_others(self, submission: Submission) -> None:
        """Note that a task is sent ahead of older ones of other shapes, if there are any."""
        if len(self._queues) > 1 and any(queue and queue[0].id < submission.id for queue in self._queues.values()):
            self._passed += 1

    def remove(self, ids: set[int]) -> list[Submission]:
        """Take the tasks with these ids out, and return them."""
        return self._take(lambda shape, submission: submission.id in ids)

    def remove_calls(self) -> list[Submission]:
        """Take all functions out, and return them."""
        return self._take(lambda shape, submission: shape.is_call)

    def clear(self) -> list[Submission]:
        """Take everything out, and return it."""
        return self._take(lambda shape, submission: True)

    def _take(self, unwanted: Callable[[Shape, Submission], bool]) -> list[Submission]:
        removed: list[Submission] = []
        for shape, queue in self._queues.items():
            kept: deque[Submission] = deque()
            for submission in queue:
                (removed if unwanted(shape, submission) else kept).append(submission)
            self._queues[shape] = kept
        return removed
