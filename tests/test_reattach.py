"""Commands that outlive their driver: the next run of the program takes them up, and they run once."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from tests.engines.rig import News, wait_gone
from tests.projects import Project, own

from harmony.store.history import History

PROGRAM = """
from harmony.engines.jobs import JobEngine
from harmony.jobs.local import LocalExecutorConfig

config = LocalExecutorConfig(work_directory=f"{HERE}/work", durable=True)

@command(on="jobs", retries=int(os.environ.get("RETRIES", 0)))
def slow(to: Output):
    say = f"echo $$ > {HERE}/news; read code < {HERE}/go; echo said $code; echo why >&2; echo written > {to}"
    return f"echo slow >> {HERE}/ran; {say}; exit $code"

@task(on="local")
def after(result, written: File):
    note("after")
    return result.stdout.strip(), result.stderr.strip(), written.read_text().strip()

if __name__ == "__main__":
    with Workflow("outliving", engines={"jobs": JobEngine(config=config), "local": "local"}) as wf:
        to = File(f"{HERE}/written")
        first = slow(to)
        last = after(first, to)
        error = first.exception()
        print(f"{error.exit_code} {error.stderr.strip()}" if error else last.result(), wf.report().counts.recalled)
"""


class Outliving(Project):
    """A program whose first task runs until it is told an exit code."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.write(PROGRAM)
        self.news = News(directory / "news")
        os.mkfifo(directory / "go")
        # held open both ways, so that whoever is told reads what was said before it came
        self._go = os.open(directory / "go", os.O_RDWR)

    def close(self) -> None:
        self.news.close()
        os.close(self._go)

    def go(self, code: int = 0) -> None:
        """Let the command end."""
        os.write(self._go, f"{code}\n".encode())

    def start(self) -> subprocess.Popen[bytes]:
        """Start a driver."""
        return subprocess.Popen(
            [sys.executable, str(self.program)], env=own(), cwd=self.directory, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )  # fmt: skip

    def leave_behind(self) -> int:
        """Start a driver, and kill it when the command runs and the store knows of it; return the command's process."""
        with self.start() as driver:
            process = self.news.numbers()[0]
            while not self.attachments():  # the test's own limit ends it
                assert driver.poll() is None
            driver.send_signal(signal.SIGKILL)
        return process

    def rows(self, sql: str) -> list[tuple[object, ...]]:
        """What the store has."""
        with closing(sqlite3.connect(self.store / "store.db")) as database:
            return database.execute(sql).fetchall()

    def attachments(self) -> list[tuple[object, ...]]:
        """What can be taken up, by the store."""
        return self.rows("SELECT handle FROM attachment")


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Outliving]:
    """Return a project with a command that waits."""
    project = Outliving(tmp_path)
    yield project
    project.close()


def test_a_command_that_still_runs_is_taken_up(project: Outliving) -> None:
    project.leave_behind()
    with project.start() as second:
        while project.rows("SELECT count(*) FROM attachment WHERE run = 2") != [(1,)]:
            assert second.poll() is None
        project.go()
        assert second.wait() == 0
    assert project.ran() == ["after", "slow"]
    assert project.attachments() == []
    assert project.run() == "('said 0', 'why', 'written') 2\n"
    assert project.ran() == []
    with History(project.store) as history:
        assert [run.status for run in sorted(history.runs(), key=lambda run: run.id)] == ["interrupted", "done", "done"]


def test_a_command_that_ended_while_no_driver_lived(project: Outliving) -> None:
    process = project.leave_behind()
    project.go()
    wait_gone(process)
    assert project.run() == "('said 0', 'why', 'written') 0\n"
    assert project.ran() == ["after", "slow"]
    assert project.attachments() == []


def test_its_exit_code_reaches_the_next_driver(project: Outliving) -> None:
    process = project.leave_behind()
    project.go(3)
    wait_gone(process)
    assert project.run() == "3 why 0\n"
    assert project.ran() == ["slow"]
    assert project.attachments() == [], "or the next driver would hear of the same end again"
    project.go()
    assert project.run() == "('said 0', 'why', 'written') 0\n"
    assert project.ran() == ["after", "slow"]


def test_its_failure_counts_for_its_retries(project: Outliving) -> None:
    process = project.leave_behind()
    project.go(3)
    wait_gone(process)
    project.go()
    assert project.run(RETRIES="1") == "('said 0', 'why', 'written') 0\n"
    assert project.ran() == ["after", "slow", "slow"]


def test_it_outlives_one_driver_after_another(project: Outliving) -> None:
    process = project.leave_behind()
    for number in (2, 3):
        with project.start() as driver:
            while project.rows(f"SELECT count(*) FROM attachment WHERE run = {number}") != [(1,)]:
                assert driver.poll() is None
            driver.send_signal(signal.SIGKILL)
    project.go()
    wait_gone(process)
    assert project.run() == "('said 0', 'why', 'written') 0\n"
    assert project.ran() == ["after", "slow"]
    assert project.attachments() == []


def test_a_command_that_was_killed_meanwhile_runs_again(project: Outliving) -> None:
    process = project.leave_behind()
    os.killpg(os.getpgid(process), signal.SIGKILL)
    wait_gone(process)
    project.go()
    assert project.run() == "('said 0', 'why', 'written') 0\n"
    assert project.ran() == ["after", "slow", "slow"]
    assert project.attachments() == []


def test_a_fresh_run_leaves_it_alone(project: Outliving) -> None:
    process = project.leave_behind()
    project.write(PROGRAM.replace('Workflow("outliving",', 'Workflow("outliving", resume=False,'))
    with project.start() as driver:
        other = project.news.numbers()[0]
        assert other != process
        project.go()
        project.go()
        assert driver.wait() == 0
    wait_gone(process)
    assert project.ran() == ["after", "slow", "slow"]
