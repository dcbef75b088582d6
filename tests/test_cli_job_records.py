"""The records of ``harmony job``: found by every name, whole whoever writes, and no trouble for others when broken."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import click
import pytest
from tests.cli_commands import command
from tests.cli_jobs import gate, here, job, submitted

from harmony.cli.job_records import Record, Records
from harmony.jobs import Job, JobSpec, JobState, JobStatus, Reason

__all__ = ["gate", "here"]


@pytest.fixture
def records(tmp_path: Path) -> Records:
    return Records(tmp_path / "jobs")


def record(job_id: str, native_id: str, executor: str = "slurm", array: str | None = None, index: int = 0) -> Record:
    """A record of a job that runs."""
    data = Job(JobSpec("date")).to_dict()
    data |= {"id": job_id, "native_id": native_id, "status": JobStatus(JobState.ACTIVE, 1.0).to_dict()}
    data["record"] = {} if array is None else {"array_index": index}
    return Record(Job.from_dict(data), executor, None, 0.0, array)


def ended(status: JobStatus, *, job_id: str = "aaaa-1") -> Record:
    found = record(job_id, "1")
    found.job.advance(status)
    return found


COMPLETED = JobStatus(JobState.COMPLETED, 2.0, exit_code=0)
UNKNOWN = JobStatus(JobState.FAILED, 2.0, metadata={"reason": Reason.UNKNOWN})


def ids(found: list[Record]) -> list[str]:
    return [item.job.id for item in found]


def test_a_job_is_found_by_each_of_its_names(records: Records) -> None:
    for item in (
        record("aaaa-1", "1"), record("aabb-2", "2"), record("cccc-3", "1", "pbs"), record("dddd-4", "7.host"),
        record("eeee-5", "8_0", array="ffff-6", index=0), record("eeee-7", "8_1", array="ffff-6", index=1),
    ):  # fmt: skip
        records.keep(item)
    for names, expected in [
        (["aaaa-1"], ["aaaa-1"]), (["aaaa"], ["aaaa-1"]), (["aabb", "2", "slurm:2"], ["aabb-2"]),
        (["pbs:1"], ["cccc-3"]), (["slurm:1", "cccc"], ["aaaa-1", "cccc-3"]), (["7.host"], ["dddd-4"]),
        (["ffff"], ["eeee-5", "eeee-7"]), (["ffff-6"], ["eeee-5", "eeee-7"]), (["ffff.1"], ["eeee-7"]),
        (["ffff-6.0"], ["eeee-5"]), (["8_1"], ["eeee-7"]), (["eeee-7"], ["eeee-7"]),
    ]:  # fmt: skip
        assert ids(records.find(names)) == expected, names


@pytest.mark.parametrize("name", ["aaa", "", "1", "aaaa", "nothing", "../x", "9", "ffff.2", "lsf:1", "*"])
def test_a_name_that_is_none_or_several_is_refused(records: Records, name: str) -> None:
    for item in (
        record("aaaa-1", "1"), record("aaaa-2", "2"), record("cccc-3", "1", "pbs"), record("ee", "8_0", array="ffff-6"),
    ):  # fmt: skip
        records.keep(item)
    with pytest.raises(click.UsageError) as caught:
        records.find([name])
    assert repr(name) in caught.value.message
    if name in {"1", "aaaa"}:
        assert ("slurm:1, pbs:1" in caught.value.message) == (name == "1")
        assert ("aaaa-1, aaaa-2" in caught.value.message) == (name == "aaaa")


def test_what_is_known_of_an_end_stays(records: Records) -> None:
    slow = record("aaaa-1", "1")
    records.keep(slow)
    records.keep(ended(COMPLETED))
    records.keep(slow)  # by a command that began earlier
    assert slow.job.status.state is JobState.COMPLETED
    records.keep(ended(UNKNOWN))
    (found,) = records.find(["aaaa"])
    assert found.job.status.state is JobState.COMPLETED
    assert records.all(ended=False) == []
    records.forget(found)
    assert records.all() == []


def test_what_nobody_knew_may_be_found_out(records: Records) -> None:
    records.keep(ended(UNKNOWN))
    records.keep(ended(COMPLETED))
    assert records.find(["aaaa"])[0].job.status.state is JobState.COMPLETED


def test_records_are_nobody_elses(records: Records) -> None:
    records.keep(record("aaaa-1", "1"))
    assert os.stat(records.directory).st_mode & 0o077 == 0
    assert [path.stat().st_mode & 0o077 for path in records.directory.glob("*.json")] == [0]


def test_a_broken_record_is_left_out_and_named(here: Path) -> None:
    name = submitted("--wait", "true")
    broken = here / "jobs" / "ended" / "bbbb.json"
    for text in ("{", "[]", '{"job": {"version": 2}}', "\0"):
        broken.write_text(text)
        done = job("list", "--all")
        assert (done.returncode, name[:8] in done.stdout) == (0, True)
        assert done.stderr.startswith(f"harmony: the record {broken} cannot be read, and is left out: ")
        assert done.stderr.count("\n") == 1
        assert job("status", name).returncode == 0
    assert job("status", "bbbb").returncode == 2


def test_an_executor_that_is_gone_is_no_trouble_for_others(here: Path) -> None:
    submitted("--wait", "true")
    (path,) = (here / "jobs" / "ended").iterdir()
    data = json.loads(path.read_text())
    data["executor"], data["job"]["status"]["state"] = "gone", "ACTIVE"
    path.unlink()
    (here / "jobs" / path.name).write_text(json.dumps(data))
    other = submitted("true")
    said = "there is no executor 'gone'"
    listed, looked, waited, cancelled = (
        job("list", "--all"), job("status", path.stem), job("wait", path.stem), job("cancel", path.stem),
    )  # fmt: skip
    assert [done.returncode for done in (listed, looked, waited, cancelled)] == [0, 2, 2, 2]
    for done in (listed, looked, waited, cancelled):
        assert (said in done.stderr, "Traceback" in done.stderr) == (True, False)
    assert path.stem[:8] in listed.stdout
    assert job("wait", other).returncode == 0


def test_a_full_disk_is_noticed_before_a_job_is_submitted(here: Path) -> None:
    ulimit = 'ulimit -f 4; exec "$@"'  # no file may be larger than 4 KiB; Python ignores the signal that comes with it
    words = [sys.executable, "-m", "harmony", "job", "submit", "--", "touch", "ran"]
    done = command("bash", "-c", ulimit, "bash", *words)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"harmony: {here / 'jobs'}: File too large\n"
    assert not (here / "ran").exists()
