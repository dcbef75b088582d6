"""Polling: the base of engines whose system has to be asked for what has ended."""

from __future__ import annotations

import queue
from collections.abc import Callable

from harmony.engines._dispatch import DispatchEngine

#: Seconds that the system is waited for, at the least and at the most, before new work is looked at.
SHORTEST, LONGEST = 0.002, 0.25


class PollingEngine(DispatchEngine):
    """See the module, and `DispatchEngine`. A subclass says how to `_poll`; nothing is polled while nothing is out."""

    def _poll(self, seconds: float) -> bool:
        """Wait for the system, for so many seconds at the most; call `_ended` and the like. True if there was news."""
        raise NotImplementedError

    def _wait(self) -> Callable[[], None] | None:
        pause = SHORTEST
        while self._out:
            try:
                return self._inbox.get_nowait()
            except queue.Empty:
                pause = SHORTEST if self._poll(pause) else min(2 * pause, LONGEST)
        return self._inbox.get()
