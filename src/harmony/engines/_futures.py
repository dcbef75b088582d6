"""Futures: the base of engines whose system gives a future for a call."""

from __future__ import annotations

from concurrent.futures import BrokenExecutor, CancelledError
from functools import partial
from typing import Any

from harmony.engines._dispatch import DispatchEngine, Parcel
from harmony.errors import WorkerLost


class FuturesEngine(DispatchEngine):
    """See the module, and `DispatchEngine`. A subclass says how to `_call`, and what the system's errors mean."""

    def __init__(self, *, workers: int = 0, cores: int = 1) -> None:
        super().__init__(workers=workers, cores=cores)
        self._futures: dict[int, Any] = {}

    def _call(self, parcel: Parcel) -> Any:
        """Have the system call ``_parcel.run(parcel.blob)``; return its future."""
        raise NotImplementedError

    def _translated(self, error: BaseException) -> BaseException:
        """Return what an error of the system means; those of tasks are not among them."""
        if isinstance(error, BrokenExecutor):
            return WorkerLost(f"a worker of engine {self.name!r} died: {error}")
        return error

    def _send(self, parcel: Parcel) -> None:
        future = self._futures[parcel.number] = self._call(parcel)
        future.add_done_callback(partial(self._done, parcel.number))

    def _withdraw(self, parcel: Parcel) -> None:
        future = self._futures.get(parcel.number)
        if future is not None:
            future.cancel()

    def _done(self, number: int, future: Any) -> None:
        """Take note of a future that is done. Called by the system, in whichever thread."""
        self._futures.pop(number, None)
        try:
            self._ended(number, future.result())
        except CancelledError:
            self._back(number)
        except BaseException as error:  # noqa: BLE001  whatever the system raises
            self._broke(number, self._translated(error))
