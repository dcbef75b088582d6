"""What holds for every executor: finding one, what may be submitted, dependencies, closing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tests.jobs.manual import ManualExecutor

from harmony.errors import PluginError
from harmony.jobs import (
    InvalidJobException,
    InvalidStateException,
    Job,
    JobExecutor,
    JobExecutorConfig,
    JobSpec,
    JobState,
    Launcher,
    ResourceSpecV1,
    SubmitException,
)
from harmony.jobs.executor import satisfies

EXECUTORS = {
    "cobalt", "flux", "htcondor", "local", "lsf", "nqsv", "oar", "pbs", "pbs_classic", "sge", "slurm"
}  # fmt: skip
LAUNCHERS = {"aprun", "flux", "ibrun", "jsrun", "mpiexec", "mpirun", "multiple", "pals", "single", "srun"}


@pytest.fixture
def executor() -> ManualExecutor:
    return ManualExecutor()


# -- finding one ------------------------------------------------------------------------------------


def test_the_names() -> None:
    assert JobExecutor.get_executor_names() >= EXECUTORS
    assert Launcher.get_launcher_names() >= LAUNCHERS


@pytest.mark.parametrize("name", sorted(EXECUTORS))
def test_every_executor_is_had_without_its_scheduler(name: str, tmp_path: Path) -> None:
    with JobExecutor.get_instance(name, config=JobExecutorConfig(work_directory=tmp_path / "w")) as found:
        assert found.name == name
        assert found.version


@pytest.mark.parametrize("name", sorted(LAUNCHERS))
def test_every_launcher_is_had(name: str) -> None:
    launcher = Launcher.get_instance(name)
    assert launcher.name == name
    spec = JobSpec("/bin/prog", ["a b"], resources=ResourceSpecV1(process_count=2))
    command = launcher.get_launch_command(Job(spec))
    assert command[-2:] == ["/bin/prog", "a b"] or name in ("single", "multiple")


def test_a_name_that_is_none() -> None:
    with pytest.raises(PluginError, match="there is no executor 'slrum'; did you mean 'slurm'"):
        JobExecutor.get_instance("slrum")
    with pytest.raises(ValueError, match="there is no launcher 'jrun'"):
        Launcher.get_instance("jrun")


def test_a_version_that_does_not_fit() -> None:
    with pytest.raises(PluginError, match=r"executor 'local' is version .*, which is not '>=99'"):
        JobExecutor.get_instance("local", ">=99")
    JobExecutor.get_instance("local", ">= 0.0.1").close()


@pytest.mark.parametrize(
    ("version", "constraint", "fits"),
    [
        ("0.2.0", ">=0.0.1", True),
        ("0.2.0", ">0.2", False),
        ("0.2", "==0.2.0", True),
        ("1.10", ">=1.9,<2", True),
        ("1.9", "!=1.9", False),
        ("1.9", "<=1.8", False),
        ("1.9.3", "~=1.9.1", True),
        ("1.10.0", "~=1.9.1", False),
        ("1.2+local", "<1.3", True),
    ],
)
def test_defect_13_version_constraints(version: str, constraint: str, fits: bool) -> None:
    assert satisfies(version, constraint) is fits


def test_what_is_no_constraint_is_said() -> None:
    with pytest.raises(PluginError, match="version_constraint='newest' must be like"):
        satisfies("1.0", "newest")


def test_a_config_must_be_one() -> None:
    with pytest.raises(InvalidJobException, match="config='x' must be a JobExecutorConfig"):
        ManualExecutor(config="x")  # type: ignore[arg-type]
    assert JobExecutorConfig(work_directory="~/x").work_directory == Path("~/x").expanduser()
    assert JobExecutorConfig("log").launcher_log_file == Path("log")


# -- submitting -------------------------------------------------------------------------------------


def test_defect_7_retry_is_impossible(executor: ManualExecutor) -> None:
    job = Job(JobSpec("true"))
    executor.refusals = [SubmitException("busy", transient=True), SubmitException("no such queue")]
    with pytest.raises(SubmitException, match="busy") as first:
        executor.submit(job)
    with pytest.raises(SubmitException, match="no such queue") as second:
        executor.submit(job)
    assert (first.value.transient, second.value.transient) == (True, False)
    assert (job.status.state, job.executor, job.native_id) == (JobState.NEW, None, None)
    executor.submit(job)
    assert (job.status.state, job.executor, job.native_id) == (JobState.QUEUED, executor, "1")


def test_a_job_is_submitted_once(executor: ManualExecutor) -> None:
    job = Job(JobSpec("true"))
    executor.submit(job)
    for other in (executor, ManualExecutor()):
        with pytest.raises(InvalidStateException, match="was submitted before; make another Job"):
            other.submit(job)
    job = Job(JobSpec("true"))
    with pytest.raises(InvalidStateException, match="given the same job twice"):
        executor.submit_all([job, job])
    assert len(executor.taken) == 1


@pytest.mark.parametrize("spec", [None, JobSpec(), JobSpec("a\0b"), "true"])
def test_defect_7_errors_are_untyped(executor: ManualExecutor, spec: JobSpec | None) -> None:
    job = Job(spec)
    with pytest.raises(InvalidJobException) as raised:
        executor.submit(job)
    assert raised.value.message == str(raised.value)
    assert raised.value.exception is None
    assert job.status.state is JobState.NEW
    assert not isinstance(raised.value, InvalidStateException)


def test_what_is_no_job_is_refused(executor: ManualExecutor) -> None:
    with pytest.raises(InvalidJobException, match="must be a Job"):
        executor.submit(JobSpec("true"))  # type: ignore[arg-type]


def test_all_are_checked_before_the_first_is_handed_over(executor: ManualExecutor) -> None:
    jobs = [Job(JobSpec("true")), Job(JobSpec())]
    with pytest.raises(InvalidJobException, match="executable is not set"):
        executor.submit_all(jobs)
    assert executor.taken == []


def test_those_that_were_taken_stay_so(executor: ManualExecutor) -> None:
    first, second, third = (Job(JobSpec("true")) for _ in range(3))
    executor.submit(first)
    executor.refusals = [SubmitException("full", transient=True)]
    with pytest.raises(SubmitException):
        executor.submit_all([second, third])
    assert [job.status.state for job in (first, second, third)] == [JobState.QUEUED, JobState.NEW, JobState.NEW]
    executor.submit_all([second, third])
    assert executor.list() == ["1", "2", "3"]


def test_the_callers_specification_is_not_changed(executor: ManualExecutor) -> None:
    spec = JobSpec("true")
    executor.submit(Job(spec))
    assert spec == JobSpec("true")
    assert spec.resources is None


def test_dependencies(executor: ManualExecutor) -> None:
    first, second = Job(JobSpec("true")), Job(JobSpec("true"))
    executor.submit(first)
    executor.submit(second, after=first, after_ok=["77", first], after_any="88")
    found = executor.taken[1][1]
    assert (found.after, found.after_ok, found.after_any) == (("1",), ("77", "1"), ("88",))
    assert found.jobs == {"1": first}
    assert found
    assert not executor.taken[0][1]


@pytest.mark.parametrize("other", [Job(JobSpec("true")), "", 7])
def test_a_dependency_must_have_been_submitted(executor: ManualExecutor, other: Job) -> None:
    with pytest.raises(InvalidJobException, match=r"after_ok: .* must be a job that was submitted, or a native id"):
        executor.submit(Job(JobSpec("true")), after_ok=[other])
    assert executor.taken == []


# -- afterwards -------------------------------------------------------------------------------------


def test_attach_needs_a_new_job_and_an_id(executor: ManualExecutor) -> None:
    job = Job()
    executor.attach(job, "17")
    assert (job.native_id, job.executor) == ("17", executor)
    with pytest.raises(InvalidStateException, match="belongs to an executor; attach a new Job"):
        executor.attach(job, "18")
    assert job.native_id == "17"
    for nothing in (None, "", 5):
        with pytest.raises(InvalidJobException, match="must be the scheduler's id of a job"):
            executor.attach(Job(), nothing)  # type: ignore[arg-type]


def test_a_block_waits_for_its_jobs_and_closes(executor: ManualExecutor) -> None:
    with executor as same:
        assert same is executor
        job = Job(JobSpec("true"))
        same.submit(job)
        assert not job.status.final
    assert job.status.final
    assert executor.closed == 1


def test_a_block_that_raises_closes_at_once() -> None:
    executor, job = ManualExecutor(), Job(JobSpec("true"))

    def block() -> None:
        with executor:
            executor.submit(job)
            raise KeyError

    with pytest.raises(KeyError):
        block()
    assert not job.status.final
    assert executor.closed == 1
    with pytest.raises(InvalidStateException, match="the executor was closed"):
        job.wait()


# -- importing --------------------------------------------------------------------------------------


def test_defect_14_importing_changes_the_program() -> None:
    """No thread, no signal handler, nothing beyond the standard library; and it is quick."""
    program = (
        "import resource, signal, sys, threading\n"
        "sys.modules['cloudpickle'] = None\n"
        "before = {number: signal.getsignal(number) for number in signal.valid_signals()}\n"
        "start = resource.getrusage(resource.RUSAGE_SELF)\n"
        "import harmony.jobs as psij\n"
        "end = resource.getrusage(resource.RUSAGE_SELF)\n"
        "[getattr(psij, name) for name in psij.__all__]\n"
        "assert before == {number: signal.getsignal(number) for number in signal.valid_signals()}\n"
        "assert threading.active_count() == 1\n"
        "known = {*sys.stdlib_module_names, 'harmony', '__main__', 'cloudpickle', 'sitecustomize'}\n"
        "foreign = {name.partition('.')[0] for name in sys.modules} - known\n"
        "print(sorted(name for name in foreign if not name.startswith('_')))\n"
        "print(end.ru_utime + end.ru_stime - start.ru_utime - start.ru_stime)\n"
    )
    runs = [
        subprocess.run(
            [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=True
        ).stdout
        for _ in range(3)
    ]
    assert {run.splitlines()[0] for run in runs} == {"[]"}
    assert min(float(run.splitlines()[1]) for run in runs) < 0.05
