"""Summary: the end report of a run, as text."""

from __future__ import annotations

from collections.abc import Iterator

from harmony.cli.pace import clock
from harmony.core.report import Counts, Failure, Report

#: So many distinct errors are shown, with so many lines of each: the first, then the last.
ERRORS = 10
HEAD, TAIL = 4, 2
_WIDTH = 200


def summarise(report: Report) -> str:
    """Return the end report: tasks, distinct errors, wall time, and efficiency with what it is made of."""
    lines = [f"{report.name}: {describe(report.counts)}", *_failures(report)]
    if report.counts.total:
        share = seconds(report.work / max(report.cores, 1))
        lines += [
            f"  wall time      {seconds(report.wall)}",
            f"  work           {seconds(report.work)} on {_count(report.cores, 'core')}: {share}",
            f"  critical path  {seconds(report.critical_path)}",
            f"  efficiency     {percent(report.efficiency)} = max(critical path, work / cores) / wall time",
        ]
    return "\n".join(lines)


def headline(report: Report) -> str:
    """Return one line about the failures of a run."""
    told = ""
    if report.failures:
        first, others = report.failures[0], len(report.failures) - 1
        told = f"; {first.count} × {_first_lines(first)[0]} ({_where(first)})"
        told += f", and {_count(others, 'other error')}" if others else ""
    return f"{report.name}: {report.counts.failed} of {_count(report.counts.total, 'task')} failed{told}"


def describe(counts: Counts) -> str:
    """Return ``120 tasks: 117 done, 2 failed, 1 cancelled``, leaving out what there is none of."""
    if not counts.total:
        return "no tasks"
    done = f"done ({counts.recalled} of them by an earlier run)" if counts.recalled else "done"
    parts = ((counts.done, done), (counts.failed, "failed"), (counts.cancelled, "cancelled"))
    return f"{_count(counts.total, 'task')}: {', '.join(f'{count} {word}' for count, word in parts if count)}"


def _failures(report: Report) -> Iterator[str]:
    for failure in report.failures[:ERRORS]:
        first, *rest = _first_lines(failure)
        yield f"  {failure.count} × {first} ({_where(failure)})"
        yield from (f"      {line}" for line in rest)
    hidden = report.failures[ERRORS:]
    if hidden:
        yield f"  {sum(failure.count for failure in hidden)} × one of {_count(len(hidden), 'other error')}"
    not_run = report.counts.failed - sum(failure.count for failure in report.failures)
    if not_run > 0:
        yield f"  {not_run} × not run, because a task it needs failed"


def _where(failure: Failure) -> str:
    return f"in {failure.task}" if failure.count == 1 else f"first in {failure.task}"


def _first_lines(failure: Failure) -> list[str]:
    lines = [line[:_WIDTH] + "…" * (len(line) > _WIDTH) for line in failure.error.strip().splitlines()] or [""]
    hidden = len(lines) - HEAD - TAIL
    if hidden > 1:
        return [*lines[:HEAD], f"[… {hidden} lines …]", *lines[-TAIL:]]
    return lines


def seconds(value: float) -> str:
    """Return a duration in three digits, or in hours and minutes when it is long."""
    if value >= 600:
        return clock(value)
    if value >= 10:
        return f"{value:.1f} s"
    return f"{value:.3g} s" if value >= 1 or not value else f"{1000 * value:.3g} ms"


def percent(share: float) -> str:
    """Return a share as per cent, with a digit more where it is small."""
    return f"{100 * share:.0f} %" if share >= 0.095 else f"{100 * share:.2g} %"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"
