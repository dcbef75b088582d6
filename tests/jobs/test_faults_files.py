"""Files that cannot be written or are gone, clocks that differ, values that a careless script trips over."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from tests.jobs import systems
from tests.jobs.faults import Rig, rig, slurm, start

from harmony.jobs import InvalidJobException, InvalidStateException, Job, JobSpec, JobState, SubmitException

__all__ = ["rig", "slurm", "start"]  # fixtures

needs_permissions = pytest.mark.skipif(os.geteuid() == 0, reason="root may read and write everything")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Return a directory on a disk of its own, with room for very little."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(place)]
    done = subprocess.run(mount, check=False, capture_output=True, text=True) if shutil.which("mount") else None
    if done is None or done.returncode != 0:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip() if done else 'there is no mount'}")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def fill(place: Path) -> None:
    """Leave no room on a disk."""
    with suppress(OSError), open(place / "full", "wb", buffering=0) as file:
        while True:
            file.write(b"0" * 4096)


def only_directory(rig: Rig) -> Path:
    """The one directory that an executor has made."""
    (found,) = (rig.work / rig.lab.name).iterdir()
    return found


# -- disks


def test_a_full_disk_refuses_and_a_cleared_one_takes_the_job(slurm: Rig, small_disk: Path) -> None:
    slurm.work = small_disk / "work"
    executor, job = slurm.executor(), slurm.subject.job()
    slurm.subject.completed(executor, slurm.subject.job())
    fill(small_disk)
    with pytest.raises(SubmitException, match="No space left") as refusal:
        executor.submit(job)
    assert refusal.value.transient
    assert job.status.state is JobState.NEW
    assert slurm.lab.calls("sbatch")[1:] == []
    (small_disk / "full").unlink()
    assert slurm.subject.completed(executor, job).exit_code == 0
    executor.close()
    assert slurm.files() == []


@pytest.mark.parametrize("code", [0, 3])
def test_a_disk_that_is_full_while_the_job_runs(slurm: Rig, small_disk: Path, code: int) -> None:
    slurm.lab.set(keep=0.0, accounting=False)
    slurm.work = small_disk / "work"
    job, gate = slurm.waiting(slurm.executor(), after=f"exit {code}")
    fill(small_disk)
    gate.open()
    assert slurm.ends(job)[:2] == (JobState.FAILED if code else JobState.COMPLETED, code)


def test_a_work_directory_that_cannot_be_made(slurm: Rig, tmp_path: Path) -> None:
    slurm.work = tmp_path / "file" / "work"
    (tmp_path / "file").write_text("not a directory")
    executor, job = slurm.executor(), slurm.subject.job()
    with pytest.raises(SubmitException, match=r"work_directory=.*file/work.* cannot be used: Not a directory"):
        executor.submit(job)
    (tmp_path / "file").unlink()
    assert slurm.subject.completed(executor, job).exit_code == 0


@needs_permissions
def test_a_work_directory_that_may_not_be_written(slurm: Rig, tmp_path: Path) -> None:
    slurm.work = tmp_path / "closed"
    slurm.work.mkdir(mode=0o500)
    executor, job = slurm.executor(), slurm.subject.job()
    with pytest.raises(SubmitException, match="Permission denied"):
        executor.submit(job)
    slurm.work.chmod(0o700)
    assert slurm.subject.completed(executor, job).exit_code == 0


@needs_permissions
def test_a_directory_of_markers_that_may_not_be_written_any_more(slurm: Rig) -> None:
    job, gate = slurm.waiting(slurm.executor(), after="exit 3")
    news = only_directory(slurm) / "news"
    news.chmod(0o500)
    gate.open()
    assert slurm.ends(job) == (JobState.FAILED, 3, "exit"), "the queue tells it"
    news.chmod(0o700)


# -- the job's own directory


def test_a_job_in_a_directory_that_cannot_be_made(rig: Rig) -> None:
    (rig.subject.directory / "file").write_text("not a directory")
    job = rig.subject.job(directory=rig.subject.directory / "file")
    status = rig.subject.run(rig.executor(), job)
    assert (status.state, status.reason, status.metadata["phase"]) == (JobState.FAILED, "launch", "directory")
    assert "cannot run in the directory" in str(status.message)


@needs_permissions
@pytest.mark.parametrize("name", systems.EMULATED)
def test_a_job_in_a_directory_that_may_not_be_entered(start: Callable[..., Rig], name: str) -> None:
    rig = start(name)
    (rig.subject.directory / "closed").mkdir(mode=0)
    job = rig.subject.job(directory=rig.subject.directory / "closed")
    status = rig.subject.run(rig.executor(), job)
    assert (status.state, status.metadata["phase"]) == (JobState.FAILED, "directory")


def test_a_client_whose_directory_is_gone(slurm: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    executor, gone = slurm.executor(), slurm.subject.directory / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert slurm.subject.completed(executor, slurm.subject.job()).exit_code == 0
    with pytest.raises(InvalidJobException, match="is gone"):
        executor.submit(Job(JobSpec("/bin/true")))
    monkeypatch.undo()


# -- files that are deleted


def test_all_files_are_deleted_while_the_job_runs(rig: Rig) -> None:
    executor = rig.executor()
    job, gate = rig.waiting(executor, after="exit 3")
    shutil.rmtree(rig.work)
    gate.open()
    state, code, _ = rig.ends(job)
    assert state is JobState.FAILED, "never COMPLETED without evidence"
    assert code in (3, None)
    assert rig.subject.completed(executor, rig.subject.job()).exit_code == 0, "in a new directory"


def test_a_jobs_files_are_deleted_while_it_runs(slurm: Rig) -> None:
    job, gate = slurm.waiting(slurm.executor(), after="exit 3")
    for path in only_directory(slurm).iterdir():
        if path.is_file():
            path.unlink()
    gate.open()
    assert slurm.ends(job) == (JobState.FAILED, 3, "exit")


def test_files_that_are_no_markers_do_no_harm(slurm: Rig) -> None:
    job, gate = slurm.waiting(slurm.executor())
    news = only_directory(slurm) / "news"
    for name in ("x", "a.b.c.d", f"{job.id}.E.0.1.x.done", f"{job.id}.Z.0.1", f"{job.id}.E", "é" * 60, ".nfs0001"):
        (news / name).write_text("?")
    (news / f"{job.id}.E.0.1").mkdir()
    gate.open()
    assert slurm.ends(job)[:2] == (JobState.COMPLETED, 0)


# -- clocks


@pytest.mark.parametrize("offset", [-86400, 86400])
def test_a_node_whose_clock_is_wrong(slurm: Rig, offset: int) -> None:
    job, gate = slurm.waiting(slurm.executor(), after="exit 3")
    (only_directory(slurm) / "news" / f"{job.id}.E.0.{int(time.time()) + offset}.0.done").touch()
    assert slurm.ends(job)[:2] == (JobState.COMPLETED, 0)
    gate.open()


# -- bad input


def test_values_that_a_careless_script_trips_over(rig: Rig) -> None:
    names = ("a'b", 'a"b', "$(touch hit)", "`touch hit`", "nä 模 ☃", "-x", "*", "a\\b", "%j", "a;b&c", "${HOME}x")
    jobs = []
    for name in names:
        literal = name.replace("${", "$ {")
        jobs.append(rig.subject.job(
            "/bin/sh", ["-c", 'printf %s "$1|$V"', "sh", literal], name=name, environment={"V": literal},
            directory=rig.subject.directory / f"in {name}", stdout_path=Path(f"out {name}"),
        ))  # fmt: skip
    executor = rig.executor()
    for job in jobs:
        executor.submit(job)
    for job in jobs:
        assert rig.ends(job)[:2] == (JobState.COMPLETED, 0), job.status
        assert job.spec is not None
        literal = (job.spec.arguments or [])[-1]
        assert job.stdout_text() == f"{literal}|{literal}"
    assert not list(rig.subject.directory.rglob("hit"))


@pytest.mark.parametrize("name", systems.EMULATED)
def test_lines_in_a_queues_name_are_refused(start: Callable[..., Rig], name: str) -> None:
    rig = start(name)
    job = rig.subject.job(attributes={"queue_name": "debug\n#SBATCH --uid=0"})
    with pytest.raises(InvalidJobException, match="queue_name"):
        rig.executor().submit(job)
    assert rig.lab.jobs() == []


def test_jobs_of_another_executor(slurm: Rig) -> None:
    one, two = slurm.executor(), slurm.executor()
    job, gate = slurm.waiting(one)
    with pytest.raises(InvalidStateException):
        two.submit(job)
    with pytest.raises(InvalidStateException):
        two.cancel(job)
    with pytest.raises(InvalidStateException):
        two.attach(job)
    gate.open()
    assert slurm.ends(job)[:2] == (JobState.COMPLETED, 0)
