"""What the history is read as: values, with nothing behind them. Sizes are in bytes, durations in seconds.

Times of tasks and attempts are seconds since their run began; `Run.wall` turns them into seconds since the epoch.
What is not known, or has not happened, is None.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from harmony.core.report import Counts
from harmony.core.task import TaskState

#: What can be said of a run: its driver lives; how it ended; or it did not, and its driver is gone.
STATUSES = ("running", "done", "failed", "stopped", "interrupted")


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One execution of a campaign. `ended`, `state`, `work` and `critical_path` are None until it has ended.

    `told` is when the counts were last written, `monotonic` the driver's clock when the run began.
    """

    id: int
    uuid: str
    campaign: int
    program: str
    workflow: str
    ordinal: int
    resumes: int | None
    argv: tuple[str, ...]
    directory: str
    user: str
    host: str
    pid: int
    lock: str
    engines: tuple[str, ...]
    cores: int
    environment: Mapping[str, Any]
    began: float
    monotonic: float
    told: float
    counts: Counts
    ended: float | None
    state: str | None
    work: float | None
    critical_path: float | None
    is_alive: bool

    @property
    def status(self) -> str:
        """One of `STATUSES`."""
        if self.state is not None:
            return self.state
        return "running" if self.is_alive else "interrupted"

    @property
    def recalled(self) -> int:
        """Tasks that were not run, because an earlier run had done them."""
        return self.counts.recalled

    @property
    def total(self) -> int:
        """All tasks that it was known to have."""
        return self.counts.total

    def wall(self, since: float) -> float:
        """Seconds since the epoch, of seconds since the run began."""
        return self.began + since


class TaskRow(NamedTuple):
    """A task that has begun to run or has ended, by its last attempt; `seconds` is the run time of all attempts.

    `path` is the longest chain of run times that ends with it, `shape` the JSON of what it asks for.
    """

    run: int
    id: int
    name: str
    kind: str
    state: TaskState
    accepted: float
    started: float | None
    ended: float | None
    seconds: float | None
    cpu: float | None
    memory: int | None
    read: int | None
    written: int | None
    engine: str | None
    place: str | None
    attempts: int
    path: float | None
    origin_run: int | None
    origin_task: int | None
    shape: str


class AttemptRow(NamedTuple):
    """One attempt of a task; `state` tells how it ended, or that it has not: RUNNING."""

    task: int
    number: int
    state: TaskState
    engine: str | None
    place: str | None
    started: float | None
    ended: float | None
    seconds: float | None


class FailureRow(NamedTuple):
    """Why an attempt failed. `root` is False where another task's failure is the reason."""

    task: int
    attempt: int
    type: str
    message: str
    traceback: str
    arguments: str
    exit_code: int | None
    signal: int | None
    root: bool


class FileRow(NamedTuple):
    """A file that a task declared, as it was when the task ended. `role` is "input" or "output"."""

    task: int
    role: str
    path: str
    size: int | None
    mtime: int | None
    digest: bytes | None


class NameRow(NamedTuple):
    """The tasks of one name: how many, in which states, and what they used; None where nothing was measured."""

    name: str
    tasks: int
    done: int
    recalled: int
    failed: int
    cancelled: int
    running: int
    timed: int  # those that `seconds` is the sum of
    seconds: float | None
    cpu: float | None
    memory: int | None

    @property
    def mean(self) -> float | None:
        """Run time of one of them."""
        return None if self.seconds is None or not self.timed else self.seconds / self.timed


class ErrorRow(NamedTuple):
    """A distinct error: how many tasks it ended, how many attempts it cost that were followed by another, and where."""

    type: str
    message: str
    tasks: int
    retried: int
    first: int
    name: str


class Summary(NamedTuple):
    """A run in numbers: by the names of tasks, those that took the most time first; and its distinct errors.

    Errors that only follow from another are left out; the most frequent is the first.
    """

    names: list[NameRow]
    errors: list[ErrorRow]


class Relative(NamedTuple):
    """A parent or a child of a task. Name and state are None while nothing is written of it."""

    id: int
    name: str | None
    state: TaskState | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskDetail:
    """All that is known of one task. `command` is None for a function."""

    row: TaskRow
    key: bytes | None
    attempts: Sequence[AttemptRow]
    failures: Sequence[FailureRow]
    parents: Sequence[Relative]
    children: Sequence[Relative]
    files: Sequence[FileRow]
    command: str | None
    stdout: str
    stderr: str


def load_object(text: str | None) -> dict[str, Any]:
    """Return the object that a column's JSON holds; an empty one where it holds something else."""
    try:
        value = json.loads(text or "{}")
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def load_texts(text: str | None) -> tuple[str, ...]:
    """Return the texts of a column's JSON list; none where it holds something else."""
    try:
        value = json.loads(text or "[]")
    except ValueError:
        return ()
    return tuple(map(str, value)) if isinstance(value, list) else ()
