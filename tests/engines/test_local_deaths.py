"""Local engine: the death of a worker costs the task it ran, and nothing else."""

from __future__ import annotations

import functools
import multiprocessing
import os
import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.engines.rig import (
    PATIENCE,
    Gate,
    News,
    hold,
    identity,
    kill_once,
    lines,
    note,
    pass_gate,
    tell,
    wait_gone,
    workers,
)  # fmt: skip

from harmony import Workflow, task
from harmony.core.future import TaskFuture
from harmony.core.retry import MACHINERY_RETRIES
from harmony.engines.local import LocalEngine
from harmony.errors import EngineFailed, SerializationError, WorkerLost

TRIES = MACHINERY_RETRIES + 1


def note_and_exit(path: str, code: int) -> None:
    note(path, os.getpid())
    os._exit(code)


def test_os_exit_in_a_task(wf: Workflow, tmp_path: Path) -> None:
    noted = tmp_path / "noted"
    futures = [wf.submit(note_and_exit, str(noted), 3), *wf.map(identity, range(100))]
    error = futures[0].exception(PATIENCE)
    assert isinstance(error, WorkerLost)
    assert "exit code 3" in str(error)
    assert "note_and_exit" in str(error)
    assert len(set(lines(noted))) == TRIES  # each time in a new worker
    assert [future.result(PATIENCE) for future in futures[1:]] == list(range(100))


def test_sys_exit_in_a_task_is_its_error(wf: Workflow) -> None:
    worker = wf.submit(os.getpid).result(PATIENCE)
    error = wf.submit(sys.exit, 3).exception(PATIENCE)
    assert isinstance(error, SystemExit)
    assert error.code == 3
    assert wf.submit(os.getpid).result(PATIENCE) == worker


def test_killed_once_is_retried(wf: Workflow, tmp_path: Path) -> None:
    assert wf.submit(kill_once, str(tmp_path / "marker"), 5).result(PATIENCE) == 5


def test_killed_from_outside_while_it_runs(wf: Workflow, news: News, gate: Gate) -> None:
    future = wf.submit(hold, gate.path, news.path, "done")
    seen = news.numbers()
    os.kill(seen[0], signal.SIGKILL)
    seen += news.numbers()
    gate.open()
    assert future.result(PATIENCE) == "done"
    assert seen[0] != seen[1]


def test_killed_whenever_it_runs(wf: Workflow, news: News, gate: Gate) -> None:
    future = wf.submit(hold, gate.path, news.path)
    for _ in range(TRIES):
        os.kill(news.numbers()[0], signal.SIGKILL)
    error = future.exception(PATIENCE)
    assert isinstance(error, WorkerLost)
    assert "SIGKILL" in str(error)


def test_user_policy_does_not_count_losses(wf: Workflow, tmp_path: Path) -> None:
    noted = tmp_path / "noted"

    @task(retries=10)
    def lost() -> None:
        note(str(noted), "ran")
        os._exit(1)

    assert isinstance(lost().exception(PATIENCE), WorkerLost)
    assert len(lines(noted)) == TRIES


def test_killed_while_it_idles(wf: Workflow) -> None:
    seen = set()
    for i in range(10):
        worker = wf.submit(os.getpid).result(PATIENCE)
        seen.add(worker)
        os.kill(worker, signal.SIGKILL)
        if i % 2:
            wait_gone(worker)  # every other time it is still dying when the next task comes
        assert wf.submit(identity, i).result(PATIENCE) == i
    assert len(seen) == 10


def test_killed_while_it_idles_and_given_a_large_argument(wf: Workflow, tmp_path: Path) -> None:
    noted = tmp_path / "noted"
    large = bytearray(1_000_000)
    for i in range(20):
        os.kill(wf.submit(os.getpid).result(PATIENCE), signal.SIGKILL)
        assert wf.submit(note_number, str(noted), i, large).result(PATIENCE)[0] == i
    assert lines(noted) == [str(i) for i in range(20)]


def test_tasks_sent_ahead_of_a_death_happen_once(wf: Workflow, tmp_path: Path, gate: Gate) -> None:
    noted, marker = tmp_path / "noted", str(tmp_path / "marker")
    for future in wf.map(identity, range(2000)):  # so that the engine knows its tasks to be quick
        future.result(PATIENCE)
    path = gate.path

    def die() -> Any:
        note(str(noted), "dying")
        pass_gate(path)
        return kill_once(marker, "survived")

    dying = wf.submit(die)
    others = [wf.submit(note, str(noted), i) for i in range(500)]
    gate.open()
    assert dying.result(PATIENCE) == "survived"
    for other in others:
        other.result(PATIENCE)
    assert Counter(lines(noted)) == Counter({"dying": 2, **{str(i): 1 for i in range(500)}})


def note_number(path: str, i: int, _: object = None) -> tuple[int, int]:
    note(path, i)
    return i, os.getpid()


def test_kills_again_and_again(tmp_path: Path, scale: Callable[[int, int], int]) -> None:
    kills, size = 20, scale(100, 2500)
    noted = tmp_path / "noted"
    futures: list[TaskFuture[tuple[int, int]]] = []
    with Workflow(engine=LocalEngine(workers=2)) as wf:
        for _ in range(kills):
            wave = [wf.submit(note_number, str(noted), len(futures) + i) for i in range(size)]
            os.kill(wave[0].result(PATIENCE)[1], signal.SIGKILL)
            futures += wave
    starts = Counter(map(int, lines(noted)))
    lost = 0
    for i, future in enumerate(futures):
        if (error := future.exception()) is None:
            assert future.result()[0] == i
            assert starts[i] >= 1
        else:
            assert isinstance(error, WorkerLost)
            assert starts[i] <= TRIES
            lost += 1
    assert lost * TRIES <= kills
    assert sum(starts.values()) - len(futures) <= kills  # a death repeats one task at most


# -- forks ------------------------------------------------------------------------------------------


def fork(child: Callable[[], Any]) -> int:
    """Fork; the child returns from the function; return how it ended."""
    process = os.fork()
    if process == 0:
        return int(child())
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def note_and_succeed(noted: str) -> int:
    note(noted, "child")
    return 0


def test_fork_whose_child_returns(wf: Workflow, tmp_path: Path) -> None:
    noted = str(tmp_path / "noted")
    assert wf.submit(fork, lambda: note_and_succeed(noted)).result(PATIENCE) == 0
    assert wf.submit(fork, lambda: sys.exit(3)).result(PATIENCE) == 3
    assert wf.submit(fork, lambda: 1 // 0).result(PATIENCE) == 1
    assert wf.submit(fork, lambda: os._exit(4)).result(PATIENCE) == 4
    assert lines(tmp_path / "noted") == ["child"]


def test_fork_whose_child_lives_on(wf: Workflow, news: News) -> None:
    path = news.path

    def leave_child() -> int:
        if (process := os.fork()) == 0:
            tell(path, os.getpid())
            signal.pause()
        return process

    child = wf.submit(leave_child).result(PATIENCE)
    assert news.numbers() == [child]
    assert wf.submit(identity, 1).result(PATIENCE) == 1
    wf.close()
    wait_gone(child)


def pool_of(method: str) -> list[int]:
    with multiprocessing.get_context(method).Pool(2) as pool:
        return pool.map(abs, [-1, -2, -3])


def terminated(method: str) -> int | None:
    context: Any = multiprocessing.get_context(method)
    process = context.Process(target=signal.pause)
    process.start()
    process.terminate()
    process.join()
    exit_code: int | None = process.exitcode
    return exit_code


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing_in_a_task(wf: Workflow, method: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert wf.submit(pool_of, method).result(PATIENCE) == [1, 2, 3]
    assert wf.submit(terminated, method).result(PATIENCE) == -signal.SIGTERM
    wf.close()
    assert "Traceback" not in capfd.readouterr().err


def test_children_die_with_their_worker(wf: Workflow, news: News, gate: Gate) -> None:
    path, barred = news.path, gate.path

    def parent() -> None:
        context: Any = multiprocessing.get_context("fork")
        child = context.Process(target=hold, args=(barred, path))
        child.start()
        hold(barred, path)

    future = wf.submit(parent)
    found = set(news.numbers(2))
    (worker,) = found & workers()
    os.kill(worker, signal.SIGKILL)
    for process in found:
        wait_gone(process)
    future.cancel()


def threads_in_a_task() -> list[int]:
    found: list[int] = []
    threads = [threading.Thread(target=found.append, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sorted(found)


def test_threads_in_a_task(wf: Workflow, gate: Gate) -> None:
    path = gate.path
    assert wf.submit(threads_in_a_task).result(PATIENCE) == [0, 1, 2, 3]
    left = functools.partial(threading.Thread, target=pass_gate, args=(path,))
    wf.submit(lambda: left().start()).result(PATIENCE)  # it outlives its task, and the workflow ends all the same
    assert wf.submit(identity, 1).result(PATIENCE) == 1


# -- the beginning of a worker ------------------------------------------------------------------------


def test_initializer_runs_once_in_each_worker(tmp_path: Path, news: News, gate: Gate) -> None:
    noted = tmp_path / "noted"
    initializer = functools.partial(lambda path: note(path, os.getpid()), str(noted))
    with Workflow(engine=LocalEngine(workers=2, initializer=initializer)) as wf:
        for _ in range(2):
            wf.submit(hold, gate.path, news.path)
        seen = set(news.numbers(2))
        gate.open()
        seen |= {future.result(PATIENCE) for future in [wf.submit(os.getpid) for _ in range(200)]}
    assert Counter(map(int, lines(noted))) == Counter(seen)
    assert len(seen) == 2


FAILING = {"raise": lambda: 1 // 0, "exit": lambda: sys.exit(3), "_exit": lambda: os._exit(3)}


@pytest.mark.parametrize("fails", FAILING.values(), ids=FAILING)
def test_initializer_that_fails(tmp_path: Path, fails: Callable[[], Any]) -> None:
    noted = tmp_path / "noted"
    with Workflow(engine=LocalEngine(workers=2, initializer=fails)) as wf:
        futures = [wf.submit(note, str(noted), i) for i in range(50)]
        for future in futures:
            assert isinstance(future.exception(PATIENCE), EngineFailed)
        assert isinstance(wf.submit(abs, 1).exception(PATIENCE), EngineFailed)
    assert lines(noted) == []


def test_initializer_that_cannot_be_pickled() -> None:
    lock = threading.Lock()
    with pytest.raises(SerializationError), Workflow(engine=LocalEngine(initializer=lambda: lock)):
        pass


def test_worker_that_cannot_be_started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with Workflow(engine=LocalEngine(workers=2)) as wf:
        monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
        for future in wf.map(abs, range(10)):
            assert isinstance(future.exception(PATIENCE), EngineFailed)
