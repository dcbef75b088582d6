"""The scheduler's commands are missing, refuse, hang, fail or talk nonsense: no job is misjudged for it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.jobs import systems
from tests.jobs.faults import KILL_SCRIPT, SUBMITS, Rig, rig, slurm, start

from harmony.jobs import InvalidJobException, Job, JobState, SubmitException
from harmony.jobs.evidence import Patience
from harmony.jobs.shell import Here

__all__ = ["rig", "slurm", "start"]  # fixtures

ODD_LINES = (
    "", "|||||", "1234", "\x1b[31mwarning:\x1b[0m disk is full", "<xml><job", "%$#@ é", "a" * 5000, "JOBID STATE",
    '{"jobs": [', "-1:-1", "12_[3-9%2]|PENDING|0:0|0|None", "ƒ|f|R|", "}}}", "Job Id:", "slurm_load_jobs error",
)  # fmt: skip


# -- submitting


def test_a_command_that_is_missing(rig: Rig, tmp_path: Path) -> None:
    (tmp_path / "bare").mkdir()
    for program in ("sh", "env", "id"):
        os.symlink(str(shutil.which(program)), tmp_path / "bare" / program)
    executor, job = rig.executor(shell=Here({"PATH": str(tmp_path / "bare")})), rig.subject.job()
    with pytest.raises(SubmitException, match=SUBMITS[rig.lab.name]) as refusal:
        executor.submit(job)
    assert not refusal.value.transient
    assert (job.status.state, job.native_id, job.executor) == (JobState.NEW, None, None)
    with pytest.raises(SubmitException):
        executor.list()
    assert rig.subject.completed(rig.executor(), job).exit_code == 0, "it can still be submitted"


def test_a_refused_submission_can_be_repeated(rig: Rig) -> None:
    executor, job = rig.executor(), rig.subject.job()
    for transient in (False, True):
        rig.lab.refuse(transient=transient)
        with pytest.raises(SubmitException) as refusal:
            executor.submit(job)
        assert refusal.value.transient is transient, refusal.value
        assert (job.status.state, job.native_id, job.executor) == (JobState.NEW, None, None)
        assert rig.files() == [], "a refused job leaves nothing"
    assert rig.subject.completed(executor, job).exit_code == 0


def test_a_submission_without_an_answer(rig: Rig) -> None:
    executor, job = rig.executor(command_timeout=0.5), rig.subject.job()
    rig.lab.fault(SUBMITS[rig.lab.name], hang=True)
    with pytest.raises(SubmitException, match="may have taken the job") as refusal:
        executor.submit(job)
    assert refusal.value.transient
    assert job.status.state is JobState.NEW


def test_a_submission_that_answers_nonsense(rig: Rig) -> None:
    executor, job = rig.executor(), rig.subject.job()
    rig.lab.fault(SUBMITS[rig.lab.name], cut=0)
    with pytest.raises(SubmitException, match="may be in the queue") as refusal:
        executor.submit(job)
    assert not refusal.value.transient
    rig.lab.wait_for(rig.lab.jobs()[0].id)


def test_some_of_many_are_refused(slurm: Rig) -> None:
    executor = slurm.executor()
    jobs = [slurm.subject.job(attributes={"queue_name": name}) for name in ("debug", "no-such-queue", "debug")]
    with pytest.raises(SubmitException):
        executor.submit_all(jobs)
    states = [job.status.state is JobState.NEW for job in jobs]
    assert states == [False, True, False]
    assert [slurm.subject.end(jobs[index]).exit_code for index in (0, 2)] == [0, 0]


def test_a_launcher_that_refuses_one_refuses_all(slurm: Rig) -> None:
    executor = slurm.executor()
    good = slurm.subject.job()
    bad = slurm.subject.job(launcher_options=["-x"], attributes={"custom_attributes": {"slurm.requeue": None}})
    with pytest.raises(InvalidJobException, match="launcher_options"):
        executor.submit_all([good, bad])
    assert slurm.lab.jobs() == []
    assert good.status.state is JobState.NEW


def test_a_scheduler_that_is_started_anew(rig: Rig) -> None:
    executor = rig.executor()
    job, gate = rig.waiting(executor)
    for program in (rig.lab.directory / "bin").iterdir():
        rig.lab.fault(program.name, -1, unreachable=True)
    late = rig.subject.job()
    with pytest.raises(SubmitException) as refusal:
        executor.submit(late)
    assert refusal.value.transient, refusal.value
    with pytest.raises(SubmitException) as refusal:
        job.cancel()
    assert refusal.value.transient, refusal.value
    with pytest.raises(SubmitException):
        executor.list()
    executor.refresh()
    assert executor.trouble
    assert job.status.state is JobState.ACTIVE
    rig.lab.clear_faults()
    executor.refresh()
    assert executor.trouble is None
    executor.submit(late)
    assert rig.subject.end(late).state is JobState.COMPLETED
    gate.open()
    assert rig.ends(job)[:2] == (JobState.COMPLETED, 0), "the cancel that failed has not come true"


# -- asking


def test_a_status_command_that_hangs(rig: Rig) -> None:
    executor = rig.executor(command_timeout=0.3, patience=Patience(confirm=0.5))
    good, first = rig.waiting(executor, "first")
    bad, second = rig.waiting(executor, "second", "exit 3")
    rig.queue_fault(hang=True)
    rig.until_asked(1)
    first.open()
    second.open()
    assert rig.ends(good)[:2] == (JobState.COMPLETED, 0)
    assert rig.ends(bad) == (JobState.FAILED, 3, "exit")
    rig.lab.clear_faults()
    assert rig.subject.completed(executor, rig.subject.job()).exit_code == 0


def test_a_status_command_that_fails_fifty_times(slurm: Rig) -> None:
    executor = slurm.executor(queue_polling_interval=0.01, initial_queue_polling_delay=0.01)
    job, gate = slurm.waiting(executor)
    slurm.until_consumed(slurm.queue_fault(50, complaint="internal error: segmentation fault", code=139))
    assert job.status.state is JobState.ACTIVE
    gate.open()
    assert slurm.ends(job)[:2] == (JobState.COMPLETED, 0)


def test_answers_that_cannot_be_used(rig: Rig) -> None:
    executor = rig.executor(queue_polling_interval=0.02, initial_queue_polling_delay=0.02)
    job, gate = rig.waiting(executor)
    nonsense = "\n".join(ODD_LINES)
    rig.queue_fault(4, complaint="internal error: segmentation fault", code=139)
    rig.queue_fault(2, complaint=nonsense, code=0)
    rig.queue_fault(2, complaint=nonsense, code=1)
    rig.queue_fault(2, unreachable=True)
    rig.queue_fault(2, cut=0)
    rig.queue_fault(2, cut=7)
    rig.until_consumed(rig.queue_fault(2, cut=60))
    assert job.status.state is JobState.ACTIVE
    gate.open()
    assert rig.ends(job)[:2] == (JobState.COMPLETED, 0)


def test_odd_lines_among_good_ones(rig: Rig) -> None:
    quick = {"queue_polling_interval": 0.05, "initial_queue_polling_delay": 0.05}
    executor = rig.executor(**quick, patience=Patience(confirm=0.5))
    job, gate = rig.waiting(executor, after="exit 4")
    rig.queue_fault(lines=ODD_LINES)
    rig.until_asked(3)
    gate.open()
    assert rig.ends(job) == (JobState.FAILED, 4, "exit")


@pytest.mark.parametrize("name", ["slurm", "lsf"])
def test_a_queue_that_shows_nothing_while_accounting_knows_better(start: Callable[..., Rig], name: str) -> None:
    rig = start(name)
    quick = {"queue_polling_interval": 0.05, "initial_queue_polling_delay": 0.05}
    executor = rig.executor(**quick, patience=Patience(vanished=0.1))
    job, gate = rig.waiting(executor)
    rig.queue_fault(cut=0)
    rig.until_asked(10)
    assert job.status.state is JobState.ACTIVE
    gate.open()
    assert rig.ends(job)[:2] == (JobState.COMPLETED, 0)


@pytest.mark.parametrize("name", systems.EMULATED)
def test_ten_thousand_jobs_of_others(start: Callable[..., Rig], name: str) -> None:
    rig = start(name, foreign=10_000)
    executor = rig.executor()
    good, bad, killed = rig.subject.job(), rig.subject.shell("exit 7"), rig.subject.shell(KILL_SCRIPT)
    for job in (good, bad, killed):
        executor.submit(job)
    assert rig.ends(good)[:2] == (JobState.COMPLETED, 0)
    assert rig.ends(bad) == (JobState.FAILED, 7, "exit")
    assert rig.ends(killed)[0] is JobState.FAILED
    assert executor.trouble is None
    assert set(executor.list()) <= {good.native_id, bad.native_id, killed.native_id}


# -- cancelling


def test_a_cancel_that_races_with_the_end(rig: Rig) -> None:
    executor = rig.executor()
    jobs = [rig.subject.shell(f"echo done > done{index}") for index in range(50 if rig.lab.name == "slurm" else 8)]
    for job in jobs:
        executor.submit(job)
        job.cancel()
    for job in jobs:
        state, _, reason = rig.ends(job)
        assert (state, reason) in ((JobState.COMPLETED, None), (JobState.CANCELED, "canceled")), job.status
    done = {f"done{index}" for index, job in enumerate(jobs) if job.status.state is JobState.COMPLETED}
    assert done <= {path.name for path in rig.subject.directory.iterdir()}, "none is COMPLETED that was not"


def test_a_waiting_job_is_cancelled_at_once_whatever_the_grace(rig: Rig) -> None:
    executor = rig.executor()
    rig.lab.hold()
    job, same = rig.subject.job(), Job()
    executor.submit(job)
    rig.executor().attach(same, job.native_id)
    same.cancel(grace=1000)  # of which nothing is known yet
    assert rig.ends(same)[0] is JobState.CANCELED


def test_a_grace_that_the_scheduler_cannot_keep(slurm: Rig) -> None:
    executor = slurm.executor()
    job, _ = slurm.waiting(executor)
    slurm.lab.fault("scancel", complaint="scancel: error: Job can not be altered now", code=228)
    job.cancel(grace=1000)
    assert slurm.ends(job) == (JobState.CANCELED, slurm.subject.end(job).exit_code, "canceled")
    assert [call for call in slurm.lab.calls("scancel") if "--signal=TERM" not in call]


def test_the_kill_after_the_grace_is_repeated_until_it_works(slurm: Rig) -> None:
    executor = slurm.executor()
    gate = slurm.subject.gate()
    job = slurm.subject.shell(f"trap '' TERM; echo > ready; while :; do {gate.wait}; done")
    executor.submit(job)
    slurm.subject.appears(slurm.subject.directory / "ready")
    job.cancel(grace=0.01)
    slurm.lab.fault("scancel", 3, unreachable=True)
    assert slurm.ends(job)[::2] == (JobState.CANCELED, "canceled")
