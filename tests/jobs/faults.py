"""What the tests of faults share: an emulated batch system, and an executor that is soon done with waiting."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.jobs import systems

from harmony.conformance.emulators import Emulator
from harmony.conformance.emulators.model import Fault
from harmony.conformance.executors import Subject
from harmony.conformance.executors.subject import Gate
from harmony.jobs import BatchJobExecutor, Job, JobState

#: The commands that submit jobs, and that show the queue.
SUBMITS = {
    "slurm": "sbatch", "pbs": "qsub", "pbs_classic": "qsub", "sge": "qsub", "lsf": "bsub", "cobalt": "qsub",
    "htcondor": "condor_submit", "flux": "flux", "oar": "oarsub", "nqsv": "qsub",
}  # fmt: skip
TELLS = {
    "slurm": "squeue", "pbs": "qstat", "pbs_classic": "qstat", "sge": "qstat", "lsf": "bjobs", "cobalt": "qstat",
    "htcondor": "condor_q", "flux": "flux", "oar": "oarstat", "nqsv": "qstat",
}  # fmt: skip
#: Has the job killed its own script, so that it reports nothing.
KILL_SCRIPT = "kill -s KILL $PPID"


@dataclass
class Rig:
    """An emulated batch system, what a test submits there, and where the executors keep their files."""

    lab: Emulator
    subject: Subject
    work: Path
    made: ExitStack

    def executor(self, **settings: Any) -> BatchJobExecutor:
        """Return an executor, which is closed at the end of the test."""
        made = systems.executor(self.lab.name, self.work, **settings)
        self.made.callback(made.close)
        return made

    def waiting(self, executor: BatchJobExecutor, name: str = "gate", after: str = "true") -> tuple[Job, Gate]:
        """Submit a job that runs until its gate is opened and then does something; return when it runs."""
        gate = self.subject.gate(name)
        job = self.subject.shell(f"{gate.wait}; {after}")
        executor.submit(job)
        self.reaches(job, JobState.ACTIVE)
        return job, gate

    def waiting_blind(self, executor: BatchJobExecutor) -> tuple[Job, Gate]:
        """Submit as `waiting` does, for an executor that hears of nothing."""
        gate = self.subject.gate()
        job = self.subject.shell(f"echo > ready; {gate.wait}")
        executor.submit(job)
        self.subject.appears(self.subject.directory / "ready")
        return job, gate

    def reaches(self, job: Job, state: JobState) -> None:
        """Wait for a state that comes before the end."""
        status = job.wait(self.subject.patience, state)
        assert status is not None, job
        assert not status.final, status

    def queue_fault(self, times: int = -1, **fault: Any) -> Fault:
        """Have the command that shows the queue go wrong."""
        return self.lab.fault(TELLS[self.lab.name], times, **fault)

    def until_asked(self, times: int) -> None:
        """Wait until the queue has been asked so many times more."""
        before = len(self.lab.calls(TELLS[self.lab.name]))
        self.lab.wait_until(lambda: len(self.lab.calls(TELLS[self.lab.name])) >= before + times)

    def until_consumed(self, fault: Fault) -> None:
        """Wait until a fault has come as often as it should."""
        self.lab.wait_until(lambda: fault.times == 0)

    def ends(self, job: Job) -> tuple[JobState, int | None, str | None]:
        """Wait for the end; return state, exit code and reason."""
        status = self.subject.end(job)
        return status.state, status.exit_code, status.reason

    def ends_of(self, executor: BatchJobExecutor, script: str) -> tuple[JobState, int | None, str | None]:
        """Run a line of shell to its end."""
        job = self.subject.shell(script)
        executor.submit(job)
        return self.ends(job)

    def files(self) -> list[str]:
        """The files that executors have left."""
        return sorted(str(path.relative_to(self.work)) for path in self.work.rglob("*") if path.is_file())


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Rig]]:
    """Return a function that starts an emulated batch system: its name, and its settings."""
    with ExitStack() as labs, ExitStack() as executors:

        def start_one(name: str, **settings: Any) -> Rig:
            directory = tmp_path / "jobs"
            directory.mkdir()
            lab = labs.enter_context(Emulator(name, tmp_path / "emulated", speed=60.0, **settings))
            facts = systems.EMULATED[name]
            subject = Subject(lambda: systems.executor(name, tmp_path / "work"), directory, **facts)
            return Rig(lab, subject, tmp_path / "work", executors)

        yield start_one


@pytest.fixture(params=systems.EMULATED)
def rig(request: pytest.FixtureRequest, start: Callable[..., Rig]) -> Rig:
    """Every batch system, emulated."""
    return start(request.param)


@pytest.fixture
def slurm(start: Callable[..., Rig]) -> Rig:
    """Slurm, emulated."""
    return start("slurm")


def client(program: str, *argv: str, **options: Any) -> subprocess.Popen[str]:
    """Start another Python program, which prints what the test wants to know."""
    return subprocess.Popen(
        [sys.executable, "-c", program, *argv], stdout=subprocess.PIPE, text=True, env=dict(os.environ), **options
    )


def told(process: subprocess.Popen[str]) -> Any:
    """Return what a program has printed in one line of JSON."""
    assert process.stdout is not None
    return json.loads(process.stdout.readline())
