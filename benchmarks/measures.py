"""What is measured inside an open system: one body per measure, the same for all."""

from __future__ import annotations

import fcntl
import gc
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import cost, work
from benchmarks.cost import Meter
from benchmarks.systems.base import System

TRUE = ("/bin/true",)


@dataclass(slots=True)
class Taken:
    """One value; what was spent on it is told per task."""

    value: float
    tasks: int
    spent: Meter
    extra: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Measure:
    """A question put to every system.

    `quick` and `full` are the counts of tasks. `paced`: slow systems are given fewer, since the value is per task.
    `alone`: always in a process of its own, and in a quick run once. `only`: who is asked, if not all are.
    """

    title: str
    unit: str
    take: Callable[[System, int, Path], Taken]
    quick: tuple[int, ...]
    full: tuple[int, ...]
    more_is_better: bool = False
    paced: bool = True
    alone: bool = False
    only: tuple[str, ...] = ()
    reference: str = "processes"


def warm(system: System, workers: int) -> None:
    """Run a few tasks, until all workers have answered. No two are the same, lest an answer be remembered."""
    seen: set[tuple[int, int]] = set()
    for batch in range(50):
        futures = [system.submit(work.where, 0.02 + batch / 1e4 + each / 1e6) for each in range(2 * workers)]
        seen.update(system.results(futures))
        if len(seen) >= workers:
            break
    system.many(work.noop, 20)


def throughput(system: System, count: int, scratch: Path) -> Taken:
    """No-op functions per second, from the first submit to the last result."""
    with Meter() as spent:
        system.many(work.noop, count)
    return Taken(count / spent.seconds, count, spent)


def scale(system: System, count: int, scratch: Path) -> Taken:
    """The same, with the most memory the driver ever had."""
    before = cost.driver_memory()
    taken = throughput(system, count, scratch)
    taken.extra["peak driver bytes/task"] = max(0, cost.peak_memory() - before) / count
    return taken


def round_trip(system: System, count: int, scratch: Path) -> Taken:
    """Milliseconds from submit to result, one task at a time: the median."""
    times = []
    with Meter() as spent:
        for _ in range(count):
            start = time.perf_counter()
            system.result(system.submit(work.noop))
            times.append(1e3 * (time.perf_counter() - start))
    cuts = statistics.quantiles(times, n=100, method="inclusive")
    return Taken(statistics.median(times), count, spent, {"p95": cuts[94], "p99": cuts[98]})


def chain(system: System, count: int, scratch: Path) -> Taken:
    """Milliseconds per task of a chain, each with the future of the one before as its argument."""
    with Meter() as spent:
        assert system.chain(count) == count
    return Taken(1e3 * spent.seconds / count, count, spent)


def fan_in(system: System, count: int, scratch: Path) -> Taken:
    """Seconds for 5,000 tasks and one that takes all their results."""
    with Meter() as spent:
        assert system.fan_in(count) == count
    return Taken(spent.seconds * 5_000 / count, count + 1, spent)


def commands(system: System, count: int, scratch: Path) -> Taken:
    """Commands per second."""
    with Meter() as spent:
        system.commands(TRUE, count)
    return Taken(count / spent.seconds, count, spent)


def array(system: System, count: int, scratch: Path) -> Taken:
    """Seconds to send a NumPy array of `count` megabytes to a task and back; one number of each page is read."""
    import numpy as np

    sent = np.random.default_rng(1).random(count * 1_000_000 // 8)
    expected = work.touch(sent)
    with Meter() as spent:
        received = system.result(system.submit(work.echo, sent))
        assert work.touch(received) == expected
    return Taken(spent.seconds, 1, spent)


def pending(system: System, count: int, scratch: Path) -> Taken:
    """Bytes of memory per task that waits: all workers are kept busy, then many no-ops are submitted."""
    gate = scratch / "gate"
    with gate.open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        busy = [system.submit(work.wait_for, str(gate)) for _ in range(system.workers)]
        before = _settled()
        with Meter() as spent:
            futures = system.submit_many(work.noop, count)
        after = _settled()
        waiting = count - sum(map(system.is_done, futures))
    system.results(futures)
    system.results(busy)
    driver, tree = ((now - then) / max(1, waiting) for then, now in zip(before, after, strict=True))
    return Taken(tree, count, spent, {"driver": driver, "waiting": waiting})


def _settled() -> tuple[int, int]:
    """Memory of the driver and of the tree, once it no longer changes."""
    gc.collect()
    last = cost.memory()
    for _ in range(100):
        time.sleep(0.2)
        now = cost.memory()
        if abs(now - last) < last / 1000:
            break
        last = now
    return cost.driver_memory(), cost.memory()


def idle(system: System, count: int, scratch: Path) -> Taken:
    """CPU milliseconds per second while nothing is to be done, over `count` seconds."""
    time.sleep(0.5)
    with Meter(cost.others_precisely) as spent:
        time.sleep(count)
    below = [process for process in cost.descendants(os.getpid()) if not process.zombie]
    extra = {"processes": 1.0 + len(below), "MB": cost.memory() / 1e6}
    return Taken(1e3 * (spent.driver + spent.others) / spent.seconds, count, spent, extra)


MEASURES: dict[str, Measure] = {
    "noop": Measure("no-op functions", "tasks/s", throughput, (10_000,), (20_000,), more_is_better=True),
    "round-trip": Measure("one task at a time, p50", "ms", round_trip, (300,), (2_000,)),
    "chain": Measure("a chain of tasks, per hop", "ms", chain, (500,), (2_000,)),
    "fan-in": Measure("many tasks into one, for 5,000", "s", fan_in, (5_000,), (5_000,)),
    "commands": Measure("/bin/true", "commands/s", commands, (500,), (2_000,), more_is_better=True, reference="bare-2"),
    "array": Measure("100 MB NumPy array through a task and back", "s", array, (100,), (100,), paced=False),
    "idle": Measure("open and idle", "CPU ms/s", idle, (3,), (3,), paced=False, reference=""),
    "pending": Measure("memory per waiting task, all processes", "bytes", pending, (20_000,), (100_000,), alone=True),
    "scale": Measure(
        "many no-ops in one run",
        "tasks/s",
        scale,
        (10_000, 100_000, 1_000_000),
        (10_000, 100_000, 300_000, 1_000_000),
        more_is_better=True,
        alone=True,
        only=("harmony",),
        reference="harmony",
    ),
}
