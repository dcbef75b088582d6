"""``harmony job``: batch jobs from the shell. What the commands do is imported when one is called."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from harmony.cli.job_options import describes_a_job, work_directory

_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_JOBS = click.argument("names", metavar="JOB...", nargs=-1, required=True)


@click.group("job")
def job_command() -> None:
    """Batch jobs on any batch system: submit, look, wait, cancel.

    A JOB is the id that submit prints, or the beginning of it (at least 4 letters), or the batch system's id: 123, or
    slurm:123. The id of an array stands for all its jobs, ID.0 for its first.

    The status is 0 when all went well; 1 when a job failed, was cancelled or was refused; 2 when the command line or
    the specification is wrong; 75 when the batch system did not answer, and the same command may work later; 124 when a
    wait timed out; 130 after Ctrl-C, which ends the command and no job.
    """


@job_command.command(context_settings={"allow_interspersed_args": False})
@describes_a_job
@click.option("--after", multiple=True, metavar="JOB", help="Start when this job has started (repeatable).")
@click.option("--after-ok", multiple=True, metavar="JOB", help="Start when it has ended well (repeatable).")
@click.option("--after-any", multiple=True, metavar="JOB", help="Start when it has ended (repeatable).")
@click.option(
    "--array",
    type=click.IntRange(min=1),
    metavar="N",
    help="N jobs, each with its PSIJ_ARRAY_INDEX from 0; %a in the paths of its streams stands for that.",
)
@click.option("-w", "--wait", "waits", is_flag=True, help="Wait for the end; the status tells of it.")
@_JSON
@click.pass_context
def submit(context: click.Context, /, **options: Any) -> None:
    """Submit a job; print its id.

    What the program prints is dropped unless --stdout and --stderr say where to. Options go before the program.
    """
    from harmony.cli import job_submit

    context.exit(job_submit.submit(options))


@job_command.command(context_settings={"allow_interspersed_args": False})
@describes_a_job
@click.pass_context
def script(context: click.Context, /, **options: Any) -> None:
    """Print the job script that submit would hand to the batch system."""
    from harmony.cli import job_submit

    context.exit(job_submit.script(options))


@job_command.command()
@_JOBS
@_JSON
@click.pass_context
def status(context: click.Context, names: Sequence[str], as_json: bool) -> None:
    """Show the state of jobs."""
    from harmony.cli import job_look

    context.exit(job_look.status(names, as_json))


@job_command.command("list")
@click.option("--all", "everything", is_flag=True, help="Also those that have ended.")
@click.option("-x", "--executor", metavar="NAME", help="Only of this batch system.")
@click.option("--queue", is_flag=True, help="The ids of all your jobs in the queue of --executor, however submitted.")
@click.option("--forget", is_flag=True, help="Forget those that have ended, and show them for the last time.")
@work_directory
@_JSON
@click.pass_context
def list_jobs(context: click.Context, /, **options: Any) -> None:
    """Show the jobs submitted from here that have not ended."""
    from harmony.cli import job_look

    context.exit(job_look.list_jobs(**options))


@job_command.command()
@_JOBS
@click.option("--timeout", metavar="TIME", help="Give up after 90s, 2h, …; then the status is 124.")
@_JSON
@click.pass_context
def wait(context: click.Context, names: Sequence[str], timeout: str | None, as_json: bool) -> None:
    """Wait until jobs have ended; the status tells how."""
    from harmony.cli import job_look

    context.exit(job_look.wait(names, timeout, as_json))


@job_command.command()
@_JOBS
@click.option(
    "--grace", metavar="TIME", help="Send SIGTERM now, end the job surely after 30s, 5m, …, and wait for that."
)
@_JSON
@click.pass_context
def cancel(context: click.Context, names: Sequence[str], grace: str | None, as_json: bool) -> None:
    """End jobs; one that has ended already stays as it is."""
    from harmony.cli import job_look

    context.exit(job_look.cancel(names, grace, as_json))


@job_command.command()
@work_directory
@click.argument("executor", metavar="EXECUTOR")
@click.argument("native_ids", metavar="ID...", nargs=-1, required=True)
@_JSON
@click.pass_context
def attach(context: click.Context, /, **options: Any) -> None:
    """Take up jobs that were submitted by other means, by the batch system's ids."""
    from harmony.cli import job_look

    context.exit(job_look.attach(**options))
