"""The local engine: the port, the thread that hears from workers and commands, and who starts next.

    kernel's thread   submit ─▶ queue ─▶ dispatch ─▶ frames ─▶ worker processes     (under the lock)
    harmony-local     answers, ends, timers ─▶ dispatch ─▶ report                   (under the lock, but `report`)

Either thread may start what can start, so a task that finds a free worker is with it before `submit` returns. The
thread `harmony-local` sleeps until a worker answers, a process ends or a timer is due; nothing is polled.
"""

from __future__ import annotations

import logging
import os
import selectors
import threading
import uuid
from collections.abc import Callable, Sequence
from typing import Any

from harmony.core.engine import Capability, Capacity, Notice, Report, Submission, Update
from harmony.engines._guard import Guard
from harmony.engines.local.crew import Crew
from harmony.engines.local.exits import Exits
from harmony.engines.local.foreman import Foreman
from harmony.engines.local.handle import WorkerHandle
from harmony.engines.local.programs import Program, unrecorded
from harmony.engines.local.slots import Slots, count_cores, find_gpus, total_memory
from harmony.engines.local.timers import Timers
from harmony.errors import ConfigError, EngineFailed
from harmony.resources import check_whole, parse_memory

_log = logging.getLogger("harmony")


class LocalEngine:
    """Runs functions and commands on this machine; the default of every workflow.

    `workers` processes run functions (default: as many as cores). `cores`, `gpus` (a number or device names) and
    `memory` (bytes or "8GB") are what tasks may take together; the default is what this process may use.
    `initializer(*initargs)` runs once in each worker, before its first task. Commands need no worker. Workers get
    OMP_NUM_THREADS = cores / workers unless it is set. Raises `ConfigError` for numbers that make no sense.
    """

    capabilities = frozenset(Capability) - {
        Capability.IN_CALLER,
        Capability.MULTI_NODE,
        Capability.SHARED_MEMORY,
        Capability.REATTACH,
    }

    def __init__(
        self,
        workers: int | None = None,
        *,
        cores: int | None = None,
        gpus: int | Sequence[str] | None = None,
        memory: int | str | None = None,
        initializer: Callable[..., Any] | None = None,
        initargs: Sequence[Any] = (),
    ) -> None:
        for name, value in (("workers", workers), ("cores", cores)):
            if value is not None:
                check_whole(name, value, 1)
        size = parse_memory(memory)
        if size is not None and size <= 0:
            raise ConfigError(f"memory={memory!r} must be more than 0")
        if initializer is not None and not callable(initializer):
            raise ConfigError(f"initializer={initializer!r} cannot be called")
        self._cores = cores or workers or count_cores()
        self._workers = workers or self._cores
        self._slots = Slots(self._cores, find_gpus(gpus), size or total_memory())
        self._initializer = None if initializer is None else (initializer, initargs)
        self._guard = Guard(uuid.uuid4().hex)
        self._lock = threading.Lock()
        self._timers = Timers()
        self._updates: list[Update | Notice] = []
        self._foreman: Foreman | None = None
        self._report: Report | None = None
        self._closing = False
        self._wake = (-1, -1)
        self._thread: threading.Thread | None = None

    @property
    def capacity(self) -> Capacity:
        """What this engine was given of the machine."""
        return Capacity(cores=self._slots.cores, gpus=len(self._slots.gpus), memory=self._slots.memory)

    # -- the port ------------------------------------------------------------------------------------

    def start(self, report: Report) -> None:
        """See `Engine`. Workers start when the first function comes."""
        if self._thread is not None:
            raise ConfigError("this LocalEngine was started before; make a new one for each workflow")
        self._selector: selectors.BaseSelector = selectors.DefaultSelector()
        self._exits = Exits(self._selector, self._wake_up)
        crew = Crew(self._workers, self._for_workers, self._initializer, self._watch, self._retire, self._updates)
        self._foreman = Foreman(
            self._slots,
            crew,
            self._environment,
            after=self._after,
            watch=self._watch_program,
            retire=self._retire,
        )
        _fill_standard_streams()
        self._guard.start()
        self._report = report
        self._wake = os.pipe()
        os.set_blocking(self._wake[0], False)
        os.set_blocking(self._wake[1], False)
        self._selector.register(self._wake[0], selectors.EVENT_READ, self._on_wake)
        self._thread = threading.Thread(target=self._run, name="harmony-local", daemon=True)
        self._thread.start()

    def submit(self, batch: Sequence[Submission]) -> None:
        """See `Engine`."""
        self._do(lambda foreman: foreman.submit(batch))

    def cancel(self, ids: Sequence[int]) -> None:
        """See `Engine`."""
        self._do(lambda foreman: foreman.cancel(set(ids)))

    def close(self) -> None:
        """See `Engine`. What runs gets SIGTERM, and a second later SIGKILL."""
        with self._lock:
            report, self._report = self._report, None
            if report is None:
                return
            self._closing = True
        self._wake_up()
        if self._thread is not None:
            self._thread.join()
        if self._updates:
            report(self._updates[:])  # how the workers ended
        self._selector.close()
        for descriptor in self._wake:
            os.close(descriptor)
        self._guard.dismiss()

    def _do(self, act: Callable[[Foreman], None]) -> None:
        with self._lock:
            if self._foreman is None or self._closing:
                return
            act(self._foreman)
            updates = self._flush(self._foreman)
        self._tell(updates)

    # -- harmony-local -------------------------------------------------------------------------------

    def _run(self) -> None:
        assert self._foreman is not None
        try:
            self._serve(self._foreman)
        except Exception as error:  # noqa: BLE001  a fault of ours: all that waits must end
            _log.exception("a fault inside the local engine; it cannot go on")
            with self._lock:
                self._foreman.give_up(EngineFailed(f"a fault inside the local engine, please report it: {error!r}"))
                updates, self._updates[:] = self._updates[:], []
            self._tell(updates)

    def _serve(self, foreman: Foreman) -> None:
        while True:
            happened = self._selector.select(self._timers.seconds())
            with self._lock:
                for key, events in happened:
                    key.data(events)
                self._timers.run()
                if self._closing:
                    self._updates[:] = [news for news in self._updates if isinstance(news, Notice)]
                    if foreman.wind_up():
                        return
                    continue
                foreman.dispatch()
                updates = self._flush(foreman)
            self._tell(updates)

    def _flush(self, foreman: Foreman) -> list[Update | Notice]:
        for worker in foreman.workers:
            if worker.has_to_say and not worker.is_retired:
                self._send(worker)
        if not self._updates:
            return []
        updates = self._updates[:]
        self._updates.clear()
        return updates

    def _send(self, worker: WorkerHandle) -> None:
        sent = worker.flush()
        wanted = selectors.EVENT_READ if sent else selectors.EVENT_READ | selectors.EVENT_WRITE
        if wanted != worker.watched:
            worker.watched = wanted
            self._selector.modify(worker.frames, wanted, self._selector.get_key(worker.frames).data)

    def _tell(self, updates: list[Update | Notice]) -> None:
        report = self._report
        if updates and report is not None:
            report(updates)

    def _on_wake(self, events: int) -> None:
        try:
            os.read(self._wake[0], 4096)
        except BlockingIOError:
            pass
        self._exits.collect()

    def _on_worker(self, worker: WorkerHandle, events: int) -> None:
        if self._foreman is not None and not worker.is_retired and events & selectors.EVENT_READ:
            self._foreman.heard(worker)

    def _on_end(self, program: Program) -> None:
        assert self._foreman is not None
        self._guard.strike(program.pid)
        self._foreman.ended(program)

    def _on_death(self, worker: WorkerHandle) -> None:
        assert self._foreman is not None
        self._guard.strike(worker.pid)
        if not worker.is_retired:
            while not worker.is_drained:
                self._foreman.heard(worker)
            self._selector.unregister(worker.frames)
        self._foreman.died(worker)

    def _wake_up(self) -> None:
        if self._thread is None:
            return
        try:
            os.write(self._wake[1], b"!")
        except BlockingIOError:
            pass  # it is awake, or will be

    # -- what the foreman asks for: under the lock ------------------------------------------------------

    def _environment(self) -> dict[str, str]:
        environment = self._guard.environment()
        environment.setdefault("OMP_NUM_THREADS", str(max(1, self._cores // self._workers)))
        return environment

    def _for_workers(self) -> dict[str, str]:
        environment = self._environment()
        unrecorded(environment)
        return environment

    def _watch(self, worker: WorkerHandle) -> None:
        self._selector.register(worker.frames, selectors.EVENT_READ, lambda events: self._on_worker(worker, events))
        self._guard.note(worker.pid)
        self._exits.watch(worker.pid, lambda: self._on_death(worker))

    def _watch_program(self, program: Program) -> None:
        self._guard.note(program.pid)
        self._exits.watch(program.pid, lambda: self._on_end(program))

    def _retire(self, worker: WorkerHandle) -> None:
        self._selector.unregister(worker.frames)
        worker.retire()

    def _after(self, seconds: float, act: Callable[[], object]) -> None:
        self._timers.add(seconds, act)
        if threading.current_thread() is not self._thread:
            self._wake_up()


def _fill_standard_streams() -> None:
    """Open what a daemon has closed of descriptors 0 to 2, or pipes would get these numbers and pass for streams."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
