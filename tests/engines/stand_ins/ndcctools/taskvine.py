"""Stands in for ndcctools.taskvine: what our engine calls, with the manners of the real one, warts included.

A timeout that is no int is a TypeError; `wait(0)` only returns what is there; a function of a library that raises is a
success whose output is a traceback; a Python task that raises has no output; a process killed by a signal is a success
whose exit code is the signal's number; a library with more slots than cores, or `dead_library`, never answers; a worker
that dies has its tasks run again, silently; no two threads may use a manager at once.
"""

from __future__ import annotations

import itertools
import os
import pickle
import select
import socket
import struct
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cloudpickle

SIZE = struct.Struct("!Q")
#: Set by a test: libraries die when they start, as they do when a module is missing at the worker.
dead_library = False


#: Where large messages lie, so that two who both have much to say do not wait for each other.
folder = tempfile.gettempdir()
_LARGE = 50_000


def say(channel: socket.socket, message: object) -> None:
    data = cloudpickle.dumps(message)
    if len(data) > _LARGE:
        descriptor, path = tempfile.mkstemp(dir=folder)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
        data = pickle.dumps(Path(path))
    channel.sendall(SIZE.pack(len(data)) + data)


def hear(channel: socket.socket) -> Any:
    """Return a message; None when the other side is gone."""
    try:
        head = channel.recv(SIZE.size, socket.MSG_WAITALL)
        if len(head) < SIZE.size:
            return None
        (size,) = SIZE.unpack(head)
        data = b""
        while len(data) < size:
            part = channel.recv(size - len(data))
            if not part:
                return None
            data += part
    except OSError:
        return None
    message = pickle.loads(data)
    if isinstance(message, Path):
        data = message.read_bytes()
        message.unlink()
        message = pickle.loads(data)
    return message


class Task:
    def __init__(self) -> None:
        self.id = 0
        self.cores = 1
        self.result = ""
        self.exit_code = -1
        self.std_output = ""
        self.output: Any = None
        self.settings: dict[str, Any] = {}

    def __getattr__(self, name: str) -> Callable[..., None]:
        if name not in ("set_memory", "set_disk", "set_gpus", "set_retries", "set_function_slots"):
            raise AttributeError(name)
        return lambda value: self.settings.update({name[4:]: value})

    def set_cores(self, cores: int) -> None:
        self.cores = cores

    def successful(self) -> bool:
        return self.result == "success" and self.exit_code == 0


class PythonTask(Task):
    library: str | None = None

    def __init__(self, fn: Callable[..., Any], *args: Any) -> None:
        super().__init__()
        self.fn, self.args = fn, args

    def end(self, kind: str, value: Any) -> None:
        self.result, self.exit_code = "success", 0
        if kind == "value":
            self.output = value
        elif kind == "raised":
            self.result, self.exit_code, self.std_output = "output missing", 1, value
        else:
            self.exit_code = value


class FunctionCall(PythonTask):
    def __init__(self, library: str, fn: str, *args: Any) -> None:
        super().__init__(abs, *args)
        self.library, self.name = library, fn

    def end(self, kind: str, value: Any) -> None:
        super().end("value" if kind == "raised" else kind, value)


class LibraryTask(Task):
    def __init__(self, name: str, functions: tuple[Callable[..., Any], ...]) -> None:
        super().__init__()
        self.name = name
        self.functions = {function.__name__: function for function in functions}


class Manager:
    def __init__(self, port: int = 9123, run_info_path: str = "vine-run-info") -> None:
        global folder  # noqa: PLW0603  one manager a test
        os.makedirs(run_info_path, exist_ok=True)
        folder = os.path.dirname(os.path.abspath(run_info_path))
        self._listening = socket.create_server(("127.0.0.1", port))
        self.port = self._listening.getsockname()[1]
        self.stats = SimpleNamespace(workers_connected=0)
        self._workers: dict[socket.socket, dict[str, Any]] = {}
        self._tasks: dict[int, PythonTask] = {}
        self._ready: list[PythonTask] = []
        self._ended: list[PythonTask] = []
        self._libraries: dict[str, LibraryTask] = {}
        self._numbers = itertools.count(1)
        self._thread: int | None = None
        self.password: bytes = b""

    def __del__(self) -> None:
        for channel in [*self._workers, self._listening]:
            channel.close()

    def set_password_file(self, path: str) -> int:
        with open(path, "rb") as stream:
            self.password = stream.read()
        return 1

    def create_library_from_functions(
        self, name: str, *functions: Callable[..., Any], add_env: bool = True, exec_mode: str = "fork"
    ) -> LibraryTask:
        assert not add_env  # there is no conda here to pack
        assert exec_mode in ("fork", "direct")
        return LibraryTask(name, functions)

    def install_library(self, library: LibraryTask) -> None:
        self._libraries[library.name] = library

    def remove_library(self, name: str) -> None:
        del self._libraries[name]

    def submit(self, task: PythonTask) -> int:
        self._check_thread()
        if task.library is not None and task.library not in self._libraries:
            raise ValueError(f"invalid library name '{task.library}'")
        task.id = next(self._numbers)
        self._tasks[task.id] = task
        self._ready.append(task)
        return task.id

    def cancel_by_task_id(self, number: int) -> int:
        self._check_thread()
        task = self._tasks.pop(number, None)
        if task is None:
            return 0
        if task in self._ready:
            self._ready.remove(task)
        for channel, worker in self._workers.items():
            if worker["running"].pop(number, None):
                say(channel, ("cancel", number))
        task.result, task.exit_code = "cancelled", -1
        self._ended.append(task)
        return 1

    def cancel_all(self) -> None:
        for number in list(self._tasks):
            self.cancel_by_task_id(number)

    def workers_shutdown(self, count: int = 0) -> None:
        for channel in self._workers:
            say(channel, ("exit",))

    def wait(self, timeout: int) -> PythonTask | None:
        if type(timeout) is not int:
            raise TypeError("in method 'vine_wait_for_tag', argument 3 of type 'int'")
        self._check_thread()
        deadline = time.monotonic() + timeout
        while not self._ended and timeout:
            left = deadline - time.monotonic()
            if left <= 0:
                break
            self._place()
            for channel in select.select([self._listening, *self._workers], [], [], left)[0]:
                self._accept() if channel is self._listening else self._hear(channel)
        return self._ended.pop(0) if self._ended else None

    def _check_thread(self) -> None:
        self._thread = self._thread or threading.get_ident()
        assert self._thread == threading.get_ident(), "two threads use one manager"

    def _accept(self) -> None:
        channel, _ = self._listening.accept()
        hello = hear(channel)
        if hello is None or hello["password"] != self.password:
            channel.close()
            return
        self._workers[channel] = {"cores": hello["cores"], "running": {}}
        self.stats.workers_connected = len(self._workers)

    def _hear(self, channel: socket.socket) -> None:
        message = hear(channel)
        if message is None:
            self._ready[:0] = self._workers.pop(channel)["running"].values()
            self.stats.workers_connected = len(self._workers)
            channel.close()
            return
        number, kind, value = message
        task = self._workers[channel]["running"].pop(number, None)
        if task is not None:
            del self._tasks[number]
            task.end(kind, value)
            self._ended.append(task)

    def _place(self) -> None:
        for task in list(self._ready):
            for channel, worker in self._workers.items():
                used = sum(other.cores for other in worker["running"].values())
                fn = self._function(task, worker["cores"])
                if fn is not None and used + task.cores <= worker["cores"]:
                    self._ready.remove(task)
                    worker["running"][task.id] = task
                    say(channel, ("run", task.id, fn, task.args))
                    break

    def _function(self, task: PythonTask, cores: int) -> Callable[..., Any] | None:
        if not isinstance(task, FunctionCall):
            return task.fn
        library = self._libraries.get(task.library or "")
        if library is None or dead_library or library.settings.get("function_slots", 1) > min(cores, library.cores):
            return None
        return library.functions[task.name]
