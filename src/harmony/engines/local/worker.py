"""The worker: a process that runs the functions it is sent, one after another, until its driver is gone.

It reads only when it has nothing left to run, and writes each result at once, so that a result is never lost
with the worker. ``python -c 'from harmony.engines.local.worker import main; main(…)'`` starts it.
"""

from __future__ import annotations

import os
import pickle
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

from harmony.core.task import Call
from harmony.core.travel import cannot_pickle, dump_exception, load_function
from harmony.core.usage import MEASURED, STALE, Meter
from harmony.core.work import Prints, check_outputs, run_call
from harmony.engines.local import shared, wire
from harmony.errors import SerializationError, text_of


class Terminated(BaseException):
    """The driver asks the task that runs to end, so that its ``finally`` clauses are run."""


class Worker:
    """See the module."""

    def __init__(self, frames: socket.socket, descriptors: socket.socket, board: shared.Board) -> None:
        self._frames = frames
        self._descriptors = descriptors
        self._board = board
        self._functions: dict[int, Any] = {}
        self._prints = Prints()
        self._meter = Meter()
        self._used = b""
        self._pid = os.getpid()

    def run(self) -> None:
        """Serve until the driver closes the socket."""
        for kind, body in self._read():
            if kind == wire.BATCH:
                for number, function, args, kwargs in pickle.loads(body):  # noqa: S301  from our own driver
                    if self._board.start(number):
                        self._call(number, function, args, kwargs)
                    else:
                        self._send(wire.answer(wire.SKIPPED, number, 0.0, b""))
            elif kind == wire.TASK:
                self._task(*wire.read_task(body))
            elif kind == wire.FUNCTION:
                (number,) = wire.NUMBER.unpack_from(body)
                self._functions[number] = _Unloaded(bytes(body[4:]))
            elif kind == wire.PATH:
                sys.path[:] = pickle.loads(body)  # noqa: S301  from our own driver
            elif kind == wire.FORGET:
                self._functions.pop(wire.NUMBER.unpack(body)[0], None)
            elif not self._set_up(wire.Setup(*pickle.loads(body))):  # noqa: S301  from our own driver
                return

    def _read(self) -> Iterator[tuple[int, memoryview]]:
        head, size = wire.TO_WORKER.unpack_from, wire.TO_WORKER.size
        held = bytearray()
        while data := self._frames.recv(1 << 18):
            if held:
                held += data
                if len(held) < size or len(held) < size + head(held)[1]:
                    continue
                data, held = bytes(held), bytearray()
            view, at, end = memoryview(data), 0, len(data)
            while end - at >= size:
                kind, length = head(data, at)
                if end - at - size < length:
                    break
                yield kind, view[at + size : at + size + length]
                at += size + length
            if at < end:
                held += view[at:]

    def _set_up(self, setup: wire.Setup) -> bool:
        sys.path[:] = setup.path
        sys.argv[:] = setup.argv
        sys.stdout = self._prints
        kind, payload = wire.READY, b""
        if setup.initializer is not None:
            try:
                initializer, args = pickle.loads(setup.initializer)  # noqa: S301  from our own driver
                load_function(initializer)(*pickle.loads(args))  # noqa: S301
            except BaseException as error:  # noqa: BLE001  the user's own code
                kind, payload = wire.BROKEN, dump_exception(error)
        self._send(wire.answer(kind, 0, 0.0, payload, self._prints.take()))
        return kind == wire.READY

    def _task(self, head: wire.TaskHead, payload: memoryview) -> None:
        segment = shared.receive_descriptor(self._descriptors) if head.sizes is not None else None
        if not self._board.start(head.number):
            if segment is not None:
                os.close(segment)
            self._send(wire.answer(wire.SKIPPED, head.number, 0.0, b""))
            return
        try:
            if segment is not None and head.sizes is not None:
                args, kwargs = shared.read_segment(segment, head.sizes)
            else:
                args, kwargs = pickle.loads(payload)  # noqa: S301  from our own driver
        except Terminated:
            raise
        except BaseException as error:  # noqa: BLE001  a user's __setstate__, or a module that is not here
            self._fail(head.number, 0.0, _cannot_load(f"an argument of {head.name}", error))
            return
        if head.environment or head.directory is not None or head.outputs:
            self._call(head.number, head.function, args, kwargs, head)
        else:
            self._call(head.number, head.function, args, kwargs)

    def _call(self, number: int, function: int, args: Any, kwargs: Any, head: wire.TaskHead | None = None) -> None:
        began = time.perf_counter()
        if began - self._meter.at > STALE:
            self._meter.read(began)
        try:
            fn = self._functions[function]
            if type(fn) is _Unloaded:
                fn = self._functions[function] = fn.load()
            if head is None:
                result = fn(*args, **kwargs)
            else:
                result = run_call(Call(fn, args, kwargs), head.environment, head.directory)
                check_outputs(head.name, head.outputs)
        except Terminated:
            raise
        except BaseException as error:  # noqa: BLE001  whatever the user's code raises is its result
            self._check_fork(error)
            self._fail(number, self._spent(began), error)
            return
        seconds = self._spent(began)
        self._check_fork()
        if result is None:
            self._answer(wire.NOTHING, number, seconds, b"")
        else:
            self._succeed(number, seconds, result)

    def _succeed(self, number: int, seconds: float, result: Any) -> None:
        if type(result) in shared.SMALL_TYPES:
            self._answer(wire.VALUE, number, seconds, pickle.dumps(result, 5))
            return
        try:
            encoded = shared.encode(result)
            if encoded.is_large:
                descriptor, sizes = shared.write_segment(encoded)
                shared.send_descriptor(self._descriptors, descriptor)
                kind, payload = wire.SEGMENT, pickle.dumps(sizes, 5)
            else:
                kind, payload = wire.VALUE, encoded.payload
        except Terminated:
            raise
        except BaseException as error:  # noqa: BLE001  a user's __reduce__ may raise anything
            self._fail(number, seconds, cannot_pickle(f"the result, a {type(result).__name__},", error))
            return
        self._answer(kind, number, seconds, payload)

    def _fail(self, number: int, seconds: float, error: BaseException) -> None:
        self._answer(wire.ERROR, number, seconds, dump_exception(error))

    def _spent(self, began: float) -> float:
        now = time.perf_counter()
        if now - began >= MEASURED:
            self._used = wire.dump_usage(self._meter.take(now))
        return now - began

    def _answer(self, kind: int, number: int, seconds: float, payload: bytes) -> None:
        if self._used:
            kind, payload, self._used = kind + wire.USED, self._used + payload, b""
        self._frames.sendall(wire.answer(kind, number, seconds, payload, self._prints.take()))

    def _send(self, data: bytes) -> None:
        self._frames.sendall(data)

    def _check_fork(self, error: BaseException | None = None) -> None:
        if os.getpid() == self._pid:
            return
        # The user's function forked and its child came back. There is one worker, the parent: the child ends here.
        status = 0 if error is None else 1
        if isinstance(error, SystemExit):
            status = error.code if isinstance(error.code, int) else int(error.code is not None)
        elif error is not None:
            traceback.print_exception(error)
        sys.stderr.flush()
        os._exit(status & 0xFF)


class _Unloaded:
    """A function that has arrived and was not needed yet; loading it is the first task's business."""

    __slots__ = ("_data",)

    def __init__(self, data: bytes) -> None:
        self._data = data

    def load(self) -> Callable[..., Any]:
        """Import or rebuild the function."""
        try:
            return load_function(self._data)
        except Terminated:
            raise
        except BaseException as error:
            raise _cannot_load("the function", error) from error


def _cannot_load(what: str, error: BaseException) -> SerializationError:
    return SerializationError(f"{what} cannot be unpickled in the worker: {type(error).__name__}: {text_of(error)}")


def _on_sigterm(number: int, frame: object) -> NoReturn:
    signal.signal(number, signal.SIG_IGN)  # once is enough; a second one would cut the clean-up short
    raise Terminated


def _let_forks_be_terminated() -> None:
    """In a fork SIGTERM means the default again. It is held back meanwhile: CPython drops what comes over the fork."""
    masks: dict[int, set[int]] = {}

    def before() -> None:
        masks[threading.get_ident()] = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})

    def after() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, masks.pop(threading.get_ident()))

    def after_in_child() -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        after()

    os.register_at_fork(before=before, after_in_parent=after, after_in_child=after_in_child)


def _on_sigint(number: int, frame: object) -> None:
    """Ctrl-C is the driver's business. A handler, not SIG_IGN, which the programs that a task starts would inherit."""


def main(frames: int, descriptors: int, board: int) -> None:
    """Run a worker on these inherited descriptors."""
    signal.signal(signal.SIGTERM, _on_sigterm)
    signal.signal(signal.SIGINT, _on_sigint)
    _let_forks_be_terminated()
    try:
        Worker(socket.socket(fileno=frames), socket.socket(fileno=descriptors), shared.Board(board)).run()
    except (Terminated, ConnectionError, EOFError):
        pass
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    sys.stdout = sys.__stdout__
