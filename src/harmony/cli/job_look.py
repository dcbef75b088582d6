"""``harmony job status``, ``list``, ``wait``, ``cancel`` and ``attach``: what concerns jobs that are submitted."""

from __future__ import annotations

import time
from collections.abc import Sequence

import click

from harmony.cli.job_follow import (
    FAILED,
    TRY_LATER,
    WRONG,
    followed,
    keep_when_final,
    make_executor,
    reported,
    status_of,
    tidy,
    verdict,
)
from harmony.cli.job_records import Record, Records, complain
from harmony.cli.job_show import explain, show, show_json
from harmony.errors import HarmonyError
from harmony.jobs import Job, JobAttributes, JobState, Reason
from harmony.jobs.executor import EXECUTORS
from harmony.plugins import load

#: How long a local job may take to be gone after its grace, and one of a batch system after a cancel with one.
_GONE_WITHIN = 60.0


@reported
def status(names: Sequence[str], as_json: bool) -> int:
    """Show jobs; return the exit status."""
    records = Records()
    found = records.find(names)
    with followed(found, records) as following:
        code = _reached(following.silent, bool(following.lost))
    show(found, as_json)
    if not as_json:
        explain(found)
    return code


def _reached(silent: bool, lost: bool) -> int:
    return WRONG if lost else TRY_LATER if silent else 0


@reported
def list_jobs(
    everything: bool, executor: str | None, queue: bool, forget: bool, work_directory: str | None, as_json: bool
) -> int:
    """Show the jobs that there are; return the exit status."""
    if queue:
        return _queue(executor, work_directory, as_json)
    records = Records()
    found = [record for record in records.all(ended=everything or forget) if executor in (None, record.executor)]
    if executor is not None and not found:
        load(EXECUTORS, executor)  # or it is a slip of the pen
    with followed(found, records) as following:
        code = TRY_LATER if following.silent else 0
    if forget:
        for record in found:
            if record.job.status.final:
                records.forget(record)
    show([record for record in found if everything or forget or not record.job.status.final], as_json)
    return code


def _queue(executor: str | None, work_directory: str | None, as_json: bool) -> int:
    if executor is None:
        raise click.UsageError("--queue needs --executor NAME")
    made = make_executor(executor, work_directory)
    try:
        ids = made.list()
    finally:
        made.close()
    if as_json:
        import json

        click.echo(json.dumps(ids))
    else:
        click.echo("".join(f"{native_id}\n" for native_id in ids), nl=False)
    return 0


@reported
def wait(names: Sequence[str], timeout: str | None, as_json: bool) -> int:
    """Wait for jobs; return the exit status."""
    seconds = _seconds("--timeout", timeout)
    deadline = None if seconds is None else time.monotonic() + seconds
    records = Records()
    found = records.find(names)
    try:
        with followed(found, records) as following:
            if following.lost:
                return WRONG
            for record in found:
                record.job.wait(None if deadline is None else max(0.0, deadline - time.monotonic()))
    except KeyboardInterrupt:
        complain("not waiting any more; the jobs go on")
        raise
    show(found, as_json)
    if not as_json:
        explain(found)
    return verdict(found)


def _seconds(option: str, text: str | None) -> float | None:
    if text is None:
        return None
    try:
        return float(text) if text.replace(".", "", 1).isdigit() else JobAttributes.parse_walltime(text).total_seconds()
    except (ValueError, OverflowError):
        raise click.UsageError(f"{option} {text!r} is not a time: write seconds, or 90s, 5m, 2h, hh:mm:ss") from None


@reported
def cancel(names: Sequence[str], grace: str | None, as_json: bool) -> int:
    """End jobs; return the exit status."""
    seconds = _seconds("--grace", grace)
    records = Records()
    found = records.find(names)
    with followed(found, records) as following:
        codes, asked = [WRONG if following.lost else 0], []
        for record in following.open:
            if record.executor not in following.lost and not record.job.status.final:
                codes.append(_cancel(record, seconds))
                if codes[-1] == 0 and (seconds is not None or record.executor == "local"):
                    asked.append(record)
        codes.append(_see_end(asked, seconds or 0.0))
    if as_json:
        show_json(found)
    return max(codes)


def _see_end(asked: Sequence[Record], grace: float) -> int:
    """Stay until jobs have ended: the sure end that follows a signal comes from this process."""
    deadline = time.monotonic() + grace + _GONE_WITHIN
    try:
        for record in asked:
            record.job.wait(max(0.0, deadline - time.monotonic()))
    except KeyboardInterrupt:
        complain("the jobs are told to end; those that do not will go on: cancel them again")
        raise
    left = [record for record in asked if not record.job.status.final]
    for record in left:
        complain(f"{record.label} is cancelled, but has not ended yet")
    return TRY_LATER if left else 0


def _cancel(record: Record, grace: float | None) -> int:
    try:
        record.job.cancel(grace)
    except HarmonyError as error:
        complain(str(error))
        return status_of(error)
    return 0


@reported
def attach(executor: str, native_ids: Sequence[str], work_directory: str | None, as_json: bool) -> int:
    """Take up jobs; return the exit status."""
    records = Records()
    records.prepare()
    there = {record.job.native_id: record for record in records.all(ended=False) if record.executor == executor}
    made = make_executor(executor, work_directory)
    work = str(made.config.work_directory)
    found = {
        native_id: there.get(native_id) or Record(Job(), executor, work, time.time())
        for native_id in dict.fromkeys(native_ids)
    }
    kept: dict[str, Record] = {}
    keep_when_final(made, records, lambda: kept)
    try:
        for native_id, record in found.items():
            made.attach(record.job, native_id)
        made.refresh()
    finally:
        made.close()
    trouble = getattr(made, "trouble", None)
    for native_id, record in found.items():
        if record.job.status.state is not JobState.NEW and record.job.status.reason != Reason.UNKNOWN.value:
            kept[native_id] = record
            records.keep(record)
        else:
            complain(f"{executor} does not answer" if trouble else f"{executor} knows nothing of a job {native_id!r}")
    tidy(list(kept.values()))
    show(list(kept.values()), as_json)
    return 0 if len(kept) == len(found) else TRY_LATER if trouble else FAILED
