"""``harmony status``: where a run is. Asks for little, so that it is quick also where the run is large."""

from __future__ import annotations

import time
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
    table,
    times,
    took,
)
from harmony.cli.pace import Pace, clock
from harmony.core.task import TaskState
from harmony.store.history import History
from harmony.store.rows import FailureRow, Run

#: So many running tasks are shown, those that run longest; and so many failures.
_RUNNING, _FAILURES = 10, 5
#: From so many on, failures are looked for by time.
_MANY = 20_000
_INTERVAL = 1.0


def show_status(history: History, which: str | None, as_json: bool) -> None:
    """Print where a run is."""
    run = history.run(which)
    if as_json:
        echo_json(_facts(history, run))
    else:
        click.echo("\n".join(_lines(history, run, _mean_rate(run))))


def watch_status(history: History, which: str | None) -> int:
    """Show where a run is until it has ended; return the exit status. Without a terminal, show its end only."""
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    run = history.run(which)
    pace, before = Pace(time.monotonic()), run.counts.ended
    with Live(console=Console(), auto_refresh=False, transient=True) as live:
        while run.status == "running":
            pace.note(time.monotonic(), run.counts.ended - before)
            if live.console.is_terminal:
                text = "\n".join(_lines(history, run, pace.rate or _mean_rate(run)))
                live.update(Text.from_ansi(text, no_wrap=True, overflow="ellipsis"), refresh=True)
            time.sleep(_INTERVAL)
            run = history.run(run.id)
    show_status(history, str(run.id), as_json=False)
    return 0 if run.status == "done" else 1


def _mean_rate(run: Run) -> float:
    """Tasks per second that were run, not recalled, since the run began."""
    ran = run.counts.ended - run.recalled
    seconds = run.told if run.ended is None else run.ended
    return ran / seconds if seconds > 0 else 0.0


def _failures(history: History, run: Run) -> list[tuple[FailureRow, str, float | None]]:
    (roots,) = next(history.rows("roots", run=run.id, limit=_MANY))
    query = "last_failed_of_many" if roots == _MANY else "last_failed"
    last = list(history.rows(query, run=run.id, limit=_FAILURES))
    rows = [next(history.rows("last_failure", run=run.id, task=task)) for (task,) in last]
    return [(FailureRow._make((*row[:8], bool(row[8]))), row[9] or "?", row[10]) for row in rows]


def _facts(history: History, run: Run) -> dict[str, Any]:
    running = history.tasks(run.id, state=TaskState.RUNNING, order="slowest", limit=_RUNNING)
    return {
        **run_facts(run),
        "rate": _mean_rate(run),
        "now": [
            {**plain(row), "for": None if row.started is None else max(0.0, took(run) - row.started)} for row in running
        ],
        "last_failures": [
            {**plain(failure), "name": name, "ended": ended} for failure, name, ended in _failures(history, run)
        ],
    }


def _lines(history: History, run: Run, rate: float) -> Iterator[str]:
    counts = run.counts
    left = counts.total - counts.ended
    pace = f"{rate:.3g} tasks/s" if rate else ""
    if pace and run.status == "running" and left:
        pace += f"; the {left} others that are known would take {clock(left / rate)}"
    yield f"run {run.id} of {line_of(run.workflow)} ({line_of(run.program)}): {coloured(run.status)}"
    yield from facts(
        {
            "driver": f"pid {run.pid} on {run.host}{'' if run.is_alive else ', ended'}",
            **times(run),
            "tasks": counted(counts),
            "rate": pace,
        }
    )
    yield from _running(history, run)
    failures = _failures(history, run)
    if failures:
        yield "last failures"
        rows = [
            (str(failure.task), line_of(name, 40), line_of(f"{failure.type}: {failure.message}"))
            for failure, name, _ in failures
        ]
        yield from table(("TASK", "NAME", "ERROR"), rows)


def _running(history: History, run: Run) -> Iterator[str]:
    tasks = list(history.tasks(run.id, state=TaskState.RUNNING, order="slowest", limit=_RUNNING))
    if not tasks:
        return
    yield "running" if run.is_alive else "running when it was interrupted"
    now = took(run)
    rows = [
        (
            str(task.id), line_of(task.name, 40), line_of(task.place or "", 40),
            "" if task.started is None else duration(max(0.0, now - task.started)),
        )
        for task in tasks
    ]  # fmt: skip
    yield from table(("TASK", "NAME", "PLACE", "FOR"), rows)
    if run.counts.running > len(tasks):
        yield f"  and {run.counts.running - len(tasks)} more"
