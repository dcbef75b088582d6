"""``harmony show RUN TASK``, and the list of a run's tasks."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import click

from harmony.cli.history_text import (
    coloured,
    duration,
    echo_json,
    echo_json_list,
    echo_table,
    facts,
    line_of,
    moment,
    plain,
    printable,
    size,
    table,
)
from harmony.core.task import TaskState
from harmony.errors import StoreError
from harmony.store.history import History
from harmony.store.rows import AttemptRow, FailureRow, FileRow, Relative, Run, TaskDetail, TaskRow, load_object

#: So many tasks are listed on a terminal, unless --limit says otherwise; so many relatives of a task are named.
_LISTED, _RELATIVES = 200, 12
_COLUMNS = ("TASK", "NAME", "KIND", "STATE", "BEGAN", "TOOK", "CPU", "MEMORY", "TRIES", "PLACE")


# -- a list ------------------------------------------------------------------------------------------------


def list_tasks(history: History, which: str, options: Mapping[str, Any], as_json: bool) -> None:
    """Print the tasks that the options choose."""
    run = history.run(which)
    state = None if options["state"] is None else TaskState[options["state"].upper()]
    limit = options["limit"]
    cut = _LISTED if limit is None and not as_json and sys.stdout.isatty() else limit
    found = history.tasks(
        run.id,
        state=state,
        name=options["name"],
        order=options["order"] or "id",
        limit=None if cut is None else cut + (limit is None),
    )
    if as_json:
        echo_json_list({**plain(task), "shape": load_object(task.shape)} for task in found)
    elif cut is None or limit is not None:
        echo_table(_COLUMNS, (_row(run, task) for task in found))
    else:
        tasks = list(found)
        echo_table(_COLUMNS, [_row(run, task) for task in tasks[:cut]])
        if len(tasks) > cut:
            click.echo(f"these are the first {cut}; there are more: --limit N, or | less", err=True)


def _row(run: Run, task: TaskRow) -> tuple[str, ...]:
    return (
        str(task.id), line_of(task.name, 40), task.kind, task.state.name.lower(),
        "" if task.started is None else moment(run.wall(task.started)),
        "" if task.started is None else duration(task.seconds), duration(task.cpu),
        size(task.memory), str(task.attempts), _place(task),
    )  # fmt: skip


def _place(task: TaskRow) -> str:
    return f"run {task.origin_run}" if task.origin_run is not None else line_of(task.place or "", 40)


# -- one task ----------------------------------------------------------------------------------------------


def show_task(history: History, which: str, name: str, as_json: bool) -> None:
    """Print all that is known of a task."""
    run = history.run(which)
    detail = history.task(run.id, _number(history, run, name))
    if as_json:
        found = plain(detail)
        row = found.pop("row")
        echo_json({**row, **found, "shape": load_object(detail.row.shape), "began": run.began})
        return
    for line in _lines(run, detail):
        click.echo(line)


def _number(history: History, run: Run, name: str) -> int:
    if name.isdecimal():
        return int(name)
    found = list(islice(history.tasks(run.id, name=name), 6))
    if len(found) == 1:
        return found[0].id
    if found:
        ids = ", ".join(str(task.id) for task in found[:5]) + ", …" * (len(found) > 5)
        raise StoreError(f"several tasks of run {run.id} are called {name!r}: {ids}; give the number of one")
    import difflib

    names = [row.name for row in history.summary(run.id).names]
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise StoreError(f"no task of run {run.id} that has begun to run is called {name!r}{hint}")


def _lines(run: Run, detail: TaskDetail) -> Iterator[str]:
    task = detail.row
    yield f"task {task.id} of run {run.id}, {line_of(task.name)}: {coloured(task.state.name.lower())}"
    yield from facts(_about(run, detail))
    if detail.attempts:
        yield "attempts"
        rows = [_attempt(run, attempt) for attempt in detail.attempts]
        yield from table(("NUMBER", "STATE", "ENGINE", "PLACE", "BEGAN", "TOOK"), rows)
    for failure in detail.failures:
        yield from _failure(failure)
    if detail.files:
        yield "files"
        yield from table(("ROLE", "SIZE", "CHANGED", "PATH"), list(map(_file, detail.files)))
    for title, text in (("stdout", detail.stdout), ("stderr", detail.stderr)):
        if text:
            yield title
            yield from _indented(text)


def _about(run: Run, detail: TaskDetail) -> dict[str, str]:
    task = detail.row
    recalled = f"task {task.origin_task} of run {task.origin_run}"
    return {
        "kind": task.kind,
        "recalled from": "" if task.origin_run is None else recalled,
        "asks for": _asked(load_object(task.shape)),
        "command": printable(detail.command or ""),
        "accepted": _when(run, task.accepted),
        "began": _when(run, task.started),
        "ended": _when(run, task.ended),
        "took": duration(task.seconds) if task.started is not None else "",
        "CPU": duration(task.cpu),
        "memory": size(task.memory),
        "read": size(task.read),
        "written": size(task.written),
        "place": ", ".join(line_of(part) for part in (task.engine, task.place) if part),
        "waited for": _named(detail.parents),
        "waited by": _named(detail.children),
        "content": "" if detail.key is None else detail.key.hex(),
    }


def _when(run: Run, since: float | None) -> str:
    return "" if since is None else f"{moment(run.wall(since))}, {duration(since)} into the run"


def _asked(shape: Mapping[str, Any]) -> str:
    """What a task asks for that is not the default."""
    parts = []
    for name, value in shape.items():
        if isinstance(value, dict) and name != "environment":
            parts += [f"{key}={_value(item)}" for key, item in value.items() if item not in (None, False)]
        elif value not in (None, {}, [], 0, False):
            parts.append(f"{name}={_value(value)}")
    return line_of(", ".join(parts), 300)


def _value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _named(relatives: Sequence[Relative]) -> str:
    shown = [f"{relative.id} ({line_of(relative.name or 'not run yet', 40)})" for relative in relatives[:_RELATIVES]]
    more = len(relatives) - _RELATIVES
    return ", ".join(shown) + (f", and {more} more" if more > 0 else "")


def _attempt(run: Run, attempt: AttemptRow) -> tuple[str, ...]:
    return (
        str(attempt.number), attempt.state.name.lower(), line_of(attempt.engine or ""), line_of(attempt.place or ""),
        "" if attempt.started is None else moment(run.wall(attempt.started)), duration(attempt.seconds),
    )  # fmt: skip


def _failure(failure: FailureRow) -> Iterator[str]:
    yield f"error of attempt {failure.attempt}" if failure.root else "error"
    yield from _indented(f"{failure.type}: {failure.message}")
    if failure.exit_code is not None:
        yield f"  exit code {failure.exit_code}"
    if failure.signal is not None:
        yield f"  signal {failure.signal}"
    if failure.arguments:
        yield f"  called with {line_of(failure.arguments, 300)}"
    if failure.traceback:
        yield from _indented(failure.traceback)


def _file(file: FileRow) -> tuple[str, ...]:
    changed = "" if file.mtime is None else moment(file.mtime / 1e9)
    return (file.role, size(file.size), changed, printable(file.path))


def _indented(text: str) -> Iterator[str]:
    for line in printable(text.rstrip("\n")).split("\n"):
        yield f"  {line}".rstrip()
