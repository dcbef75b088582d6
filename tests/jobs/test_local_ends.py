"""Ending local jobs: cancel with and without grace, races with the end, walltime; the whole tree and nobody else."""

from __future__ import annotations

import os
import select
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest
from tests.jobs.local_jobs import SECONDS, lines

from harmony.errors import InvalidStateException
from harmony.jobs import Job, JobAttributes, JobSpec, JobState, JobStatus, Reason, StageOut, StageOutFlags
from harmony.jobs.local import LocalExecutorConfig, LocalJobExecutor

STUBBORN = "trap '' TERM; echo $$ >>pids; while :; do sleep 100; done"


@pytest.fixture
def executor(tmp_path: Path) -> Iterator[LocalJobExecutor]:
    with LocalJobExecutor(config=LocalExecutorConfig(work_directory=tmp_path / "work", cancel_grace=SECONDS)) as made:
        yield made


def started(executor: LocalJobExecutor, text: str, directory: Path, **fields: object) -> Job:
    """Submit a shell command; return when it has written its first line to the file ``pids``."""
    job = Job(JobSpec("/bin/sh", ["-c", text], directory=directory, **fields))  # type: ignore[arg-type]
    executor.submit(job)
    lines(directory / "pids", 1)
    return job


def gone(pid: str) -> bool:
    """Whether a process ends within a moment; as a zombie it has ended."""
    with suppress(ProcessLookupError):
        descriptor = os.pidfd_open(int(pid))
        try:
            return bool(select.select([descriptor], [], [], 2)[0])
        finally:
            os.close(descriptor)
    return True


def ended(job: Job) -> JobStatus:
    status = job.wait(SECONDS)
    assert status is not None
    return status


def test_a_program_that_hears_sigterm_ends_in_its_own_way(executor: LocalJobExecutor, tmp_path: Path) -> None:
    """psij-python's defect 15: no graceful cancel."""
    job = started(executor, "trap 'echo saved >end; exit 9' TERM; echo $$ >pids; sleep 100 & wait", tmp_path)
    job.cancel()
    status = ended(job)
    assert (status.state, status.exit_code, status.reason) == (JobState.CANCELED, 9, Reason.CANCELED)
    assert (tmp_path / "end").read_text() == "saved\n"


def test_a_program_that_ignores_sigterm_is_killed_with_its_tree(executor: LocalJobExecutor, tmp_path: Path) -> None:
    job = started(executor, f"({STUBBORN}) & {STUBBORN}", tmp_path)
    pids = lines(tmp_path / "pids", 2)
    job.cancel(grace=0.05)
    status = ended(job)
    assert (status.state, status.metadata["signal"]) == (JobState.CANCELED, 9)
    assert all(gone(pid) for pid in pids)


def test_who_has_left_the_process_group_ends_too(executor: LocalJobExecutor, tmp_path: Path) -> None:
    text = f"bash -mc '({STUBBORN.replace(chr(39), chr(34))}) & wait' & wait"
    job = started(executor, text, tmp_path)
    pids = lines(tmp_path / "pids", 1)
    job.cancel(grace=0)
    assert ended(job).state is JobState.CANCELED
    assert all(gone(pid) for pid in pids)


def test_a_stopped_program_is_ended(executor: LocalJobExecutor, tmp_path: Path) -> None:
    job = started(executor, "echo $$ >pids; kill -s STOP $$; sleep 100", tmp_path)
    job.cancel()
    assert ended(job).state is JobState.CANCELED


def test_cancels_that_race_with_the_end_leave_one_final_state(executor: LocalJobExecutor) -> None:
    """psij-python's defect 2: a final state is replaced by another."""
    finals: dict[str, list[JobState]] = {}

    def note(job: Job, status: JobStatus) -> None:
        if status.final:
            finals.setdefault(job.id, []).append(status.state)

    executor.set_job_status_callback(note)
    jobs = [Job(JobSpec("true")) for _ in range(200)]
    executor.submit_all(jobs)
    for job in jobs:
        job.cancel()
    executor.wait_all()
    assert all(len(states) == 1 for states in finals.values())
    assert {state for states in finals.values() for state in states} <= {JobState.CANCELED, JobState.COMPLETED}
    assert all(job.status.state is finals[job.id][0] for job in jobs)


def test_200_running_jobs_are_all_cancelled(executor: LocalJobExecutor) -> None:
    jobs = [Job(JobSpec("sleep", ["100"])) for _ in range(200)]
    executor.submit_all(jobs)
    for job in jobs:
        job.cancel()
        job.cancel()
    executor.wait_all()
    assert {job.status.state for job in jobs} == {JobState.CANCELED}


def test_a_final_job_may_be_cancelled_and_a_strangers_not(executor: LocalJobExecutor) -> None:
    job = Job(JobSpec("true"))
    executor.submit(job)
    ended(job)
    executor.cancel(job)
    assert job.status.state is JobState.COMPLETED
    with pytest.raises(InvalidStateException, match="attach it first"):
        executor.cancel(Job(JobSpec("true")))


def test_walltime_is_enforced_and_told(executor: LocalJobExecutor, tmp_path: Path) -> None:
    """psij-python's defect 15: no walltime on local."""
    attributes = JobAttributes(timedelta(seconds=0.3))
    job = started(executor, "trap 'exit 9' TERM; echo $$ >pids; sleep 100 & wait", tmp_path, attributes=attributes)
    status = ended(job)
    assert (status.state, status.reason, status.exit_code) == (JobState.FAILED, Reason.WALLTIME, 9)
    assert "walltime of 0:00:00.3" in (status.message or "")


@pytest.mark.parametrize("durable", [False, True])
def test_walltime_ends_a_script_and_its_tree(tmp_path: Path, durable: bool) -> None:
    config = LocalExecutorConfig(work_directory=tmp_path / "work", durable=durable, walltime_grace=0.1)
    (tmp_path / "pre.sh").touch()
    with LocalJobExecutor(config=config) as executor:
        fields = {"attributes": JobAttributes(timedelta(seconds=0.5)), "pre_launch": tmp_path / "pre.sh"}
        text = STUBBORN if not durable else "echo $$ >pids; sleep 100"
        job = started(executor, text, tmp_path, **fields)
        status = ended(job)
    assert (status.state, status.reason) == (JobState.FAILED, Reason.WALLTIME)
    assert all(gone(pid) for pid in lines(tmp_path / "pids", 1))


def test_what_is_staged_out_on_cancel_is(executor: LocalJobExecutor, tmp_path: Path) -> None:
    """psij-python's defect 12: ON_CANCEL is ignored."""
    stage_out = [
        StageOut("pids", tmp_path / "on cancel", StageOutFlags.ON_CANCEL),
        StageOut("pids", tmp_path / "on success", StageOutFlags.ON_SUCCESS),
    ]
    job = started(executor, STUBBORN, tmp_path / "job", stage_out=stage_out)
    job.cancel(grace=0.05)
    assert ended(job).state is JobState.CANCELED
    assert (tmp_path / "on cancel").read_text() == (tmp_path / "job" / "pids").read_text()
    assert not (tmp_path / "on success").exists()


def test_a_script_passes_the_signal_on_once(executor: LocalJobExecutor, tmp_path: Path) -> None:
    (tmp_path / "pre.sh").touch()
    text = "trap 'echo term >>terms' TERM; echo $$ >pids; while [ ! -e stop ]; do sleep 0.05; done"
    job = started(executor, text, tmp_path, pre_launch=tmp_path / "pre.sh")
    job.cancel()
    lines(tmp_path / "terms", 1)
    (tmp_path / "stop").touch()
    assert ended(job).state is JobState.CANCELED
    assert (tmp_path / "terms").read_text() == "term\n"


def test_all_this_works_without_pidfd(
    executor: LocalJobExecutor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "pidfd_open")
    job = started(executor, f"({STUBBORN}) & {STUBBORN}", tmp_path)
    lines(tmp_path / "pids", 2)
    other = Job(JobSpec("false"))
    executor.submit(other)
    assert ended(other).exit_code == 1
    job.cancel(grace=0)
    assert ended(job).state is JobState.CANCELED
    executor.wait_all()
