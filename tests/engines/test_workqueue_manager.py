"""The manager of a Work Queue and Debian's own worker: what is sent, what comes back, and who goes away meanwhile."""

from __future__ import annotations

import os
import queue
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from harmony.conformance.engines.gates import News
from harmony.engines.workqueue import wire
from harmony.engines.workqueue.loop import Connection, Loop
from harmony.engines.workqueue.manager import Manager
from harmony.engines.workqueue.wire import Order
from harmony.engines.workqueue.worker import Outcome, Worker

T = TypeVar("T")
PATIENCE = 30.0
PASSWORD = b"a password of this test\n"

pytestmark = pytest.mark.skipif(
    shutil.which("work_queue_worker") is None,
    reason="work_queue_worker is not installed: apt install coop-computing-tools",
)


class Desk:
    """Hands orders to a manager from another thread than its own, and keeps what it tells; starts workers."""

    def __init__(self, folder: Path, password: bytes | None = PASSWORD) -> None:
        self.faults: list[BaseException] = []
        self.news: queue.Queue[tuple[Any, ...]] = queue.Queue()
        self.loop = Loop("desk", self.faults.append)
        self.manager = Manager(self.loop, password, self)
        self.port = self.manager.listen("127.0.0.1")
        self.loop.start()
        self._folder = folder
        self.processes: list[subprocess.Popen[str]] = []

    def joined(self, worker: Worker) -> None:
        self.news.put(("joined", worker))

    def left(self, worker: Worker) -> None:
        self.news.put(("left", worker.fault))

    def ended(self, number: int, outcome: Outcome) -> None:
        self.news.put((number, outcome))

    def guest(self, connection: Connection, words: tuple[str, ...], rest: bytes) -> None:
        connection.close()
        self.news.put(("guest", *words))

    def do(self, act: Callable[[], T]) -> T:
        """Have something done in the loop's thread."""
        results: queue.Queue[T] = queue.Queue()
        self.loop.post(lambda: results.put(act()))
        return results.get(timeout=PATIENCE)

    def submit(self, command: str, **options: Any) -> int:
        return self.do(lambda: self.manager.submit(Order(command, **options)))

    def hear(self) -> tuple[Any, ...]:
        return self.news.get(timeout=PATIENCE)

    def run(self, command: str, **options: Any) -> Outcome:
        number = self.submit(command, **options)
        told, outcome = self.hear()
        assert told == number
        assert isinstance(outcome, Outcome)
        return outcome

    def worker(self, *options: str, cores: int = 2, password: bytes | None = PASSWORD) -> subprocess.Popen[str]:
        """Start a worker."""
        words = ["work_queue_worker", "--single-shot", "-t", "60", "-s", str(self._folder), "--cores", str(cores)]
        if password is not None:
            path = self._folder / f"password-{len(self.processes)}"
            path.write_bytes(password)
            words += ["--password", str(path)]
        process = subprocess.Popen(
            [*words, *options, "127.0.0.1", str(self.port)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self.processes.append(process)
        return process

    def hire(self, *options: str, cores: int = 2) -> Worker:
        """Start a worker and wait until it has come."""
        self.worker(*options, cores=cores)
        kind, worker = self.hear()
        assert kind == "joined"
        assert isinstance(worker, Worker)
        return worker

    def close(self) -> None:
        self.loop.stop()
        for process in self.processes:
            process.kill()
            process.communicate()
        assert not self.faults


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path)
    yield made
    made.close()


def test_a_worker_says_what_it_has(desk: Desk) -> None:
    worker = desk.hire("--gpus", "3", "--memory", "500", "--disk", "700", "--feature", "fast", cores=5)
    assert worker.resources == {"cores": 5, "memory": 500, "disk": 700, "gpus": 3}
    assert worker.features == {"fast"}
    assert worker.name == socket.gethostname()


def test_files_environment_and_exit_code(desk: Desk) -> None:
    desk.hire()
    outcome = desk.run(
        'cat in/a; echo "$X" >&2; cp in/a out; exit 3',
        inputs={"in/a": b"one\n"},
        outputs=["out", "none"],
        environment={"X": "two words"},
    )
    assert outcome[:3] == (wire.ENDED, 3, b"one\ntwo words\n")
    assert outcome.outputs == {"out": b"one\n", "none": None}
    assert outcome.seconds > 0


def test_large_files_both_ways(desk: Desk) -> None:
    desk.hire()
    data = bytes(range(256)) * 40_000
    outcome = desk.run("cat data; cat data data > twice", inputs={"data": data}, outputs=["twice"])
    assert outcome.stdout == data
    assert outcome.outputs == {"twice": data + data}


def test_an_input_is_sent_to_a_worker_once(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.hire()
    puts: list[str] = []
    put = wire.put

    def note(name: str, content: bytes) -> bytes:
        puts.append(name)
        return put(name, content)

    monkeypatch.setattr(wire, "put", note)
    for name in ("first", "second"):
        assert desk.run(f"cat {name}", inputs={name: b"the same"}).stdout == b"the same"
    assert puts == [wire.cached_name(b"the same")]


def test_a_task_that_takes_too_long_is_ended(desk: Desk) -> None:
    desk.hire()
    assert desk.run("exec sleep 600", walltime=0.5).status == wire.OVERTIME


def test_a_command_killed_by_a_signal_has_its_number(desk: Desk) -> None:
    desk.hire()
    assert desk.run("kill -9 $$")[:2] == (wire.ENDED, 9)


def test_a_task_waits_for_a_worker_that_has_what_it_takes(desk: Desk) -> None:
    desk.hire(cores=1)
    large = desk.submit("echo large", cores=2)
    assert desk.run("echo small").stdout == b"small\n"  # overtakes it
    desk.hire(cores=2)
    number, outcome = desk.hear()
    assert (number, outcome.stdout) == (large, b"large\n")


@pytest.fixture
def hold(desk: Desk, tmp_path: Path) -> Iterator[Callable[..., int]]:
    """Submits a task that runs until the test is over, and waits until it does."""
    gate, news = tmp_path / "gate", News(tmp_path / "news")
    os.mkfifo(gate)
    held = os.open(gate, os.O_RDWR)

    def submit(**options: Any) -> int:
        number = desk.submit(f"exec 3< {gate}; echo held > {news.path}; exec cat <&3", **options)
        news.hear()
        return number

    yield submit
    os.close(held)
    news.close()


def test_a_task_of_a_worker_that_is_killed_is_lost(desk: Desk, hold: Callable[..., int]) -> None:
    desk.hire()
    number = hold(cores=2)
    waiting = desk.submit("echo waits")
    desk.processes[0].send_signal(signal.SIGKILL)
    assert desk.hear() == (number, Outcome(None))
    assert desk.hear() == ("left", "it has gone")
    desk.hire()
    assert desk.hear()[0] == waiting


def test_a_worker_that_is_told_to_end_says_so(desk: Desk, hold: Callable[..., int]) -> None:
    desk.hire()
    number = hold()
    desk.processes[0].send_signal(signal.SIGTERM)
    assert desk.hear() == (number, Outcome(None))
    kind, fault = desk.hear()
    assert kind == "left"
    assert fault in ("it was told to end", "it has gone")  # Debian's does not say so each time


def test_what_is_cancelled_is_not_heard_of(desk: Desk, hold: Callable[..., int]) -> None:
    desk.hire(cores=1)
    running = hold()
    waiting = desk.submit("echo waits")
    last = desk.submit("echo last")
    assert desk.do(lambda: desk.manager.cancel(waiting))
    assert desk.do(lambda: desk.manager.cancel(running))
    assert desk.hear()[0] == last
    assert not desk.do(lambda: desk.manager.cancel(last))


def test_several_workers_share_the_work_and_come_and_go(desk: Desk, hold: Callable[..., int]) -> None:
    first, second = desk.hire(cores=1), desk.hire(cores=1)
    held = [hold(), hold()]
    assert [list(worker.running) for worker in (first, second)] == [[held[0]], [held[1]]]
    desk.do(lambda: first.drop("of a test"))
    assert desk.hear() == (held[0], Outcome(None))
    assert desk.hear() == ("left", "of a test")
    assert list(second.running) == [held[1]]


def test_a_worker_that_does_not_answer_is_parted_from(desk: Desk) -> None:
    worker = desk.hire()
    desk.processes[0].send_signal(signal.SIGSTOP)
    desk.do(worker.check)
    desk.do(worker.check)
    assert desk.hear() == ("left", "it does not answer")


@pytest.mark.parametrize("password", [b"another\n", None], ids=["wrong", "none"])
def test_a_worker_without_the_password_gets_nothing(desk: Desk, password: bytes | None) -> None:
    process = desk.worker(password=password)
    assert process.stdout is not None
    said = iter(process.stdout.readline, "")
    assert any("password" in line for line in said)
    desk.hire()  # the only one that joins


def test_a_manager_without_a_password(tmp_path: Path) -> None:
    desk = Desk(tmp_path, password=None)
    try:
        desk.worker(password=None)
        assert desk.hear()[0] == "joined"
        assert desk.run("echo hi").stdout == b"hi\n"
    finally:
        desk.close()


@pytest.mark.parametrize("said", [b"GET / HTTP/1.0\r\n\r\n", b"auth password sha1\nx\nwrong\n", b"\0" * 100_000])
def test_a_stranger_is_shown_the_door(desk: Desk, said: bytes) -> None:
    with socket.create_connection(("127.0.0.1", desk.port), PATIENCE) as stranger:
        stranger.sendall(said)
        try:
            while stranger.recv(4096):
                pass
        except ConnectionResetError:
            pass
    desk.hire()  # the first that is told of


def test_a_silent_one_delays_nobody(desk: Desk) -> None:
    with socket.create_connection(("127.0.0.1", desk.port), PATIENCE) as silent:
        silent.sendall(b"auth pass")
        desk.hire()
        assert desk.run("echo hi").stdout == b"hi\n"


def test_a_guest_is_somebody_elses(desk: Desk) -> None:
    with socket.create_connection(("127.0.0.1", desk.port), PATIENCE) as guest:
        guest.sendall(b"harmony boss 1\n")
        assert desk.hear() == ("guest", "harmony", "boss", "1")


def test_a_protocol_that_is_not_known_is_refused(tmp_path: Path) -> None:
    desk = Desk(tmp_path, password=None)
    try:
        with socket.create_connection(("127.0.0.1", desk.port), PATIENCE) as worker:
            worker.sendall(b"workqueue 5 old Linux x86_64 1.0.0\n")
            assert worker.recv(4096) == b""
    finally:
        desk.close()


def test_a_worker_of_the_newer_protocol_counts_in_fractions(tmp_path: Path) -> None:
    """As that of cctools 8 was seen to; Debian has none."""
    desk = Desk(tmp_path, password=None)
    try:
        with socket.create_connection(("127.0.0.1", desk.port), PATIENCE) as worker:
            worker.sendall(b"workqueue 11 new Linux x86_64 8.0.0\nresource cores 2.000000 2.000000 2.000000\n")
            worker.sendall(b"resource memory 24103.000000 0 0\ninfo end_of_resource_update 0\n")
            _, joined = desk.hear()
            assert joined.resources == {"cores": 2, "memory": 24103, "disk": 0, "gpus": 0}
    finally:
        desk.close()
