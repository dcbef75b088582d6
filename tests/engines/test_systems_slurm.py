"""Engines over Dask and IPyParallel on a real Slurm of several nodes: blocks that come, go and are lost."""

from __future__ import annotations

import importlib
import importlib.util
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.engines import rig
from tests.engines.rig import Gate, News
from tests.engines.slurm_lab import Lab, command

from harmony.errors import WorkerLost
from harmony.sites import Blocks, Site

PATIENCE = 120.0
ENGINES = {"distributed": "dask:DaskEngine", "ipyparallel": "ipyparallel:IPyParallelEngine"}


def lab(folder: Path, package: str, blocks: int) -> Lab:
    """Start an engine on blocks of two nodes, with one worker on each."""
    site = Site(
        "lab", scheduler="slurm", nodes=2, cores_per_node=4, memory_per_node=600_000_000, walltime=600.0,
        work_directory=str(folder / "work"), blocks=Blocks(max=blocks, idle=1.0),
    )  # fmt: skip
    module, _, name = ENGINES[package].partition(":")
    engine = getattr(importlib.import_module(f"harmony.engines.{module}"), name)(1, site=site)
    return Lab(engine, folder / "work", PATIENCE)


@pytest.fixture(params=list(ENGINES))
def package(request: pytest.FixtureRequest) -> str:
    if importlib.util.find_spec(request.param) is None:
        pytest.skip(f"{request.param} is not installed: pip install 'harmony-workflows[{request.param}]'")
    return str(request.param)


@pytest.fixture
def labs(slurm_environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Lab]]:
    """Where labs are put that are to be closed."""
    for name, value in slurm_environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    made: list[Lab] = []
    yield made
    for started in made:
        started.close()
    assert command("squeue", "--noheader", "--states=PENDING,RUNNING") == ""


def stay(gate: str, news: str) -> str:
    """Tell this process, its node and its block, then wait at the gate."""
    rig.tell(news, f"{os.getpid()} {os.environ['SLURMD_NODENAME']} {os.environ['HARMONY_BLOCK']}")
    rig.pass_gate(gate)
    return os.environ["HARMONY_BLOCK"]


@pytest.mark.timeout(180)
def test_blocks_grow_with_the_work_and_shrink_without(
    labs: list[Lab], package: str, tmp_path: Path, gate: Gate, news: News
) -> None:
    labs.append(driver := lab(tmp_path, package, 2))
    tasks = [driver.call(stay, gate.path, news.path) for _ in range(4)]
    driver.submit(*tasks)
    assert sorted(line.split()[1] for line in news.hear(4)) == ["n1", "n2", "n3", "n4"]
    gate.open()
    assert {end.result for end in driver.ends_of(tasks)} == {"block-1", "block-2"}
    assert {notice.data["reason"] for notice in driver.hear("block.ended", 2)} == {"stopped"}


@pytest.mark.timeout(180)
def test_what_is_lost_is_told_and_replaced(
    labs: list[Lab], package: str, tmp_path: Path, gate: Gate, news: News
) -> None:
    labs.append(driver := lab(tmp_path, package, 1))
    killed = [driver.call(stay, gate.path, news.path) for _ in range(2)]
    driver.submit(*killed)
    os.kill(int(news.hear(2)[0].split()[0]), signal.SIGKILL)
    with driver._changed:
        assert driver._changed.wait_for(lambda: driver._ends, PATIENCE)
    (error,) = [end.error for end in driver._ends.values() if end.error is not None]
    assert isinstance(error, WorkerLost)
    stopped = [driver.call(stay, gate.path, news.path) for _ in range(1)]
    driver.submit(*stopped)
    news.hear(1)
    command("scancel", driver.hear("block.queued")[0].data["job"])
    errors = [end.error for end in driver.ends_of([*killed, *stopped])]
    assert all(isinstance(error, WorkerLost) for error in errors)
    gate.open()
    assert driver.result(driver.call(stay, gate.path, news.path)) == "block-2"
