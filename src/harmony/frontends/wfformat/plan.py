"""Plan: an instance as the commands that replay it. Pure but for the command lines too long to pass."""

from __future__ import annotations

import hashlib
import math
import os
import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from harmony.core.task import Command
from harmony.errors import ConfigError
from harmony.frontends.wfformat.instance import Instance, TraceTask, critical_path, predecessors

#: What a replay keeps beside the files of the workflow: one record a task, and the program.
PRIVATE = ".wfformat"
PROGRAM = f"{PRIVATE}/program.pyc"
#: Longer command lines go through a file; systems take at least this much.
_LONGEST = 64 * 1024
_COMPONENT = re.compile(r"[0-9a-zA-Z\-_.:#]{1,200}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How to replay: what multiplies run times and sizes, whose commands run, and on how many cores each.

    Raises `ConfigError` for values that make no sense.
    """

    scale: float = 1.0
    size_scale: float = 1.0
    commands: str = "synthetic"
    cores: str = "one"

    def __post_init__(self) -> None:
        for name in ("scale", "size_scale"):
            value = getattr(self, name)
            if not 0 <= value < math.inf:
                raise ConfigError(f"{name}={value!r} must be a number, at least 0")
        for name, choices in (("commands", ("synthetic", "own")), ("cores", ("one", "trace"))):
            if getattr(self, name) not in choices:
                raise ConfigError(f"{name}={getattr(self, name)!r} is none of: {', '.join(map(repr, choices))}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One task of a replay. `record` is None where the trace's own command runs, which keeps none."""

    task: TraceTask
    command: Command
    cores: int
    seconds: float
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    futures: tuple[str, ...]
    record: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """An instance, the directory its files are in, by which path each, and how it is to be replayed."""

    instance: Instance
    directory: str
    settings: Settings
    paths: Mapping[str, str]

    @property
    def sizes(self) -> dict[str, int]:
        """Path → scaled size."""
        return {self.paths[file.id]: round(file.size * self.settings.size_scale) for file in self.instance.files}

    @property
    def initial(self) -> list[str]:
        """The paths that tasks read and no task writes."""
        producers = self.instance.producers
        read = dict.fromkeys(file for task in self.instance.tasks for file in task.inputs)
        return [self.paths[file] for file in read if file not in producers]

    @property
    def produced(self) -> list[str]:
        """The paths that tasks write."""
        return [self.paths[file] for file in self.instance.producers]

    @property
    def edges(self) -> int:
        """How many pairs of tasks wait for each other."""
        return sum(map(len, predecessors(self.instance).values()))

    @property
    def critical_path(self) -> float:
        """The longest chain of scaled run times."""
        return critical_path(self.instance) * self.settings.scale

    def steps(self) -> Iterator[Step]:
        """The tasks in the instance's order."""
        producers, sizes = self.instance.producers, self.sizes
        for index, task in enumerate(self.instance.tasks):
            by_file = {producers.get(file) for file in task.inputs}
            cores = task.cores if self.settings.cores == "trace" else 1
            own = self._own_command(task)
            record = f"{PRIVATE}/{index:06d}"
            yield Step(
                task=task,
                command=own or self._synthetic(task, record, cores, sizes),
                cores=cores,
                seconds=self._seconds(task),
                inputs=tuple(self.paths[file] for file in task.inputs),
                outputs=tuple(self.paths[file] for file in task.outputs),
                futures=tuple(parent for parent in task.parents if parent not in by_file),
                record=None if own else record,
            )

    def _seconds(self, task: TraceTask) -> float:
        return task.run.runtime * self.settings.scale if task.run else 0.0

    def _own_command(self, task: TraceTask) -> Command | None:
        command = task.run.command if task.run else None
        if self.settings.commands != "own" or command is None or command.program is None:
            return None
        return Command((command.program, *command.arguments))

    def _synthetic(self, task: TraceTask, record: str, cores: int, sizes: Mapping[str, int]) -> Command:
        arguments = [self.directory, record, f"{self._seconds(task):.6f}", str(cores), str(len(task.inputs))]
        for file in task.inputs:
            size = -1 if self.settings.commands == "own" else sizes[self.paths[file]]
            arguments += [self.paths[file], str(size)]
        for file in task.outputs:
            arguments += [self.paths[file], str(sizes[self.paths[file]])]
        if sum(map(len, arguments)) > _LONGEST:
            plan = os.path.join(self.directory, f"{record}.arguments")
            with open(plan, "w", encoding="utf-8") as stream:
                stream.write("\0".join(arguments))
            arguments = [f"@{plan}"]
        return Command((sys.executable, "-I", "-S", os.path.join(self.directory, PROGRAM), *arguments))


def make_plan(instance: Instance, directory: str | os.PathLike[str], settings: Settings) -> Plan:
    """Decide where each file goes. Raises `ConfigError` for an instance that cannot be replayed like that."""
    if settings.scale > 0:
        _refuse(
            [task.id for task in instance.tasks if task.run is None],
            f"{instance.name}: tasks without runtimeInSeconds in workflow.execution.tasks cannot be replayed in time",
            "add it, or replay with scale=0",
        )
    if settings.commands == "own":
        commands = [task.run.command for task in instance.tasks if task.run and task.run.command]
        programs = dict.fromkeys(command.program for command in commands if command.program)
        _refuse(
            [program for program in programs if not _is_here(program, directory)],
            f"{instance.name}: programs of the trace that are not here",
            "install them, or replay with commands='synthetic'",
        )
    paths = file_paths([file.id for file in instance.files])
    return Plan(instance=instance, directory=os.path.abspath(directory), settings=settings, paths=paths)


def _is_here(program: str, directory: str | os.PathLike[str]) -> bool:
    if os.path.dirname(program):
        return os.access(os.path.join(directory, program), os.X_OK)
    return shutil.which(program) is not None


def _refuse(names: list[str], problem: str, advice: str) -> None:
    if names:
        more = f" and {len(names) - 5} more" if len(names) > 5 else ""
        raise ConfigError(f"{problem}: {', '.join(names[:5])}{more}; {advice}")


def file_paths(ids: list[str]) -> dict[str, str]:
    """File id → a relative path inside the replay's directory: the id itself, where that is safe."""
    prefixes = {id[:position] for id in ids for position, letter in enumerate(id) if letter == "/"}
    return {id: id if id not in prefixes and _is_safe(id) else _flattened(id) for id in ids}


def _is_safe(id: str) -> bool:
    parts = id.split("/")
    return parts[0] != PRIVATE and all(part not in (".", "..") and _COMPONENT.fullmatch(part) for part in parts)


def _flattened(id: str) -> str:
    tail = re.sub(r"[^0-9a-zA-Z\-_.]", "_", id)[-100:]
    return f"{hashlib.sha256(id.encode()).hexdigest()[:16]}-{tail}"
