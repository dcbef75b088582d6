"""States and their order, and statuses."""

from __future__ import annotations

import itertools
import json

import pytest

from harmony.jobs import JobState, JobStatus, Reason

FINAL = [JobState.COMPLETED, JobState.FAILED, JobState.CANCELED]


def test_the_states_and_their_numbers_are_psijs() -> None:
    assert [(state.name, state.value[0]) for state in JobState] == [
        ("NEW", 0), ("QUEUED", 1), ("STAGE_IN", 2), ("ACTIVE", 3), ("STAGE_OUT", 4), ("CLEANUP", 5),
        ("COMPLETED", 6), ("FAILED", 7), ("CANCELED", 8),
    ]  # fmt: skip


def test_exactly_three_states_are_final() -> None:
    assert [state for state in JobState if state.final] == FINAL


@pytest.mark.parametrize(("left", "right"), [*itertools.permutations(FINAL, 2)])
def test_two_final_states_cannot_be_compared(left: JobState, right: JobState) -> None:
    assert left.is_greater_than(right) is None


@pytest.mark.parametrize("state", JobState)
def test_a_state_is_not_greater_than_itself(state: JobState) -> None:
    assert state.is_greater_than(state) is False


def test_every_state_is_greater_than_those_before_it() -> None:
    ordered = [state for state in JobState if not state.final]
    for earlier, later in itertools.combinations([*ordered, JobState.FAILED], 2):
        assert later.is_greater_than(earlier) is True
        assert earlier.is_greater_than(later) is False


def test_predecessors_lead_back_to_new() -> None:
    chain: list[JobState] = []
    state: JobState | None = JobState.COMPLETED
    while state is not None:
        chain.append(state)
        state = state.predecessor
    assert chain == [state for state in reversed(JobState) if state not in (JobState.FAILED, JobState.CANCELED)]
    assert [JobState.FAILED.predecessor, JobState.CANCELED.predecessor, JobState.NEW.predecessor] == [None] * 3


def test_a_state_is_true_and_its_text_is_its_name() -> None:
    assert all(JobState)
    assert [str(state) for state in JobState] == list(JobState.__members__)
    assert len(dict.fromkeys(JobState, 1)) == 9


def test_from_name() -> None:
    assert JobState.from_name("ACTIVE") is JobState.ACTIVE
    with pytest.raises(ValueError, match=r"no job state 'RUNNING'; they are NEW, QUEUED"):
        JobState.from_name("RUNNING")


def test_a_status_has_a_time_of_its_own() -> None:
    first, second = JobStatus(JobState.NEW), JobStatus(JobState.NEW)
    assert 0 < first.time <= second.time
    assert JobStatus(JobState.NEW, time=0).time == 0
    first.metadata["x"] = 1
    assert second.metadata == {}


def test_a_status_needs_a_state() -> None:
    with pytest.raises(TypeError, match="state='ACTIVE' must be a JobState"):
        JobStatus("ACTIVE")  # type: ignore[arg-type]


@pytest.mark.parametrize("reason", Reason)
def test_a_status_survives_json(reason: Reason) -> None:
    status = JobStatus(JobState.FAILED, 12.5, "it ended", 3, {"reason": reason, "signal": 9, "native_state": "F"})
    again = JobStatus.from_dict(json.loads(json.dumps(status.to_dict())))
    assert again.to_dict() == status.to_dict()
    assert (again.state, again.time, again.message, again.exit_code) == (JobState.FAILED, 12.5, "it ended", 3)
    assert again.reason == reason.value
    assert again.final


def test_a_status_says_what_is_known() -> None:
    assert repr(JobStatus(JobState.NEW)) == "JobStatus(NEW)"
    assert repr(JobStatus(JobState.FAILED, message="m", exit_code=1)) == "JobStatus(FAILED, exit_code=1, message='m')"
