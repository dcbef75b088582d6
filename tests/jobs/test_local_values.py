"""Values that a shell would take apart reach a local job whole, with a shell in between and without."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from harmony.jobs import Job, JobSpec, JobState, StageIn, StageOut
from harmony.jobs.local import LocalExecutorConfig, LocalJobExecutor

SECONDS = 30
VALUES = [
    "a b",
    "  two  spaces ",
    "it's",
    'say "hi"',
    "$(touch hacked)",
    "`touch hacked`",
    "$HOME",
    "back\\slash\\",
    "first\nsecond\n",
    "-n",
    "*",
    "a;b|c&d>e",
    "Ünïcödé ✓",
    "",
    "!x",
    "#x",
    "%s",
]
SHOW = "import json, os, sys; print(json.dumps([sys.argv[1:], os.environ.get('VALUE'), sys.stdin.read(), os.getcwd()]))"


@pytest.fixture(params=["program", "script"])
def executor(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LocalJobExecutor]:
    config = LocalExecutorConfig(work_directory=tmp_path / "work dir's", durable=request.param == "script")
    with LocalJobExecutor(config=config) as made:
        yield made


@pytest.mark.parametrize("value", VALUES)
def test_values_reach_the_job_whole(executor: LocalJobExecutor, tmp_path: Path, value: str) -> None:
    """psij-python's defect 6: local corrupts and executes values."""
    name = value.replace("/", "_").strip() or "empty"
    directory = tmp_path / f"d{name}"
    (tmp_path / f"in{name}").write_text("input")
    spec = JobSpec(
        sys.executable,
        ["-c", SHOW, value, "end"],
        directory=directory,
        environment={"VALUE": value},
        stdin_path=tmp_path / f"in{name}",
        stdout_path=f"out{name}",
        stderr_path=f"err{name}",
    )
    job = Job(spec)
    executor.submit(job)
    status = job.wait(SECONDS)
    assert status is not None
    assert status.state is JobState.COMPLETED, (status, job.stderr_text())
    assert json.loads(job.stdout_text()) == [[value, "end"], value, "input", str(directory)]
    assert not list(tmp_path.rglob("hacked"))


def test_references_are_replaced_and_nothing_else(
    executor: LocalJobExecutor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INHERITED", "in $(herited)")
    spec = JobSpec(
        "/usr/bin/env",
        ["printf", "%s|", "${B}", "${UNSET}", "$B", "${C}"],
        environment={"A": "1 ${INHERITED}", "B": "${A};${UNSET};$A", "C": "${C}x", "N": 5},
        stdout_path=tmp_path / "out",
    )
    job = Job(spec)
    executor.submit(job)
    executor.wait_all()
    assert job.stdout_text() == "1 in $(herited);;$A|${UNSET}|$B|x|"


def test_nothing_is_inherited_when_that_is_asked(
    executor: LocalJobExecutor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INHERITED", "yes")
    spec = JobSpec(
        "/usr/bin/env", inherit_environment=False, environment={"A": "x ${INHERITED}"}, stdout_path=tmp_path / "out"
    )
    job = Job(spec)
    executor.submit(job)
    executor.wait_all()
    found = dict(line.split("=", 1) for line in job.stdout_text().splitlines())
    for name in ("PSIJ_NODEFILE", "OLDPWD"):  # what a job script sets
        found.pop(name, None)
    assert found == {"A": "x ", "PSIJ_JOB_ID": job.id}


def test_one_file_may_take_both_streams(executor: LocalJobExecutor, tmp_path: Path) -> None:
    spec = JobSpec("sh", ["-c", "echo 1; echo 2 >&2; echo 3"], stdout_path=tmp_path / "o", stderr_path=tmp_path / "o")
    job = Job(spec)
    executor.submit(job)
    executor.wait_all()
    assert job.stdout_text() == "1\n2\n3\n"


def test_home_is_known(executor: LocalJobExecutor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    job = Job(JobSpec("pwd", directory="~/in home", stdout_path="~/out"))
    executor.submit(job)
    executor.wait_all()
    assert (tmp_path / "out").read_text() == f"{tmp_path}/in home\n"


def test_staged_names_may_be_anything(executor: LocalJobExecutor, tmp_path: Path) -> None:
    source, target = tmp_path / "a b $(x) 'é", tmp_path / 'to "there" #1'
    source.write_text("data")
    job = Job(
        JobSpec(
            "cp",
            ["in it's", "out `x`"],
            directory=tmp_path / "job dir",
            stage_in=[StageIn(source, "in it's")],
            stage_out=[StageOut("out `x`", target)],
            cleanup=["in it's"],
        )
    )
    executor.submit(job)
    executor.wait_all()
    assert job.status.state is JobState.COMPLETED, job.status
    assert target.read_text() == "data"
    assert sorted(path.name for path in (tmp_path / "job dir").iterdir()) == ["out `x`"]
