"""What tasks are said to have used, and what the engines say of their workers."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from tests.core import functions
from tests.engines import rig

from harmony import plugins
from harmony.conformance.engines import Driver
from harmony.core.engine import Capability, Usage
from harmony.core.task import Command
from harmony.core.usage import Meter
from harmony.errors import CommandError, WalltimeExceeded


@pytest.fixture(params=["inline", "threads", "local"])
def driver(request: pytest.FixtureRequest) -> Iterator[Driver]:
    made = Driver(partial(plugins.load(plugins.ENGINES, request.param), workers=2)())
    yield made
    made.close()


@pytest.fixture
def local() -> Iterator[Driver]:
    made = Driver(plugins.load(plugins.ENGINES, "local")(workers=1))
    yield made
    made.close()


def burn(seconds: float) -> float:
    """Use so much CPU time, and return how much it was."""
    began = time.thread_time()
    while time.thread_time() - began < seconds:
        pass
    return time.thread_time() - began


def wait_in_vain(seconds: float) -> None:
    select.select([], [], [], seconds)


def burn_and_fail(seconds: float) -> None:
    burn(seconds)
    raise ValueError("burnt")


def burn_in_a_child(script: str) -> None:
    subprocess.run(["/bin/sh", "-c", script], check=True)


def grow(megabytes: int) -> int:
    return len(bytearray(os.urandom(1) * (megabytes * 2**20)))


LOOP = "i=0; while [ $i -lt 60000 ]; do i=$((i+1)); done"


def used(driver: Driver, fn: Callable[..., object], *args: object) -> Usage:
    usage = driver.run(driver.call(fn, *args)).usage
    assert usage is not None
    return usage


def test_cpu_seconds_of_a_function(driver: Driver) -> None:
    driver.run(driver.call(burn, 0.0))  # which imports this module in the worker
    end = driver.run(driver.call(burn, 0.05))
    assert end.usage is not None
    assert end.usage.cpu is not None
    assert end.result - 0.001 <= end.usage.cpu < end.result + 0.04
    idle = used(driver, wait_in_vain, 0.05).cpu
    assert idle is not None
    assert idle < 0.04, "what it did not use is not counted, nor what the one before did"


def test_also_of_one_that_fails(driver: Driver) -> None:
    assert (used(driver, burn_and_fail, 0.02).cpu or 0) >= 0.019


def test_short_functions_are_not_measured(driver: Driver) -> None:
    batch = [driver.call(functions.square, number) for number in range(50)]
    driver.submit(*batch)
    ends = [driver.end_of(submission) for submission in batch]
    assert all(end.usage is None for end in ends if end.seconds < 0.001)


def test_memory_and_children_of_a_function(local: Driver) -> None:
    before = used(local, burn, 0.002).memory
    assert before is not None
    after = used(local, grow, 200).memory
    assert after is not None
    assert after - before > 150 * 2**20
    assert (used(local, burn_in_a_child, LOOP).cpu or 0) > 0.01


def test_a_worker_does_not_count_what_its_driver_holds(tmp_path: Path) -> None:
    text = """
        from tests.engines import test_usage
        from harmony.conformance.engines import Driver
        from harmony.engines.local import LocalEngine
        held = bytearray(b"x" * 400 * 2**20)
        driver = Driver(LocalEngine(workers=1))
        print(test_usage.used(driver, test_usage.burn, 0.01).memory)
        driver.close()
    """
    assert int(rig.run(tmp_path, text)) < 300 * 2**20


def test_what_a_command_used(driver: Driver, tmp_path: Path) -> None:
    path = tmp_path / "written"
    command = f"{LOOP}; ({LOOP}); dd if=/dev/zero of={path} bs=65536 count=32 2>/dev/null"
    usage = driver.run(driver.task(Command(command))).usage
    assert usage is not None
    assert (usage.cpu or 0) > 0.02
    assert usage.memory is None or usage.memory > 2**20
    assert usage.read is not None
    assert usage.written is not None
    failed = driver.run(driver.task(Command(f"{LOOP}; exit 3")))
    assert isinstance(failed.error, CommandError)
    assert failed.usage is not None


def test_a_command_in_a_directory(local: Driver, tmp_path: Path) -> None:
    end = local.run(local.task(Command(LOOP), directory=str(tmp_path / "here")))
    assert end.usage is not None
    assert (end.usage.cpu or 0) > 0.01


def test_walltimes_of_commands_hold_without_a_better_way() -> None:
    driver = Driver(plugins.load(plugins.ENGINES, "threads")(workers=1))
    end = driver.run(driver.task(Command(f"{LOOP}; sleep 600"), walltime=0.2))
    driver.close()
    assert isinstance(end.error, WalltimeExceeded)
    assert end.usage is not None


def test_a_meter_begins_anew() -> None:
    meter = Meter()
    burn(0.02)
    assert (meter.take(time.perf_counter()).cpu or 0) >= 0.019
    assert (meter.take(time.perf_counter()).cpu or 0) < 0.02


# -- notices ----------------------------------------------------------------------------------------


def test_workers_that_start_and_end(local: Driver) -> None:
    process = local.result(local.call(os.getpid))
    (started,) = local.notices
    assert started == (
        0, "worker.started", "local-0", {"engine": "local", "pid": process, "host": socket.gethostname()}
    )  # fmt: skip
    local.run(local.call(os.kill, process, signal.SIGKILL))
    ended = next(notice for notice in local.notices if notice.kind == "worker.ended")
    assert (ended.subject, ended.data["how"]) == ("local-0", "was killed by signal SIGKILL")


def test_who_shares_objects_with_the_driver() -> None:
    def shares(name: str) -> bool:
        return Capability.SHARED_MEMORY in plugins.load(plugins.ENGINES, name)().capabilities

    assert [shares(name) for name in ("inline", "threads", "local")] == [True, True, False]
