"""Tables: a run as the lines of its event stream (JSON), and as one row for each task (CSV)."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING

from harmony.events import VERSION
from harmony.store.exports.story import Story, iso, resources_of, stories
from harmony.store.exports.target import Target, text_target
from harmony.store.rows import Run

if TYPE_CHECKING:
    from harmony.store.history import History

#: The columns of the table of tasks. Times are seconds since the run began, sizes bytes.
COLUMNS = (
    "run", "id", "name", "kind", "state", "accepted", "started", "ended", "seconds", "cpu", "memory", "read",
    "written", "engine", "place", "attempts", "path", "origin_run", "origin_task", "cores", "started_at", "ended_at",
    "parents", "command", "error", "message", "exit_code", "signal", "shape",
)  # fmt: skip


def write_jsonl(history: History, run_id: int, target: Target, *, force: bool = False) -> None:
    """Write the event stream of a run, an event a line: version, kind, subject, time, monotonic, data.

    Kinds and fields are those of the catalogue, `harmony.events.CATALOGUE`, of that version.
    """
    history.run(run_id)
    with text_target(target, force) as stream:
        for event in history.events(run_id):
            line = {"version": VERSION, **event}
            stream.write(json.dumps(line, ensure_ascii=False, separators=(",", ":"), default=str) + "\n")


def write_csv(history: History, run_id: int, target: Target, *, force: bool = False) -> None:
    """Write one row for each task that has begun or ended, with `COLUMNS`. What is not known is an empty field."""
    run = history.run(run_id)
    with text_target(target, force) as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(_cells(run, story) for story in stories(history, run_id))


def _cells(run: Run, story: Story) -> list[object]:
    row = story.row
    values = dict(row._asdict())
    values["state"] = row.state.name.lower()
    values["cores"] = resources_of(row.shape).cores
    values["started_at"] = None if row.started is None else iso(run.wall(row.started))
    values["ended_at"] = None if row.ended is None else iso(run.wall(row.ended))
    values["parents"] = " ".join(map(str, story.parents))
    values["command"] = story.command
    last = story.failures[-1] if story.failures and row.state.name == "FAILED" else None
    if last is not None:
        values.update(error=last.type, message=last.message, exit_code=last.exit_code, signal=last.signal)
    return [values.get(column) for column in COLUMNS]
