"""Measures of jobs on the Slurm of this machine, and of many jobs that are watched."""

from __future__ import annotations

import os
import statistics
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.apart import Taken
from benchmarks.cost import Meter
from benchmarks.jobs_local import PROGRAM, close, package_of

#: Such a job is taken, and does not start.
_LATER = {"slurm.begin": "now+1hour"}
_BARE = f"#!/bin/bash\n#SBATCH --begin=now+1hour\n#SBATCH --time=10\n#SBATCH --output=/dev/null\n{PROGRAM}\n"
_FINAL = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY"}
_OBSERVER = """\
while :; do
  date +%s.%N
  squeue --me --noheader --states=all --format='%i %T'
  echo .
  sleep 0.05
done
"""
#: How the jobs end whose ends are timed; after the first question that psij-python asks, of which there are few.
_ENDS = {
    "exit 0": ["-c", "sleep 4"],
    "exit 3": ["-c", "sleep 4; exit 3"],
    "scancel": ["-c", "sleep 300"],
}
_POLLS, _INTERVAL = 10, 0.5
#: Stand in for Slurm where its own work is not what is measured: each call is noted, the answer is a file.
_CANNED = """\
#!/bin/sh
echo "${{0##*/}}" >>'{directory}/calls'
case ${{0##*/}} in
  sbatch) echo $$ ;;
  squeue) exec cat '{directory}/answer' ;;
esac
"""


def _executor(system: str, scratch: Path, interval: float | None = None) -> Any:
    """Of the batch system; with the default settings, if no interval of the questions is given."""
    package = package_of(system)
    if interval is None:
        return package.JobExecutor.get_instance("slurm", config=package.JobExecutorConfig(work_directory=scratch))
    if system == "psij":
        from psij.executors.batch.slurm import SlurmExecutorConfig as Config
    else:
        from harmony.jobs.batch import BatchSchedulerExecutorConfig as Config
    config = Config(work_directory=scratch, queue_polling_interval=interval, initial_queue_polling_delay=interval)
    return package.JobExecutor.get_instance("slurm", config=config)


# -- submitting ---------------------------------------------------------------------------------------


def submit(system: str, count: int, scratch: Path) -> Taken:
    """Submissions a second of jobs that start later."""
    with _cleared():
        if system == "sbatch":
            script = scratch / "job.sh"
            script.write_text(_BARE)
            argv = ["sbatch", "--parsable", str(script)]
            subprocess.run(argv, capture_output=True, check=True)
            with Meter() as spent:
                for _ in range(count):
                    subprocess.run(argv, capture_output=True, check=True)
            return Taken.rate(count, spent)
        package, executor = package_of(system), _executor(system, scratch)
        executor.submit(_later(package))
        jobs = [_later(package) for _ in range(count)]
        with Meter() as spent:
            if system == "harmony-bulk":
                executor.submit_all(jobs)
            else:
                for job in jobs:
                    executor.submit(job)
        assert all(job.native_id for job in jobs)
        close(executor)
        return Taken.rate(count, spent)


def _later(package: Any) -> Any:
    attributes = package.JobAttributes(custom_attributes=dict(_LATER))
    return package.Job(package.JobSpec(PROGRAM, attributes=attributes))


@contextmanager
def _cleared() -> Iterator[None]:
    """Take out of the queue what this measure has put into it."""
    before = _queue()
    try:
        yield
    finally:
        new = sorted(_queue() - before)
        for start in range(0, len(new), 100):
            subprocess.run(["scancel", *new[start : start + 100]], check=False)


def _queue(*options: str) -> set[str]:
    command = ["squeue", "--me", "--noheader", "--format=%A", *options]
    return set(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.split())


# -- knowing the end ----------------------------------------------------------------------------------


def end(system: str, count: int, scratch: Path) -> Taken:
    """Seconds from when squeue first shows a job as ended to the callback that tells of it: the longest of all.

    Beside it the median for each kind of end; "scancel": by another program. Below 0: known before squeue shows it.
    """
    package, executor = package_of(system), _executor(system, scratch)
    told: dict[str, float] = {}
    everything = threading.Event()
    jobs = {
        kind: [package.Job(package.JobSpec("/bin/sh", words)) for _ in range(count)] for kind, words in _ENDS.items()
    }

    class Callback(package.JobStatusCallback):  # type: ignore[misc,name-defined,unused-ignore]
        def job_status_changed(self, job: Any, status: Any) -> None:
            if status.final:
                told[job.id] = time.time()
                if len(told) == count * len(jobs):
                    everything.set()

    executor.set_job_status_callback(Callback())
    with (scratch / "observed").open("wb") as seen:
        observer = subprocess.Popen(["sh", "-c", _OBSERVER], stdout=seen, start_new_session=True)
        try:
            with Meter() as spent:
                for job in (job for group in jobs.values() for job in group):
                    executor.submit(job)
                _cancel([job.native_id for job in jobs["scancel"]])
                assert everything.wait(120), "not all ends became known within 120 s"
            time.sleep(1.5)  # of the last ones squeue may tell later than the job script
        finally:
            os.killpg(observer.pid, 9)
            observer.wait()
    close(executor)
    known = _first_final(scratch / "observed")
    late = {kind: [told[job.id] - known[job.native_id] for job in group] for kind, group in jobs.items()}
    most = max(max(group) for group in late.values())
    own = 1e6 * spent.driver / len(told)
    return Taken(most, len(told), own, None, {kind: statistics.median(group) for kind, group in late.items()})


def _cancel(ids: Sequence[str]) -> None:
    """As another program does, once they run."""
    deadline = time.monotonic() + 60
    while not set(ids) <= _queue("--states=running"):
        assert time.monotonic() < deadline, "the jobs have not started within 60 s"
        time.sleep(0.2)
    time.sleep(2)
    subprocess.run(["scancel", *ids], check=True)


def _first_final(observed: Path) -> dict[str, float]:
    """When the question was asked whose answer first showed each job as ended."""
    found: dict[str, float] = {}
    asked = 0.0
    for line in observed.read_text().splitlines():
        words = line.split()
        if len(words) == 1 and line != ".":
            asked = float(line)
        elif len(words) == 2 and words[1] in _FINAL:
            found.setdefault(words[0], asked)
    return found


# -- watching many ------------------------------------------------------------------------------------


def watch(system: str, count: int, scratch: Path) -> Taken:
    """CPU milliseconds of this process for each look at so many waiting jobs, by an answer from a file.

    Beside it: commands of Slurm's for each look, and the seconds between two looks, of which half a one was asked for.
    """
    _can(scratch)
    executor = _executor(system, scratch, interval=_INTERVAL)
    jobs = _many(system, executor, count)
    columns = "{:<20}{:<20}{:<20}\n" if system == "psij" else "{:<40}{:<24}0           0       {:<200}\n"
    state = "PD" if system == "psij" else "PENDING"
    head = columns.format("JOBARRAYID", "STATE_COMPACT", "REASON") if system == "psij" else ""
    answer = scratch / "answer.new"
    answer.write_text(head + "".join(columns.format(job.native_id, state, "Priority") for job in jobs))
    answer.rename(scratch / "answer")
    _until_polls(scratch, _polls(scratch) + 2)
    calls, polls = _calls(scratch), _polls(scratch)
    with Meter(others=lambda: 0.0) as spent:
        _until_polls(scratch, polls + _POLLS)
    looks = _polls(scratch) - polls
    commands = len(_calls(scratch)) - len(calls)
    assert not any(job.status.final for job in jobs), "a job that waits was told to have ended"
    close(executor)
    beside = {"commands": commands / looks, "seconds": spent.seconds / looks}
    return Taken(1e3 * spent.driver / looks, count, extra=beside)


def _can(scratch: Path) -> None:
    (scratch / "bin").mkdir()
    for name in ("sbatch", "squeue", "sacct", "scancel", "scontrol"):
        path = scratch / "bin" / name
        path.write_text(_CANNED.format(directory=scratch))
        path.chmod(0o755)
    (scratch / "answer").write_text("JOBARRAYID STATE_COMPACT REASON\n")
    (scratch / "calls").touch()
    os.environ["PATH"] = f"{scratch / 'bin'}{os.pathsep}{os.environ['PATH']}"


def _many(system: str, executor: Any, count: int) -> list[Any]:
    package = package_of(system)
    jobs = [package.Job(package.JobSpec(PROGRAM)) for _ in range(count)]
    if system == "psij":  # it submits each by a command of its own
        for number, job in enumerate(jobs):
            executor.attach(job, str(1000 + number))
    else:
        executor.submit_all(jobs)
    return jobs


def _calls(scratch: Path) -> list[str]:
    return (scratch / "calls").read_text().split()


def _polls(scratch: Path) -> int:
    return _calls(scratch).count("squeue")


def _until_polls(scratch: Path, number: int) -> None:
    deadline = time.monotonic() + 120
    while _polls(scratch) < number:
        assert time.monotonic() < deadline, "the queue was not looked at often enough within 120 s"
        time.sleep(0.1)
