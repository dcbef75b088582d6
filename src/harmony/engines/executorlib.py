"""The executorlib engine: tasks through an executor of executorlib."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from concurrent.futures import Executor, Future

from harmony.engines._dispatch import Parcel
from harmony.engines._futures import FuturesEngine
from harmony.engines._guard import end_with
from harmony.engines._parcel import run
from harmony.errors import WorkerLost
from harmony.resources import check_whole


class ExecutorlibEngine(FuturesEngine):
    """Runs tasks in the resident workers of `SingleNodeExecutor`, or in those of what `make` returns.

    `make` is for executorlib's other executors, such as `FluxJobExecutor` and `SlurmJobExecutor`, which need an
    allocation; `workers` is how many calls they run at once: on one machine as many as it has cores, by default.
    A worker that dies breaks its executor for good, so on one machine each worker has an executor to itself, and what
    is broken is made anew.
    """

    name = "executorlib"

    def __init__(self, workers: int | None = None, *, make: Callable[[], Executor] | None = None) -> None:
        if workers is not None:
            check_whole("workers", workers, 1)
        super().__init__(workers=workers or os.cpu_count() or 1)
        self._make = make or _one_worker
        self._is_here = make is None
        self._executors: list[_Slot] = [_Slot() for _ in range(1 if make else self._feeder.workers)]
        self._slots: dict[int, _Slot] = {}

    def _open(self) -> None:
        """Import it, but start nothing: threads that executorlib starts in ours hold up no program at its end."""
        if self._is_here:
            import executorlib  # noqa: F401  for who has not installed it to be told now

    def _fill(self, slot: _Slot) -> None:
        slot.executor = self._make()
        if self._is_here:
            slot.process = slot.executor.submit(end_with, os.getpid())

    def _call(self, parcel: Parcel) -> Future[bytes]:
        slot = self._slots[parcel.number] = min(self._executors, key=lambda slot: slot.out)
        if slot.executor is None:
            self._fill(slot)
        assert slot.executor is not None
        slot.out += 1
        return slot.executor.submit(run, parcel.blob)

    def _translated(self, error: BaseException) -> BaseException:
        from executorlib.standalone.interactive.communication import ExecutorlibSocketError

        return WorkerLost("a worker of executorlib died") if isinstance(error, ExecutorlibSocketError) else error

    def _settled(self, parcel: Parcel, error: BaseException | None) -> None:
        slot = self._slots.pop(parcel.number)
        slot.out -= 1
        if isinstance(error, WorkerLost) and slot.executor is not None:
            slot.executor.shutdown(wait=False, cancel_futures=True)
            slot.executor = None

    def _shut(self) -> None:
        for slot in self._executors:
            if slot.executor is None:
                continue
            process = slot.process.result() if slot.process is not None and _is_good(slot.process) else None
            has_worker = self._is_here and (process is None or _is_running(process))
            if slot.out and process is not None and has_worker:
                os.kill(process, signal.SIGKILL)  # what it runs has no other end
            # To a worker that has gone executorlib would talk for ever.
            slot.executor.shutdown(wait=has_worker, cancel_futures=True)


class _Slot:
    """An executor, and how many parcels it has."""

    def __init__(self) -> None:
        self.executor: Executor | None = None
        self.process: Future[int] | None = None
        self.out = 0


def _is_good(future: Future[int]) -> bool:
    return future.done() and not future.cancelled() and future.exception() is None


def _is_running(process: int) -> bool:
    try:
        return os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
    except ChildProcessError:
        return False


def _one_worker() -> Executor:
    from executorlib import SingleNodeExecutor

    made: Executor = SingleNodeExecutor(max_workers=1, block_allocation=True, hostname_localhost=True, restart_limit=0)
    return made
