"""``python -m benchmarks.engines``: each system by its own client, and through Harmony, on the same work in one run.

Each measure is a process of its own; a system and Harmony on it take turns, and ratios are taken within a round. By its
own client means: one call of its documented submit for each task, then a wait for all; Harmony is given one call for
each task, too. What is not installed or fails is a row that says so.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import work
from benchmarks.apart import Measure, Suite, Taken
from benchmarks.cost import Meter
from benchmarks.measures import warm
from benchmarks.programs import first_result
from benchmarks.runner import Record
from benchmarks.systems import system as make
from benchmarks.systems.base import System
from benchmarks.systems.harmony import Through
from benchmarks.systems.parsl import WithoutKernel
from benchmarks.tables import Results
from benchmarks.targets import Reached, Target

_WORKERS = 2
_PATIENCE = 150.0
_HARMONY = "harmony-"
KERNEL, IN_BULK = "parsl-kernel", "dask-map"
#: What is measured beside: a second way to use the same system.
_BESIDE = {KERNEL: ("parsl", "Parsl HTEX, python_app"), IN_BULK: ("dask", "Dask, Client.map")}

#: engine → what its own client is called, the package it needs, how many no-ops and how many short tasks.
_ENGINES: dict[str, tuple[str, str, int, int]] = {
    "futures": ("ProcessPoolExecutor", "concurrent", 20_000, 2_000),
    "executorlib": ("executorlib", "executorlib", 5_000, 1_000),
    "dask": ("Dask, Client.submit", "distributed", 5_000, 1_000),
    "ipyparallel": ("IPyParallel, apply_async", "ipyparallel", 3_000, 1_000),
    "ray": ("Ray, remote", "ray", 10_000, 2_000),
    "parsl": ("Parsl HTEX, htex.submit", "parsl", 5_000, 1_000),
    "workqueue": ("", "harmony", 5_000, 1_000),  # its own Python API cannot be had with pip
}


def _systems() -> dict[str, tuple[str, ...]]:
    """What is measured for each engine."""
    own = {engine: (engine,) if label else () for engine, (label, *_) in _ENGINES.items()}
    for name, (engine, _) in _BESIDE.items():
        own[engine] += (name,)
    return {engine: (*names, _HARMONY + engine) for engine, names in own.items()}


def _label(name: str) -> str:
    if name in _BESIDE:
        return _BESIDE[name][1]
    return f"  Harmony on {name.removeprefix(_HARMONY)}" if name.startswith(_HARMONY) else _ENGINES[name][0]


def _engine(name: str) -> str:
    return _BESIDE[name][0] if name in _BESIDE else name.removeprefix(_HARMONY)


def _system(name: str) -> System:
    if name.startswith(_HARMONY):
        return Through(_engine(name))
    if name == "parsl":
        return WithoutKernel()
    return make({"futures": "processes", KERNEL: "parsl-htex", IN_BULK: "dask"}.get(name, name))


def throughput(name: str, count: int, scratch: Path, fn: Callable[[int], None], ideal: float) -> Taken:
    """Tasks per second, from the first submit to the last result, with all workers there; a task takes `ideal` s."""
    system = _system(name)
    system.workers = _WORKERS
    system.open(_WORKERS, scratch)
    warm(system, _WORKERS)
    with Meter() as spent:
        if name == IN_BULK:
            system.results(system.submit_many(fn, count))
        else:
            system.results([system.submit(fn, number) for number in range(count)])
    system.close()
    return Taken.rate(count, spent, **({"ideal ÷ wall": count * ideal / _WORKERS / spent.seconds} if ideal else {}))


def first(name: str, count: int, scratch: Path) -> Taken:
    """Seconds of a whole program, from the start of its interpreter to the first result."""
    ended: dict[str, Any] = first_result(_system(name), scratch, _PATIENCE)
    return Taken(ended["value"], 1, extra=ended["extra"])


LABELS = {name: _label(name) for names in _systems().values() for name in names}
_PAIRS = {_HARMONY + engine: engine for engine, (label, *_) in _ENGINES.items() if label}
NOOPS, SHORT = ({name: _ENGINES[_engine(name)][column] for name in LABELS} for column in (2, 3))

MEASURES = {
    "noop": Measure(
        "no-op functions", "tasks/s", partial(throughput, fn=work.noop, ideal=0), NOOPS, _PAIRS, more_is_better=True
    ),
    "short": Measure(
        "functions of 5 ms",
        "tasks/s",
        partial(throughput, fn=work.short, ideal=work.SHORT),
        SHORT,
        _PAIRS,
        more_is_better=True,
    ),
    "first": Measure(
        "first result, from the start of the program",
        "s",
        first,
        {name: 1 for name in LABELS if name != IN_BULK},
        _PAIRS | {_HARMONY + "parsl": KERNEL},
    ),
}


def _share(measure: str, mine: str, own: str, value: Callable[[Record], float | None]) -> Reached:
    """What Harmony has, divided by what the system has by itself: the median over rounds."""

    def reached(results: Results) -> float | None:
        base = {record.round: value(record) for record in results.of(measure, own)}
        pairs = [(value(record), base.get(record.round)) for record in results.of(measure, mine)]
        shares = [harmony / native for harmony, native in pairs if harmony is not None and native]
        return statistics.median(shares) if shares else None

    return reached


def _targets(engine: str) -> list[Target]:
    mine = _HARMONY + engine
    found = []
    for measure, what in (("noop", "no-ops"), ("short", "of 5 ms")):
        rate = _share(measure, mine, engine, lambda record: record.value)
        cpu = _share(measure, mine, engine, lambda record: record.total_us)
        found.append(Target(f"{engine}: {what}, throughput", 0.9, rate, of=mine))
        found.append(Target(f"{engine}: {what}, CPU per task", 1.1, cpu, least=False, of=mine))
    return found


TARGETS = (
    *(target for engine in _ENGINES if _HARMONY + engine in _PAIRS for target in _targets(engine)),
    Target(
        "parsl: first result, ÷ python_app's",
        0.5,
        _share("first", _HARMONY + "parsl", KERNEL, lambda record: record.value),
        least=False,
        of=_HARMONY + "parsl",
    ),
)
SUITE = Suite(
    module="benchmarks.engines",
    description=__doc__,
    noun="tasks",
    labels=LABELS,
    measures=MEASURES,
    targets=TARGETS,
    distributions=("harmony-workflows", "executorlib", "distributed", "ipyparallel", "ray", "parsl"),
    packages={name: _ENGINES[_engine(name)][1] for name in LABELS},
    engines=_systems(),
)

if __name__ == "__main__":
    SUITE.main()
