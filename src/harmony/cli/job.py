"""``harmony job``: batch jobs from the shell, on any batch system."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any

import click

from harmony.cli.job_options import describes_a_job, make_spec
from harmony.cli.job_records import Record, Records, followed, make_executor
from harmony.errors import HarmonyError, JobError, SubmitException
from harmony.jobs import BatchJobExecutor, Job, JobAttributes, JobState

#: Exit statuses, beside 0: a job ended badly; a command line that is wrong is 2; not taken or not cancelled, but it may
#: work later (as sysexits' EX_TEMPFAIL); the time-out of ``wait``, as timeout(1) has it.
FAILED, TRY_LATER, TIMED_OUT = 1, 75, 124

_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_JOBS = click.argument("names", metavar="JOB...", nargs=-1, required=True)


@click.group("job")
def job_command() -> None:
    """Batch jobs on any batch system: submit, look, wait, cancel.

    A JOB is the id that submit prints, the beginning of it, or the batch system's id (123, or slurm:123). The status is
    0 when all went well, 1 when a job failed or was cancelled, 2 when the command line is wrong, 75 when the batch
    system did not answer and the same command may work later, 124 when a wait timed out.
    """


@job_command.command(context_settings={"allow_interspersed_args": False})
@describes_a_job
@click.option("--after", multiple=True, metavar="JOB", help="Start when this job has started (repeatable).")
@click.option("--after-ok", multiple=True, metavar="JOB", help="… has ended well.")
@click.option("--after-any", multiple=True, metavar="JOB", help="… has ended.")
@click.option("--array", type=click.IntRange(min=1), metavar="N", help="N jobs, each with its PSIJ_ARRAY_INDEX.")
@click.option("-w", "--wait", "waits", is_flag=True, help="Wait for the end; the status tells of it.")
@_JSON
@click.pass_context
def submit(context: click.Context, **options: Any) -> None:
    """Submit a job; print its id."""
    spec, records = make_spec(options), Records()
    jobs = Job.array(spec, options["array"]) if options["array"] else [Job(spec)]
    others = {kind: _native_ids(records, options[kind]) for kind in ("after", "after_ok", "after_any")}
    kept: list[Record] = []
    try:
        executor = make_executor(options["executor"])
        try:
            executor.submit_all(jobs, **others)
        finally:
            kept = [Record(job, options["executor"], time.time()) for job in jobs if job.native_id is not None]
            for record in kept:
                records.keep(record)
            if options["waits"] and len(kept) == len(jobs):
                executor.wait_all()
                for record in kept:
                    records.keep(record)
            executor.close()
    except HarmonyError as error:
        _stop(error)
    if options["waits"]:
        _show(kept, options["as_json"])
        context.exit(_verdict(kept))
    if options["as_json"]:
        click.echo(json.dumps([_facts(record) for record in kept], indent=2))
    else:
        for record in kept:
            click.echo(record.job.id)


@job_command.command(context_settings={"allow_interspersed_args": False})
@describes_a_job
def script(**options: Any) -> None:
    """Print the job script that submit would hand to the batch system."""
    spec = make_spec(options)
    try:
        executor = make_executor(options["executor"])
        try:
            if not isinstance(executor, BatchJobExecutor):
                raise click.UsageError(f"the executor {options['executor']!r} needs no job script")
            click.echo(executor.script(Job(spec)), nl=False)
        finally:
            executor.close()
    except HarmonyError as error:
        _stop(error)


@job_command.command()
@_JOBS
@_JSON
def status(names: Sequence[str], as_json: bool) -> None:
    """Show the state of jobs."""
    records = Records()
    found = records.find(names)
    _refresh(found, records)
    _show(found, as_json)


@job_command.command("list")
@click.option("--all", "everything", is_flag=True, help="Also those that have ended.")
@click.option("-x", "--executor", metavar="NAME", help="Only of this batch system.")
@click.option("--queue", is_flag=True, help="All your jobs in the queue of --executor, whoever submitted them.")
@click.option("--forget", is_flag=True, help="Forget those that have ended.")
@_JSON
def list_jobs(everything: bool, executor: str | None, queue: bool, forget: bool, as_json: bool) -> None:
    """Show the jobs submitted from here that have not ended."""
    if queue:
        _show_queue(executor, as_json)
        return
    records = Records()
    found = [record for record in records.all() if executor in (None, record.executor)]
    _refresh(found, records)
    if forget:
        for record in found:
            if record.job.status.final:
                records.forget(record)
    _show([record for record in found if everything or not record.job.status.final], as_json)


@job_command.command()
@_JOBS
@click.option("--timeout", metavar="TIME", help="Give up after 90s, 2h, …; then the status is 124.")
@_JSON
@click.pass_context
def wait(context: click.Context, names: Sequence[str], timeout: str | None, as_json: bool) -> None:
    """Wait until jobs have ended; the status tells how."""
    try:
        seconds = None if timeout is None else JobAttributes.parse_walltime(timeout).total_seconds()
    except ValueError as error:
        raise click.UsageError(f"--timeout: {error}") from error
    records = Records()
    context.exit(_wait(records.find(names), records, seconds, as_json))


@job_command.command()
@_JOBS
@click.option(
    "--grace", type=click.FloatRange(min=0), metavar="SECONDS", help="SIGTERM now, the sure end so much later."
)
def cancel(names: Sequence[str], grace: float | None) -> None:
    """End jobs; one that has ended already stays as it is."""
    records = Records()
    found = records.find(names)
    try:
        with followed(found, records):
            for record in found:
                record.job.cancel(grace)
            if grace:
                for record in found:
                    record.job.wait(grace + 60)
    except HarmonyError as error:
        _stop(error)


@job_command.command()
@click.argument("executor", metavar="EXECUTOR")
@click.argument("native_ids", metavar="ID...", nargs=-1, required=True)
@_JSON
def attach(executor: str, native_ids: Sequence[str], as_json: bool) -> None:
    """Take up jobs that were submitted by other means, by the batch system's ids."""
    records = Records()
    found = []
    try:
        with_executor = make_executor(executor)
        try:
            for native_id in native_ids:
                job = Job()
                with_executor.attach(job, native_id)
                found.append(Record(job, executor, time.time()))
            with_executor.refresh()
        finally:
            with_executor.close()
    except HarmonyError as error:
        _stop(error)
    for record in found:
        records.keep(record)
    _show(found, as_json)


# -- what they share ---------------------------------------------------------------------------------------


def _stop(error: HarmonyError) -> None:
    click.echo(f"harmony: {error}", err=True)
    later = isinstance(error, SubmitException) and error.transient
    raise SystemExit(TRY_LATER if later else FAILED if isinstance(error, JobError) else 2)


def _native_ids(records: Records, names: Sequence[str]) -> list[str]:
    return [str(record.job.native_id) for record in records.find(names)]


def _refresh(found: Sequence[Record], records: Records) -> None:
    try:
        with followed(found, records):
            pass
    except HarmonyError as error:
        _stop(error)


def _wait(found: Sequence[Record], records: Records, seconds: float | None, as_json: bool) -> int:
    deadline = None if seconds is None else time.monotonic() + seconds
    try:
        with followed(found, records):
            for record in found:
                record.job.wait(None if deadline is None else max(0.0, deadline - time.monotonic()))
    except HarmonyError as error:
        _stop(error)
    _show(found, as_json)
    return _verdict(found)


def _verdict(found: Sequence[Record]) -> int:
    if not all(record.job.status.final for record in found):
        return TIMED_OUT
    return 0 if all(record.job.status.state is JobState.COMPLETED for record in found) else FAILED


def _facts(record: Record) -> dict[str, Any]:
    job = record.job
    return {
        "id": job.id,
        "executor": record.executor,
        "native_id": job.native_id,
        "name": job.name,
        "submitted": record.submitted,
        **{f"{name}": value for name, value in job.status.to_dict().items()},
    }


def _show(found: Sequence[Record], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps([_facts(record) for record in found], indent=2))
        return
    from harmony.cli.job_table import show

    show([_facts(record) for record in found])


def _show_queue(executor: str | None, as_json: bool) -> None:
    if executor is None:
        raise click.UsageError("--queue needs --executor NAME")
    try:
        with_executor = make_executor(executor)
        try:
            ids = with_executor.list()
        finally:
            with_executor.close()
    except HarmonyError as error:
        _stop(error)
    click.echo(json.dumps(ids) if as_json else "\n".join(ids), nl=as_json or bool(ids))
