"""Slots: which cores, GPUs and memory of this machine are taken. Pure bookkeeping."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from dataclasses import dataclass

from harmony.core.task import Call, Options, Work
from harmony.errors import ConfigError

#: How GPUs are shown to a task, by vendor.
GPU_VARIABLES = ("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "ZE_AFFINITY_MASK")


@dataclass(frozen=True, slots=True)
class Shape:
    """What the tasks of one set of options take while they run, and whether they need a process set up for them.

    `is_call` tells functions from commands (and from functions on ranks, which are started as commands);
    `is_plain` ones take one core and nothing else, so that they may be sent to a worker many at a time.
    """

    cores: int
    gpus: int
    memory: int
    is_call: bool
    is_plain: bool


def shape_of(work: Work, options: Options) -> Shape:
    """Return the shape of a task."""
    resources = options.resources
    is_call = isinstance(work, Call) and not resources.is_parallel
    special = options.environment or options.directory is not None or options.walltime is not None
    light = resources.cores == 1 and not resources.gpus and resources.memory is None
    return Shape(
        cores=resources.cores,
        gpus=resources.gpus,
        memory=resources.memory or 0,
        is_call=is_call,
        is_plain=is_call and light and not special,
    )


@dataclass(frozen=True, slots=True)
class Grant:
    """What a task was given; `gpus` are device names as the driver's own environment has them."""

    cores: int
    gpus: tuple[str, ...]
    memory: int

    def environment(self) -> dict[str, str]:
        """The variables that show the task its GPUs, and no others; empty when it asked for none."""
        return dict.fromkeys(GPU_VARIABLES, ",".join(self.gpus)) if self.gpus else {}


class Slots:
    """The cores, GPUs and memory of one engine: what there is, and what is free."""

    def __init__(self, cores: int, gpus: Sequence[str], memory: int) -> None:
        self.cores = cores
        self.gpus = tuple(gpus)
        self.memory = memory
        self.free_cores = cores
        self.free_gpus = list(gpus)
        self.free_memory = memory

    def fits(self, shape: Shape) -> bool:
        """True when a task of this shape could start now."""
        return shape.cores <= self.free_cores and shape.gpus <= len(self.free_gpus) and shape.memory <= self.free_memory

    def fit_beside(self, shape: Shape, waiting: Shape) -> bool:
        """True when a task of this shape takes nothing that the one that waits will need."""
        return (
            (not shape.cores or shape.cores <= self.free_cores - waiting.cores)
            and (not shape.gpus or shape.gpus <= len(self.free_gpus) - waiting.gpus)
            and (not shape.memory or shape.memory <= self.free_memory - waiting.memory)
        )

    def take(self, shape: Shape, prefer: Sequence[str] = ()) -> Grant:
        """Take what the shape asks for, if possible the GPUs that are preferred. It must fit."""
        ranked = sorted(self.free_gpus, key=lambda gpu: (gpu not in prefer, self.gpus.index(gpu)))
        chosen = tuple(ranked[: shape.gpus])
        self.free_gpus = [gpu for gpu in self.free_gpus if gpu not in chosen]
        self.free_cores -= shape.cores
        self.free_memory -= shape.memory
        return Grant(shape.cores, chosen, shape.memory)

    def give_back(self, grant: Grant) -> None:
        """Undo `take`."""
        self.free_cores += grant.cores
        self.free_memory += grant.memory
        self.free_gpus.extend(grant.gpus)


def count_cores() -> int:
    """Return the cores this process may use: its affinity, where there is such a thing."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def total_memory() -> int:
    """Return the machine's memory in bytes."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def find_gpus(asked: int | Sequence[str] | None) -> tuple[str, ...]:
    """Return the names of the GPUs to hand out: those asked for, those the environment shows, or those found."""
    if isinstance(asked, int) and not isinstance(asked, bool) and asked >= 0:
        return tuple(str(index) for index in range(asked))
    if asked is not None:
        listed = isinstance(asked, (list, tuple)) and all(isinstance(name, (str, int)) for name in asked)
        names = tuple(map(str, asked)) if listed and not isinstance(asked, int) else ()
        if not listed or len(set(names)) < len(names):
            raise ConfigError(f"gpus={asked!r} must be a number, at least 0, or a list of different device names")
        return names
    for variable in GPU_VARIABLES:
        shown = os.environ.get(variable)
        if shown is not None:
            return tuple(part.strip() for part in shown.split(",") if part.strip() not in ("", "-1"))
    found = glob.glob("/dev/nvidia[0-9]*")
    if not found and os.path.exists("/dev/kfd"):
        found = glob.glob("/dev/dri/renderD*")
    return tuple(str(index) for index in range(len(found)))
