"""The crew: the workers of one engine, and which of them gets which call. Used under the engine's lock.

Plain calls (one core, nothing else) are sent ahead, as many as a worker will do in `handle.AHEAD` seconds by its
recent pace, so that neither side waits for the other. What was sent ahead of a task that turns out long is taken
back and given to others (`take_back`). All other calls are sent one at a time to a worker that is free.
"""

from __future__ import annotations

import os
import pickle
import socket
import sys
import time
import types
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError
from typing import Any

from harmony.core import graph
from harmony.core.engine import Notice, Submission, Update, Usage
from harmony.core.task import Call, TaskState, Work
from harmony.core.travel import call_object, cannot_pickle, dump_function, dump_value, load_exception
from harmony.engines.local import shared, wire
from harmony.engines.local.functions import FunctionTable
from harmony.engines.local.handle import SEGMENTS, WorkerHandle
from harmony.engines.local.slots import Grant
from harmony.errors import EngineFailed, SerializationError, TaskError, WorkerLost

#: After so many workers in a row that died before they were ready, no more are started.
_STILLBORN = 3
#: A text of more bytes than this does not travel together with other calls.
_SMALL = 4096
_SIZED = frozenset({str, bytes})
_new = tuple.__new__  # a named tuple at half the price of calling its class; it is made for every task
_RUNNING, _DONE, _FAILED = TaskState.RUNNING, TaskState.DONE, TaskState.FAILED
#: A worker whose tasks take longer than this is reported to be running each of them; below, only long ones.
_NOTICEABLE = 0.001


class Crew:
    """See the module. `updates` collects the news; `watch` and `retire` begin and end the engine's interest in one."""

    def __init__(
        self,
        limit: int,
        environment: Callable[[], Mapping[str, str]],
        initializer: tuple[Callable[..., Any], Sequence[Any]] | None,
        watch: Callable[[WorkerHandle], None],
        retire: Callable[[WorkerHandle], None],
        updates: list[Update | Notice],
    ) -> None:
        self._limit = limit
        self._environment = environment
        self._initializer = _pickled(initializer)
        self._watch = watch
        self._retire = retire
        self.updates = updates
        self._functions = FunctionTable()
        self._made = 0
        self._stillborn = 0
        self.workers: list[WorkerHandle] = []
        self.failure: EngineFailed | None = None

    # -- who is there --------------------------------------------------------------------------------

    @property
    def present(self) -> int:
        """Workers that take tasks, or will."""
        return sum([not worker.is_retired and worker.verdict is None for worker in self.workers])

    def has_room(self) -> bool:
        """True when a worker is free, or another may be started."""
        if self.failure is not None:
            return False
        for worker in self.workers:
            if worker.is_idle:
                return True
        return self.present < self._limit

    def idle_gpus(self) -> tuple[str, ...]:
        """The GPUs that free workers have seen already."""
        return tuple(gpu for worker in self.workers if worker.is_idle for gpu in worker.gpus or ())

    def hire(self, grant: Grant) -> WorkerHandle:
        """Return a free worker that has seen these GPUs and no others, starting one if need be."""
        idle = [worker for worker in self.workers if worker.is_idle]
        wanted = [w for w in idle if not grant.gpus or w.gpus == grant.gpus] or [w for w in idle if w.gpus is None]
        if wanted:
            worker = wanted[0] if len(wanted) == 1 else max(wanted, key=_preference)
        else:
            if self.present >= self._limit and idle:
                self._retire(idle[0])
            worker = self._start()
        worker.grant = grant
        if grant.gpus:
            worker.gpus = grant.gpus
        return worker

    def note_stillborn(self, why: str) -> None:
        """Note that a worker did not come to be; after some in a row the crew has failed."""
        self._stillborn += 1
        if self._stillborn >= _STILLBORN and not any(worker.is_ready for worker in self.workers):
            self.failure = EngineFailed(why)

    def _start(self) -> WorkerHandle:
        worker = WorkerHandle(f"local-{self._made}", self._environment(), self._initializer)
        self._made += 1
        self.workers.append(worker)
        self._watch(worker)
        facts = {"engine": "local", "pid": worker.pid, "host": socket.gethostname()}
        self.updates.append(Notice(0, "worker.started", worker.name, facts))
        return worker

    # -- what they get -------------------------------------------------------------------------------

    def give_plain(self, worker: WorkerHandle, queue: deque[Submission]) -> None:
        """Send plain calls ahead, up to the worker's depth and its share of the queue."""
        share = -(-len(queue) // max(1, min(self._limit, len(queue))))
        count = min(worker.depth - len(worker.inflight), share, len(queue))
        starts = not worker.inflight
        calls: list[tuple[int, int, Any, Any]] = []
        for _ in range(count):
            if len(worker.segments) >= SEGMENTS:
                break
            submission = queue.popleft()
            try:
                call = _as_function(submission.work)
                function = self._announce(worker, call)
                if _is_small(call) and not submission.outputs:
                    calls.append((worker.number(submission), function, call.args, call.kwargs))
                    continue
                _say_calls(worker, calls)
                self._say_task(worker, submission, call, function, {})
            except BaseException as error:  # noqa: BLE001  pickling runs the user's code
                _forget_unsent(worker, submission)
                self.updates.append(Update(submission.id, _FAILED, error=_as_task_error(submission, error)))
        _say_calls(worker, calls)
        if starts and worker.inflight:
            worker.news = time.monotonic()
            self.note_running(worker)

    def give_one(self, worker: WorkerHandle, submission: Submission) -> None:
        """Send a call that has the worker for itself."""
        granted = worker.grant.environment() if worker.grant else {}
        try:
            call = _as_function(submission.work)
            function = self._announce(worker, call)
            self._say_task(worker, submission, call, function, {**granted, **dict(submission.options.environment)})
        except BaseException as error:  # noqa: BLE001  pickling runs the user's code
            _forget_unsent(worker, submission)
            self.updates.append(Update(submission.id, _FAILED, error=_as_task_error(submission, error)))
            return
        worker.news = time.monotonic()
        self.updates.append(Update(submission.id, _RUNNING, place=worker.name))

    def _announce(self, worker: WorkerHandle, call: Call) -> int:
        function = self._functions.get(call.fn)
        if self._functions.forgotten:
            self._forget()
        if function.number not in worker.known:
            worker.known.add(function.number)
            if worker.path != sys.path:  # what was just imported here may come from a directory it does not know
                worker.path = list(sys.path)
                worker.say(wire.frame(wire.PATH, pickle.dumps(worker.path, 5)))
            worker.say(wire.function_frame(function.number, function.data))
        return function.number

    def _forget(self) -> None:
        for number in self._functions.forgotten:
            for worker in self.workers:
                if number in worker.known:  # it reads in order, so what it was sent before still finds it
                    worker.known.discard(number)
                    worker.say(wire.frame(wire.FORGET, wire.NUMBER.pack(number)))
        self._functions.forgotten.clear()

    def _say_task(
        self, worker: WorkerHandle, submission: Submission, call: Call, function: int, environment: Mapping[str, str]
    ) -> None:
        encoded = shared.encode((call.args, dict(call.kwargs)))
        segment = shared.write_segment(encoded) if encoded.is_large else None
        head = wire.TaskHead(
            number=worker.number(submission),
            function=function,
            sizes=segment[1] if segment else None,
            environment=environment,
            directory=submission.options.directory,
            outputs=submission.outputs,
            name=submission.name,
        )
        if segment:
            worker.pass_segment(head.number, segment[0])
        worker.say(wire.task_frame(head, b"" if segment else encoded.payload))

    def note_running(self, worker: WorkerHandle) -> None:
        """Report, once, that the worker runs the first of its tasks."""
        number = next(iter(worker.inflight), 0)
        if number > worker.noted:
            worker.noted = number
            self.updates.append(Update(worker.inflight[number].id, _RUNNING, place=worker.name))

    # -- what they answer ----------------------------------------------------------------------------

    def hear(self, worker: WorkerHandle) -> list[Submission]:
        """Take a worker's answers; return tasks that it was sent and has skipped, to be sent again."""
        skipped: list[Submission] = []
        seconds, count = 0.0, 0
        for kind, number, spent, payload, prints in worker.receive():
            worker.segments.discard(number)
            if number == 0:
                self._hear_start(worker, kind, payload)
                continue
            submission = worker.inflight.pop(number, None)
            if submission is None:
                if kind == wire.SEGMENT:
                    os.close(shared.receive_descriptor(worker.descriptors))
                continue
            if kind == wire.SKIPPED:
                skipped.append(submission)
                continue
            seconds += spent
            count += 1
            self.updates.append(self._update(worker, submission, kind, spent, payload, prints))
        if count:
            worker.keep_pace(seconds, count)
            if worker.is_plain and seconds > _NOTICEABLE * count:
                self.note_running(worker)
        return skipped

    def _update(
        self, worker: WorkerHandle, submission: Submission, kind: int, seconds: float, payload: Any, prints: str
    ) -> Update:
        result: Any = None
        usage: Usage | None = None
        if kind >= wire.USED:
            kind -= wire.USED
            usage, payload = wire.load_usage(payload)
        if kind != wire.NOTHING:
            try:
                if kind == wire.VALUE:
                    result = pickle.loads(payload)  # noqa: S301  from our own worker
                elif kind == wire.SEGMENT:
                    sizes = pickle.loads(payload)  # noqa: S301
                    result = shared.read_segment(shared.receive_descriptor(worker.descriptors), sizes)
                else:
                    error = worker.verdict or load_exception(payload)
                    return Update(submission.id, _FAILED, None, error, seconds, worker.name, prints, usage)
            except BaseException as error:  # noqa: BLE001  a user's __setstate__, or a module that is not here
                failure = SerializationError(f"the result of {submission.name} cannot be unpickled here: {error!r}")
                failure.__cause__ = error
                return Update(submission.id, _FAILED, None, failure, seconds, worker.name, prints, usage)
        return _new(Update, (submission.id, _DONE, result, None, seconds, worker.name, prints, usage, None))

    def _hear_start(self, worker: WorkerHandle, kind: int, payload: Any) -> None:
        worker.is_ready = True
        worker.news = worker.ready_at = time.monotonic()
        self._stillborn = 0
        if kind == wire.BROKEN:
            cause = load_exception(payload)
            self.failure = EngineFailed(f"the initializer of the workers failed: {type(cause).__name__}: {cause}")
            self.failure.__cause__ = cause

    # -- their end -----------------------------------------------------------------------------------

    def bury(self, worker: WorkerHandle) -> list[Submission]:
        """Collect a worker that has died; return the tasks that it had and never started, to be sent again.

        The one it was running gets the worker's verdict, or `WorkerLost`.
        """
        current = worker.board.current
        how = worker.reap()
        self.workers.remove(worker)
        self.updates.append(Notice(0, "worker.ended", worker.name, {"engine": "local", "how": how}))
        unstarted = [submission for number, submission in worker.inflight.items() if number > current]
        for number, submission in worker.inflight.items():
            if number <= current:
                self.updates.append(self._epitaph(worker, submission, how))
        if not worker.is_ready and worker.verdict is None and not worker.is_retired:
            self.note_stillborn(f"workers end before they are ready; the last, {worker.name}, {how}")
        return unstarted

    def _epitaph(self, worker: WorkerHandle, submission: Submission, how: str) -> Update:
        if isinstance(worker.verdict, CancelledError):
            return Update(submission.id, TaskState.CANCELLED, place=worker.name)
        seconds = time.monotonic() - worker.news
        error = worker.verdict or WorkerLost(
            f"worker {worker.name} (process {worker.pid}) {how} while it ran {submission.name}"
        )
        return Update(submission.id, _FAILED, None, error, seconds, worker.name)


def _forget_unsent(worker: WorkerHandle, submission: Submission) -> None:
    """Take out a task that was given a number and could not be sent."""
    if worker.inflight and next(reversed(worker.inflight.values())) is submission:
        worker.inflight.popitem()


def _preference(worker: WorkerHandle) -> tuple[bool, bool, float]:
    """Rather one that is ready, that is not kept for its GPUs, and whose memory is warm."""
    return worker.is_ready, worker.gpus is None, worker.news


def _as_function(work: Work) -> Call:
    """Return the same call of a function proper: other objects are data, which may change between calls."""
    assert isinstance(work, Call)
    fn = work.fn
    if isinstance(fn, (types.FunctionType, type)) or (
        isinstance(fn, types.BuiltinFunctionType) and isinstance(fn.__self__, (types.ModuleType, type(None)))
    ):
        return work
    if isinstance(fn, types.MethodType):
        return Call(fn.__func__, (fn.__self__, *work.args), work.kwargs)
    return Call(call_object, (fn, *work.args), work.kwargs)


def _is_small(call: Call) -> bool:
    """True when the arguments are atoms, and short, so that they may travel together with those of other calls."""
    if not graph.is_plain(call.args, call.kwargs):
        return False
    for value in (*call.args, *call.kwargs.values()) if call.kwargs else call.args:
        if type(value) in _SIZED and len(value) > _SMALL:
            return False
    return True


def _as_task_error(submission: Submission, error: BaseException) -> BaseException:
    if isinstance(error, TaskError):
        return error
    failure = cannot_pickle(f"an argument of {submission.name}", error)
    failure.__cause__ = error
    return failure


def _say_calls(worker: WorkerHandle, calls: list[tuple[int, int, Any, Any]]) -> None:
    if calls:
        worker.say(wire.frame(wire.BATCH, pickle.dumps(calls, 5)))
        calls.clear()


def _pickled(initializer: tuple[Callable[..., Any], Sequence[Any]] | None) -> bytes | None:
    if initializer is None:
        return None
    fn, args = initializer
    return pickle.dumps((dump_function(fn), dump_value(tuple(args))), 5)
