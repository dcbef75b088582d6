"""The jobs engine on a batch system, emulated: what only such systems do."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.engines.rig import News, wait_gone
from tests.jobs import systems

from harmony.conformance.emulators import Emulator
from harmony.conformance.engines import Driver
from harmony.core.task import Command, TaskState
from harmony.engines.jobs import JobEngine
from harmony.errors import CommandError, EngineError, WalltimeExceeded
from harmony.jobs import Job
from harmony.resources import Resources


@pytest.fixture(autouse=True)
def emulator(tmp_path: Path) -> Iterator[Emulator]:
    with Emulator("slurm", tmp_path / "emulated", speed=60.0) as made:
        yield made


def engine(tmp_path: Path) -> JobEngine:
    return JobEngine("slurm", config=systems.config(tmp_path / "work"))


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[Driver]:
    made = Driver(engine(tmp_path))
    yield made
    made.close()


def test_commands_and_their_ends(driver: Driver) -> None:
    batch = [driver.task(Command(f"echo {number}; echo why >&2; exit {number}")) for number in range(3)]
    driver.submit(*batch)
    ends = [driver.end_of(submission) for submission in batch]
    assert ends[0].result.stdout == "0\n"
    for number in (1, 2):
        error = ends[number].error
        assert isinstance(error, CommandError)
        assert (error.exit_code, error.stderr) == (number, "why\n")
    assert {end.place.partition("-")[0] for end in ends} == {"slurm"}


def test_resources_are_asked_for(driver: Driver) -> None:
    asked = Resources(cpu_cores_per_process=2, memory=2**30)
    task = driver.task(Command("echo $SLURM_CPUS_PER_TASK"), resources=asked)
    assert driver.result(task).stdout == "2\n"


def test_a_walltime_of_seconds(driver: Driver, news: News) -> None:
    task = driver.task(Command(f"sleep 600 & echo $! > {news.path}; wait"), walltime=0.3)
    error = driver.error(task)
    assert isinstance(error, WalltimeExceeded)
    (grandchild,) = news.numbers()
    wait_gone(grandchild)


def test_what_someone_else_cancels_has_failed(driver: Driver, news: News, tmp_path: Path) -> None:
    task = driver.task(Command(f"echo here > {news.path}; exec sleep 600"))
    driver.submit(task)
    news.hear()
    (native_id,) = [update.place.partition("-")[2] for update in driver.updates if update.handle]
    with systems.executor("slurm", tmp_path / "elsewhere") as other:
        job = Job()
        other.attach(job, native_id)
        job.cancel()
    end = driver.end_of(task)
    assert end.state is TaskState.FAILED
    assert "was cancelled from outside" in str(end.error) or "signal" in str(end.error)


def test_ranks_need_the_launcher_that_they_name(tmp_path: Path) -> None:
    driver = Driver(JobEngine("slurm", config=systems.config(tmp_path / "work"), launcher="no-such-launcher"))
    error = driver.error(driver.task(Command(("true",)), resources=Resources(process_count=2)))
    assert "no-such-launcher" in str(error)
    driver.close()


def test_another_engine_takes_up_what_one_has_left(tmp_path: Path, news: News) -> None:
    first = Driver(engine(tmp_path))
    log = tmp_path / "log"
    command = Command(f"echo ran >> {log}; echo here > {news.path}; read word < {tmp_path}/go; echo $word")
    os.mkfifo(tmp_path / "go")
    first.submit(first.task(command))
    news.hear()
    (handle,) = {update.handle for update in first.updates if update.handle}
    second = Driver(engine(tmp_path))
    task = second.task(command)
    task.handle = handle
    second.submit(task)
    (tmp_path / "go").write_text("bye\n")
    assert second.end_of(task).result.stdout == "bye\n"
    assert log.read_text() == "ran\n"
    first.close()
    second.close()


def test_a_scheduler_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    driver = Driver(engine(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert isinstance(driver.error(driver.task(Command(("true",)))), EngineError)
    driver.close()
