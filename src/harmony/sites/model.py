"""What a site is: where blocks of workers run, and how many of them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field, fields
from datetime import timedelta
from typing import Any

from harmony.errors import ConfigError, ResourceError, shown
from harmony.resources import check_whole, parse_memory

#: What starts one process on each of several nodes, by scheduler; any other has MPI's own launcher.
_LAUNCHERS = {"local": "multiple", "slurm": "srun", "flux": "flux", "cobalt": "aprun"}
#: How long a block of a batch system lasts when the site does not say, in seconds.
_WALLTIME = 3600.0
_TEXTS = ("url", "queue", "account", "reservation", "launcher", "engine", "work_directory")


def in_seconds(name: str, value: object) -> float:
    """Return a time in seconds: a number of them, a timedelta, or a text such as ``"90s"``, ``"2h"`` or ``"1:30:00"``.

    Raises `ConfigError` for anything else, and for what is not greater than 0.
    """
    from harmony.jobs.attributes import JobAttributes

    found = value
    if isinstance(value, str):
        try:
            found = JobAttributes.parse_walltime(value)
        except ValueError as error:
            raise ConfigError(f"{name}={value!r} is not a time; write it as '90s', '30m', '2h' or '1:30:00'") from error
    if isinstance(found, timedelta):
        found = found.total_seconds()
    if isinstance(found, bool) or not isinstance(found, int | float) or not found > 0:
        raise ConfigError(f"{name}={shown(value)} must be a time greater than 0, as '90s', '30m', '2h' or '1:30:00'")
    return float(found)


@dataclass(frozen=True)
class Blocks:
    """How many blocks of a site there are: jobs whose nodes run workers.

    At least `min` of them, whatever there is to do; `init` at the start; at most `max`. In between, as many as give
    each waiting or running core of work `parallelism` cores (1.0: all run at once; 0.5: half as many blocks). What is
    more than that is given back when it has had nothing to do for `idle` seconds. After `failures` blocks in a row of
    which no worker was ever seen, no more are started. `patience` is how many seconds the workers of a block that runs
    may take to connect before it counts as failed.
    """

    _: KW_ONLY
    min: int = 0
    init: int = 1
    max: int = 1
    parallelism: float = 1.0
    idle: float = 120.0
    failures: int = 3
    patience: float = 300.0

    def __post_init__(self) -> None:
        for name, least in (("min", 0), ("init", 0), ("max", 1), ("failures", 1)):
            _whole(f"blocks.{name}", getattr(self, name), least)
        for name in ("min", "init"):
            if getattr(self, name) > self.max:
                raise ConfigError(f"blocks.{name}={getattr(self, name)} is more than blocks.max={self.max}; raise max")
        share = self.parallelism
        if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share <= 1:
            raise ConfigError(f"blocks.parallelism={share!r} must be greater than 0, and at most 1")
        for name in ("idle", "patience"):
            object.__setattr__(self, name, in_seconds(f"blocks.{name}", getattr(self, name)))


@dataclass(frozen=True)
class Site:
    """A machine, and what a block of workers is there: a job on `nodes` nodes of it.

    - `scheduler` is a name that `harmony.jobs.JobExecutor.get_instance` knows; `url` goes with it.
    - `walltime` of a block: seconds, or a text as ``"2h"``. If none is given there is no limit on this machine, and it
      is an hour on a batch system.
    - `cores_per_node`: if it is not given, a block asks for whole nodes, and its size is known when its workers are.
      `memory_per_node` is in bytes, or a text as ``"64GB"``.
    - `launcher` starts the workers' program once on each node; by default what suits the scheduler.
    - `setup`: shell lines that run before it: ``"module load python"``.
    - `attributes`: what only one scheduler knows, as ``{"slurm.constraint": "cpu"}``.
    - `engine` and `options`: the engine that is meant for this site, and arguments of its constructor.
    - `work_directory`: a directory that all nodes see, for scripts and logs; ``~/.harmony/work`` by default.

    `description`, `source` and `checked` say what it is, where that is documented, and when somebody looked. Raises
    `ConfigError` naming what cannot be.
    """

    name: str
    _: KW_ONLY
    scheduler: str = "local"
    url: str | None = None
    queue: str | None = None
    account: str | None = None
    reservation: str | None = None
    walltime: float | None = None
    nodes: int = 1
    cores_per_node: int | None = None
    gpus_per_node: int | None = None
    memory_per_node: int | None = None
    launcher: str | None = None
    launcher_options: tuple[str, ...] = ()
    setup: tuple[str, ...] = ()
    attributes: Mapping[str, object] = field(default_factory=dict)
    engine: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    blocks: Blocks = field(default_factory=Blocks)
    work_directory: str | None = None
    description: str = ""
    source: str = ""
    checked: str = ""

    def __post_init__(self) -> None:
        _text("name", self.name)
        try:
            self._check()
        except ConfigError as error:
            raise type(error)(f"site {self.name!r}: {error}") from error

    def _check(self) -> None:
        _text("scheduler", self.scheduler)
        for name in _TEXTS:
            if getattr(self, name) is not None:
                _text(name, getattr(self, name))
        self._check_amounts()
        for name in ("setup", "launcher_options"):
            object.__setattr__(self, name, _texts(name, getattr(self, name)))
        for name in ("attributes", "options"):
            object.__setattr__(self, name, _mapping(name, getattr(self, name)))
        for name in self.attributes:
            prefix, dot, option = name.partition(".")
            if not (prefix and dot and option):
                raise ConfigError(f"attributes: {name!r} must be 'SCHEDULER.OPTION', as 'slurm.constraint'")
        if not isinstance(self.blocks, Blocks):
            raise ConfigError(f"blocks={shown(self.blocks)} must be Blocks(…)")

    def _check_amounts(self) -> None:
        _whole("nodes", self.nodes, 1)
        for name, least in (("cores_per_node", 1), ("gpus_per_node", 0)):
            if getattr(self, name) is not None:
                _whole(name, getattr(self, name), least)
        if self.walltime is not None:
            object.__setattr__(self, "walltime", in_seconds("walltime", self.walltime))
        try:
            memory = parse_memory(self.memory_per_node)
        except ResourceError as error:
            raise ResourceError(f"memory_per_node: {error}") from error
        if memory is not None:
            _whole("memory_per_node", memory, 1)
        object.__setattr__(self, "memory_per_node", memory)

    @property
    def launcher_name(self) -> str:
        """What starts the workers' program on every node."""
        if self.launcher is not None:
            return self.launcher
        return "single" if self.nodes == 1 else _LAUNCHERS.get(self.scheduler, "mpirun")

    @property
    def block_walltime(self) -> float | None:
        """How long a block lasts, in seconds; None where nothing limits it."""
        return self.walltime if self.walltime is not None or self.scheduler == "local" else _WALLTIME

    @property
    def block_cores(self) -> int | None:
        """The cores of a block; None when only its workers can say."""
        cores = self.cores_per_node
        if cores is None and self.scheduler == "local":
            cores = cores_here()
        return None if cores is None else cores * self.nodes

    def as_dict(self) -> dict[str, Any]:
        """What differs from an empty site, as JSON can hold it."""
        empty = Site(self.name)
        given = {item.name: getattr(self, item.name) for item in fields(self)}
        found = {name: value for name, value in given.items() if name == "name" or value != getattr(empty, name)}
        if "blocks" in found:
            default = Blocks()
            pairs = ((item.name, getattr(self.blocks, item.name)) for item in fields(self.blocks))
            found["blocks"] = {name: value for name, value in pairs if value != getattr(default, name)}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in found.items()}


def cores_here() -> int:
    """The cores of this machine that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def here(workers: int | None = None) -> Site:
    """Return this machine as a site: one block, for as long as it is wanted, with so many cores (all, if not given)."""
    if workers is not None:
        _whole("workers", workers, 1)
    return Site(
        "here",
        cores_per_node=workers or cores_here(),
        blocks=Blocks(min=1),
        description="this machine",
    )


def _whole(name: str, value: object, least: int) -> None:
    check_whole(name, value, least)


def _text(name: str, value: object) -> None:
    if not isinstance(value, str) or not value.strip() or any(ord(letter) < 32 for letter in value):
        raise ConfigError(f"{name}={shown(value)} must be a text of one line that is not empty")


def _texts(name: str, values: object) -> tuple[str, ...]:
    if isinstance(values, str):
        values = (values,)
    if not isinstance(values, list | tuple) or not all(isinstance(value, str) for value in values):
        raise ConfigError(f"{name}={shown(values)} must be a list of texts")
    if any("\0" in value for value in values):
        raise ConfigError(f"{name}={shown(values)} must not hold a NUL character")
    return tuple(values)


def _mapping(name: str, value: object) -> dict[str, Any]:
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise ConfigError(f"{name}={shown(value)} must map names to values")
    return dict(value)
