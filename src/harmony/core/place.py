"""Place: which engine takes a task; a refusal now rather than a hang later. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from harmony.core.engine import Capability, Capacity, Engine
from harmony.core.task import Call, Join, Options, Task
from harmony.errors import ConfigError, ResourceError

#: Names of engines, the cores that the task takes, and whether it can be stopped while it runs.
Placement = tuple[tuple[str, ...], int, bool]


def place(task: Task, engines: Mapping[str, Engine]) -> tuple[str, ...]:
    """Return the names of the engines that can run the task, in their order; or of the one it asks for.

    Raises `ConfigError` for an engine that the workflow does not have, and `ResourceError`, saying what
    there is, when no engine can run it.
    """
    wanted = task.options.engine
    if wanted is not None and wanted not in engines:
        raise ConfigError(f"{task.name} asks for engine {wanted!r}; this workflow has: {', '.join(engines)}")
    candidates = engines if wanted is None else {wanted: engines[wanted]}
    able, reasons = [], []
    for name, engine in candidates.items():
        lacking = _lacking(task, engine)
        if lacking:
            reasons.append(f"engine {name!r} has {lacking}")
        else:
            able.append(name)
    if able:
        return tuple(able)
    others = [name for name, engine in engines.items() if name not in candidates and not _lacking(task, engine)]
    hint = f"; engine {others[0]!r} could: leave out on={wanted!r}" if others else ""
    raise ResourceError(f"{task.name} needs {task.options.resources} and cannot run here: {'; '.join(reasons)}{hint}")


def needs(task: Task) -> frozenset[Capability]:
    """Return the capabilities that the task asks of its engine."""
    options, resources = task.options, task.options.resources
    if isinstance(task.work, Join):
        return frozenset()  # it runs in the driver
    asked = {
        Capability.CALLS: isinstance(task.work, Call),
        Capability.COMMANDS: not isinstance(task.work, Call),
        Capability.RANKS: resources.is_parallel,
        Capability.GPUS: resources.gpus > 0,
        Capability.MEMORY: resources.memory is not None,
        Capability.MULTI_NODE: (resources.node_count or 1) > 1,
        Capability.WALLTIME: options.walltime is not None,
        Capability.ENVIRONMENT: bool(options.environment),
        Capability.DIRECTORY: options.directory is not None,
    }
    return frozenset(capability for capability, is_asked in asked.items() if is_asked)


def _lacking(task: Task, engine: Engine) -> str:
    missing = sorted(capability.value for capability in needs(task) - engine.capabilities)
    if missing:
        return f"no support for {', '.join(missing)}"
    capacity = engine.capacity
    return "" if _fits(task.options, capacity) else f"at most {capacity}"


def _fits(options: Options, capacity: Capacity) -> bool:
    asked = options.resources
    pairs = (
        (options.walltime or 0, capacity.walltime),
        (asked.cores, capacity.cores),
        (asked.gpus, capacity.gpus),
        (asked.memory or 0, capacity.memory),
        (asked.node_count or 1, capacity.nodes),
    )
    return all(limit is None or amount <= limit for amount, limit in pairs)


class Placer:
    """`place`, remembered per kind of work and options, because a decorated function is called many times."""

    def __init__(self, engines: Mapping[str, Engine]) -> None:
        self._engines = engines
        self._known: dict[tuple[type, int], tuple[Options, Placement]] = {}

    def __call__(self, task: Task) -> Placement:
        """Return where it can run: of engines where it can be stopped, and others, only those like the first."""
        key = (type(task.work), id(task.options))
        known = self._known.get(key)
        if known is not None and known[0] is task.options:
            return known[1]
        able = place(task, self._engines)
        can_stop = self._can_stop(able[0])
        alike = tuple(name for name in able if self._can_stop(name) == can_stop)
        placement = (alike, task.options.resources.cores, can_stop)
        if len(self._known) >= 1024:
            self._known.clear()
        self._known[key] = (task.options, placement)
        return placement

    def _can_stop(self, name: str) -> bool:
        return Capability.CANCEL_RUNNING in self._engines[name].capabilities
