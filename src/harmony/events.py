"""Events: facts about a run, for whoever wants to look. They observe; they never drive.

`CATALOGUE` is the versioned list of them all, with the fields of their data. Some are published on the bus while the
run goes on; the whole stream of a run, also of one that has ended, is had from the store's history.

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

#: The version of `CATALOGUE`: a new kind or field leaves it as it is, a changed or dropped one raises it.
VERSION = 1
#: What can happen, with the fields of each event's data. Subjects are the id of a run or a task, the path of a file, or
#: the name of an engine, block, worker or job. Sizes are in bytes, durations in seconds.
CATALOGUE: Mapping[str, tuple[str, ...]] = {
    "run.started": ("program", "workflow", "argv", "directory", "user", "host", "pid", "resumes", "engines", "cores"),
    "run.ended": ("state", "done", "failed", "cancelled", "recalled", "work", "critical_path"),
    "environment.captured": ("python", "platform", "harmony", "packages"),
    "engine.started": ("engine", "kind"),
    "engine.closed": ("engine",),
    "block.queued": ("engine", "job"),
    "block.running": ("engine",),
    "block.ended": ("engine", "reason"),
    "worker.started": ("engine", "pid", "host"),
    "worker.ended": ("engine", "how"),
    "job.submitted": ("engine", "native_id"),
    "job.ended": ("engine", "native_id", "state"),
    "task.accepted": ("name", "kind", "parents", "resources"),
    "task.recalled": ("name", "origin_run", "origin_task"),
    "attempt.started": ("name", "number", "engine", "place"),
    "attempt.failed": ("name", "number", "type", "message", "seconds"),
    "task.done": ("name", "seconds", "cpu", "memory", "read", "written"),
    "task.unkept": ("name", "reason"),
    "task.failed": ("name", "type", "message", "root"),
    "task.cancelled": ("name",),
    "file.read": ("task", "size", "digest"),
    "file.written": ("task", "size", "digest"),
}

#: Of these, what engines report: kept as it comes. All else is in the rows of the run and its tasks.
REPORTED = tuple(kind for kind in CATALOGUE if kind.startswith(("engine.", "block.", "worker.", "job.")))

_log = logging.getLogger("harmony")


class Event(NamedTuple):
    """One fact: `kind` happened to `subject` (a task's id, or a name) at `time` (seconds since the epoch).

    `monotonic` is the same moment by a clock that never steps, in seconds.
    """

    kind: str
    subject: int | str
    time: float
    data: Mapping[str, Any]
    monotonic: float = 0.0


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
