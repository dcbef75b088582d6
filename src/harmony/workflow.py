"""Workflow: the composition root. It turns names into engines, wires them to a kernel, and is what a user holds."""

from __future__ import annotations

import atexit
import concurrent.futures
import logging
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar, overload

from harmony import events
from harmony.core import graph
from harmony.core.current import current
from harmony.core.data import File
from harmony.core.engine import Capability, Engine
from harmony.core.executor import WorkflowExecutor
from harmony.core.future import TaskFuture
from harmony.core.kernel import Kernel
from harmony.core.report import Counts, Report
from harmony.core.task import DEFAULT, Call, Command, Options, Task
from harmony.engines import make_engines
from harmony.engines.inline import InlineEngine
from harmony.engines.threads import ThreadEngine
from harmony.errors import ConfigError, WorkflowClosedError

if TYPE_CHECKING:
    from typing_extensions import Self

    from harmony.sites import Site
    from harmony.store.recording import Recording

T = TypeVar("T")
_log = logging.getLogger("harmony")


@dataclass(frozen=True, slots=True, kw_only=True)
class Overrides:
    """What the one who runs a program, rather than the program, decides about its workflows.

    `opened` is called with each workflow before it starts, and may observe its `bus`; `closed` when it has ended.
    With `fresh` nothing is recalled from earlier runs.
    """

    engine: str | None = None
    site: str | None = None
    workers: int | None = None
    store: str | None = None
    fresh: bool = False
    opened: Callable[[Workflow], None] | None = None
    closed: Callable[[Workflow], None] | None = None


_chosen = Overrides()


def override(chosen: Overrides) -> None:
    """Let `chosen` hold for every workflow that this process makes from now on, in whichever thread."""
    global _chosen  # noqa: PLW0603  not a ContextVar: threads of the program would not see it
    _chosen = chosen


class Workflow:
    """One campaign of tasks on one or several engines; a context manager.

    `engine` is a name (see ``harmony version --verbose``) or an `Engine`; `engines` gives several by name, among
    which a task is placed by its option ``on=``, else by what it needs, in the order given. `site` is a machine whose
    batch jobs run the workers, by its name (see ``harmony sites``) or a `Site`: its own engine, or the one that is
    named, is started there. `workers` goes to an engine that is named. Leaving the block waits for all tasks; by an
    exception it cancels them. With `show_prints` what functions print appears on this program's stdout. Raises
    `ConfigError` for settings that make no sense and `PluginError` for an unknown engine.

    What becomes of each task is recorded in a `store`: a directory, False for none, or True for the default, which is
    what the variable ``HARMONY_STORE`` names (a directory, or "none"), else ``.harmony`` beside the program. With
    `resume`, tasks that an earlier run of the program has done are not run again. Starting raises `StoreError` when
    the store cannot be used, or another process drives the same run.
    """

    def __init__(  # noqa: PLR0913  what a program decides of its workflow, by name
        self,
        name: str = "workflow",
        *,
        engine: str | Engine | None = None,
        engines: Mapping[str, str | Engine] | None = None,
        site: str | Site | None = None,
        workers: int | None = None,
        show_prints: bool = True,
        store: bool | str | os.PathLike[str] = True,
        resume: bool = True,
    ) -> None:
        self.name = name
        self.bus = events.Bus()
        chosen = _chosen
        self._opened = chosen.opened
        self._closed = chosen.closed
        if engines is None:
            workers = chosen.workers or workers
        self._engines = make_engines(chosen.engine or engine, engines, workers=workers, site=chosen.site or site)
        in_caller = any(Capability.IN_CALLER in made.capabilities for made in self._engines.values())
        driver = InlineEngine() if in_caller else ThreadEngine(64, name="driver")
        self._kernel = Kernel(self._engines, driver, name=name, bus=self.bus)
        self._store: bool | str | os.PathLike[str] = chosen.store or store
        self._resume = resume and not chosen.fresh
        self._threaded = not in_caller
        self._recording: Recording | None = None
        self._state = "new"
        self._outer: Any = None
        self._began = self._ended = 0.0
        if show_prints:
            self.bus.observe(_show_prints, [events.PRINTED])

    # -- life ----------------------------------------------------------------------------------------

    def start(self) -> Self:
        """Start the engines; what ``with`` does. Ends with `close`."""
        if self._state != "new":
            raise WorkflowClosedError(f"workflow {self.name!r} was started before; make a new Workflow")
        if self._opened is not None:
            self._opened(self)
        self._began = time.monotonic()
        recording = self._recording = self._record()
        try:
            self._kernel.start(*((recording.journal, recording.root) if recording else ()))
        except BaseException:
            if recording is not None:
                recording.close("stopped", self.report())
            raise
        self._state = "open"
        self._outer = current.get()
        current.set(self)
        atexit.register(self.close)
        return self

    def _record(self) -> Recording | None:
        from harmony.store.recording import KEPT, record  # whoever only names workflows saves it

        recording = record(
            self._store, workflow=self.name, engines=list(self._engines), cores=self.cores,
            counts=lambda: self.counts, fresh=not self._resume, threaded=self._threaded,
        )  # fmt: skip
        if recording is not None:
            self.bus.observe(recording.journal.note, KEPT)
        return recording

    @property
    def run_id(self) -> int | None:
        """The number of this run in its store, by which ``harmony show`` knows it; None when it is not recorded."""
        return None if self._recording is None else self._recording.journal.run_id

    def close(self) -> None:
        """Cancel what has not ended and release everything. Idempotent."""
        if self._state != "open":
            return
        is_stopped = self.counts.ended < self.counts.total
        self._state = "closed"
        if self._kernel.is_forked:
            return  # the workflow goes on where it was made
        atexit.unregister(self.close)
        if current.get() is self:
            current.set(self._still_open())
        try:
            self._kernel.close()
        finally:
            self._ended = time.monotonic()
            if self._recording is not None:
                report = self.report()
                self._recording.close("stopped" if is_stopped else "done" if report.ok else "failed", report)
            if self._closed is not None:
                self._closed(self)

    def _still_open(self) -> Workflow | None:
        """The workflow around this one, or around that, which is open: in notebooks they close in any order."""
        outer: Workflow | None = self._outer
        while outer is not None and outer._state != "open":
            outer = outer._outer
        return outer

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            if error is None:
                self._kernel.wait_for_all()
        finally:
            self.close()
        if error is None and self._opened is None:
            self._tell()

    def _tell(self) -> None:
        report = self.report()
        if report.counts.recalled:
            _log.warning(
                "workflow %r: %d of %d tasks had been done by an earlier run and were not run again; "
                "Workflow(resume=False) or `harmony run --fresh` runs them", self.name, report.counts.recalled,
                report.counts.total,
            )  # fmt: skip
        if not report.ok:
            reasons = "; ".join(f"{f.count} × {_first_line(f.error)} (first: {f.task})" for f in report.failures[:3])
            _log.warning(
                "workflow %r: %d of %d tasks failed: %s", self.name, report.counts.failed, report.counts.total, reasons
            )

    # -- work ----------------------------------------------------------------------------------------

    def submit_task(self, task: Task) -> TaskFuture[Any]:
        """Accept a task made by hand or by a front end. Raises at once what cannot be run."""
        if self._state != "open":
            raise WorkflowClosedError(
                f"workflow {self.name!r} is {'not started' if self._state == 'new' else 'closed'}; "
                f"{task.name} was not accepted: call it inside `with Workflow(...)`"
            )
        return self._kernel.submit(task)

    def submit_tasks(self, tasks: Sequence[Task]) -> list[TaskFuture[Any]]:
        """Accept tasks given in any order; those that read a file wait for the one that writes it.

        Raises `CycleError` when they wait for each other through files; then none is accepted.
        """
        tasks = [_with_inputs(task) for task in tasks]
        for task in tasks:
            self._kernel.check(task)
        futures: dict[int, TaskFuture[Any]] = {}
        for index in graph.order(tasks):
            futures[index] = self.submit_task(tasks[index])
        return [futures[index] for index in range(len(tasks))]

    @overload
    def submit(self, fn: Callable[..., TaskFuture[T]], /, *args: Any, **kwargs: Any) -> TaskFuture[T]: ...
    @overload
    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> TaskFuture[T]: ...
    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> TaskFuture[Any]:
        """Run ``fn(*args, **kwargs)`` as a task; `fn` may be decorated or plain. From any thread."""
        make_task = getattr(fn, "make_task", None)
        if make_task is not None:
            token = current.set(self)
            try:
                return self.submit_task(make_task(args, kwargs))
            finally:
                current.reset(token)
        if not callable(fn):
            raise ConfigError(f"submit() takes a function and its arguments; {fn!r} cannot be called")
        return self.submit_task(Task(Call(fn, args, kwargs), getattr(fn, "__name__", type(fn).__name__)))

    @overload
    def map(self, fn: Callable[..., TaskFuture[T]], /, *iterables: Iterable[Any]) -> list[TaskFuture[T]]: ...
    @overload
    def map(self, fn: Callable[..., T], /, *iterables: Iterable[Any]) -> list[TaskFuture[T]]: ...
    def map(self, fn: Callable[..., Any], /, *iterables: Iterable[Any]) -> list[TaskFuture[Any]]:
        """Submit ``fn(a, b, …)`` for the items of the iterables, in their order, to the end of the shortest."""
        return [self.submit(fn, *row) for row in zip(*iterables, strict=False)]

    def executor(self, options: Options = DEFAULT) -> WorkflowExecutor:
        """Return a `concurrent.futures.Executor` whose tasks belong to this workflow."""
        return WorkflowExecutor(self._kernel, options)

    def wait(
        self,
        futures: Iterable[TaskFuture[Any]] | None = None,
        timeout: float | None = None,
        return_when: str = concurrent.futures.ALL_COMPLETED,
    ) -> concurrent.futures._base.DoneAndNotDoneFutures[Any] | bool:
        """Wait for `futures` as `concurrent.futures.wait` does; without them, for all: False on time-out."""
        if futures is None:
            return self._kernel.wait(timeout)
        return wait(futures, timeout, return_when)

    def as_completed(self, futures: Iterable[TaskFuture[T]], timeout: float | None = None) -> Iterator[TaskFuture[T]]:
        """Yield futures as they end; see `concurrent.futures.as_completed`."""
        return as_completed(futures, timeout)

    def gather(self, value: Any) -> Any:
        """Return `value` with every future inside replaced by its result; raises the first error met."""
        return gather(value)

    # -- numbers -------------------------------------------------------------------------------------

    @property
    def counts(self) -> Counts:
        """How many tasks are where, now."""
        return self._kernel.tally.counts

    @property
    def cores(self) -> int:
        """Cores of the engines that know them, at least 1."""
        capacities = [engine.capacity for engine in self._engines.values()]
        return sum((capacity.cores or 0) * (capacity.workers or 1) for capacity in capacities) or 1

    def report(self) -> Report:
        """What the run has come to so far."""
        end = self._ended or time.monotonic()
        return Report(
            name=self.name,
            counts=self._kernel.tally.counts,
            wall=end - self._began if self._began else 0.0,
            work=self._kernel.tally.work,
            critical_path=self._kernel.tally.critical_path,
            cores=self.cores,
            failures=self._kernel.tally.failures,
        )

    def __repr__(self) -> str:
        counts = self.counts
        return (
            f"<Workflow {self.name!r} on {', '.join(self._engines)}, {self._state}: "
            f"{counts.ended} of {counts.total} tasks ended, {counts.failed} failed>"
        )


def _with_inputs(task: Task) -> Task:
    if isinstance(task.work, Command):
        return task
    files: list[File] = []
    graph.find((task.work.args, task.work.kwargs), [], files)
    return graph.add_inputs(task, files)


def _first_line(text: str) -> str:
    return text.strip().split("\n", 1)[0]


def _show_prints(printed: Sequence[events.Event]) -> None:
    if sys.stdout is None:
        return  # a daemon
    for event in printed:
        sys.stdout.write(event.data["text"])
    sys.stdout.flush()


def wait(
    futures: Iterable[TaskFuture[T]], timeout: float | None = None, return_when: str = concurrent.futures.ALL_COMPLETED
) -> concurrent.futures._base.DoneAndNotDoneFutures[T]:
    """`concurrent.futures.wait`, under the name that a workflow's user looks for."""
    return concurrent.futures.wait(futures, timeout, return_when)


def as_completed(futures: Iterable[TaskFuture[T]], timeout: float | None = None) -> Iterator[TaskFuture[T]]:
    """Yield futures as they end; see `concurrent.futures.as_completed`."""
    return concurrent.futures.as_completed(futures, timeout)  # type: ignore[return-value]


def gather(value: Any) -> Any:
    """Return `value` with every future inside lists, tuples, sets, dicts and dataclasses replaced by its result."""
    return graph.resolve(value)
