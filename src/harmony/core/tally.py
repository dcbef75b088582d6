"""The tally: a run in numbers, kept as it goes."""

from __future__ import annotations

from harmony.core.report import Counts, Failure
from harmony.core.task import TaskState
from harmony.errors import text_of


class Tally:
    """How many tasks are where, what they cost, and why some failed. Written by the loop, read from any thread."""

    def __init__(self) -> None:
        self._numbers = [0] * len(TaskState)
        self._failures: dict[str, list[int | str]] = {}
        self.recalled = 0
        self.work = 0.0
        self.critical_path = 0.0

    def accept(self) -> None:
        """One more task, WAITING."""
        self._numbers[TaskState.WAITING] += 1

    def move(self, old: TaskState, new: TaskState) -> None:
        """A task went from one state to another."""
        self._numbers[old] -= 1
        self._numbers[new] += 1

    def fail(self, task: str, error: BaseException) -> None:
        """A task failed by its own fault."""
        row = self._failures.setdefault(f"{type(error).__name__}: {text_of(error)}", [0, task])
        row[0] = int(row[0]) + 1

    @property
    def counts(self) -> Counts:
        """How many tasks are where."""
        numbers = {state.name.lower(): max(self._numbers[state], 0) for state in TaskState}
        return Counts(**numbers, recalled=self.recalled)

    @property
    def failures(self) -> tuple[Failure, ...]:
        """The distinct errors, most frequent first."""
        rows = [Failure(count=int(row[0]), task=str(row[1]), error=text) for text, row in list(self._failures.items())]
        return tuple(sorted(rows, key=lambda failure: -failure.count))
