"""Replay: every task really runs, once, after its parents, and reads and writes what the trace says."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harmony import Report, Task, TaskFuture, Workflow
from harmony.errors import ConfigError
from harmony.frontends.wfformat import SHAPES, Instance, generate, replay, replay_file, write
from harmony.frontends.wfformat.instance import Execution, TaskRun, TraceCommand, TraceFile, TraceTask
from harmony.frontends.wfformat.plan import file_paths

ENGINES = ("local", "threads", "inline")


def workflow(engine: str = "local") -> Workflow:
    return Workflow("replay", engine=engine, workers=None if engine == "inline" else 2)


def pair(*, backed: bool, **run: Any) -> Instance:
    """Two tasks, first → second; a file goes from one to the other only when `backed`."""
    first = TraceTask(
        id="first", name="first", children=("second",), inputs=("in",), outputs=("mid", "x"), run=TaskRun(runtime=0)
    )
    second = TraceTask(
        id="second",
        name="second",
        parents=("first",),
        inputs=("mid",) if backed else (),
        outputs=("end",),
        run=replace(TaskRun(runtime=0), **run),
    )
    files = [TraceFile("in", 10), TraceFile("mid", 2_500_000), TraceFile("x", 0), TraceFile("end", 7)]
    return Instance(name="pair", tasks=(second, first), files=tuple(files), execution=Execution(0, "2026-01-01"))


# -- what really happens -----------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES)
def test_each_shape_runs_as_its_trace_says(shape: str, tmp_path: Path) -> None:
    instance = generate(shape, 24, seed=1, mean_runtime=0.02, mean_file_size=3000)
    with workflow() as wf:
        report = replay(instance, wf, tmp_path)
    assert report.problems == ()
    assert report.tasks == len(instance.tasks) == wf.report().counts.done
    assert report.edges == sum(len(task.parents) for task in instance.tasks)
    assert report.work == pytest.approx(sum(task.run.runtime for task in instance.tasks if task.run))
    assert report.cpu > report.work - 1e-3
    sizes = instance.sizes
    assert report.bytes_read == sum(sizes[file] for task in instance.tasks for file in task.inputs)
    assert report.bytes_written == sum(sizes[file] for task in instance.tasks for file in task.outputs)
    assert {file: (tmp_path / file).stat().st_size for file in sizes} == sizes
    assert "every task ran once, after its parents" in str(report)


@pytest.mark.parametrize("scale", [0.0, 0.5])
def test_run_times_are_scaled(scale: float, tmp_path: Path) -> None:
    instance = generate("fan", 6, mean_runtime=0.1, mean_file_size=1000)
    with workflow() as wf:
        report = replay(instance, wf, tmp_path, scale)
    assert report.work == pytest.approx(0.6 * scale, abs=1e-5)
    assert report.cpu > report.work - 1e-3
    assert report.ideal == max(report.critical_path, report.work / 2)
    assert 0 <= report.efficiency <= 1


def test_sizes_are_scaled_and_an_old_replay_is_replaced(tmp_path: Path) -> None:
    instance = generate("chain", 3, mean_file_size=1000)
    with workflow() as wf:
        assert replay(instance, wf, tmp_path, 0).ok
    (tmp_path / "link_000000.dat").unlink()
    with workflow() as wf:
        report = replay(instance, wf, tmp_path, 0, size_scale=0.5)
    assert report.problems == ()
    for file, size in instance.sizes.items():
        assert (tmp_path / file).stat().st_size == round(size * 0.5)


def test_the_content_is_the_same_on_every_engine(tmp_path: Path) -> None:
    instance = generate("montage", 20, mean_file_size=500)
    digests = {}
    for engine in ENGINES:
        with workflow(engine) as wf:
            report = replay(instance, wf, tmp_path / engine, 0)
        assert report.problems == ()
        digests[engine] = report.digest
    assert len(set(digests.values())) == 1
    for file in instance.sizes:
        assert len({(tmp_path / engine / file).read_bytes() for engine in ENGINES}) == 1


def test_other_content_gives_another_digest(tmp_path: Path) -> None:
    instance = generate("chain", 2, mean_file_size=100)
    with workflow() as wf:
        first = replay(instance, wf, tmp_path, 0)
    source = tmp_path / "link_000000.dat"
    source.write_bytes(b"?" * source.stat().st_size)
    with workflow() as wf:
        second = replay(instance, wf, tmp_path, 0)
    assert first.ok
    assert second.ok
    assert first.digest != second.digest


@pytest.mark.parametrize("backed", [True, False])
def test_an_edge_holds_with_and_without_a_file(backed: bool, tmp_path: Path) -> None:
    with workflow() as wf:
        report = replay(pair(backed=backed), wf, tmp_path)
    assert report.problems == ()
    assert (report.tasks, report.edges) == (2, 1)


def test_files_longer_than_a_chunk_are_whole(tmp_path: Path) -> None:
    with workflow() as wf:
        report = replay(pair(backed=True), wf, tmp_path)
    assert (report.bytes_read, report.bytes_written) == (2_500_010, 2_500_007)
    content = (tmp_path / "mid").read_bytes()
    assert re.fullmatch(rb"[0-9a-f]{8}\n", content[:9])
    assert content[:9000] == content[:9] * 1000


def test_more_files_than_a_command_line_takes(tmp_path: Path) -> None:
    files = tuple(TraceFile(f"{index:05d}-{'x' * 180}", 3) for index in range(12_000))
    reader = TraceTask(id="reader", name="reader", inputs=tuple(file.id for file in files))
    with workflow() as wf:
        report = replay(Instance(name="wide", tasks=(reader,), files=files), wf, tmp_path, 0)
    assert report.problems == ()
    assert report.bytes_read == 36_000


def test_all_cores_of_a_task_compute_when_asked_for(tmp_path: Path) -> None:
    with workflow() as wf:
        one = replay(pair(backed=True, runtime=0.1, cores=2), wf, tmp_path)
    with workflow() as wf:
        both = replay(pair(backed=True, runtime=0.1, cores=2), wf, tmp_path, cores="trace")
    assert (one.work, both.work) == (0.1, 0.2)
    assert one.problems == both.problems == ()
    assert both.cpu > 0.19  # two cores; one alone computes half of it


def test_a_file_is_replayed_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    write(generate("fan", 5, mean_runtime=0, mean_file_size=10), tmp_path / "fan.json")
    with workflow() as wf:
        report = replay_file(tmp_path / "fan.json", wf)
        assert report.ok
        assert [path.name for path in tmp_path.iterdir()] == ["fan.json"]
        assert replay_file(tmp_path / "fan.json", wf, directory=tmp_path / "kept").digest == report.digest
    assert (tmp_path / "kept" / "output.dat").exists()


# -- the trace's own commands ------------------------------------------------------------------------


def own(program: str, *arguments: str) -> Instance:
    return pair(backed=True, command=TraceCommand(program, arguments))


def test_own_commands_run_among_the_files(tmp_path: Path) -> None:
    with workflow() as wf:
        report = replay(own("cp", "mid", "end"), wf, tmp_path, 0, commands="own")
    assert report.problems == ()
    assert (tmp_path / "end").read_bytes() == (tmp_path / "mid").read_bytes()


def test_own_commands_use_the_inputs_that_are_there(tmp_path: Path) -> None:
    (tmp_path / "in").write_text("mine", encoding="utf-8")
    with workflow() as wf:
        report = replay(own("cp", "in", "end"), wf, tmp_path, 0, commands="own")
    assert report.problems == ()
    assert (tmp_path / "end").read_text(encoding="utf-8") == "mine"


def test_own_programs_in_the_directory_are_found(tmp_path: Path) -> None:
    script = tmp_path / "script.sh"
    script.write_text('#!/bin/sh\necho "$1" > end\n', encoding="utf-8")
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    with workflow() as wf:
        report = replay(own("./script.sh", "hello"), wf, tmp_path, 0, commands="own")
    assert report.problems == ()
    assert (tmp_path / "end").read_text(encoding="utf-8") == "hello\n"


def test_a_failing_command_is_a_problem_and_stops_its_children(tmp_path: Path) -> None:
    instance = own("true")
    first = replace(instance.tasks[1], run=TaskRun(runtime=0, command=TraceCommand("cp", ("nothing", "mid"))))
    with workflow() as wf:
        report = replay(replace(instance, tasks=(first, instance.tasks[0])), wf, tmp_path, 0, commands="own")
    assert len(report.problems) == 2
    assert report.problems[0].startswith("first failed: CommandError: command cp nothing mid ended with exit code 1")
    assert report.problems[1] == "1 task was not run, because one needed before had failed"
    assert "PROBLEM: first failed" in str(report)


# -- what the check finds ----------------------------------------------------------------------------


class Careless:
    """A workflow that ignores dependencies: it runs the tasks one by one in reverse order, `times` each."""

    def __init__(self, inner: Workflow, times: int = 1) -> None:
        self.inner = inner
        self.times = times

    def submit_tasks(self, tasks: Sequence[Task]) -> list[TaskFuture[Any]]:
        futures: list[TaskFuture[Any]] = []
        for task in reversed(tasks):
            runs = [self.inner.submit_task(task._replace(inputs=(), outputs=())) for _ in range(self.times)]
            self.inner.wait(runs)
            futures.append(runs[-1])
        return futures[::-1]

    def report(self) -> Report:
        return self.inner.report()


def test_a_task_that_starts_early_fails_for_want_of_its_input(tmp_path: Path) -> None:
    with workflow() as wf:
        report = replay(pair(backed=True), Careless(wf), tmp_path)
    assert [problem.split(":")[0] for problem in report.problems] == ["second failed"]


def test_a_task_that_starts_on_half_a_file_fails(tmp_path: Path) -> None:
    class HalfWritten(Careless):
        def submit_tasks(self, tasks: Sequence[Task]) -> list[TaskFuture[Any]]:
            (tmp_path / "mid").write_bytes(b"half")
            return super().submit_tasks(tasks)

    with workflow() as wf:
        report = replay(pair(backed=True), HalfWritten(wf), tmp_path)
    assert "mid has 4 bytes, not 2500000: the task that writes it has not ended" in report.problems[0]


def test_a_task_that_starts_before_its_parent_is_found(tmp_path: Path) -> None:
    class Written(Careless):
        def submit_tasks(self, tasks: Sequence[Task]) -> list[TaskFuture[Any]]:
            (tmp_path / "mid").write_bytes(bytes(2_500_000))
            return super().submit_tasks(tasks)

    with workflow() as wf:
        report = replay(pair(backed=True), Written(wf), tmp_path)
    assert len(report.problems) == 1
    assert re.fullmatch(r"second started \d+\.\d+ s before its parent first had ended", report.problems[0])
    assert not report.ok


def test_a_task_that_runs_twice_is_found(tmp_path: Path) -> None:
    lonely = Instance(name="lonely", tasks=(TraceTask(id="a", name="a"),))
    with workflow() as wf:
        report = replay(lonely, Careless(wf, times=2), tmp_path, 0)
    assert report.problems == ("a ran 2 times instead of once",)


# -- refused before anything runs --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"scale": -1}, "scale=-1 must be a number, at least 0"),
        ({"size_scale": float("nan")}, "size_scale=nan must be a number, at least 0"),
        ({"commands": "mine"}, "commands='mine' is none of: 'synthetic', 'own'"),
        ({"cores": 4}, "cores=4 is none of: 'one', 'trace'"),
        ({"size_scale": 1e15}, "free; give another directory, or a size_scale below"),
        (
            {"commands": "own"},
            "pair: programs of the trace that are not here: no-such-program; install them, or replay with",
        ),
    ],
)
def test_what_cannot_be_replayed_is_refused(settings: dict[str, Any], message: str, tmp_path: Path) -> None:
    with workflow() as wf, pytest.raises(ConfigError, match=re.escape(message)):
        replay(own("no-such-program"), wf, tmp_path, **settings)
    assert wf.report().counts.total == 0


def test_tasks_without_run_time_are_refused(tmp_path: Path) -> None:
    tasks = tuple(TraceTask(id=f"t{index}", name="t") for index in range(7))
    message = "in time: t0, t1, t2, t3, t4 and 2 more; add it, or replay with scale=0"
    with workflow() as wf, pytest.raises(ConfigError, match=message):
        replay(Instance(name="x", tasks=tasks), wf, tmp_path)


@pytest.mark.parametrize(
    ("file", "message"),
    [("mid", "mid would be overwritten; remove it, or"), ("in", "in is there already, and not of the 10 bytes")],
)
def test_files_of_others_are_not_overwritten(file: str, message: str, tmp_path: Path) -> None:
    (tmp_path / file).write_text("precious", encoding="utf-8")
    with workflow() as wf, pytest.raises(ConfigError, match=message):
        replay(pair(backed=True), wf, tmp_path)
    assert (tmp_path / file).read_text(encoding="utf-8") == "precious"
    assert [path.name for path in tmp_path.iterdir()] == [file]


# -- where files go ----------------------------------------------------------------------------------


def test_harmless_ids_are_their_own_paths() -> None:
    assert file_paths(["a.txt", "b/c#1"]) == {"a.txt": "a.txt", "b/c#1": "b/c#1"}


@given(st.lists(st.text(st.sampled_from("ab./\\ é\0\n-"), min_size=1, max_size=12), unique=True, max_size=6))
def test_no_id_leaves_the_directory_or_meets_another(ids: list[str]) -> None:
    paths = list(file_paths([*ids, "/etc/passwd", "../up", ".wfformat/000000", "d", "d/e"]).values())
    assert len(set(paths)) == len(paths)
    for path in paths:
        assert os.path.normpath(path) == path
        assert not path.startswith(("/", "../", ".wfformat"))
        assert not any(other.startswith(f"{path}/") for other in paths)


def test_absolute_ids_stay_in_the_directory(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    task = TraceTask(id="a", name="a", outputs=(str(outside),))
    with workflow() as wf:
        report = replay(
            Instance(name="x", tasks=(task,), files=(TraceFile(str(outside), 5),)), wf, tmp_path / "inside", 0
        )
    assert report.problems == ()
    assert not outside.exists()
