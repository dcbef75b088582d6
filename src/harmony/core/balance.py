"""Balance: of several engines that can run a task, which one gets it. Used in the kernel's loop only."""

from __future__ import annotations

import math
from collections.abc import Mapping

from harmony.core.engine import Engine
from harmony.core.record import Record
from harmony.core.task import TaskState

_THERE = (TaskState.SUBMITTED, TaskState.RUNNING)


class Balance:
    """Knows how many cores of work each engine has.

    In the order given, the first that has cores left is chosen; when none has, the one with the least work for its
    cores.
    """

    def __init__(self, engines: Mapping[str, Engine]) -> None:
        self._engines = engines
        self._loads = dict.fromkeys(engines, 0)

    def choose(self, record: Record) -> str:
        """Return the name of the engine that is to run a task now."""
        choices = (record.engine, *record.others)
        for name in choices:
            if self._loads[name] + record.cores <= self._cores(name):
                return name
        return min(choices, key=lambda name: self._loads[name] / self._cores(name))

    def moved(self, record: Record, state: TaskState) -> None:
        """Take note that a task is about to enter a state."""
        change = (state in _THERE) - (record.state in _THERE)
        self._loads[record.engine] += change * record.cores

    def _cores(self, name: str) -> float:
        capacity = self._engines[name].capacity
        return (
            math.inf if capacity.cores is None or capacity.workers is None else capacity.cores * capacity.workers or 1
        )
