"""The events of a run, made up again from the rows that are written of it: the catalogue of `harmony.events`.

A row is written once, when a task ends; what happened to it on the way is in the row's columns. Each kind of event is
read in its own order, and the streams are merged by the driver's monotonic clock.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from harmony.core.task import TaskState
from harmony.store.rows import Run, load_object

if TYPE_CHECKING:
    from harmony.store.history import History

#: What goes first of what happened at the same time: causes before effects.
_RANKS = (
    "run.started", "environment.captured", "engine.started", "block.queued", "block.running", "worker.started",
    "task.accepted", "task.recalled", "job.submitted", "attempt.started", "file.read", "job.ended", "attempt.failed",
    "file.written", "task.done", "task.unkept", "task.failed", "task.cancelled", "worker.ended", "block.ended",
    "engine.closed", "run.ended",
)  # fmt: skip
_RANK = {kind: number for number, kind in enumerate(_RANKS)}
_ENDS = {TaskState.DONE: "task.done", TaskState.FAILED: "task.failed", TaskState.CANCELLED: "task.cancelled"}

Row = tuple[Any, ...]


class _Fact(NamedTuple):
    at: float  # seconds since the run began
    kind: str
    subject: int | str
    data: dict[str, Any]
    time: float | None = None  # by the wall clock of that moment, where it was noted


def events(history: History, run: Run) -> Iterator[dict[str, Any]]:
    """Yield the events of a run in the order of time; see `History.events`."""
    streams: list[Iterable[_Fact]] = [_about_run(run)]
    for query, make in _MAKERS.items():
        streams.append(map(make, history.rows(query, run=run.id)))
    for fact in heapq.merge(*streams, key=lambda fact: (fact.at, _RANK.get(fact.kind, len(_RANK)))):
        yield {
            "run": run.id,
            "kind": fact.kind,
            "subject": fact.subject,
            "time": run.wall(fact.at) if fact.time is None else fact.time,
            "monotonic": run.monotonic + fact.at,
            "data": fact.data,
        }


def _about_run(run: Run) -> list[_Fact]:
    counts = run.counts
    facts = [
        _Fact(
            0.0, "run.started", run.id,
            {
                "program": run.program, "workflow": run.workflow, "argv": list(run.argv), "directory": run.directory,
                "user": run.user, "host": run.host, "pid": run.pid, "resumes": run.resumes,
                "engines": list(run.engines), "cores": run.cores,
            },
        ),
        _Fact(
            0.0, "environment.captured", run.id,
            {name: run.environment.get(name) for name in ("python", "platform", "harmony", "packages")},
        ),
    ]  # fmt: skip
    if run.ended is not None:
        data: dict[str, Any] = {
            "state": run.state,
            "done": counts.done,
            "failed": counts.failed,
            "cancelled": counts.cancelled,
        }
        data |= {"recalled": run.recalled, "work": run.work, "critical_path": run.critical_path}
        facts.append(_Fact(run.ended, "run.ended", run.id, data))
    return facts


def _noted(row: Row) -> _Fact:
    kind, subject, time, since, data = row
    if kind.startswith("task."):
        subject = int(subject)
    return _Fact(since, kind, subject, load_object(data), time)


def _accepted(row: Row) -> _Fact:
    at, task, name, kind, shape, parents = row
    waited = sorted(map(int, str(parents).split(","))) if parents is not None else []
    resources = load_object(shape).get("resources") or {}
    return _Fact(at, "task.accepted", task, {"name": name, "kind": kind, "parents": waited, "resources": resources})


def _recalled(row: Row) -> _Fact:
    at, task, name, run, origin = row
    return _Fact(at, "task.recalled", task, {"name": name, "origin_run": run, "origin_task": origin})


def _started(row: Row) -> _Fact:
    at, task, name, number, engine, place = row
    return _Fact(at, "attempt.started", task, {"name": name, "number": number, "engine": engine, "place": place})


def _attempt_failed(row: Row) -> _Fact:
    at, task, name, number, type, message, seconds = row
    data = {"name": name, "number": number, "type": type, "message": message, "seconds": seconds}
    return _Fact(at, "attempt.failed", task, data)


def _ended(row: Row) -> _Fact:
    at, task, name, state, seconds, cpu, memory, read, written, type, message, root = row
    kind = _ENDS[TaskState(state)]
    data: dict[str, Any] = {"name": name}
    if kind == "task.done":
        data |= {"seconds": seconds, "cpu": cpu, "memory": memory, "read": read, "written": written}
    elif kind == "task.failed":
        data |= {"type": type, "message": message, "root": None if root is None else bool(root)}
    return _Fact(at, kind, task, data)


def _file(row: Row) -> _Fact:
    at, task, role, path, size, digest = row
    data = {"task": task, "size": size, "digest": None if digest is None else digest.hex()}
    return _Fact(at, "file.read" if role == "input" else "file.written", path, data)


_MAKERS: dict[str, Callable[[Row], _Fact]] = {
    "event_rows": _noted,
    "event_accepted": _accepted,
    "event_recalled": _recalled,
    "event_started": _started,
    "event_attempt_failed": _attempt_failed,
    "event_files": _file,
    "event_ended": _ended,
}
