"""The executor for OAR on a real OAR."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.jobs.texts import ODD
from tests.labs.oar import AsAccount, oar_lab

from harmony.errors import SubmitException
from harmony.jobs import Job, JobAttributes, JobExecutor, JobSpec, JobState, JobStatus, Reason, ResourceSpecV1
from harmony.jobs.batch import BatchSchedulerExecutorConfig

pytestmark = [pytest.mark.timeout(400), pytest.mark.slow]
PATIENCE = 90.0


@pytest.fixture(scope="module")
def lab() -> Iterator[tuple[AsAccount, Path]]:
    """A real OAR, and the directory of its jobs."""
    with oar_lab() as found:
        yield found


@pytest.fixture
def executor(lab: tuple[AsAccount, Path]) -> Iterator[JobExecutor]:
    """An executor of it."""
    shell, directory = lab
    config = BatchSchedulerExecutorConfig(
        work_directory=directory / "work", shell=shell, initial_queue_polling_delay=0.5, queue_polling_interval=2
    )
    (directory / "work" / "oar").mkdir(parents=True, exist_ok=True)
    made = JobExecutor.get_instance("oar", config=config)
    yield made
    made.close()


def job(directory: Path, program: str, **fields: Any) -> Job:
    """A job of a shell program."""
    return Job(JobSpec("/bin/sh", ["-c", program], directory=directory, **fields))


def end(made: Job) -> JobStatus:
    """Its end."""
    status = made.wait(PATIENCE)
    assert status is not None, made
    return status


def test_ends(lab: tuple[AsAccount, Path], executor: JobExecutor) -> None:
    _, directory = lab
    name = " ".join(ODD.values())
    good = job(directory, 'id -un; cat "$PSIJ_NODEFILE"', name=name, stdout_path="good.txt",
               resources=ResourceSpecV1(process_count=2))  # fmt: skip
    bad, killed = job(directory, "exit 3"), job(directory, "kill -9 $$")
    for each in (good, bad, killed):
        executor.submit(each)
    assert end(good).state is JobState.COMPLETED
    account, *nodes = (directory / "good.txt").read_text().split()
    assert account == lab[0].account
    assert len(nodes) == 2
    assert (end(bad).exit_code, bad.status.reason) == (3, Reason.EXIT)
    assert (end(killed).exit_code, killed.status.reason) == (137, Reason.SIGNAL)


def test_what_ends_a_job_from_outside(lab: tuple[AsAccount, Path], executor: JobExecutor) -> None:
    _, directory = lab
    long = job(directory, "exec sleep 300", attributes=JobAttributes(timedelta(seconds=5)))
    polite = job(directory, 'sleep 300 & trap "kill $!; exit 7" TERM; wait')
    rude = job(directory, "exec sleep 300")
    for each in (long, polite, rude):
        executor.submit(each)
    polite.wait(PATIENCE, JobState.ACTIVE)
    rude.wait(PATIENCE, JobState.ACTIVE)
    rude.cancel()
    assert (end(rude).state, rude.status.reason) == (JobState.CANCELED, Reason.CANCELED)
    polite.cancel(grace=20)
    assert end(polite).state is JobState.CANCELED
    assert (end(long).state, long.status.reason) == (JobState.FAILED, Reason.WALLTIME)


def test_arrays_dependencies_and_refusals(lab: tuple[AsAccount, Path], executor: JobExecutor) -> None:
    _, directory = lab
    many = [job(directory, "true") for _ in range(3)]
    executor.submit_all(many)
    assert len({each.native_id for each in many}) == 3
    last = job(directory, "true")
    executor.submit(last, after_any=many)
    assert last.native_id in executor.list()
    assert [end(each).state for each in [*many, last]] == [JobState.COMPLETED] * 4
    with pytest.raises(SubmitException, match="The queue nope does not exist") as refused:
        executor.submit(job(directory, "true", attributes=JobAttributes(queue_name="nope")))
    assert not refused.value.transient
