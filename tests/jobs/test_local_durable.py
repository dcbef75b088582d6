"""Local jobs that do not need the program that submitted them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from harmony.jobs import Job, JobSpec, JobState, Reason
from harmony.jobs.local import LocalExecutorConfig, LocalJobExecutor

SECONDS = 30
CLIENT = """
import json, os, signal, sys
from harmony.jobs import Job, JobSpec
from harmony.jobs.local import LocalExecutorConfig, LocalJobExecutor

work, directory = sys.argv[1:]
executor = LocalJobExecutor(config=LocalExecutorConfig(work_directory=work, durable=True))
job = Job(JobSpec("/bin/sh", ["-c", "read code <go; exit $code"], directory=directory))
executor.submit(job)
print(json.dumps(job.to_dict()), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def left_behind(tmp_path: Path) -> Job:
    """A job whose client was killed."""
    os.mkfifo(tmp_path / "go")
    done = subprocess.run(
        [sys.executable, "-c", CLIENT, str(tmp_path / "work"), str(tmp_path)], stdout=subprocess.PIPE, check=False
    )
    assert done.returncode == -signal.SIGKILL
    return Job.from_dict(json.loads(done.stdout))


def attacher(tmp_path: Path) -> LocalJobExecutor:
    return LocalJobExecutor(config=LocalExecutorConfig(work_directory=tmp_path / "work", durable=True))


def test_a_new_client_learns_how_a_running_job_ends(tmp_path: Path) -> None:
    job = left_behind(tmp_path)
    with attacher(tmp_path) as executor:
        assert executor.list() == [job.native_id]
        by_number = Job()
        executor.attach(job)
        executor.attach(by_number, job.native_id)
        (tmp_path / "go").write_text("6\n")
        executor.wait_all()
    for each in (job, by_number):
        assert (each.status.state, each.status.exit_code) == (JobState.FAILED, 6)


@pytest.mark.parametrize(("code", "state"), [(0, JobState.COMPLETED), (6, JobState.FAILED)])
def test_new_clients_learn_how_a_job_has_ended_meanwhile(tmp_path: Path, code: int, state: JobState) -> None:
    job = left_behind(tmp_path)
    descriptor = os.pidfd_open(int(job.native_id or ""))
    (tmp_path / "go").write_text(f"{code}\n")
    import select

    assert select.select([descriptor], [], [], SECONDS)[0]
    os.close(descriptor)
    data = job.to_dict()
    for each in (job, Job.from_dict(data)):
        with attacher(tmp_path) as executor:
            executor.attach(each)
            executor.wait_all()
        assert (each.status.state, each.status.exit_code) == (state, code)


def test_a_new_client_can_cancel(tmp_path: Path) -> None:
    job = left_behind(tmp_path)
    with attacher(tmp_path) as executor:
        executor.attach(job)
        job.cancel()
        executor.wait_all()
    assert (job.status.state, job.status.reason) == (JobState.CANCELED, Reason.CANCELED)


def test_a_job_killed_with_its_script_ends_unknown(tmp_path: Path) -> None:
    job = left_behind(tmp_path)
    with attacher(tmp_path) as executor:
        executor.attach(job)
        os.killpg(int(job.native_id or ""), signal.SIGKILL)
        executor.wait_all()
    assert (job.status.state, job.status.reason) == (JobState.FAILED, Reason.UNKNOWN)
    assert "without a word from its job script" in (job.status.message or "")


def test_a_later_process_of_the_same_number_is_not_the_job(tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "100"]) as other:
        data = Job(JobSpec("true")).to_dict()
        data["native_id"] = str(other.pid)
        data["status"] = {**data["status"], "state": "ACTIVE", "time": data["status"]["time"] - 3600}
        job = Job.from_dict(data)
        with attacher(tmp_path) as executor:
            executor.attach(job)
            assert (job.status.state, job.status.reason) == (JobState.FAILED, Reason.UNKNOWN)
        other.kill()
