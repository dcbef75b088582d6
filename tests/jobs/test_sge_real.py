"""The executor for Grid Engine on a real one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.jobs.texts import ODD

from harmony.errors import InvalidJobException, SubmitException
from harmony.jobs import Here, Job, JobAttributes, JobExecutor, JobSpec, JobState, Reason, ResourceSpecV1
from harmony.jobs.batch import BatchSchedulerExecutorConfig
from harmony.jobs.schedulers.sge import GridEngine

PATIENCE = 60.0


class Rig:
    """A Grid Engine, an executor of it, and jobs."""

    def __init__(self, environment: dict[str, str], directory: Path) -> None:
        self.shell = Here(environment)
        self.directory = directory
        self.jobs: list[Job] = []
        self.executor = JobExecutor.get_instance("sge", config=self.config(directory / "work"))

    def config(self, work: Path) -> BatchSchedulerExecutorConfig:
        """Settings with that working directory."""
        return BatchSchedulerExecutorConfig(work_directory=work, initial_queue_polling_delay=0.2, shell=self.shell)

    def job(self, program: str, **fields: Any) -> Job:
        """A job of a shell program; its output goes to a file of its own."""
        options = fields.pop("options", {})
        attributes = JobAttributes(custom_attributes={f"sge.{key}": value for key, value in options.items()})
        attributes.duration = fields.pop("duration", timedelta(minutes=2))
        attributes.queue_name = fields.pop("queue_name", None)
        attributes.account = fields.pop("account", None)
        resources = fields.pop("resources", None)
        fields.setdefault("directory", self.directory)
        spec = JobSpec(
            "/bin/bash", ["-c", program], attributes=attributes, stdout_path=f"{len(self.jobs)}.txt",
            resources=ResourceSpecV1(**resources) if resources else None, **fields,
        )  # fmt: skip
        self.jobs.append(Job(spec))
        return self.jobs[-1]

    def submit(self, program: str, **fields: Any) -> Job:
        """Submit a job of a shell program."""
        job = self.job(program, **fields)
        self.executor.submit(job)
        return job

    def output(self, job: Job) -> str:
        """What the job's program has printed."""
        assert job.spec is not None
        return (self.directory / str(job.spec.stdout_path)).read_text()

    def run(self, *argv: str) -> str:
        """What a command of Grid Engine prints."""
        done = self.shell.run(argv)
        assert done.code == 0, done.complaint
        return done.out

    def until(self, true: Callable[[], bool]) -> None:
        """Wait until something is so."""
        deadline = time.monotonic() + PATIENCE
        while not true():
            assert time.monotonic() < deadline, "it did not happen"
            time.sleep(0.05)


@pytest.fixture
def rig(sge_environment: dict[str, str], tmp_path: Path) -> Iterator[Rig]:
    """Return a Grid Engine, whose jobs have ended when the test has."""
    made = Rig(sge_environment, tmp_path)
    try:
        yield made
    finally:
        made.executor.close()
        ids = [job.native_id for job in made.jobs if job.native_id is not None]
        if ids:
            made.shell.run(GridEngine().cancel_command(ids))
        made.until(lambda: not set(ids) & set(GridEngine().statuses(made.shell.run(GridEngine().status_command(ids)))))


def end(job: Job) -> tuple[JobState, int | None, str | None]:
    """Wait for a job; return how it has ended."""
    status = job.wait(PATIENCE)
    assert status is not None, f"{job} has not ended"
    return status.state, status.exit_code, status.reason


def test_jobs_that_end_well_and_badly(rig: Rig) -> None:
    good = rig.submit("echo $JOB_ID")
    bad = rig.submit("exit 3")
    killed = rig.submit("kill -9 $$")
    assert end(good) == (JobState.COMPLETED, 0, None)
    assert rig.output(good) == f"{good.native_id}\n"
    assert end(bad) == (JobState.FAILED, 3, Reason.EXIT)
    assert end(killed) == (JobState.FAILED, 137, Reason.SIGNAL)


def test_walltime(rig: Rig) -> None:
    assert end(rig.submit("sleep 60", duration=timedelta(seconds=2))) == (JobState.FAILED, 137, Reason.WALLTIME)


def test_walltime_with_a_warning(rig: Rig) -> None:
    job = rig.submit("sleep 60", duration=timedelta(seconds=2), options={"notify": None})
    assert end(job)[::2] == (JobState.FAILED, Reason.WALLTIME)


def test_cancel(rig: Rig) -> None:
    running, waiting = rig.submit("sleep 60"), rig.submit("true", options={"h": None})
    running.wait(PATIENCE, [JobState.ACTIVE])
    running.cancel()
    waiting.cancel()
    assert end(running)[0] is JobState.CANCELED
    assert end(waiting)[0] is JobState.CANCELED


def test_a_warned_job_cleans_up_when_it_is_cancelled(rig: Rig) -> None:
    after = rig.directory / "after.sh"
    after.write_text("touch cleaned\n")
    job = rig.submit("touch up; sleep 60", options={"notify": None}, post_launch=after)
    rig.until((rig.directory / "up").exists)
    job.cancel()
    assert end(job)[0] is JobState.CANCELED
    rig.until((rig.directory / "cleaned").exists)


def test_an_array(rig: Rig) -> None:
    jobs = [rig.job(f"echo {number}; exit {number}") for number in range(4)]
    rig.executor.submit_all(jobs)
    assert len({str(job.native_id).partition(".")[0] for job in jobs}) == 1
    assert [end(job)[:2] for job in jobs] == [
        (JobState.FAILED if number else JobState.COMPLETED, number) for number in range(4)
    ]
    assert [rig.output(job) for job in jobs] == [f"{number}\n" for number in range(4)]


def test_a_task_of_an_array_is_cancelled_alone(rig: Rig) -> None:
    jobs = [rig.job("sleep 60"), rig.job("read -t 60 <go; true"), rig.job("true")]
    (rig.directory / "go").write_text("")
    rig.executor.submit_all(jobs)
    jobs[0].wait(PATIENCE, [JobState.ACTIVE])
    jobs[0].cancel()
    assert [end(job)[0] for job in jobs] == [JobState.CANCELED, JobState.COMPLETED, JobState.COMPLETED]


def test_a_job_that_cannot_be_started(rig: Rig) -> None:
    """Its output file cannot be made: Grid Engine keeps it in the state Eqw for ever."""
    script = rig.directory / "x.sh"
    script.write_text("#!/bin/bash\n#$ -o /nonexistent/x\n")
    number = GridEngine().native_id(rig.run("qsub", "-terse", str(script)))
    job = Job()
    rig.jobs.append(job)
    rig.executor.attach(job, number)
    status = job.wait(PATIENCE)
    assert status is not None
    assert (status.state, status.reason) == (JobState.FAILED, Reason.LAUNCH)
    assert f"qdel {number}" in str(status.message)


def test_a_job_started_anew(rig: Rig) -> None:
    job = rig.submit("[ -e second ] || { touch second; sleep 60; }", options={"r": "y"})
    rig.until((rig.directory / "second").exists)
    rig.run("qmod", "-rj", str(job.native_id))
    assert end(job) == (JobState.COMPLETED, 0, None)


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
def test_odd_values(rig: Rig, odd: str) -> None:
    directory = rig.directory / odd.replace("/", "_")
    job = rig.submit('printf "%s|%s" "$ODD" "$PWD"', name=odd, environment={"ODD": odd}, directory=directory)
    assert end(job) == (JobState.COMPLETED, 0, None)
    assert (directory / "0.txt").read_text() == f"{odd.replace('${x}', '')}|{directory}"


def test_odd_paths(rig: Rig) -> None:
    with JobExecutor.get_instance("sge", config=rig.config(rig.directory / "it's a $HOME: naïve")) as executor:
        job = rig.job("exit 4")
        executor.submit(job)
        assert end(job) == (JobState.FAILED, 4, Reason.EXIT)


def test_a_parallel_environment(rig: Rig) -> None:
    resources = {"process_count": 3, "gpu_cores_per_process": 1, "memory": 3 * 2**30}
    options = {"pe": "mpi", "gpu_per_slot": True}
    refused = rig.job("true", resources=resources)
    with pytest.raises(InvalidJobException, match=r"sge\.pe"):
        rig.executor.submit(refused)
    resources["process_count"], resources["memory"] = 2, 8 * 2**30
    job = rig.submit('echo "$NSLOTS $(wc -l <$PSIJ_NODEFILE)"; ulimit -v', resources=resources, options=options)
    assert end(job) == (JobState.COMPLETED, 0, None)
    assert rig.output(job).splitlines() == ["2 2", str(8 * 2**20)]


def test_nodes_that_are_not_had(rig: Rig) -> None:
    job = rig.submit("true", resources={"node_count": 2}, options={"pe": "mpi"})
    assert end(job)[:2] == (JobState.FAILED, 121)


def test_the_environment(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OF_THE_SUBMITTER", "it's there")
    show = 'echo "${OF_THE_SUBMITTER-no}|$MINE"'
    kept = rig.submit(show, environment={"MINE": "1"})
    bare = rig.submit(show, environment={"MINE": "1"}, inherit_environment=False)
    assert end(kept)[0] is end(bare)[0] is JobState.COMPLETED
    assert (rig.output(kept), rig.output(bare)) == ("it's there|1\n", "no|1\n")


def test_dependencies(rig: Rig) -> None:
    first = rig.submit("sleep 1; echo 1 >>order; exit 1")
    second = rig.job("echo 2 >>order")
    rig.executor.submit(second, after_any=first)
    assert end(second)[0] is JobState.COMPLETED
    assert (rig.directory / "order").read_text() == "1\n2\n"
    with pytest.raises(InvalidJobException, match="after_ok"):
        rig.executor.submit(rig.job("true"), after_ok=first)


@pytest.mark.parametrize(
    "fields",
    [{"queue_name": "no-such.q"}, {"account": "nobody"}, {"options": {"pe": "none"}}, {"options": {"l": "nothing=1"}}],
)
def test_refusals(rig: Rig, fields: dict[str, Any]) -> None:
    job = rig.job("true", **fields)
    with pytest.raises(SubmitException) as caught:
        rig.executor.submit(job)
    assert not caught.value.transient
    assert job.status.state is JobState.NEW


def test_nobody_answers(sge_environment: dict[str, str], tmp_path: Path) -> None:
    deaf = BatchSchedulerExecutorConfig(
        work_directory=tmp_path, shell=Here({**sge_environment, "SGE_QMASTER_PORT": "1"})
    )
    with JobExecutor.get_instance("sge", config=deaf) as executor, pytest.raises(SubmitException) as caught:
        executor.submit(Job(JobSpec("/bin/true")))
    assert caught.value.transient


def test_another_client_follows(rig: Rig) -> None:
    job = rig.submit("until [ -e go ]; do sleep 0.1; done; exit 5")
    job.wait(PATIENCE, [JobState.ACTIVE])
    assert job.native_id in rig.executor.list()
    with JobExecutor.get_instance("sge", config=rig.config(rig.directory / "other")) as executor:
        other = Job()
        executor.attach(other, job.native_id)
        other.wait(PATIENCE, [JobState.ACTIVE])
        (rig.directory / "go").touch()
        assert end(other)[:2] == (JobState.FAILED, 5)
