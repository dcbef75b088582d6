"""Clients that are killed, forked, closed at a bad moment or too slow; several clients at once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from tests.jobs import systems
from tests.jobs.faults import Rig, client, rig, slurm, start, told

from harmony.jobs import InvalidStateException, Job, JobSpec, JobState, JobStatus

__all__ = ["rig", "slurm", "start"]  # fixtures

EVERY_SYSTEM = pytest.mark.parametrize("name", systems.EMULATED)
#: A client: it submits the jobs that it is given as JSON, says so, and does what comes next.
CLIENT = """
import json, os, signal, sys, time
from pathlib import Path
from harmony.jobs import *
from tests.jobs import systems
name, work, texts = sys.argv[1], Path(sys.argv[2]), json.loads(sys.argv[3])
executor = systems.executor(name, work)
jobs = [Job.from_dict(text) for text in texts]
"""
SUBMIT = CLIENT + "executor.submit_all(jobs)\nprint(json.dumps([job.to_dict() for job in jobs]), flush=True)\n"


def texts(*jobs: Job) -> str:
    return json.dumps([job.to_dict() for job in jobs])


def submitting(rig: Rig, then: str, *jobs: Job) -> subprocess.Popen[str]:
    return client(SUBMIT + then, rig.lab.name, str(rig.work), texts(*jobs), stdin=subprocess.PIPE)


def ended(process: subprocess.Popen[str]) -> int:
    try:
        return process.wait(30)
    finally:
        process.kill()
        with process:  # closes what it has of pipes
            pass


# -- a client that is killed


@pytest.mark.parametrize("before_the_end", [True, False])
def test_a_client_that_is_killed(rig: Rig, before_the_end: bool) -> None:
    gate = rig.subject.gate()
    job = rig.subject.shell(f"echo > ready; {gate.wait}; echo > done; exit 5")
    killed = submitting(rig, "time.sleep(100)", job)
    (kept,) = told(killed)
    rig.subject.appears(rig.subject.directory / "ready")
    killed.send_signal(signal.SIGKILL)
    assert ended(killed) == -signal.SIGKILL
    if not before_the_end:
        gate.open()
        rig.subject.appears(rig.subject.directory / "done")
    again = Job.from_dict(kept)
    executor = rig.executor()
    executor.attach(again)
    if before_the_end:
        gate.open()
    assert rig.ends(again) == (JobState.FAILED, 5, "exit")
    executor.close()
    assert rig.files() == [], "the new client tidies up after the one that was killed"


def test_a_client_that_is_killed_while_it_submits(slurm: Rig) -> None:
    """What it has not been told of is in the scheduler's list, and can be followed by its id."""
    gate = slurm.subject.gate()
    jobs = [slurm.subject.shell(f"{gate.wait}; exit {code}") for code in (1, 2)]
    for job, queue in zip(jobs, ("debug", "low"), strict=True):  # so that they are submitted one by one
        assert job.spec is not None
        job.spec.attributes.queue_name = queue
    slurm.lab.fault("sbatch")  # the first goes through
    slurm.lab.fault("sbatch", hang=True)
    killed = submitting(slurm, "", *jobs)
    slurm.lab.wait_until(lambda: len(slurm.lab.calls("sbatch")) == 2)
    killed.send_signal(signal.SIGKILL)
    ended(killed)
    slurm.lab.clear_faults()
    executor = slurm.executor()
    (found,) = executor.list()
    again = Job()
    executor.attach(again, found)
    gate.open()
    assert slurm.ends(again) == (JobState.FAILED, 1, "exit")


# -- a client that ends


@EVERY_SYSTEM
def test_a_program_that_ends_without_closing(start: Callable[..., Rig], name: str) -> None:
    rig = start(name)
    gate = rig.subject.gate()
    process = submitting(rig, "", rig.subject.shell(gate.wait))
    (kept,) = told(process)
    assert ended(process) == 0
    again = Job.from_dict(kept)
    rig.executor().attach(again)
    gate.open()
    assert rig.ends(again)[:2] == (JobState.COMPLETED, 0)


def test_a_program_that_ends_in_the_middle_of_a_command(slurm: Rig) -> None:
    slurm.lab.fault("squeue", -1, hang=True)
    gate = slurm.subject.gate()
    process = submitting(slurm, "sys.stdin.readline()", slurm.subject.shell(gate.wait))
    slurm.lab.wait_until(lambda: slurm.lab.calls("squeue"))
    assert process.stdin is not None
    process.stdin.close()
    assert ended(process) == 0
    gate.open()


def test_closing_in_the_middle_of_a_command(slurm: Rig) -> None:
    executor = slurm.executor(command_timeout=3)
    job, gate = slurm.waiting(executor)
    slurm.queue_fault(hang=True)
    slurm.until_asked(1)
    executor.close()
    with pytest.raises(InvalidStateException, match="closed"):
        job.wait()
    with pytest.raises(InvalidStateException, match="closed"):
        executor.attach(Job(), job.native_id)
    slurm.lab.clear_faults()
    again = Job.from_dict(job.to_dict())
    slurm.executor().attach(again)
    gate.open()
    assert slurm.ends(again)[:2] == (JobState.COMPLETED, 0)


def test_closing_while_another_thread_submits(slurm: Rig) -> None:
    executor, job = slurm.executor(), slurm.subject.job()
    executor.submit(slurm.subject.job())
    slurm.lab.fault("sbatch", delay=0.3)
    errors: list[Exception] = []

    def submit() -> None:
        try:
            executor.submit(job)
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=submit)
    thread.start()
    slurm.lab.wait_until(lambda: len(slurm.lab.calls("sbatch")) == 2)
    executor.close()
    thread.join()
    assert errors == []
    with pytest.raises(InvalidStateException, match="closed"):
        job.wait()
    again = Job.from_dict(job.to_dict())
    slurm.executor().attach(again)
    assert slurm.ends(again)[:2] == (JobState.COMPLETED, 0)
    with pytest.raises(InvalidStateException, match="closed"):
        executor.submit(slurm.subject.job())


# -- forks


def test_a_fork_that_ends_at_once_changes_nothing(slurm: Rig) -> None:
    with slurm.executor() as executor:
        slurm.subject.completed(executor, slurm.subject.job())
        child = os.fork()
        if child == 0:
            try:
                executor.close()
                with pytest.raises(InvalidStateException, match="parent process"):
                    executor.submit(Job(JobSpec("/bin/true")))
                os._exit(0)
            except BaseException:
                os._exit(1)
        assert os.waitpid(child, 0)[1] == 0
        assert slurm.subject.completed(executor, slurm.subject.job()).exit_code == 0


FORKING = """
import multiprocessing, os
def run(label):
    with systems.executor(name, work) as mine:
        job = Job(jobs[0].spec)
        mine.submit(job)
        assert job.wait(30).state is JobState.COMPLETED
        print(json.dumps(label), flush=True)
if __name__ == "__main__":
    with executor:
        executor.submit(jobs[0])
        executor.wait_all()
        multiprocessing.set_start_method("fork")
        for label in ("first", "second"):
            process = multiprocessing.Process(target=run, args=(label,))
            process.start()
            process.join()
        if os.fork() == 0:
            sys.exit(3)
        print(json.dumps(os.waitstatus_to_exitcode(os.wait()[1])), flush=True)
        job = Job(jobs[0].spec)
        executor.submit(job)
    print(json.dumps(job.status.state.name), flush=True)
"""


def test_forked_processes_submit_jobs_of_their_own(slurm: Rig) -> None:
    process = client(CLIENT + FORKING, "slurm", str(slurm.work), texts(slurm.subject.job()))
    assert [told(process) for _ in range(4)] == ["first", "second", 3, "COMPLETED"]
    assert ended(process) == 0


# -- several clients


def test_one_job_followed_by_two(rig: Rig) -> None:
    job, gate = rig.waiting(first := rig.executor(), after="exit 9")
    other, second = Job.from_dict(job.to_dict()), rig.executor()
    twice = Job.from_dict(job.to_dict())
    second.attach(other)
    second.attach(twice)
    gate.open()
    assert [rig.ends(each) for each in (job, other, twice)] == [(JobState.FAILED, 9, "exit")] * 3
    second.close()
    assert rig.subject.completed(first, rig.subject.job()).exit_code == 0
    first.close()
    assert rig.files() == []


def test_a_client_tidies_up_before_the_other_has_looked(slurm: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a shared file system, where the kernel tells nothing of what other hosts do."""
    slurm.lab.set(keep=0.0, accounting=False)
    monkeypatch.setattr("harmony.jobs.watch.sys.platform", "other")
    monkeypatch.setattr("harmony.jobs.follow._LOOK_EVERY", 1000.0)
    blind = slurm.executor()
    job, gate = slurm.waiting_blind(blind)
    monkeypatch.undo()
    other = Job.from_dict(job.to_dict())
    slurm.executor().attach(other)
    gate.open()
    assert slurm.ends(other)[:2] == (JobState.COMPLETED, 0)
    assert slurm.ends(job)[:2] == (JobState.COMPLETED, 0)


def test_two_clients_in_one_work_directory(slurm: Rig) -> None:
    first, second = slurm.executor(), slurm.executor()
    one, gate = slurm.waiting(first)
    two = slurm.subject.job()
    slurm.subject.completed(second, two)
    second.close()
    gate.open()
    assert slurm.ends(one)[:2] == (JobState.COMPLETED, 0)


# -- callbacks, and many jobs


def test_a_callback_that_takes_its_time_delays_and_loses_nothing(slurm: Rig) -> None:
    executor, go, told_all = slurm.executor(), threading.Event(), threading.Event()
    slow, others = slurm.subject.job(), [slurm.subject.shell(f"exit {code}") for code in range(3)]
    seen: list[JobState] = []

    def hear(_: Job, status: JobStatus) -> None:
        seen.append(status.state)
        if status.state is JobState.ACTIVE:
            go.wait(20)
        if status.final:
            told_all.set()

    slow.set_job_status_callback(hear)
    executor.submit_all([slow, *others])
    for job, code in zip(others, range(3), strict=True):
        assert slurm.subject.end(job).exit_code == code, "the queue is asked by another thread"
    go.set()
    assert told_all.wait(20)
    assert seen == [state for state in JobState if state not in (JobState.NEW, JobState.FAILED, JobState.CANCELED)]


def test_a_callback_cancels_and_another_closes(slurm: Rig) -> None:
    executor, closed = slurm.executor(), threading.Event()
    slurm.lab.hold()
    job = slurm.subject.job()

    def hear(which: Job, status: JobStatus) -> None:
        if status.state is JobState.QUEUED:
            which.cancel()
        if status.final:
            executor.close()
            closed.set()

    job.set_job_status_callback(hear)
    executor.submit(job)
    assert slurm.ends(job)[0] is JobState.CANCELED
    assert closed.wait(20)
    with pytest.raises(InvalidStateException):
        executor.submit(slurm.subject.job())


@pytest.mark.timeout(300)
def test_many_jobs(slurm: Rig, scale: Callable[[int, int], int], record_property: Callable[[str, Any], None]) -> None:
    count = scale(300, 2_000)
    executor = slurm.executor(queue_polling_interval=30, initial_queue_polling_delay=2)
    jobs = [slurm.subject.job() for _ in range(count)]
    began = time.process_time()
    executor.submit_all(jobs)
    executor.wait_all()
    record_property("seconds of CPU", time.process_time() - began)
    assert {job.status.state for job in jobs} == {JobState.COMPLETED}
    assert len(slurm.lab.calls("sbatch")) == -(-count // 1000)
    executor.close()
    assert slurm.files() == []
