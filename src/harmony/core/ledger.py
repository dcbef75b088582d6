"""The ledger: every task's state, and what follows from each piece of news. No thread, no lock, no clock.

The kernel's loop feeds it (`accept`, `update`, `cancel`, `parent_ended`), then takes what came out:
`outbox` for the engines, `callbacks` for the delivery thread, `later` for the timer, `events` for the bus.
A finished task costs what its successors cost, and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future
from typing import Any, cast

from harmony import events
from harmony.core import graph, retry
from harmony.core.engine import Submission, Update
from harmony.core.future import (
    Outcome,
    TaskFuture,
    finish,
    is_cancelled,
    mark_cancelled,
    mark_running,
    mark_waiting,
)
from harmony.core.tally import Tally
from harmony.core.task import NEXT, Call, Command, Join, Options, Task, TaskState, Template, Work
from harmony.errors import CycleError, DependencyError, HarmonyError, MissingFileError, text_of


class _Cancelled(CancelledError):
    """A cancellation through Harmony, as told from a `CancelledError` that a user's function raises."""


#: The outbox of work that runs in the driver: joins, and the building of commands.
DRIVER = ""
_DRIVER_OPTIONS = Options()


class Record(Submission):
    """What the ledger knows of one task that has not ended.

    It is also what the engine is handed: a million pending tasks cost enough without a second object for each.
    `unresolved` is the work as it was submitted, where futures have to be replaced in it first, or where it is
    a template or a join; else None, and `work` is right from the start.
    """

    __slots__ = (
        "cores", "engine", "failures", "future", "inputs", "losses", "parents", "path", "state", "successors",
        "unresolved", "waiting",
    )  # fmt: skip

    def __init__(
        self, future: TaskFuture[Any], task: Task, engine: str, cores: int, parents: Sequence[Future[Any]]
    ) -> None:
        work, self.name, self.options, self.inputs, outputs = task
        self.id = future.id
        self.work = work  # type: ignore[assignment]  # until `ready` it may be any work
        self.unresolved: Work | _Joined | None = None
        if parents or isinstance(work, (Template, Join)):
            self.unresolved = work
        self.outputs = tuple(map(str, outputs)) if outputs else ()
        self.future = future
        future._record = self
        self.engine = engine
        self.cores = cores
        self.parents = parents
        self.state = TaskState.WAITING
        self.waiting = 0
        self.successors: list[Record] | None = None
        self.path = 0.0
        self.failures = 0
        self.losses = 0


class _Joined:
    """The value of a join while the futures inside it are not all done."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


class Ledger:
    """See the module. `post` puts a message into the kernel's inbox from any thread."""

    def __init__(self, post: Callable[[Callable[[], None]], None], bus: events.Bus, clock: Callable[[], float]) -> None:
        self._post = post
        self._bus = bus
        self._clock = clock
        self._records: dict[int, Record] = {}
        self._outcomes: list[Outcome] = []
        self._releasing: list[tuple[Record, BaseException | None]] = []
        self._expected: dict[int, list[Record]] = {}
        self.outbox: dict[str, list[Submission]] = {}
        self.callbacks: list[TaskFuture[Any]] = []
        self.later: list[tuple[float, Record]] = []
        self.to_cancel: dict[str, list[int]] = {}
        self.events: list[events.Event] = []
        self.tally = Tally()

    # -- news ------------------------------------------------------------------------------------

    def accept(self, record: Record) -> None:
        """Take a new task."""
        self.tally.accept()
        self._records[record.id] = record
        if self._expected:
            record.successors = self._expected.pop(record.id, None)
        if record.parents:
            self._wait_for(record, record.parents)
        else:
            self.ready(record)

    def update(self, updates: Sequence[Update]) -> None:
        """Take news from an engine; late and repeated ones are dropped."""
        records, done = self._records, TaskState.DONE
        for update in updates:
            record = records.get(update.id)
            if record is None or record.state is TaskState.WAITING or update.state not in NEXT[record.state]:
                continue
            future = record.future
            if update.place:
                future.place = update.place
            if update.stdout:
                future.stdout += update.stdout
                self._note(events.PRINTED, future, text=update.stdout, name=future.name)
            if update.state is done:
                self._worked(record, update)
            elif update.state is TaskState.RUNNING:
                self._enter(record, TaskState.RUNNING)
                mark_running(future)
                self._note(events.RUNNING, future, name=future.name, place=update.place)
            elif update.state is TaskState.CANCELLED:
                mark_cancelled(future, also_running=True)
                self._end(record, None, _Cancelled())
            else:
                assert update.error is not None
                self._failed_once(record, update.error, update.seconds)

    def cancel(self, future: TaskFuture[Any]) -> None:
        """Take note that the user has cancelled; the future already says so."""
        record = self._records.get(future.id)
        if record is None:
            return
        if record.state is not TaskState.WAITING:
            self.to_cancel.setdefault(record.engine, []).append(future.id)
        self._end(record, None, _Cancelled())

    def try_again(self, record: Record) -> None:
        """The delay before another try is over."""
        if not record.state.is_final:
            self.ready(record)

    def abandon(self, error: HarmonyError | None = None) -> None:
        """End every task that has not ended: with `error`, or as cancelled."""
        for record in list(self._records.values()):
            if error is None:
                mark_cancelled(record.future, also_running=True)
            if record.state is not TaskState.WAITING:
                self.to_cancel.setdefault(record.engine, []).append(record.future.id)
            self._end(record, None, error or _Cancelled())
        self.outbox.clear()
        self.settle()

    def settle(self) -> None:
        """End the futures that are due and let their successors go; call after each batch of news."""
        while self._outcomes or self._releasing:
            outcomes, self._outcomes = self._outcomes, []
            releasing, self._releasing = self._releasing, []
            self.callbacks.extend(finish(outcomes))
            for outcome in outcomes:
                outcome[0]._record = None
            for record, failure in releasing:
                error = _Cancelled() if failure is None and is_cancelled(record.future) else failure
                for successor in record.successors or ():
                    self._parent_ended(successor, record.future, error)

    # -- what follows ----------------------------------------------------------------------------

    def ready(self, record: Record) -> None:
        """All that the task waits for is there: hand it to its engine."""
        engine, submission = record.engine, cast("Submission", record)
        if record.unresolved is not None or record.inputs:
            try:
                work = self._resolved(record)
            except Exception as error:  # noqa: BLE001  a future's or a dataclass's own error is the task's
                self._end(record, None, error)
                return
            if isinstance(work, _Joined):
                self._end(record, work.value, None)
                return
            if isinstance(work, (Template, Join)):
                engine, submission = DRIVER, Submission(record.id, Call(*work), _DRIVER_OPTIONS, record.name)
            else:
                record.work = work
        self._enter(record, TaskState.SUBMITTED)
        batch = self.outbox.get(engine)
        if batch is None:
            batch = self.outbox[engine] = []
        batch.append(submission)
        if events.SUBMITTED in self._bus.wanted:
            self._note(events.SUBMITTED, record.future, name=record.name, engine=engine)

    def _resolved(self, record: Record) -> Work | _Joined:
        work = record.unresolved
        if isinstance(work, _Joined):
            return _Joined(graph.resolve(work.value))
        if record.inputs:
            _check_inputs(record)
        if work is None or isinstance(work, Command):
            return record.work
        return type(work)(work[0], graph.resolve(work.args), graph.resolve(work.kwargs))

    def _wait_for(self, record: Record, parents: Sequence[Future[Any]]) -> None:
        self.settle()  # a parent may have ended in this turn, and its future must say so
        waiting = 0
        for parent in parents:
            if isinstance(parent, TaskFuture) and parent.owner is record.future.owner:
                other = self._records.get(parent.id)
                if other is not None:
                    if other.successors is None:
                        other.successors = []
                    other.successors.append(record)
                    waiting += 1
                    continue
                if not parent.done():  # its submit is under way in another thread
                    self._expected.setdefault(parent.id, []).append(record)
                    waiting += 1
                    continue
                record.path = max(record.path, parent.path)
            elif not parent.done():
                waiting += 1
                parent.add_done_callback(lambda done: self._post(lambda: self._foreign_ended(record, done)))
                continue
            error = _error_of(parent)
            if error is not None:
                self._end(record, None, _dependency_error(record, parent, error))
                return
        record.waiting = waiting
        if not waiting:
            self.ready(record)

    def _foreign_ended(self, record: Record, parent: Future[Any]) -> None:
        self._parent_ended(record, parent, _error_of(parent))

    def _parent_ended(self, record: Record, parent: Future[Any], error: BaseException | None) -> None:
        if record.state.is_final:
            return
        if error is not None:
            self._end(record, None, _dependency_error(record, parent, error))
            return
        if isinstance(parent, TaskFuture):
            record.path = max(record.path, parent.path)
        record.waiting -= 1
        if not record.waiting:
            self.ready(record)

    def _worked(self, record: Record, update: Update) -> None:
        seconds = update.seconds
        future = record.future
        future.seconds += seconds
        record.path += seconds
        self.tally.work += seconds * record.cores
        kind = type(record.unresolved)
        if kind is Template:
            self._enter(record, TaskState.WAITING)
            mark_waiting(record.future)
            record.work, record.unresolved = update.result, None
            self.ready(record)
        elif kind is Join:
            self._join(record, update.result)
        else:
            self._end(record, update.result, None)

    def _join(self, record: Record, value: Any) -> None:
        futures: list[Future[Any]] = []
        try:
            graph.find(value, futures, [])
        except Exception as error:  # noqa: BLE001  a dataclass's own error is the task's
            self._end(record, None, error)
            return
        self._enter(record, TaskState.WAITING)
        mark_waiting(record.future)
        if self._leads_back(record, futures):
            self._end(record, None, CycleError(f"join {record.future.name} returned a future that waits for itself"))
            return
        record.unresolved = _Joined(value)
        self._wait_for(record, futures)

    def _leads_back(self, record: Record, futures: Sequence[Future[Any]]) -> bool:
        owner = record.future.owner
        targets = {future.id for future in futures if isinstance(future, TaskFuture) and future.owner is owner}
        seen: set[int] = set()
        todo = [record]
        while todo:
            item = todo.pop()
            if item.future.id in targets:
                return True
            if item.future.id not in seen:
                seen.add(item.future.id)
                todo.extend(item.successors or ())
        return False

    def _failed_once(self, record: Record, error: BaseException, seconds: float) -> None:
        self.tally.work += seconds * record.cores
        record.future.seconds += seconds
        if retry.is_machinery(error):
            record.losses += 1
        else:
            record.failures += 1
        delay = retry.next_delay(record.options.retry, error, record.failures, record.losses)
        if delay is None:
            self._end(record, None, error)
            return
        self._enter(record, TaskState.WAITING)
        mark_waiting(record.future)
        self._note(events.RETRIED, record.future, name=record.future.name, error=error, delay=delay)
        if delay:
            self.later.append((delay, record))
        else:
            self.ready(record)

    def _end(self, record: Record, result: Any, error: BaseException | None) -> None:
        future = record.future
        del self._records[future.id]
        if error is None and is_cancelled(future):
            error = _Cancelled()
        if error is None:
            self._enter(record, TaskState.DONE)
            future.path = record.path
            self.tally.critical_path = max(self.tally.critical_path, record.path)
            if events.DONE in self._bus.wanted:
                self._note(events.DONE, future, name=future.name, place=future.place, seconds=future.seconds)
        else:
            self._end_badly(record, error)
        self._outcomes.append((future, result, error))
        if record.successors:
            self._releasing.append((record, error))

    def _end_badly(self, record: Record, error: BaseException) -> None:
        future = record.future
        if isinstance(error, _Cancelled):
            self._enter(record, TaskState.CANCELLED)
            self._note(events.CANCELLED, future, name=future.name)
            return
        self._enter(record, TaskState.FAILED)
        self._note(events.FAILED, future, name=future.name, error=error)
        if not isinstance(error, DependencyError):
            self.tally.fail(future.name, error)

    def _enter(self, record: Record, state: TaskState) -> None:
        self.tally.move(record.state, state)
        record.state = state

    def _note(self, kind: str, future: TaskFuture[Any], **data: Any) -> None:
        if kind in self._bus.wanted:
            self.events.append(events.Event(kind, future.id, self._clock(), data))

    def state_of(self, future: TaskFuture[Any]) -> TaskState | None:
        """Where a task is that has not ended; None for one that has."""
        record = self._records.get(future.id)
        return None if record is None else record.state

    def engine_of(self, future: TaskFuture[Any]) -> str:
        """The engine of a task that has not ended."""
        return self._records[future.id].engine

    @property
    def pending(self) -> int:
        """Tasks that have not ended."""
        return len(self._records)


def _check_inputs(record: Record) -> None:
    for file in record.inputs:
        if not file.exists():
            raise MissingFileError(
                f"{record.name} reads {file.shown}, which is not there, and no task submitted before it writes it"
            )


def _error_of(future: Future[Any]) -> BaseException | None:
    return _Cancelled() if future.cancelled() else future.exception(timeout=0)


def _dependency_error(record: Record, parent: Future[Any], error: BaseException) -> DependencyError:
    root = error.__cause__ if isinstance(error, DependencyError) and error.__cause__ else error
    name = f"{parent.name} (task {parent.id})" if isinstance(parent, TaskFuture) else "a future it needs"
    if isinstance(error, DependencyError):
        why = text_of(error).partition(" was not run: ")[2]
    elif isinstance(error, _Cancelled):
        why = f"{name} was cancelled"
    else:
        why = f"{name} failed with {type(error).__name__}: {text_of(error)}"
    failure = DependencyError(f"{record.future.name} was not run: {why}")
    failure.__cause__ = root
    return failure
