"""The Parsl engines where they differ from Parsl: what hangs there ends here, and with the reason."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.engines import rig
from tests.engines.rig import Gate, News

from harmony.conformance.engines import Driver
from harmony.core.task import TaskState
from harmony.engines.parsl import ParslEngine, ParslExecutorEngine
from harmony.errors import ConfigError, EngineFailed, WorkerLost
from harmony.sites import Blocks, Site

parsl = pytest.importorskip("parsl", reason="parsl is not installed: pip install 'harmony-workflows[parsl]'")

PATIENCE = 120.0
Make = Callable[..., Driver]


@pytest.fixture
def drive() -> Iterator[Make]:
    """Starts an engine, by default Parsl with one worker, and closes it at the end of the test."""
    drivers: list[Driver] = []

    def make(engine: Any = None) -> Driver:
        drivers.append(Driver(engine or ParslEngine(workers=1), PATIENCE))
        return drivers[-1]

    yield make
    for driver in drivers:
        driver.close()


def started_by(process: int, text: bytes) -> list[int]:
    """The children of a process whose command line holds a text."""
    found = []
    for child in rig.children(process):
        try:
            if text in Path(f"/proc/{child}/cmdline").read_bytes():
                found.append(child)
        except OSError:
            continue  # it has ended meanwhile
    return found


def manager_of(worker: int) -> int:
    return int(Path(f"/proc/{worker}/stat").read_text().rpartition(")")[2].split()[1])


def whole_parsl() -> list[str]:
    import parsl

    executor = parsl.ThreadPoolExecutor(max_threads=1)
    with parsl.load(parsl.Config(executors=[executor], initialize_logging=False, run_dir=os.environ["RUN_DIR"])):
        answer = parsl.python_app(lambda: "by Parsl")().result()
    return [str(answer), parsl.providers.SlurmProvider.__name__, parsl.File.__name__]


def test_what_waits_and_what_runs_fails_when_the_interchange_dies(drive: Make, gate: Gate, news: News) -> None:
    driver = drive()
    tasks = [driver.call(rig.hold, gate.path, news.path) for _ in range(3)]
    driver.submit(*tasks)
    news.hear()
    (interchange,) = started_by(os.getpid(), b"interchange")
    os.kill(interchange, signal.SIGKILL)
    for end in driver.ends_of(tasks):
        assert end.state is TaskState.FAILED
        assert isinstance(end.error, EngineFailed)
        assert "Parsl's interchange is gone: it ended by signal 9" in str(end.error)
    late = driver.call(rig.identity, 1)
    driver.submit(late)
    assert isinstance(driver.end_of(late).error, EngineFailed)


def test_a_node_whose_workers_all_die_costs_what_they_had_and_is_replaced(drive: Make, gate: Gate, news: News) -> None:
    driver = drive()
    lost, next_one = driver.call(rig.hold, gate.path, news.path), driver.call(rig.identity, 7)
    driver.submit(lost)
    os.kill(manager_of(*news.numbers()), signal.SIGKILL)
    error = driver.end_of(lost).error
    assert isinstance(error, WorkerLost)
    assert "block-1" in str(error)
    driver.submit(next_one)
    assert driver.end_of(next_one).result == 7


def test_a_node_whose_helper_dies_is_replaced(drive: Make, gate: Gate, news: News) -> None:
    driver = drive()
    task, next_one = driver.call(rig.hold, gate.path, news.path), driver.call(rig.identity, 7)
    driver.submit(task)
    (worker,) = news.numbers()
    (helper,) = set(started_by(manager_of(worker), b"spawn_main")) - {worker}
    os.kill(helper, signal.SIGKILL)
    assert isinstance(driver.end_of(task).error, WorkerLost)
    driver.submit(next_one)
    assert driver.end_of(next_one).result == 7


def test_a_cancelled_task_that_runs_is_not_said_to_have_ended(drive: Make, gate: Gate, news: News) -> None:
    driver = drive()
    task, waiting = driver.call(rig.hold, gate.path, news.path, 1), driver.call(rig.identity, 2)
    driver.submit(task, waiting)
    news.hear()
    driver.cancel(task, waiting)
    assert driver.end_of(waiting).state is TaskState.CANCELLED
    gate.open()
    assert driver.end_of(task).result == 1
    last = driver.call(rig.identity, 3)
    driver.submit(last)
    assert driver.end_of(last).result == 3


def test_blocks_that_fail_at_once_end_with_what_they_said(drive: Make) -> None:
    site = Site("broken", setup=("echo no such module >&2", "exit 3"), cores_per_node=1, blocks=Blocks(failures=2))
    driver = drive(ParslEngine(site=site))
    task = driver.call(rig.identity, 1)
    driver.submit(task)
    error = driver.end_of(task).error
    assert isinstance(error, EngineFailed)
    assert "no such module" in str(error)


def test_a_task_may_use_parsl_itself(drive: Make, tmp_path: Path) -> None:
    driver = drive()
    task = driver.call(whole_parsl, environment=(("RUN_DIR", str(tmp_path)),))
    driver.submit(task)
    assert driver.end_of(task).result == ["by Parsl", "SlurmProvider", "File"]


def test_nothing_of_the_run_is_left_on_disk(drive: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "with blanks {and braces}"))
    (tmp_path / "with blanks {and braces}").mkdir()
    driver = drive()
    task = driver.call(rig.identity, 1)
    driver.submit(task)
    assert driver.end_of(task).result == 1
    assert list((tmp_path / "with blanks {and braces}").glob("harmony-parsl-*"))
    driver.close()
    assert not list((tmp_path / "with blanks {and braces}").glob("harmony-parsl-*"))


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [({"provider": None}, "'provider' is for the engine to say"), ({"nonsense": 1}, "nonsense")],
)
def test_arguments_that_cannot_be(arguments: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        ParslEngine(workers=1, htex=arguments).start(lambda _: None)


# -- an executor that is given ---------------------------------------------------------------------------


def test_threads_of_parsl(drive: Make) -> None:
    driver = drive(ParslExecutorEngine(parsl.ThreadPoolExecutor(max_threads=2)))
    tasks = [driver.call(rig.identity, number) for number in range(20)]
    driver.submit(*tasks)
    assert [end.result for end in driver.ends_of(tasks)] == list(range(20))


def test_blocks_of_parsl(drive: Make) -> None:
    driver = drive(ParslExecutorEngine(high_throughput()))
    task = driver.call(rig.identity, 1)
    driver.submit(task)
    assert driver.end_of(task).result == 1


def test_blocks_of_parsl_that_fail(drive: Make) -> None:
    driver = drive(ParslExecutorEngine(high_throughput(launch_cmd="exit 3")))
    task = driver.call(rig.identity, 1)
    driver.submit(task)
    assert isinstance(driver.end_of(task).error, EngineFailed)


def high_throughput(**more: Any) -> Any:
    provider = parsl.providers.LocalProvider(init_blocks=1, max_blocks=1)
    return parsl.HighThroughputExecutor(address="127.0.0.1", max_workers_per_node=1, provider=provider, **more)


def test_an_executor_of_a_kernel_is_refused(tmp_path: Path) -> None:
    executor = parsl.ThreadPoolExecutor()
    config = parsl.Config(executors=[executor], initialize_logging=False, run_dir=str(tmp_path))
    with parsl.load(config), pytest.raises(ConfigError, match="belongs to a DataFlowKernel"):
        ParslExecutorEngine(executor)


def test_what_is_no_executor_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"must be a parsl\.executors"):
        ParslExecutorEngine(3)
