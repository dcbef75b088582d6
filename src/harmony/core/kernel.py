"""The kernel: takes tasks from any thread, and runs the one loop that owns their state.

    user's threads ──submit──▶ ┌───────┐      ┌──────────────┐ ──batches──▶ engines
    engines        ──report──▶ │ inbox │ ───▶ │ loop, ledger │ ──callbacks─▶ delivery thread
    user's threads ──cancel──▶ └───────┘      └──────────────┘ ──events───▶ bus
                                                     │ ▲
                                                     ▼ │ safe
                                                    journal

A message is a `Record` (a new task), a sequence of `Update`s, or a callable to run in the loop. The thread
`harmony-kernel` takes all that is in the inbox, then gives each engine its batch once. The thread
`harmony-delivery` runs users' callbacks, so that a slow one delays other callbacks but no task. With an
engine that runs IN_CALLER there are no threads: the loop turns inside `submit`, in the caller.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import os
import queue
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any

from harmony.core import graph
from harmony.core.balance import Balance
from harmony.core.data import File
from harmony.core.delivery import Delivery
from harmony.core.engine import Capability, Engine, Notice, Update
from harmony.core.future import TaskFuture, finish, mark_cancelled
from harmony.core.journal import Journal
from harmony.core.ledger import Ledger
from harmony.core.place import Placer
from harmony.core.record import DRIVER, Record
from harmony.core.roster import Roster
from harmony.core.task import Call, Command, Task, TaskState
from harmony.core.writers import Writers
from harmony.errors import HarmonyError, WorkflowClosedError
from harmony.events import Bus

_log = logging.getLogger("harmony")
Message = Record | Sequence[Update | Notice] | Callable[[], None]

#: After so many messages the engines get what there is, so that they start while more keep coming.
_TURN = 512


class Kernel:
    """Runs tasks on `engines`; `driver` runs what must run in this process (joins, building commands).

    Engines are started by `start` and closed by `close`, in the order given. `submit`, `cancel`, `wait` and
    `tally` may be used from any thread.
    """

    def __init__(self, engines: Mapping[str, Engine], driver: Engine, *, name: str = "workflow", bus: Bus) -> None:
        self._name = name
        self._engines = dict(engines)
        self._bus = bus
        self._inbox: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._roster = Roster({DRIVER: driver, **self._engines}, self._inbox.put)
        self._journal: Journal | None = None
        self._journal_ended = False
        self._unsafe = 0  # tasks that have ended, and that the journal does not have yet
        self._ledger = Ledger(self._post, bus, time.time, self._roster.able(Capability.SHARED_MEMORY))
        if len(self._engines) > 1:
            self._ledger.balance = Balance(self._engines)
        self.tally = self._ledger.tally
        self._place = Placer(self._engines)
        self._ids = itertools.count(1)
        self._writers = Writers()
        self._timers: list[tuple[float, int, Record]] = []
        self._idle: list[threading.Event] = []
        self._ended_when_idle = 0  # tasks whose callbacks, if any, are all with the delivery thread
        self._in_caller = any(Capability.IN_CALLER in engine.capabilities for engine in self._engines.values())
        self._turning = threading.RLock()
        self._closed = True
        self._why_closed = "is not started"
        self._stopping = False
        self._fault: HarmonyError | None = None
        self.is_forked = False  # True in a process that was forked from the one that made this kernel
        self._deliveries = Delivery()
        self._threads: list[threading.Thread] = []

    def start(self, journal: Journal | None = None, root: str = "") -> None:
        """Start the engines and the loop. When an engine cannot start, those before it are closed again.

        With a journal, futures say that they are done once it has that; paths below `root` are relative in it.
        """
        if journal is not None:
            from harmony.core.memo import Memo  # whoever has no journal saves it

            self._ledger.memo = Memo(journal, root, self._roster.able(Capability.REATTACH))
            self._journal = journal
            journal.start(self._safe)
        self._roster.start()
        myself = weakref.ref(self)
        os.register_at_fork(after_in_child=lambda: _disown(myself()))
        if not self._in_caller:
            thread = threading.Thread(target=self._run, name="harmony-kernel", daemon=True)
            thread.start()
            self._threads.append(thread)
            self._deliveries.start()
        self._closed, self._why_closed = False, "has ended"

    # -- the door: any thread ----------------------------------------------------------------------

    def submit(self, task: Task, *, stoppable: bool = True) -> TaskFuture[Any]:
        """Accept a task. Raises at once when no engine can run it, or two tasks write one file.

        With `stoppable` false its future follows the standard library to the letter: once it runs, `cancel`
        refuses.
        """
        if self._closed:
            raise WorkflowClosedError(f"workflow {self._name!r} {self._why_closed}; {task.name} was not accepted")
        engines, cores, can_stop = self._place(task)
        future: TaskFuture[Any] = TaskFuture(next(self._ids), task.name, self, stoppable and can_stop)
        work = task.work
        parents: Sequence[Future[Any]] = ()
        if task.inputs or task.outputs or not (type(work) is Call and graph.is_plain(work.args, work.kwargs)):
            task, parents = self._parents(task, future)
        self._inbox.put(Record(future, task, engines, cores, parents))
        if self._in_caller:
            self._pump()
        elif self._stopping:
            self._join_thread(0)
            self._refuse_the_rest()
        return future

    def _parents(self, task: Task, future: TaskFuture[Any]) -> tuple[Task, Sequence[Future[Any]]]:
        found: list[Future[Any]] = []
        files: list[File] = []
        if not isinstance(task.work, Command):
            graph.find((task.work.args, task.work.kwargs), found, files)
        if files or task.inputs or task.outputs:
            task = graph.add_inputs(task, files)
            found.extend(self._file_parents(task, future, found))
        return task, tuple(dict.fromkeys(found)) if len(found) > 1 else found

    def _file_parents(self, task: Task, future: TaskFuture[Any], parents: list[Future[Any]]) -> list[Future[Any]]:
        graph.order([task])  # refuses a task that reads what it writes
        return self._writers.enter(task, future, parents)

    def cancel(self, future: TaskFuture[Any]) -> bool:
        """See `TaskFuture.cancel`."""
        if future.stoppable or self._in_caller or threading.current_thread() in self._threads[:1]:
            cancelled = mark_cancelled(future, also_running=future.stoppable)
            if cancelled:
                self._post(partial(self._ledger.cancel, future))
            return cancelled is not False
        if future.done():
            return future.cancelled()
        if self._closed:
            self._join_thread(0)
            return future.cancelled()
        answer: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._inbox.put(partial(self._cancel_unstarted, future, answer))
        if self._stopping:
            self._join_thread(0)
            self._refuse_the_rest()
        return answer.get()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until no task is left; False when `timeout` seconds pass first."""
        if self._closed:
            return True
        idle = threading.Event()
        self._post(partial(self._idle.append, idle))
        if self._closed:
            return True  # and the loop, which would have said so, may have ended before it was asked
        return idle.wait(timeout)

    def wait_for_all(self) -> None:
        """Wait until no task is left and every callback has run, also for the tasks that callbacks submit."""
        self.wait()
        seen = -1
        while seen != self._ended_when_idle and not self._in_caller and not self._closed:
            seen = self._ended_when_idle
            delivered = threading.Event()
            self._deliveries.call(delivered.set)
            if self._closed:
                return  # the delivery thread may have ended before it came to this
            delivered.wait()
            self.wait()

    def check(self, task: Task) -> None:
        """Raise what `submit` would raise because no engine can run the task."""
        self._place(task)

    def close(self) -> None:
        """Cancel what has not ended, close the engines, run the last callbacks. Idempotent."""
        if self._closed:
            return
        self._closed = True
        if self._in_caller:
            self._post(self._stop)
        else:
            self._inbox.put(self._stop)
            self._join_thread(0)
        failure = self._roster.close()
        self._refuse_the_rest()
        if self._journal is not None:
            self._journal.flush()
            self._journal_ended = True
        self._deliveries.close()
        if failure is not None:
            raise failure

    def _join_thread(self, index: int) -> None:
        for thread in self._threads[index : index + 1]:
            if thread is not threading.current_thread():
                thread.join()

    def _post(self, message: Callable[[], None]) -> None:
        self._inbox.put(message)
        if self._in_caller:
            self._pump()

    # -- the loop: harmony-kernel, or the caller ------------------------------------------------------

    def _run(self) -> None:
        while not self._stopping:
            try:
                message = self._inbox.get(timeout=self._seconds_to_timer())
            except queue.Empty:
                self._turn(None)
            else:
                self._turn(message)
        self._refuse_the_rest()

    def _pump(self) -> None:
        with self._turning:
            while not self._inbox.empty() or self._ledger.outbox or self._timers:
                if self._inbox.empty() and not self._ledger.outbox:
                    time.sleep(self._seconds_to_timer() or 0)
                self._turn(self._take())

    def _take(self) -> Message | None:
        if self._inbox.empty():  # cheaper than the exception, which comes once a turn
            return None
        try:
            return self._inbox.get_nowait()
        except queue.Empty:
            return None

    def _turn(self, message: Message | None) -> None:
        self._ledger.now = time.monotonic()
        try:
            taken = 0
            while message is not None:
                self._handle(message)
                taken += 1
                message = self._take() if taken < _TURN else None
            self._try_again()
            self._ledger.settle()
            self._hand_out()
        except Exception as error:  # noqa: BLE001  an engine, or a fault of ours: all waiting futures must end
            _log.exception("a fault inside Harmony; the workflow cannot go on")
            self._fault = HarmonyError(f"a fault inside Harmony, please report it: {error!r}")
            self._ledger.abandon(self._fault)
            self._tell()
        if self._idle and not self._ledger.records and not self._unsafe and self._inbox.empty():
            self._ended_when_idle = self.tally.counts.ended
            for idle in self._idle:
                idle.set()
            self._idle.clear()

    def _handle(self, message: Message) -> None:
        if isinstance(message, Record):
            self._ledger.accept(message)
            if self._fault:
                self._ledger.abandon(self._fault)
        elif callable(message):
            message()
        else:
            self._ledger.update(message)

    def _try_again(self) -> None:
        if not self._timers and not self._ledger.later:
            return
        now = time.monotonic()
        for delay, record in self._ledger.later:
            heapq.heappush(self._timers, (now + delay, record.future.id, record))
        self._ledger.later.clear()
        while self._timers and self._timers[0][0] <= now:
            self._ledger.try_again(heapq.heappop(self._timers)[2])

    def _seconds_to_timer(self) -> float | None:
        return min(max(0.0, self._timers[0][0] - time.monotonic()), 3600.0) if self._timers else None

    def _hand_out(self) -> None:
        self._tell()
        ledger = self._ledger
        if ledger.to_cancel:
            self._cancel_on_engines()
        while ledger.outbox:
            name, batch = ledger.outbox.popitem()
            if not batch:
                continue
            if self._in_caller and len(batch) > 1:  # the rest stays reachable for work that submits and waits
                ledger.outbox[name] = batch[1:]
                batch = batch[:1]
            self._roster.submit(name, batch)

    def _tell(self) -> None:
        ledger = self._ledger
        if ledger.events:
            happened, ledger.events = ledger.events, []
            self._bus.publish(happened)
        if ledger.callbacks:
            called, ledger.callbacks = ledger.callbacks, []
            self._deliveries.put(called)
        if ledger.entries:
            assert self._journal is not None
            entries, ledger.entries = ledger.entries, []
            self._unsafe += sum([type(entry) is Record for entry in entries])
            if self._journal_ended:
                self._safe([entry for entry in entries if isinstance(entry, Record)])
                return
            self._journal.write(entries)
            if self._in_caller:
                self._journal.flush()

    def _safe(self, ended: Sequence[Record]) -> None:
        """The journal has them, so the futures may say so. Journal's thread, or the caller."""
        self._deliveries.put(finish([record.future for record in ended]))
        self._inbox.put(partial(self._landed, ended))

    def _landed(self, ended: Sequence[Record]) -> None:
        self._unsafe -= len(ended)
        if self._ledger.memo is not None:
            self._ledger.memo.landed(ended)

    def _cancel_on_engines(self) -> None:
        cancelled, self._ledger.to_cancel = self._ledger.to_cancel, {}
        for name, ids in cancelled.items():
            dropped = set(ids)
            for box in (name, DRIVER):
                unsent = self._ledger.outbox.get(box, [])
                unsent[:] = [submission for submission in unsent if submission.id not in dropped]
            for box in (DRIVER, name):
                self._roster.cancel(box, ids)

    def _cancel_unstarted(self, future: TaskFuture[Any], answer: queue.SimpleQueue[bool]) -> None:
        """Cancel a task that will then surely not run; answer False when it runs or has ended."""
        try:
            self._drain()
            record = self._ledger.records.get(future.id)
            if record is not None and record.state is TaskState.SUBMITTED:
                batch = self._ledger.outbox.get(record.engine, [])
                if not any(submission.id == future.id for submission in batch):
                    self._roster.cancel(record.engine, [future.id])
                    self._drain()
            is_unstarted = record is not None and record.state in (TaskState.WAITING, TaskState.SUBMITTED)
            if is_unstarted and mark_cancelled(future, also_running=False):
                self._ledger.cancel(future)
        finally:
            answer.put(future.cancelled())

    def _drain(self) -> None:
        while (message := self._take()) is not None:
            self._handle(message)

    def _stop(self) -> None:
        self._stopping = True
        self._ledger.abandon()

    def _refuse_the_rest(self) -> None:
        with self._turning:
            while (message := self._take()) is not None:
                if isinstance(message, Record):
                    self._ledger.accept(message)
                elif callable(message):
                    message()
                else:  # of tasks nothing is heard any more, but of engines and workers
                    self._ledger.now = time.monotonic()
                    self._ledger.update(message)
            self._ledger.abandon(WorkflowClosedError(f"workflow {self._name!r} has ended"))
            self._tell()
            for idle in self._idle:
                idle.set()


def _disown(kernel: Kernel | None) -> None:
    if kernel is not None:
        kernel._closed = kernel.is_forked = True
        kernel._why_closed = "belongs to the process that was forked"
