"""Jobs, shown: as a table in colour on a terminal, as columns between tabs elsewhere, or as JSON."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from harmony.cli.job_records import Record, printable
from harmony.jobs import JobSpec, JobState

_STYLES = {"COMPLETED": "green", "FAILED": "red", "CANCELED": "yellow", "ACTIVE": "cyan"}
_COLUMNS = ("JOB", "EXECUTOR", "ID", "NAME", "STATE", "EXIT", "SINCE", "REASON")


def show(found: Sequence[Record], as_json: bool) -> None:
    """Print what is known of jobs."""
    if as_json:
        show_json(found)
    elif sys.stdout.isatty():
        _show_table(found)
    else:
        for row in [_COLUMNS, *map(_row, found)]:
            click.echo("\t".join(row))


def show_json(found: Sequence[Record]) -> None:
    """Print one object for each job, in a list."""
    click.echo(json.dumps([_facts(record) for record in found], indent=2))


def explain(found: Sequence[Record]) -> None:
    """Say of each job that failed what is known about it."""
    for record in found:
        status = record.job.status
        if status.state in (JobState.FAILED, JobState.QUEUED) and status.message:
            click.echo(f"{record.label}: {printable(status.message)}", err=True)


def _show_table(found: Sequence[Record]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for column in _COLUMNS:
        table.add_column(column, no_wrap=column != "NAME")
    for record in found:
        cells = [Text(text) for text in _row(record)]
        cells[4].stylize(_STYLES.get(record.job.status.state.name, ""))
        table.add_row(*cells)
    Console(highlight=False).print(table)


def _row(record: Record) -> tuple[str, ...]:
    job, status = record.job, record.job.status
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(status.time))
    code = "" if status.exit_code is None else str(status.exit_code)
    name = printable(" ".join((job.name or "").split()))
    return (
        record.label, record.executor, job.native_id or "", name, status.state.name, code, since, status.reason or "",
    )  # fmt: skip


def _facts(record: Record) -> dict[str, Any]:
    job, status = record.job, record.job.status
    return {
        "id": job.id,
        "executor": record.executor,
        "native_id": job.native_id,
        "array": record.array,
        "array_index": record.index,
        "name": job.name,
        "submitted": record.submitted,
        "state": status.state.name,
        "final": status.final,
        "time": status.time,
        "exit_code": status.exit_code,
        "reason": status.reason,
        "message": status.message,
        "metadata": status.to_dict()["metadata"],
        "stdout_path": _absolute(record, "stdout_path"),
        "stderr_path": _absolute(record, "stderr_path"),
    }


def _absolute(record: Record, name: str) -> str | None:
    spec = record.job.spec
    path: Path | None = getattr(spec, name, None)
    if path is None or not isinstance(spec, JobSpec):
        return None
    folder = Path(record.job.record.get("cwd", ""), Path(spec.directory or "").expanduser())
    return os.path.normpath(folder / path.expanduser())
