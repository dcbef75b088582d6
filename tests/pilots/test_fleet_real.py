"""Fleets on a real Slurm of several nodes, and on a real Grid Engine."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.pilots.rig import BlockEnded, BlockQueued, BlockRunning, Exhausted, Harbour
from tests.pilots.test_guard import DRIVER, ENDS, Scene

from harmony.jobs import JobExecutor
from harmony.sites import Blocks

#: Tells its block and its node, and stays.
ON_NODE = 'echo "$HARMONY_BLOCK $SLURMD_NODENAME" > {news}; exec sleep 1000'


@pytest.fixture
def slurm(slurm_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in slurm_environment.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def harbour(slurm: None, tmp_path: Path) -> Iterator[Harbour]:
    made = Harbour(tmp_path, "slurm")
    yield made
    made.close()


@pytest.fixture
def scene(slurm: None, tmp_path: Path) -> Iterator[Scene]:
    made = Scene(tmp_path)
    yield made
    made.news.close()


def command(*words: str) -> str:
    return subprocess.run(words, check=True, capture_output=True, text=True, timeout=30).stdout


def queue() -> list[str]:
    """The ids of all jobs in Slurm's queue."""
    with JobExecutor.get_instance("slurm") as executor:
        found: list[str] = executor.list()
    return found


def test_workers_on_all_nodes_of_blocks_that_come_and_go(harbour: Harbour) -> None:
    blocks = Blocks(max=2, idle=0.5)
    site = harbour.site(nodes=2, cores_per_node=4, blocks=blocks, walltime="5m", memory_per_node="32MB")
    told = harbour.fleet(site, ON_NODE)
    told.fleet.demand(9, 0)
    assert {told.block(), told.block()} == {"block-1", "block-2"}
    lines = [line.split() for line in harbour.news.hear(4)]
    assert sorted(block for block, _ in lines) == ["block-1"] * 2 + ["block-2"] * 2
    assert sorted(node for _, node in lines) == ["n1", "n2", "n3", "n4"]
    remaining = told.fleet.remaining()
    assert remaining is not None
    assert 0 < remaining <= 294.0
    assert told.fleet.walltime == 270.0
    told.fleet.demand(0, 8, {"block-2": 8})
    assert told.hear(BlockEnded).block == "block-1"
    told.fleet.demand(0, 0)
    ended = told.hear(BlockEnded)
    assert (ended.block, ended.reason, ended.in_time) == ("block-2", "stopped", True)
    assert queue() == []


def test_whole_nodes_whose_cores_nobody_has_counted(harbour: Harbour) -> None:
    told = harbour.fleet(harbour.site(cores_per_node=None, nodes=2, blocks=Blocks(max=2)), ON_NODE)
    first = told.hear(BlockRunning).block
    told.fleet.demand(8, 0)
    told.fleet.connected(first, 8)
    harbour.news.hear(2)
    told.fleet.demand(9, 0)
    assert told.block() == "block-2", "a block has 8 cores"
    told.fleet.close()
    assert len(told.of(BlockQueued)) == 2


def test_a_node_that_is_set_down(harbour: Harbour) -> None:
    told = harbour.fleet(harbour.site(nodes=2), ON_NODE)
    told.fleet.demand(2, 0)
    told.block()
    node = harbour.news.hear(2)[0].split()[1]
    command("scontrol", "update", f"nodename={node}", "state=down", "reason=test")
    try:
        ended = told.hear(BlockEnded)
        assert (ended.block, ended.reason, ended.in_time) == ("block-1", "node_failure", False)
        assert told.block() == "block-2"
        assert len({line.split()[1] for line in harbour.news.hear(2)}) == 2
    finally:
        subprocess.run(["scontrol", "update", f"nodename={node}", "state=resume"], check=False, capture_output=True)
    told.fleet.close()
    assert queue() == []


def test_a_job_that_the_administrator_cancels(harbour: Harbour) -> None:
    told = harbour.fleet(harbour.site(nodes=2), ON_NODE)
    told.fleet.demand(2, 0)
    native_id = told.hear(BlockQueued).native_id
    told.block()
    harbour.news.hear(2)
    command("scancel", native_id)
    ended = told.hear(BlockEnded)
    assert (ended.block, ended.reason, ended.in_time) == ("block-1", "canceled", False)
    assert told.block() == "block-2"


def test_what_slurm_refuses(harbour: Harbour) -> None:
    told = harbour.fleet(harbour.site(queue="no-such-partition"))
    told.fleet.demand(1, 0)
    assert "invalid partition" in str(told.hear(Exhausted).error).lower()
    assert queue() == []


def test_blocks_that_wait_in_the_queue_at_the_close(harbour: Harbour) -> None:
    told = harbour.fleet(harbour.site(nodes=4, cores_per_node=4, blocks=Blocks(init=3, max=3)), ON_NODE)
    told.block()
    while len(told.of(BlockQueued)) < 3:
        told.hear(BlockQueued)
    told.fleet.close()
    assert {fact.reason for fact in told.of(BlockEnded)} == {"stopped"}
    assert queue() == []


def test_a_driver_that_is_killed(scene: Scene) -> None:
    with scene.driver(DRIVER, "slurm", ENDS["killed"]):
        scene.news.hear(2)
        scene.go_on()
        scene.wait_until_tidy()
    assert queue() == []


@pytest.mark.parametrize(
    "is_cut_short", [True, pytest.param(False, marks=[pytest.mark.slow, pytest.mark.timeout(240)])]
)
def test_a_block_that_reaches_its_walltime(harbour: Harbour, is_cut_short: bool) -> None:
    told = harbour.fleet(harbour.site(walltime="1m"), ON_NODE)
    told.fleet.demand(1, 0)
    native_id = told.hear(BlockQueued).native_id
    told.block()
    if is_cut_short:
        command("scontrol", "update", f"jobid={native_id}", "EndTime=now+1")
    ended = told.hear(BlockEnded, 180)
    assert (ended.block, ended.reason, ended.in_time) == ("block-1", "walltime", True)
    assert told.block() == "block-2"


def test_grid_engine(sge_environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in sge_environment.items():
        monkeypatch.setenv(name, value)
    harbour = Harbour(tmp_path, "sge")
    try:
        told = harbour.fleet(harbour.site(attributes={"sge.pe": "smp"}, blocks=Blocks(max=2, idle=0.5)))
        assert told.block() == "block-1"
        told.fleet.demand(2, 0)
        assert told.block() == "block-2"
        assert sorted(harbour.news.hear(2)) == ["block-1", "block-2"]
        command("qdel", told.of(BlockQueued)[0].native_id)
        ended = told.hear(BlockEnded)
        assert (ended.block, ended.in_time) == ("block-1", False)
        assert told.block() == "block-3"
        told.fleet.close()
        assert {fact.reason for fact in told.of(BlockEnded)[1:]} == {"stopped"}
        assert os.listdir(harbour.work / "pilots") == []
    finally:
        harbour.close()
