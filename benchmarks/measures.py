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
from benchmarks.systems.base import System

TRUE = ("/bin/true",)


@dataclass(slots=True)
class Taken:
    """One value; `tasks` is what CPU time is divided by."""

    value: float
    tasks: int
    extra: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Measure:
    """A question put to every system.

    `quick` and `full` are the counts of tasks; `only` names the systems that are asked if not all are;
    `paced` measures give slow systems fewer tasks in a quick run, since their value is per task.
    """

    title: str
    unit: str
    take: Callable[[System, int, Path], Taken]
    quick: tuple[int, ...]
    full: tuple[int, ...]
    more_is_better: bool = False
    paced: bool = True
    only: tuple[str, ...] = ()
    reference: str = "processes"


def warm(system: System, workers: int) -> None:
    """Run a few tasks, until all workers have answered."""
    seen: set[tuple[int, int]] = set()
    for _ in range(50):
        futures = [system.submit(work.where, 0.02) for _ in range(2 * workers)]
        seen.update(system.results(futures))
        if len(seen) >= workers:
            break
    system.many(work.noop, 20)


def throughput(system: System, count: int, scratch: Path) -> Taken:
    """No-op functions per second, from the first submit to the last result."""
    start = time.perf_counter()
    system.many(work.noop, count)
    return Taken(count / (time.perf_counter() - start), count)


def scale(system: System, count: int, scratch: Path) -> Taken:
    """The same, with the most memory the driver ever had."""
    before = cost.driver_memory()
    taken = throughput(system, count, scratch)
    taken.extra["peak driver bytes/task"] = max(0, cost.peak_memory() - before) / count
    return taken


def round_trip(system: System, count: int, scratch: Path) -> Taken:
    """Milliseconds from submit to result, one task at a time: the median."""
    times = []
    for _ in range(count):
        start = time.perf_counter()
        system.result(system.submit(work.noop))
        times.append(1e3 * (time.perf_counter() - start))
    cuts = statistics.quantiles(times, n=100, method="inclusive")
    return Taken(statistics.median(times), count, {"p95": cuts[94], "p99": cuts[98]})


def chain(system: System, count: int, scratch: Path) -> Taken:
    """Milliseconds per task of a chain, each with the future of the one before as its argument."""
    start = time.perf_counter()
    assert system.chain(count) == count
    return Taken(1e3 * (time.perf_counter() - start) / count, count)


def fan_in(system: System, count: int, scratch: Path) -> Taken:
    """Seconds for many tasks and one that takes all their results."""
    start = time.perf_counter()
    assert system.fan_in(count) == count
    return Taken(time.perf_counter() - start, count + 1)


def commands(system: System, count: int, scratch: Path) -> Taken:
    """Commands per second."""
    start = time.perf_counter()
    system.commands(TRUE, count)
    return Taken(count / (time.perf_counter() - start), count)


def array(system: System, count: int, scratch: Path) -> Taken:
    """Seconds to send a NumPy array of `count` megabytes to a task and back; one number of each page is read."""
    import numpy

    sent = numpy.random.default_rng(1).random(count * 1_000_000 // 8)
    expected = work.touch(sent)
    start = time.perf_counter()
    received = system.result(system.submit(work.echo, sent))
    assert work.touch(received) == expected
    return Taken(time.perf_counter() - start, 1)


def pending(system: System, count: int, scratch: Path) -> Taken:
    """Bytes of memory per task that waits: all workers are kept busy, then many no-ops are submitted."""
    gate = scratch / "gate"
    with gate.open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        busy = [system.submit(work.wait_for, str(gate)) for _ in range(system.workers)]
        before = _settled()
        futures = system.submit_many(work.noop, count)
        after = _settled()
        waiting = count - sum(map(system.is_done, futures))
    system.results(futures)
    system.results(busy)
    driver = (after[0] - before[0]) / waiting if waiting else 0.0
    return Taken((after[1] - before[1]) / waiting if waiting else 0.0, count, {"driver": driver, "waiting": waiting})


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
    used, start = cost.precise_cpu(), time.perf_counter()
    time.sleep(count)
    seconds = time.perf_counter() - start
    used = cost.precise_cpu() - used
    below = [process for process in cost.descendants(os.getpid()) if not process.zombie]
    extra = {"processes": 1.0 + len(below), "MB": cost.memory() / 1e6}
    return Taken(1e3 * used / seconds, 1, extra)


MEASURES: dict[str, Measure] = {
    "noop": Measure("no-op functions", "tasks/s", throughput, (10_000,), (10_000,), more_is_better=True),
    "round-trip": Measure("serial round trip, p50", "ms", round_trip, (300,), (2_000,)),
    "chain": Measure("chain, per hop", "ms", chain, (500,), (2_000,)),
    "fan-in": Measure("fan-in into one task", "s", fan_in, (5_000,), (5_000,), paced=False),
    "commands": Measure(
        "/bin/true", "commands/s", commands, (500,), (2_000,), more_is_better=True, reference="bare-2"
    ),
    "array": Measure("100 MB NumPy array through a task and back", "s", array, (100,), (100,), paced=False),
    "pending": Measure("memory per pending task, all processes", "bytes", pending, (20_000,), (100_000,)),
    "idle": Measure("open and idle", "CPU ms/s", idle, (3,), (3,), paced=False),
    "scale": Measure(
        "one run of many no-ops",
        "tasks/s",
        scale,
        (10_000, 100_000),
        (10_000, 100_000, 300_000, 1_000_000),
        more_is_better=True,
        only=("harmony",),
        reference="harmony",
    ),
}
