"""The Parsl engine on a real Slurm of several nodes: one site file, blocks that come, go and are lost."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.engines import rig
from tests.engines.rig import Gate, News
from tests.engines.slurm_lab import Lab, command

from harmony.engines.parsl import ParslEngine
from harmony.errors import EngineFailed, WorkerLost
from harmony.sites import site

pytest.importorskip("parsl", reason="parsl is not installed: pip install 'harmony-workflows[parsl]'")

PATIENCE = 120.0
SITES = """
[lab]
scheduler = "slurm"
engine = "parsl"
nodes = 2
cores_per_node = 4
memory_per_node = "300MB"
walltime = "10m"
work_directory = "{folder}"
{more}
"""
ONE, TWO = 'blocks = { max = 1, idle = "1s" }', 'blocks = { max = 2, idle = "1s" }'


@pytest.fixture
def lab(
    slurm_environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str], Lab]]:
    """Starts the engine on blocks of two nodes with one worker of four cores each."""
    for name, value in slurm_environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    labs: list[Lab] = []

    def make(more: str) -> Lab:
        work = tmp_path / "work"
        (tmp_path / "sites.toml").write_text(SITES.format(folder=work, more=more), encoding="utf-8")
        labs.append(Lab(ParslEngine(site=site("lab"), cores=4), work, PATIENCE))
        return labs[-1]

    yield make
    for made in labs:
        made.close()
    assert command("squeue", "--noheader", "--states=PENDING,RUNNING") == ""


def stay(gate: str, news: str) -> str:
    """Tell this process, its node, its block and the gate, then wait at that."""
    rig.tell(news, f"{os.getpid()} {os.environ['SLURMD_NODENAME']} {os.environ['HARMONY_BLOCK']} {gate}")
    rig.pass_gate(gate)
    return os.environ["HARMONY_BLOCK"]


def test_blocks_grow_with_the_work_and_shrink_without(lab: Callable[[str], Lab], gate: Gate, news: News) -> None:
    driver = lab(TWO)
    tasks = [driver.call(stay, gate.path, news.path) for _ in range(4)]
    driver.submit(*tasks)
    assert sorted(line.split()[1] for line in news.hear(4)) == ["n1", "n2", "n3", "n4"]
    gate.open()
    assert {end.result for end in driver.ends_of(tasks)} == {"block-1", "block-2"}
    assert {notice.data["reason"] for notice in driver.hear("block.ended", 2)} == {"stopped"}
    assert driver.result(driver.call(stay, gate.path, news.path)) == "block-3"


def test_an_idle_block_goes_and_the_one_that_works_stays(lab: Callable[[str], Lab], tmp_path: Path, news: News) -> None:
    driver = lab(TWO)
    gates = {str(tmp_path / f"gate{number}"): Gate(tmp_path / f"gate{number}") for number in range(4)}
    tasks = [driver.call(stay, gate, news.path) for gate in gates]
    driver.submit(*tasks)
    blocks = {line.split()[3]: line.split()[2] for line in news.hear(4)}
    assert sorted(blocks.values()) == ["block-1", "block-1", "block-2", "block-2"]
    for block in ("block-1", "block-2"):
        for path, gate in gates.items():
            if blocks[path] == block:
                gate.open()
        if block == "block-1":
            assert [notice.subject for notice in driver.hear("block.ended")] == ["block-1"]
    assert sorted(end.result for end in driver.ends_of(tasks)) == sorted(blocks.values())


def test_a_node_that_is_set_down(lab: Callable[[str], Lab], gate: Gate, news: News) -> None:
    driver = lab(ONE)
    lost = [driver.call(stay, gate.path, news.path) for _ in range(2)]
    driver.submit(*lost)
    node = news.hear(2)[0].split()[1]
    command("scontrol", "update", f"nodename={node}", "state=down", "reason=test")
    try:
        for end in driver.ends_of(lost):
            assert isinstance(end.error, WorkerLost)
        gate.open()
        assert driver.result(driver.call(stay, gate.path, news.path)) == "block-2"
    finally:
        subprocess.run(["scontrol", "update", f"nodename={node}", "state=resume"], check=False, capture_output=True)
    assert driver.hear("block.ended")[0].data["reason"] == "node_failure"


def test_a_worker_that_is_killed(lab: Callable[[str], Lab], gate: Gate, news: News) -> None:
    driver = lab(ONE)
    tasks = [driver.call(stay, gate.path, news.path) for _ in range(2)]
    driver.submit(*tasks)
    workers = [int(line.split()[0]) for line in news.hear(2)]
    os.kill(workers[0], signal.SIGKILL)
    with driver._changed:
        assert driver._changed.wait_for(lambda: driver._ends, PATIENCE)
    gate.open()
    errors = [end.error for end in driver.ends_of(tasks) if end.error is not None]
    assert [type(error) for error in errors] == [WorkerLost]
    assert driver.result(driver.call(stay, gate.path, news.path)) == "block-1"


def test_a_block_that_the_administrator_cancels(lab: Callable[[str], Lab], gate: Gate, news: News) -> None:
    driver = lab(ONE)
    lost = [driver.call(stay, gate.path, news.path) for _ in range(2)]
    driver.submit(*lost)
    news.hear(2)
    command("scancel", driver.hear("block.queued")[0].data["job"])
    for end in driver.ends_of(lost):
        assert isinstance(end.error, WorkerLost)
        assert "block-1" in str(end.error)
    gate.open()
    assert driver.result(driver.call(stay, gate.path, news.path)) == "block-2"


def test_a_site_that_slurm_refuses(lab: Callable[[str], Lab]) -> None:
    driver = lab('queue = "no-such-partition"')
    assert isinstance(driver.error(driver.call(rig.identity, 1)), EngineFailed)
