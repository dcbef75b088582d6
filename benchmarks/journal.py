"""``python -m benchmarks.journal``: what it costs that every task is recorded, and what it saves, in one run.

The same no-op functions with and without the journal; the same for Parsl's monitoring and checkpoints; a program that
is run again; the content of an array; `harmony status`. Each measure is a process of its own, the systems take turns,
and ratios are taken within a round. What is not installed or fails is a row that says so.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import campaigns, work
from benchmarks.apart import Measure, Suite, Taken
from benchmarks.cost import Meter
from benchmarks.measures import warm
from benchmarks.systems.base import System
from benchmarks.systems.harmony import Local, Recorded
from benchmarks.systems.parsl import HighThroughput, Threads
from benchmarks.tables import Results
from benchmarks.targets import Reached, Target, extra, times, value

RECORDED = "harmony-recorded"
_REPEATS = 7
_WORKERS = 2
LABELS = {
    "harmony": "Harmony, store=False",
    RECORDED: "Harmony, as it comes",
    "parsl-threads": "Parsl threads",
    "parsl-threads-monitoring": "Parsl threads, monitoring",
    "parsl-threads-checkpoints": "Parsl threads, checkpoints",
    "parsl-htex": "Parsl HTEX",
    "parsl-htex-monitoring-tasks": "Parsl HTEX, monitoring without resources",
    "parsl-htex-monitoring": "Parsl HTEX, monitoring",
    "parsl-htex-checkpoints": "Parsl HTEX, checkpoints",
    "xxhash": "xxh3_128 alone",
    "copy": "memory to memory",
    "joblib": "joblib.hash",
    "parsl": "Parsl's id_for_memo",
}


def _system(name: str) -> System:
    if name.startswith("harmony"):
        return Recorded() if name == RECORDED else Local()
    executor, _, keeps = name.removeprefix("parsl-").partition("-")
    return (Threads if executor == "threads" else HighThroughput)(keeps)


def recording(name: str, count: int, scratch: Path) -> Taken:
    """No-op functions per second, from the first submit to the last result; beside it, to the end of the block.

    CPU is counted to the end of the block, so that nothing that is put off goes uncounted.
    """
    system = _system(name)
    system.workers = _WORKERS
    system.open(_WORKERS, scratch)
    warm(system, _WORKERS)
    with Meter() as spent:
        start = time.perf_counter()
        system.results([system.submit(work.noop, number) for number in range(count)])
        seconds = time.perf_counter() - start
        system.close()
    return Taken.at(count / seconds, count, spent, {"to the end": count / spent.seconds})


def content(name: str, count: int, scratch: Path) -> Taken:
    """Gigabytes per second of a NumPy array of `count` megabytes, for which there is room in no cache."""
    import numpy as np

    array = np.random.default_rng(1).random(count * 1_000_000 // 8)
    read = _reader(name, array)
    read()
    seconds = []
    with Meter() as spent:
        for _ in range(_REPEATS):
            start = time.perf_counter()
            read()
            seconds.append(time.perf_counter() - start)
    return Taken(array.nbytes / 1e9 / statistics.median(seconds), count, extra={"CPU s": spent.driver / _REPEATS})


def _reader(name: str, array: Any) -> Callable[[], Any]:
    if name == RECORDED:
        from harmony.core.identity import content_of

        return lambda: content_of(array)
    if name == "xxhash":
        import xxhash

        return lambda: xxhash.xxh3_128_digest(array.data)
    if name == "joblib":
        import joblib

        return lambda: joblib.hash(array)
    if name == "parsl":
        from parsl.dataflow.memoization import id_for_memo

        return lambda: id_for_memo(array)
    other = array.copy()
    return lambda: other.__setitem__(slice(None), array)


def _recording(title: str, counts: dict[str, int], once: tuple[str, ...] = ()) -> Measure:
    reference = next(iter(counts))
    return Measure(f"no-op functions, {title}", "tasks/s", recording, counts, reference, more_is_better=True, once=once)


MEASURES = {
    "recording": _recording("recorded and not", {"harmony": 50_000, RECORDED: 50_000}),
    "recording-threads": _recording(
        "recorded by Parsl in threads",
        {"parsl-threads": 2_000, "parsl-threads-monitoring": 2_000, "parsl-threads-checkpoints": 2_000},
    ),
    "recording-htex": _recording(
        "recorded by Parsl with processes",
        {
            "parsl-htex": 2_000,
            "parsl-htex-monitoring-tasks": 1_000,
            "parsl-htex-monitoring": 100,
            "parsl-htex-checkpoints": 2_000,
        },
    ),
    "resume": Measure(
        "a program that is run again; all is done",
        "s",
        campaigns.resume,
        {RECORDED: 100_000, "parsl-threads-checkpoints": 10_000},
        "",
        once=("parsl-threads-checkpoints",),
    ),
    "resume-large": Measure(
        "the same, ten times larger",
        "s",
        campaigns.resume,
        {RECORDED: 1_000_000},
        "",
        once=(RECORDED,),
        wants="large",
    ),
    "content": Measure(
        "content of a 100 MB NumPy array; n: megabytes",
        "GB/s",
        content,
        {"xxhash": 100, "copy": 100, RECORDED: 100, "joblib": 100, "parsl": 100},
        "xxhash",
        more_is_better=True,
        once=("joblib", "parsl"),
    ),
    "status": Measure(
        "harmony status on a run that has ended",
        "s",
        campaigns.status,
        {RECORDED: 1_000_000},
        "",
        once=(RECORDED,),
    ),
}


def _kept_to_the_end(results: Results) -> float | None:
    """Rate to the end of the block, recorded, as a share of that of the same round without."""
    rates = [
        {row.round: row.extra["to the end"] for row in results.of("recording", system) if row.extra}
        for system in ("harmony", RECORDED)
    ]
    shares = [rates[1][round] / rates[0][round] for round in rates[0] if round in rates[1]]
    return statistics.median(shares) if shares else None


def _more_cpu(field: str) -> Reached:
    """Microseconds that recording adds for each task, within a round."""

    def reached(results: Results) -> float | None:
        spent: list[dict[int, float]] = [
            {row.round: getattr(row, field) for row in results.of("recording", system) if row.value}
            for system in ("harmony", RECORDED)
        ]
        more = [spent[1][round] - spent[0][round] for round in spent[0] if round in spent[1]]
        return statistics.median(more) if more else None

    return reached


def _content(results: Results) -> float | None:
    """Speed as a share of the hash's or the memory's, whichever is lower."""
    mine, hashing, copying = (results.median("content", name) for name in (RECORDED, "xxhash", "copy"))
    return mine / min(hashing, copying) if mine and hashing and copying else None


def _linear(results: Results) -> float | None:
    """Time for each task of the large run, by that of the smaller."""
    small, large = (extra(name, "µs/task", RECORDED)(results) for name in ("resume", "resume-large"))
    return large / small if small and large else None


TARGETS = (
    Target(
        "no-op throughput, × that without a journal",
        0.7,
        times("recording", "harmony", more_is_better=True, system=RECORDED),
    ),
    Target("the same, to the end of the block", 0.7, _kept_to_the_end),
    Target("CPU per task that recording adds, driver", 25, _more_cpu("driver_us"), least=False, unit="µs"),
    Target("the same, all processes", 25, _more_cpu("total_us"), least=False, unit="µs"),
    Target("resume of 100,000 tasks", 10, value("resume", RECORDED), least=False, unit="s"),
    Target("tasks that ran again", 0, extra("resume", "executed", RECORDED), least=False),
    Target("the same of 1,000,000", 0, extra("resume-large", "executed", RECORDED), least=False),
    Target("time per task, 1,000,000 ÷ 100,000", 1.2, _linear, least=False),
    Target("content, × the slower of hash and memory", 0.9, _content),
    Target("harmony status on 1,000,000 tasks", 1, value("status", RECORDED), least=False, unit="s"),
)
SUITE = Suite(
    module="benchmarks.journal",
    description=__doc__,
    noun="tasks",
    labels=LABELS,
    measures=MEASURES,
    targets=TARGETS,
    distributions=("harmony-workflows", "parsl", "numpy", "xxhash", "joblib"),
    packages={name: name.partition("-")[0] for name in LABELS if name not in ("harmony", RECORDED, "copy")},
    wants={"large": "resume a run of 1,000,000 tasks too: some minutes, and some GB on disk"},
    timeout=600,
)

if __name__ == "__main__":
    SUITE.main()
