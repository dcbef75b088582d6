"""``harmony gc``: old runs leave the store, and what nothing refers to any more."""

from __future__ import annotations

import re
from typing import Any

import click

from harmony.cli.history_text import echo_json, echo_table, line_of, moment
from harmony.errors import StoreError
from harmony.resources import format_bytes
from harmony.store.gc import Garbage, Limits, collect
from harmony.store.locate import find
from harmony.store.rows import Run

_UNITS = {"m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


def seconds_of(age: str) -> float:
    """Return an age such as ``30d`` in seconds."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([mhdw])", age.strip())
    if match is None:
        raise click.UsageError(f"--older {age!r} is not an age; give minutes, hours, days or weeks: 90m, 12h, 30d, 8w")
    return float(match[1]) * _UNITS[match[2]]


def show_garbage(store: str | None, limits: Limits, *, dry_run: bool, as_json: bool) -> None:
    """Remove what is old, or with `dry_run` nothing, and print what it was."""
    try:
        garbage = collect(find(store), limits, dry_run=dry_run)
    except StoreError as error:
        raise click.ClickException(str(error)) from error
    if as_json:
        echo_json(_facts(garbage, dry_run))
    else:
        if garbage.runs:
            echo_table(("RUN", "WORKFLOW", "STATE", "TASKS", "BEGAN"), list(map(_row, garbage.runs)))
        click.echo(_sum(garbage, dry_run))


def _facts(garbage: Garbage, dry_run: bool) -> dict[str, Any]:
    return {
        "dry_run": dry_run,
        "runs": [run.id for run in garbage.runs],
        "tasks": garbage.tasks,
        "results": garbage.results,
        "objects": garbage.objects,
        "files": garbage.files,
        "bytes": garbage.size,
    }


def _row(run: Run) -> tuple[str, ...]:
    return str(run.id), line_of(run.workflow, 40), run.status, str(run.total), moment(run.began)


def _sum(garbage: Garbage, dry_run: bool) -> str:
    counts = (
        (len(garbage.runs), "run"), (garbage.tasks, "task"), (garbage.results, "result"),
        (garbage.objects, "object"), (garbage.files, "leftover file"),
    )  # fmt: skip
    told = ", ".join(f"{count} {word}{'s' * (count != 1)}" for count, word in counts if count)
    if not told:
        return "there is nothing to remove"
    size = format_bytes(garbage.size)
    return f"would remove {told}: about {size}" if dry_run else f"removed {told}: {size}"
