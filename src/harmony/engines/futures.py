"""The futures engine: any `concurrent.futures.Executor`, or a pool of processes of its own."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor
from typing import Any

from harmony.engines._dispatch import Parcel
from harmony.engines._futures import FuturesEngine
from harmony.engines._guard import end_with
from harmony.engines._parcel import run
from harmony.errors import ConfigError
from harmony.resources import check_whole


class ExecutorEngine(FuturesEngine):
    """Runs tasks through an `Executor`, which is not shut down at the end, or through one that a function makes.

    The one that a function makes is this engine's: it is shut down at the end, and made anew when a worker has broken
    it. By default it is a `ProcessPoolExecutor` that spawns, so that a program has to guard what it does by ``if
    __name__ == "__main__":``. `workers` is how many calls the executor runs at once: what it says itself, or as many as
    this machine has cores.
    """

    name = "futures"
    one_fate = True

    def __init__(
        self, executor: Executor | Callable[[], Executor] | None = None, *, workers: int | None = None
    ) -> None:
        if workers is not None:
            check_whole("workers", workers, 1)
        if executor is not None and not isinstance(executor, Executor) and not callable(executor):
            raise ConfigError(
                f"executor={executor!r} must be a concurrent.futures.Executor, or a function that makes one"
            )
        count = workers or getattr(executor, "_max_workers", None) or os.cpu_count() or 1
        super().__init__(workers=count)
        self._given = executor if isinstance(executor, Executor) else None
        self._make: Callable[[], Executor] = executor if callable(executor) else self._pool
        self._executor = self._given

    def _pool(self) -> Executor:
        spawn = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(self._feeder.workers, spawn, initializer=end_with, initargs=(os.getpid(),))

    def _open(self) -> None:
        if self._executor is None:
            self._executor = self._make()

    def _call(self, parcel: Parcel) -> Future[bytes]:
        assert self._executor is not None
        try:
            return self._executor.submit(run, parcel.blob)
        except BrokenExecutor:
            if self._given is not None:
                raise
            _end(self._executor)
            self._executor = self._make()
            return self._executor.submit(run, parcel.blob)

    def _shut(self) -> None:
        if self._given is not None:
            for future in list(self._futures.values()):
                future.cancel()
        elif self._executor is not None:
            _end(self._executor)


def _end(executor: Executor) -> None:
    processes: dict[int, Any] = getattr(executor, "_processes", None) or {}
    for process in list(processes.values()):  # what they run has no other end
        process.kill()
    executor.shutdown(wait=True, cancel_futures=True)
