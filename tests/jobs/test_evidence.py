"""Judging a job's end from the evidence: what is believed at once, what is confirmed first, what stays unknown."""

from __future__ import annotations

import pytest

from harmony.jobs.evidence import Case, Patience
from harmony.jobs.scheduler import ended, failed
from harmony.jobs.script import Marker
from harmony.jobs.state import JobState, JobStatus, Reason

PATIENCE = Patience(confirm=10, signal=60, vanished=30, canceled=3, silent=300)
QUEUED, ACTIVE = JobStatus(JobState.QUEUED), JobStatus(JobState.ACTIVE)


def start(attempt: int = 0) -> Marker:
    return Marker("id", attempt, 100, JobState.ACTIVE)


def end(code: int, phase: str = "done", attempt: int = 0) -> Marker:
    return Marker("id", attempt, 200, None, code, phase)


@pytest.fixture
def case() -> Case:
    return Case(PATIENCE)


def verdict(case: Case, now: float) -> tuple[JobState, int | None, str | None]:
    status = case.judge(now)
    assert status is not None
    return status.state, status.exit_code, status.reason


def test_a_start_is_reported_with_its_time(case: Case) -> None:
    status = case.marked(start(), 0)
    assert status is not None
    assert (status.state, status.time) == (JobState.ACTIVE, 100)


def test_success_is_believed_at_once(case: Case) -> None:
    case.marked(end(0), 1)
    assert verdict(case, 1) == (JobState.COMPLETED, 0, None)


def test_a_failure_is_confirmed_first(case: Case) -> None:
    case.marked(end(3), 1)
    assert case.judge(1) is None
    case.seen(ended(3), 2)
    assert verdict(case, 2) == (JobState.FAILED, 3, "exit")


@pytest.mark.parametrize("reason", [Reason.WALLTIME, Reason.OUT_OF_MEMORY, Reason.NODE_FAILURE, Reason.PREEMPTED])
def test_what_only_the_scheduler_knows_goes_before_the_exit_code(case: Case, reason: Reason) -> None:
    case.marked(end(1), 1)
    case.seen(failed(reason, "X", "so it was"), 2)
    assert verdict(case, 2) == (JobState.FAILED, 1, reason)


def test_a_scheduler_that_does_not_answer_does_not_hold_up_a_failure_for_ever(case: Case) -> None:
    case.marked(end(3), 1)
    assert case.judge(10.9) is None
    assert verdict(case, 11) == (JobState.FAILED, 3, "exit")


@pytest.mark.parametrize("phase", ["done", "stage_in"])
def test_a_queue_that_is_behind_does_not_make_an_end_forgotten(case: Case, phase: str) -> None:
    """Grid Engine shows a job that failed within its first second as queued for a while."""
    case.marked(end(121, phase), 1)
    case.seen(QUEUED, 2)
    assert case.judge(2) is None
    case.gone(3)
    case.accounted(ended(121), 3)
    assert verdict(case, 3) == (JobState.FAILED, 121, "exit" if phase == "done" else "staging")


def test_a_job_started_anew_ends_as_the_scheduler_says_and_not_as_before(case: Case) -> None:
    case.marked(end(143), 1)
    case.seen(QUEUED, 2)
    case.gone(3)
    case.accounted(ended(2), 3)
    assert verdict(case, 3) == (JobState.FAILED, 2, "exit")


def test_a_killed_program_may_be_started_anew(case: Case) -> None:
    case.marked(start(), 0)
    case.marked(end(143), 1)
    assert case.judge(12) is None
    case.seen(QUEUED, 20)
    assert case.judge(200) is None
    case.marked(start(1), 210)
    case.marked(end(0, attempt=1), 220)
    status = case.judge(220)
    assert status is not None
    assert (status.state, status.metadata["restarts"]) == (JobState.COMPLETED, 1)


def test_an_answer_older_than_the_end_does_not_undo_it(case: Case) -> None:
    case.marked(end(3), 5)
    case.seen(QUEUED, 4)
    case.seen(ended(3), 6)
    assert verdict(case, 6) == (JobState.FAILED, 3, "exit")


def test_a_late_marker_of_an_earlier_attempt_is_not_the_end(case: Case) -> None:
    case.marked(start(1), 1)
    case.marked(end(7, attempt=1), 2)
    case.marked(end(143, attempt=0), 3)
    assert verdict(case, 200) == (JobState.FAILED, 7, "exit")


def test_a_vanished_job_is_unknown_until_accounting_has_been_asked(case: Case) -> None:
    case.seen(ACTIVE, 0)
    case.gone(10)
    assert case.wants_accounting
    assert case.judge(45) is None
    case.accounted(None, 46)
    assert verdict(case, 46) == (JobState.FAILED, None, "unknown")


def test_a_vanished_job_that_accounting_knows(case: Case) -> None:
    case.gone(10)
    case.accounted(ended(0), 11)
    assert verdict(case, 11) == (JobState.COMPLETED, 0, None)


def test_accounting_that_is_late(case: Case) -> None:
    case.gone(10)
    case.accounted(None, 11)
    assert case.judge(12) is None
    case.accounted(ended(2), 13)
    assert verdict(case, 13) == (JobState.FAILED, 2, "exit")


def test_accounting_that_never_answers(case: Case) -> None:
    case.gone(10)
    assert case.judge(309) is None
    assert verdict(case, 310) == (JobState.FAILED, None, "unknown")


def test_a_job_that_comes_back_was_not_gone(case: Case) -> None:
    case.gone(10)
    case.accounted(None, 11)
    case.seen(ACTIVE, 12)
    assert case.judge(100) is None
    assert not case.unsettled


def test_ended_without_saying_how_is_not_completed(case: Case) -> None:
    case.seen(ended(None), 10)
    assert case.judge(10) is None
    assert case.wants_accounting
    case.accounted(None, 11)
    assert verdict(case, 40) == (JobState.FAILED, None, "unknown")


def test_a_cancelled_job_that_leaves_no_trace(case: Case) -> None:
    case.cancel_asked = True
    case.gone(10)
    case.accounted(None, 10)
    assert case.judge(12) is None
    assert verdict(case, 13) == (JobState.CANCELED, None, "canceled")


@pytest.mark.parametrize("word", [ended(signal=15), ended(137), failed(Reason.CANCELED, "CA", "by 0")])
def test_a_cancelled_job_that_was_killed(case: Case, word: JobStatus) -> None:
    case.cancel_asked = True
    case.seen(word, 10)
    assert verdict(case, 10)[0] is JobState.CANCELED


def test_a_cancel_that_came_too_late(case: Case) -> None:
    case.cancel_asked = True
    case.marked(end(0), 1)
    assert verdict(case, 1) == (JobState.COMPLETED, 0, None)


@pytest.mark.parametrize(
    ("code", "reason"), [(128, "exit"), (129, "signal"), (192, "signal"), (193, "exit"), (255, "exit")]
)
def test_which_exit_codes_are_signals(case: Case, code: int, reason: str) -> None:
    case.marked(end(code), 0)
    assert verdict(case, 100) == (JobState.FAILED, code, reason)


@pytest.mark.parametrize(("walltime", "reason"), [(100, "walltime"), (102, "signal"), (None, "signal")])
def test_killed_as_its_walltime_ran_out(walltime: float | None, reason: str) -> None:
    case = Case(PATIENCE, walltime)
    case.marked(start(), 0)
    case.marked(end(143), 0)
    assert verdict(case, 100) == (JobState.FAILED, 143, reason)


@pytest.mark.parametrize(
    ("phase", "code", "reason"),
    [
        ("run", 137, "signal"),
        ("done", 4, "exit"),
        ("stage_in", 121, "staging"),
        ("stage_out", 121, "staging"),
        ("directory", 121, "launch"),
        ("launch", 127, "launch"),
        ("pre_launch", 1, "exit"),
        ("walltime", 143, "walltime"),
    ],
)
def test_phases(case: Case, phase: str, code: int, reason: str) -> None:
    case.marked(end(code, phase), 0)
    case.gone(1)
    case.accounted(None, 2)
    status = case.judge(2)
    assert status is not None
    assert (status.state, status.reason, status.metadata["phase"]) == (JobState.FAILED, reason, phase)
    assert status.metadata.get("signal") == (9 if reason == "signal" else None)
