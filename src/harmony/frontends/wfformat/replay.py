"""Replay: run a trace again, each task as a command that reads, computes and writes as much as the original did.

Tasks wait for each other through the files they share; where parents and children share none, through futures.
At the end the records that the commands have kept are held against the trace.
"""

from __future__ import annotations

import os
import py_compile
import shutil
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import wait
from dataclasses import dataclass
from typing import Any, Protocol

from harmony.core.data import File
from harmony.core.future import TaskFuture
from harmony.core.report import Report
from harmony.core.task import Command, Options, Task, TaskState, Template
from harmony.errors import ConfigError, DependencyError
from harmony.frontends.wfformat import program
from harmony.frontends.wfformat.document import read
from harmony.frontends.wfformat.instance import Instance, order, predecessors, validate
from harmony.frontends.wfformat.plan import PRIVATE, PROGRAM, Plan, Settings, Step, make_plan
from harmony.resources import Resources, format_bytes


class Runner(Protocol):
    """What a replay needs of a workflow."""

    def submit_tasks(self, tasks: Sequence[Task]) -> list[TaskFuture[Any]]:
        """Accept tasks that wait for each other through files."""
        ...

    def report(self) -> Report:
        """What the run has come to so far."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayReport:
    """What a replay has come to.

    `work` and `critical_path` are the trace's, scaled; `cpu` is what the commands have really used. `digest`
    stands for the content of all files: it is the same on every engine, unless a task ran on wrong input.
    `problems` says which tasks failed, ran not once, or started before a parent had ended.
    """

    name: str
    tasks: int
    edges: int
    cores: int
    makespan: float
    work: float
    critical_path: float
    cpu: float
    bytes_read: int
    bytes_written: int
    digest: str
    problems: tuple[str, ...] = ()

    @property
    def ideal(self) -> float:
        """The least time this work can take on these cores."""
        return max(self.critical_path, self.work / self.cores)

    @property
    def efficiency(self) -> float:
        """`ideal` / `makespan`: 1.0 is a replay that lost no time."""
        return min(1.0, self.ideal / self.makespan) if self.makespan > 0 else 0.0

    @property
    def ok(self) -> bool:
        """True when every task ran once and after its parents."""
        return not self.problems

    def __str__(self) -> str:
        work = f"critical path {self.critical_path:.2f} s, work {self.work:.2f} core-s"
        data = f"read {format_bytes(self.bytes_read)}, written {format_bytes(self.bytes_written)}"
        efficiency = f", efficiency {self.efficiency:.0%}" if self.ideal else ""
        lines = [
            f"{self.name}: {self.tasks} tasks, {self.edges} edges, on {self.cores} cores",
            f"makespan {self.makespan:.2f} s, ideal {self.ideal:.2f} s ({work}){efficiency}",
            f"CPU used {self.cpu:.2f} s, {data}, digest {self.digest}",
        ]
        if self.ok:
            lines.append("every task ran once, after its parents")
        return "\n".join([*lines, *(f"PROBLEM: {problem}" for problem in self.problems)])


def replay_file(
    path: str | os.PathLike[str],
    workflow: Runner,
    *,
    directory: str | os.PathLike[str] | None = None,
    scale: float = 1.0,
    size_scale: float = 1.0,
    commands: str = "synthetic",
    cores: str = "one",
) -> ReplayReport:
    """Read a WfFormat file and `replay` it.

    Without a directory the files go to a temporary one, which is removed at the end.
    """
    settings = Settings(scale=scale, size_scale=size_scale, commands=commands, cores=cores)
    instance = read(path)
    if directory is not None:
        return _replay(make_plan(instance, directory, settings), workflow)
    # When it is interrupted, commands may still be writing there.
    with tempfile.TemporaryDirectory(prefix="harmony-replay-", ignore_cleanup_errors=True) as temporary:
        return _replay(make_plan(instance, temporary, settings), workflow)


def replay(
    instance: Instance,
    workflow: Runner,
    directory: str | os.PathLike[str],
    scale: float = 1.0,
    size_scale: float = 1.0,
    commands: str = "synthetic",
    cores: str = "one",
) -> ReplayReport:
    """Run the instance's tasks in `workflow`, wait for them, and check that they ran as the trace says.

    Each task is a command that reads its input files, uses ``runtimeInSeconds × scale`` seconds of CPU time and
    writes its output files, their sizes multiplied by `size_scale`. ``commands="own"`` runs the trace's own
    commands in `directory` instead, where it has any. A task takes one core, or, with ``cores="trace"``, as many
    as the trace gives it, all computing. The files that no task writes are made first; those in `directory`
    that an earlier replay wrote are removed, and no others; a second replay there takes a workflow of its own.

    Raises `ConfigError`, before anything runs, for what cannot be replayed. A task that fails raises nothing:
    it is among the report's `problems`.
    """
    validate(instance, instance.name)
    settings = Settings(scale=scale, size_scale=size_scale, commands=commands, cores=cores)
    return _replay(make_plan(instance, directory, settings), workflow)


def _replay(plan: Plan, workflow: Runner) -> ReplayReport:
    _prepare(plan)
    steps = {step.task.id: step for step in plan.steps()}
    start = time.perf_counter()
    futures = _submit(plan, steps, workflow)
    wait(futures.values())
    makespan = time.perf_counter() - start
    return _report(plan, steps, futures, makespan, workflow.report().cores)


# -- before ------------------------------------------------------------------------------------------


def _prepare(plan: Plan) -> None:
    sizes = plan.sizes
    private = os.path.join(plan.directory, PRIVATE)
    own = plan.settings.commands == "own"
    made = os.path.isdir(private)
    full = {path: os.path.join(plan.directory, path) for path in sizes}
    for path in plan.initial:
        if os.path.exists(full[path]) and not own and os.path.getsize(full[path]) != sizes[path]:
            raise ConfigError(
                f"{full[path]} is there already, and not of the {sizes[path]} bytes that the replay needs; "
                "remove it, or give another directory"
            )
    for path in plan.produced:
        if os.path.lexists(full[path]):
            if not made:
                raise ConfigError(f"{full[path]} would be overwritten; remove it, or give another directory")
            os.unlink(full[path])
    shutil.rmtree(private, ignore_errors=True)
    for folder in {os.path.dirname(path) for path in full.values()} | {private}:
        os.makedirs(folder, exist_ok=True)
    missing = [path for path in plan.initial if not os.path.exists(full[path])]
    _check_space(plan, sum(sizes[path] for path in [*missing, *plan.produced]))
    py_compile.compile(program.__file__, cfile=os.path.join(plan.directory, PROGRAM), doraise=True)
    for path in missing:
        program.write(full[path], sizes[path], zlib.crc32(path.encode()))


def _check_space(plan: Plan, needed: int) -> None:
    free = shutil.disk_usage(plan.directory).free
    if needed > free:
        raise ConfigError(
            f"the files of {plan.instance.name} take {format_bytes(needed)} and {plan.directory} has "
            f"{format_bytes(free)} free; give another directory, or a size_scale below {free / needed:.2g}"
        )


# -- run ---------------------------------------------------------------------------------------------


def _submit(plan: Plan, steps: dict[str, Step], workflow: Runner) -> dict[str, TaskFuture[Any]]:
    """Submit in topological order, in as few batches as the edges that no file backs allow."""
    futures: dict[str, TaskFuture[Any]] = {}
    batch: dict[str, Task] = {}
    options: dict[tuple[int, str | None], Options] = {}

    def flush() -> None:
        futures.update(zip(batch, workflow.submit_tasks(list(batch.values())), strict=True))
        batch.clear()

    for task in order(plan.instance):
        step = steps[task.id]
        if any(parent in batch for parent in step.futures):
            flush()
        directory = plan.directory if step.record is None else None
        chosen = options.setdefault(
            (step.cores, directory),
            Options(resources=Resources(cpu_cores_per_process=step.cores), directory=directory),
        )
        batch[task.id] = _task(plan, step, chosen, [futures[parent] for parent in step.futures])
    flush()
    return futures


def _task(plan: Plan, step: Step, options: Options, parents: list[TaskFuture[Any]]) -> Task:
    return Task(
        Template(_after(step.command), tuple(parents), {}) if parents else step.command,
        step.task.name,
        options,
        tuple(File(os.path.join(plan.directory, path)) for path in step.inputs),
        tuple(File(os.path.join(plan.directory, path)) for path in step.outputs),
    )


def _after(command: Command) -> Callable[..., Command]:
    return lambda *_parents: command


# -- afterwards --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Record:
    start: int
    end: int
    cpu: float
    bytes_read: int
    bytes_written: int
    checksum: str


def _records(plan: Plan, step: Step) -> list[_Record]:
    try:
        with open(os.path.join(plan.directory, step.record or ""), encoding="ascii") as stream:
            lines = [line.split() for line in stream]
    except FileNotFoundError:
        return []
    return [_Record(int(a), int(b), float(c), int(d), int(e), f) for a, b, c, d, e, f in lines]


def _report(
    plan: Plan, steps: dict[str, Step], futures: dict[str, TaskFuture[Any]], makespan: float, cores: int
) -> ReplayReport:
    records = {id: _records(plan, step) for id, step in steps.items() if step.record is not None}
    done = {id: found for id, found in records.items() if futures[id].state is TaskState.DONE}
    runs = [record for found in records.values() for record in found]
    checksums = "".join(f"{id} {found[-1].checksum}\n" for id, found in sorted(records.items()) if found)
    return ReplayReport(
        name=plan.instance.name,
        tasks=len(steps),
        edges=plan.edges,
        cores=max(cores, 1),
        makespan=makespan,
        work=sum(step.seconds * step.cores for step in steps.values()),
        critical_path=plan.critical_path,
        cpu=sum(record.cpu for record in runs),
        bytes_read=sum(record.bytes_read for record in runs),
        bytes_written=sum(record.bytes_written for record in runs),
        digest=f"{zlib.crc32(checksums.encode()):08x}",
        problems=(*_failures(futures), *_violations(plan, done)),
    )


def _failures(futures: dict[str, TaskFuture[Any]]) -> Iterator[str]:
    not_run = 0
    for id, future in futures.items():
        if future.state is TaskState.CANCELLED:
            yield f"{id} was cancelled"
        elif isinstance(error := future.exception(), DependencyError):
            not_run += 1
        elif error is not None:
            yield f"{id} failed: {type(error).__name__}: {error}"
    if not_run:
        were = "task was" if not_run == 1 else "tasks were"
        yield f"{not_run} {were} not run, because one needed before had failed"


def _violations(plan: Plan, done: dict[str, list[_Record]]) -> Iterator[str]:
    needed = predecessors(plan.instance)
    for id, runs in done.items():
        if len(runs) != 1:
            yield f"{id} ran {len(runs)} times instead of once"
            continue
        for parent in needed[id]:
            early = max((run.end for run in done.get(parent, ())), default=0) - runs[0].start
            if early > 0:
                yield f"{id} started {early / 1e9:.6f} s before its parent {parent} had ended"
