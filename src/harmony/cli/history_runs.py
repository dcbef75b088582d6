"""``harmony runs``: the runs of a store, in a table."""

from __future__ import annotations

from harmony.cli.history_text import ago, echo_json, echo_table, line_of, moment, run_facts
from harmony.store.history import History
from harmony.store.rows import Run

_COLUMNS = ("RUN", "WORKFLOW", "PROGRAM", "STATE", "TASKS", "DONE (RECALLED)", "FAILED", "BEGAN", "TOOK")


def show_runs(history: History, limit: int | None, as_json: bool) -> None:
    """Print the runs, the last one first."""
    runs = history.runs(limit)
    if as_json:
        echo_json([run_facts(run) for run in runs])
    else:
        echo_table(_COLUMNS, list(map(_row, runs)))


def _row(run: Run) -> tuple[str, ...]:
    counts = run.counts
    done = f"{counts.done} ({counts.recalled})" if counts.recalled else str(counts.done)
    return (
        str(run.id), line_of(run.workflow, 40), line_of(run.program, 60), run.status, str(run.total), done,
        str(counts.failed), moment(run.began), ago(run),
    )  # fmt: skip
