"""Ctrl-C while jobs are submitted: what was taken is known, and nothing is taken that is not."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from harmony.conformance.emulators import Emulator

LOCAL = """
import json, signal
from harmony.jobs import Job, JobExecutor, JobSpec

def interrupt(*_):
    raise KeyboardInterrupt

signal.signal(signal.SIGALRM, interrupt)  # as Ctrl-C, but to the moment
executor, interrupted = JobExecutor.get_instance("local"), 0
jobs = [Job(JobSpec("/bin/sleep", ["60"])) for _ in range(40)]
for index, job in enumerate(jobs):
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.0001 * (index % 20 + 1))
        executor.submit(job)
    except KeyboardInterrupt:
        interrupted += 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
known = {job.native_id for job in jobs if job.native_id}
print(json.dumps([interrupted, sorted(set(executor.list()) - known), len(known)]))
for job in jobs:
    if job.native_id:
        job.cancel(grace=0)
executor.wait_all()
executor.close()
"""

SLURM = """
import json, os, signal, threading
from harmony.jobs import Job, JobExecutor, JobSpec

with JobExecutor.get_instance("slurm") as executor:
    jobs = [Job(JobSpec("/bin/true", name=str(index))) for index in range(3)]
    timer = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    try:
        executor.submit_all(jobs)
    except KeyboardInterrupt:
        print(json.dumps([[job.native_id is not None for job in jobs], executor.list()]))
    timer.join()
"""


def run(program: str) -> list[object]:
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: list[object] = json.loads(done.stdout)
    return found


def test_no_process_is_started_that_nobody_knows() -> None:
    interrupted, strangers, known = run(LOCAL)
    assert interrupted
    assert strangers == []
    assert known


def test_a_submission_under_way_is_finished(
    emulated_scheduler: Callable[..., Emulator], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    lab = emulated_scheduler("slurm", held=True)
    lab.fault("sbatch", delay=1.0)
    lab.set(held=False)
    taken, _ = run(SLURM)
    assert taken == [True, False, False]
    assert len(lab.jobs()) == 1
