"""``harmony job submit`` and ``script``."""

from __future__ import annotations

import contextlib
import copy
import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import click

from harmony.cli.job_follow import FAILED, keep_when_final, make_executor, reported, status_of, tidy, verdict
from harmony.cli.job_records import Record, Records, complain
from harmony.cli.job_spec import make_spec
from harmony.errors import HarmonyError
from harmony.jobs import Job, JobExecutor, JobSpec

_STREAMS = ("stdin_path", "stdout_path", "stderr_path")


@reported
def submit(options: Mapping[str, Any]) -> int:
    """Submit what the options describe; return the exit status."""
    spec, records = make_spec(options), Records()
    jobs = _array(spec, options["array"]) if options["array"] else [Job(spec)]
    array = str(uuid.uuid4()) if options["array"] else None
    others = _others(options, records)
    records.prepare()
    executor = make_executor(options["executor"], options["work_directory"])
    kept: dict[str, Record] = {}
    keep_when_final(executor, records, lambda: kept)
    try:
        for other in {job.id: job for jobs_of in others.values() for job in jobs_of if not job.status.final}.values():
            executor.attach(other)
        problem = _hand_over(executor, jobs, others)
        work = str(executor.config.work_directory)
        for job in jobs:
            if job.native_id is not None:
                kept[job.id] = Record(job, options["executor"], work, time.time(), array)
        if not _keep_all(kept, records):
            return FAILED
        if problem is not None:
            return _refused(problem, kept, len(jobs))
        return _tell(kept, array, executor, options)
    finally:
        executor.close()
        with contextlib.suppress(OSError):  # it was said already
            for record in kept.values():
                records.keep(record)
        tidy(list(kept.values()))


def _array(spec: JobSpec, size: int) -> list[Job]:
    """The jobs of an array, with their numbers in the paths of their streams."""
    jobs = Job.array(spec, size)
    paths = {name: str(path) for name in _STREAMS if (path := getattr(spec, name)) is not None and "%a" in str(path)}
    for index, job in enumerate(jobs if paths else ()):
        job.spec = copy.copy(spec)
        for name, path in paths.items():
            setattr(job.spec, name, path.replace("%a", str(index)))
    return jobs


def _others(options: Mapping[str, Any], records: Records) -> dict[str, list[Job]]:
    """The jobs to wait for. Raises `click.UsageError` for those that this executor cannot wait for."""
    found = {kind: records.find(options[kind]) for kind in ("after", "after_ok", "after_any")}
    name = options["executor"]
    for record in (record for group in found.values() for record in group):
        if record.executor != name:
            raise click.UsageError(f"{record.label} is a job of {record.executor}; no job of {name} can wait for it")
        if name == "local" and not options["waits"]:
            raise click.UsageError(
                f"a local job that follows {record.label} is started by this command itself: add --wait, or use "
                f"`harmony job wait {record.label} && harmony job submit …`"
            )
    return {kind: [record.job for record in group] for kind, group in found.items()}


def _hand_over(executor: JobExecutor, jobs: Sequence[Job], others: Mapping[str, Sequence[Job]]) -> HarmonyError | None:
    try:
        executor.submit_all(jobs, **others)
    except HarmonyError as error:
        return error
    return None


def _keep_all(kept: Mapping[str, Record], records: Records) -> bool:
    written = True
    for record in kept.values():
        try:
            records.keep(record)
        except OSError as error:
            complain(
                f"{record.executor}:{record.job.native_id} is submitted, but its record cannot be written "
                f"({error.strerror}); `harmony job attach {record.executor} {record.job.native_id}` takes it up later"
            )
            written = False
    return written


def _refused(problem: HarmonyError, kept: Mapping[str, Record], wanted: int) -> int:
    complain(str(problem))
    if kept:
        complain(f"{len(kept)} of {wanted} jobs are submitted:")
        click.echo("\n".join(kept))
    return status_of(problem)


def _tell(kept: Mapping[str, Record], array: str | None, executor: JobExecutor, options: Mapping[str, Any]) -> int:
    found = list(kept.values())
    if not options["as_json"]:
        click.echo(array or found[0].job.id)
    status = 0
    if options["waits"]:
        try:
            for record in found:
                record.job.wait()
        except KeyboardInterrupt:
            complain(f"not waiting any more; `harmony job wait {array or found[0].job.id}` does")
            raise
        status = verdict(found)
    if options["as_json"] or status:
        from harmony.cli.job_show import explain, show_json

        show_json(found) if options["as_json"] else explain(found)
    return status


@reported
def script(options: Mapping[str, Any]) -> int:
    """Print the job script."""
    spec = make_spec(options)
    executor = make_executor(options["executor"], options["work_directory"])
    try:
        write = getattr(executor, "script", None)
        if write is None:
            raise click.UsageError(f"the executor {options['executor']!r} has no job scripts")
        click.echo(write(Job(spec)), nl=False)
    finally:
        executor.close()
    return 0
