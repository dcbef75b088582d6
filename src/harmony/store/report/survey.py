"""Survey: what the sections of the report share, read once: tasks, their names, colours and cores, the wall time."""

from __future__ import annotations

import json
import re
from array import array
from collections import defaultdict
from typing import TYPE_CHECKING

from harmony.core.task import TaskState
from harmony.errors import ResourceError
from harmony.resources import Resources
from harmony.store.report.columns import ATTEMPT, TASK, Columns

if TYPE_CHECKING:
    from harmony.store.history import History

#: So many names have a colour of their own; all others share one more.
COLOURS = 8
#: With more names than this, those that differ only in digits count as one; with still more, the rare ones do.
NAMES = 40
FAMILIES = 100
UNKNOWN = "?"
_DIGITS = re.compile(r"\d+")


class Survey:
    """See the module. `family` holds, for each task, the index of its name in `families`; `colour` is by family."""

    def __init__(self, history: History, run_id: str | int | None) -> None:
        self.history = history
        self.run = history.run(run_id)
        self.tasks = Columns(history.rows("report_tasks", run=self.run.id), TASK)
        self.tries = Columns(history.rows("report_attempts", run=self.run.id), ATTEMPT)
        self.texts = {number: str(value) for number, value in history.rows("report_texts")}
        self.cores = {shape: _cores(text) for shape, text in history.rows("report_shapes")}
        self.wall = self._wall()
        totals: dict[int, float] = defaultdict(float)
        for name, seconds in zip(self.tasks.name, self.tasks.seconds, strict=True):
            totals[name] += max(seconds, 1e-9)
        self.families, kin = _families({self.texts.get(name, UNKNOWN): total for name, total in totals.items()})
        of_name = {name: kin[self.texts.get(name, UNKNOWN)] for name in totals}
        self.family = array("i", map(of_name.__getitem__, self.tasks.name))
        self.colour = [min(index, COLOURS) for index in range(len(self.families))]
        self.index = self._index()

    def name(self, row: int) -> str:
        """The name of the task in that row."""
        return self.texts.get(self.tasks.name[row], UNKNOWN)

    def where(self, engine: int, place: int) -> str:
        """The name of a worker; with its engine's, where there are several engines."""
        worker, name = self.texts.get(place, ""), self.texts.get(engine, "")
        if len(self.run.engines) < 2 or not name or name == worker:
            return worker or name or UNKNOWN
        return f"{name}: {worker}" if worker else name

    def row(self, task: int) -> int | None:
        """The row of a task, or None where it has none."""
        row = self.index[task] if 0 <= task < len(self.index) else -1
        return None if row < 0 else row

    def end(self, row: int) -> float:
        """When the task ended, or the end of what is known."""
        ended = self.tasks.ended[row]
        return ended if ended >= 0 else self.wall

    @property
    def legend(self) -> list[str]:
        """What the colours stand for."""
        return [*self.families[:COLOURS], *(["others"] if len(self.families) > COLOURS else [])]

    def _wall(self) -> float:
        if self.run.ended is not None:
            return max(float(self.run.ended), 0.0)
        tasks = self.tasks
        return max(float(self.run.told or 0.0), max(tasks.ended, default=0.0), max(tasks.started, default=0.0))

    def _index(self) -> array[int]:
        index = array("q", [-1]) * (max(self.tasks.id, default=0) + 1)
        for row, task in enumerate(self.tasks.id):
            index[task] = row
        return index


def is_recalled(state: int, origin: int) -> bool:
    """True for a task whose result is that of an earlier run."""
    return state == TaskState.DONE and origin >= 0


def _cores(shape: str) -> int:
    try:
        return Resources(**json.loads(shape).get("resources") or {}).cores
    except (ValueError, TypeError, AttributeError, ResourceError):  # by a later version
        return 1


def _families(totals: dict[str, float]) -> tuple[list[str], dict[str, int]]:
    """Return the names to show, those with most seconds first, and for each name which of them it belongs to."""
    kin = {name: name for name in totals}
    if len(totals) > NAMES:
        kin = {name: _DIGITS.sub("#", name) for name in totals}
    sums: dict[str, float] = defaultdict(float)
    for name, total in totals.items():
        sums[kin[name]] += total
    ranked = sorted(sums, key=lambda name: (-sums[name], name))
    place = {name: min(rank, FAMILIES - 1) for rank, name in enumerate(ranked)}
    if len(ranked) > FAMILIES:
        ranked = [*ranked[: FAMILIES - 1], f"{len(ranked) - FAMILIES + 1:,} other names"]
    return ranked, {name: place[kin[name]] for name in totals}
