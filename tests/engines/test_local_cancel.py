"""Local engine: what is cancelled, or runs longer than its walltime, ends with all that it has started."""

from __future__ import annotations

import hashlib
import math
import os
import shlex
import signal
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from tests.engines.rig import PATIENCE, Gate, News, hold, identity, lines, note, pass_gate, tell, wait_gone

from harmony import Workflow, command, task
from harmony.core.future import TaskFuture
from harmony.core.task import Command, Options, Task, TaskState
from harmony.engines.local import LocalEngine
from harmony.engines.local.shared import Board
from harmony.errors import WalltimeExceeded


def warm_up(wf: Workflow) -> None:
    """Show the engine that its tasks are quick, so that it sends them ahead."""
    for future in [wf.submit(identity, i) for i in range(3000)]:
        future.result(PATIENCE)


def test_running_function(wf: Workflow, gate: Gate, news: News, tmp_path: Path) -> None:
    noted, path, barred = str(tmp_path / "noted"), news.path, gate.path

    def tidy() -> None:
        try:
            hold(barred, path)
        finally:
            note(noted, "tidied")

    future = wf.submit(tidy)
    (worker,) = news.numbers()
    assert future.state is TaskState.RUNNING
    assert future.cancel()
    assert future.cancelled()
    wait_gone(worker)
    assert lines(tmp_path / "noted") == ["tidied"]
    assert wf.submit(os.getpid).result(PATIENCE) != worker


def stubborn(gate: str, news: str) -> None:
    """Tell this process's id, then refuse to end."""
    tell(news, os.getpid())
    while True:
        try:
            pass_gate(gate)
        except BaseException:
            continue


def test_what_refuses_to_end_is_killed(gate: Gate, news: News) -> None:
    path, barred = shlex.quote(news.path), shlex.quote(gate.path)
    deaf = f"trap '' TERM; echo $$ > {path}; flock -s {barred} true"
    with Workflow(engine=LocalEngine(workers=2, cores=4)) as wf:
        futures = [
            wf.submit(stubborn, gate.path, news.path),
            wf.submit_task(Task(Command(deaf))),
            task(walltime=1.5)(stubborn)(gate.path, news.path),
            command(walltime=1.5)(lambda: deaf)(),
        ]
        found = news.numbers(4)
        for future in futures[:2]:
            future.cancel()
        for future in futures[2:]:
            assert isinstance(future.exception(PATIENCE), WalltimeExceeded)
        for process in found:
            wait_gone(process)


def test_running_command_and_those_it_has_started(wf: Workflow, gate: Gate, news: News) -> None:
    path, barred = shlex.quote(news.path), shlex.quote(gate.path)
    wait = f"(echo $BASHPID > {path}; exec flock -s {barred} true)"
    future = wf.submit_task(Task(Command(("bash", "-c", f"{wait} & (trap '' TERM; {wait}) & {wait}; true"))))
    found = news.numbers(3)
    assert future.cancel()
    for process in found:
        wait_gone(process)


def test_function_and_those_it_has_started(wf: Workflow, gate: Gate, news: News) -> None:
    path, barred = news.path, gate.path

    def parent() -> None:
        for ignores in (True, False):
            if os.fork() == 0:
                if ignores:
                    signal.signal(signal.SIGTERM, signal.SIG_IGN)
                hold(barred, path)
        hold(barred, path)

    future = wf.submit(parent)
    found = news.numbers(3)
    assert future.cancel()
    for process in found:
        wait_gone(process)


def test_sent_ahead_of_a_long_one(wf: Workflow, gate: Gate, news: News, tmp_path: Path) -> None:
    warm_up(wf)
    noted = str(tmp_path / "noted")
    long = wf.submit(hold, gate.path, news.path, "long")
    others = [wf.submit(note, noted, i) for i in range(400)]
    news.hear()
    assert all(future.cancel() for future in others[::2])
    assert wf.submit_task(Task(Command("true"))).result(PATIENCE)  # the engine has taken note of the cancellation
    assert not long.done()
    gate.open()
    assert long.result(PATIENCE) == "long"
    for future in others[1::2]:
        future.result(PATIENCE)
    wf.wait()
    assert sorted(map(int, lines(tmp_path / "noted"))) == list(range(1, 400, 2))


@pytest.mark.parametrize("long_first", [True, False])
def test_ten_thousand_at_once(
    gate: Gate, news: News, tmp_path: Path, scale: Callable[[int, int], int], long_first: bool
) -> None:
    count, noted = scale(10_000, 200_000), str(tmp_path / "noted")
    with Workflow(engine=LocalEngine(workers=2)) as wf:
        futures = [wf.submit(hold, gate.path, news.path) for _ in range(2 if long_first else 0)]
        found = news.numbers(len(futures))
        futures += [wf.submit(note, noted, i) for i in range(count)]
        cancelled = [future.cancel() for future in reversed(futures)]  # those that run last, so that no other starts
        if long_first:
            assert all(cancelled)
        for process in found:
            wait_gone(process)
        assert wf.submit(identity, "next").result(PATIENCE) == "next"
    ran = set(map(int, lines(tmp_path / "noted")))
    done = {i for i, future in enumerate(futures) if not future.cancelled()}
    assert done <= ran
    assert len(lines(tmp_path / "noted")) == len(ran)
    assert not (long_first and ran)


def hold_then_stop(gate: str, news: str, next_gate: str) -> None:
    """Wait at the gate, end, and have this worker wait at another before it starts the next task."""

    def stop(frame: FrameType, event: str, argument: Any) -> None:
        if event == "call" and frame.f_code is Board.start.__code__:
            sys.setprofile(None)
            pass_gate(next_gate)

    hold(gate, news)
    sys.setprofile(stop)


def test_what_was_taken_back_and_the_worker_has_not_come_to(
    wf: Workflow, gate: Gate, news: News, tmp_path: Path
) -> None:
    """Large arguments count until the worker has skipped them, though it has nothing else to do."""
    warm_up(wf)
    next_gate = Gate(tmp_path / "next")
    long = wf.submit(hold_then_stop, gate.path, news.path, next_gate.path)
    others = [wf.submit(len, bytes(200_000)) for _ in range(40)]
    news.hear()
    assert others[0].cancel()
    gate.open()
    assert long.result(PATIENCE) is None
    assert wf.submit_task(Task(Command("true"))).result(PATIENCE)  # the engine is not busy with a worker that is full
    next_gate.open()
    assert [future.result(PATIENCE) for future in others[1:]] == [200_000] * 39


class SlowToArrive:
    """A result that holds up whoever unpickles it until `let_go`."""

    arrived = threading.Event()
    let_go = threading.Event()

    def __reduce__(self) -> Any:
        return _arrive, (os.getpid(),)


def _arrive(sender: int) -> str:
    if os.getpid() != sender:
        SlowToArrive.arrived.set()
        assert SlowToArrive.let_go.wait(PATIENCE)
    return "arrived"


@pytest.mark.parametrize("unwanted", ["ended", "running"])
def test_cancel_while_the_engine_is_behind_the_news(wf: Workflow, gate: Gate, news: News, unwanted: str) -> None:
    """The worker has ended a task, which the driver does not know yet, and runs the next."""
    SlowToArrive.arrived.clear()
    SlowToArrive.let_go.clear()
    warm_up(wf)
    slow: TaskFuture[Any] = wf.submit(SlowToArrive)
    ended, running = wf.submit(tell, news.path, "ended"), wf.submit(hold, gate.path, news.path, "well")
    assert SlowToArrive.arrived.wait(PATIENCE)
    assert news.hear() == ["ended"]
    (worker,) = news.numbers()
    (ended if unwanted == "ended" else running).cancel()
    SlowToArrive.let_go.set()
    assert slow.result(PATIENCE) == "arrived"
    if unwanted == "running":
        wait_gone(worker)
        assert ended.result(PATIENCE) is None
    else:
        assert wf.submit_task(Task(Command("true"))).result(PATIENCE)  # the engine has taken note of the cancellation
        gate.open()
        assert running.result(PATIENCE) == "well"


def test_before_its_worker_is_ready(tmp_path: Path, gate: Gate, news: News) -> None:
    noted = str(tmp_path / "noted")
    with Workflow(engine=LocalEngine(workers=1, initializer=hold, initargs=(gate.path, news.path))) as wf:
        unwanted = [wf.submit(note, noted, 1), task(cores=1, environment={"A": "1"})(note)(noted, 2)]
        news.hear()
        assert all(future.cancel() for future in unwanted)
        assert wf.wait(timeout=PATIENCE)  # the engine has been told
        gate.open()
        assert wf.submit(identity, 3).result(PATIENCE) == 3
    assert lines(tmp_path / "noted") == []


# -- walltime -------------------------------------------------------------------------------------------


def loop() -> None:
    while True:
        pass


def count_for_ever() -> None:
    hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)  # never comes back to Python


def wait_for_ever() -> None:
    threading.Event().wait()


@pytest.mark.parametrize("run", [loop, wait_for_ever, count_for_ever, signal.pause])
def test_function_that_runs_too_long(wf: Workflow, run: Callable[[], Any]) -> None:
    future = task(walltime=0.1)(run)()
    error = future.exception(PATIENCE)
    assert isinstance(error, WalltimeExceeded)
    assert isinstance(error, TimeoutError)
    assert "walltime of 0.1 s" in str(error)
    assert wf.submit(identity, 1).result(PATIENCE) == 1


def wrap_any_error(gate: str) -> None:
    try:
        pass_gate(gate)
    except BaseException as error:
        raise RuntimeError("something went wrong") from error


def test_walltime_is_the_reason_whatever_the_function_makes_of_it(wf: Workflow, gate: Gate) -> None:
    error = task(walltime=0.5)(wrap_any_error)(gate.path).exception(PATIENCE)
    assert isinstance(error, WalltimeExceeded)


def test_walltime_is_the_works_own_failure(wf: Workflow, tmp_path: Path) -> None:
    noted = tmp_path / "noted"

    @task(walltime=1.0, retries=1)
    def sleep() -> None:
        note(str(noted), "ran")
        signal.pause()

    assert isinstance(sleep().exception(PATIENCE), WalltimeExceeded)
    assert lines(noted) == ["ran"] * 2


def test_each_try_has_the_whole_walltime(wf: Workflow, tmp_path: Path) -> None:
    noted = tmp_path / "noted"

    @task(walltime=2.0, retries=1)
    def second_time_lucky() -> str:
        note(str(noted), "ran")
        time.sleep(1.2)
        if len(lines(noted)) == 1:
            raise ValueError("not yet")
        return "lucky"

    assert second_time_lucky().result(PATIENCE) == "lucky"


def test_walltime_starts_when_the_function_does() -> None:
    with Workflow(engine=LocalEngine(workers=1, initializer=time.sleep, initargs=(1.0,))) as wf:
        future = wf.submit_task(Task(Command("true"), options=Options(walltime=10)))
        assert task(walltime=0.5)(identity)(1).result(PATIENCE) == 1
    with Workflow(engine=LocalEngine(workers=1, initializer=time.sleep, initargs=(1.0,))):
        assert task(walltime=1.5)(time.sleep)(1.0).result(PATIENCE) is None
        assert future.result(PATIENCE)


@pytest.mark.parametrize("walltime", [30 * 86_400, 1e12, math.inf])
def test_walltimes_without_end(wf: Workflow, walltime: float) -> None:
    assert task(walltime=walltime)(identity)(1).result(PATIENCE) == 1
    assert command(walltime=walltime)(lambda: ["true"])().exception(PATIENCE) is None
    assert wf.submit(identity, 2).result(PATIENCE) == 2


def test_cancelled_tasks_say_so(wf: Workflow, gate: Gate, news: News) -> None:
    future = wf.submit(hold, gate.path, news.path)
    news.hear()
    child = wf.submit(identity, future)
    future.cancel()
    with pytest.raises(CancelledError):
        future.result(PATIENCE)
    assert child.exception(PATIENCE) is not None
    assert wf.wait(timeout=PATIENCE)
    assert wf.report().counts.cancelled == 1
