"""Dispatch: the base of engines that hand tasks to another system. One thread owns the system's client.

kernel's thread   submit, cancel ─▶ inbox
system's threads  _ended, _broke, _resize ─▶ inbox
harmony-NAME      inbox ─▶ feeder ─▶ parcels ─▶ _send;  what came back ─▶ report
"""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from harmony.core.engine import Capability, Capacity, Report, Submission, Update
from harmony.core.task import TaskState
from harmony.engines._feeder import Feeder
from harmony.engines._parcel import Packer, unpack
from harmony.errors import ConfigError, EngineError, EngineFailed

_log = logging.getLogger("harmony")

#: What every system can do that runs `_parcel.run` in its workers.
PARCEL = frozenset(
    {
        Capability.CALLS,
        Capability.COMMANDS,
        Capability.WALLTIME,
        Capability.ENVIRONMENT,
        Capability.DIRECTORY,
    }
)


@dataclass(eq=False, slots=True)
class Parcel:
    """Tasks that travel together: `blob` is for `_parcel.run`."""

    number: int
    submissions: Sequence[Submission]
    blob: bytes
    cancelled: set[int] = field(default_factory=set)

    @property
    def only(self) -> Submission | None:
        """The task, where it travels alone: it may ask for more than one core."""
        return self.submissions[0] if len(self.submissions) == 1 else None


class DispatchEngine:
    """See the module. A subclass names itself, and says how to `_open`, `_send` and `_shut`; all else is here.

    Its methods whose names begin with one underscore are called in the engine's thread, but `_open`, which is called in
    `start`. It may call `_ended`, `_broke`, `_back`, `_resize` and `_fail_all` from any thread.
    """

    name: ClassVar[str]
    capabilities = PARCEL
    #: True where the death of a worker ends them all.
    one_fate: ClassVar[bool] = False

    def __init__(self, *, workers: int = 0, cores: int = 1) -> None:
        self._feeder = Feeder(workers, cores, one_fate=self.one_fate)
        self._cores = cores
        self._packer = Packer()
        self._inbox: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._out: dict[int, Parcel] = {}
        self._number = 0
        self._fault: EngineError | None = None
        self._report: Report | None = None
        self._thread: threading.Thread | None = None
        self._closed = False

    # -- what a subclass gives ---------------------------------------------------------------------------

    def _open(self) -> None:
        """Get ready. Raises `EngineError` or `ConfigError` when the system cannot be used, and then holds nothing."""

    def _send(self, parcel: Parcel) -> None:
        """Hand a parcel to the system, which answers with `_ended` or `_broke`."""
        raise NotImplementedError

    def _withdraw(self, parcel: Parcel) -> None:
        """Take back, or end, a parcel whose tasks are all cancelled, if the system can; say so with `_back`."""

    def _settled(self, parcel: Parcel, error: BaseException | None) -> None:
        """Take note that a parcel is no longer out: it was answered, or failed by `error`, or taken back."""

    def _fed(self, waiting: int, running: int) -> None:
        """Take note of how many cores the tasks want that wait, and that are out. After each turn."""

    def _remaining(self) -> float | None:
        """Return for how many seconds the workers will be there; None where that has no end."""
        return None

    def _shut(self) -> None:
        """End what still runs, release everything, leave no process."""

    # -- the port ----------------------------------------------------------------------------------------

    @property
    def capacity(self) -> Capacity:
        """One worker's cores, and how many workers there are."""
        return Capacity(cores=self._cores, workers=self._feeder.workers or None)

    def start(self, report: Report) -> None:
        """See `Engine`."""
        if self._thread is not None:
            raise ConfigError(f"this {type(self).__name__} was started before; make a new one for each workflow")
        self._report = report
        self._open()
        self._thread = threading.Thread(target=self._run, name=f"harmony-{self.name}", daemon=True)
        self._thread.start()

    def submit(self, batch: Sequence[Submission]) -> None:
        """See `Engine`."""
        self._inbox.put(lambda: self._take(batch))

    def cancel(self, ids: Sequence[int]) -> None:
        """See `Engine`."""
        self._inbox.put(lambda: self._cancel(frozenset(ids)))

    def close(self) -> None:
        """See `Engine`."""
        if self._closed:
            return
        self._closed = True
        self._report = None
        if self._thread is not None:
            self._inbox.put(None)
            self._thread.join()

    # -- what a subclass says ------------------------------------------------------------------------------

    def _ended(self, number: int, blob: bytes) -> None:
        """The system has the answer to a parcel. From any thread."""
        self._inbox.put(lambda: self._take_answer(number, blob))

    def _broke(self, number: int, error: BaseException) -> None:
        """The system has failed a parcel. From any thread."""
        self._inbox.put(lambda: self._fail(number, error))

    def _back(self, number: int) -> None:
        """The system will not run a parcel that was withdrawn. From any thread."""
        self._inbox.put(lambda: self._took_back(number))

    def _resize(self, workers: int) -> None:
        """So many workers are there now. From any thread."""
        self._inbox.put(lambda: setattr(self._feeder, "workers", workers))

    def _fail_all(self, error: BaseException) -> None:
        """Nothing can be run any more. From any thread."""
        self._inbox.put(lambda: self._give_up(error))

    # -- the thread ----------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while self._turn():
                pass
        except Exception as error:  # noqa: BLE001  a fault of ours must not leave tasks waiting for ever
            _log.exception("a fault inside Harmony, please report it")
            self._give_up(error)
            for act in iter(self._inbox.get, None):
                with contextlib.suppress(Exception):
                    act()  # which may be a batch of tasks
                self._give_up(error)
        finally:
            self._out.clear()
            try:
                self._shut()
            except Exception:  # noqa: BLE001  whatever the system raises; the workflow is closed all the same
                _log.exception("engine %r has not ended as it should", self.name)

    def _turn(self) -> bool:
        act = self._wait()
        while act is not None:
            act()
            if self._inbox.empty():
                self._feed()
                return True
            act = self._inbox.get()
        return False

    def _wait(self) -> Callable[[], None] | None:
        return self._inbox.get()

    def _feed(self) -> None:
        if self._fault is not None:
            self._give_up(self._fault)
            return
        for submissions in self._feeder.take(self._remaining() if len(self._feeder) else None):
            rest: Sequence[Submission] = submissions
            while rest:
                rest = self._pack(rest)
        self._fed(len(self._feeder), self._feeder.busy)

    def _pack(self, submissions: Sequence[Submission]) -> Sequence[Submission]:
        packed = self._packer.pack(submissions)
        self._number += 1
        if packed.failed:
            self._tell(packed.failed)
        if not packed.sent:
            self._feeder.ended(submissions, None)
            return ()
        if packed.left:
            self._feeder.out_too(packed.left[0])
        parcel = self._out[self._number] = Parcel(self._number, packed.sent, packed.blob)
        try:
            self._send(parcel)
        except Exception as error:  # noqa: BLE001  whatever the system raises
            self._fail(parcel.number, error)
        return packed.left

    def _take(self, batch: Sequence[Submission]) -> None:
        self._feeder.add(batch)

    def _cancel(self, ids: Collection[int]) -> None:
        dropped = self._feeder.drop(ids)
        self._tell([Update(submission.id, TaskState.CANCELLED) for submission in dropped])
        for parcel in list(self._out.values()):
            hit = {submission.id for submission in parcel.submissions if submission.id in ids}
            if hit:
                parcel.cancelled |= hit
                if len(parcel.cancelled) == len(parcel.submissions):
                    self._withdraw(parcel)

    def _take_answer(self, number: int, blob: bytes) -> None:
        parcel = self._out.pop(number, None)
        if parcel is None:
            return
        try:
            updates = unpack(blob)
        except Exception as error:  # noqa: BLE001  bytes that are not an answer
            self._out[number] = parcel
            self._fail(number, error)
            return
        self._settled(parcel, None)
        self._feeder.ended(parcel.submissions, sum([update.seconds for update in updates]))
        self._tell(updates)

    def _fail(self, number: int, error: BaseException) -> None:
        parcel = self._out.pop(number, None)
        if parcel is None:
            return
        self._settled(parcel, error)
        self._feeder.ended(parcel.submissions, None)
        self._feeder.suspect(submission.id for submission in parcel.submissions)
        failure = self._as_engine_error(error)
        self._tell([Update(submission.id, TaskState.FAILED, error=failure) for submission in parcel.submissions])

    def _took_back(self, number: int) -> None:
        parcel = self._out.pop(number, None)
        if parcel is not None:
            self._settled(parcel, None)
            self._feeder.ended(parcel.submissions, None)
            self._tell([Update(submission.id, TaskState.CANCELLED) for submission in parcel.submissions])

    def _give_up(self, error: BaseException) -> None:
        self._fault = failure = self._as_engine_error(error)
        lost = self._feeder.drop_all()
        for parcel in self._out.values():
            lost += parcel.submissions
        self._out.clear()
        self._tell([Update(submission.id, TaskState.FAILED, error=failure) for submission in lost])

    def _as_engine_error(self, error: BaseException) -> EngineError:
        if isinstance(error, EngineError):
            return error
        failure = EngineFailed(f"engine {self.name!r} failed: {type(error).__name__}: {error}")
        failure.__cause__ = error
        return failure

    def _tell(self, updates: Sequence[Update]) -> None:
        report = self._report
        if report is not None and updates:
            report(updates)
