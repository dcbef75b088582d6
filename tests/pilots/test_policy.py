"""How many blocks there are to be: growing, shrinking, failing. Pure decisions, so no clock and no job."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harmony.pilots.policy import (
    LONGEST_AFTER_FAILURES,
    LONGEST_PAUSE,
    SUBMISSIONS,
    Actions,
    Need,
    Past,
    View,
    decide,
    pause,
)
from harmony.sites import Blocks

BEGUN = Past(begun=True)
IDLE = 120.0


def alive(count: int, *, workers: int = 4, idle_since: float | None = None) -> list[View]:
    return [View(f"b{index}", workers, idle_since) for index in range(count)]


@pytest.mark.parametrize(
    ("policy", "need", "start"),
    [
        (Blocks(), Need(), 1),
        (Blocks(init=0), Need(), 0),
        (Blocks(init=0), Need(1, 0), 1),
        (Blocks(init=3, max=5), Need(), 3),
        (Blocks(min=2, init=0, max=5), Need(), 2),
        (Blocks(init=1, max=5), Need(100, 0), 1),
    ],
)
def test_the_first(policy: Blocks, need: Need, start: int) -> None:
    assert decide(0.0, need, [], Past(), policy, 4) == Actions(start=start)


@pytest.mark.parametrize(
    ("need", "parallelism", "wanted"),
    [
        (Need(4, 0), 1.0, 1), (Need(5, 0), 1.0, 2), (Need(8, 8), 1.0, 4), (Need(1000, 0), 1.0, 6),
        (Need(8, 8), 0.5, 2), (Need(1, 0), 0.01, 1), (Need(0, 9), 1.0, 3),
    ],
)  # fmt: skip
def test_growing_to_what_is_needed(need: Need, parallelism: float, wanted: int) -> None:
    policy = Blocks(max=6, parallelism=parallelism)
    assert decide(0.0, need, alive(1), BEGUN, policy, 4).start == wanted - 1


def test_a_block_of_unknown_size_shows_whether_it_suffices_before_there_is_another() -> None:
    policy = Blocks(max=4)
    assert decide(0.0, Need(9, 0), alive(1, workers=0), BEGUN, policy, None) == Actions()
    assert decide(0.0, Need(9, 1), alive(1, workers=1), BEGUN, policy, None) == Actions(start=1)
    assert decide(0.0, Need(0, 1), alive(1, workers=1), BEGUN, policy, None) == Actions()


def test_what_is_idle_goes_when_its_time_has_come() -> None:
    policy = Blocks(min=1, max=4, idle=IDLE)
    blocks = alive(3, idle_since=1000.0)
    assert decide(1000.0, Need(), blocks, BEGUN, policy, 4) == Actions(again=1000.0 + IDLE)
    assert decide(1000.0 + IDLE, Need(), blocks, BEGUN, policy, 4).stop == ("b0", "b1")


def test_what_has_no_workers_goes_first_and_what_works_stays() -> None:
    blocks = [View("idle", 4, 0.0), View("works", 4, None), View("queued", 0, 5.0)]
    policy = Blocks(max=3, idle=IDLE)
    assert decide(500.0, Need(0, 8), blocks, BEGUN, policy, 4).stop == ("queued",)
    assert decide(500.0, Need(0, 1), blocks, BEGUN, policy, 4).stop == ("queued", "idle")


def test_blocks_that_end_leave_no_room_for_others_yet() -> None:
    blocks = [*alive(1), View("ending", 4, None, ending=True)]
    assert decide(0.0, Need(100, 0), blocks, BEGUN, Blocks(max=2), 4) == Actions()


def test_after_a_failure_one_at_a_time_and_not_before_its_pause_is_over() -> None:
    past = BEGUN.failed(10.0, 5.0, seen=False)
    policy, need = Blocks(max=8), Need(100, 0)
    assert decide(10.0, need, [], past, policy, 4) == Actions(again=11.0)
    assert decide(11.0, need, [], past, policy, 4) == Actions(start=1)
    assert decide(11.0, need, alive(1, workers=0), past, policy, 4) == Actions()
    assert decide(11.0, need, alive(1, workers=4), past, policy, 4) == Actions(start=1)
    assert decide(11.0, need, alive(1, workers=4), past.steady(), policy, 4) == Actions(start=7)


def test_blocks_that_fail_together_are_one_failure() -> None:
    past = BEGUN
    for _ in range(10):
        past = past.failed(10.0, 5.0, seen=False)
    assert (past.failures, past.resume) == (1, 11.0)
    assert past.failed(20.0, 15.0, seen=False).failures == 2


def test_giving_up() -> None:
    policy = Blocks(failures=3)
    past = BEGUN
    for time in (10.0, 20.0):
        past = past.failed(time, time - 1, seen=False)
        assert not past.is_exhausted(policy)
    assert past.failed(30.0, 29.0, seen=False).is_exhausted(policy)
    assert not past.failed(30.0, 29.0, seen=True).is_exhausted(policy)
    assert past.hopeless().is_exhausted(policy)


def test_what_had_workers_does_not_exhaust_but_the_pauses_grow() -> None:
    past = BEGUN
    for time in range(20):
        past = past.failed(100.0 * time, 100.0 * time - 1, seen=True)
    assert not past.is_exhausted(Blocks())
    assert past.resume == 1900.0 + LONGEST_AFTER_FAILURES


def test_refusals_for_the_moment_are_patient_and_end() -> None:
    past, now = BEGUN, 0.0
    for _ in range(SUBMISSIONS):
        assert not past.is_exhausted(Blocks())
        past = past.refused(now)
        now = past.resume
    assert past.is_exhausted(Blocks())
    assert 300 < now < 400
    assert past.submitted().refusals == past.freed().refusals == 0


LONG = Need(4, 4, longest=600.0)


def test_a_task_that_no_block_has_time_for_gets_one_more() -> None:
    late = [View("a", 4, None, left=599.0), View("b", 4, None, left=100.0)]
    assert decide(0.0, LONG, late, BEGUN, Blocks(max=3), 4) == Actions(start=1)
    queued = View("c", 0, None)
    assert decide(0.0, LONG, [*late, queued], BEGUN, Blocks(max=4), 4) == Actions()
    unlimited = View("c", 4, None, left=None)
    assert decide(0.0, LONG, [*late, unlimited], BEGUN, Blocks(max=4), 4) == Actions()


def test_an_empty_block_makes_room_for_a_fresh_one() -> None:
    busy, empty, emptier = (
        View("a", 4, None, left=50.0), View("b", 4, None, left=500.0, is_empty=True),
        View("c", 4, None, left=400.0, is_empty=True),
    )  # fmt: skip
    policy = Blocks(max=3)
    assert decide(0.0, LONG, [busy, empty, emptier], BEGUN, policy, 4) == Actions(stop=("c",))
    ending = emptier._replace(ending=True)
    assert decide(0.0, LONG, [busy, empty, ending], BEGUN, policy, 4) == Actions(), "one at a time"
    assert decide(0.0, LONG, [busy, empty], BEGUN, policy, 4) == Actions(start=1)
    assert decide(0.0, LONG, [busy] * 3, BEGUN, policy, 4) == Actions(), "none is ended under its work"
    failing = BEGUN.failed(0.0, -1.0, seen=False)
    assert decide(9.0, LONG, [busy, empty, emptier], failing, policy, 4) == Actions(), "fresh ones may not work"


def test_it_is_looked_again_when_the_time_of_the_last_block_gets_too_short() -> None:
    blocks = [View("a", 4, None, left=700.0), View("b", 4, None, left=650.0)]
    assert decide(10.0, LONG, blocks, BEGUN, Blocks(max=2), 4) == Actions(again=110.0)
    assert decide(10.0, LONG._replace(waiting=0), blocks, BEGUN, Blocks(max=2), 4) == Actions()


@given(st.integers(1, 10_000))
def test_pauses_grow_to_a_limit(count: int) -> None:
    assert 1.0 <= pause(count) <= pause(count + 1) <= LONGEST_PAUSE


VIEWS = st.builds(
    View, st.uuids().map(str), st.integers(0, 8), st.none() | st.floats(0, 1000), st.booleans(),
    st.none() | st.floats(0, 1000), st.booleans(),
)  # fmt: skip
POLICIES = st.tuples(st.integers(0, 5), st.integers(0, 5), st.integers(1, 5), st.floats(0.1, 1.0)).map(
    lambda given: Blocks(min=min(given[0], given[2]), init=min(given[1], given[2]), max=given[2], parallelism=given[3])
)
PASTS = st.builds(
    Past, begun=st.booleans(), failures=st.integers(0, 5), short=st.integers(0, 5), refusals=st.integers(0, 5),
    resume=st.floats(0, 2000), counted=st.just(-math.inf),
)  # fmt: skip
NEEDS = st.builds(Need, st.integers(0, 1000), st.integers(0, 1000), st.none() | st.floats(0, 1000))


@given(st.floats(0, 2000), NEEDS, st.lists(VIEWS, max_size=5), PASTS, POLICIES, st.none() | st.integers(1, 64))
def test_whatever_is_asked(
    now: float, need: Need, blocks: list[View], past: Past, policy: Blocks, cores: int | None
) -> None:
    blocks = blocks[: policy.max]
    actions = decide(now, need, blocks, past, policy, cores)
    living = [block for block in blocks if not block.ending]
    assert 0 <= actions.start <= policy.max - len(blocks)
    assert not (actions.start and actions.stop)
    assert not actions.start or now >= past.resume
    assert actions.start <= 1 or not (past.short or past.refusals)
    idle = {block.id for block in living if block.idle_since is not None and block.idle_since + policy.idle <= now}
    makes_room = {block.id for block in living if block.is_empty and block.left is not None}
    if not set(actions.stop) <= idle:
        assert len(actions.stop) == 1
        assert actions.stop[0] in makes_room
        assert need.longest is not None
    elif actions.stop and need.longest is None:
        assert len(living) - len(actions.stop) >= policy.min
    assert actions.again is None or actions.again > now
    if need and past.begun and not living and len(blocks) < policy.max:
        assert actions.start or actions.again is not None, "work waits, and nothing will ever happen"
