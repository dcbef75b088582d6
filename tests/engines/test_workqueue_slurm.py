"""The Work Queue engine on a real Slurm: workers on several nodes, and a block that somebody else cancels."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from harmony.conformance.engines import Driver
from harmony.conformance.engines.gates import Gate, News
from harmony.engines.workqueue import WorkQueueEngine
from harmony.errors import WorkerLost
from harmony.sites import Blocks, Site

PATIENCE = 60.0
pytestmark = [
    pytest.mark.skipif(
        shutil.which("work_queue_worker") is None,
        reason="work_queue_worker is not installed: apt install coop-computing-tools",
    ),
    pytest.mark.timeout(300),
]


@pytest.fixture
def driver(slurm_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Driver]:
    """Two nodes, each with two hands; another block of them may follow."""
    for name, value in slurm_environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("HOME", str(tmp_path))
    site = Site(
        "slurm",
        scheduler="slurm",
        nodes=2,
        cores_per_node=2,
        memory_per_node=32_000_000,
        walltime=300.0,
        work_directory=str(tmp_path / "work"),
        blocks=Blocks(min=1, max=1),
    )
    made = Driver(WorkQueueEngine(site=site), PATIENCE)
    yield made
    made.close()


def hold_on_node(gate: str, news: str) -> str:
    """Tell the node and the job, and wait at the gate."""
    from harmony.conformance.engines import work

    node = os.environ["SLURMD_NODENAME"]
    work.tell(news, f"{node} {os.environ['SLURM_JOB_ID']}")
    work.pass_gate(gate)
    return node


def test_tasks_run_on_all_nodes_at_once(driver: Driver, gate: Gate, news: News) -> None:
    tasks = [driver.call(hold_on_node, gate.path, news.path) for _ in range(4)]
    driver.submit(*tasks)
    nodes = sorted(line.split()[0] for line in news.hear(4))
    gate.open()
    assert nodes == sorted(end.result for end in driver.ends_of(tasks))
    assert len(set(nodes)) == 2
    assert nodes == [node for node in sorted(set(nodes)) for _ in range(2)]


def test_a_block_that_somebody_cancels_is_replaced(driver: Driver, gate: Gate, news: News) -> None:
    tasks = [driver.call(hold_on_node, gate.path, news.path) for _ in range(4)]
    driver.submit(*tasks)
    (job,) = {line.split()[1] for line in news.hear(4)}
    subprocess.run(["scancel", job], check=True, timeout=30)
    assert {type(end.error) for end in driver.ends_of(tasks)} == {WorkerLost}
    gate.open()
    again = driver.call(hold_on_node, gate.path, news.path)
    driver.submit(again)
    (other,) = {line.split()[1] for line in news.hear()}
    assert other != job
    assert driver.end_of(again).result in ("n1", "n2", "n3", "n4")
