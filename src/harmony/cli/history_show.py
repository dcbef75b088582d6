"""``harmony show RUN``: what a run came to, its errors, its slowest tasks, and what the tasks of each name took."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from harmony.cli.history_text import (
    coloured,
    counted,
    duration,
    echo_json,
    facts,
    line_of,
    plain,
    run_facts,
    size,
    table,
    times,
)
from harmony.cli.summary import percent
from harmony.core.report import Report
from harmony.store.history import History
from harmony.store.rows import ErrorRow, NameRow, Run, TaskRow

#: So many distinct errors, slowest tasks and names are shown; JSON has all errors and names.
_ERRORS, _SLOWEST, _NAMES = 10, 5, 20


def show_run(history: History, which: str, as_json: bool) -> None:
    """Print what a run came to."""
    run = history.run(which)
    summary = history.summary(run.id)
    slowest = [
        task
        for task in history.tasks(run.id, order="slowest", limit=_SLOWEST)
        if task.seconds is not None and task.started is not None
    ]
    if as_json:
        echo_json(
            {
                **run_facts(run),
                "efficiency": _efficiency(run),
                "names": [{**plain(row), "mean": row.mean} for row in summary.names],
                "errors": summary.errors,
                "slowest": slowest,
            }
        )
        return
    for line in _lines(run, summary.names, summary.errors, slowest):
        click.echo(line)


def _lines(run: Run, names: list[NameRow], errors: list[ErrorRow], slowest: list[TaskRow]) -> Iterator[str]:
    yield f"run {run.id} of {line_of(run.workflow)} ({line_of(run.program)}): {coloured(run.status)}"
    yield from facts(_about(run))
    yield from _errors(errors, run.counts.failed)
    if slowest:
        yield "slowest tasks"
        yield from table(("TASK", "NAME", "TOOK", "CPU", "MEMORY", "PLACE"), list(map(_slow, slowest)))
    if names:
        yield "tasks by name"
        columns = ("NAME", "TASKS", "DONE", "RECALLED", "FAILED", "TOTAL", "MEAN", "CPU", "MEMORY")
        yield from table(columns, list(map(_name, names[:_NAMES])))
        if len(names) > _NAMES:
            yield f"  and {len(names) - _NAMES} more names"


def _about(run: Run) -> dict[str, str]:
    environment, share = run.environment, _efficiency(run)
    system = ", ".join(
        line_of(f"{title}{environment[name]}")
        for name, title in (("python", "Python "), ("platform", ""), ("harmony", "Harmony "))
        if environment.get(name)
    )
    return {
        "command": line_of(" ".join(run.argv), 200),
        "directory": line_of(run.directory, 200),
        "driver": f"pid {run.pid} of {line_of(run.user)} on {line_of(run.host)}",
        **times(run),
        "engines": f"{', '.join(map(line_of, run.engines)) or 'none'}; {run.cores} core{'s' * (run.cores != 1)}",
        "system": system,
        "tasks": counted(run.counts),
        "work": duration(run.work),
        "critical path": duration(run.critical_path),
        "efficiency": "" if share is None else f"{percent(share)} = max(critical path, work / cores) / wall time",
    }


def _efficiency(run: Run) -> float | None:
    if run.ended is None or run.work is None or run.critical_path is None:
        return None
    report = Report(
        name=run.workflow,
        counts=run.counts,
        wall=run.ended,
        work=run.work,
        critical_path=run.critical_path,
        cores=run.cores,
    )
    return report.efficiency


def _errors(errors: list[ErrorRow], failed: int) -> Iterator[str]:
    ended = [error for error in errors if error.tasks]
    retried = [error for error in errors if not error.tasks]
    for title, rows in (("errors that ended tasks", ended), ("errors that were followed by another try", retried)):
        if not rows:
            continue
        yield title
        for error in rows[:_ERRORS]:
            count = error.tasks or error.retried
            yield f"  {count} × {line_of(f'{error.type}: {error.message}', 160)} ({_where(error, count)})"
        if len(rows) > _ERRORS:
            yield f"  and {len(rows) - _ERRORS} other errors"
        not_run = failed - sum(error.tasks for error in ended)
        if rows is ended and not_run > 0:
            yield f"  {not_run} × not run, because a task it needs failed"


def _where(error: ErrorRow, count: int) -> str:
    return f"{'first in ' if count > 1 else 'in '}{line_of(error.name or '?', 40)}, task {error.first}"


def _slow(task: TaskRow) -> tuple[str, ...]:
    return (
        str(task.id), line_of(task.name, 40), duration(task.seconds), duration(task.cpu), size(task.memory),
        line_of(task.place or "", 40),
    )  # fmt: skip


def _name(row: NameRow) -> tuple[Any, ...]:
    return (
        line_of(row.name, 40), str(row.tasks), str(row.done), str(row.recalled), str(row.failed),
        duration(row.seconds), duration(row.mean), duration(row.cpu), size(row.memory),
    )  # fmt: skip
