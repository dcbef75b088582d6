"""``harmony doctor``: which engines and schedulers are here, whether they work, and what is missing."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

import click

import harmony
from harmony.cli.history_text import line_of, printable
from harmony.cli.summary import seconds

if TYPE_CHECKING:
    from collections.abc import Callable

    from harmony.cli.doctor_findings import Finding, Trials

#: Counts the forms of the JSON: a field that goes or changes its meaning makes the next, one that is added does not.
SCHEMA = 1
_COLUMNS = ("KIND", "NAME", "STATE", "TOOK", "VERSION", "NOTE")
_COLOURS = {"works": "green", "found": "cyan", "fails": "red", "missing": "yellow"}
#: The most letters of a note; the JSON has all.
_NOTE = 160
#: So many lines of what a trial printed are shown when it has failed.
_LINES = 5


@click.command("doctor", short_help="Which engines and schedulers work here, and what is missing.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--no-smoke", is_flag=True, help="Only look: import engines, look for commands, run nothing.")
@click.option("--submit", is_flag=True, help="Have each scheduler run a job that does nothing.")
@click.option(
    "--timeout", type=click.FloatRange(min=0, min_open=True), default=60.0, show_default=True, metavar="SECONDS",
    help="The most that one trial may take; with --submit, also the most that a job may wait.",
)  # fmt: skip
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.pass_context
def doctor_command(
    context: click.Context, names: tuple[str, ...], as_json: bool, no_smoke: bool, submit: bool, timeout: float
) -> None:
    """Say which engines and schedulers work here, and how those that are missing are installed.

    Of each engine that is installed, one call and one command are run on one worker; each scheduler is asked for this
    user's jobs. That is done in processes of their own, two at a time. With NAMEs, only these are looked at.

    The status is 0 when all that is installed works, and all NAMEs do; 1 otherwise.
    """
    if no_smoke and submit:
        raise click.UsageError("--submit runs a job, and --no-smoke runs nothing; give one of them")
    from harmony.cli.doctor_findings import Trials

    trials = Trials(smoke=not no_smoke, submit=submit, timeout=timeout)
    date = datetime.now().astimezone().isoformat(timespec="seconds")
    findings = _examine(names, trials)
    bad = {"fails", "missing"} if names else {"fails"}
    is_well = not any(finding.state in bad for finding in findings)
    if as_json:
        click.echo(json.dumps(_document(date, trials, findings, is_well), indent=2))
    else:
        _show(date, findings)
    context.exit(0 if is_well else 1)


def _examine(names: Sequence[str], trials: Trials) -> list[Finding]:
    from harmony.cli.doctor_findings import examine
    from harmony.cli.doctor_needs import registered
    from harmony.errors import PluginError

    try:
        subjects = registered(names)
    except PluginError as error:
        raise click.UsageError(str(error)) from error
    with _progress() as tell:
        return examine(subjects, trials, tell)


@contextmanager
def _progress() -> Iterator[Callable[[Sequence[str]], None]]:
    """Show, on a terminal, what is under trial."""
    from harmony.cli.terminal import Terminal

    if not Terminal.is_there():
        yield lambda names: None
        return
    from rich.console import Console

    with Console(stderr=True).status("looking …") as status:
        yield lambda names: status.update(f"trying {', '.join(names)} …")


def _document(date: str, trials: Trials, findings: Sequence[Finding], is_well: bool) -> dict[str, Any]:
    from harmony import system

    return {
        "schema": SCHEMA,
        "date": date,
        "all_well": is_well,
        "trials": {"smoke": trials.smoke, "submit": trials.submit, "timeout": trials.timeout},
        "system": system.machine(),
        "findings": [finding.as_dict() for finding in findings],
    }


# -- for people -------------------------------------------------------------------------------------------


def _show(date: str, findings: Sequence[Finding]) -> None:
    """A table where stdout is a terminal, lines with tabs elsewhere."""
    if not sys.stdout.isatty():
        for row in (_COLUMNS, *map(_row, findings)):
            click.echo("\t".join(cell.replace("\t", " ") for cell in row))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    console.print(f"harmony {harmony.__version__}, Python {sys.version.split()[0]}, {date}", markup=False)
    table = Table(box=None, pad_edge=False, header_style="")
    for column in _COLUMNS:
        justify: Literal["left", "right"] = "right" if column == "TOOK" else "left"
        table.add_column(column, justify=justify, overflow="fold", no_wrap=column != "NOTE")
    absent = [finding for finding in findings if finding.kind == "scheduler" and finding.state == "missing"]
    for finding in findings:
        if finding not in absent:
            kind, name, state, took, versions, note = _row(finding)
            table.add_row(kind, name, Text(state, _COLOURS[state]), took, versions.replace(", ", "\n"), Text(note))
    console.print(table)
    if absent:
        names = ", ".join(finding.name for finding in absent)
        console.print(f"schedulers whose commands are not here: {names}", markup=False)
    for finding in findings:
        if finding.output and (lines := printable(finding.output).rstrip().splitlines()):
            console.print(f"\nthe end of what the trial of {finding.name} printed:", markup=False)
            console.print("\n".join(f"  {line}" for line in lines[-_LINES:]), markup=False)


def _row(finding: Finding) -> tuple[str, ...]:
    versions = ", ".join(_version(finding, *item) for item in finding.versions.items())
    took = "" if finding.seconds is None else seconds(finding.seconds)
    return finding.kind, finding.name, finding.state, took, versions, _note(finding)


def _version(finding: Finding, name: str, number: str) -> str:
    from harmony.system import DISTRIBUTION

    return number if name == finding.name else f"{'harmony' if name == DISTRIBUTION else name} {number}"


def _note(finding: Finding) -> str:
    if finding.problem:
        return line_of(finding.problem, _NOTE)
    if finding.install:
        return finding.install
    if finding.missing:
        return line_of(f"not here: {', '.join(finding.missing)}", _NOTE)
    steps = ((name, finding.times.get(name)) for name in ("start", "call", "command", "queue", "job"))
    return ", ".join(f"{name} {seconds(taken)}" for name, taken in steps if taken is not None)
