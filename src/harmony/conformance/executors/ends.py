"""How jobs run and end: exit codes, signals, cancelling, walltime, refusals."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest

from harmony.conformance.executors.subject import Subject
from harmony.jobs import (
    InvalidJobException,
    InvalidStateException,
    JobExecutor,
    JobState,
    SubmitException,
)


def ended_within(pid: int, patience: float) -> bool:
    """Whether a process of this machine ends in time; a zombie has ended."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        try:
            with open(f"/proc/{pid}/stat") as file:
                if file.read().rpartition(")")[2].split()[0] == "Z":
                    return True
        except OSError:
            return True
        time.sleep(0.02)
    return False


class ExecutorTests:
    """The fixtures that the tests share."""

    @pytest.fixture
    def executor(self, subject: Subject) -> Iterator[JobExecutor]:
        """Return an executor that is closed after the test."""
        made = subject.make()
        yield made
        made.close()


class Ends(ExecutorTests):
    """Tests of how jobs end."""

    def test_success(self, subject: Subject, executor: JobExecutor) -> None:
        status = subject.completed(executor, subject.job())
        assert status.exit_code == 0

    def test_exit_code(self, subject: Subject, executor: JobExecutor) -> None:
        status = subject.run(executor, subject.shell("exit 3"))
        assert (status.state, status.exit_code, status.reason) == (JobState.FAILED, 3, "exit"), status

    def test_signal(self, subject: Subject, executor: JobExecutor) -> None:
        status = subject.run(executor, subject.shell("kill -s KILL $$"))
        assert (status.state, status.reason, status.metadata.get("signal")) == (JobState.FAILED, "signal", 9), status

    def test_missing_executable(self, subject: Subject, executor: JobExecutor) -> None:
        job = subject.job("/bin/no_such_program")
        try:
            status = subject.run(executor, job)
        except SubmitException as error:
            assert "/bin/no_such_program" in str(error)
            assert job.status.state is JobState.NEW
        else:
            assert status.state is JobState.FAILED
            assert "/bin/no_such_program" in str(status.message), status

    def test_cancel_of_a_running_job(self, subject: Subject, executor: JobExecutor) -> None:
        gate = subject.gate()
        job = subject.shell(f"echo $$ > pid; {gate.wait}")
        executor.submit(job)
        job.wait(subject.patience, JobState.ACTIVE)
        pid = int(subject.appears(subject.directory / "pid"))
        job.cancel()
        status = subject.end(job)
        assert (status.state, status.reason) == (JobState.CANCELED, "canceled"), status
        assert ended_within(pid, subject.patience)

    def test_cancel_of_a_waiting_job(self, subject: Subject, executor: JobExecutor) -> None:
        subject.needs("after_any")
        gate = subject.gate()
        first = subject.shell(gate.wait)
        executor.submit(first)
        second = subject.shell("touch started")
        executor.submit(second, after_any=[first])
        second.cancel()
        assert subject.end(second).state is JobState.CANCELED
        gate.open()
        assert subject.end(first).state is JobState.COMPLETED
        assert not (subject.directory / "started").exists()

    def test_cancel_with_grace(self, subject: Subject, executor: JobExecutor) -> None:
        subject.needs("grace")
        gate = subject.gate()
        job = subject.shell(f"trap 'echo saved > saved; exit 0' TERM; echo > ready; {gate.wait}")
        executor.submit(job)
        subject.appears(subject.directory / "ready")
        job.cancel(grace=30)
        status = subject.end(job)
        assert status.state in (JobState.CANCELED, JobState.COMPLETED), status
        assert subject.appears(subject.directory / "saved") == "saved\n"

    def test_cancel_after_the_end(self, subject: Subject, executor: JobExecutor) -> None:
        job = subject.job()
        subject.completed(executor, job)
        job.cancel()
        assert job.status.state is JobState.COMPLETED

    def test_cancel_before_submission(self, subject: Subject) -> None:
        with pytest.raises(InvalidStateException):
            subject.job().cancel()

    def test_walltime(self, subject: Subject, executor: JobExecutor) -> None:
        subject.needs("walltime")
        gate = subject.gate()
        job = subject.shell(f"echo $$ > pid; {gate.wait}", duration=subject.short_walltime)
        status = subject.run(executor, job)
        assert (status.state, status.reason) == (JobState.FAILED, "walltime"), status
        assert ended_within(int(subject.appears(subject.directory / "pid")), subject.patience)

    def test_refused_submission(self, subject: Subject, executor: JobExecutor) -> None:
        subject.needs("refusal")
        job = subject.job(attributes={"queue_name": subject.bad_queue})
        with pytest.raises(SubmitException) as refusal:
            executor.submit(job)
        assert not refusal.value.transient
        assert (job.status.state, job.native_id, job.executor) == (JobState.NEW, None, None)
        assert job.spec is not None
        job.spec.attributes.queue_name = subject.attributes.get("queue_name")
        assert subject.completed(executor, job).exit_code == 0, "a refused job may be submitted again"

    def test_submitted_twice(self, subject: Subject, executor: JobExecutor) -> None:
        job = subject.job()
        subject.completed(executor, job)
        with pytest.raises(InvalidStateException):
            executor.submit(job)

    def test_without_an_executable(self, subject: Subject, executor: JobExecutor) -> None:
        job = subject.job()
        assert job.spec is not None
        job.spec.executable = None
        with pytest.raises(InvalidJobException, match="executable"):
            executor.submit(job)
        assert job.status.state is JobState.NEW

    def test_jobs_side_by_side(self, subject: Subject, executor: JobExecutor) -> None:
        gate = subject.gate()
        slow, quick = subject.shell(gate.wait), subject.job()
        executor.submit(slow)
        executor.submit(quick)
        assert subject.end(quick).state is JobState.COMPLETED
        assert not slow.status.final
        gate.open()
        assert subject.end(slow).state is JobState.COMPLETED

    def test_nothing_is_left_of_a_job(self, subject: Subject, executor: JobExecutor) -> None:
        before = set(os.listdir(subject.directory))
        subject.completed(executor, subject.job())
        assert set(os.listdir(subject.directory)) == before
