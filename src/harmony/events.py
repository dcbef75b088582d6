"""Events: facts about a run, for whoever wants to look. They observe; they never drive.

The kernel publishes in batches, from its own thread. An observer that raises is logged and
dropped; the run goes on. With no observer for a kind, events of that kind are not even made.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

#: What can happen to a task, by the state it enters, and what a task wrote to its stdout.
SUBMITTED, RUNNING, DONE, FAILED, CANCELLED, RETRIED, PRINTED = KINDS = (
    "task.submitted",
    "task.running",
    "task.done",
    "task.failed",
    "task.cancelled",
    "task.retried",
    "task.printed",
)

_log = logging.getLogger("harmony")


class Event(NamedTuple):
    """One fact: `subject` (a task's id) did `kind` at `time` (seconds since the epoch)."""

    kind: str
    subject: int
    time: float
    data: Mapping[str, Any]


Observer = Callable[[Sequence[Event]], None]


class Bus:
    """Fans events out to observers. Observe before the run starts; publish from one thread only."""

    def __init__(self) -> None:
        self._observers: list[tuple[frozenset[str], Observer]] = []
        self.wanted: frozenset[str] = frozenset()

    def observe(self, observer: Observer, kinds: Sequence[str] = KINDS) -> None:
        """Call `observer` with each batch of events of these kinds, in the order they happened."""
        self._observers.append((frozenset(kinds), observer))
        self.wanted = self.wanted.union(kinds)

    def publish(self, events: Sequence[Event]) -> None:
        """Hand the events to each observer that asked for them."""
        for kinds, observer in list(self._observers):
            chosen = [event for event in events if event.kind in kinds]
            if not chosen:
                continue
            try:
                observer(chosen)
            except Exception:  # noqa: BLE001  observers are not ours
                _log.exception("an observer of events failed and is dropped: %r", observer)
                self._observers.remove((kinds, observer))
