"""Report: what a run has come to, in numbers that a person and a program can read."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """How many tasks are where. `waiting` for others or for another try, `submitted` to an engine.

    `recalled` are those of `done` that were not run, because an earlier run had done them.
    """

    waiting: int = 0
    submitted: int = 0
    running: int = 0
    done: int = 0
    failed: int = 0
    cancelled: int = 0
    recalled: int = 0

    @property
    def total(self) -> int:
        """All tasks accepted so far."""
        return self.ended + self.waiting + self.submitted + self.running

    @property
    def ended(self) -> int:
        """Tasks in a final state."""
        return self.done + self.failed + self.cancelled


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """One distinct error: how many tasks it ended, the first of them, and its text."""

    count: int
    task: str
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a run has come to. All times in seconds.

    `work` is the sum over tasks of run time × cores; `critical_path` the longest chain of run times;
    `failures` holds the distinct errors, most frequent first, without those that only follow from another.
    """

    name: str
    counts: Counts
    wall: float
    work: float
    critical_path: float
    cores: int
    failures: tuple[Failure, ...] = ()

    @property
    def ideal(self) -> float:
        """The least time this work can take on these cores."""
        return max(self.critical_path, self.work / max(self.cores, 1))

    @property
    def efficiency(self) -> float:
        """`ideal` / `wall`: 1.0 is a run that lost no time."""
        return min(1.0, self.ideal / self.wall) if self.wall > 0 else 0.0

    @property
    def ok(self) -> bool:
        """True when no task failed."""
        return not self.counts.failed
