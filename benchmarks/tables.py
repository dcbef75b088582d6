"""Records as text: one table per measure."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.runner import Record
from benchmarks.systems import SYSTEMS
from benchmarks.systems import system as make


@dataclass(frozen=True, slots=True)
class Results:
    """All records of a run, and what is asked of them."""

    records: Sequence[Record]

    def of(self, measure: str, system: str, count: int | None = None) -> list[Record]:
        """Records of one row, by round."""
        return [
            record
            for record in self.records
            if record.measure == measure and record.system == system and count in (None, record.count)
        ]

    def counts(self, measure: str, system: str) -> list[int]:
        """With how many tasks it was measured."""
        return sorted({record.count for record in self.of(measure, system)})

    def smallest(self, measure: str, system: str) -> list[Record]:
        """Records of the row with the fewest tasks; none without any."""
        counts = self.counts(measure, system)
        return self.of(measure, system, counts[0]) if counts else []

    def median(self, measure: str, system: str, count: int | None = None) -> float | None:
        """Median of the values; None without any."""
        values = [record.value for record in self.of(measure, system, count) if record.value is not None]
        return statistics.median(values) if values else None

    def ratios(self, row: Sequence[Record], reference: Sequence[Record], *, more_is_better: bool) -> list[float]:
        """How many times as good as the reference, round by round."""
        base = {record.round: record.value for record in reference if record.value is not None and record.value > 0}
        pairs = [(record.value or 0, base[record.round]) for record in row if record.round in base]
        return [value / other if more_is_better else other / value for value, other in pairs if value > 0]


def number(value: float) -> str:
    """Three digits that matter."""
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _row(label: str, row: Sequence[Record], ratios: Sequence[float]) -> list[str]:
    first = row[0]
    values = [record.value for record in row if record.value is not None]
    if not values:
        return [label, f"{first.count:,}", row[-1].error]
    value = number(statistics.median(values))
    if len(values) > 1:
        value += f" [{number(min(values))} – {number(max(values))}]"
    cells = [label, f"{first.count:,}", value, f"{statistics.median(ratios):.3g}" if ratios else ""]
    for field in ("driver_us", "total_us"):
        used = [getattr(record, field) for record in row if getattr(record, field) is not None]
        cells.append(number(statistics.median(used)) if used else "")
    keys = [key for record in row for key in record.extra]
    for key in dict.fromkeys(keys):
        extra = [record.extra[key] for record in row if key in record.extra]
        cells.append(f"{key} {number(statistics.median(extra))}")
    failed = [record.error for record in row if record.error]
    if failed:
        cells.append(f"{len(failed)} of {len(row)} failed: {failed[0]}")
    return cells


def table(
    results: Results,
    measure: str,
    title: str,
    *,
    more_is_better: bool,
    reference: str | Mapping[str, str],
    labels: Mapping[str, str] | None = None,
) -> str:
    """The table of one measure; "" if nothing was measured. `labels` are the systems, in order.

    `reference` is what all are compared with, or for some systems what each is compared with.
    """
    if labels is None:
        labels = {name: make(name).label for name in SYSTEMS}
    rows = []
    bases = dict.fromkeys(labels, reference) if isinstance(reference, str) else reference
    measured = {base: results.smallest(measure, base) for base in bases.values()}
    for system, label in labels.items():
        base = measured.get(bases.get(system, ""), [])
        for count in results.counts(measure, system):
            row = results.of(measure, system, count)
            ratios = results.ratios(row, base, more_is_better=more_is_better)
            rows.append(_row(label, row, ratios))
    if not rows:
        return ""
    names = {labels[base] for base in bases.values() if measured[base]}
    beside = f"× {names.pop()}" if len(names) == 1 else "× its own" if names else "ratio"
    heads = ["system", "n", "median [min – max]", beside, "driver µs/task", "all µs/task", "also"]
    return f"\n{title}\n{align([heads, *rows])}"


def align(rows: Sequence[Sequence[str]]) -> str:
    """Columns of text; the last cells of a row, whatever they are, stand side by side."""
    fixed = 6
    widths = [max((len(row[i]) for row in rows if i < len(row) and len(row) > 3), default=0) for i in range(fixed)]
    return "\n".join(_line(row, widths) for row in rows)


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    cells: Iterable[str] = (
        cell.ljust(width) if i in (0, 2) else cell.rjust(width)
        for i, (cell, width) in enumerate(zip(row, widths, strict=False))
    )
    return "  " + "  ".join([*cells, "  ".join(row[len(widths) :])]).rstrip()
