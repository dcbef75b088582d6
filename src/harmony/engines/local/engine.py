"""The local engine: the port, the thread that hears from workers and commands, and who starts next.

    kernel's thread   submit ─▶ queue ─▶ dispatch ─▶ frames ─▶ worker processes     (under the lock)
    harmony-local     answers, ends, timers ─▶ dispatch ─▶ report                   (under the lock, but `report`)

Either thread may start what can start, so a task that finds a free worker is with it before `submit` returns. The
thread `harmony-local` sleeps until a worker answers, a process ends or a timer is due; nothing is polled.
"""

from __future__ import annotations

import os
import selectors
import signal
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError
from typing import Any

from harmony.core.engine import Capability, Capacity, Report, Submission, Update
from harmony.core.task import TaskState
from harmony.core.work import GRACE, walltime_exceeded
from harmony.engines.local.crew import Crew
from harmony.engines.local.exits import Exits
from harmony.engines.local.guard import Guard
from harmony.engines.local.handle import WorkerHandle
from harmony.engines.local.programs import Program
from harmony.engines.local.ready import ReadyQueue
from harmony.engines.local.slots import Shape, Slots, count_cores, find_gpus, total_memory
from harmony.engines.local.timers import Timers
from harmony.errors import ConfigError, EngineFailed
from harmony.resources import parse_memory

#: A worker that has been silent for so long while another is free gives back what was sent ahead to it.
_SILENCE = 0.005
#: At the close, seconds between the polite signal and the sure one.
_CLOSING_GRACE = 1.0


class LocalEngine:
    """Runs functions and commands on this machine; the default of every workflow.

    `workers` processes run functions (default: as many as cores). `cores`, `gpus` (a number or device names) and
    `memory` (bytes or "8GB") are what tasks may take together; the default is what this process may use.
    `initializer(*initargs)` runs once in each worker, before its first task. Commands need no worker. Workers get
    OMP_NUM_THREADS = cores / workers unless it is set. Raises `ConfigError` for numbers that make no sense.
    """

    capabilities = frozenset(Capability) - {Capability.IN_CALLER, Capability.MULTI_NODE}

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
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise ConfigError(f"{name}={value!r} must be a whole number, at least 1")
        self._cores = cores or workers or count_cores()
        self._workers = workers or self._cores
        self._slots = Slots(self._cores, find_gpus(gpus), parse_memory(memory) or total_memory())
        self._initializer = None if initializer is None else (initializer, initargs)
        self._guard = Guard(uuid.uuid4().hex)
        self._lock = threading.Lock()
        self._selector = selectors.DefaultSelector()
        self._exits = Exits(self._selector, self._wake_up)
        self._ready = ReadyQueue()
        self._updates: list[Update] = []
        self._programs: set[Program] = set()
        self._crew: Crew | None = None
        self._timers = Timers()
        self._balancing = False
        self._closing = self._wound = False
        self._report: Report | None = None
        self._wake = (-1, -1)
        self._thread: threading.Thread | None = None

    @property
    def capacity(self) -> Capacity:
        """What this engine was given of the machine."""
        return Capacity(cores=self._slots.cores, gpus=len(self._slots.gpus), memory=self._slots.memory)

    # -- the port ------------------------------------------------------------------------------------

    def start(self, report: Report) -> None:
        """See `Engine`. Workers start when the first function comes."""
        self._report = report
        self._crew = Crew(self._workers, self._environment, self._initializer, self._watch, self._updates)
        self._guard.start()
        self._wake = os.pipe()
        os.set_blocking(self._wake[0], False)
        os.set_blocking(self._wake[1], False)
        self._selector.register(self._wake[0], selectors.EVENT_READ, self._on_wake)
        self._thread = threading.Thread(target=self._run, name="harmony-local", daemon=True)
        self._thread.start()

    def submit(self, batch: Sequence[Submission]) -> None:
        """See `Engine`."""
        with self._lock:
            self._ready.extend(batch)
            self._dispatch()
            updates = self._take_updates()
        self._tell(updates)

    def cancel(self, ids: Sequence[int]) -> None:
        """See `Engine`."""
        unwanted = set(ids)
        with self._lock:
            for submission in self._ready.remove(unwanted):
                self._updates.append(Update(submission.id, TaskState.CANCELLED))
            for worker in self._crew.workers if self._crew else ():
                if any(submission.id in unwanted for submission in worker.inflight.values()):
                    self._cancel_on(worker, unwanted)
            for program in self._programs:
                if program.submission.id in unwanted:
                    self._end_program(program, CancelledError())
            self._dispatch()
            updates = self._take_updates()
        self._tell(updates)

    def close(self) -> None:
        """See `Engine`. What runs gets SIGTERM, and a second later SIGKILL."""
        with self._lock:
            if self._report is None:
                return
            self._report = None
            self._closing = True
        self._wake_up()
        if self._thread is not None:
            self._thread.join()
        self._selector.close()
        for descriptor in self._wake:
            os.close(descriptor)
        self._guard.dismiss()

    # -- harmony-local -------------------------------------------------------------------------------

    def _environment(self) -> dict[str, str]:
        environment = self._guard.environment()
        environment.setdefault("OMP_NUM_THREADS", str(max(1, self._cores // self._workers)))
        return environment

    def _watch(self, worker: WorkerHandle) -> None:
        self._selector.register(worker.frames, selectors.EVENT_READ, lambda events: self._on_worker(worker, events))
        self._exits.watch(worker.pid, lambda: self._on_death(worker))

    def _run(self) -> None:
        while True:
            happened = self._selector.select(self._timers.seconds())
            with self._lock:
                for key, events in happened:
                    key.data(events)
                self._timers.run()
                if self._closing:
                    if self._wind_up():
                        return
                    continue
                self._dispatch()
                updates = self._take_updates()
            self._tell(updates)

    def _on_wake(self, events: int) -> None:
        try:
            os.read(self._wake[0], 4096)
        except BlockingIOError:
            pass
        self._exits.collect()

    def _wake_up(self) -> None:
        try:
            os.write(self._wake[1], b"!")
        except BlockingIOError:
            pass  # it is awake, or will be

    def _on_worker(self, worker: WorkerHandle, events: int) -> None:
        assert self._crew is not None
        if worker.is_retired or worker.frames.fileno() < 0:
            return
        if events & selectors.EVENT_READ:
            self._ready.put_back(self._crew.hear(worker))
            self._free_if_done(worker)
        if events & selectors.EVENT_WRITE:
            self._flush(worker)

    def _on_death(self, worker: WorkerHandle) -> None:
        assert self._crew is not None
        if not worker.is_retired:
            while (before := len(worker.inflight)) and self._hear_last_words(worker) and before:
                pass
            self._selector.unregister(worker.frames)
        self._ready.put_back(self._crew.bury(worker))
        worker.inflight.clear()
        self._free_if_done(worker)

    def _hear_last_words(self, worker: WorkerHandle) -> bool:
        assert self._crew is not None
        before = len(worker.inflight)
        self._ready.put_back(self._crew.hear(worker))
        return len(worker.inflight) < before

    def _free_if_done(self, worker: WorkerHandle) -> None:
        if worker.grant is not None and not worker.inflight:
            self._slots.give_back(worker.grant)
            worker.grant = None
            worker.is_plain = False

    def _on_program_end(self, program: Program) -> None:
        self._programs.discard(program)
        update = program.ended()
        if isinstance(program.verdict, CancelledError):
            update = Update(update.id, TaskState.CANCELLED, place=update.place)
        self._updates.append(update)
        self._slots.give_back(program.grant)

    # -- who starts next: under the lock ---------------------------------------------------------------

    def _dispatch(self) -> None:
        crew = self._crew
        if crew is None or self._closing:
            return
        if crew.failure is not None:
            self._fail_calls(crew.failure)
        for worker in crew.workers:
            if worker.is_plain and worker.grant is not None and not self._ready.is_impatient:
                self._top_up(crew, worker)
        while (shape := self._ready.choose(self._can_start)) is not None:
            self._start_next(crew, shape)
        for worker in crew.workers:
            if not worker.is_retired:
                self._flush(worker)
        self._balance(crew)

    def _top_up(self, crew: Crew, worker: WorkerHandle) -> None:
        queue = self._ready.plain
        if queue and len(worker.inflight) * 2 <= worker.depth and worker.verdict is None:
            self._ready.pass_others(queue[0])
            crew.give_plain(worker, queue)
            self._free_if_done(worker)

    def _can_start(self, shape: Shape) -> bool:
        assert self._crew is not None
        return self._slots.fits(shape) and (not shape.is_call or self._crew.has_room())

    def _start_next(self, crew: Crew, shape: Shape) -> None:
        queue = self._ready.queue(shape)
        if shape.is_plain:
            worker = crew.hire(self._slots.take(shape))
            worker.is_plain = True
            crew.give_plain(worker, queue)
            self._free_if_done(worker)
        elif shape.is_call:
            submission = queue.popleft()
            worker = crew.hire(self._slots.take(shape, prefer=crew.idle_gpus()))
            crew.give_one(worker, submission)
            self._free_if_done(worker)
            if submission.options.walltime is not None and worker.inflight:
                self._limit(worker, submission)
        else:
            self._start_program(queue.popleft(), shape)

    def _start_program(self, submission: Submission, shape: Shape) -> None:
        grant = self._slots.take(shape)
        try:
            program = Program(submission, grant, self._environment())
        except Exception as error:  # noqa: BLE001  whatever stops it from starting is the task's error
            self._slots.give_back(grant)
            self._updates.append(Update(submission.id, TaskState.FAILED, error=error, place="local"))
            return
        self._programs.add(program)
        self._exits.watch(program.pid, lambda: self._on_program_end(program))
        self._updates.append(Update(submission.id, TaskState.RUNNING, place="local"))
        if submission.options.walltime is not None:
            self._after(
                submission.options.walltime,
                lambda: self._end_program(program, program.overtime()),
            )

    def _flush(self, worker: WorkerHandle) -> None:
        sent = worker.flush()
        wanted = selectors.EVENT_READ if sent else selectors.EVENT_READ | selectors.EVENT_WRITE
        if wanted != worker.watched:
            worker.watched = wanted
            self._selector.modify(worker.frames, wanted, self._selector.get_key(worker.frames).data)

    def _fail_calls(self, failure: EngineFailed) -> None:
        for submission in self._ready.remove_calls():
            self._updates.append(Update(submission.id, TaskState.FAILED, error=failure))

    def _balance(self, crew: Crew) -> None:
        """Take back what was sent ahead when a worker is free for it, or a task that needs more must have room."""
        ahead = [worker for worker in crew.workers if worker.is_plain and len(worker.inflight) > 1]
        if not ahead:
            return
        if self._ready.is_impatient:
            for worker in ahead:
                self._ready.put_back(worker.take_back())
        elif not self._balancing and self._slots.free_cores and crew.has_room() and not self._ready:
            self._balancing = True
            self._after(_SILENCE, self._rebalance)

    def _rebalance(self) -> None:
        self._balancing = False
        late = time.monotonic() - _SILENCE
        for worker in self._crew.workers if self._crew else ():
            if worker.is_plain and len(worker.inflight) > 1 and worker.news <= late:
                self._ready.put_back(worker.take_back())

    # -- ends: under the lock ----------------------------------------------------------------------------

    def _cancel_on(self, worker: WorkerHandle, unwanted: set[int]) -> None:
        first = next(iter(worker.inflight.values()))
        kept = []
        for submission in worker.take_back():
            if submission.id in unwanted:
                self._updates.append(Update(submission.id, TaskState.CANCELLED))
            else:
                kept.append(submission)
        self._ready.put_back(kept)
        if first.id in unwanted:
            self._end_worker(worker, CancelledError())

    def _limit(self, worker: WorkerHandle, submission: Submission) -> None:
        walltime = submission.options.walltime or 0

        def expire() -> None:
            if submission in worker.inflight.values():
                self._end_worker(worker, walltime_exceeded(submission.name, walltime))

        self._after(walltime, expire)

    def _end_worker(self, worker: WorkerHandle, verdict: BaseException) -> None:
        if worker.verdict is None:
            worker.verdict = verdict
            worker.kill(signal.SIGTERM)
            self._after(GRACE, lambda: self._kill_worker(worker))

    def _kill_worker(self, worker: WorkerHandle) -> None:
        if self._crew is not None and worker in self._crew.workers:
            worker.kill()

    def _end_program(self, program: Program, verdict: BaseException) -> None:
        if program in self._programs:
            program.end(signal.SIGTERM, verdict)
            self._after(GRACE, lambda: self._kill_program(program))

    def _kill_program(self, program: Program) -> None:
        if program in self._programs:
            program.end(signal.SIGKILL)

    def _wind_up(self) -> bool:
        """Work towards the end; True when no process is left."""
        self._ready.clear()
        self._updates.clear()
        workers = list(self._crew.workers) if self._crew else []
        if self._closing and not self._wound:
            self._wound = True
            for worker in workers:
                if worker.inflight:
                    worker.kill(signal.SIGTERM)
                elif not worker.is_retired:
                    self._retire(worker)
            for program in self._programs:
                program.end(signal.SIGTERM, CancelledError())
            self._after(_CLOSING_GRACE, self._kill_all)
        return not workers and not self._programs

    def _retire(self, worker: WorkerHandle) -> None:
        self._selector.unregister(worker.frames)
        worker.retire()

    def _kill_all(self) -> None:
        for worker in self._crew.workers if self._crew else ():
            worker.kill()
        for program in self._programs:
            program.end(signal.SIGKILL)

    def _after(self, seconds: float, act: Callable[[], object]) -> None:
        self._timers.add(seconds, act)
        if threading.current_thread() is not self._thread:
            self._wake_up()

    def _take_updates(self) -> list[Update]:
        updates = self._updates[:]
        self._updates.clear()
        return updates

    def _tell(self, updates: list[Update]) -> None:
        report = self._report
        if updates and report is not None:
            report(updates)
