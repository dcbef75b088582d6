"""Other people's jobs: a full queue, with everything in it that makes a parser stumble."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from harmony.conformance.emulators.model import Job, Request, State

_NAMES = (
    "relax", "a b c", "x|y|z", "it's", '"quoted"', "$(id)", "nä-ïve", "日本", "1234567", "tab\there", "-n", "*",
    "%d %s",
    "R", "COMPLETED", "<tag>&amp;", "a" * 200, "[1-3]", "key=value", ";", "12_3", "(None)",
)  # fmt: skip
_REASONS = (
    "Priority", "Resources", "ReqNodeNotAvail, UnavailableNodes:n[1-3]", "QOSMaxJobsPerUserLimit",
    "Nodes required for job are DOWN, DRAINED or reserved for jobs in higher priority partitions", "JobHeldUser",
    "AssocGrpCPUMinutesLimit", "Not Running: Insufficient amount of resource: ncpus (R: 64 A: 0 T: 128)", "BeginTime",
    "(odd)", "job, is | held",
)  # fmt: skip
_USERS = ("alice", "bob", "u12345", "svc-account", "long.user.name@example")


def foreign_jobs(count: int, first: int, job_id: Callable[[int, int | None], str], now: float) -> Iterator[Job]:
    """Make so many jobs of other users: some run, most wait, a few are held, each for a reason of its own."""
    for offset in range(count):
        name, user = _NAMES[offset % len(_NAMES)], _USERS[offset % len(_USERS)]
        request = Request(
            "", name=name, user=user, queue="debug", nodes=1 + offset % 3, limit=3600.0 * (1 + offset % 48)
        )
        number = first + offset
        job = Job(job_id(number, None), number, request, now - 86400 + offset % 86400, foreign=True)
        job.note = _REASONS[offset % len(_REASONS)]
        if offset % 5 == 0:
            job.state, job.started, job.nodes = State.RUNNING, now - offset % 3600, (f"m{offset}",)
        elif offset % 11 == 0:
            job.state, job.reason = State.HELD, "hold"
        else:
            job.reason = "resources"
        yield job
