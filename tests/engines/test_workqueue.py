"""The Work Queue engine on Debian's own worker: crews that are lost, strangers, passwords, and what it says."""

from __future__ import annotations

import dataclasses
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harmony.conformance.engines import Driver, processes
from harmony.conformance.engines import work as works
from harmony.conformance.engines.gates import Gate, News
from harmony.core.task import Command, TaskState
from harmony.engines.workqueue import WorkQueueEngine
from harmony.errors import ConfigError, EngineError, WorkerLost
from harmony.resources import Resources
from harmony.sites import Blocks, here

PATIENCE = 30.0
pytestmark = pytest.mark.skipif(
    shutil.which("work_queue_worker") is None,
    reason="work_queue_worker is not installed: apt install coop-computing-tools",
)


@pytest.fixture
def engine() -> WorkQueueEngine:
    return WorkQueueEngine(2)


@pytest.fixture
def driver(engine: WorkQueueEngine) -> Iterator[Driver]:
    made = Driver(engine, PATIENCE)
    yield made
    made.close()


def programs(name: str) -> list[int]:
    """The children of this process that run a program of that name."""
    return [pid for pid in processes.children(os.getpid()) if processes.command_line(pid).startswith(name)]


def test_a_worker_that_is_killed_leaves_nothing_and_is_replaced(driver: Driver, news: News) -> None:
    call = driver.call(works.hold_for_ever, news.path)
    command = driver.task(Command(f"echo $$ > {news.path}; exec sleep 600"))
    driver.submit(call, command)
    held = news.numbers(2)
    (worker,) = programs("work_queue_worker")
    os.kill(worker, signal.SIGKILL)
    assert [type(driver.end_of(task).error) for task in (call, command)] == [WorkerLost, WorkerLost]
    for process in held:
        processes.wait_gone(process, PATIENCE)
    assert driver.result(driver.call(works.square, 3)) == 9


@pytest.mark.parametrize("who", ["keeper", "boss"])
def test_a_crew_that_is_killed_is_replaced_on_the_same_worker(driver: Driver, news: News, who: str) -> None:
    task = driver.call(works.hold_for_ever, news.path)
    driver.submit(task)
    (hand,) = news.numbers()
    (worker,) = programs("work_queue_worker")
    (killed,) = processes.children(worker)
    if who == "boss":
        (killed,) = processes.children(killed)
    os.kill(killed, signal.SIGKILL)
    assert isinstance(driver.end_of(task).error, WorkerLost)
    processes.wait_gone(hand, PATIENCE)
    assert driver.result(driver.call(works.square, 3)) == 9
    assert programs("work_queue_worker") == [worker]


def test_a_hand_that_dies_says_how_and_costs_only_its_task(driver: Driver, gate: Gate, news: News) -> None:
    other = driver.call(works.hold, gate.path, news.path, "kept")
    driver.submit(other)
    news.hear()
    error = driver.error(driver.call(works.kill_myself))
    assert isinstance(error, WorkerLost)
    assert f"on {socket.gethostname()} was killed by signal 9" in str(error)
    gate.open()
    assert driver.end_of(other).result == "kept"


def test_what_a_cancelled_task_has_started_ends_with_it(driver: Driver, news: News) -> None:
    task = driver.task(Command(f"(trap '' TERM; echo $$ > {news.path}; setsid sleep 600 & wait)"))
    driver.submit(task)
    (shell,) = news.numbers()
    driver.cancel(task)
    assert driver.end_of(task).state is TaskState.CANCELLED
    processes.wait_gone(shell, PATIENCE)
    assert driver.result(driver.call(works.square, 3)) == 9


def test_cancelling_needs_no_new_interpreter(driver: Driver, news: News) -> None:
    """Work Queue's own kill makes its worker deaf for three seconds; the crew's does not reach the worker."""
    (first, second) = (driver.call(works.hold_for_ever, news.path) for _ in range(2))
    driver.submit(first, second)
    news.hear(2)
    (worker,) = programs("work_queue_worker")
    (keeper,) = processes.children(worker)
    driver.cancel(first, second)
    driver.ends_of([first, second])
    assert driver.result(driver.call(works.square, 3)) == 9
    assert processes.children(worker) == {keeper}


def test_the_password_is_for_this_user_only_and_the_port_for_this_host(engine: WorkQueueEngine, driver: Driver) -> None:
    assert driver.result(driver.call(works.square, 3)) == 9
    (worker,) = programs("work_queue_worker")
    words = processes.command_line(worker).split()
    path = Path(words[words.index("--password") + 1])
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert len(path.read_bytes()) >= 32
    assert words[-2] == "127.0.0.1"
    folder = engine.folder
    driver.close()
    assert not folder.exists()


@pytest.mark.parametrize("said", ["harmony hand 1 0 1 x", "harmony boss 1 0 1 x", "harmony hand 9 0 1 x", "harmony"])
def test_a_stranger_gets_no_work(driver: Driver, said: str) -> None:
    assert driver.result(driver.call(works.square, 3)) == 9
    (worker,) = programs("work_queue_worker")
    port = int(processes.command_line(worker).split()[-1])
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as stranger:
        stranger.sendall(f"{said}\n{'0' * 64}\n".encode())
        heard = b""
        while part := stranger.recv(4096):
            heard += part
    assert heard.count(b"\n") <= 1  # a challenge, at the most
    assert driver.result(driver.call(works.square, 4)) == 16


def test_workers_that_others_start_are_taken(tmp_path: Path, gate: Gate, news: News) -> None:
    password = tmp_path / "password"
    password.write_text("a password of this test")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    driver = Driver(WorkQueueEngine(1, port=port, password=password), PATIENCE)
    words = ["work_queue_worker", "--single-shot", "--password", str(password), "--cores", "2", "-s", str(tmp_path)]
    other = subprocess.Popen([*words, "127.0.0.1", str(port)], stdout=subprocess.DEVNULL)
    try:
        tasks = [driver.call(works.hold, gate.path, news.path) for _ in range(3)]
        driver.submit(*tasks)
        news.hear(3)  # one hand here, two on the other worker
        gate.open()
        driver.ends_of(tasks)
    finally:
        driver.close()
        assert other.wait(PATIENCE) == 0
    assert password.exists()


def test_what_no_worker_has_is_refused_rather_than_waited_for(engine: WorkQueueEngine, driver: Driver) -> None:
    asked = driver.call(works.square, 3, resources=Resources(memory=1 << 60))
    error = driver.error(asked)
    assert isinstance(error, EngineError)
    assert "no worker of Work Queue has as much" in str(error)


def test_a_worker_without_harmony_says_so(tmp_path: Path) -> None:
    worker = tmp_path / "worker"
    worker.write_text('#!/bin/sh\nPYTHONHOME=/nowhere exec work_queue_worker "$@"\n')
    worker.chmod(0o755)
    driver = Driver(WorkQueueEngine(1, program=str(worker)), PATIENCE)
    try:
        error = driver.error(driver.call(works.square, 3))
        assert isinstance(error, EngineError)
        assert "cannot run Python tasks" in str(error)
        assert sys.executable in str(error)
        assert "encodings" in str(error)  # what the interpreter has said
    finally:
        driver.close()


def start_of(engine: WorkQueueEngine) -> Callable[[], Any]:
    return lambda: engine.start(lambda _: None)


def test_settings_that_cannot_work_are_refused(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.write_text("\n")
    for engine, words in (
        (WorkQueueEngine(1, program="no-such-worker"), "apt install coop-computing-tools"),
        (WorkQueueEngine(1, password=tmp_path / "none"), "cannot be read: No such file"),
        (WorkQueueEngine(1, password=empty), "is an empty file"),
    ):
        with pytest.raises(ConfigError, match=words):
            start_of(engine)()
        engine.close()
        assert not engine.folder.exists()


def test_a_port_that_is_taken_is_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        engine = WorkQueueEngine(1, port=taken.getsockname()[1])
        with pytest.raises(EngineError, match="cannot be had on this host"):
            start_of(engine)()
        engine.close()


def test_gpus_are_shown_as_the_worker_sees_them(monkeypatch: pytest.MonkeyPatch, gate: Gate, news: News) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7")
    driver = Driver(WorkQueueEngine(2, site=dataclasses.replace(here(2), gpus_per_node=2)), PATIENCE)
    try:
        asked = Resources(gpu_cores_per_process=1)
        tasks = [driver.call(works.hold_gpus, gate.path, news.path, resources=asked) for _ in range(2)]
        driver.submit(*tasks)
        assert sorted(news.hear(2)) == ["5", "7"]
        gate.open()
        driver.ends_of(tasks)
        assert driver.result(driver.call(works.visible_gpus)) == "5,7"
    finally:
        driver.close()


def test_blocks_come_and_go_with_the_work(gate: Gate, news: News) -> None:
    """The block whose hand has a long task stays; the other is given back."""
    site = dataclasses.replace(here(1), blocks=Blocks(min=0, init=0, max=2, idle=0.2))
    driver = Driver(WorkQueueEngine(1, site=site), PATIENCE)
    try:
        short_gate = Gate(Path(f"{gate.path}-short"))
        hands = []
        for opens in (short_gate, gate):
            driver.submit(driver.call(works.hold, opens.path, news.path))
            hands += news.numbers()
        short_gate.open()
        processes.wait_gone(hands[0], PATIENCE)
        os.kill(hands[1], 0)  # it is there
        gate.open()
        assert driver.result(driver.call(works.square, 3)) == 9
        assert not [update for update in driver.updates if update.error is not None]
    finally:
        driver.close()


def kill_my_boss() -> None:
    os.kill(os.getppid(), signal.SIGKILL)
    signal.pause()


def test_whoever_is_killed_each_task_ends_once(driver: Driver) -> None:
    """Hands kill themselves and their boss, in between what works and what is cancelled."""
    good = [driver.call(works.square, number) for number in range(600)]
    bad = [driver.call(kill_my_boss if number % 5 == 0 else works.kill_myself) for number in range(20)]
    for place, task in enumerate(bad):
        driver.submit(*good[30 * place : 30 * place + 30], task)
        driver.cancel(*good[30 * place + 25 : 30 * place + 28])
    ends = driver.ends_of([*good, *bad])
    driver.check()
    assert {type(end.error) for end in ends[len(good) :]} == {WorkerLost}
    for number, end in enumerate(ends[: len(good)]):
        assert end.state is TaskState.CANCELLED or isinstance(end.error, WorkerLost) or end.result == number * number
    assert sum(end.state is TaskState.DONE for end in ends) > 300
    assert driver.result(driver.call(works.square, 3)) == 9


@pytest.mark.parametrize(("given", "expected"), [(None, "2"), ("7", "7")])
def test_tasks_use_their_share_of_a_nodes_threads(
    monkeypatch: pytest.MonkeyPatch, given: str | None, expected: str
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if given is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", given)
    driver = Driver(WorkQueueEngine(2, site=here(4)), PATIENCE)
    try:
        assert driver.result(driver.call(works.variables, "OMP_NUM_THREADS")) == [expected]
    finally:
        driver.close()
