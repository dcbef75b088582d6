"""Jobs as a table: in colour on a terminal, as plain columns elsewhere."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

_STYLES = {"COMPLETED": "green", "FAILED": "red", "CANCELED": "yellow", "ACTIVE": "cyan"}
_COLUMNS = ("JOB", "EXECUTOR", "ID", "NAME", "STATE", "EXIT", "SINCE", "REASON")


def show(jobs: Sequence[dict[str, Any]]) -> None:
    """Print one row for each job, and below it what is known of those that failed."""
    console = Console(highlight=False)
    if not console.is_terminal:
        for row in [_COLUMNS, *(_row(job) for job in jobs)]:
            click.echo("\t".join(row))
    else:
        table = Table(*_COLUMNS, box=None, pad_edge=False)
        for job in jobs:
            cells = [Text(text) for text in _row(job)]
            cells[4].stylize(_STYLES.get(job["state"], ""))
            table.add_row(*cells)
        console.print(table)
    for job in jobs:
        if job["state"] == "FAILED" and job["message"]:
            click.echo(f"{job['id'][:8]}: {job['message']}", err=True)


def _row(job: dict[str, Any]) -> tuple[str, ...]:
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(job["time"]))
    code = "" if job["exit_code"] is None else str(job["exit_code"])
    reason = str(job["metadata"].get("reason") or "")
    name = " ".join((job["name"] or "").split())
    return job["id"][:8], job["executor"], job["native_id"] or "", name, job["state"], code, since, reason
