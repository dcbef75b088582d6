"""Delivery: the thread that runs users' callbacks, so that a slow one delays other callbacks but no task."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Iterable
from typing import Any

from harmony.core.future import TaskFuture, run_callbacks

_log = logging.getLogger("harmony")


class Delivery:
    """See the module. Without `start` callbacks run where they are due, in the caller of `put`."""

    def __init__(self) -> None:
        self._due: queue.SimpleQueue[TaskFuture[Any] | Callable[[], None] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread; it ends with `close`."""
        self._thread = threading.Thread(target=self._run, name="harmony-delivery", daemon=True)
        self._thread.start()

    def put(self, futures: Iterable[TaskFuture[Any]]) -> None:
        """Run the callbacks of futures that have ended. From any thread."""
        for future in futures:
            if self._thread is None:
                run_callbacks(future)
            else:
                self._due.put(future)

    def call(self, after: Callable[[], None]) -> None:
        """Call `after` when the callbacks that are due by now have run."""
        self._due.put(after)

    def close(self) -> None:
        """Run what is due, and end; from the thread itself, without waiting for it."""
        self._due.put(None)
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def _run(self) -> None:
        while (item := self._due.get()) is not None:
            try:
                run_callbacks(item) if isinstance(item, TaskFuture) else item()
            except BaseException:  # noqa: BLE001  a callback that exits must not end the delivery of all others
                _log.exception("a callback of %r failed", item)
