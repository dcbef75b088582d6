"""The jobs engine on a real Slurm."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.engines.rig import News
from tests.jobs import systems

from harmony.conformance.engines import Driver
from harmony.core.task import Command, TaskState
from harmony.engines.jobs import JobEngine
from harmony.errors import CommandError
from harmony.jobs.shell import Here
from harmony.resources import Resources


@pytest.fixture
def engine_of(slurm_environment: dict[str, str], tmp_path: Path) -> Iterator[list[Driver]]:
    """Two drivers, one after the other, on one Slurm."""
    config = systems.config(tmp_path / "work", shell=Here(slurm_environment))
    drivers = [Driver(JobEngine("slurm", config=config)) for _ in range(2)]
    yield drivers
    for driver in drivers:
        driver.close()


@pytest.fixture
def news(tmp_path: Path) -> Iterator[News]:
    made = News(tmp_path / "news")
    yield made
    made.close()


def test_commands_and_ranks(engine_of: list[Driver]) -> None:
    driver = engine_of[0]
    good = driver.task(Command("echo out"))
    bad = driver.task(Command("echo why >&2; exit 3"))
    ranks = driver.task(Command("echo $SLURM_PROCID"), resources=Resources(process_count=2, node_count=2))
    driver.submit(good, bad, ranks)
    assert driver.end_of(good).result.stdout == "out\n"
    error = driver.end_of(bad).error
    assert isinstance(error, CommandError)
    assert (error.exit_code, error.stderr) == (3, "why\n")
    assert sorted(driver.end_of(ranks).result.stdout.split()) == ["0", "1"]


def test_one_takes_up_what_the_other_has_left_and_cancels_it(
    engine_of: list[Driver], news: News, tmp_path: Path
) -> None:
    first, second = engine_of
    log = tmp_path / "log"
    command = Command(f"echo ran >> {log}; echo here > {news.path}; exec sleep 600")
    first.submit(first.task(command))
    news.hear()
    (handle,) = {update.handle for update in first.updates if update.handle}
    task = second.task(command)
    task.handle = handle
    second.submit(task)
    second.cancel(task)
    assert second.end_of(task).state is TaskState.CANCELLED
    assert log.read_text() == "ran\n"
