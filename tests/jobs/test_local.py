"""The local executor: starting jobs, their files and environment, their ends, jobs that wait for others."""

from __future__ import annotations

import os
import resource
import select
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.jobs.local_jobs import SECONDS, fifo, final, shell

from harmony.errors import InvalidJobException, PluginError, SubmitException
from harmony.jobs import Job, JobSpec, JobState, Reason, ResourceSpecV1
from harmony.jobs.local import LocalExecutorConfig, LocalJobExecutor


@pytest.fixture
def executor(tmp_path: Path) -> Iterator[LocalJobExecutor]:
    with LocalJobExecutor(config=LocalExecutorConfig(work_directory=tmp_path / "work")) as made:
        yield made


# -- ends ------------------------------------------------------------------------------------------------


def test_states_come_in_order_and_none_is_left_out(executor: LocalJobExecutor) -> None:
    seen: list[JobState] = []
    executor.set_job_status_callback(lambda job, status: seen.append(status.state))
    final(executor, JobSpec("true"))
    executor.wait_all()
    names = [state.name for state in seen]
    assert names == ["QUEUED", "STAGE_IN", "ACTIVE", "STAGE_OUT", "CLEANUP", "COMPLETED"]


@pytest.mark.parametrize("pre_launch", [False, True], ids=["program", "script"])
@pytest.mark.parametrize(
    ("text", "exit_code", "number", "reason"),
    [
        ("exit 0", 0, None, None),
        ("exit 3", 3, None, Reason.EXIT),
        ("kill -s KILL $$", 137, 9, Reason.SIGNAL),
        ("kill -s SEGV $$", 139, 11, Reason.SIGNAL),
    ],
)
def test_exit_code_and_signal_are_told(
    executor: LocalJobExecutor,
    tmp_path: Path,
    text: str,
    exit_code: int,
    number: int | None,
    reason: Reason | None,
    pre_launch: bool,
) -> None:
    nothing = tmp_path / "nothing.sh"
    nothing.write_text("")
    _, status = final(executor, shell(text, pre_launch=nothing if pre_launch else None))
    assert status.state is (JobState.FAILED if reason else JobState.COMPLETED)
    assert (status.exit_code, status.metadata.get("signal"), status.reason) == (exit_code, number, reason)


def test_a_program_that_fails_has_been_through_all_states(executor: LocalJobExecutor) -> None:
    job = Job(JobSpec("false"))
    seen: list[str] = []
    job.set_job_status_callback(lambda job, status: seen.append(status.state.name))
    executor.submit(job)
    executor.wait_all()
    assert seen == ["QUEUED", "STAGE_IN", "ACTIVE", "STAGE_OUT", "CLEANUP", "FAILED"]


def test_what_a_program_leaves_in_its_group_ends_with_it(executor: LocalJobExecutor, tmp_path: Path) -> None:
    _, status = final(executor, shell("sleep 100 & echo $! >left", directory=tmp_path))
    assert status.state is JobState.COMPLETED
    left = int((tmp_path / "left").read_text())
    with pytest.raises(ProcessLookupError):
        wait_for_end(left)


def wait_for_end(pid: int) -> None:
    """Raise `ProcessLookupError` once the process is gone; another's zombie goes when its parent reaps it."""
    descriptor = os.pidfd_open(pid)
    try:
        signal.pidfd_send_signal(descriptor, 0)
        assert select.select([descriptor], [], [], SECONDS)[0]
    finally:
        os.close(descriptor)
    raise ProcessLookupError


def test_an_exit_status_that_someone_else_took_is_not_called_success(executor: LocalJobExecutor) -> None:
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps children itself now
    try:
        _, status = final(executor, JobSpec("true"))
    finally:
        signal.signal(signal.SIGCHLD, before)
    assert (status.state, status.reason) == (JobState.FAILED, Reason.UNKNOWN)
    assert "exit status was taken" in (status.message or "")


# -- refusals --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("executable", ["/no/such/program", "no-such-program-anywhere", "/etc/passwd", "/tmp"])
def test_a_program_that_cannot_be_started_is_refused_and_the_job_stays_new(
    executor: LocalJobExecutor, executable: str
) -> None:
    job = Job(JobSpec(executable))
    with pytest.raises(SubmitException, match=f"executable='{executable}' cannot be started") as caught:
        executor.submit(job)
    assert not caught.value.transient
    assert (job.status.state, job.native_id, job.executor) == (JobState.NEW, None, None)
    assert job.spec is not None
    job.spec.executable = "true"
    executor.submit(job)
    assert (job.wait(SECONDS) or job.status).state is JobState.COMPLETED


def test_streams_and_directories_that_cannot_be_had_are_named(executor: LocalJobExecutor, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for name, spec in {
        "stdin_path": JobSpec("cat", stdin_path=tmp_path / "none"),
        "stdout_path": JobSpec("cat", stdout_path=tmp_path / "none" / "out"),
        "directory": JobSpec("cat", directory=tmp_path / "file" / "below"),
    }.items():
        with pytest.raises(SubmitException, match=f"^{name}="):
            executor.submit(Job(spec))


def test_an_unknown_launcher_and_a_url_are_refused(executor: LocalJobExecutor) -> None:
    with pytest.raises(InvalidJobException, match="launcher='nosuch'"):
        executor.submit(Job(JobSpec("true", launcher="nosuch")))
    with pytest.raises(PluginError, match="url='ssh://x'"):
        LocalJobExecutor("ssh://x")


def test_no_descriptor_left_is_a_transient_refusal(executor: LocalJobExecutor) -> None:
    final(executor, JobSpec("true"))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = os.open(os.devnull, os.O_RDONLY)
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest, hard))
    job = Job(JobSpec("true"))
    try:
        with pytest.raises(SubmitException) as caught:
            executor.submit(job)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        os.close(highest)
    assert caught.value.transient
    executor.submit(job)
    assert (job.wait(SECONDS) or job.status).state is JobState.COMPLETED


# -- what it runs ----------------------------------------------------------------------------------------


def test_a_script_without_an_interpreter_line_is_a_shells(executor: LocalJobExecutor, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("echo $0 $1 >&2\nexit 4\n")
    script.chmod(0o755)
    job, status = final(executor, JobSpec(script, ["a b"], stderr_path=tmp_path / "err"))
    assert (status.exit_code, job.stderr_text()) == (4, f"{script} a b\n")


def test_streams_may_be_fifos(executor: LocalJobExecutor, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    reader = Job(JobSpec("cat", stdin_path=tmp_path / "fifo", stdout_path=tmp_path / "out"))
    writer = Job(JobSpec("echo", ["through"], stdout_path=tmp_path / "fifo"))
    executor.submit_all([reader, writer])
    executor.wait_all()
    assert reader.stdout_text() == "through\n"


def test_processes_find_their_nodefile(executor: LocalJobExecutor, tmp_path: Path) -> None:
    resources = ResourceSpecV1(node_count=2, processes_per_node=2)
    spec = shell('cat "$PSIJ_NODEFILE"', resources=resources, stdout_path=tmp_path / "out")
    job, status = final(executor, spec)
    assert status.state is JobState.COMPLETED
    assert job.stdout_text().splitlines() == [os.uname().nodename] * 4


def test_a_job_knows_its_id_and_its_place_in_an_array(executor: LocalJobExecutor, tmp_path: Path) -> None:
    spec = shell('echo "$PSIJ_JOB_ID" >"$PSIJ_ARRAY_INDEX"', directory=tmp_path)
    jobs = Job.array(spec, 3)
    executor.submit_all(jobs)
    executor.wait_all()
    assert [(tmp_path / str(index)).read_text().strip() for index in range(3)] == [job.id for job in jobs]


def test_pre_launch_of_any_length_reaches_the_job(executor: LocalJobExecutor, tmp_path: Path) -> None:
    """psij-python's defect 15: more than 64 KiB from pre-launch hang the job."""
    script = tmp_path / "pre.sh"
    script.write_text("head -c 300000 /dev/zero | tr '\\0' x\nexport FROM_PRE='set here'\n")
    spec = shell('echo "$FROM_PRE"', pre_launch=script, stdout_path=tmp_path / "out")
    job, status = final(executor, spec)
    assert (status.state, job.stdout_text()) == (JobState.COMPLETED, "set here\n")


def test_a_pre_launch_that_fails_says_what_it_printed(executor: LocalJobExecutor, tmp_path: Path) -> None:
    script = tmp_path / "pre.sh"
    script.write_text("echo no such module\nfalse\n")
    seen: list[JobState] = []
    job = Job(JobSpec("true", pre_launch=script))
    job.set_job_status_callback(lambda job, status: seen.append(status.state))
    executor.submit(job)
    status = job.wait(SECONDS)
    assert status is not None
    assert (status.state, status.metadata["phase"]) == (JobState.FAILED, "pre_launch")
    assert "no such module" in (status.message or "")
    assert JobState.ACTIVE not in seen


# -- dependencies ----------------------------------------------------------------------------------------


def test_a_job_starts_when_another_has_ended_well(executor: LocalJobExecutor, tmp_path: Path) -> None:
    first = Job(shell("read line; echo first >>log", directory=tmp_path, stdin_path=fifo(tmp_path)))
    executor.submit(first)
    second, third = (
        Job(shell("echo second >>log", directory=tmp_path)),
        Job(shell("echo third >>log", directory=tmp_path)),
    )
    executor.submit(second, after_ok=first)
    executor.submit(third, after_any=[second], after=[first.native_id or ""])
    assert (second.status.state, third.status.state) == (JobState.QUEUED, JobState.QUEUED)
    (tmp_path / "fifo").write_text("go\n")
    executor.wait_all()
    assert (tmp_path / "log").read_text().split() == ["first", "second", "third"]


def test_a_job_whose_dependency_failed_fails_and_so_on(executor: LocalJobExecutor, tmp_path: Path) -> None:
    first = Job(shell("read line; exit 1", stdin_path=fifo(tmp_path)))
    second, third, fourth = Job(JobSpec("true")), Job(JobSpec("true")), Job(JobSpec("true"))
    executor.submit(first)
    executor.submit(second, after_ok=first)
    executor.submit(third, after_ok=second)
    executor.submit(fourth, after_any=second)
    (tmp_path / "fifo").write_text("go\n")
    executor.wait_all()
    assert [job.status.reason for job in (second, third)] == [Reason.DEPENDENCY, Reason.DEPENDENCY]
    assert fourth.status.state is JobState.COMPLETED
    assert "after_ok" in (second.status.message or "")


def test_a_job_that_waits_can_be_cancelled_and_can_fail_to_start(executor: LocalJobExecutor, tmp_path: Path) -> None:
    first = Job(shell("read line", stdin_path=fifo(tmp_path)))
    executor.submit(first)
    waiting, doomed = Job(JobSpec("true")), Job(JobSpec("/no/such/program"))
    executor.submit_all([waiting, doomed], after_any=first)
    assert waiting.native_id in executor.list()
    waiting.cancel()
    assert waiting.status.state is JobState.CANCELED
    (tmp_path / "fifo").write_text("go\n")
    executor.wait_all()
    assert waiting.status.state is JobState.CANCELED
    assert (doomed.status.state, doomed.status.reason) == (JobState.FAILED, Reason.LAUNCH)


def test_a_launcher_that_would_ask_for_another_job_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    with LocalJobExecutor() as executor:
        job = Job(JobSpec("/bin/true", launcher="srun"))
        with pytest.raises(InvalidJobException, match="SLURM_JOB_ID is not set"):
            executor.submit(job)
        assert job.status.state is JobState.NEW
