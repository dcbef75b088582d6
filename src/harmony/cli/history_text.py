"""How history is told: tables, facts and times as text, the same on a terminal and elsewhere; values as JSON."""

from __future__ import annotations

import dataclasses
import enum
import json
import shutil
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

import click

from harmony.cli.pace import clock
from harmony.cli.summary import seconds
from harmony.resources import format_bytes

if TYPE_CHECKING:
    from harmony.core.report import Counts
    from harmony.store.rows import Run

_COLOURS = {
    "running": "cyan", "done": "green", "failed": "red", "stopped": "yellow", "cancelled": "yellow",
    "interrupted": "yellow",
}  # fmt: skip
_NUMBERS = frozenset(
    {
        "RUN", "TASK", "TASKS", "DONE", "RECALLED", "FAILED", "TOOK", "TOTAL", "MEAN", "CPU", "MEMORY", "FOR", "SIZE",
        "NUMBER", "TRIES",
    }
)  # fmt: skip


def coloured(word: str) -> str:
    """A state, in its colour; `click.echo` takes that away again where there is no terminal."""
    return click.style(word, fg=_COLOURS[word]) if word in _COLOURS else word


def printable(text: str) -> str:
    """The text without what would move a terminal's cursor; what a task printed may be in it."""
    return "".join(letter if letter.isprintable() or letter in "\n\t" else "?" for letter in text)


def line_of(text: str, width: int = 100) -> str:
    """The text in one line, its end left out where it is long."""
    line = printable(" ".join(text.split()))
    return line if len(line) <= width else f"{line[: width - 1]}…"


def moment(at: float | None) -> str:
    """A time of day, of seconds since the epoch."""
    try:
        return "" if at is None else time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))
    except (OverflowError, ValueError, OSError):
        return "?"


def duration(value: float | None) -> str:
    """A duration, or nothing where it is not known."""
    return "" if value is None else seconds(value)


def size(count: float | None) -> str:
    """A number of bytes, or nothing where it is not known."""
    return "" if count is None else format_bytes(count)


def took(run: Run) -> float:
    """Seconds that a run has taken: to its end, until now, or until it was last heard of."""
    if run.ended is not None:
        return run.ended
    return max(run.told, time.time() - run.began) if run.is_alive else run.told


def ago(run: Run) -> str:
    """How long a run takes or took, as a clock shows it."""
    return clock(took(run))


def times(run: Run) -> dict[str, str]:
    """When a run began, how long it took, or has gone on for, and the run that it resumes; for `facts`."""
    return {
        "began": moment(run.began),
        "took": "" if run.is_alive else ago(run),
        "for": ago(run) if run.is_alive else "",
        "resumes": "" if run.resumes is None else f"run {run.resumes}",
    }


def counted(counts: Counts) -> str:
    """Return ``200: 188 done (30 recalled), 10 failed, 2 cancelled``, leaving out what there is none of."""
    done = f"done ({counts.recalled} recalled)" if counts.recalled else "done"
    parts = [
        (counts.done, done), (counts.failed, "failed"), (counts.cancelled, "cancelled"), (counts.running, "running"),
        (counts.submitted, "submitted"), (counts.waiting, "waiting"),
    ]  # fmt: skip
    told = ", ".join(f"{count} {word}" for count, word in parts if count)
    return f"{counts.total}{': ' * bool(told)}{told}"


def facts(items: Mapping[str, str]) -> Iterator[str]:
    """Yield a line for each name with its value; none where the value is empty."""
    width = max((len(name) for name, value in items.items() if value), default=0)
    for name, value in items.items():
        if value:
            yield f"  {name:{width}}  {value}"


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], indent: str = "  ") -> Iterator[str]:
    """Yield the lines of a table, its columns aligned. What is in it must be in memory."""
    cells = [list(columns), *map(list, rows)]
    widths = [max(len(row[number]) for row in cells) for number in range(len(columns))]
    for row in cells:
        parts = [
            f"{cell:>{width}}" if column in _NUMBERS else f"{cell:{width}}"
            for cell, width, column in zip(row, widths, columns, strict=True)
        ]
        yield f"{indent}{'  '.join(parts).rstrip()}"


def echo_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print rows: aligned on a terminal, between tabs elsewhere, where they are printed as they come."""
    if not sys.stdout.isatty():
        for row in chain([columns], rows):
            click.echo("\t".join(cell.replace("\t", " ") for cell in row))
        return
    width = shutil.get_terminal_size().columns
    made = list(rows)
    states = [row[columns.index("STATE")] for row in made] if "STATE" in columns else [""] * len(made)
    for line, word in zip(table(columns, made, ""), ["", *states], strict=True):
        text = line if len(line) <= width else f"{line[: width - 1]}…"
        click.echo(text.replace(f" {word}", f" {coloured(word)}", 1) if word else text)


def echo_json(value: Any) -> None:
    """Print a value."""
    click.echo(json.dumps(plain(value), indent=2))


def echo_json_list(values: Iterable[Any]) -> None:
    """Print a list, an item a line, as they come."""
    separator = "["
    for value in values:
        click.echo(f"{separator}\n  {json.dumps(plain(value))}", nl=False)
        separator = ","
    click.echo("[]" if separator == "[" else "\n]")


def plain(value: Any) -> Any:
    """A value of `rows` as JSON has it: states by name, bytes in hex."""
    if isinstance(value, enum.Enum):
        return value.name.lower()
    if isinstance(value, bytes):
        return value.hex()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return {name: plain(item) for name, item in value._asdict().items()}
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


def run_facts(run: Run) -> dict[str, Any]:
    """A run as JSON."""
    found: dict[str, Any] = plain(run)
    found["status"] = run.status
    found["counts"]["total"] = run.total
    found["seconds"] = took(run)
    return found
