"""Parcels: tasks as bytes. Every system is asked for one thing only, to call `run` in one of its workers.

So a task means the same on each of them: types of errors, remote tracebacks, what is printed, environment, directory.

    driver   pack(submissions) ─▶ bytes ──the system──▶ run(bytes) ─▶ bytes ──the system──▶ unpack(bytes)   worker
"""

from __future__ import annotations

import functools
import os
import pickle
import platform
import select
import signal
import struct
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from harmony.core.engine import Submission, Update, Usage
from harmony.core.task import Call, Command, Options, TaskState
from harmony.core.travel import (
    call_object,
    cannot_pickle,
    dump_exception,
    dump_function,
    dump_value,
    load_exception,
    load_function,
)
from harmony.core.usage import MEASURED, STALE, Meter
from harmony.core.work import Prints, check_outputs, run_call, run_command, signal_group, walltime_exceeded
from harmony.engines._guard import VARIABLE, Guard
from harmony.errors import SerializationError, WorkerLost, text_of

#: So many functions are kept, by a driver as bytes and by a worker as they are.
_MOST_FUNCTIONS = 1024
#: Arguments of so many bytes travel together.
_MOST_BYTES = 8 << 20
_SIZE = struct.Struct("!Q")


class _Item(NamedTuple):
    """One task. `function` is an index into the parcel's functions, or -1: then `data` is a pickled `Command`."""

    id: int
    function: int
    data: bytes
    head: _Head | None


class _Head(NamedTuple):
    name: str
    environment: tuple[tuple[str, str], ...]
    directory: str | None
    outputs: Sequence[str]
    walltime: float | None


class _Answer(NamedTuple):
    id: int
    is_done: bool
    data: bytes
    seconds: float
    printed: str
    usage: Usage | None
    place: str


# -- the driver ------------------------------------------------------------------------------------------


class Packed(NamedTuple):
    """A parcel, the tasks that are in it, the news of those that cannot travel, and those that were left over."""

    blob: bytes
    sent: Sequence[Submission]
    failed: Sequence[Update]
    left: Sequence[Submission]


class Packer:
    """Makes parcels; it remembers functions it has pickled."""

    def __init__(self) -> None:
        self._functions: dict[int, tuple[Callable[..., Any], bytes]] = {}

    def pack(self, submissions: Sequence[Submission]) -> Packed:
        """Return a parcel of the first of these tasks, as many as are not too much together."""
        functions: dict[bytes, int] = {}
        items, sent, failed, size = [], [], [], 0
        for taken, submission in enumerate(submissions):
            if size > _MOST_BYTES:
                left = submissions[taken:]
                break
            try:
                items.append(tuple(item := self._item(submission, functions)))
                sent.append(submission)
                size += len(item.data)
            except BaseException as error:  # noqa: BLE001  a user's __reduce__ may raise anything
                failed.append(Update(submission.id, TaskState.FAILED, error=error))
        else:
            left = ()
        return Packed(pickle.dumps((sys.path, list(functions), items), 5) if items else b"", sent, failed, left)

    def _item(self, submission: Submission, functions: dict[bytes, int]) -> _Item:
        options, work = submission.options, submission.work
        head = None
        if (
            isinstance(work, Command)
            or options.environment
            or options.directory is not None
            or submission.outputs
            or options.walltime is not None
        ):
            head = _Head(
                submission.name, options.environment, options.directory, tuple(submission.outputs), options.walltime
            )
        if isinstance(work, Command):
            return _Item(submission.id, -1, pickle.dumps(work, 5), head)
        fn, args = work.fn, work.args
        if not hasattr(fn, "__code__") and not isinstance(fn, type) and callable(fn):
            fn, args = call_object, (work.fn, *args)  # data rather than code: it may change between calls
        function = functions.setdefault(self._function(fn), len(functions))
        try:
            return _Item(submission.id, function, dump_value((args, work.kwargs)), head)
        except BaseException as error:
            raise cannot_pickle(f"an argument of {submission.name}", error) from error

    def _function(self, fn: Callable[..., Any]) -> bytes:
        known = self._functions.get(id(fn))
        if known is None:
            if not callable(fn):
                raise TypeError(f"{fn!r} cannot be called")
            if len(self._functions) >= _MOST_FUNCTIONS:
                self._functions.clear()
            known = self._functions[id(fn)] = (fn, dump_function(fn))
        return known[1]


def unpack(blob: bytes) -> list[Update]:
    """Return what `run` has answered."""
    updates = []
    for fields in pickle.loads(blob):  # noqa: S301  from our own worker, by the system's authenticated channel
        answer = _Answer(*fields)
        result: Any = None
        error: BaseException | None = None
        if answer.is_done:
            try:
                result = pickle.loads(answer.data)  # noqa: S301
            except BaseException as failure:  # noqa: BLE001  a user's __setstate__, or a module that is not here
                error = SerializationError(
                    f"the result cannot be unpickled in the driver: {type(failure).__name__}: {text_of(failure)}"
                )
        else:
            error = load_exception(answer.data)
        state = TaskState.DONE if error is None else TaskState.FAILED
        usage = None if answer.usage is None else Usage(*answer.usage)
        updates.append(Update(answer.id, state, result, error, answer.seconds, answer.place, answer.printed, usage))
    return updates


# -- the worker ------------------------------------------------------------------------------------------


def run(blob: bytes) -> bytes:
    """Run the tasks of a parcel, one after another, and return what they came to. Raises nothing of theirs."""
    path, functions, items = pickle.loads(blob)  # noqa: S301  from our own driver, by the system's channel
    _extend_path(path)
    os.environ.setdefault("HARMONY_STORE", "none")  # a workflow inside a task is no run of its own
    runner = _runner()
    return pickle.dumps([tuple(runner.run(_Item(*item), functions)) for item in items], 5)


@functools.cache
def _runner() -> _Runner:
    sys.stdout = _Stdout(sys.stdout)
    return _Runner()


@functools.cache
def _guard() -> Guard:
    """Let the programs that tasks start end with this worker, however that ends."""
    guard = Guard(uuid.uuid4().hex)
    guard.start()
    os.environ[VARIABLE] = guard.environment()[VARIABLE]
    return guard


def _extend_path(path: Sequence[str]) -> None:
    known = set(sys.path)
    sys.path.extend(entry for entry in path if entry not in known)


class _Runner(threading.local):
    """Runs items in this thread; of a worker with several threads, each has its own."""

    def __init__(self) -> None:
        self._functions: dict[bytes, Callable[..., Any]] = {}
        self._meter = Meter()
        self._place = f"{platform.node()}-{os.getpid()}"

    def run(self, item: _Item, functions: Sequence[bytes]) -> _Answer:
        """Run one task."""
        began = time.perf_counter()
        if began - self._meter.at > STALE:
            self._meter.read(began)
        prints = _of_thread.prints = Prints()
        used: list[Usage] = []
        is_done = False
        try:
            if item.head is not None and item.head.walltime is not None and item.function >= 0:
                return self._run_alone(item, functions, item.head.walltime)
            result = self._result(item, functions, used)
            ended = time.perf_counter()
            try:
                data = dump_value(result)
                is_done = True
            except BaseException as error:  # noqa: BLE001  a user's __reduce__ may raise anything
                data = dump_exception(cannot_pickle(f"the result, a {type(result).__name__},", error))
        except BaseException as error:  # noqa: BLE001  sys.exit() in a function ends its task, not the worker
            ended = time.perf_counter()
            data = dump_exception(error)
        finally:
            _of_thread.prints = None
        seconds = ended - began
        usage = used[0] if used else self._meter.take(ended) if seconds >= MEASURED else None
        return _Answer(item.id, is_done, data, seconds, prints.take(), usage, self._place)

    def _result(self, item: _Item, functions: Sequence[bytes], used: list[Usage]) -> Any:
        head = item.head
        if item.function < 0:
            assert head is not None
            _guard()
            command: Command = pickle.loads(item.data)  # noqa: S301  from our own driver
            options = Options(environment=head.environment, directory=head.directory, walltime=head.walltime)
            return run_command(command, options, head.outputs, used.append)
        fn = self._function(functions[item.function])
        try:
            args, kwargs = pickle.loads(item.data)  # noqa: S301
        except BaseException as error:
            what = "an argument" if head is None else f"an argument of {head.name}"
            raise _cannot_load(what, error) from error
        if head is None:
            return fn(*args, **kwargs)
        result = run_call(Call(fn, args, kwargs), dict(head.environment), head.directory)
        check_outputs(head.name, head.outputs)
        return result

    def _function(self, data: bytes) -> Callable[..., Any]:
        fn = self._functions.get(data)
        if fn is None:
            try:
                fn = load_function(data)
            except BaseException as error:
                raise _cannot_load("the function", error) from error
            if len(self._functions) >= _MOST_FUNCTIONS:
                self._functions.clear()
            self._functions[data] = fn
        return fn

    def _run_alone(self, item: _Item, functions: Sequence[bytes], walltime: float) -> _Answer:
        assert item.head is not None
        _guard()
        began = time.perf_counter()
        alone = item._replace(function=0, head=item.head._replace(walltime=None))
        blob = pickle.dumps((sys.path, [functions[item.function]], [tuple(alone)]), 5)
        try:
            answered = _in_process(blob, item.head.name, walltime)
        except BaseException as error:  # noqa: BLE001  a KeyboardInterrupt, say, of the worker
            data, seconds = dump_exception(error), time.perf_counter() - began
            return _Answer(item.id, False, data, seconds, "", None, self._place)
        (fields,) = pickle.loads(answered)  # noqa: S301  from the process that we have started
        return _Answer(*fields)._replace(place=self._place)


def _cannot_load(what: str, error: BaseException) -> SerializationError:
    return SerializationError(f"{what} cannot be unpickled in the worker: {type(error).__name__}: {text_of(error)}")


# -- what a task prints ------------------------------------------------------------------------------------


class _OfThread(threading.local):
    prints: Prints | None = None


_of_thread = _OfThread()


class _Stdout:
    """A stdout that keeps what the task of this thread prints, and lets all else through."""

    def __init__(self, original: Any) -> None:
        self._original = original

    def __getattr__(self, name: str) -> Any:
        prints = _of_thread.prints
        return getattr(self._original if prints is None else prints, name)


# -- a task in a process of its own ------------------------------------------------------------------------


def _in_process(blob: bytes, name: str, walltime: float) -> bytes:
    """Have `main` run a parcel in a new process, which is ended when it takes longer than `walltime` seconds."""
    program = "from harmony.engines._parcel import main; main()"
    with subprocess.Popen(  # noqa: S603  our own interpreter and module
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        start_new_session=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(_SIZE.pack(len(blob)) + blob)
            process.stdin.flush()
            descriptor = process.stdout.fileno()
            _read(descriptor, 1, None)  # it is ready: what is timed is the task
            deadline = time.monotonic() + walltime
            (size,) = _SIZE.unpack(_read(descriptor, _SIZE.size, deadline))
            return _read(descriptor, size, None)
        except TimeoutError:
            raise walltime_exceeded(name, walltime) from None
        except (EOFError, BrokenPipeError):
            raise WorkerLost(f"the process that ran {name} ended by {_ending(process.wait())}") from None
        finally:
            signal_group(process.pid, signal.SIGKILL)


def _ending(status: int) -> str:
    return f"signal {-status}" if status < 0 else f"exit code {status}"


def _read(descriptor: int, size: int, deadline: float | None) -> bytes:
    data = bytearray()
    while len(data) < size:
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        if not select.select([descriptor], [], [], left)[0]:
            raise TimeoutError
        part = os.read(descriptor, min(size - len(data), 1 << 20))
        if not part:
            raise EOFError
        data += part
    return bytes(data)


def main() -> None:
    """Run one parcel from stdin; the answer goes to stdout."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what programs that the task starts print must not get among the answers
    (size,) = _SIZE.unpack(sys.stdin.buffer.read(_SIZE.size))
    blob = sys.stdin.buffer.read(size)
    answers.write(b"r")
    answers.flush()
    answer = run(blob)
    answers.write(_SIZE.pack(len(answer)) + answer)
    answers.close()
    sys.stderr.flush()
    os._exit(0)  # threads that the task has left do not matter: its result is here
