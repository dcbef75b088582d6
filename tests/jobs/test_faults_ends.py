"""What may befall jobs and nodes, and evidence that is late or lost: each end has its reason, none is guessed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tests.jobs.faults import KILL_SCRIPT, Rig, rig, slurm, start

from harmony.conformance.emulators import How, State
from harmony.jobs import Job, JobState
from harmony.jobs.evidence import Patience

__all__ = ["rig", "slurm", "start"]  # fixtures

#: The attribute that forbids to start a job anew, and the one that allows it.
ONCE: dict[str, dict[str, Any]] = {
    "slurm": {"slurm.no-requeue": None}, "pbs": {"pbs.r": "n"}, "pbs_classic": {"pbs_classic.r": "n"},
}  # fmt: skip
AGAIN: dict[str, dict[str, Any]] = {
    "slurm": {"slurm.requeue": None}, "pbs": {"pbs.r": "y"}, "pbs_classic": {"pbs_classic.r": "y"},
    "sge": {"sge.r": "y"}, "lsf": {"lsf.r": None},
}  # fmt: skip
LATE = {"slurm": "sacct", "sge": "qacct", "lsf": "bhist", "htcondor": "condor_history"}


def custom(rig: Rig, table: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Attributes of that table for the system, beside those that it always needs."""
    known = rig.subject.attributes.get("custom_attributes", {})
    return {"attributes": {"custom_attributes": {**known, **table[rig.lab.name]}}}


# -- evidence


def test_a_job_that_was_purged_before_it_was_seen(rig: Rig) -> None:
    rig.lab.set(keep=0.0, accounting=False)
    executor = rig.executor(initial_queue_polling_delay=1.0, queue_polling_interval=1.0)
    good, bad = rig.subject.job(), rig.subject.shell("exit 3")
    executor.submit_all([good, bad])
    assert rig.ends(good) == (JobState.COMPLETED, 0, None)
    assert rig.ends(bad) == (JobState.FAILED, 3, "exit")


def test_a_job_that_nobody_knows_anything_of(rig: Rig) -> None:
    rig.lab.set(keep=0.0, accounting=False)
    job = rig.subject.shell(KILL_SCRIPT)
    status = rig.subject.run(rig.executor(patience=Patience(vanished=0.5, silent=0.5)), job)
    assert (status.state, status.exit_code, status.reason) == (JobState.FAILED, None, "unknown")
    assert "neither its job script nor accounting" in str(status.message)


@pytest.mark.parametrize("name", LATE)
def test_accounting_that_is_late(start: Callable[..., Rig], name: str) -> None:
    rig = start(name, keep=0.0, accounting_delay=1.0)
    executor = rig.executor(patience=Patience(vanished=20))
    assert rig.ends_of(executor, KILL_SCRIPT) == (JobState.FAILED, 137, "signal")


@pytest.mark.parametrize("name", LATE)
def test_accounting_that_fails_for_a_while(start: Callable[..., Rig], name: str) -> None:
    rig = start(name, keep=0.0)
    rig.lab.fault(LATE[name], 3, unreachable=True)
    executor = rig.executor(patience=Patience(vanished=0.1, silent=20))
    assert rig.ends_of(executor, KILL_SCRIPT) == (JobState.FAILED, 137, "signal")


def test_a_job_script_that_is_killed_is_known_from_the_queue(slurm: Rig) -> None:
    slurm.lab.set(accounting=False)
    assert slurm.ends_of(slurm.executor(), KILL_SCRIPT) == (JobState.FAILED, 137, "signal")


# -- what befalls jobs


@pytest.mark.parametrize("name", ONCE)
def test_a_node_fails(start: Callable[..., Rig], name: str) -> None:
    rig = start(name)
    gate = rig.subject.gate()
    job = rig.subject.shell(gate.wait, **custom(rig, ONCE))
    rig.executor().submit(job)
    rig.reaches(job, JobState.ACTIVE)
    rig.lab.kill_node(rig.lab.job(str(job.native_id)).nodes[0])
    state, _, reason = rig.ends(job)
    assert (state, reason) == (JobState.FAILED, "node_failure"), job.status


@pytest.mark.parametrize("how", ["a node fails", How.PREEMPTED])
@pytest.mark.parametrize("name", AGAIN)
def test_a_job_that_is_started_anew(start: Callable[..., Rig], name: str, how: Any) -> None:
    rig = start(name)
    gate = rig.subject.gate()
    job = rig.subject.shell(f"echo >> starts; {gate.wait}", **custom(rig, AGAIN))
    rig.executor().submit(job)
    rig.subject.appears(rig.subject.directory / "starts")
    native_id = str(job.native_id)
    if how is How.PREEMPTED:
        rig.lab.befall(native_id, how)
    else:
        rig.lab.kill_node(rig.lab.job(native_id).nodes[0])
    rig.lab.wait_until(lambda: rig.lab.job(native_id).restarts and rig.lab.job(native_id).state is State.RUNNING)
    gate.open()
    assert rig.ends(job)[:2] == (JobState.COMPLETED, 0), job.status
    assert (rig.subject.directory / "starts").read_text() == "\n\n"
    if name == "slurm":
        assert job.status.metadata["restarts"] == 1


@pytest.mark.parametrize(
    ("name", "reason"),
    [("slurm", "out_of_memory"), ("lsf", "out_of_memory"), ("pbs", "out_of_memory"), ("pbs_classic", "out_of_memory")],
)
def test_too_much_memory(start: Callable[..., Rig], name: str, reason: str) -> None:
    rig = start(name)
    job, _ = rig.waiting(rig.executor())
    rig.lab.befall(str(job.native_id), How.OUT_OF_MEMORY)
    assert rig.ends(job)[::2] == (JobState.FAILED, reason), job.status


def test_a_program_that_ignores_the_end_of_its_time(rig: Rig) -> None:
    rig.lab.set(speed=600.0, kill_wait=0.1)
    rig.subject.needs("walltime")
    gate = rig.subject.gate()
    job = rig.subject.shell(f"trap '' TERM; while :; do {gate.wait}; done", duration=rig.subject.short_walltime)
    rig.executor().submit(job)
    assert rig.ends(job)[::2] == (JobState.FAILED, "walltime"), job.status


def test_jobs_that_cannot_be_started(rig: Rig) -> None:
    executor = rig.executor()
    rig.lab.set(failing_starts=1)
    job, late = rig.subject.job(), rig.subject.job()
    executor.submit(job)
    state, code, _ = rig.ends(job)
    assert (state, code) != (JobState.COMPLETED, 0)
    executor.submit(late)
    assert rig.ends(late)[:2] == (JobState.COMPLETED, 0)


def test_a_job_that_is_stuck_in_the_queue_is_removed_from_it(start: Callable[..., Rig]) -> None:
    rig = start("sge", failing_starts=1)
    job = rig.subject.job()
    rig.executor().submit(job)
    assert rig.ends(job)[::2] == (JobState.FAILED, "launch")
    assert rig.lab.wait_for(str(job.native_id)).how is How.CANCELLED


def test_a_job_that_is_held_waits(slurm: Rig) -> None:
    executor = slurm.executor(queue_polling_interval=0.05)
    job = slurm.subject.job(attributes={"custom_attributes": {"slurm.hold": None}})
    executor.submit(job)
    slurm.until_asked(3)
    assert job.status.state is JobState.QUEUED
    job.cancel()
    assert slurm.ends(job)[0] is JobState.CANCELED


@pytest.mark.parametrize("name", ["slurm", "pbs", "pbs_classic", "sge", "lsf", "flux"])
def test_an_array_job_of_which_some_fail_and_some_are_cancelled(start: Callable[..., Rig], name: str) -> None:
    rig = start(name)
    executor = rig.executor()
    gate = rig.subject.gate()
    script = f"case $PSIJ_ARRAY_INDEX in 0|1) exit 0;; 2) exit 6;; 3) {KILL_SCRIPT};; *) {gate.wait};; esac"
    jobs = Job.array(rig.subject.spec("/bin/sh", ["-c", script]), 6)
    executor.submit_all(jobs)
    rig.reaches(jobs[4], JobState.ACTIVE)
    rig.reaches(jobs[5], JobState.ACTIVE)
    jobs[4].cancel()
    assert rig.ends(jobs[4])[0] is JobState.CANCELED
    assert jobs[5].status.state is JobState.ACTIVE, "only that task is cancelled"
    gate.open()
    assert [rig.ends(jobs[index])[:2] for index in (0, 1, 2, 5)] == [
        (JobState.COMPLETED, 0), (JobState.COMPLETED, 0), (JobState.FAILED, 6), (JobState.COMPLETED, 0),
    ]  # fmt: skip
    assert rig.ends(jobs[3])[0] is JobState.FAILED
