"""A desk: a thread that does one errand after another, at once or later. For what may take seconds."""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
import time
from collections.abc import Callable

_log = logging.getLogger("harmony")


class Desk:
    """See the module. Errands may be given from any thread, also by an errand; the thread starts with the first."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._changed = threading.Condition()
        self._errands: list[tuple[float, int, Callable[[], object]]] = []
        self._count = itertools.count()
        self._closed = False
        self._thread: threading.Thread | None = None

    def do(self, errand: Callable[[], object], after: float = 0.0) -> None:
        """Have an errand done, `after` so many seconds; those due at once in their order."""
        with self._changed:
            due = time.monotonic() + after if after > 0 else 0.0
            heapq.heappush(self._errands, (due, next(self._count), errand))
            if self._thread is None and not self._closed:
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()
            self._changed.notify()

    def close(self) -> None:
        """Do what is due now, and end the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def _run(self) -> None:
        while (errand := self._next()) is not None:
            try:
                errand()
            except Exception:  # noqa: BLE001  a fault of ours must not end the thread
                _log.exception("a fault inside the jobs engine, please report it")

    def _next(self) -> Callable[[], object] | None:
        with self._changed:
            while True:
                left = self._errands[0][0] - time.monotonic() if self._errands else None
                if left is not None and left <= 0:
                    return heapq.heappop(self._errands)[2]
                if self._closed:
                    return None
                self._changed.wait(None if left is None else min(left, threading.TIMEOUT_MAX))
