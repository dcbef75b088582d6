"""The executor suite over every executor: the local one, every emulated batch system, and the real ones."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

import pytest
from tests.jobs import systems

from harmony.conformance.emulators import Emulator
from harmony.conformance.executors import ExecutorSuite, Subject
from harmony.jobs import JobExecutor
from harmony.jobs.local import LocalExecutorConfig
from harmony.jobs.shell import Here

NOT_DURABLE = "its jobs are children of this process; with durable=True they can be followed later"


@pytest.fixture
def jobs(tmp_path: Path) -> Path:
    """Return the directory in which jobs run; its name is one that a careless script would stumble over."""
    made = tmp_path / "it's a $place"
    made.mkdir()
    return made


class TestLocal(ExecutorSuite):
    """The local executor, with its jobs as children of this process."""

    durable = False
    lacks: ClassVar = {"handover": NOT_DURABLE, "nodes": "one machine", "refusal": "there are no queues"}

    @pytest.fixture
    def subject(self, tmp_path: Path, jobs: Path) -> Subject:
        config = LocalExecutorConfig(work_directory=tmp_path / "work", durable=self.durable)

        def make() -> JobExecutor:
            return JobExecutor.get_instance("local", config=config)

        return Subject(make, jobs, self.lacks, short_walltime=timedelta(seconds=1))


class TestDurableLocal(TestLocal):
    """The local executor, with jobs that outlive it."""

    durable = True
    lacks: ClassVar = {"nodes": "one machine", "refusal": "there are no queues"}


@pytest.mark.parametrize("name", systems.EMULATED)
class TestEmulated(ExecutorSuite):
    """Every batch system, emulated."""

    @pytest.fixture
    def subject(self, name: str, tmp_path: Path, jobs: Path) -> Iterator[Subject]:
        facts: dict[str, Any] = systems.EMULATED[name]
        with Emulator(name, tmp_path / "emulated", speed=60.0):
            yield Subject(lambda: systems.executor(name, tmp_path / "work"), jobs, **facts)


class TestSlurm(ExecutorSuite):
    """A real Slurm of four nodes."""

    @pytest.fixture
    def subject(self, slurm_environment: dict[str, str], tmp_path: Path, jobs: Path) -> Subject:
        shell = Here(slurm_environment)
        lacks = {"walltime": "its walltimes are whole minutes; shortened ones are tested in test_slurm_real"}
        return Subject(
            lambda: systems.executor("slurm", tmp_path / "work", shell=shell), jobs, lacks, bad_queue="no-such-queue"
        )


class TestGridEngine(ExecutorSuite):
    """A real Grid Engine of one node."""

    @pytest.fixture
    def subject(self, sge_environment: dict[str, str], tmp_path: Path, jobs: Path) -> Subject:
        facts = {**systems.EMULATED["sge"], "short_walltime": timedelta(seconds=2)}
        shell = Here(sge_environment)
        return Subject(lambda: systems.executor("sge", tmp_path / "work", shell=shell), jobs, **facts)
