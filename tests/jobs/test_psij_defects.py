"""The fifteen shortcomings of psij-python that its users meet first, each held to be absent here, in one test each."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from tests.jobs import systems

import harmony.jobs as psij
from harmony.conformance.emulators import Emulator
from harmony.jobs import (
    Job,
    JobAttributes,
    JobExecutor,
    JobSpec,
    JobState,
    JobStatus,
    ResourceSpecV1,
    StageIn,
    SubmitException,
)

PATIENCE = 40.0
Start = Callable[..., Emulator]


@pytest.fixture
def executor(emulated_scheduler: Start, tmp_path: Path) -> Iterator[JobExecutor]:
    emulated_scheduler("slurm")
    with systems.executor("slurm", tmp_path / "work") as made:
        yield made


def end(job: Job) -> JobStatus:
    status = job.wait(PATIENCE)
    assert status is not None, f"{job!r} has not ended"
    return status


def test_defect_01_one_odd_line_of_the_queue_ends_all_monitoring(emulated_scheduler: Start, tmp_path: Path) -> None:
    lab = emulated_scheduler("slurm", foreign=50)
    lab.fault("squeue", times=-1, lines=["", "7 PD (Nodes required for j", "8|XX|ReqNodeNotAvail, Una|x|y|z"])
    with systems.executor("slurm", tmp_path / "work") as executor:
        job = Job(JobSpec("/bin/sh", ["-c", "kill -9 $$"]))
        executor.submit(job)
        assert end(job).reason == "signal"


def test_defect_02_final_states_are_not_final(tmp_path: Path) -> None:
    seen: dict[str, list[JobState]] = {}
    with JobExecutor.get_instance("local") as executor:
        executor.set_job_status_callback(lambda job, status: seen.setdefault(job.id, []).append(status.state))
        jobs = [Job(JobSpec("/bin/sleep", ["0.01"])) for _ in range(60)]
        for job in jobs:
            executor.submit(job)
            job.cancel()
    for states in seen.values():
        assert sum(state.final for state in states) == 1
    assert {job.status.state for job in jobs} <= {JobState.CANCELED, JobState.COMPLETED}


def test_defect_03_a_vanished_job_is_called_completed(emulated_scheduler: Start, tmp_path: Path) -> None:
    lab = emulated_scheduler("slurm", accounting=False)
    with systems.executor("slurm", tmp_path / "work") as executor:
        job, nonsense = Job(JobSpec("/bin/sleep", ["600"])), Job()
        lab.hold()
        executor.submit(job)
        subprocess.run(["scancel", str(job.native_id)], check=True)
        lab.wait_for(str(job.native_id))
        lab.forget(str(job.native_id))
        executor.attach(nonsense, "4242")
        assert (end(job).state, end(nonsense).state) != (JobState.COMPLETED, JobState.COMPLETED)
        assert (nonsense.status.state, nonsense.status.reason) == (JobState.FAILED, "unknown")
        assert job.status.state in (JobState.FAILED, JobState.CANCELED)


def test_defect_04_one_transient_error_kills_everything(emulated_scheduler: Start, tmp_path: Path) -> None:
    lab = emulated_scheduler("slurm")
    lab.fault("squeue", times=8, unreachable=True)
    with systems.executor("slurm", tmp_path / "work") as executor:
        jobs = [Job(JobSpec("/bin/sh", ["-c", f"exit {index}"])) for index in range(3)]
        executor.submit_all(jobs)
        assert [end(job).exit_code for job in jobs] == [0, 1, 2]


def test_defect_05_an_end_is_noticed_half_a_minute_later(emulated_scheduler: Start, tmp_path: Path) -> None:
    lab = emulated_scheduler("slurm")
    with systems.executor(
        "slurm", tmp_path / "work", initial_queue_polling_delay=3600, queue_polling_interval=3600
    ) as ex:
        job = Job(JobSpec("/bin/true"))
        ex.submit(job)
        assert end(job).state is JobState.COMPLETED
    assert lab.calls("squeue") == [], "the job script tells of its end itself"


def test_defect_06_values_are_not_quoted(executor: JobExecutor, tmp_path: Path) -> None:
    odd = 'it\'s "a" $(touch danger) `b` é\nend'
    folder = tmp_path / "a dir's $x"
    spec = JobSpec("/bin/sh", ["-c", 'printf "%s|%s" "$1" "$ODD"', "sh", odd], folder, environment={"ODD": odd})
    spec.stdout_path = Path("out 'put'")
    job = Job(spec)
    executor.submit(job)
    assert end(job).state is JobState.COMPLETED
    assert job.stdout_text() == f"{odd}|{odd}"
    assert os.listdir(folder) == ["out 'put'"]


def test_defect_07_retry_is_impossible_and_errors_are_untyped(emulated_scheduler: Start, tmp_path: Path) -> None:
    lab = emulated_scheduler("slurm")
    with systems.executor("slurm", tmp_path / "work") as executor:
        job = Job(JobSpec("/bin/true"))
        for transient in (True, False):
            lab.refuse(transient=transient)
            with pytest.raises(SubmitException) as refusal:
                executor.submit(job)
            assert refusal.value.transient is transient
        executor.submit(job)
        assert end(job).state is JobState.COMPLETED


def test_defect_08_resources_are_lost_in_translation(emulated_scheduler: Start, tmp_path: Path) -> None:
    resources = ResourceSpecV1(node_count=2, processes_per_node=2, cpu_cores_per_process=2, memory=4 * 2**30)
    for name in ("slurm", "pbs"):
        lab = emulated_scheduler(name)
        with systems.executor(name, tmp_path / name) as executor:
            job = Job(JobSpec("/bin/true", resources=resources, attributes=JobAttributes(timedelta(seconds=90))))
            executor.submit(job)
            end(job)
            request = lab.jobs()[0].request
            assert (request.nodes, request.cores) == (2, 4), name
            assert request.limit is not None
            assert 90 <= request.limit <= 120, name


def test_defect_09_the_name_never_reaches_the_scheduler(emulated_scheduler: Start, tmp_path: Path) -> None:
    for name in ("slurm", "pbs", "lsf"):
        lab = emulated_scheduler(name)
        with systems.executor(name, tmp_path / name) as executor:
            job = Job(JobSpec("/bin/true", name="relaxation"))
            executor.submit(job)
            end(job)
            assert lab.jobs()[0].request.name == "relaxation", name


def test_defect_10_serialization_loses_the_walltime(capsys: pytest.CaptureFixture[str]) -> None:
    spec = JobSpec("/bin/true", attributes=JobAttributes(timedelta(minutes=20)), stage_in=[StageIn("a", "b")])
    again = psij.JSONSerializer().loads(psij.JSONSerializer().dumps(spec))
    assert again == spec
    assert capsys.readouterr().out == ""


def test_defect_11_nothing_in_bulk_and_nothing_after_another_job(emulated_scheduler: Start, tmp_path: Path) -> None:
    lab = emulated_scheduler("slurm")
    with systems.executor("slurm", tmp_path / "work") as executor:
        jobs = Job.array(JobSpec("/bin/sh", ["-c", f"echo >> {tmp_path}/lines"]), 20)
        executor.submit_all(jobs)
        last = Job(JobSpec("/bin/sh", ["-c", f"wc -l < {tmp_path}/lines"], stdout_path=tmp_path / "count"))
        executor.submit(last, after_ok=jobs)
        assert end(last).state is JobState.COMPLETED
    assert last.stdout_text().strip() == "20"
    assert len(lab.calls("sbatch")) == 2


def test_why_a_job_waits(emulated_scheduler: Start, tmp_path: Path) -> None:
    """Not among the fifteen, but asked for as often."""
    emulated_scheduler("slurm", held=True)
    with systems.executor("slurm", tmp_path / "work") as executor:
        job = Job(JobSpec("/bin/true", attributes=JobAttributes(custom_attributes={"slurm.hold": None})))
        executor.submit(job)
        executor.refresh()
        assert (job.status.state, job.status.message) == (JobState.QUEUED, "JobHeldUser")
        job.cancel()


def test_defect_12_staging_is_unsafe(executor: JobExecutor, tmp_path: Path) -> None:
    with pytest.raises(psij.InvalidJobException, match="sftp://host/etc/passwd"):
        executor.submit(Job(JobSpec("/bin/true", stage_in=[StageIn(psij.URI("sftp://host/etc/passwd"), "x")])))
    with pytest.raises(psij.InvalidJobException, match="cleanup"):
        executor.submit(Job(JobSpec("/bin/true", directory=tmp_path / "job", cleanup=["../job2/precious"])))


def test_defect_13_packaging_and_plug_ins() -> None:
    names: dict[str, object] = {}
    exec("from harmony.jobs import *", names)
    assert {"Job", "JobExecutor", "SubmitException"} <= set(names)
    assert {"jsrun", "ibrun", "srun", "single", "multiple", "mpirun"} <= psij.Launcher.get_launcher_names()
    JobExecutor.get_instance("slurm", version_constraint=">=0.0.1").close()
    with pytest.raises(ValueError, match="no executor"):
        JobExecutor.get_instance("no-such-system")


def test_defect_14_hostile_to_the_program_around_it() -> None:
    program = (
        "import signal, threading\n"
        "mine = lambda *_: None\n"
        "signal.signal(signal.SIGCHLD, mine)\n"
        "import harmony.jobs as psij\n"
        "with psij.JobExecutor.get_instance('local') as executor:\n"
        "    executor.submit(psij.Job(psij.JobSpec('/bin/true')))\n"
        "assert signal.getsignal(signal.SIGCHLD) is mine\n"
        "assert threading.active_count() == 1\n"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")

    async def in_asyncio() -> int | None:
        with JobExecutor.get_instance("local") as executor:
            job = Job(JobSpec("/bin/sh", ["-c", "exit 3"]))
            executor.submit(job)
            return (await job).exit_code

    assert asyncio.run(in_asyncio()) == 3


def test_defect_15_no_walltime_no_graceful_cancel_no_command_line(tmp_path: Path) -> None:
    ready, noisy = tmp_path / "ready", tmp_path / "noisy"
    noisy.write_text("head -c 300000 /dev/zero | tr '\\0' x\n")
    with JobExecutor.get_instance("local") as executor:
        late = Job(JobSpec("/bin/sleep", ["600"], attributes=JobAttributes(timedelta(seconds=0.2))))
        loud = Job(JobSpec("/bin/true", pre_launch=noisy))
        polite = Job(JobSpec("/bin/sh", ["-c", f"trap 'exit 0' TERM; echo > {ready}; while :; do sleep 0.05; done"]))
        executor.submit_all([late, loud, polite])
        while not ready.exists():
            assert polite.wait(0.02) is None
        polite.cancel(grace=PATIENCE)
        assert end(polite).metadata.get("signal") != signal.SIGKILL
        assert (end(late).state, late.status.reason) == (JobState.FAILED, "walltime")
        assert end(loud).state is JobState.COMPLETED
    command = [sys.executable, "-m", "harmony", "job", "submit", "--wait", "--json", "--", "/bin/sh", "-c", "exit 4"]
    environment = {**os.environ, "HOME": str(tmp_path), "HARMONY_JOBS": str(tmp_path / "records")}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 1
    assert json.loads(done.stdout)[0]["exit_code"] == 4
