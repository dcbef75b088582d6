"""The kernel: takes tasks from any thread, and runs the one loop that owns their state.

    user's threads ──submit──▶ ┌───────┐      ┌──────────────┐ ──batches──▶ engines
    engines        ──report──▶ │ inbox │ ───▶ │ loop, ledger │ ──callbacks─▶ delivery thread
    user's threads ──cancel──▶ └───────┘      └──────────────┘ ──events───▶ bus

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
from harmony.core.data import File
from harmony.core.engine import Capability, Engine, Submission, Update
from harmony.core.future import TaskFuture, mark_cancelled, run_callbacks
from harmony.core.ledger import DRIVER, Ledger, Record
from harmony.core.place import Placer
from harmony.core.report import Counts, Failure
from harmony.core.task import Call, Command, Task, TaskState
from harmony.core.writers import Writers
from harmony.errors import EngineFailed, HarmonyError, WorkflowClosedError
from harmony.events import Bus

_log = logging.getLogger("harmony")
Message = Record | Sequence[Update] | Callable[[], None]

#: After so many messages the engines get what there is, so that they start while more keep coming.
_TURN = 512


class Kernel:
    """Runs tasks on `engines`; `driver` runs what must run in this process (joins, building commands).

    Engines are started by `start` and closed by `close`, in the order given. `submit`, `cancel`, `wait` and
    the numbers may be used from any thread.
    """

    def __init__(self, engines: Mapping[str, Engine], driver: Engine, *, name: str = "workflow", bus: Bus) -> None:
        self._name = name
        self._engines = dict(engines)
        self._all = {DRIVER: driver, **self._engines}
        self._bus = bus
        self._inbox: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._ledger = Ledger(self._post, bus, time.time)
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
        self._deliveries: queue.SimpleQueue[TaskFuture[Any] | Callable[[], None] | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Start the engines and the loop. When an engine cannot start, those before it are closed again."""
        started = []
        try:
            for engine in self._all.values():
                engine.start(self._inbox.put)
                started.append(engine)
        except BaseException:
            for engine in reversed(started):
                engine.close()
            raise
        myself = weakref.ref(self)
        os.register_at_fork(after_in_child=lambda: _disown(myself()))
        if not self._in_caller:
            for name, run in (("harmony-kernel", self._run), ("harmony-delivery", self._deliver)):
                thread = threading.Thread(target=run, name=name, daemon=True)
                thread.start()
                self._threads.append(thread)
        self._closed, self._why_closed = False, "has ended"

    # -- the door: any thread ----------------------------------------------------------------------

    def submit(self, task: Task, *, stoppable: bool = True) -> TaskFuture[Any]:
        """Accept a task. Raises at once when no engine can run it, or two tasks write one file.

        With `stoppable` false its future follows the standard library to the letter: once it runs, `cancel`
        refuses.
        """
        if self._closed:
            raise WorkflowClosedError(f"workflow {self._name!r} {self._why_closed}; {task.name} was not accepted")
        engine, cores, can_stop = self._place(task)
        future: TaskFuture[Any] = TaskFuture(next(self._ids), task.name, self, stoppable and can_stop)
        work = task.work
        parents: Sequence[Future[Any]] = ()
        if task.inputs or task.outputs or not (type(work) is Call and graph.is_plain(work.args, work.kwargs)):
            task, parents = self._parents(task, future)
        self._inbox.put(Record(future, task, engine, cores, parents))
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
            self._deliveries.put(delivered.set)
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
        failures = []
        for engine in self._all.values():
            try:
                engine.close()
            except Exception as error:  # noqa: BLE001  the others, and our own threads, are closed all the same
                failures.append(error)
        self._deliveries.put(None)
        self._join_thread(1)
        if failures:
            raise failures[0]

    def _join_thread(self, index: int) -> None:
        for thread in self._threads[index : index + 1]:
            if thread is not threading.current_thread():
                thread.join()

    @property
    def counts(self) -> Counts:
        """How many tasks are where."""
        return self._ledger.tally.counts

    @property
    def failures(self) -> tuple[Failure, ...]:
        """The distinct errors so far."""
        return self._ledger.tally.failures

    @property
    def work(self) -> float:
        """Core-seconds that tasks have run."""
        return self._ledger.tally.work

    @property
    def critical_path(self) -> float:
        """Seconds of the longest chain of tasks that have ended."""
        return self._ledger.tally.critical_path

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
        if self._idle and not self._ledger.pending and self._inbox.empty():
            self._ended_when_idle = self.counts.ended
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
            self._submit_to(name, batch)

    def _tell(self) -> None:
        ledger = self._ledger
        if ledger.events:
            happened, ledger.events = ledger.events, []
            self._bus.publish(happened)
        if ledger.callbacks:
            called, ledger.callbacks = ledger.callbacks, []
            for future in called:
                run_callbacks(future) if self._in_caller else self._deliveries.put(future)

    def _cancel_on_engines(self) -> None:
        cancelled, self._ledger.to_cancel = self._ledger.to_cancel, {}
        for name, ids in cancelled.items():
            dropped = set(ids)
            for box in (name, DRIVER):
                unsent = self._ledger.outbox.get(box, [])
                unsent[:] = [submission for submission in unsent if submission.id not in dropped]
            for box in (DRIVER, name):
                self._cancel_on(box, ids)

    def _submit_to(self, name: str, batch: list[Submission]) -> None:
        try:
            self._all[name].submit(batch)
        except Exception as error:  # noqa: BLE001  an engine, or a fault of ours: all waiting futures must end
            _log.exception("engine %r failed to take %d tasks", name, len(batch))
            failure = EngineFailed(f"engine {name!r} failed to take work: {error!r}")
            failure.__cause__ = error
            self._inbox.put([Update(submission.id, TaskState.FAILED, error=failure) for submission in batch])

    def _cancel_unstarted(self, future: TaskFuture[Any], answer: queue.SimpleQueue[bool]) -> None:
        """Cancel a task that will then surely not run; answer False when it runs or has ended."""
        try:
            self._drain()
            if self._ledger.state_of(future) is TaskState.SUBMITTED:
                name = self._ledger.engine_of(future)
                batch = self._ledger.outbox.get(name, [])
                if not any(submission.id == future.id for submission in batch):
                    self._cancel_on(name, [future.id])
                    self._drain()
            is_unstarted = self._ledger.state_of(future) in (TaskState.WAITING, TaskState.SUBMITTED)
            if is_unstarted and mark_cancelled(future, also_running=False):
                self._ledger.cancel(future)
        finally:
            answer.put(future.cancelled())

    def _cancel_on(self, name: str, ids: list[int]) -> None:
        try:
            self._all[name].cancel(ids)
        except Exception:  # noqa: BLE001  it is an engine's, and the tasks are cancelled for the user all the same
            _log.exception("engine %r failed to cancel %d tasks", name, len(ids))

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
            self._ledger.abandon(WorkflowClosedError(f"workflow {self._name!r} has ended"))
            for idle in self._idle:
                idle.set()

    # -- harmony-delivery ------------------------------------------------------------------------------

    def _deliver(self) -> None:
        while (item := self._deliveries.get()) is not None:
            try:
                run_callbacks(item) if isinstance(item, TaskFuture) else item()
            except BaseException:  # noqa: BLE001  a callback that exits must not end the delivery of all others
                _log.exception("a callback of %r failed", item)


def _disown(kernel: Kernel | None) -> None:
    if kernel is not None:
        kernel._closed = kernel.is_forked = True
        kernel._why_closed = "belongs to the process that was forked"
