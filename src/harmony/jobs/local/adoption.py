"""Taking over a job that this executor has not started: its process, and the place of its reports."""

from __future__ import annotations

from pathlib import Path

from harmony.jobs.local import durable
from harmony.jobs.local.children import exit_status
from harmony.jobs.local.news import reported
from harmony.jobs.local.run import Run, unknown
from harmony.jobs.local.tree import look, start_time
from harmony.jobs.script import Place
from harmony.jobs.state import JobState, JobStatus

#: How much the clock may have been set in between, in seconds.
_CLOCK_MAY_DIFFER = 2.0


def adopt(run: Run, folder: Path, tidies: bool) -> JobStatus | None:
    """Find the process of a job; return None if it is there to be followed, or else what became of the job."""
    job = run.job
    named = str(job.record.get("pid") or job.native_id)
    if not (named.isascii() and named.isdigit()):
        if job.native_id == job.id:
            return unknown("it waited for other jobs when the program that submitted it ended, and never ran")
        return unknown(f"{named!r} is not the id of a local job, which is that of a process")
    run.pid = int(named)
    place = durable.find(folder, run.pid)
    if "work" in job.record:
        place = Place(job.record["work"], job.record["marker"], job.record.get("script", ""))
    if place is not None:
        return _durable(run, place, tidies)
    run.leader = look(run.pid)
    known = run.leader is not None and job.status.state is not JobState.NEW
    if run.leader is not None and known and start_time(run.leader) > job.status.time + _CLOCK_MAY_DIFFER:
        run.leader = None  # a later process of the same number
    if run.leader is not None:
        return None
    run.status = exit_status(run.pid, None)
    if run.status is not None:
        return run.outcome()  # our own child, for which nobody has waited yet
    return unknown(f"there is no process {named}; if there was, only the program that started it knows how it ended")


def _durable(run: Run, place: Place, tidies: bool) -> JobStatus | None:
    run.reports_at(place, tidies)
    run.job.record.update(work=place.directory, script=place.script_name, marker=place.job_id)
    run.leader = durable.process(place)
    if run.leader is not None:
        run.pid = run.leader.pid
        return None
    for marker in reported(place):
        run.marked(marker)
    return run.outcome()
