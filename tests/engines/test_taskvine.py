"""The TaskVine engine, against a stand-in of ndcctools.taskvine's client API; and against the real one, where it is."""

from __future__ import annotations

import importlib
import importlib.util
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import ClassVar

import pytest

from harmony.conformance.engines import Driver, EngineSuite
from harmony.conformance.engines import work as works
from harmony.conformance.engines.gates import News
from harmony.core.task import TaskState
from harmony.engines.taskvine import TaskVineEngine
from harmony.errors import ConfigError, WorkerLost
from harmony.resources import Resources

STAND_INS = Path(__file__).parent / "stand_ins"
REAL = importlib.util.find_spec("ndcctools") is not None


@pytest.fixture
def vine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ModuleType]:
    """The stand-in, importable as the real one, with its worker on the PATH."""
    programs = tmp_path / "programs"
    programs.mkdir()
    worker = programs / "vine_worker"
    worker.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{STAND_INS / "vine_worker.py"}" "$@"\n')
    worker.chmod(0o755)
    monkeypatch.setenv("PATH", str(programs), prepend=":")
    monkeypatch.setenv("PYTHONPATH", str(STAND_INS))
    monkeypatch.syspath_prepend(str(STAND_INS))
    yield importlib.import_module("ndcctools.taskvine")
    for name in [name for name in sys.modules if name.partition(".")[0] == "ndcctools"]:
        del sys.modules[name]


@pytest.fixture
def driver(vine: ModuleType) -> Iterator[Driver]:
    made = Driver(TaskVineEngine(2), 20.0)
    yield made
    made.close()


def test_calls_go_to_the_library_and_answers_come_back(driver: Driver) -> None:
    assert [driver.result(driver.call(works.square, number)) for number in (2, 3)] == [4, 9]


def test_a_task_that_raises_raises_what_it_raised(driver: Driver) -> None:
    """TaskVine would have given the traceback as the result."""
    error = driver.error(driver.call(int, "no number"))
    assert type(error) is ValueError
    assert "no number" in str(error)


def test_a_task_that_asks_for_more_is_a_task_of_its_own(
    driver: Driver, vine: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A library's slots have one core each."""
    monkeypatch.setattr(vine, "dead_library", True)
    asked = Resources(cpu_cores_per_process=2)
    assert driver.result(driver.call(works.square, 4, resources=asked)) == 16


def test_a_library_that_dies_is_done_without(vine: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """TaskVine lets its calls wait for ever."""
    monkeypatch.setattr(vine, "dead_library", True)
    driver = Driver(TaskVineEngine(2, patience=0.5), 20.0)
    try:
        calls = [driver.call(works.square, number) for number in range(5)]
        driver.submit(*calls)
        assert [end.result for end in driver.ends_of(calls)] == [0, 1, 4, 9, 16]
    finally:
        driver.close()


def test_a_process_that_is_killed_is_a_lost_worker(driver: Driver) -> None:
    """TaskVine calls it a success, with the signal's number as its exit code."""
    error = driver.error(driver.call(works.kill_myself))
    assert isinstance(error, WorkerLost)
    assert "status 9" in str(error)


def test_a_running_task_is_cancelled(driver: Driver, tmp_path: Path) -> None:
    news = News(tmp_path / "news", 20.0)
    running = driver.call(works.hold_for_ever, news.path)
    driver.submit(running)
    news.hear()
    driver.cancel(running)
    assert driver.end_of(running).state is TaskState.CANCELLED
    assert driver.result(driver.call(works.square, 5)) == 25
    news.close()


def test_a_task_whose_worker_is_killed_runs_again(vine: ModuleType, driver: Driver, tmp_path: Path) -> None:
    """TaskVine sees to that itself, and says nothing of it."""
    marker = str(tmp_path / "marker")
    assert driver.result(driver.call(kill_its_worker_once, marker)) == "done"


def test_without_taskvine_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ndcctools", None)
    engine = TaskVineEngine(2)
    with pytest.raises(ConfigError, match="conda install -c conda-forge ndcctools"):
        engine.start(lambda _: None)
    assert not engine.folder.exists()
    engine.close()


def test_a_patience_that_makes_no_sense_is_refused() -> None:
    with pytest.raises(ConfigError, match="patience=0"):
        TaskVineEngine(patience=0)


def kill_its_worker_once(marker: str) -> str:
    try:
        os.close(os.open(marker, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return "done"
    os.kill(os.getppid(), signal.SIGKILL)
    return "its worker was killed"


@pytest.mark.slow
class TestStandIn(EngineSuite):
    """Our side of it keeps all promises: two slots on one worker of the stand-in, which waits in whole seconds too."""

    engine = "harmony.engines.taskvine:TaskVineEngine"
    options: ClassVar = {"workers": 2}

    @pytest.fixture(autouse=True)
    def with_stand_in(self, vine: ModuleType) -> None:
        """Have the stand-in there, for drivers in processes of their own too."""


@pytest.mark.skipif(
    not REAL or shutil.which("vine_worker") is None,
    reason="TaskVine is not installed, and pip has none: conda install -c conda-forge ndcctools",
)
class TestTaskVine(EngineSuite):
    """The real one: two slots on one worker of this machine."""

    engine = "harmony.engines.taskvine:TaskVineEngine"
    options: ClassVar = {"workers": 2}
    shares = True
