"""The jobs engine on jobs of this machine: the promises of every engine, and commands that outlive their driver."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.engines import rig
from tests.engines.rig import News

from harmony.conformance.engines import Driver, EngineSuite, Subject
from harmony.core.engine import Capability, Submission, Update
from harmony.core.task import Command, TaskState
from harmony.engines.jobs import JobEngine
from harmony.errors import CommandError, ConfigError, EngineError, MissingFileError, PluginError, WorkerLost
from harmony.jobs.local import LocalExecutorConfig
from harmony.resources import Resources

Make = Callable[[], JobEngine]


def options(tmp_path: Path) -> dict[str, Any]:
    """Arguments of an engine whose jobs outlive it."""
    return {"config": LocalExecutorConfig(work_directory=tmp_path / "work", durable=True), "workers": 2}


@pytest.fixture
def make_engine(tmp_path: Path) -> Make:
    return partial(JobEngine, "local", **options(tmp_path))


@pytest.fixture
def driver(make_engine: Make) -> Iterator[Driver]:
    made = Driver(make_engine())
    yield made
    made.close()


class TestJobs(EngineSuite):
    """It keeps what every engine promises."""

    engine = "harmony.engines.jobs:JobEngine"

    @pytest.fixture
    def subject(self, tmp_path: Path) -> Subject:
        return Subject(self.engine, options(tmp_path))

    @pytest.mark.mpi
    @pytest.mark.xfail(reason="mpirun takes an argument that is a lone colon for its own, and the job does not hide it")
    def test_a_command_runs_on_each_rank(self, ranker: Driver) -> None:
        super().test_a_command_runs_on_each_rank(ranker)


def told(driver: Driver, submission: Submission) -> list[Update]:
    return [update for update in driver.updates if update.id == submission.id]


def test_the_news_of_a_job(driver: Driver) -> None:
    submission = driver.task(Command("echo out; echo err >&2"))
    result = driver.result(submission)
    assert (result.stdout, result.stderr) == ("out\n", "err\n")
    states = [update.state for update in told(driver, submission)]
    assert states == [TaskState.SUBMITTED, TaskState.RUNNING, TaskState.DONE]
    first = told(driver, submission)[0]
    data = json.loads(first.handle or "")
    assert first.place == f"local-{data['job']['native_id']}"
    assert [(notice.kind, notice.subject, notice.data["native_id"]) for notice in driver.notices] == [
        ("job.submitted", first.place, data["job"]["native_id"]),
        ("job.ended", first.place, data["job"]["native_id"]),
    ]


def test_no_word_of_a_command_stands_for_a_variable_of_the_job(driver: Driver, tmp_path: Path) -> None:
    word = "${HOME} 'a' \"b\" $HOME ${X"
    assert driver.result(driver.task(Command(("printf", "%s|", word, "")))).stdout == f"{word}||"
    text = 'HOME=here; echo "${HOME}"'
    assert driver.result(driver.task(Command(text))).stdout == "here\n"
    odd = (("A", "${HOME}"), ("B.C", "dotted"))
    assert driver.result(driver.task(Command(("env",)), environment=odd)).stdout.splitlines().count("A=${HOME}") == 1
    assert "B.C=dotted\n" in driver.result(driver.task(Command(("env",)), environment=odd)).stdout


def test_many_at_once_but_no_more_than_workers(driver: Driver, tmp_path: Path) -> None:
    log = tmp_path / "log"
    command = f"mkdir {tmp_path}/a 2>/dev/null || mkdir {tmp_path}/b || echo three >> {log}; sleep 0.05; "
    command += f"rmdir {tmp_path}/a 2>/dev/null || rmdir {tmp_path}/b 2>/dev/null; true"
    batch = [driver.task(Command(command)) for _ in range(8)]
    driver.submit(*batch)
    assert {driver.end_of(submission).state for submission in batch} == {TaskState.DONE}
    assert rig.lines(log) == []


def test_outputs_of_a_command_must_have_been_written(driver: Driver, tmp_path: Path) -> None:
    missing = str(tmp_path / "missing")
    assert isinstance(driver.error(driver.task(Command(("true",)), [missing])), MissingFileError)
    there = str(tmp_path / "there")
    assert [str(file) for file in driver.result(driver.task(Command(("touch", there)), [there])).outputs] == [there]


def test_a_stream_that_cannot_be_opened(driver: Driver, tmp_path: Path) -> None:
    error = driver.error(driver.task(Command(("cat",), stdin=str(tmp_path / "nothing"))))
    assert isinstance(error, CommandError)
    assert "could not be started" in str(error)
    assert f"{tmp_path}/nothing: No such file" in str(error)


def test_what_cannot_be_a_job_and_what_is_not_taken(driver: Driver) -> None:
    odd = driver.task(Command(("true",)), resources=Resources(process_count=3, node_count=2))
    good = driver.task(Command(("echo", "good")))
    driver.submit(odd, good)
    error = driver.end_of(odd).error
    assert isinstance(error, ConfigError)
    assert "process_count=3" in str(error)
    assert driver.end_of(good).result.stdout == "good\n"


def test_cancelling_a_job_that_waits_for_its_turn(driver: Driver, news: News, tmp_path: Path) -> None:
    held = [driver.task(Command(f"echo here > {news.path}; exec sleep 600")) for _ in range(2)]
    waiting = driver.task(Command(("touch", str(tmp_path / "ran"))))
    driver.submit(*held, waiting)
    news.hear(2)
    driver.cancel(waiting)
    assert driver.end_of(waiting).state is TaskState.CANCELLED
    driver.cancel(*held)
    assert {driver.end_of(submission).state for submission in held} == {TaskState.CANCELLED}
    assert not (tmp_path / "ran").exists()


def test_nothing_is_left_of_jobs_that_have_ended(make_engine: Make, tmp_path: Path) -> None:
    driver = Driver(make_engine())
    driver.result(driver.task(Command("echo out")))
    driver.close()
    assert [path for path in (tmp_path / "work").rglob("*") if not path.is_dir()] == []


def test_settings_that_make_no_sense() -> None:
    with pytest.raises(ConfigError, match="executor=3"):
        JobEngine(3)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="workers=0"):
        JobEngine(workers=0)
    with pytest.raises(PluginError, match="no-such-system"):
        JobEngine("no-such-system").start(lambda news: None)
    fleeting = JobEngine(config=LocalExecutorConfig(durable=False))
    assert Capability.REATTACH not in fleeting.capabilities
    assert Capability.REATTACH in JobEngine().capabilities


# -- after a driver ---------------------------------------------------------------------------------

DRIVER = """
import os, signal, sys, threading
from pathlib import Path
from harmony.core.engine import Submission, Update
from harmony.core.task import Command, Options
from harmony.engines.jobs import JobEngine
from harmony.jobs.local import LocalExecutorConfig

work, command = sys.argv[1:]
known = threading.Event()

def report(news):
    for item in news:
        if isinstance(item, Update) and item.handle:
            print(item.handle, flush=True)
            known.set()

engine = JobEngine(config=LocalExecutorConfig(work_directory=work, durable=True))
engine.start(report)
engine.submit([Submission(1, Command(command), Options())])
known.wait(30)
os.kill(os.getpid(), signal.SIGKILL)
"""


def left_behind(tmp_path: Path, command: str) -> str:
    """The handle of a command whose driver was killed while it ran."""
    argv = [sys.executable, "-c", DRIVER, str(tmp_path / "work"), command]
    done = subprocess.run(argv, stdout=subprocess.PIPE, check=False, text=True, timeout=rig.PATIENCE)
    assert done.returncode == -signal.SIGKILL
    return done.stdout.strip()


def attached(driver: Driver, command: str, handle: str, **options: Any) -> Submission:
    submission = driver.task(Command(command), **options)
    submission.handle = handle
    return submission


def process_of(handle: str) -> int:
    return int(json.loads(handle)["job"]["native_id"])


def test_a_command_that_still_runs_when_its_driver_has_died(driver: Driver, news: News, tmp_path: Path) -> None:
    log, go = tmp_path / "log", tmp_path / "go"
    os.mkfifo(go)
    command = f"echo ran >> {log}; echo here > {news.path}; read word < {go}; echo it said $word; echo e >&2"
    handle = left_behind(tmp_path, command)
    news.hear()
    submission = attached(driver, command, handle)
    driver.submit(submission)
    go.write_text("hello\n")
    end = driver.end_of(submission)
    assert end.error is None
    assert (end.result.stdout, end.result.stderr) == ("it said hello\n", "e\n")
    assert rig.lines(log) == ["ran"]
    assert told(driver, submission)[0].handle == handle


@pytest.mark.parametrize("code", [0, 3])
def test_a_command_that_has_ended_while_no_driver_lived(driver: Driver, news: News, tmp_path: Path, code: int) -> None:
    log, go = tmp_path / "log", tmp_path / "go"
    os.mkfifo(go)
    command = f"echo ran >> {log}; echo here > {news.path}; read word < {go}; echo $word; echo why >&2; exit {code}"
    handle = left_behind(tmp_path, command)
    news.hear()
    go.write_text("bye\n")
    rig.wait_gone(process_of(handle))
    submission = attached(driver, command, handle)
    end = driver.run(submission)
    if code:
        assert isinstance(end.error, CommandError)
        assert (end.error.exit_code, end.error.stderr) == (code, "why\n")
    else:
        assert end.result.stdout == "bye\n"
    assert rig.lines(log) == ["ran"]


def test_a_handle_is_used_once(driver: Driver, news: News, tmp_path: Path) -> None:
    log = tmp_path / "log"
    command = f"echo ran >> {log}; echo here > {news.path}; test $(wc -l < {log}) = 2 || exec sleep 600"
    handle = left_behind(tmp_path, command)
    news.hear()
    os.killpg(process_of(handle), signal.SIGKILL)
    lost = attached(driver, command, handle)
    assert isinstance(driver.error(lost), WorkerLost)
    again = attached(driver, command, handle)
    assert driver.run(again).state is TaskState.DONE
    assert rig.lines(log) == ["ran", "ran"]


def test_a_command_that_was_taken_up_can_be_cancelled(driver: Driver, news: News, tmp_path: Path) -> None:
    command = f"echo here > {news.path}; exec sleep 600"
    handle = left_behind(tmp_path, command)
    news.hear()
    submission = attached(driver, command, handle)
    driver.submit(submission)
    driver.cancel(submission)
    assert driver.end_of(submission).state is TaskState.CANCELLED
    rig.wait_gone(process_of(handle))


def test_handles_that_cannot_be_used(driver: Driver) -> None:
    assert isinstance(driver.error(attached(driver, "true", "{}")), EngineError)
    other = driver.task(Command(("true",)))
    driver.result(other)
    data = json.loads(told(driver, other)[0].handle or "")
    data["job"]["executor"]["name"] = "slurm"
    error = driver.error(attached(driver, "true", json.dumps(data)))
    assert isinstance(error, EngineError)
    assert "of 'slurm'" in str(error)
