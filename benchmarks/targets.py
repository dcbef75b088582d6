"""What Harmony is to reach, beside what it reached in this run."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.tables import Results, number

Reached = Callable[[Results], "float | None"]


@dataclass(frozen=True, slots=True)
class Target:
    """A bound on a value; `least` says from which side. `of`: the system it is about, without which it is left out."""

    what: str
    bound: float
    reached: Reached
    least: bool = True
    unit: str = ""
    of: str = ""


def times(measure: str, reference: str, *, more_is_better: bool, system: str = "harmony") -> Reached:
    """How many times as good as the reference: the median over rounds."""

    def reached(results: Results) -> float | None:
        row, base = results.of(measure, system), results.of(measure, reference)
        ratios = results.ratios(row, base, more_is_better=more_is_better)
        return statistics.median(ratios) if ratios else None

    return reached


def _cheaper(measure: str, reference: str) -> Reached:
    """The same for the CPU time of all processes, which a busy machine changes less than wall time."""

    def reached(results: Results) -> float | None:
        mine, other = (
            [record.total_us for record in results.of(measure, system) if record.total_us]
            for system in ("harmony", reference)
        )
        return statistics.median(other) / statistics.median(mine) if mine and other else None

    return reached


def value(measure: str, system: str = "harmony") -> Reached:
    """The median of Harmony's values."""
    return lambda results: results.median(measure, system)


def extra(measure: str, key: str, system: str = "harmony") -> Reached:
    """The same of something that is measured beside."""

    def reached(results: Results) -> float | None:
        values = [record.extra[key] for record in results.of(measure, system) if key in record.extra]
        return statistics.median(values) if values else None

    return reached


def _hop(results: Results) -> float | None:
    trips = {record.round: record.value for record in results.of("round-trip", "harmony") if record.value}
    hops = [record for record in results.of("chain", "harmony") if record.value and record.round in trips]
    ratios = [hop.value / trips[hop.round] for hop in hops if hop.value]
    return statistics.median(ratios) if ratios else None


def _largest(results: Results) -> float | None:
    """Rate of the largest run as a share of the smallest's."""
    counts = results.counts("scale", "harmony")
    if len(counts) < 2:
        return None
    small, large = (results.median("scale", "harmony", count) for count in (counts[0], counts[-1]))
    return large / small if small and large else None


TARGETS = (
    Target("no-op functions, × ProcessPoolExecutor", 6, times("noop", "processes", more_is_better=True)),
    Target("the same by CPU per task", 6, _cheaper("noop", "processes")),
    Target("no-op functions, × Parsl HTEX", 50, times("noop", "parsl-htex", more_is_better=True)),
    Target("round trip p50, × ProcessPoolExecutor", 1, times("round-trip", "processes", more_is_better=False)),
    Target("chain hop ÷ round trip", 1.5, _hop, least=False),
    Target("fan-in of 5,000", 1, value("fan-in"), least=False, unit="s"),
    Target("rate of the largest run ÷ rate of 10,000", 0.5, _largest),
    Target("memory per pending task", 1200, value("pending"), least=False, unit="bytes"),
    Target("commands, × bare posix_spawn, 1 at a time", 0.6, times("commands", "bare", more_is_better=True)),
    Target("commands, × bare posix_spawn, 2 in flight", 0.6, times("commands", "bare-2", more_is_better=True)),
    Target("the same by CPU per task", 0.6, _cheaper("commands", "bare-2")),
    Target("100 MB array, × ProcessPoolExecutor", 5, times("array", "processes", more_is_better=False)),
    Target("first result after the program starts", 0.5, value("first"), least=False, unit="s"),
    Target("idle, CPU", 0.1, value("idle"), least=False, unit="ms/s"),
    Target("import harmony", 100, extra("import", "import harmony"), least=False, unit="CPU ms"),
    Target("import of all that a program uses", 100, value("import"), least=False, unit="CPU ms"),
)


def lines(results: Results, targets: Sequence[Target] = TARGETS) -> list[str]:
    """One line per target."""
    text = []
    for target in targets:
        reached = target.reached(results)
        bound = f"{'≥' if target.least else '≤'} {number(target.bound)} {target.unit}".rstrip()
        if reached is None:
            verdict, shown = "not measured", ""
        else:
            met = reached >= target.bound if target.least else reached <= target.bound
            verdict, shown = "yes" if met else "NO", f"{number(reached)} {target.unit}".rstrip()
        text.append(f"  {target.what:<46}{bound:<16}{shown:<16}{verdict}")
    return text
