"""``harmony runs``, ``status``, ``show``, ``report`` and ``gc``: what the store knows. Imported when one is called.

The status is 0 when what was asked for is shown or done, 1 when there is no such run, or the store cannot be read,
2 when the command line is wrong. With ``status --watch`` it tells how the run ended: 1 unless all went well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from harmony.store.history import History

Command = TypeVar("Command", bound=Callable[..., Any])

_STORE = click.option(
    "--store", metavar="PATH", help="The store; if not given, HARMONY_STORE, or the nearest .harmony from here upwards."
)
_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_RUN = click.argument("run", metavar="[RUN]", required=False)
_LIMIT = click.option("-n", "--limit", type=click.IntRange(min=1), metavar="N", help="Show N of them at most.")
_STATES = ("running", "done", "failed", "cancelled")


@contextmanager
def opened(store: str | None) -> Iterator[History]:
    """Open the history that a command line means; its errors are the command's."""
    from harmony.errors import StoreError
    from harmony.store.history import History
    from harmony.store.locate import find

    try:
        with History(find(store)) as history:
            yield history
    except StoreError as error:
        raise click.ClickException(str(error)) from error


@click.command("runs")
@_LIMIT
@_STORE
@_JSON
def runs_command(store: str | None, limit: int | None, as_json: bool) -> None:
    """Show the runs, the last one first."""
    from harmony.cli.history_runs import show_runs

    with opened(store) as history:
        show_runs(history, limit, as_json)


@click.command("status")
@_RUN
@click.option("-w", "--watch", is_flag=True, help="Show it again each second, until the run has ended.")
@_STORE
@_JSON
@click.pass_context
def status_command(context: click.Context, run: str | None, watch: bool, store: str | None, as_json: bool) -> None:
    """Show where a run is: its driver, its counts, what runs now, what failed last.

    RUN is a number, "last", or the name of a workflow: its last run. Without it, the last of all.
    """
    from harmony.cli.history_status import show_status, watch_status

    if watch and as_json:
        raise click.UsageError("--watch shows a run to a person; without it, --json can be asked as often as you like")
    with opened(store) as history:
        if watch:
            context.exit(watch_status(history, run))
        show_status(history, run, as_json)


@click.command("show")
@click.argument("run", metavar="RUN")
@click.argument("task", metavar="[TASK]", required=False)
@click.option("--tasks", "lists", is_flag=True, help="List the tasks.")
@click.option("--state", type=click.Choice(_STATES), help="List those in this state.")
@click.option("--name", metavar="NAME", help="List those of this name, or pattern: 'relax*'.")
@click.option("--order", type=click.Choice(["id", "slowest", "ended"]), help="List them in this order.")
@_LIMIT
@_STORE
@_JSON
def show_command(run: str, task: str | None, store: str | None, as_json: bool, **options: Any) -> None:
    """Show what a run came to, or one of its tasks.

    RUN is a number, "last", or the name of a workflow: its last run. TASK is a number, or the name of the only task
    that is called so.
    """
    from harmony.cli.history_show import show_run
    from harmony.cli.history_task import list_tasks, show_task

    asked = any(options[name] is not None for name in ("state", "name", "order", "limit"))
    lists = options.pop("lists") or asked
    if task is not None and lists:
        raise click.UsageError("a list of tasks was asked for, and one of them too; leave out the one or the other")
    with opened(store) as history:
        if task is not None:
            show_task(history, run, task, as_json)
        elif lists:
            list_tasks(history, run, options, as_json)
        else:
            show_run(history, run, as_json)


@click.command("report")
@_RUN
@click.option("-o", "--output", metavar="PATH", default="report.html", show_default=True, help="Write it here.")
@_STORE
def report_command(run: str | None, output: str, store: str | None) -> None:
    """Write a run as one page of HTML that needs no network.

    RUN is a number, "last", or the name of a workflow: its last run. Without it, the last of all.
    """
    from pathlib import Path

    from harmony.store.report import write_report

    with opened(store) as history:
        number = history.run(run).id
        try:
            write_report(history, number, Path(output))
        except OSError as error:
            raise click.ClickException(
                f"the report cannot be written to {output}: {error.strerror or error}"
            ) from error
    click.echo(f"run {number} is in {output}", err=True)


@click.command("gc", short_help="Remove old runs, and what is left over.")
@click.option("--older", metavar="AGE", help="Remove runs that ended longer ago: 12h, 30d, 8w.")
@click.option("--keep", type=click.IntRange(min=0), metavar="N", help="Keep the last N runs of each workflow.")
@click.option("--results", is_flag=True, help="Also remove results that no kept run has made or used.")
@click.option("--dry-run", is_flag=True, help="Remove nothing; say what would go.")
@_STORE
@_JSON
def gc_command(
    store: str | None, older: str | None, keep: int | None, results: bool, dry_run: bool, as_json: bool
) -> None:
    """Remove old runs, and what nothing refers to any more.

    With --older and --keep a run goes that is both old and beyond the last N. The last run of a workflow always stays
    unless --keep is 0, and so does each run that goes on. Without either no run goes, only what is left over:
    objects without a result, files of writers that were killed, locks that nobody has held for an hour.

    Results stay, so that nothing that was done is done again. With --results those go that no kept run has made or
    used; a workflow whose last run has not ended well keeps all that it may need to be resumed.
    """
    from harmony.cli.history_gc import seconds_of, show_garbage
    from harmony.store.gc import Limits

    limits = Limits(keep=keep, older=None if older is None else seconds_of(older), results=results)
    show_garbage(store, limits, dry_run=dry_run, as_json=as_json)
