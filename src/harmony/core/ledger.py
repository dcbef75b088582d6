"""The ledger: every task's state, and what follows from each piece of news. No thread, no lock, no clock.

The kernel's loop feeds it (`accept`, `update`, `cancel`, `parent_ended`), then takes what came out:
`outbox` for the engines, `callbacks` for the delivery thread, `later` for the timer, `events` for the bus, `entries`
for the journal. A finished task costs what its successors cost, and nothing else.

With a journal, futures are not ended here: their results are put in place, so that successors can go on, and the
futures say so once the journal has them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, cast

from harmony import events
from harmony.core import graph, retry
from harmony.core.engine import Notice, Submission, Update
from harmony.core.future import (
    TaskFuture,
    finish,
    is_cancelled,
    mark_cancelled,
    mark_running,
    mark_waiting,
)
from harmony.core.journal import Attached, Entry, Started, Tried
from harmony.core.record import (
    ASKING,
    DRIVER,
    DRIVER_OPTIONS,
    Cancelled,
    Joined,
    Known,
    Record,
    Same,
    as_it_is,
    check_inputs,
    dependency_error,
    error_of,
    is_settled,
    leads_back,
    result_of,
)
from harmony.core.tally import Tally
from harmony.core.task import NEXT, Call, Command, Join, TaskState, Template, Work
from harmony.errors import CycleError, DependencyError, HarmonyError

if TYPE_CHECKING:
    from harmony.core.balance import Balance
    from harmony.core.memo import Memo


class Ledger:
    """See the module. `post` puts a message into the kernel's inbox from any thread.

    With a `memo`, set before the first task, there is a journal. Results of engines named in `sharing` are objects
    that others may change. `now` is the monotonic time at which this turn of the loop began; `records`
    are the tasks that have not ended, by id.
    """

    def __init__(
        self,
        post: Callable[[Callable[[], None]], None],
        bus: events.Bus,
        clock: Callable[[], float],
        sharing: frozenset[str] = frozenset(),
    ) -> None:
        self._post = post
        self._bus = bus
        self._clock = clock
        self.memo: Memo | None = None
        self.balance: Balance | None = None
        self._sharing = sharing
        self.now = 0.0
        self.entries: list[Entry] = []
        self.records: dict[int, Record] = {}
        self._ended: list[TaskFuture[Any]] = []
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
        record.accepted = self.now
        self.records[record.id] = record
        if self._expected:
            record.successors = self._expected.pop(record.id, None)
        if record.parents:
            self._wait_for(record, record.parents)
        else:
            self.ready(record)

    def update(self, updates: Sequence[Update | Notice]) -> None:
        """Take news from an engine; late and repeated ones are dropped."""
        records, done = self.records, TaskState.DONE
        for update in updates:
            record = records.get(update.id)
            if record is None or isinstance(update, Notice):
                self._notice(update)
                continue
            if update.handle is not None and self.memo is not None:
                self.entries.append(Attached(record, update.handle))
            if record.state is TaskState.WAITING or update.state not in NEXT[record.state]:
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
                if record.unresolved is not ASKING:
                    self._runs(record, update.place)
            elif update.state is TaskState.CANCELLED:
                mark_cancelled(future, also_running=True)
                self._end(record, None, Cancelled())
            else:
                assert update.error is not None
                record.usage = update.usage
                self._failed_once(record, update.error, update.seconds)

    def _runs(self, record: Record, place: str) -> None:
        self._enter(record, TaskState.RUNNING)
        mark_running(record.future)
        if self.memo is not None:
            record.started = self.now
            self.entries.append(Started(record, self.now))
        self._note(events.RUNNING, record.future, name=record.name, place=place)

    def _notice(self, news: Update | Notice) -> None:
        if isinstance(news, Notice) and news.kind in self._bus.wanted:
            self.events.append(events.Event(news.kind, news.subject, self._clock(), news.data, self.now))

    def cancel(self, future: TaskFuture[Any]) -> None:
        """Take note that the user has cancelled; the future already says so."""
        record = self.records.get(future.id)
        if record is None:
            return
        self._drop(record, Cancelled())

    def _drop(self, record: Record, error: BaseException) -> None:
        if record.state is not TaskState.WAITING:
            self.to_cancel.setdefault(record.engine, []).append(record.id)
        self._end(record, None, error)

    def try_again(self, record: Record) -> None:
        """The delay before another try is over."""
        if not record.state.is_final:
            self.ready(record)

    def abandon(self, error: HarmonyError | None = None) -> None:
        """End every task that has not ended: with `error`, or as cancelled."""
        for record in list(self.records.values()):
            if error is None:
                mark_cancelled(record.future, also_running=True)
            self._drop(record, error or Cancelled())
        self.outbox.clear()
        self.settle()

    def settle(self) -> None:
        """End the futures that are due and let their successors go; call after each batch of news."""
        while self._ended or self._releasing:
            ended, self._ended = self._ended, []
            releasing, self._releasing = self._releasing, []
            self.callbacks.extend(finish(ended))
            for record, failure in releasing:
                reason = Cancelled() if failure is None and is_cancelled(record.future) else failure
                for successor in record.successors or ():
                    self._parent_ended(successor, record.future, reason)

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
            if isinstance(work, Joined):
                self._end(record, work.value, None)
                return
            if isinstance(work, (Template, Join)):
                engine, submission = DRIVER, Submission(record.id, Call(*work), DRIVER_OPTIONS, record.name)
            else:
                record.work = work
        if self.memo is not None and engine is not DRIVER:
            step = self.memo.look(record)
            if isinstance(step, Call):
                record.unresolved = ASKING
                engine, submission = DRIVER, Submission(record.id, step, DRIVER_OPTIONS, record.name)
            elif step is not None:
                self._recall(record, step)
                return
        if self.balance is not None and record.others and record.handle is None and engine is record.engine:
            engine = record.engine = self.balance.choose(record)
        self._enter(record, TaskState.SUBMITTED)
        batch = self.outbox.get(engine)
        if batch is None:
            batch = self.outbox[engine] = []
        batch.append(submission)
        if events.SUBMITTED in self._bus.wanted:
            self._note(events.SUBMITTED, record.future, name=record.name, engine=engine)

    def _resolved(self, record: Record) -> Work | Joined:
        work = record.unresolved
        if isinstance(work, Joined):
            return Joined(graph.resolve(work.value, result_of))
        if record.inputs:
            check_inputs(record)
        if work is None or isinstance(work, Command):
            return record.work
        assert isinstance(work, (Call, Template, Join))
        return type(work)(work[0], graph.resolve(work.args, result_of), graph.resolve(work.kwargs, result_of))

    def _recall(self, record: Record, known: Known | Same) -> None:
        record.future.place = ""
        if isinstance(known, Same):
            record.unresolved = known
            self._wait_for(record, [known.value])
        else:
            self._end(record, known.value, None)

    def _wait_for(self, record: Record, parents: Sequence[Future[Any]]) -> None:
        self.settle()  # a parent may have ended in this turn, and its future must say so
        waiting = 0
        for parent in parents:
            if isinstance(parent, TaskFuture) and parent.owner is record.future.owner:
                other = self.records.get(parent.id)
                if other is not None:
                    if other.successors is None:
                        other.successors = []
                    other.successors.append(record)
                    waiting += 1
                    continue
                if not is_settled(parent):  # its submit is under way in another thread
                    self._expected.setdefault(parent.id, []).append(record)
                    waiting += 1
                    continue
                record.path = max(record.path, parent.path)
            elif not parent.done():
                waiting += 1
                parent.add_done_callback(lambda done: self._post(lambda: self._foreign_ended(record, done)))
                continue
            error = error_of(parent)
            if error is not None:
                self._end_with(record, parent, error)
                return
        record.waiting = waiting
        if not waiting:
            self.ready(record)

    def _end_with(self, record: Record, parent: Future[Any], error: BaseException) -> None:
        same = isinstance(record.unresolved, Same)
        self._end(record, None, error if same else dependency_error(record, parent, error))

    def _foreign_ended(self, record: Record, parent: Future[Any]) -> None:
        self._parent_ended(record, parent, error_of(parent))

    def _parent_ended(self, record: Record, parent: Future[Any], error: BaseException | None) -> None:
        if record.state.is_final:
            return
        if error is not None:
            self._end_with(record, parent, error)
            return
        if isinstance(parent, TaskFuture):
            record.path = max(record.path, parent.path)
        record.waiting -= 1
        if not record.waiting:
            self.ready(record)

    def _worked(self, record: Record, update: Update) -> None:
        if record.unresolved is ASKING:
            self._answered(record, update.result)
            return
        seconds = update.seconds
        future = record.future
        record.usage = update.usage
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

    def _answered(self, record: Record, answer: Any) -> None:
        assert self.memo is not None
        record.unresolved = None
        self._enter(record, TaskState.WAITING)
        self.memo.answer(record, answer)
        self.ready(record)

    def _join(self, record: Record, value: Any) -> None:
        futures: list[Future[Any]] = []
        try:
            graph.find(value, futures, [])
        except Exception as error:  # noqa: BLE001  a dataclass's own error is the task's
            self._end(record, None, error)
            return
        self._enter(record, TaskState.WAITING)
        mark_waiting(record.future)
        if leads_back(record, futures):
            self._end(record, None, CycleError(f"join {record.future.name} returned a future that waits for itself"))
            return
        record.unresolved = Joined(value)
        self._wait_for(record, futures)

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
        if self.memo is not None:
            number = record.failures + record.losses
            self.entries.append(Tried(record, number, error, record.future.place, self.now, seconds))
            record.started = None
        self._enter(record, TaskState.WAITING)
        mark_waiting(record.future)
        self._note(events.RETRIED, record.future, name=record.future.name, error=error, delay=delay)
        if delay:
            self.later.append((delay, record))
        else:
            self.ready(record)

    def _end(self, record: Record, result: Any, error: BaseException | None) -> None:
        future = record.future
        del self.records[future.id]
        if error is None and is_cancelled(future):
            error = Cancelled()
        if error is None:
            self._enter(record, TaskState.DONE)
            if record.origin is not None and self.memo is not None:
                self.tally.recalled += self.memo.is_earlier(record.origin[0])
            future.path = record.path
            self.tally.critical_path = max(self.tally.critical_path, record.path)
            if events.DONE in self._bus.wanted:
                self._note(events.DONE, future, name=future.name, place=future.place, seconds=future.seconds)
        else:
            self._end_badly(record, error)
        future._result, future._exception = result, error
        if self.memo is None:
            self._ended.append(future)
        else:
            if record.engine in self._sharing and record.origin is None:
                record.data = as_it_is(result)
            self.entries.append(record)
        if record.successors:
            self._releasing.append((record, error))

    def _end_badly(self, record: Record, error: BaseException) -> None:
        future = record.future
        if isinstance(error, Cancelled):
            self._enter(record, TaskState.CANCELLED)
            self._note(events.CANCELLED, future, name=future.name)
            return
        self._enter(record, TaskState.FAILED)
        self._note(events.FAILED, future, name=future.name, error=error)
        if not isinstance(error, DependencyError):
            self.tally.fail(future.name, error)

    def _enter(self, record: Record, state: TaskState) -> None:
        if self.balance is not None:
            self.balance.moved(record, state)
        self.tally.move(record.state, state)
        record.state = state

    def _note(self, kind: str, future: TaskFuture[Any], **data: Any) -> None:
        if kind in self._bus.wanted:
            self.events.append(events.Event(kind, future.id, self._clock(), data, self.now))
