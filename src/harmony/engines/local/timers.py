"""Timers: what is to be done later, in order of time."""

from __future__ import annotations

import heapq
import itertools
import time
from collections.abc import Callable


class Timers:
    """A heap of things to do, by the monotonic clock. Not thread-safe: its owner has a lock."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Callable[[], object]]] = []
        self._count = itertools.count()

    def add(self, seconds: float, act: Callable[[], object]) -> None:
        """Do `act` in so many seconds."""
        heapq.heappush(self._heap, (time.monotonic() + seconds, next(self._count), act))

    def seconds(self) -> float | None:
        """Seconds until the next is due, from 0 to an hour, which any selector can wait; None when there is none."""
        return min(max(0.0, self._heap[0][0] - time.monotonic()), 3600.0) if self._heap else None

    def run(self) -> None:
        """Do what is due."""
        now = time.monotonic()
        while self._heap and self._heap[0][0] <= now:
            heapq.heappop(self._heap)[2]()
