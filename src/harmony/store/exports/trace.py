"""Trace: a run as Chrome's and Perfetto's trace viewers read it: who ran what when, on one line for each worker.

Times are microseconds since the run began. What the viewers draw on one line may not overlap, so a worker that ran
several tasks at once has several lines.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple, TextIO

from harmony.core.task import TaskState
from harmony.store.exports.story import end_of, hosts, iso, remark
from harmony.store.exports.target import Target, text_target
from harmony.store.rows import Run

if TYPE_CHECKING:
    from harmony.store.history import History

#: With more edges than this, none are drawn: nobody could follow them, and viewers become slow.
MOST_EDGES = 10_000
#: The line of how many tasks were running has at most about so many points.
MOST_POINTS = 20_000
#: Clocks of driver and workers: what overlaps by less counts as one after the other.
TOLERANCE = 0.001
_RUN = 1  # the viewers' number of the process that stands for the run as a whole

Json = dict[str, Any]


class Span(NamedTuple):
    """An attempt of a task. `state` is that of the task, None where another attempt followed; `seconds` its run time.

    A task may begin later than its worker was given it, so `seconds` may be less than the time between the two.
    """

    task: int
    name: str
    attempt: int
    started: float
    ended: float
    engine: str | None
    place: str | None
    state: int | None
    seconds: float | None
    cpu: float | None
    memory: int | None


class Lines:
    """The viewers' processes and threads: an engine on a host, and a line of a worker of it."""

    def __init__(self, run: Run, hosts: dict[str, str]) -> None:
        self._run = run
        self._hosts = hosts
        self._processes: dict[str, int] = {}
        self._lanes: dict[tuple[int, str], list[tuple[int, float]]] = {}  # of a worker: its lines, and until when
        self._threads = 0
        self.new: list[Json] = []

    def place(self, span: Span) -> tuple[int, int, float]:
        """Find the line for the next span, by the order of their ends; return it, and where the span begins there."""
        place = span.place or span.engine or "?"
        host = self._hosts.get(place, self._run.host)
        process = self._process(f"{span.engine or 'engine'} on {host}")
        lanes = self._lanes.setdefault((process, place), [])
        fitting = [lane for lane, (_, until) in enumerate(lanes) if until <= span.started + TOLERANCE]
        if fitting:
            # The one that was busy last, so that the others stay free for longer spans.
            lane = max(fitting, key=lambda lane: lanes[lane][1])
            thread, until = lanes[lane]
        else:
            lane, until = len(lanes), 0.0
            self._threads += 1
            thread = self._threads
            lanes.append((thread, 0.0))
            label = place if lane == 0 else f"{place} ({lane + 1})"
            self.new.append(_named("thread_name", process, thread, label))
        lanes[lane] = (thread, span.ended)
        return process, thread, min(max(span.started, until), span.ended)

    def _process(self, label: str) -> int:
        if label not in self._processes:
            self._processes[label] = number = len(self._processes) + _RUN + 1
            self.new.append(_named("process_name", number, 0, label))
        return self._processes[label]


def write_trace(history: History, run_id: int, target: Target, *, force: bool = False) -> None:
    """Write the attempts of all tasks that ran in this run, how many ran at once, and up to 10,000 edges.

    Tasks that were recalled, or never ran, took no time and are not there. What is still running has no end.
    """
    with history.snapshot(), text_target(target, force) as stream:
        run = history.run(run_id)
        stream.write(f'{{"displayTimeUnit":"ms","otherData":{_text(_about(run))},"traceEvents":[\n')
        stream.write(_text(_named("process_name", _RUN, 0, f"run {run.id} of {run.workflow}")))
        _write_events(history, run, stream)
        stream.write("\n]}\n")


def _write_events(history: History, run: Run, stream: TextIO) -> None:
    # Every task of an edge must be remembered until the edges are written.
    edges = list(islice(history.edges(run.id), MOST_EDGES + 1))
    wanted = {task for edge in edges for task in edge} if len(edges) <= MOST_EDGES else set()
    drawn: dict[int, tuple[int, int, float, float]] = {}
    starts, ends = array("d"), array("d")
    lines = Lines(run, hosts(history, run))

    def write(events: list[Json]) -> None:
        stream.writelines(",\n" + _text(event) for event in [*lines.new, *events])
        lines.new.clear()

    for span in _spans(history, run):
        process, thread, start = lines.place(span)
        write([_slice(span, process, thread, start)])
        starts.append(span.started)
        if span.ended != float("inf"):
            ends.append(span.ended)
        if span.task in wanted and span.state is not None:
            drawn[span.task] = (process, thread, start, span.ended)
    for number, (task, parent) in enumerate(edges if wanted else ()):
        if task in drawn and parent in drawn:
            write(_arrow(number, drawn[parent], drawn[task]))
    for at, running in _levels(starts, ends):
        write([{"ph": "C", "name": "running tasks", "pid": _RUN, "tid": 0, "ts": _us(at), "args": {"tasks": running}}])


def _spans(history: History, run: Run) -> Iterator[Span]:
    """Yield the attempts by the order of their ends, then those that have none."""
    yield from map(Span._make, history.rows("export_spans", run=run.id))
    for row in history.tasks(run.id, state=TaskState.RUNNING):
        if row.started is not None:
            end = float("inf")
            place = (row.engine, row.place, row.state)
            yield Span(row.id, row.name, row.attempts, row.started, end, *place, None, None, None)


def _slice(span: Span, process: int, thread: int, start: float) -> Json:
    event: Json = {"ph": "X", "name": span.name, "cat": "task", "pid": process, "tid": thread, "ts": _us(start)}
    state = "retried" if span.state is None else TaskState(span.state).name.lower()
    arguments = {"task": span.task, "attempt": span.attempt, "state": state}
    if span.ended == float("inf"):
        return {**event, "ph": "B", "args": arguments}
    used = {"run_seconds": span.seconds, "cpu_seconds": span.cpu, "memory_bytes": span.memory}
    known = {key: value for key, value in used.items() if value is not None}
    return {**event, "dur": _us(span.ended - start), "args": {**arguments, **known}}


def _arrow(number: int, parent: tuple[int, int, float, float], child: tuple[int, int, float, float]) -> list[Json]:
    shared = {"cat": "edge", "name": "needs", "id": number}
    # An arrow belongs to the slice that it lies in; the end of a slice is no longer inside.
    leave = parent[2] + (parent[3] - parent[2]) * 0.999
    return [
        {**shared, "ph": "s", "pid": parent[0], "tid": parent[1], "ts": _us(leave)},
        {**shared, "ph": "f", "bp": "e", "pid": child[0], "tid": child[1], "ts": _us(child[2])},
    ]


def _levels(starts: array[float], ends: array[float]) -> Iterator[tuple[float, int]]:
    """Yield how many tasks ran from when on; not each change where there are too many, but the last one."""
    first, last = sorted(starts), sorted(ends)
    changes = len(first) + len(last)
    step = changes // MOST_POINTS + 1
    begun = ended = 0
    for number in range(1, changes + 1):
        if ended == len(last) or (begun < len(first) and first[begun] < last[ended]):
            at = first[begun]
            begun += 1
        else:
            at = last[ended]
            ended += 1
        if number % step == 0 or number == changes:
            yield at, begun - ended


def _about(run: Run) -> Json:
    facts = {
        "run": run.id, "uuid": run.uuid, "program": run.program, "workflow": run.workflow, "host": run.host,
        "began": iso(run.began), "seconds": end_of(run), "cores": run.cores, "state": run.status,
        "recalled": run.recalled, "harmony": run.environment.get("harmony"), "remark": remark(run),
    }  # fmt: skip
    return {key: value for key, value in facts.items() if value is not None}


def _named(kind: str, process: int, thread: int, name: str) -> Json:
    return {"ph": "M", "name": kind, "pid": process, "tid": thread, "args": {"name": name}}


def _us(seconds: float) -> float:
    return round(seconds * 1e6, 3)


def _text(value: Json) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
