"""The driver of a test: stands where the kernel stands, hands work to an engine, and keeps what it reports."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Sequence
from typing import Any

import pytest

from harmony.conformance.engines import work
from harmony.conformance.engines.gates import PATIENCE
from harmony.core.engine import Capability, Capacity, Engine, Notice, Report, Submission, Update
from harmony.core.task import Call, Command, Options, TaskState


class Able:
    """Skips tests by what an engine declares, and by nothing else."""

    engine: Engine

    @property
    def can(self) -> frozenset[Capability]:
        """What the engine declares."""
        return self.engine.capabilities

    def needs(self, *capabilities: Capability) -> None:
        """Skip the test if the engine does not declare them."""
        for capability in capabilities:
            if capability not in self.engine.capabilities:
                pytest.skip(f"it does not declare {capability.value}")

    def lacks(self, *capabilities: Capability) -> None:
        """Skip the test if the engine declares one of them."""
        for capability in capabilities:
            if capability in self.engine.capabilities:
                pytest.skip(f"it declares {capability.value}")

    def needs_to_run_elsewhere(self) -> None:
        """Skip the test if work runs in the caller, which cannot open a gate meanwhile."""
        self.lacks(Capability.IN_CALLER)

    def needs_processes(self) -> None:
        """Skip the test if functions run in this process, so that nothing is pickled and nothing can be killed."""
        self.lacks(Capability.IN_CALLER, Capability.SHARED_MEMORY)

    def needs_cores(self, count: int = 1) -> int:
        """Return how many one-core tasks the engine runs at once; skip the test if that is not known, or too few."""
        capacity = self.engine.capacity
        if capacity.cores is None or capacity.workers is None:
            pytest.skip("its capacity says no number of cores and workers")
        cores = capacity.cores * capacity.workers
        if cores < count:
            pytest.skip(f"its capacity is {cores} cores, and {count} are needed")
        return cores


class Driver(Able):
    """Starts an engine, and drives it.

    `patience`, in seconds, is for how long anything is waited for. `check` holds the engine to the order of its news,
    and `close` to exactly one end for each task as well.
    """

    def __init__(self, engine: Engine, patience: float = PATIENCE) -> None:
        self.engine = engine
        self.patience = patience
        self.updates: list[Update] = []
        self.notices: list[Notice] = []
        self._ids = itertools.count(1)
        self._open: dict[int, Submission] = {}
        self._ends: dict[int, Update] = {}
        self._lent: dict[int, tuple[Lent, int]] = {}
        self._changed = threading.Condition()
        engine.start(self._report)

    def _report(self, news: Sequence[Update | Notice]) -> None:
        lent: list[tuple[Report, Update]] = []
        with self._changed:
            for item in news:
                if isinstance(item, Notice):
                    self.notices.append(item)
                    continue
                self.updates.append(item)
                borrower = self._lent.get(item.id)
                if borrower is not None and borrower[0].report is not None:
                    lent.append((borrower[0].report, item._replace(id=borrower[1])))
                if item.state.is_final:
                    self._ends.setdefault(item.id, item)
                    self._open.pop(item.id, None)
            self._changed.notify_all()
        for report, update in lent:
            report([update])

    # -- work -----------------------------------------------------------------------------------------

    def task(self, work: Call | Command, outputs: Sequence[str] = (), **options: Any) -> Submission:
        """Return a task; the keywords are those of `Options`."""
        fn = work.fn if isinstance(work, Call) else work
        name = getattr(fn, "__name__", type(fn).__name__)
        return Submission(next(self._ids), work, Options(**options), name, tuple(outputs))

    def call(self, fn: Any, *args: Any, **options: Any) -> Submission:
        """Return a task that calls a function."""
        return self.task(Call(fn, args), **options)

    def submit(self, *batch: Submission) -> None:
        """Hand tasks to the engine, as one batch."""
        with self._changed:
            self._open.update((submission.id, submission) for submission in batch)
        self.engine.submit(batch)

    def cancel(self, *batch: Submission) -> None:
        """Ask the engine to cancel them."""
        self.engine.cancel([submission.id for submission in batch])

    def end_of(self, submission: Submission) -> Update:
        """Wait until the task has ended; return the news of it."""
        return self.ends_of([submission])[0]

    def ends_of(self, batch: Sequence[Submission]) -> list[Update]:
        """Wait until all have ended; return the news of it."""
        ids = [submission.id for submission in batch]
        with self._changed:
            for number in ids:
                if not self._changed.wait_for(lambda number=number: number in self._ends, self.patience):  # type: ignore[misc]
                    left = [other for other in ids if other not in self._ends]
                    raise AssertionError(f"{len(left)} of {len(ids)} tasks have not ended; the first is task {left[0]}")
            return [self._ends[number] for number in ids]

    def run(self, submission: Submission) -> Update:
        """Submit it, and wait for its end."""
        self.submit(submission)
        return self.end_of(submission)

    def result(self, submission: Submission) -> Any:
        """Submit it, wait for its end, which must be a good one, and return its result."""
        update = self.run(submission)
        assert (update.state, update.error) == (TaskState.DONE, None)
        return update.result

    def error(self, submission: Submission) -> BaseException:
        """Submit it, and return the error that it fails with."""
        update = self.run(submission)
        assert update.state is TaskState.FAILED
        assert update.error is not None
        return update.error

    # -- the end --------------------------------------------------------------------------------------

    def check(self) -> None:
        """Hold the engine to the order of its news: of no task an earlier state after a later, nothing after its end.

        RUNNING may come again: from another worker, when the first has died before it came to the task.
        """
        told: dict[int, TaskState] = {}
        for update in self.updates:
            before = told.get(update.id, TaskState.WAITING)
            in_order = not before.is_final and before <= update.state
            assert in_order, f"task {update.id}: {update.state.name} was reported after {before.name}"
            told[update.id] = update.state

    def settle(self) -> bool:
        """Cancel what has not ended and wait for it; False if it does not end. Then forget all."""
        with self._changed:
            left = list(self._open.values())
        if left:
            self.cancel(*left)
        with self._changed:
            is_quiet = self._changed.wait_for(lambda: not self._open, self.patience)
        try:
            self.check()
        finally:
            self.forget()
        return is_quiet

    def forget(self) -> None:
        """Forget the news of tasks that have ended."""
        with self._changed:
            self.updates.clear()
            self.notices.clear()
            self._ends.clear()
            self._lent = {number: borrower for number, borrower in self._lent.items() if number in self._open}

    def close(self) -> None:
        """Close the engine, and check what it has reported."""
        self.engine.close()
        self.check()

    def lend(self) -> Engine:
        """Return the engine as one that a workflow can have, and neither starts nor closes."""
        return Lent(self)

    def _take(self, lent: Lent, batch: Sequence[Submission]) -> dict[int, int]:
        """Submit the tasks of a workflow under numbers of our own; return these by theirs."""
        mine = {}
        for theirs in batch:
            task = Submission(next(self._ids), theirs.work, theirs.options, theirs.name, theirs.outputs)
            self._lent[task.id] = (lent, theirs.id)
            mine[theirs.id] = task
        self.submit(*mine.values())
        return {theirs: task.id for theirs, task in mine.items()}


class Lent:
    """The engine of a driver, lent to a workflow."""

    def __init__(self, driver: Driver) -> None:
        self.capabilities = driver.engine.capabilities
        self.report: Report | None = None
        self._driver = driver
        self._numbers: dict[int, int] = {}

    @property
    def capacity(self) -> Capacity:
        """See `Engine`."""
        return self._driver.engine.capacity

    def start(self, report: Report) -> None:
        """See `Engine`."""
        self.report = report

    def submit(self, batch: Sequence[Submission]) -> None:
        """See `Engine`."""
        self._numbers.update(self._driver._take(self, batch))

    def cancel(self, ids: Sequence[int]) -> None:
        """See `Engine`."""
        self._driver.engine.cancel([self._numbers[number] for number in ids if number in self._numbers])

    def close(self) -> None:
        """See `Engine`; what runs goes on until the driver ends it."""
        self._driver.engine.cancel(list(self._numbers.values()))
        self.report = None


def submit_at_once(driver: Driver, *batch: Submission) -> None:
    """Hand tasks to an engine whose submit may wait for the work, which it must not."""
    thread = threading.Thread(target=driver.submit, args=batch, daemon=True)
    thread.start()
    thread.join(driver.patience)
    assert not thread.is_alive(), f"submit has not returned for {driver.patience:g} s; it waits for the work"


def plain(driver: Driver, text: str = "x") -> Submission:
    """Return a short task, of whichever kind the engine runs; `answer` tells what came of it."""
    if Capability.CALLS in driver.can:
        return driver.call(work.identity, text)
    return driver.task(Command(("printf", "%s", text)))


def answer(driver: Driver, submission: Submission) -> str:
    """Wait for a plain task, which must end well; return the text it was given."""
    update = driver.end_of(submission)
    assert (update.state, update.error) == (TaskState.DONE, None)
    return str(update.result if isinstance(submission.work, Call) else update.result.stdout)
