"""Drivers killed at random moments, workers too, and the campaign resumed each time: nothing is lost or done twice."""

from __future__ import annotations

import os
import random
import select
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing, suppress
from pathlib import Path
from typing import NamedTuple

import pytest
from tests.conftest import command_line, ours, wait_for_processes
from tests.engines.rig import children
from tests.projects import own

from harmony.store.history import History

PROGRAM = Path(__file__).with_name("stressed.py")
#: Seconds in which a driver that is not killed says something, and in which all that a dead one has started ends.
LONGEST, GRACE = 60.0, 20.0
#: The most drivers that may be needed to end in peace what the killed ones have left.
LAST_DRIVERS = 3


class Moment(NamedTuple):
    """When a driver is killed: after so many tasks that it has run, and seconds more."""

    tasks: int
    seconds: float


class Campaign:
    """A directory with the program, which is run again and again."""

    def __init__(self, directory: Path, blocks: int, chance: random.Random) -> None:
        self.directory = directory
        self.chance = chance
        self.workers_killed = self.recalled = self.drivers = 0
        self._blocks = blocks
        directory.mkdir()
        shutil.copy(PROGRAM, directory)

    def run(self, kill: Moment | None = None, worker_deaths: float = 0.0) -> int:
        """Run a driver, and return its exit status; workers die with this probability at each piece of news."""
        with self._start() as driver:
            assert driver.stdout is not None
            news, left = driver.stdout.fileno(), kill.tasks if kill else sys.maxsize
            try:
                end = time.monotonic() + kill.seconds if kill and not left else 0.0
                while select.select([news], [], [], max(0.0, end - time.monotonic()) if end else LONGEST)[0]:
                    told = os.read(news, 1 << 16)
                    if not told:
                        driver.wait(LONGEST)
                        break
                    self.recalled += told.count(b"r")
                    left -= told.count(b".")
                    if kill and left <= 0 and not end:
                        end = time.monotonic() + kill.seconds
                    if self.chance.random() < worker_deaths:
                        self._kill_a_worker(driver.pid)
            finally:
                driver.kill()
        return driver.returncode

    def _start(self) -> subprocess.Popen[bytes]:
        self.drivers += 1
        with open(self.directory / "stderr", "ab") as errors:
            return subprocess.Popen(
                [sys.executable, PROGRAM.name, str(self._blocks)], cwd=self.directory, bufsize=0,
                env=own(STRESS_ROUND=str(self.drivers)), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=errors,
            )  # fmt: skip

    def _kill_a_worker(self, driver: int) -> None:
        workers = sorted(child for child in children(driver) if "local.worker" in command_line(child))
        if workers:
            with suppress(ProcessLookupError):
                os.kill(self.chance.choice(workers), signal.SIGKILL)
                self.workers_killed += 1

    def integrity(self) -> list[tuple[str]]:
        """What SQLite finds wrong with the database, or "ok"."""
        with closing(sqlite3.connect(self.directory / ".harmony" / "store.db")) as database:
            return database.execute("PRAGMA integrity_check").fetchall()

    def log(self) -> list[list[str]]:
        """What tasks and drivers have noted: what, which task, in which round."""
        path = self.directory / "log"
        return [line.split(" ") for line in path.read_text().splitlines()] if path.exists() else []

    def done(self) -> set[str]:
        """The tasks that a driver has reported as done."""
        return {name for what, name, _ in self.log() if what == "done"}

    def files(self) -> dict[str, bytes]:
        """What the tasks have written, and what they came to."""
        found = {str(path.relative_to(self.directory)): path.read_bytes() for path in self.directory.glob("files/*")}
        return {**found, "results": (self.directory / "results").read_bytes()}


class Survivor(Campaign):
    """A campaign whose drivers are killed."""

    def __init__(self, directory: Path, blocks: int, chance: random.Random, tasks: int) -> None:
        super().__init__(directory, blocks, chance)
        self._tasks = tasks
        self._before = ours()
        self.killed = self.early = self.looks = 0
        self.longest_end = 0.0
        self.orphans: set[int] = set()

    def suffer(self, kills: int) -> None:
        """Kill so many drivers, and workers meanwhile."""
        while self.killed < kills:
            moment = self._moment(kills - self.killed)
            status = self.run(moment, worker_deaths=0.05)
            self.killed += status == -signal.SIGKILL
            self.early += status == -signal.SIGKILL and not moment.tasks
            if self.chance.random() < 0.5:  # else the next driver starts while the end of this one is under way
                self._bury()

    def _moment(self, left: int) -> Moment:
        """Some die as they start, or recall; the others such that the work is about done by the last."""
        undone = self._tasks - len(self.done())
        if self.chance.random() < 0.2 or not undone:
            return Moment(0, self.chance.random() / 2)
        return Moment(self.chance.randint(1, max(1, 2 * undone // (left + 1))), self.chance.random() * 0.03)

    def _bury(self) -> None:
        begun = time.monotonic()
        self.orphans |= wait_for_processes(self._before, begun + GRACE)
        self.longest_end = max(self.longest_end, time.monotonic() - begun)
        if self.chance.random() < 0.5 and (self.directory / ".harmony" / "store.db").exists():
            assert self.integrity() == [("ok",)]
            self.looks += 1

    def finish(self) -> None:
        """Let a driver come to the end. A task that loses its worker too often fails, so one may not be enough."""
        for number in range(LAST_DRIVERS):
            if self.run(worker_deaths=0.0 if number else 0.02) == 0:
                break
        else:
            raise AssertionError((self.directory / "stderr").read_text()[-2000:])
        self._bury()


def again_after_done(log: list[list[str]]) -> list[str]:
    """The tasks that were started when a driver had reported them as done."""
    done: set[str] = set()
    found = []
    for what, name, number in log:
        if what == "done":
            done.add(name)
        elif name in done:
            found.append(f"{name} by driver {number}")
    return found


@pytest.mark.parametrize(
    ("blocks", "kills"),
    [(31, 5), pytest.param(208, 50, marks=[pytest.mark.slow, pytest.mark.timeout(900)])],
    ids=["300 tasks", "2000 tasks"],
)
def test_drivers_and_workers_that_are_killed(tmp_path: Path, blocks: int, kills: int) -> None:
    chance = random.Random(blocks)
    calm = Campaign(tmp_path / "calm", blocks, chance)
    assert calm.run() == 0
    survivor = Survivor(tmp_path / "survivor", blocks, chance, len(calm.done()))
    survivor.suffer(kills)
    survivor.finish()
    log = survivor.log()
    ends = Counter(name for what, name, _ in log if what == "end")
    print(
        f"tasks {len(ends)}, drivers {survivor.drivers}, of these killed {survivor.killed} ({survivor.early} as they "
        f"started), workers killed {survivor.workers_killed}, recalled {survivor.recalled}, executed {ends.total()}, "
        f"executed twice {sum(count > 1 for count in ends.values())}, executed after they were reported as done "
        f"{len(again_after_done(log))}, orphans {len(survivor.orphans)} (the last process of a driver ended at most "
        f"{survivor.longest_end:.2f} s after it), integrity checks {survivor.looks}"
    )
    assert again_after_done(log) == []
    assert survivor.orphans == set()
    assert survivor.done() == set(ends) == calm.done()
    assert survivor.files() == calm.files()
    assert survivor.files()["results"].count(b"\n") > 9 * blocks
    check_store(survivor)


def check_store(campaign: Survivor) -> None:
    """The store is sound, holds nothing unfinished, and tells of each run how it ended."""
    assert campaign.integrity() == [("ok",)]
    store = campaign.directory / ".harmony"
    assert [path.name for path in store.rglob("*.part*")] == []
    with History(store) as history:
        runs = sorted(history.runs(), key=lambda run: run.id)
    assert runs[-1].status == "done"
    assert runs[-1].counts.failed == 0
    assert "interrupted" in {run.status for run in runs}
    # A task whose worker was killed three times has failed, and ends its program: that run is failed, or stopped.
    assert {run.status for run in runs} <= {"interrupted", "failed", "stopped", "done"}
    errors = (campaign.directory / "stderr").read_text()
    assert "fault inside Harmony" not in errors
    assert "the store" not in errors
