"""``harmony export``: a run of the store in the format of others. What it does is imported when it is called."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from harmony.store.history import History

#: Format → what `--help` and errors call it.
FORMATS = {
    "rocrate": "Workflow Run RO-Crate, a directory or a .zip",
    "wfformat": "WfFormat 1.5",
    "trace": "the trace format of Chrome and Perfetto",
    "jsonl": "events, one a line",
    "csv": "tasks, one a row",
}


@click.command("export")
@click.argument("run", metavar="RUN")
@click.option(
    "-f", "--format", "format_", type=click.Choice(list(FORMATS)), required=True,
    help="; ".join(f"{name}: {what}" for name, what in FORMATS.items()) + ".",
)  # fmt: skip
@click.option("-o", "--output", required=True, metavar="PATH", help="Write here; - is stdout.")
@click.option("--force", is_flag=True, help="Replace what is there.")
@click.option("--license", metavar="NAME|URL", help="rocrate: under which terms it may be used, as SPDX calls them.")
@click.option("--store", metavar="PATH", help="The store; if not given, HARMONY_STORE, or the nearest .harmony.")
def export_command(run: str, format_: str, output: str, force: bool, license: str | None, store: str | None) -> None:
    """Write a run in a format that other tools read.

    RUN is a number, "last", or the name of a workflow: its last run. A run that is still going, or was interrupted, is
    exported as far as it came. The status is 0 when it was written, 1 when it could not be, 2 when the command line is
    wrong.
    """
    if format_ == "rocrate" and output == "-":
        raise click.UsageError("-o -: an RO-Crate is files, not text; give a directory or a name that ends in .zip")
    if license is not None and format_ != "rocrate":
        raise click.UsageError(f"--license is for --format rocrate; {format_} has no place for it")
    from harmony.cli.history import opened
    from harmony.store.exports import remark

    try:
        with opened(store) as history:
            found = history.run(run)
            _write(history, found.id, format_, output, force=force, license=license)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise click.ClickException(f"{output}: {error.strerror or error}") from error
    special = remark(found)
    if special is not None:
        click.echo(special, err=True)


def _write(history: History, run: int, format_: str, output: str, *, force: bool, license: str | None) -> None:
    from harmony.store import exports

    if format_ == "rocrate":
        exports.write_rocrate(history, run, output, force=force, license=license)
        return
    writers: dict[str, Callable[..., Any]] = {
        "wfformat": exports.write_wfformat,
        "trace": exports.write_trace,
        "jsonl": exports.write_jsonl,
        "csv": exports.write_csv,
    }
    writers[format_](history, run, sys.stdout if output == "-" else output, force=force)
