"""Timeline: who ran what when, as the page's script draws it: each run by itself, or bins where there are too many."""

from __future__ import annotations

import re
from array import array
from base64 import b64encode
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any, NamedTuple

from harmony.core.task import TaskState
from harmony.store.report.survey import COLOURS, Survey

#: More runs than this are drawn as bins, more lanes as well; lanes are then put together.
BARS = 20_000
LANES = 400
CELLS = 400_000
LOAD_BINS = 800
#: News of an end may come so many seconds late, and so seem to overlap with what the worker did next.
LATE = 0.02
#: What a bar may be, beside the task states: an attempt that was followed by another.
TRIED = -1
_NUMBER = re.compile(r"(\d+)")


@dataclass
class Bars:
    """All that ran: columns, so that a million are no trouble. `place` is an index into `places`."""

    places: list[str]
    start: array[float]
    end: array[float]
    place: array[int]
    row: array[int]
    state: array[int]

    def __len__(self) -> int:
        return len(self.start)


def bars(survey: Survey) -> Bars:
    """Return what ran, the workers in their natural order."""
    tasks, tries = survey.tasks, survey.tries
    found: dict[tuple[int, int], int] = {}
    start, end, place, row, state = array("d"), array("d"), array("i"), array("q"), array("b")
    lost = _lost(survey)
    for index, began in enumerate(tasks.started):
        if began >= 0:
            over = max(survey.end(index), began)
            start.append(_start(began, over, tasks.seconds[index] - lost.get(index, 0.0)))
            end.append(over)
            place.append(found.setdefault((tasks.engine[index], tasks.place[index]), len(found)))
            row.append(index)
            state.append(tasks.state[index])
    for index, began in enumerate(tries.started):
        of = survey.row(tries.task[index])
        if began >= 0 and of is not None:
            over = max(tries.ended[index], began)
            start.append(_start(began, over, tries.seconds[index]))
            end.append(over)
            place.append(found.setdefault((tries.engine[index], tries.place[index]), len(found)))
            row.append(of)
            state.append(TRIED)
    names = [survey.where(*pair) for pair in found]
    places = sorted(set(names), key=natural)
    ranks = {name: rank for rank, name in enumerate(places)}
    rank = [ranks[name] for name in names]
    return Bars(places, start, end, array("i", (rank[number] for number in place)), row, state)


def _lost(survey: Survey) -> dict[int, float]:
    """The seconds of attempts before the last, by the row of the task."""
    lost: dict[int, float] = defaultdict(float)
    for task, seconds in zip(survey.tries.task, survey.tries.seconds, strict=True):
        row = survey.row(task)
        if row is not None:
            lost[row] += max(seconds, 0.0)
    return lost


def _start(began: float, end: float, seconds: float) -> float:
    """When it really began: a task may wait at its worker, which measured how long it ran."""
    return max(began, end - seconds) if seconds > 0 else began


def natural(text: str) -> list[tuple[bool, int, str]]:
    """A key that puts worker-2 before worker-10."""
    return [(part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in _NUMBER.split(text)]


def timeline(survey: Survey, ran: Bars) -> dict[str, Any]:
    """Return what the page draws: ``bars``, or ``cells`` for many."""
    if len(ran) <= BARS:
        lanes, lane = _lanes(ran, survey.wall)
        if len(lanes) <= LANES:
            return {"lanes": lanes, "bars": _bar_columns(survey, ran, lane)}
    return _cells(survey, ran)


def _lanes(ran: Bars, wall: float) -> tuple[list[str], list[int]]:
    """Give each bar a lane of its worker; a worker that runs several at once has several."""
    free: list[list[float]] = [[] for _ in ran.places]
    inner = [0] * len(ran)
    for index in sorted(range(len(ran)), key=ran.start.__getitem__):
        ends, start = free[ran.place[index]], ran.start[index]
        slack = wall * 2e-4 + min(LATE, (ran.end[index] - start) / 2)
        slot = next((slot for slot, end in enumerate(ends) if end <= start + slack), len(ends))
        if slot == len(ends):
            ends.append(0.0)
            if len(ends) > LANES:
                return [""] * (LANES + 1), inner
        ends[slot] = ran.end[index]
        inner[index] = slot
    first: list[int] = []
    lanes: list[str] = []
    for place, ends in zip(ran.places, free, strict=True):
        first.append(len(lanes))
        lanes += [place if len(ends) == 1 else f"{place} · {slot + 1}" for slot in range(len(ends))]
    return lanes, [first[place] + slot for place, slot in zip(ran.place, inner, strict=True)]


def _bar_columns(survey: Survey, ran: Bars, lane: Sequence[int]) -> dict[str, Any]:
    names: dict[str, int] = {}
    digits = _digits(survey.wall)
    of = [names.setdefault(survey.name(row), len(names)) for row in ran.row]
    return {
        "start": [round(value, digits) for value in ran.start],
        "seconds": [round(end - start, digits) for start, end in zip(ran.start, ran.end, strict=True)],
        "lane": lane,
        "colour": [survey.colour[survey.family[row]] for row in ran.row],
        "name": of,
        "names": list(names),
        "task": [survey.tasks.id[row] for row in ran.row],
        "state": list(ran.state),
    }


def _digits(wall: float) -> int:
    """So many decimals tell a millionth of the run."""
    return next((digits for digits in range(10) if wall * 10**digits >= 1e6), 9)


def _cells(survey: Survey, ran: Bars) -> dict[str, Any]:
    """Bins per lane: how busy, with what mostly, and where tasks failed."""
    per_lane = -(-len(ran.places) // LANES)
    lanes = [_span(ran.places[first : first + per_lane]) for first in range(0, len(ran.places), per_lane)]
    lane_of = array("i", (place // per_lane for place in ran.place))
    bins = min(1200, max(200, CELLS // len(lanes)))
    colours = len(survey.legend)
    tint = [survey.colour[family] for family in range(len(survey.families))]
    kinds = array("i", (lane * colours + tint[survey.family[row]] for lane, row in zip(lane_of, ran.row, strict=True)))
    shares = coverage(Spans(ran.start, ran.end, kinds), None, len(lanes) * colours, bins, survey.wall)
    busy, mostly = bytearray(), bytearray()
    for lane in range(len(lanes)):
        rows = shares[lane * colours : (lane + 1) * colours]
        sums = [sum(cell) for cell in zip(*rows, strict=True)]
        room = max(1.0, float(round(max(sums))))  # what one that runs several at a time has been seen with
        busy += bytes(min(255, ceil(255 * total / room)) for total in sums)
        mostly += bytes(max(range(colours), key=cell.__getitem__) for cell in zip(*rows, strict=True))
    width = survey.wall / bins or 1.0
    failed = Counter(
        lane * bins + min(int(end / width), bins - 1)
        for lane, end, state in zip(lane_of, ran.end, ran.state, strict=True)
        if state == TaskState.FAILED
    )
    return {
        "lanes": lanes,
        "cells": {
            "bins": bins, "busy": b64encode(busy).decode(), "mostly": b64encode(mostly).decode(),
            "failed": [*map(list, sorted(failed.items()))],
        },
    }  # fmt: skip


def _span(places: list[str]) -> str:
    return places[0] if len(places) == 1 else f"{places[0]} … {places[-1]}"


class Spans(NamedTuple):
    """Stretches of time, each of a kind."""

    start: Sequence[float]
    end: Sequence[float]
    kind: Sequence[int]


def coverage(
    spans: Spans, weights: Sequence[float] | None, kinds: int, bins: int, wall: float
) -> list[list[float]]:  # fmt: skip
    """Return, for each kind and bin, how many stretches (or how much weight) there were at a time, on average."""
    width = wall / bins or 1.0
    part = array("d", bytes(8 * kinds * bins))
    step = array("d", bytes(8 * (kinds * bins + 1)))
    last = bins - 1
    for start, end, kind, weight in zip(spans.start, spans.end, spans.kind, weights or _ones(), strict=False):
        first, final, base = int(start / width), int(end / width), kind * bins
        if final > last:
            final = last
            first = min(first, last)
        if first == final:
            part[base + first] += (end - start) * weight
        else:
            part[base + first] += ((first + 1) * width - start) * weight
            part[base + final] += (end - final * width) * weight
            if final - first > 1:
                step[base + first + 1] += weight
                step[base + final] -= weight
    rows: list[list[float]] = []
    for base in range(0, kinds * bins, bins):
        full, row = 0.0, []
        for cell in range(base, base + bins):
            full += step[cell]
            row.append(full + part[cell] / width)
        rows.append(row)
    return rows


def _ones() -> Iterator[float]:
    while True:
        yield 1.0


def load(survey: Survey, ran: Bars) -> dict[str, Any]:
    """Return busy cores by colour, and tasks that ended, over time."""
    tasks, bins = survey.tasks, LOAD_BINS
    colours = array("i", (min(survey.family[row], COLOURS) for row in ran.row))
    cores = array("d", (survey.cores.get(tasks.shape[row], 1) for row in ran.row))
    busy = coverage(Spans(ran.start, ran.end, colours), cores, len(survey.legend), bins, survey.wall)
    width = survey.wall / bins or 1.0
    done, failed = [0] * bins, [0] * bins
    for state, ended, started in zip(tasks.state, tasks.ended, tasks.started, strict=True):
        if started >= 0 and ended >= 0:
            counts = done if state == TaskState.DONE else failed if state == TaskState.FAILED else None
            if counts is not None:
                counts[min(int(ended / width), bins - 1)] += 1
    return {
        "bins": bins, "busy": [[float(f"{value:.4g}") for value in row] for row in busy], "done": done,
        "failed": failed,
    }  # fmt: skip


def peak(values: Sequence[float]) -> tuple[int, float]:
    """Return where the largest value is, and what it is."""
    index = max(range(len(values)), key=values.__getitem__, default=0)
    return index, values[index] if values else 0.0
