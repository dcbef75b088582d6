"""The driver dies, in whatever way: its blocks are cancelled by the guard."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from tests.engines.rig import PATIENCE, News, started

from harmony.conformance.emulators import Emulator, State
from harmony.pilots import guard

#: A driver with two blocks, that says when they work and does then what its last argument says.
DRIVER = """
import os, queue, signal, sys
from harmony.pilots import BlockRunning, Fleet
from harmony.sites import Blocks, Site

scheduler, work, news, go, last = sys.argv[1:]
told = queue.SimpleQueue()
site = Site("s", scheduler=scheduler, work_directory=work, cores_per_node=1, blocks=Blocks(init=2, max=2))
text = f'echo "$$" > {news}; exec sleep 1000'
fleet = Fleet(site, lambda block: ["/bin/sh", "-c", text], name="guarded", tell=told.put)
fleet.start()
running = 0
while running < 2:
    running += isinstance(told.get(), BlockRunning)
open(go).read()
exec(last)
"""

#: Dies between the submission of a job and saying so to its guard.
INTERRUPTED = """
import os, signal, sys
from harmony.pilots.footing import Footing
from harmony.sites import Site

work, news, go = sys.argv[1:]
site = Site("s", work_directory=work, setup=["export A=1"])
text = f'echo "$$" > {news}; exec sleep 1000'
footing = Footing(site, lambda block: ["/bin/sh", "-c", text], "guarded", None)
footing.guard.expects("block-1")
footing.executor.submit(footing.job("block-1"))
open(go).read()
os.kill(os.getpid(), signal.SIGKILL)
"""

ENDS = {
    "killed": "os.kill(os.getpid(), signal.SIGKILL)",
    "exits at once": "os._exit(3)",
    "forgets to close": "",
    "fails": "raise RuntimeError('a fault of the driver')",
    "is killed while a fork of it holds all that it has open": (
        "if os.fork(): os.kill(os.getpid(), signal.SIGKILL)\n"
        "os.write(os.open(news, os.O_WRONLY), f'{os.getpid()}\\n'.encode())\n"
        "signal.pause()"
    ),
}


class Scene:
    """Where a driver runs: what its workers tell, the word that lets it go on, and what is left of its blocks."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.work = folder / "work"
        self.news = News(folder / "news")
        self._go = folder / "go"
        os.mkfifo(self._go)

    def driver(self, text: str, *words: str) -> AbstractContextManager[subprocess.Popen[str]]:
        *scheduler, last = words or ("",)
        ends = [last] if last else []
        return started(self.folder, text, *scheduler, str(self.work), self.news.path, str(self._go), *ends)

    def go_on(self) -> None:
        with open(self._go, "w", encoding="ascii"):
            pass

    def wait_until_tidy(self) -> None:
        """Wait until the guard has ended all and taken the blocks' files away."""
        until(lambda: not list((self.work / "pilots").iterdir()), "the guard has left the blocks' files")


def until(condition: Callable[[], object], otherwise: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.02)


def gone(process: int) -> None:
    """Wait until a process has ended."""
    try:
        descriptor = os.pidfd_open(process)
    except ProcessLookupError:
        return
    try:
        assert select.select([descriptor], [], [], PATIENCE)[0], f"process {process} lives on"
    finally:
        os.close(descriptor)


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    made = Scene(tmp_path)
    yield made
    made.news.close()


@pytest.mark.parametrize("end", ENDS)
def test_the_blocks_of_a_driver_that_dies(scene: Scene, end: str) -> None:
    with scene.driver(DRIVER, "local", ENDS[end] or "pass"):
        workers = scene.news.numbers(2)
        scene.go_on()
        forks = scene.news.numbers("fork" in end)
        for worker in workers:
            gone(worker)
        scene.wait_until_tidy()
        for fork in forks:
            os.kill(fork, signal.SIGKILL)


def test_a_job_that_the_driver_did_not_live_to_tell_of(scene: Scene) -> None:
    with scene.driver(INTERRUPTED):
        (worker,) = scene.news.numbers()
        scene.go_on()
        gone(worker)
        scene.wait_until_tidy()


def test_jobs_of_a_batch_system_that_is_not_reached_at_first(
    emulated_scheduler: Callable[..., Emulator], scene: Scene
) -> None:
    slurm = emulated_scheduler("slurm")
    with scene.driver(DRIVER, "slurm", ENDS["killed"]):
        scene.news.hear(2)
        slurm.fault("scancel", 1, unreachable=True)
        scene.go_on()
        slurm.wait_until(lambda: [job.state for job in slurm.jobs()] == [State.ENDED] * 2)
        scene.wait_until_tidy()


def test_it_is_not_ended_by_what_ends_the_driver() -> None:
    """Ctrl-C and a closed terminal reach whole process groups."""
    program = [sys.executable, "-I", "-S", guard.__file__, str(os.getpid())]
    deaf = sum(1 << number - 1 for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP))

    def is_deaf() -> bool:
        lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
        ignored = next(int(line.split()[1], 16) for line in lines if line.startswith("SigIgn:"))
        return ignored & deaf == deaf

    with subprocess.Popen(program, stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.write(b'{"block": "block-1"}\n{"gone": "block-1"}\nno json\n')
        process.stdin.flush()
        until(is_deaf, "the guard listens to signals")
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            process.send_signal(number)
        process.stdin.write(b'{"bye": true}\n')
        process.stdin.close()
        assert process.wait(PATIENCE) == 0


def test_a_guard_that_was_killed_is_replaced(scene: Scene) -> None:
    kill_it = (
        "guard = fleet._footing.guard\n"
        "guard._process.kill(); guard._process.wait()\n"
        "guard.expects('block-9'); guard.lost('block-9')\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    with scene.driver(DRIVER, "local", kill_it):
        workers = scene.news.numbers(2)
        scene.go_on()
        for worker in workers:
            gone(worker)
        scene.wait_until_tidy()
