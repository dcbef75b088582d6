"""The local executor: other handles on its jobs, and what it does to the program that it is used in."""

from __future__ import annotations

import gc
import os
import signal
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from tests.jobs.local_jobs import SECONDS, fifo, final, lines, shell

from harmony.errors import InvalidStateException
from harmony.jobs import Job, JobAttributes, JobExecutor, JobExecutorConfig, JobSpec, JobState, Reason
from harmony.jobs.local import LocalExecutorConfig, LocalJobExecutor


@pytest.fixture
def executor(tmp_path: Path) -> Iterator[LocalJobExecutor]:
    with LocalJobExecutor(config=LocalExecutorConfig(work_directory=tmp_path / "work")) as made:
        yield made


# -- other handles on a job ------------------------------------------------------------------------------


def test_attached_jobs_end_with_the_true_exit_code(executor: LocalJobExecutor, tmp_path: Path) -> None:
    job = Job(shell("read line; exit 7", stdin_path=fifo(tmp_path)))
    executor.submit(job)
    assert job.native_id is not None
    same, elsewhere = Job(), Job()
    executor.attach(same, job.native_id)
    with JobExecutor.get_instance("local") as other:
        other.attach(elsewhere, job.native_id)
        (tmp_path / "fifo").write_text("go\n")
        other.wait_all()
        late = Job()
        other.attach(late, job.native_id)
    assert [each.status.exit_code for each in (same, elsewhere, late)] == [7, 7, 7]


def test_a_job_outlives_its_executor_and_another_takes_it_over(tmp_path: Path) -> None:
    job = Job(shell("read line; exit 7", stdin_path=fifo(tmp_path)))
    first = LocalJobExecutor()
    first.submit(job)
    with LocalJobExecutor() as second:
        mirrored, later = Job(), Job()
        second.attach(mirrored, job.native_id)
        first.close()
        with pytest.raises(InvalidStateException, match="its executor was closed"):
            job.wait(SECONDS)
        second.attach(later, job.native_id)
        (tmp_path / "fifo").write_text("go\n")
        second.wait_all()
        assert [each.status.exit_code for each in (mirrored, later)] == [7, 7]


def test_a_process_of_someone_else_ends_unknown(executor: LocalJobExecutor, tmp_path: Path) -> None:
    spec = shell("sleep 100 & echo $! >pid; wait", directory=tmp_path)
    parent = Job(spec)
    executor.submit(parent)
    grandchild = lines(tmp_path / "pid", 1)[0]
    job = Job()
    executor.attach(job, grandchild)
    assert job.status.state is JobState.ACTIVE
    os.kill(int(grandchild), signal.SIGTERM)
    status = job.wait(SECONDS)
    assert status is not None
    assert (status.state, status.reason) == (JobState.FAILED, Reason.UNKNOWN)


@pytest.mark.parametrize("native_id", ["4194304000", "nonsense"])
def test_an_id_that_is_no_process_ends_unknown(executor: LocalJobExecutor, native_id: str) -> None:
    job = Job()
    executor.attach(job, native_id)
    status = job.wait(SECONDS)
    assert status is not None
    assert (status.state, status.reason) == (JobState.FAILED, Reason.UNKNOWN)
    assert native_id in (status.message or "")


def test_list_names_what_runs_and_nothing_else(executor: LocalJobExecutor) -> None:
    """psij-python lists every process of the user."""
    job = Job(JobSpec("sleep", ["100"]))
    executor.submit(job)
    assert executor.list() == [job.native_id]
    job.cancel()
    executor.wait_all()
    assert executor.list() == []


# -- the host program ------------------------------------------------------------------------------------


def test_the_host_program_keeps_its_signals_and_threads(tmp_path: Path) -> None:
    """psij-python's defect 14: it takes SIGCHLD, and its threads stay."""
    handler, threads = signal.getsignal(signal.SIGCHLD), set(threading.enumerate())
    executor = LocalJobExecutor(config=JobExecutorConfig(work_directory=tmp_path))
    assert set(threading.enumerate()) == threads
    job = Job(JobSpec("sleep", ["100"]))
    executor.submit(job)
    assert signal.getsignal(signal.SIGCHLD) == handler
    ours = {thread.name for thread in set(threading.enumerate()) - threads}
    assert ours == {"harmony-local-jobs", "harmony-local-submit"}
    job.cancel()
    job.wait(SECONDS)
    executor.close()
    executor.close()
    assert set(threading.enumerate()) == threads
    with pytest.raises(InvalidStateException, match="closed"):
        executor.submit(Job(JobSpec("true")))


def test_an_executor_that_is_dropped_ends_its_thread(tmp_path: Path) -> None:
    """Programs written for psij-python close nothing."""
    executor = LocalJobExecutor(config=JobExecutorConfig(work_directory=tmp_path))
    spec = shell("true", pre_launch=tmp_path / "pre.sh")
    (tmp_path / "pre.sh").touch()
    final(executor, spec)
    executor.wait_all()
    (thread,) = [each for each in threading.enumerate() if each.name == "harmony-local-jobs"]
    del executor
    gc.collect()
    thread.join(SECONDS)
    assert not thread.is_alive()


def test_the_child_of_a_fork_can_run_jobs_and_disturbs_none(executor: LocalJobExecutor, tmp_path: Path) -> None:
    """psij-python's defect 14: fork is not supported."""
    job = Job(JobSpec("sleep", ["100"]))
    executor.submit(job)
    child = os.fork()
    if child == 0:
        try:
            mine = Job(shell("exit 5"))
            executor.submit(mine)
            status = mine.wait(SECONDS)
            executor.close()
            os._exit(status.exit_code or 0 if status is not None else 99)
        finally:
            os._exit(98)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 5
    assert job.status.state is JobState.ACTIVE
    _, status = final(executor, JobSpec("true"))
    assert status.state is JobState.COMPLETED
    job.cancel()


def test_many_jobs_at_once(executor: LocalJobExecutor) -> None:
    jobs = [Job(JobSpec("true" if index % 2 else "false")) for index in range(300)]
    executor.submit_all(jobs)
    executor.wait_all()
    assert {(index % 2, job.status.exit_code) for index, job in enumerate(jobs)} == {(0, 1), (1, 0)}


def test_an_idle_executor_costs_no_cpu_time(executor: LocalJobExecutor) -> None:
    job = Job(JobSpec("sleep", ["0.5"], attributes=JobAttributes(timedelta(hours=1))))
    executor.submit(job)
    thread = next(each for each in threading.enumerate() if each.name == "harmony-local-jobs")
    wakes = Path(f"/proc/self/task/{thread.native_id}/status")
    final(executor, JobSpec("true"))

    def switches() -> int:
        return sum(int(line.split()[1]) for line in wakes.read_text().splitlines() if "ctxt_switches" in line)

    before = switches()
    assert job.wait(0.3) is None
    assert switches() - before <= 2
