"""The executor for Slurm on a real Slurm."""

from __future__ import annotations

import getpass
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.jobs.texts import ODD

from harmony.errors import InvalidJobException, SubmitException
from harmony.jobs import Here, Job, JobAttributes, JobExecutor, JobSpec, JobState, NoAnswer, Reason, ResourceSpecV1
from harmony.jobs.batch import BatchSchedulerExecutorConfig
from harmony.jobs.scheduler import NoAccounting
from harmony.jobs.schedulers.slurm import Slurm

PATIENCE = 60.0
#: What the lab does by itself.
ACCOUNTING = os.geteuid() == 0


class Rig:
    """A Slurm, an executor of it, and jobs."""

    def __init__(self, environment: dict[str, str], directory: Path) -> None:
        self.environment = environment
        self.directory = directory
        self.executors: list[JobExecutor] = []
        self.jobs: list[Job] = []
        self.executor = self.another(directory / "work")

    def another(self, work: Path, **environment: str) -> JobExecutor:
        """An executor with that working directory, and more variables in its commands' environment."""
        config = BatchSchedulerExecutorConfig(
            work_directory=work, initial_queue_polling_delay=0.2, keep_files=True,
            shell=Here({**self.environment, **environment}),
        )  # fmt: skip
        executor = JobExecutor.get_instance("slurm", config=config)
        self.executors.append(executor)
        return executor

    def job(self, program: str, *, options: dict[str, object] | None = None, **fields: Any) -> Job:
        """A job of a shell program; its output goes to a file of its own."""
        attributes = JobAttributes(custom_attributes={f"slurm.{key}": value for key, value in (options or {}).items()})
        for name in ("queue_name", "account", "reservation_id"):
            setattr(attributes, name, fields.pop(name, None))
        names = {"memory", "exclusive_node_use"} | {
            name for name in fields if name.endswith(("_count", "_per_process"))
        }
        resources = {name: fields.pop(name) for name in names & set(fields)}
        fields.setdefault("directory", self.directory)
        spec = JobSpec(
            "/bin/bash", ["-c", program], attributes=attributes, stdout_path=f"{len(self.jobs)}.txt",
            resources=ResourceSpecV1(**resources) if resources else None, **fields,
        )  # fmt: skip
        self.jobs.append(Job(spec))
        return self.jobs[-1]

    def submit(self, program: str, executor: JobExecutor | None = None, **fields: Any) -> Job:
        """Submit a job of a shell program."""
        job = self.job(program, **fields)
        (executor or self.executor).submit(job)
        return job

    def run(self, *argv: str) -> str:
        """What a command of Slurm prints."""
        done = Here(self.environment).run(argv)
        assert done.code == 0, done.complaint
        return done.out

    def shown(self, job: Job, column: str) -> str:
        """One column of squeue for a job."""
        return self.run("squeue", "--noheader", "--states=all", f"--jobs={job.native_id}", "-o", column)[:-1]

    def record(self, job: Job) -> dict[str, str]:
        """What Slurm has written down of a job."""
        return dict(re.findall(r"(\S+?)=(\S*)", self.run("scontrol", "show", "job", "-o", str(job.native_id))))

    def end(self) -> None:
        """Cancel what has not ended; close."""
        left = [str(job.native_id) for job in self.jobs if job.native_id and not job.status.final]
        if left:
            self.run("scancel", *left)
        for executor in self.executors:
            executor.close()


@pytest.fixture
def rig(slurm_environment: dict[str, str], tmp_path: Path) -> Iterator[Rig]:
    rig = Rig(slurm_environment, tmp_path)
    yield rig
    rig.end()


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def ended(job: Job) -> tuple[str, int | None, str | None]:
    status = job.wait(PATIENCE)
    assert status is not None
    return status.state.name, status.exit_code, status.reason


def started(job: Job) -> None:
    job.wait(PATIENCE, [JobState.ACTIVE])
    assert job.status.state is JobState.ACTIVE, job.status


def test_a_job_runs_and_its_end_is_known(rig: Rig) -> None:
    good, bad, killed = rig.submit("echo here"), rig.submit("exit 3"), rig.submit("kill -9 $$")

    assert ended(good) == ("COMPLETED", 0, None)
    assert good.stdout_text() == "here\n"
    assert ended(bad) == ("FAILED", 3, Reason.EXIT)
    assert ended(killed)[0] == "FAILED"
    assert ended(killed)[2] in (Reason.SIGNAL, Reason.EXIT)


@pytest.mark.parametrize("value", ODD.values(), ids=ODD.keys())
def test_odd_values_reach_slurm_unchanged(rig: Rig, value: str) -> None:
    job = rig.submit("true", name=value, account=value, options={"comment": value, "H": None})

    assert rig.shown(job, "%j") == value.rpartition("/")[2]
    assert rig.shown(job, "%k") == value
    if not ACCOUNTING:  # with it, an account that it does not know gives way to the user's own
        assert rig.shown(job, "%a") == value.lower()
    for field in ("queue_name", "reservation_id"):
        fields: dict[str, Any] = {field: value}
        with pytest.raises(SubmitException) as refused:
            rig.submit("true", **fields)
        assert not refused.value.transient
    assert not Path("danger").exists()


@pytest.mark.parametrize("name", ["a b'c\"d", "é模 $(x)", "%j%%100%", "back\\slash %j", "#1"])
def test_the_log_may_lie_in_any_directory(rig: Rig, name: str) -> None:
    script = rig.directory / "before.sh"
    script.write_text("echo printed before\n")
    job = rig.submit("true", rig.another(rig.directory / name), pre_launch=script)

    assert ended(job) == ("COMPLETED", 0, None)
    assert [path.read_text() for path in (rig.directory / name).rglob("*.out")] == ["printed before\n"]


def test_resources_reach_slurm(rig: Rig) -> None:
    job = rig.submit(
        "sort $PSIJ_NODEFILE", node_count=2, process_count=4, cpu_cores_per_process=2, memory=600 << 20,
        exclusive_node_use=True, queue_name="high", name="n",
    )  # fmt: skip

    assert ended(job) == ("COMPLETED", 0, None)
    nodes = (job.stdout_text() or "").split()
    assert sorted(nodes) == sorted(2 * list(set(nodes)))
    assert len(nodes) == 4
    record = rig.record(job)
    expected = {
        "NumNodes": "2", "NumTasks": "4", "CPUs/Task": "2", "MinMemoryNode": "300M", "OverSubscribe": "NO",
        "Partition": "high", "JobName": "n", "TimeLimit": "00:10:00", "NtasksPerN:B:S:C": "2:0:*:*",
    }  # fmt: skip
    assert {name: record[name] for name in expected} == expected


def test_gpus_are_given_to_each_process(rig: Rig) -> None:
    job = rig.submit("echo $CUDA_VISIBLE_DEVICES", process_count=2, gpu_cores_per_process=1, launcher="srun")

    assert ended(job) == ("COMPLETED", 0, None)
    assert sorted((job.stdout_text() or "").split()) == ["0", "1"]


def test_an_array_is_one_submission(rig: Rig) -> None:
    jobs = [rig.job(f"echo {index} $SLURM_ARRAY_TASK_ID; exit {index}") for index in range(3)]
    rig.executor.submit_all(jobs)

    assert [ended(job)[1] for job in jobs] == [0, 1, 2]
    assert [job.stdout_text() for job in jobs] == ["0 0\n", "1 1\n", "2 2\n"]
    assert len({str(job.native_id).partition("_")[0] for job in jobs}) == 1


def test_dependencies(rig: Rig) -> None:
    array = [rig.job("exit 1"), rig.job("true")]
    rig.executor.submit_all(array)
    never, whatever, fine, second = (rig.job("true") for _ in range(4))
    rig.executor.submit(never, after_ok=array)
    rig.executor.submit(whatever, after_any=array[0])
    rig.executor.submit(fine, after_ok=array[1], after=array[0])
    rig.executor.submit(second, after_ok=fine)

    assert ended(never) == ("FAILED", None, Reason.DEPENDENCY)
    assert [ended(job)[0] for job in (whatever, fine, second)] == ["COMPLETED"] * 3


def test_cancel(rig: Rig) -> None:
    held, running = rig.submit("true", options={"hold": None}), rig.submit("sleep 100")
    until(lambda: held.status.reason == Reason.HELD or rig.shown(held, "%r") == "JobHeldUser")
    started(running)
    held.cancel()
    running.cancel()

    assert ended(held)[::2] == ("CANCELED", Reason.CANCELED)
    assert ended(running)[::2] == ("CANCELED", Reason.CANCELED)
    rig.executor.refresh()


@pytest.mark.parametrize("launcher", ["single", "srun"])
def test_a_cancel_with_grace_lets_the_program_tidy_up(rig: Rig, launcher: str) -> None:
    job = rig.submit("trap 'echo tidy; exit 0' TERM; echo up; while :; do read -t 0.1 <> <(:); done", launcher=launcher)
    started(job)
    until(lambda: job.stdout_text() == "up\n")
    job.cancel(grace=30)

    ended(job)
    assert job.stdout_text() == "up\ntidy\n"


def test_the_time_limit(rig: Rig) -> None:
    job = rig.submit("sleep 100")
    started(job)
    rig.run("scontrol", "update", f"jobid={job.native_id}", "EndTime=now+1")

    assert ended(job)[::2] == ("FAILED", Reason.WALLTIME)


def test_a_job_that_is_started_anew(rig: Rig) -> None:
    job = rig.submit("[ -e again ] || { echo > again; sleep 100; }")
    until((rig.directory / "again").exists)
    rig.run("scontrol", "requeue", str(job.native_id))

    assert ended(job) == ("COMPLETED", 0, None)
    assert job.status.metadata["restarts"] == 1


def test_a_node_that_fails(rig: Rig) -> None:
    job = rig.submit("sleep 100", options={"no-requeue": True, "w": "n1"})
    started(job)
    try:
        rig.run("scontrol", "update", "nodename=n1", "state=down", "reason=test")
        assert ended(job)[::2] == ("FAILED", Reason.NODE_FAILURE)
    finally:
        Here(rig.environment).run(["scontrol", "update", "nodename=n1", "state=resume"])  # it may be back by itself
        until(lambda: rig.run("sinfo", "-h", "-n", "n1", "-p", "debug", "-o", "%T").strip() == "idle")


def test_a_job_that_slurm_cannot_start(rig: Rig) -> None:
    job = rig.submit("true", rig.another(rig.directory / "lost"), options={"hold": ""})
    shutil.rmtree(rig.directory / "lost")
    rig.run("scontrol", "release", str(job.native_id))

    assert ended(job)[::2] == ("FAILED", Reason.LAUNCH)


def test_an_allocation_around_the_client_changes_nothing(rig: Rig) -> None:
    executor = rig.another(
        rig.directory / "inner", SLURM_JOB_ID="1", SLURM_NTASKS="7", SLURM_NPROCS="7", SLURM_MEM_PER_NODE="5",
        SLURM_TASKS_PER_NODE="7", SLURM_CPUS_PER_TASK="9", SBATCH_PARTITION="none", SBATCH_TIMELIMIT="1",
        SBATCH_ACCOUNT="site", SBATCH_EXPORT="NONE", SBATCH_WAIT="1", OF_USE="a\nexport SLURM_X=1",
    )  # fmt: skip
    job = rig.submit('env | grep ^SLURM_NTASKS; echo "$OF_USE"; srun true', executor, queue_name="low")

    assert ended(job) == ("COMPLETED", 0, None)
    assert job.stdout_text() == "a\nexport SLURM_X=1\n" or "SLURM_NTASKS=1\n" in str(job.stdout_text())
    record = rig.record(job)
    assert (record["Partition"], record["TimeLimit"]) == ("low", "00:10:00")
    assert ACCOUNTING or record["Account"] == "site"


@pytest.fixture(scope="session")
def quick_login() -> None:
    """Skip where a login shell of this user, by which Slurm makes an environment of its own, takes long."""
    login = ["su", "-", getpass.getuser(), "-c", "true"]
    try:
        subprocess.run(login, stdin=subprocess.DEVNULL, start_new_session=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        pytest.skip(f"no quick login shell here: {error}")


@pytest.mark.usefixtures("quick_login")
@pytest.mark.parametrize("launcher", ["single", "srun"])
def test_without_the_submitters_environment(rig: Rig, monkeypatch: pytest.MonkeyPatch, launcher: str) -> None:
    monkeypatch.setenv("OUTER", "seen")
    job = rig.submit(
        'echo "$OUTER/$INNER"', inherit_environment=False, environment={"INNER": "set"}, launcher=launcher
    )  # fmt: skip

    assert ended(job) == ("COMPLETED", 0, None)
    assert job.stdout_text() == "/set\n"


def test_accounting_tells_the_same(rig: Rig) -> None:
    slurm, shell = Slurm(), Here(rig.environment)
    jobs = {name: rig.submit(name) for name in ("true", "exit 4", "sleep 100")}
    started(jobs["sleep 100"])
    jobs["sleep 100"].cancel()
    outcomes = {job.native_id: ended(job)[::2] for job in jobs.values()}
    ids = [str(native_id) for native_id in outcomes]

    def told() -> dict[str, Any]:
        return slurm.outcomes(shell.run(slurm.accounting_command([*ids, "999999"])))

    if not ACCOUNTING:
        with pytest.raises(NoAccounting):
            told()
        return
    until(lambda: set(told()) == set(outcomes))
    assert {key: (status.state.name, status.reason) for key, status in told().items()} == outcomes
    assert told()[str(jobs["exit 4"].native_id)].exit_code == 4
    assert all(abs(status.time - time.time()) < 3600 for status in told().values())


def test_listing_and_attaching(rig: Rig) -> None:
    job = rig.submit("sleep 100")
    assert job.native_id in rig.executor.list()
    other, same = rig.another(rig.directory / "other"), Job()
    other.attach(same, job.native_id)
    started(same)
    job.cancel()

    assert ended(same)[::2] == ("CANCELED", Reason.CANCELED)
    assert job.native_id not in rig.executor.list()


def test_refusals(rig: Rig) -> None:
    with pytest.raises(SubmitException, match="invalid partition") as refused:
        rig.submit("true", queue_name="nowhere")
    assert not refused.value.transient
    with pytest.raises(InvalidJobException, match="submit_all"):
        rig.submit("true", options={"array": "0-3"})
    elsewhere = rig.directory / "slurm.conf"
    elsewhere.write_text("ClusterName=x\nSlurmctldHost=localhost(127.0.0.1)\nSlurmctldPort=1\nMessageTimeout=2\n")
    with pytest.raises(SubmitException) as unreachable:
        rig.submit("true", rig.another(rig.directory / "off", SLURM_CONF=str(elsewhere)))
    assert unreachable.value.transient


def test_a_missing_command(rig: Rig) -> None:
    with pytest.raises(SubmitException, match="'sbatch' is not on the PATH") as refused:
        rig.submit("true", rig.another(rig.directory / "off", PATH="/nowhere"))
    assert not refused.value.transient


def test_a_controller_that_is_gone_tells_nothing_of_jobs(rig: Rig) -> None:
    elsewhere = rig.directory / "slurm.conf"
    elsewhere.write_text("ClusterName=x\nSlurmctldHost=localhost(127.0.0.1)\nSlurmctldPort=1\nMessageTimeout=2\n")
    slurm, shell = Slurm(), Here({**rig.environment, "SLURM_CONF": str(elsewhere)})
    with pytest.raises(NoAnswer):
        slurm.statuses(shell.run(slurm.status_command(["1"])))
    assert slurm.cancel_failed(shell.run(slurm.cancel_command(["1"])))
