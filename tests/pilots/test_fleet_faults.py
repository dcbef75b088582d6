"""Fleets on an emulated Slurm that goes wrong: refusals, lost answers, full queues, lost nodes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.pilots.rig import BlockEnded, BlockQueued, BlockRunning, Exhausted, Harbour

from harmony.conformance.emulators import Emulator, State
from harmony.conformance.emulators.model import How
from harmony.pilots import policy as policy_module
from harmony.sites import Blocks


@pytest.fixture
def slurm(emulated_scheduler: Callable[..., Emulator]) -> Emulator:
    return emulated_scheduler("slurm", nodes=3, cores=4)


@pytest.fixture
def harbour(slurm: Emulator, tmp_path: Path) -> Iterator[Harbour]:
    made = Harbour(tmp_path, "slurm", command_timeout=5.0)
    yield made
    made.close()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses after failures are short."""
    monkeypatch.setattr(policy_module, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(policy_module, "LONGEST_PAUSE", 0.05)


def submissions(slurm: Emulator) -> int:
    return len(slurm.calls("sbatch"))


@pytest.mark.usefixtures("quick")
def test_a_busy_scheduler_is_asked_again_and_then_works(slurm: Emulator, harbour: Harbour) -> None:
    slurm.refuse(4, transient=True)
    told = harbour.fleet(harbour.site(blocks=Blocks(init=3, max=3)))
    told.fleet.demand(3, 0)
    assert {told.block() for _ in range(3)} == {"block-5", "block-6", "block-7"}
    assert submissions(slurm) == 7


@pytest.mark.usefixtures("quick")
def test_a_scheduler_that_stays_busy_is_not_asked_for_ever(slurm: Emulator, harbour: Harbour) -> None:
    slurm.refuse(-1, transient=True)
    told = harbour.fleet(harbour.site(blocks=Blocks(init=3, max=3)))
    for cores in range(50):  # news of the engine's is no reason to ask sooner
        told.fleet.demand(cores, 0)
    error = told.hear(Exhausted).error
    assert "no block can be had" in str(error)
    assert "slurm refused the job" in str(error)
    assert submissions(slurm) == policy_module.SUBMISSIONS


def test_a_refusal_for_good_is_not_repeated(slurm: Emulator, harbour: Harbour) -> None:
    slurm.refuse(-1)
    told = harbour.fleet(harbour.site(blocks=Blocks(init=3, max=3)))
    told.fleet.demand(100, 0)
    assert "slurm refused the job" in str(told.hear(Exhausted).error)
    told.fleet.demand(200, 0)
    told.fleet.close()
    assert submissions(slurm) == 1


@pytest.mark.usefixtures("quick")
def test_a_refusal_for_good_leaves_the_blocks_that_run(slurm: Emulator, harbour: Harbour) -> None:
    told = harbour.fleet(harbour.site(blocks=Blocks(max=3)))
    assert told.block() == "block-1"
    slurm.refuse(2)
    told.fleet.demand(2, 0)
    assert told.block() == "block-4"
    assert told.of(Exhausted) == []


@pytest.mark.parametrize("starts_at_once", [True, False])
@pytest.mark.usefixtures("quick")
def test_a_job_whose_submission_was_not_answered_does_nothing(
    slurm: Emulator, harbour: Harbour, starts_at_once: bool
) -> None:
    told = harbour.fleet(harbour.site(blocks=Blocks(max=2)))
    assert told.block() == "block-1"
    assert harbour.news.hear() == ["block-1"]
    if not starts_at_once:
        slurm.hold()
    slurm.fault("sbatch", cut=0)
    told.fleet.demand(2, 0)
    slurm.wait_until(lambda: len(slurm.jobs()) >= 2)
    slurm.start_all()
    slurm.wait_for(slurm.jobs()[1].id, State.ENDED)
    assert told.block() == "block-3", "the next one works"
    assert {fact.block for fact in told.of(BlockQueued)} == {"block-1", "block-3"}
    told.fleet.close()
    assert {job.state for job in slurm.jobs()} == {State.ENDED}


def test_a_lost_node(slurm: Emulator, harbour: Harbour) -> None:
    told = harbour.fleet(harbour.site(nodes=2))
    told.fleet.demand(2, 0)
    native_id = told.hear(BlockQueued).native_id
    told.block()
    slurm.kill_node(slurm.job(native_id).nodes[0])
    ended = told.hear(BlockEnded)
    assert (ended.block, ended.reason, ended.in_time) == ("block-1", "node_failure", False)
    slurm.revive_node("n1")
    assert told.block() == "block-2"
    assert submissions(slurm) == 2, "Slurm does not put the lost one back into the queue itself"


def test_an_administrator_cancels_one(slurm: Emulator, harbour: Harbour) -> None:
    told = harbour.fleet()
    told.fleet.demand(1, 0)
    native_id = told.hear(BlockQueued).native_id
    told.block()
    slurm.befall(native_id, How.CANCELLED)
    ended = told.hear(BlockEnded)
    assert (ended.reason, ended.in_time) == ("canceled", False)
    assert told.block() == "block-2"


@pytest.mark.usefixtures("quick")
def test_an_administrator_cancels_all_that_wait(slurm: Emulator, harbour: Harbour) -> None:
    slurm.hold()
    told = harbour.fleet()
    told.fleet.demand(1, 0)
    for _ in range(3):
        slurm.befall(told.hear(BlockQueued).native_id, How.CANCELLED)
    assert "3 blocks in a row have failed" in str(told.hear(Exhausted).error)
    assert submissions(slurm) == 3


def test_the_walltime_of_a_block(slurm: Emulator, harbour: Harbour) -> None:
    slurm.set(speed=60.0)
    told = harbour.fleet(harbour.site(walltime="1m"))
    assert told.fleet.walltime == 54.0
    told.fleet.demand(1, 0)
    told.block()
    ended = told.hear(BlockEnded)
    assert (ended.reason, ended.in_time) == ("walltime", True)
    assert told.block() == "block-2"


def test_blocks_that_wait_in_the_queue_are_cancelled_at_the_close(slurm: Emulator, harbour: Harbour) -> None:
    slurm.hold()
    told = harbour.fleet(harbour.site(blocks=Blocks(init=3, max=3)))
    for _ in range(3):
        told.hear(BlockQueued)
    assert told.fleet.remaining() is None
    told.fleet.close()
    assert [job.state for job in slurm.jobs()] == [State.ENDED] * 3
    assert [(fact.reason, fact.in_time) for fact in told.of(BlockEnded)] == [("stopped", True)] * 3
    assert told.of(BlockRunning) == []


def test_blocks_that_wait_for_nothing_are_given_back(slurm: Emulator, harbour: Harbour) -> None:
    slurm.hold()
    told = harbour.fleet(harbour.site(blocks=Blocks(init=2, max=2, idle=0.1)))
    assert {told.hear(BlockEnded).block, told.hear(BlockEnded).block} == {"block-1", "block-2"}
    assert {fact.reason for fact in told.of(BlockEnded)} == {"stopped"}


def test_a_cancel_that_is_not_heard_is_asked_for_again(
    slurm: Emulator, harbour: Harbour, caplog: pytest.LogCaptureFixture
) -> None:
    told = harbour.fleet()
    told.block()
    slurm.fault("scancel", 1, unreachable=True)
    told.fleet.close()
    assert [job.state for job in slurm.jobs()] == [State.ENDED]
    assert "block-1 is not cancelled yet" in caplog.text
