"""Instance: a workflow as WfFormat knows it, as frozen values; its graph, and what is wrong with it.

A number that the trace does not have is None, never 0. All times are seconds, all sizes bytes.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harmony.errors import ConfigError, CycleError

TASKS = "workflow.specification.tasks"
FILES = "workflow.specification.files"


@dataclass(frozen=True, slots=True)
class TraceFile:
    """A file of the workflow and its size."""

    id: str
    size: int


@dataclass(frozen=True, slots=True)
class TraceCommand:
    """What the task ran, as far as the trace says."""

    program: str | None = None
    arguments: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRun:
    """How one task ran. `average_cpu` is in per cent, `energy` in kWh, `power` in W."""

    runtime: float
    executed_at: str | None = None
    command: TraceCommand | None = None
    cores: float | None = None
    average_cpu: float | None = None
    bytes_read: float | None = None
    bytes_written: float | None = None
    memory: float | None = None
    energy: float | None = None
    power: float | None = None
    priority: float | None = None
    machines: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceTask:
    """A task: whom it waits for, what it reads and writes, and, once it has run, how that went."""

    id: str
    name: str
    parents: tuple[str, ...] = ()
    children: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    run: TaskRun | None = None

    @property
    def cores(self) -> int:
        """Whole cores that the trace gives the task, at least 1."""
        return max(1, math.ceil(self.run.cores or 1)) if self.run else 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A machine that ran tasks; `speed` is in MHz."""

    name: str
    system: str | None = None
    architecture: str | None = None
    release: str | None = None
    memory: int | None = None
    cores: int | None = None
    speed: int | None = None
    vendor: str | None = None


@dataclass(frozen=True, slots=True)
class RuntimeSystem:
    """What ran the workflow."""

    name: str
    version: str
    url: str | None = None


@dataclass(frozen=True, slots=True)
class Author:
    """Who made the instance."""

    name: str
    email: str
    institution: str | None = None
    country: str | None = None


@dataclass(frozen=True, slots=True)
class Execution:
    """The run as a whole; each task's part is its `run`."""

    makespan: float
    executed_at: str
    machines: tuple[Machine, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """One workflow: its tasks and files, and the run it was recorded from, if it ever ran."""

    name: str
    tasks: tuple[TraceTask, ...]
    files: tuple[TraceFile, ...] = ()
    execution: Execution | None = None
    description: str | None = None
    created_at: str | None = None
    schema_version: str = "1.5"
    runtime_system: RuntimeSystem | None = None
    author: Author | None = None

    @property
    def sizes(self) -> dict[str, int]:
        """File → size."""
        return {file.id: file.size for file in self.files}

    @property
    def producers(self) -> dict[str, str]:
        """File → the task that writes it. What no task writes has to be there before."""
        return {file: task.id for task in self.tasks for file in task.outputs}


def predecessors(instance: Instance) -> dict[str, tuple[str, ...]]:
    """Task → the tasks it waits for: its parents, and those that write a file it reads."""
    producers = instance.producers
    return {
        task.id: tuple(dict.fromkeys([*task.parents, *(producers[file] for file in task.inputs if file in producers)]))
        for task in instance.tasks
    }


def order(instance: Instance, source: str = "instance") -> list[TraceTask]:
    """Return the tasks so that each comes after those it waits for; ties keep their order.

    Raises `CycleError`, naming the tasks of one cycle.
    """
    needed = predecessors(instance)
    tasks = {task.id: task for task in instance.tasks}
    missing = {task: len(parents) for task, parents in needed.items()}
    followers: dict[str, list[str]] = {task: [] for task in needed}
    for task, parents in needed.items():
        for parent in parents:
            followers[parent].append(task)
    ready = deque(task for task, count in missing.items() if not count)
    done: list[TraceTask] = []
    while ready:
        done.append(tasks[ready.popleft()])
        for follower in followers[done[-1].id]:
            missing[follower] -= 1
            if not missing[follower]:
                ready.append(follower)
    if len(done) < len(tasks):
        cycle = _cycle(needed, {task for task, count in missing.items() if count})
        raise CycleError(
            f"{source}: {TASKS}: tasks wait for each other: {' → '.join(cycle)}; "
            "take one of these edges out of parents and children, or give one of the tasks another output file"
        )
    return done


def _cycle(needed: Mapping[str, Sequence[str]], stuck: set[str]) -> list[str]:
    walk = {min(stuck): None}
    while (parent := min(task for task in needed[next(reversed(walk))] if task in stuck)) not in walk:
        walk[parent] = None
    steps = list(walk)
    return [parent, *reversed(steps[steps.index(parent) :])]


def critical_path(instance: Instance) -> float:
    """The longest chain of run times; a task without one counts as 0."""
    needed = predecessors(instance)
    ends: dict[str, float] = {}
    for task in order(instance):
        start = max((ends[parent] for parent in needed[task.id]), default=0.0)
        ends[task.id] = start + (task.run.runtime if task.run else 0.0)
    return max(ends.values(), default=0.0)


def validate(instance: Instance, source: str = "instance") -> None:
    """Raise `ConfigError` or `CycleError` unless ids are unique, edges agree and every file has one writer.

    The message says where in `source`, by JSON path, what is wrong, and what to do.
    """
    if not instance.tasks:
        raise ConfigError(f"{source}: {TASKS}: there is no task; a workflow has at least one")
    _unique([task.id for task in instance.tasks], f"{source}: {TASKS}", "task")
    _unique([file.id for file in instance.files], f"{source}: {FILES}", "file")
    _check_edges(instance, source)
    _check_files(instance, source)
    order(instance, source)


def _unique(ids: Sequence[str], where: str, kind: str) -> None:
    first: dict[str, int] = {}
    for index, id in enumerate(ids):
        if first.setdefault(id, index) != index:
            raise ConfigError(
                f"{where}[{index}].id: {id!r} is also the id of {kind} {first[id]}; give each {kind} its own id"
            )


def _check_edges(instance: Instance, source: str) -> None:
    parents = {task.id: frozenset(task.parents) for task in instance.tasks}
    children = {task.id: frozenset(task.children) for task in instance.tasks}
    for index, task in enumerate(instance.tasks):
        for field, other, back, there in (
            ("parents", task.parents, "children", children),
            ("children", task.children, "parents", parents),
        ):
            for position, id in enumerate(other):
                where = f"{source}: {TASKS}[{index}].{field}[{position}]"
                if id not in there:
                    raise ConfigError(f"{where}: {id!r} is not the id of a task; correct it, or add that task")
                if task.id not in there[id]:
                    raise ConfigError(
                        f"{where}: {task.id!r} names {id!r}, but the {back} of {id!r} do not name {task.id!r}; "
                        "add it there, or take it out here"
                    )


def _check_files(instance: Instance, source: str) -> None:
    sizes = instance.sizes
    writers: dict[str, str] = {}
    for index, task in enumerate(instance.tasks):
        read = set(task.inputs)
        for field, files in (("inputFiles", task.inputs), ("outputFiles", task.outputs)):
            for position, file in enumerate(files):
                where = f"{source}: {TASKS}[{index}].{field}[{position}]"
                if file not in sizes:
                    raise ConfigError(f"{where}: {file!r} is not in {FILES}; add it there with its sizeInBytes")
                if field == "inputFiles":
                    continue
                if writers.setdefault(file, task.id) != task.id:
                    raise ConfigError(
                        f"{where}: {file!r} is written by {writers[file]!r} and by {task.id!r}; "
                        "a file has one writer: give each its own file"
                    )
                if file in read:
                    raise ConfigError(
                        f"{where}: {task.id!r} reads and writes {file!r}; give what it writes an id of its own"
                    )
