"""Writers: which task of a workflow writes which file, so that those that read it wait for it."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

from harmony.core import graph
from harmony.core.data import File
from harmony.core.future import TaskFuture
from harmony.core.task import Task


class Writers:
    """See the module. Used from any thread.

    A file has one writer, because nothing says which of two would come last. Another is accepted when the first
    failed or was cancelled, or when the second waits for the first.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._writers: dict[File, TaskFuture[Any] | str] = {}
        self._limit = 4096

    def enter(self, task: Task, future: TaskFuture[Any], parents: Sequence[Future[Any]]) -> list[Future[Any]]:
        """Note what the task writes, and return the futures of those that write what it reads.

        Raises `WorkflowError` when another task writes one of its outputs.
        """
        with self._lock:
            readable = [self._writers.get(file) for file in task.inputs]
            found: list[Future[Any]] = [writer for writer in readable if isinstance(writer, Future)]
            for file in task.outputs:
                writer = self._writers.get(file)
                if writer is None or writer in parents or writer in found:
                    continue
                if isinstance(writer, str) or not _failed(writer):
                    raise graph.two_writers(file, writer if isinstance(writer, str) else _name(writer), task.name)
            self._writers.update(dict.fromkeys(task.outputs, future))
            if len(self._writers) > self._limit:
                self._release()
        return found

    def _release(self) -> None:
        """Let go of the futures, and so of the results, of writers that ended well: nobody has to wait for them."""
        for file, writer in self._writers.items():
            if isinstance(writer, Future) and writer.done() and not _failed(writer):
                self._writers[file] = _name(writer)
        self._limit = 2 * len(self._writers)


def _failed(writer: TaskFuture[Any]) -> bool:
    return writer.done() and (writer.cancelled() or writer.exception() is not None)


def _name(writer: TaskFuture[Any]) -> str:
    return f"{writer.name} (task {writer.id})"
