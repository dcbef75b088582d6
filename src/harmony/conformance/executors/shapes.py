"""Processes and nodes, many jobs at once, jobs that wait for others, files that travel with jobs."""

from __future__ import annotations

import pytest

from harmony.conformance.executors.ends import ExecutorTests
from harmony.conformance.executors.subject import Subject
from harmony.jobs import (
    InvalidJobException,
    Job,
    JobExecutor,
    JobState,
    ResourceSpecV1,
    StageIn,
    StageOut,
    StageOutFlags,
    StagingMode,
)


class Shapes(ExecutorTests):
    """Tests of jobs that are more than one process."""

    def test_several_processes(self, subject: Subject, executor: JobExecutor) -> None:
        job = subject.shell(
            'echo "$_PSI_J_PROCESS_INDEX_" > "index-$_PSI_J_PROCESS_INDEX_"; wc -l < "$PSIJ_NODEFILE"',
            launcher="multiple", resources=ResourceSpecV1(process_count=3), stdout_path="out",
        )  # fmt: skip
        subject.completed(executor, job)
        assert sorted(path.name for path in subject.directory.glob("index-*")) == ["index-1", "index-2", "index-3"]
        assert job.stdout_text().split() == ["3", "3", "3"]

    def test_one_process_of_several_fails(self, subject: Subject, executor: JobExecutor) -> None:
        job = subject.shell(
            '[ "$_PSI_J_PROCESS_INDEX_" != 1 ] || exit 6',
            launcher="multiple", resources=ResourceSpecV1(process_count=3),
        )  # fmt: skip
        status = subject.run(executor, job)
        assert (status.state, status.exit_code) == (JobState.FAILED, 6), status

    def test_two_nodes(self, subject: Subject, executor: JobExecutor) -> None:
        subject.needs("nodes")
        resources = ResourceSpecV1(node_count=2, processes_per_node=2)
        job = subject.shell(
            'sort "$PSIJ_NODEFILE" | uniq -c | awk "{print \\$1}"', resources=resources, stdout_path="o"
        )
        subject.completed(executor, job)
        lines = [int(word) for word in (subject.directory / "o").read_text().split()]
        assert sum(lines) == 4

    def test_an_unknown_launcher(self, subject: Subject, executor: JobExecutor) -> None:
        job = subject.job(launcher="no-such-launcher")
        with pytest.raises(InvalidJobException, match="no-such-launcher"):
            executor.submit(job)
        assert job.status.state is JobState.NEW

    def test_many_at_once(self, subject: Subject, executor: JobExecutor) -> None:
        jobs = [subject.shell(f"echo {index}; exit {index}", stdout_path=f"out-{index}") for index in range(6)]
        executor.submit_all(jobs)
        assert len({job.native_id for job in jobs}) == 6
        assert [subject.end(job).exit_code for job in jobs] == list(range(6))
        assert [job.stdout_text() for job in jobs] == [f"{index}\n" for index in range(6)]

    def test_arrays(self, subject: Subject, executor: JobExecutor) -> None:
        spec = subject.spec("/bin/sh", ["-c", 'echo > "task-$PSIJ_ARRAY_INDEX"'])
        jobs = Job.array(spec, 4)
        executor.submit_all(jobs)
        assert {subject.end(job).state for job in jobs} == {JobState.COMPLETED}
        assert sorted(path.name for path in subject.directory.glob("task-*")) == [f"task-{index}" for index in range(4)]

    def test_one_task_of_an_array_is_cancelled(self, subject: Subject, executor: JobExecutor) -> None:
        gate = subject.gate()
        jobs = Job.array(subject.spec("/bin/sh", ["-c", gate.wait]), 2)
        executor.submit_all(jobs)
        for job in jobs:
            job.wait(subject.patience, JobState.ACTIVE)
        jobs[0].cancel()
        assert subject.end(jobs[0]).state is JobState.CANCELED
        assert not jobs[1].status.final
        gate.open()
        assert subject.end(jobs[1]).state is JobState.COMPLETED

    def test_refused_before_anything_is_submitted(self, subject: Subject, executor: JobExecutor) -> None:
        good, bad = subject.shell("touch ran"), subject.job()
        assert bad.spec is not None
        bad.spec.arguments = [1]
        with pytest.raises(InvalidJobException, match="arguments"):
            executor.submit_all([good, bad])
        assert (good.status.state, good.native_id) == (JobState.NEW, None)

    @pytest.mark.parametrize("kind", ["after", "after_ok", "after_any"])
    def test_after_another_job(self, subject: Subject, executor: JobExecutor, kind: str) -> None:
        subject.needs(kind)
        gate = subject.gate()
        first, second = subject.shell(f"{gate.wait}; echo one >> order"), subject.shell("echo two >> order")
        executor.submit(first)
        executor.submit(second, **{kind: [first]})
        if kind == "after":
            assert subject.end(second).state is JobState.COMPLETED
            gate.open()
            assert subject.end(first).state is JobState.COMPLETED
            return
        gate.open()
        assert subject.end(second).state is JobState.COMPLETED
        assert (subject.directory / "order").read_text() == "one\ntwo\n"
        assert subject.end(first).state is JobState.COMPLETED

    def test_after_a_failure(self, subject: Subject, executor: JobExecutor) -> None:
        subject.needs("after_ok")
        gate = subject.gate()
        first, second = subject.shell(f"{gate.wait}; exit 1"), subject.shell("touch ran")
        executor.submit(first)
        executor.submit(second, after_ok=first)
        gate.open()
        status = subject.end(second)
        assert (status.state, status.reason) == (JobState.FAILED, "dependency"), status
        assert not (subject.directory / "ran").exists()

    @pytest.mark.parametrize("kind", ["after", "after_ok", "after_any"])
    def test_a_dependency_that_it_lacks_is_refused(self, subject: Subject, executor: JobExecutor, kind: str) -> None:
        if kind not in subject.lacks:
            pytest.skip("it has this dependency")
        gate = subject.gate()
        first, second = subject.shell(gate.wait), subject.shell("touch ran")
        executor.submit(first)
        with pytest.raises(InvalidJobException, match=kind):
            executor.submit(second, **{kind: [first]})
        gate.open()
        assert subject.end(first).state is JobState.COMPLETED
        assert (second.status.state, (subject.directory / "ran").exists()) == (JobState.NEW, False)

    @pytest.mark.parametrize("mode", StagingMode)
    def test_staging(self, subject: Subject, executor: JobExecutor, mode: StagingMode) -> None:
        source, target = subject.directory / "the source", subject.directory / "results" / "the 'target'"
        source.write_text("data")
        job = subject.shell(
            "cat 'in put' > out; echo > scratch", directory=subject.directory / "work dir",
            stage_in=[StageIn(source, "in put", mode)], stage_out=[StageOut("out", target)],
            cleanup=["scratch"],
        )  # fmt: skip
        subject.completed(executor, job)
        assert target.read_text() == "data"
        assert source.exists() is (mode is not StagingMode.MOVE)
        assert not (subject.directory / "work dir" / "scratch").exists()

    def test_staging_what_is_not_there(self, subject: Subject, executor: JobExecutor) -> None:
        job = subject.shell("touch ran", stage_in=[StageIn(subject.directory / "nothing", "in")])
        status = subject.run(executor, job)
        assert (status.state, status.reason) == (JobState.FAILED, "staging"), status
        assert "nothing" in str(status.message)
        assert not (subject.directory / "ran").exists()

    def test_staging_out_on_conditions(self, subject: Subject, executor: JobExecutor) -> None:
        flags = {"good": StageOutFlags.ON_SUCCESS, "bad": StageOutFlags.ON_ERROR, "none": StageOutFlags.IF_PRESENT}
        out = [
            StageOut("absent" if name == "none" else "file", subject.directory / name, flag)
            for name, flag in flags.items()
        ]
        status = subject.run(executor, subject.shell("echo > file; exit 2", stage_out=out))
        assert (status.state, status.exit_code) == (JobState.FAILED, 2), status
        assert [(subject.directory / name).exists() for name in flags] == [False, True, False]
