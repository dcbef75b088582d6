"""The Engine port: what Harmony asks of anything that runs tasks."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

from harmony.core.task import Call, Command, Options, TaskState
from harmony.resources import format_bytes


class Capability(enum.Enum):
    """What an engine can do. Work that needs more is refused when it is submitted."""

    CALLS = "Python functions"
    COMMANDS = "commands"
    RANKS = "MPI ranks"
    GPUS = "GPUs"
    MEMORY = "memory limits"
    WALLTIME = "walltimes"
    CANCEL_RUNNING = "cancelling running work"
    MULTI_NODE = "several nodes"
    ENVIRONMENT = "environment variables per task"
    DIRECTORY = "a working directory per task"
    IN_CALLER = "running in the caller's thread"
    SHARED_MEMORY = "sharing objects with the driver"
    REATTACH = "taking up work that an earlier driver started"


@dataclass(frozen=True, slots=True)
class Capacity:
    """The most one task can get from an engine; None is "not limited, or not known before it asks".

    `workers` is how many such shares there are. `walltime`, in seconds, is the longest that a task may take.
    """

    cores: int | None = None
    gpus: int | None = None
    memory: int | None = None
    nodes: int | None = 1
    workers: int | None = 1
    walltime: float | None = None

    def __str__(self) -> str:
        cores = "any number of" if self.cores is None else self.cores
        gpus = "any number of" if self.gpus is None else self.gpus
        memory = "any amount of" if self.memory is None else format_bytes(self.memory)
        time = "" if self.walltime is None else f", {self.walltime:g} s"
        return f"{cores} cores, {gpus} GPUs, {memory} memory{time}"


class Submission:
    """A task as it crosses the port: its futures are replaced by their results. Engines only read it.

    `outputs` are the absolute paths of the files that must be there when the task ends well. `handle` is None, or
    what an engine that can REATTACH has said of this task to an earlier driver: the work may still be under way.
    """

    __slots__ = ("handle", "id", "name", "options", "outputs", "work")

    def __init__(
        self, id: int, work: Call | Command, options: Options, name: str = "task", outputs: Sequence[str] = ()
    ) -> None:
        self.id = id
        self.work = work
        self.options = options
        self.name = name
        self.outputs = outputs
        self.handle: str | None = None


class Usage(NamedTuple):
    """What a task used where it ran: CPU seconds, peak memory, and bytes read from and written to devices.

    `memory` is in bytes; of a function it is the peak of its worker process so far. None is "not measured".
    """

    cpu: float | None = None
    memory: int | None = None
    read: int | None = None
    written: int | None = None


class Notice(NamedTuple):
    """News of the engine itself rather than of a task, for the journal: `kind` as the catalogue of events has it.

    `id` is always 0, which is no task's; it is reported among updates.
    """

    id: int
    kind: str
    subject: str
    data: Mapping[str, Any]


class Update(NamedTuple):
    """News of a task: it is RUNNING, or it ended DONE, FAILED or CANCELLED.

    `seconds` is how long the work took where it ran, `place` the worker's name, `stdout` what a
    function printed, `usage` what it used. An engine that can REATTACH gives, with RUNNING, the `handle` by which it
    takes the task up again when the driver has died.
    """

    id: int
    state: TaskState
    result: Any = None
    error: BaseException | None = None
    seconds: float = 0.0
    place: str = ""
    stdout: str = ""
    usage: Usage | None = None
    handle: str | None = None


Report = Callable[[Sequence[Update | Notice]], None]


@runtime_checkable
class Engine(Protocol):
    """Runs tasks on resources it holds. The kernel calls these methods from one thread."""

    capabilities: frozenset[Capability]

    @property
    def capacity(self) -> Capacity:
        """The most one task can get; asked when a task is submitted."""
        ...

    def start(self, report: Report) -> None:
        """Get ready. `report` may be called from any thread, never blocks, and takes batches.

        Raises `EngineError` or `ConfigError` when the engine cannot work here, and then holds nothing.
        """
        ...

    def submit(self, batch: Sequence[Submission]) -> None:
        """Take the tasks. Never blocks on the work; each is reported to its end exactly once.

        What cannot be run is reported as FAILED, not raised.
        """
        ...

    def cancel(self, ids: Sequence[int]) -> None:
        """Do not start these tasks; end those that run where CANCEL_RUNNING is declared.

        Idempotent; unknown and finished ids are ignored. A cancelled task is reported CANCELLED,
        or however else it ended meanwhile.
        """
        ...

    def close(self) -> None:
        """End what still runs, release everything, leave no process. Idempotent; silence afterwards."""
        ...
