"""Waiting for a job: with timeouts, for states, in threads, in asyncio, and when nothing follows it any more."""

from __future__ import annotations

import asyncio
import threading
from datetime import timedelta

import pytest
from tests.jobs.manual import in_threads, reach

from harmony.jobs import InvalidStateException, Job, JobState, JobStatus

FINAL = [JobState.COMPLETED, JobState.FAILED, JobState.CANCELED]


@pytest.fixture
def job() -> Job:
    return Job()


@pytest.mark.parametrize("zero", [0, 0.0, timedelta(0), -1])
def test_defect_wait_with_a_timeout_of_zero_waits_for_ever(job: Job, zero: timedelta | float) -> None:
    assert job.wait(zero) is None
    reach(job, JobState.COMPLETED)
    assert job.wait(zero) is job.status


@pytest.mark.parametrize("short", [0.01, timedelta(milliseconds=10)])
def test_a_timeout_that_passes_gives_none(job: Job, short: timedelta | float) -> None:
    assert job.wait(short) is None


def test_waiting_for_a_state_or_one_past_it(job: Job) -> None:
    assert job.wait(0, JobState.NEW) is job.status
    reach(job, JobState.ACTIVE)
    for target in (JobState.NEW, JobState.QUEUED, JobState.STAGE_IN, JobState.ACTIVE):
        assert job.wait(0, target) is job.status
        assert job.wait(0, [JobState.CLEANUP, target]) is job.status
    assert [job.wait(0, later) for later in (JobState.STAGE_OUT, JobState.COMPLETED)] == [None, None]
    assert job.wait(0, []) is None


@pytest.mark.parametrize("final", FINAL)
def test_a_final_state_ends_every_wait(job: Job, final: JobState) -> None:
    reach(job, final)
    for target in (None, [], *JobState):
        assert job.wait(target_states=target) is job.status


def test_a_waiting_thread_is_woken(job: Job) -> None:
    found: list[JobStatus | None] = []
    ends = [lambda: found.append(job.wait()), lambda: found.append(job.wait(target_states=JobState.ACTIVE))]
    in_threads([*ends, lambda: reach(job, JobState.QUEUED, JobState.ACTIVE, JobState.COMPLETED)])
    assert [status is not None and status.state in (JobState.ACTIVE, JobState.COMPLETED) for status in found] == [
        True
    ] * 2


@pytest.mark.parametrize("timeout", ["1", True, [1]])
def test_what_is_no_timeout_is_refused(job: Job, timeout: object) -> None:
    with pytest.raises(TypeError, match=r"timeout=.* must be a timedelta, a number of seconds, or None"):
        job.wait(timeout)  # type: ignore[arg-type]


def test_a_very_long_timeout_is_none(job: Job) -> None:
    in_threads([lambda: job.wait(timedelta.max), lambda: reach(job, JobState.COMPLETED)])
    assert job.wait(1e300) is job.status


def test_whoever_waits_for_a_job_that_nothing_follows_is_told(job: Job) -> None:
    errors: list[str] = []

    def wait() -> None:
        try:
            job.wait()
        except InvalidStateException as error:
            errors.append(str(error))

    in_threads([wait, wait, lambda: job.abandon("the executor was closed")])
    assert errors == ["the executor was closed"] * 2
    assert job.wait(target_states=JobState.NEW) is job.status
    reach(job, JobState.COMPLETED)
    assert job.wait() is job.status


def test_defect_14_not_usable_from_asyncio() -> None:
    async def main() -> list[JobStatus]:
        jobs = [Job() for _ in range(20)]
        waiting = [asyncio.ensure_future(_final(job)) for job in jobs]
        await asyncio.sleep(0)
        end = threading.Thread(target=lambda: [reach(job, JobState.COMPLETED) for job in jobs])
        end.start()
        found = await asyncio.gather(*waiting)
        end.join()
        assert await jobs[0] is found[0]  # a second time, after its end
        return found

    assert {status.state for status in asyncio.run(main())} == {JobState.COMPLETED}


async def _final(job: Job) -> JobStatus:
    return await job


def test_awaiting_can_be_given_up_and_leaves_nothing() -> None:
    async def main(job: Job) -> None:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(_final(job), 0.01)

    job = Job()
    asyncio.run(main(job))
    assert job._waiters == []
    reach(job, JobState.COMPLETED)


def test_awaiting_a_job_that_nothing_follows_raises() -> None:
    async def main(job: Job) -> None:
        waiting = asyncio.ensure_future(_final(job))
        await asyncio.sleep(0)
        job.abandon("closed")
        with pytest.raises(InvalidStateException, match="closed"):
            await waiting
        with pytest.raises(InvalidStateException, match="closed"):
            await job

    asyncio.run(main(Job()))
