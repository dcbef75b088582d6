"""A job's states: in order, once, and final for ever, whichever threads report them."""

from __future__ import annotations

import json
import logging
import random
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.jobs.manual import ManualExecutor, in_threads, reach

from harmony.jobs import (
    InvalidJobException,
    InvalidStateException,
    Job,
    JobSpec,
    JobState,
    JobStatus,
    JobStatusCallback,
    Reason,
)

FINAL = [JobState.COMPLETED, JobState.FAILED, JobState.CANCELED]
IN_ORDER = [state for state in JobState if state is not JobState.NEW and not state.final]


class Heard:
    """A callback that keeps what it hears."""

    def __init__(self) -> None:
        self.states: list[JobState] = []

    def __call__(self, job: Job, status: JobStatus) -> None:
        self.states.append(status.state)


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def job(heard: Heard) -> Job:
    made = Job(JobSpec("true"))
    made.set_job_status_callback(heard)
    return made


@pytest.fixture
def fast_switching() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(2e-5)
    yield
    sys.setswitchinterval(before)


# -- states -----------------------------------------------------------------------------------------


def test_a_new_job() -> None:
    job = Job()
    assert (job.status.state, job.native_id, job.executor, job.spec, job.name) == (JobState.NEW, None, None, None, None)
    assert job.id != Job().id
    assert repr(Job(JobSpec("x", name="n"))) == "Job(n, not submitted, NEW)"


def test_states_left_out_are_reported_in_order(job: Job, heard: Heard) -> None:
    assert reach(job, JobState.ACTIVE, JobState.COMPLETED) == [True, True]
    assert heard.states == [*IN_ORDER, JobState.COMPLETED]


def test_states_left_out_have_the_time_of_what_told_of_them(job: Job) -> None:
    times: list[float] = []
    job.set_job_status_callback(lambda _, status: times.append(status.time))
    job.advance(JobStatus(JobState.ACTIVE, time=7.0))
    assert times == [7.0, 7.0, 7.0]


def test_a_failure_or_cancel_invents_no_states(job: Job, heard: Heard) -> None:
    reach(job, JobState.QUEUED, JobState.CANCELED)
    assert heard.states == [JobState.QUEUED, JobState.CANCELED]


@pytest.mark.parametrize("reason", [Reason.EXIT, Reason.SIGNAL])
def test_a_program_that_failed_by_itself_went_through_all_states(job: Job, heard: Heard, reason: Reason) -> None:
    job.advance(JobStatus(JobState.FAILED, exit_code=1, metadata={"reason": reason}))
    assert heard.states == [*IN_ORDER, JobState.FAILED]


@pytest.mark.parametrize("facts", [{"reason": Reason.WALLTIME}, {"reason": Reason.EXIT, "phase": "pre_launch"}, {}])
def test_a_job_that_was_stopped_on_the_way_did_not(job: Job, heard: Heard, facts: dict[str, object]) -> None:
    job.advance(JobStatus(JobState.QUEUED))
    job.advance(JobStatus(JobState.FAILED, metadata=facts))
    assert heard.states == [JobState.QUEUED, JobState.FAILED]


def test_states_do_not_go_back_or_come_twice(job: Job, heard: Heard) -> None:
    assert reach(job, JobState.ACTIVE, JobState.QUEUED, JobState.ACTIVE, JobState.NEW) == [True, False, False, False]
    assert heard.states == [JobState.QUEUED, JobState.STAGE_IN, JobState.ACTIVE]


@pytest.mark.parametrize("first", FINAL)
@pytest.mark.parametrize("second", JobState)
def test_defect_2_final_states_are_not_final(job: Job, first: JobState, second: JobState) -> None:
    reach(job, first)
    assert reach(job, second) == [False]
    assert job.status.state is first


@pytest.mark.usefixtures("fast_switching")
def test_defect_2_final_states_are_not_final_under_races() -> None:
    random.seed(5)
    for _ in range(30):
        job, heard = Job(), Heard()
        job.set_job_status_callback(heard)
        accepted: list[JobState] = []
        states = [*IN_ORDER, *FINAL]
        random.shuffle(states)

        def tell(state: JobState, job: Job = job, accepted: list[JobState] = accepted) -> None:
            if job.advance(JobStatus(state)) and state.final:
                accepted.append(state)

        in_threads([lambda state=state: tell(state) for state in states])
        assert accepted == [job.status.state]
        assert heard.states[-1] is job.status.state
        assert [state.final for state in heard.states].count(True) == 1
        assert [state.order for state in heard.states] == sorted({state.order for state in heard.states})


# -- callbacks --------------------------------------------------------------------------------------


def test_a_callback_may_be_an_object(job: Job) -> None:
    class Listener(JobStatusCallback):
        def __init__(self) -> None:
            self.heard: list[tuple[Job, JobState]] = []

        def job_status_changed(self, job: Job, job_status: JobStatus) -> None:
            self.heard.append((job, job_status.state))

    listener = Listener()
    job.set_job_status_callback(listener)
    reach(job, JobState.QUEUED)
    assert listener.heard == [(job, JobState.QUEUED)]


def test_defect_a_callback_cannot_be_removed(job: Job, heard: Heard, caplog: pytest.LogCaptureFixture) -> None:
    executor = ManualExecutor()
    executor.set_job_status_callback(heard)
    executor.submit(job)
    job.set_job_status_callback(None)
    executor.set_job_status_callback(None)
    reach(job, JobState.COMPLETED)
    assert heard.states == [JobState.QUEUED, JobState.QUEUED]
    assert caplog.records == []


def test_what_is_no_callback_is_refused(job: Job) -> None:
    with pytest.raises(TypeError, match="callback='f' must be a JobStatusCallback, a function"):
        job.set_job_status_callback("f")  # type: ignore[arg-type]


def test_the_jobs_own_callback_hears_before_the_executors(job: Job) -> None:
    order: list[str] = []
    executor = ManualExecutor()
    executor.set_job_status_callback(lambda _, status: order.append(f"executor {status.state}"))
    job.set_job_status_callback(lambda _, status: order.append(f"job {status.state}"))
    executor.submit(job)
    assert order == ["job QUEUED", "executor QUEUED"]


def test_a_callback_that_fails_is_logged_and_stops_nothing(
    job: Job, heard: Heard, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(job: Job, status: JobStatus) -> None:
        raise RuntimeError("of the user's")

    executor = ManualExecutor()
    executor.set_job_status_callback(heard)
    job.set_job_status_callback(fail)
    with caplog.at_level(logging.ERROR, "harmony.jobs"):
        executor.submit(job)
    assert heard.states == [JobState.QUEUED]
    assert "of the user's" in caplog.text


def test_a_callback_may_report_a_further_state(job: Job) -> None:
    states: list[JobState] = []

    def callback(job: Job, status: JobStatus) -> None:
        states.append(status.state)
        if status.state is JobState.ACTIVE:
            job.advance(JobStatus(JobState.COMPLETED))

    job.set_job_status_callback(callback)
    reach(job, JobState.ACTIVE)
    assert states == [*IN_ORDER, JobState.COMPLETED]


def test_a_callback_may_wait_for_what_it_was_told(job: Job) -> None:
    seen: list[JobStatus | None] = []
    job.set_job_status_callback(lambda job, status: seen.append(job.wait(0)))
    reach(job, JobState.COMPLETED)
    assert [status is not None and status.final for status in seen] == [True] * 6


# -- cancelling, output, keeping ---------------------------------------------------------------------


def test_cancel_needs_a_submitted_job_that_has_not_ended(job: Job) -> None:
    with pytest.raises(InvalidStateException, match="it was not submitted"):
        job.cancel()
    reach(job, JobState.COMPLETED)
    job.cancel()
    assert job.status.state is JobState.COMPLETED


def test_cancel_asks_the_executor(job: Job) -> None:
    executor = ManualExecutor()
    executor.submit(job)
    job.cancel(grace=2)
    assert executor.cancelled == [(job, 2)]
    assert job.status.state is JobState.CANCELED


def test_what_a_job_has_written(tmp_path: Path) -> None:
    job = Job(JobSpec("x", directory=tmp_path, stdout_path="out"))
    assert job.stdout_text() == ""
    (tmp_path / "out").write_bytes(b"caf\xc3\xa9 \xff\n")
    assert job.stdout_text() == "café \N{REPLACEMENT CHARACTER}\n"
    with pytest.raises(InvalidJobException, match="stderr_path is not set"):
        job.stderr_text()
    with pytest.raises(InvalidJobException, match="stdout_path is not set"):
        Job().stdout_text()


def test_array_jobs_know_their_number() -> None:
    jobs = Job.array(JobSpec("x"), 3)
    assert [job.record["array_index"] for job in jobs] == [0, 1, 2]
    assert len({job.id for job in jobs}) == 3
    for size in (0, True, 1.5):
        with pytest.raises(InvalidJobException, match="must be a whole number, at least 1"):
            Job.array(JobSpec("x"), size)  # type: ignore[arg-type]


def test_defect_10_jobs_cannot_be_kept(tmp_path: Path) -> None:
    executor = ManualExecutor(url="somewhere")
    job = Job(JobSpec("x", ["y"], stdout_path=tmp_path / "out"))
    executor.submit(job)
    job.record["work"] = "w"
    job.advance(JobStatus(JobState.ACTIVE, 3.5, "m", metadata={"native_state": "R"}))
    data = json.loads(json.dumps(job.to_dict()))
    assert data["executor"] == {"name": "manual", "url": "somewhere"}
    again = Job.from_dict(data)
    assert (again.id, again.native_id, again.spec) == (job.id, "1", job.spec)
    assert (again.record, again.executor) == ({"work": "w"}, None)
    assert again.status.to_dict() == job.status.to_dict()
    ManualExecutor().attach(again)
    assert again.to_dict()["native_id"] == "1"


def test_a_job_without_a_specification_is_kept_too() -> None:
    data = Job().to_dict()
    assert Job.from_dict(data).to_dict() == data
    with pytest.raises(InvalidJobException, match="version=7: this is not a job that Harmony wrote"):
        Job.from_dict({**data, "version": 7})
