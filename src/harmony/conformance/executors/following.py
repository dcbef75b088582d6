"""Following jobs: states and callbacks, waiting, attaching, closing."""

from __future__ import annotations

import asyncio
import json
import threading

import pytest

from harmony.conformance.executors.ends import ExecutorTests
from harmony.conformance.executors.subject import Subject
from harmony.jobs import (
    InvalidStateException,
    Job,
    JobExecutor,
    JobState,
    JobStatus,
)

EVERY_STATE = [state for state in JobState if state not in (JobState.NEW, JobState.FAILED, JobState.CANCELED)]


class Following(ExecutorTests):
    """Tests of what is heard of jobs."""

    def test_states_come_in_order(self, subject: Subject, executor: JobExecutor) -> None:
        job, seen, told = subject.job(), [], threading.Event()

        def hear(_: Job, status: JobStatus) -> None:
            seen.append(status.state)
            if status.final:
                told.set()

        job.set_job_status_callback(hear)
        subject.completed(executor, job)
        assert told.wait(subject.patience)
        assert seen == EVERY_STATE

    def test_the_executors_callback_hears_of_every_job(self, subject: Subject, executor: JobExecutor) -> None:
        ends: dict[str, JobState] = {}
        all_told = threading.Event()

        def hear(job: Job, status: JobStatus) -> None:
            if status.final:
                ends[job.id] = status.state
                if len(ends) == 2:
                    all_told.set()

        executor.set_job_status_callback(hear)
        good, bad = subject.job(), subject.shell("exit 1")
        executor.submit(good)
        executor.submit(bad)
        assert all_told.wait(subject.patience)
        assert ends == {good.id: JobState.COMPLETED, bad.id: JobState.FAILED}

    def test_a_callback_that_fails_does_no_harm(self, subject: Subject, executor: JobExecutor) -> None:
        job = subject.job()
        job.set_job_status_callback(lambda *_: 1 / 0)
        assert subject.completed(executor, job).exit_code == 0

    def test_native_id_is_there_after_submit(self, subject: Subject, executor: JobExecutor) -> None:
        job = subject.job()
        executor.submit(job)
        assert job.native_id
        assert job.status.state is not JobState.NEW
        subject.end(job)

    def test_wait_times_out(self, subject: Subject, executor: JobExecutor) -> None:
        gate = subject.gate()
        job = subject.shell(gate.wait)
        executor.submit(job)
        assert job.wait(0) is None
        reached = job.wait(subject.patience, [JobState.ACTIVE])
        assert reached is not None
        assert reached.state is JobState.ACTIVE
        assert job.wait(0.01) is None
        gate.open()
        assert subject.end(job).state is JobState.COMPLETED

    def test_await(self, subject: Subject, executor: JobExecutor) -> None:
        async def both() -> list[JobStatus]:
            jobs = [subject.job(), subject.shell("exit 4")]
            for job in jobs:
                executor.submit(job)
            return list(await asyncio.wait_for(asyncio.gather(*jobs), subject.patience))

        assert [status.exit_code for status in asyncio.run(both())] == [0, 4]

    def test_the_end_of_the_block_waits(self, subject: Subject) -> None:
        with subject.make() as executor:
            job = subject.job()
            executor.submit(job)
        assert job.status.state is JobState.COMPLETED

    def test_close_tells_who_waits(self, subject: Subject) -> None:
        executor = subject.make()
        gate = subject.gate()
        job = subject.shell(gate.wait)
        executor.submit(job)
        job.wait(subject.patience, JobState.ACTIVE)
        executor.close()
        with pytest.raises(InvalidStateException, match="closed"):
            job.wait(subject.patience)
        gate.open()

    def test_list_shows_a_running_job(self, subject: Subject, executor: JobExecutor) -> None:
        gate = subject.gate()
        job = subject.shell(gate.wait)
        executor.submit(job)
        job.wait(subject.patience, JobState.ACTIVE)
        assert job.native_id in executor.list()
        gate.open()
        subject.end(job)

    def test_attach_by_native_id(self, subject: Subject, executor: JobExecutor) -> None:
        subject.needs("attach")
        gate = subject.gate()
        job, same = subject.shell(gate.wait), Job()
        executor.submit(job)
        job.wait(subject.patience, JobState.ACTIVE)
        other = subject.make()
        try:
            other.attach(same, job.native_id)
            gate.open()
            assert subject.end(same).state is JobState.COMPLETED
        finally:
            other.close()
        assert subject.end(job).state is JobState.COMPLETED

    def test_attach_to_nonsense(self, subject: Subject, executor: JobExecutor) -> None:
        subject.needs("attach")
        job = Job()
        executor.attach(job, "999999")
        status = subject.end(job)
        assert (status.state, status.reason) == (JobState.FAILED, "unknown"), status

    def test_a_new_client_goes_on(self, subject: Subject) -> None:
        self._handed_over(subject, ends_meanwhile=False)

    def test_a_new_client_learns_what_it_missed(self, subject: Subject) -> None:
        self._handed_over(subject, ends_meanwhile=True)

    def _handed_over(self, subject: Subject, *, ends_meanwhile: bool) -> None:
        subject.needs("handover")
        gate = subject.gate()
        first = subject.make()
        job = subject.shell(f"echo > ready; {gate.wait}; echo > done; exit 5")
        first.submit(job)
        subject.appears(subject.directory / "ready")
        kept = json.dumps(job.to_dict())
        first.close()
        if ends_meanwhile:
            gate.open()
            subject.appears(subject.directory / "done")
        second = subject.make()
        try:
            again = Job.from_dict(json.loads(kept))
            assert (again.id, again.native_id, again.spec) == (job.id, job.native_id, job.spec)
            second.attach(again)
            if not ends_meanwhile:
                gate.open()
            status = subject.end(again)
            assert (status.state, status.exit_code) == (JobState.FAILED, 5), status
        finally:
            second.close()
