"""The report of a run: one HTML page that needs no network, for people who were not there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harmony.store.history import History


def write_report(history: History, run_id: int, path: str | Path) -> None:
    """Write the page about a run to a file. A run that goes on is told as far as it has come."""
    from harmony.store.report.page import render

    # A lone surrogate, of a file name that is not UTF-8, would end the writing.
    Path(path).write_text(render(history, run_id), encoding="utf-8", errors="backslashreplace", newline="\n")
