"""The commands and their options. What they do is imported when one is called, so that ``--help`` is quick."""

from __future__ import annotations

import atexit
import importlib
import json
import os
import sys
from typing import Any, NoReturn

import click

import harmony
from harmony.cli.ending import Ending


def main() -> NoReturn:
    """Run the command line of this process and exit with its status."""
    ending = Ending()
    atexit.register(ending.conclude)  # registered first, so it is called last
    try:
        status = harmony_command.main(prog_name="harmony", standalone_mode=False, obj=ending) or 0
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except click.Abort:  # Ctrl-C while the options are read
        sys.exit(130)
    ending.status = status
    sys.exit(status)


#: Commands that are imported when they are asked for, and where they are.
_ELSEWHERE = {
    "doctor": "harmony.cli.doctor",
    "export": "harmony.cli.export",
    "gc": "harmony.cli.history",
    "job": "harmony.cli.job",
    "report": "harmony.cli.history",
    "runs": "harmony.cli.history",
    "show": "harmony.cli.history",
    "sites": "harmony.cli.sites",
    "status": "harmony.cli.history",
}


class _Commands(click.Group):
    """The commands, some of which are elsewhere."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names, in the order of the help."""
        return sorted([*super().list_commands(ctx), *_ELSEWHERE])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command of that name."""
        if cmd_name in _ELSEWHERE:
            command: click.Command = getattr(importlib.import_module(_ELSEWHERE[cmd_name]), f"{cmd_name}_command")
            return command
        return super().get_command(ctx, cmd_name)


@click.group("harmony", cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(harmony.__version__, message="harmony %(version)s")
def harmony_command() -> None:
    """Workflows of Python functions and commands, on any engine."""


@harmony_command.command(
    short_help="Run a program, or replay a workflow.", context_settings={"allow_interspersed_args": False}
)
@click.option("--engine", metavar="NAME", help="Run on this engine, whatever the program says.")
@click.option("--site", metavar="NAME", help="Run in batch jobs of this site; see `harmony sites`.")
@click.option("--workers", type=click.IntRange(min=1), metavar="N", help="Give the engine N workers.")
@click.option(
    "--store", metavar="PATH", help="Record the run here; 'none' for nowhere. Default: .harmony beside PROGRAM."
)
@click.option("--fresh", is_flag=True, help="Run every task, also those that an earlier run has done.")
@click.option("-q", "--quiet", is_flag=True, help="No progress, no report; failed tasks are told in one line.")
@click.option("--scale", type=float, metavar="X", help="WORKFLOW.json: multiply the run times by X.")
@click.option("--size-scale", type=float, metavar="X", help="WORKFLOW.json: multiply the file sizes by X.")
@click.option("--directory", type=click.Path(file_okay=False), help="WORKFLOW.json: keep the files here.")
@click.argument("program", metavar="PROGRAM.py|WORKFLOW.json")
@click.argument("arguments", metavar="[ARGS]...", nargs=-1, type=click.UNPROCESSED)
@click.pass_obj
def run(
    ending: Ending, /, program: str, arguments: tuple[str, ...], engine: str | None, workers: int | None, **options: Any
) -> int:
    """Run a program with progress and an end report, or replay a WfFormat workflow.

    Options go before the program; everything behind it is the program's. With a terminal, stderr shows the tasks
    by state, their rate and the time left. The status is 0 when the program ended well and no task failed,
    1 otherwise, and 2 when the command line is wrong; a status that the program itself gives is kept.
    """
    _check_program(program)
    _check_engine(engine)
    from harmony.cli.program import run_program
    from harmony.cli.replay import run_replay
    from harmony.cli.watch import Watch

    decided = {name: options.pop(name) for name in ("site", "store", "fresh")}
    watch = Watch(quiet=options.pop("quiet"), engine=engine, workers=workers, **decided)
    given = {name: value for name, value in options.items() if value is not None}
    if not program.endswith(".json"):
        if given:
            raise click.UsageError(f"{_flags(given)} is for a WORKFLOW.json; the program's options go behind its name")
        return run_program(program, arguments, watch, ending)
    if arguments:
        raise click.UsageError(f"a workflow takes no arguments, here {arguments[0]!r}; options go before its name")
    return run_replay(program, given, watch, ending)


def _check_program(program: str) -> None:
    if os.path.isdir(program):
        raise click.UsageError(f"{program!r} is a directory; give the program or the workflow in it")
    if not os.path.exists(program):
        raise click.UsageError(f"there is no program {program!r}{_did_you_mean(program)}")
    if not os.access(program, os.R_OK):
        raise click.UsageError(f"{program!r} cannot be read")


def _did_you_mean(program: str) -> str:
    import difflib

    directory, name = os.path.split(program)
    try:
        there = os.listdir(directory or ".")
    except OSError:
        return f"; nor is there a directory {directory!r}"
    near = difflib.get_close_matches(name, there, n=1)
    return f"; did you mean {os.path.join(directory, near[0])!r}?" if near else ""


def _check_engine(engine: str | None) -> None:
    if engine is None:
        return
    from harmony import plugins
    from harmony.errors import PluginError

    try:
        plugins.load(plugins.ENGINES, engine)
    except PluginError as error:
        raise click.UsageError(f"--engine: {error}") from error


def _flags(options: dict[str, Any]) -> str:
    return ", ".join(f"--{name.replace('_', '-')}" for name in options)


@harmony_command.command(short_help="Print the version and the system.")
@click.option("-v", "--verbose", is_flag=True, help="Also this machine, its engines, and what is installed.")
@click.option("--json", "as_json", is_flag=True, help="All of it, as JSON.")
def version(verbose: bool, as_json: bool) -> None:
    """Print the version, and what a report of a problem should say about the system."""
    if not verbose and not as_json:
        click.echo(f"harmony {harmony.__version__}")
        return
    from harmony import system

    if as_json:
        click.echo(json.dumps(system.describe(), indent=2))
    else:
        click.echo(system.text(system.describe()))
