"""Local engine: opened, used and closed in every order; callbacks, prints, and rest when there is nothing to do."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any

import pytest
from tests.engines.rig import PATIENCE, Gate, News, children, hold, identity, lines, note, wait_gone

from harmony import Workflow, command, task
from harmony.core.future import TaskFuture
from harmony.core.task import Command, Task
from harmony.engines.local import LocalEngine
from harmony.errors import ConfigError, PluginError, WorkflowClosedError


def test_closed_while_tasks_run(gate: Gate, news: News, tmp_path: Path) -> None:
    noted = str(tmp_path / "noted")
    with Workflow(engine=LocalEngine(workers=2, cores=4)) as wf:
        futures: list[TaskFuture[Any]] = [wf.submit(hold, gate.path, news.path) for _ in range(2)]
        waiting = Command(f"echo $$ > {news.path}; flock -s {gate.path} true")
        futures += [wf.submit_task(Task(waiting)) for _ in range(2)]
        found = news.numbers(4)
        futures += [wf.submit(note, noted, i) for i in range(1000)]
        futures += [wf.submit(identity, futures[0])]
        wf.close()
        for process in found:
            wait_gone(process)
        for future in futures:
            with pytest.raises(CancelledError):
                future.result(PATIENCE)
        with pytest.raises(WorkflowClosedError):
            wf.submit(abs, 1)
        wf.close()
    assert lines(tmp_path / "noted") == []


def test_closed_by_another_thread(gate: Gate, news: News) -> None:
    wf = Workflow(engine=LocalEngine(workers=1))
    with wf:
        wf.submit(hold, gate.path, news.path)
        news.hear()
        thread = threading.Thread(target=wf.close)
        thread.start()  # leaving the block waits for a task that only this thread ends
    thread.join()


def test_left_by_an_error_while_tasks_run(gate: Gate, news: News) -> None:
    found: list[int] = []

    def drive() -> None:
        with Workflow(engine=LocalEngine(workers=1)) as wf:
            future = wf.submit(hold, gate.path, news.path)
            found.extend(news.numbers())
            raise LookupError(future)

    with pytest.raises(LookupError) as caught:
        drive()
    wait_gone(found[0])
    assert caught.value.args[0].cancelled()


def test_never_used() -> None:
    with Workflow(engine=LocalEngine(workers=4)):
        pass


def test_an_engine_is_used_once(wf: Workflow) -> None:
    engine = LocalEngine(workers=1)
    with Workflow(engine=engine) as first:
        with pytest.raises(ConfigError), Workflow(engine=engine):
            pass
        assert first.submit(abs, -1).result(PATIENCE) == 1
    with pytest.raises(ConfigError), Workflow(engine=engine):
        pass


def test_names_that_do_not_exist() -> None:
    with pytest.raises(PluginError, match="lokal"):
        Workflow(engine="lokal")
    with pytest.raises(ConfigError, match="engine"), Workflow(workers=1):
        task(on="elsewhere")(identity)(1)


def test_workflow_in_a_task(wf: Workflow) -> None:
    def inner(count: int) -> int:
        with Workflow(engine=LocalEngine(workers=2)) as deeper:
            echo = command(lambda: ["echo", "7"])()
            total: int = sum(deeper.gather(deeper.map(abs, range(count))))
            return total + int(echo.result().stdout)

    assert wf.submit(inner, 50).result(PATIENCE) == sum(range(50)) + 7


def test_workflows_that_have_ended_hold_nothing_open() -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        with Workflow(engine=LocalEngine(workers=2)) as wf:
            wf.gather([*wf.map(abs, range(10)), wf.submit_task(Task(Command("true")))])
            wf.submit(bytes, 1_000_000).result(PATIENCE)
    assert len(os.listdir("/proc/self/fd")) <= before


# -- callbacks --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [ValueError, SystemExit, KeyboardInterrupt])
def test_callback_that_raises(wf: Workflow, kind: type[BaseException]) -> None:
    called = threading.Event()

    def fail(_: object) -> None:
        raise kind("from the callback")

    futures = wf.map(identity, range(3))
    for future in futures[:2]:
        future.add_done_callback(fail)
    futures[2].add_done_callback(lambda _: called.set())
    assert called.wait(PATIENCE)
    assert wf.submit(identity, 3).result(PATIENCE) == 3


def test_callback_that_blocks(wf: Workflow) -> None:
    blocked, go_on, called = threading.Event(), threading.Event(), threading.Event()

    def block(_: object) -> None:
        blocked.set()
        go_on.wait(PATIENCE)

    first = wf.submit(identity, 1)
    first.add_done_callback(block)
    if not blocked.wait(PATIENCE):
        pytest.fail("the callback was not called")
    futures = wf.map(identity, range(1000))
    futures[0].add_done_callback(lambda _: called.set())
    assert wf.gather(futures) == list(range(1000))
    go_on.set()
    assert called.wait(PATIENCE)


# -- what tasks write, and the signals they live with --------------------------------------------------------


def test_prints_belong_to_their_task(wf: Workflow, capfd: pytest.CaptureFixture[str]) -> None:
    def speak(i: int) -> None:
        print("task", i)
        thread = threading.Thread(target=print, args=("thread", i))
        thread.start()
        thread.join()
        if i % 3 == 0:
            raise ValueError(i)

    futures = [wf.submit(speak, i) for i in range(50)]
    for i, future in enumerate(futures):
        assert (future.exception(PATIENCE) is None) == bool(i % 3)
        assert future.stdout == f"task {i}\nthread {i}\n"
    wf.close()
    shown = capfd.readouterr().out
    assert sorted(shown.splitlines()) == sorted(f"{what} {i}" for i in range(50) for what in ("task", "thread"))


def test_prints_are_not_shown_when_not_wanted(capfd: pytest.CaptureFixture[str]) -> None:
    with Workflow(engine=LocalEngine(workers=1), show_prints=False) as wf:
        future = wf.submit(print, "text")
        future.result(PATIENCE)
        assert future.stdout == "text\n"
    assert capfd.readouterr().out == ""


def write_to_stdout() -> tuple[Any, ...]:
    sys.stdout.write("a\udc80ß\n")
    sys.stdout.flush()
    try:
        sys.stdout.write(b"bytes")  # type: ignore[arg-type]
    except TypeError:
        print("refused")
    subprocess.run(["echo", "from a program"], check=True)
    return sys.stdout.encoding.lower(), sys.stdout.isatty(), sys.stdin.read()


def test_stdout_behaves_like_one(wf: Workflow) -> None:
    future = wf.submit(write_to_stdout)
    assert future.result(PATIENCE) == ("utf-8", False, "")
    assert future.stdout.startswith("a")
    assert future.stdout.endswith("ß\nrefused\n")


def interrupt_a_program() -> int:
    with subprocess.Popen(["sleep", "1000"]) as process:
        process.send_signal(signal.SIGINT)
        return process.wait()


def test_programs_of_tasks_can_be_interrupted(wf: Workflow) -> None:
    assert wf.submit(interrupt_a_program).result(PATIENCE) == -signal.SIGINT


# -- rest -------------------------------------------------------------------------------------------------


def cpu_seconds() -> float:
    """CPU time of this process and all that it has started."""
    ticks, todo = 0, [os.getpid()]
    while todo:
        process = todo.pop()
        todo.extend(children(process))
        try:
            ticks += sum(map(int, Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[11:13]))
        except OSError:
            continue
    return ticks / os.sysconf("SC_CLK_TCK")


@pytest.mark.parametrize("busy", [False, True], ids=["idle", "a long task, and others sent ahead"])
def test_no_cpu_while_nothing_happens(gate: Gate, news: News, busy: bool) -> None:
    with Workflow(engine=LocalEngine(workers=1, cores=4)) as wf:
        wf.gather(wf.map(identity, range(3000)))
        if busy:
            wf.submit(hold, gate.path, news.path)
            wf.map(identity, range(500))
            wf.submit_task(Task(Command(f"echo $$ > {news.path}; exec flock -s {gate.path} true")))
            news.hear(2)
        began, used = time.monotonic(), cpu_seconds()
        assert not threading.Event().wait(1.0)
        share = (cpu_seconds() - used) / (time.monotonic() - began)
        gate.open()
    assert share < 0.05
