"""Fleets on this machine: blocks start, grow, shrink, fail, and are gone at the end."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from tests.pilots.rig import BlockEnded, BlockQueued, BlockRunning, Exhausted, Harbour, Told, harbour

from harmony.errors import ConfigError
from harmony.pilots import Fleet
from harmony.pilots import block as block_module
from harmony.pilots import policy as policy_module
from harmony.sites import Blocks, Site

__all__ = ["harbour"]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses after failures are short."""
    monkeypatch.setattr(policy_module, "FIRST_PAUSE", 0.01)


def test_a_worker_on_every_node_after_the_setup_with_its_words_as_they_are(harbour: Harbour) -> None:
    site = harbour.site(nodes=2, setup=["export GREETING='from  the set-up'"])
    words = ["a b", "$HOME", "${HOME}", "`id`", '"', "'", "\\", "*", "a\nb", ""]
    program = 'echo "$(printf "%s|" "$@" | od -An -v -tx1 | tr -d " \\n")$GREETING" > {}; exec sleep 1000'
    text = program.format(harbour.news.path)
    told = Told(site, lambda block: ["/bin/sh", "-c", text, "sh", block, *words], None)
    told.fleet.start()
    try:
        lines = harbour.news.hear(2)
    finally:
        told.fleet.close()
    expected = "|".join(["block-1", *words, ""]).encode().hex()
    assert lines == [f"{expected}from  the set-up"] * 2


def test_close_ends_all_and_leaves_nothing(harbour: Harbour) -> None:
    told = harbour.fleet(harbour.site(nodes=3, blocks=Blocks(init=2, max=2)))
    assert sorted(harbour.news.hear(6)) == ["block-1"] * 3 + ["block-2"] * 3
    told.fleet.close()
    ended = told.of(BlockEnded)
    assert sorted((fact.block, fact.reason, fact.in_time) for fact in ended) == [
        ("block-1", "stopped", True), ("block-2", "stopped", True),
    ]  # fmt: skip
    assert harbour.directories() == []
    told.fleet.close()
    assert told.of(BlockEnded) == ended


def test_a_fleet_that_was_not_started_can_be_closed(harbour: Harbour) -> None:
    fleet = Fleet(harbour.site(), lambda _: ["true"], name="never", tell=lambda _: None)
    fleet.close()
    assert (fleet.walltime, fleet.remaining()) == (None, None)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("how_many", [1, 4])
def test_blocks_that_fail_at_once_are_few_and_then_there_is_an_error(harbour: Harbour, how_many: int) -> None:
    site = harbour.site(blocks=Blocks(init=how_many, max=how_many))
    told = harbour.fleet(site, "echo the disk is on fire >&2; exit 3")
    told.fleet.demand(100, 0)
    error = told.hear(Exhausted).error
    assert "site 'harbour': 3 blocks in a row have failed" in str(error)
    assert "the disk is on fire" in str(error)
    told.fleet.demand(200, 0)
    told.fleet.close()
    assert len(told.of(BlockQueued)) == how_many - 1 + 3, "those of the first wave are one failure"
    assert {(fact.reason, fact.in_time) for fact in told.of(BlockEnded)} == {("exit", False)}
    assert len(harbour.directories()) == 1, "what they have printed is kept"


@pytest.mark.usefixtures("quick")
def test_one_that_works_does_not_let_the_others_fail_without_end(
    harbour: Harbour, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(block_module, "STEADY", 0.0)
    told = harbour.fleet(harbour.site(blocks=Blocks(max=2)), 'test "$HARMONY_BLOCK" != block-1 || exec sleep 1000')
    assert told.block() == "block-1"
    told.fleet.demand(100, 0)
    for count in range(2, 8):
        assert told.hear(BlockEnded).block == f"block-{count}"
    assert told.fleet._past.short >= 6, "pauses grow"
    assert told.of(Exhausted) == []


@pytest.mark.usefixtures("quick")
def test_set_up_that_fails_is_told_with_what_it_said(harbour: Harbour) -> None:
    told = harbour.fleet(harbour.site(setup=["echo no such module >&2; false"]))
    told.fleet.demand(1, 0)
    assert "no such module" in str(told.hear(Exhausted).error)


@pytest.mark.usefixtures("quick")
def test_workers_that_never_connect(harbour: Harbour) -> None:
    told = harbour.fleet(harbour.site(blocks=Blocks(failures=2, patience=0.2)))
    told.fleet.demand(1, 0)
    error = str(told.hear(Exhausted).error)
    assert "2 blocks in a row have failed" in error
    assert "no worker of it has connected within 0.2 s" in error
    assert [fact.in_time for fact in told.of(BlockEnded)] == [False, False]


def test_a_block_that_is_lost_is_replaced_while_there_is_work(harbour: Harbour) -> None:
    told = harbour.fleet()
    told.fleet.demand(1, 0)
    queued = told.hear(BlockQueued)
    assert told.block() == queued.block
    assert harbour.news.hear() == ["block-1"]
    os.killpg(int(queued.native_id), signal.SIGKILL)
    ended = told.hear(BlockEnded)
    assert (ended.block, ended.reason, ended.in_time) == ("block-1", "signal", False)
    assert told.block() == "block-2"


def test_a_lost_block_is_not_replaced_when_there_is_nothing_to_do(harbour: Harbour) -> None:
    told = harbour.fleet()
    native_id = told.hear(BlockQueued).native_id
    told.block()
    os.killpg(int(native_id), signal.SIGKILL)
    told.hear(BlockEnded)
    told.fleet.close()
    assert len(told.of(BlockQueued)) == 1


def test_a_block_whose_time_is_over_is_replaced_at_once(harbour: Harbour) -> None:
    told = harbour.fleet(harbour.site(walltime=1.0))
    assert told.fleet.walltime == 0.9
    told.fleet.demand(1, 0)
    told.block()
    remaining = told.fleet.remaining()
    assert remaining is not None
    assert 0 <= remaining <= 0.98
    ended = told.hear(BlockEnded)
    assert (ended.reason, ended.in_time) == ("walltime", True)
    assert told.block() == "block-2"


def test_growing_and_shrinking(harbour: Harbour) -> None:
    told = harbour.fleet(harbour.site(blocks=Blocks(min=1, max=3, idle=0.1)))
    blocks = {told.block()}
    told.fleet.demand(5, 0)
    blocks |= {told.block(), told.block()}
    assert blocks == {"block-1", "block-2", "block-3"}
    told.fleet.demand(0, 3)
    told.fleet.demand(0, 1, {"block-2": 1})
    assert {told.hear(BlockEnded).block, told.hear(BlockEnded).block} == {"block-1", "block-3"}
    told.fleet.demand(0, 0)
    told.fleet.demand(1, 1, {"block-2": 1})
    assert told.block() == "block-4"
    told.fleet.close()
    assert len(told.of(BlockQueued)) == 4


def test_blocks_are_not_ended_under_work_that_nobody_has_counted_by_block(harbour: Harbour) -> None:
    told = harbour.fleet(harbour.site(blocks=Blocks(init=2, max=2, idle=0.05)))
    told.fleet.demand(0, 2)
    blocks = {told.block(), told.block()}
    for busy in (None, {}, {"block-1": 1}):
        told.fleet.demand(0, 2, busy)
    told.fleet.demand(0, 1, {"block-2": 1})
    assert told.hear(BlockEnded).block == "block-1"
    assert blocks == {"block-1", "block-2"}


def test_a_task_that_no_block_has_time_for_gets_a_fresh_one(harbour: Harbour) -> None:
    told = harbour.fleet(harbour.site(walltime=100.0, blocks=Blocks(max=1)))
    told.fleet.demand(0, 1)
    assert told.block() == "block-1"
    told.fleet.demand(1, 0, longest=97.9)
    assert told.fleet.walltime == 90.0
    told.fleet.demand(1, 0, longest=89.0)  # there is time for this
    told.fleet._ends = {"block-1": told.fleet._ends["block-1"] - 20.0}
    told.fleet.demand(1, 1, longest=89.5)  # none is ended under its work
    told.fleet.demand(1, 0, longest=89.5)
    ended = told.hear(BlockEnded)
    assert (ended.block, ended.reason, ended.in_time) == ("block-1", "stopped", True)
    assert told.block() == "block-2"
    assert len(told.of(BlockQueued)) == 2


def test_workers_that_come_late_leave_less_time(harbour: Harbour) -> None:
    told = harbour.fleet(harbour.site(walltime=100.0))
    block = told.hear(BlockRunning).block
    told.fleet._ends = {block: told.fleet._ends[block] - 50.0}
    told.fleet.connected(block, 1)
    told.fleet.demand(1, 0)
    told.fleet.close()
    assert told.fleet.walltime is not None
    assert told.fleet.walltime <= 48.0


def test_a_demand_that_changes_nothing_wakes_nobody(harbour: Harbour) -> None:
    told = harbour.fleet(harbour.site(blocks=Blocks(max=1)))
    told.block()
    told.fleet.demand(10_000, 1)
    for waiting in range(10_000, 1, -1):
        told.fleet.demand(waiting, 1)
    assert told.fleet._events.qsize() <= 1
    assert not told.of(BlockEnded)


def test_an_engine_that_fails_to_listen_ends_nothing(harbour: Harbour, caplog: pytest.LogCaptureFixture) -> None:
    def tell(_: object) -> None:
        raise RuntimeError("the engine is confused")

    text = f"echo here > {harbour.news.path}; exec sleep 1000"
    fleet = Fleet(harbour.site(), lambda _: ["/bin/sh", "-c", text], name="deaf", tell=tell)
    fleet.start()
    assert harbour.news.hear() == ["here"]
    fleet.close()
    assert "the engine failed at BlockQueued" in caplog.text
    assert harbour.directories() == []


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"scheduler": "slrum"}, "there is no executor 'slrum'"),
        ({"launcher": "srum"}, "there is no launcher 'srum'"),
        ({"launcher": "srun"}, "SLURM_JOB_ID"),
        ({"url": "ssh://login"}, "url='ssh://login'"),
        ({"launcher_options": ["-x"]}, "launcher_options"),
        ({"work_directory": "/dev/null/work"}, "work_directory='/dev/null/work'"),
    ],
)
def test_what_could_never_work_is_refused_and_nothing_is_held(
    harbour: Harbour, changed: dict[str, str], named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    site = Site("harbour", **{"work_directory": str(harbour.work), **changed})  # type: ignore[arg-type]
    told = Told(site, lambda _: ["true"], None)
    with pytest.raises(ConfigError, match=r".") as refusal:
        told.fleet.start()
    assert named in str(refusal.value)
    assert harbour.directories() == []


def test_a_command_that_is_none(harbour: Harbour) -> None:
    for wrong in ("sleep 1", [], ["a\0b"]):
        told = Told(harbour.site(), lambda _, wrong=wrong: wrong, None)  # type: ignore[misc]
        with pytest.raises(ConfigError, match="must be a list of texts"):
            told.fleet.start()
    assert harbour.directories() == []


def test_demands_and_news_of_blocks_that_are_not_there_mean_nothing(harbour: Harbour) -> None:
    told = harbour.fleet(harbour.site(blocks=Blocks(init=0)))
    told.fleet.connected("block-7", 3)
    told.fleet.demand(0, 0, {"block-7": 1})
    told.fleet.demand(1, 0)
    assert told.block() == "block-1"


def test_the_workers_run_where_the_driver_does(
    harbour: Harbour, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    told = harbour.fleet(program="pwd > {news}; exec sleep 1000")
    assert harbour.news.hear() == [str(tmp_path / "here")]
    told.hear(BlockRunning)
