"""The foreman: what starts next, what is taken back, what is ended. Used under the engine's lock.

It knows the queue, the slots, the crew and the programs that run, and nothing of threads, sockets and selectors:
those are the engine's, which tells it what has happened and takes the `updates` it has for the kernel.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError

from harmony.core.engine import Submission, Update
from harmony.core.task import TaskState
from harmony.core.work import GRACE, walltime_exceeded
from harmony.engines.local.crew import Crew
from harmony.engines.local.handle import SILENCE, WorkerHandle
from harmony.engines.local.programs import Program
from harmony.engines.local.ready import ReadyQueue
from harmony.engines.local.slots import Shape, Slots
from harmony.errors import EngineFailed

#: At the close, seconds between the polite signal and the sure one.
_CLOSING_GRACE = 1.0


class Foreman:
    """See the module. `after` sets a timer; `watch` and `retire` are the engine's eyes on processes."""

    def __init__(
        self,
        slots: Slots,
        crew: Crew,
        environment: Callable[[], Mapping[str, str]],
        *,
        after: Callable[[float, Callable[[], object]], None],
        watch: Callable[[Program], None],
        retire: Callable[[WorkerHandle], None],
    ) -> None:
        self._slots = slots
        self._crew = crew
        self._environment = environment
        self._after = after
        self._watch = watch
        self._retire = retire
        self._ready = ReadyQueue()
        self._programs: set[Program] = set()
        self._patrolling = False
        self._failure: EngineFailed | None = None
        self._is_winding_up = False

    @property
    def workers(self) -> list[WorkerHandle]:
        """The workers there are."""
        return self._crew.workers

    # -- what has happened ---------------------------------------------------------------------------

    def submit(self, batch: Sequence[Submission]) -> None:
        """Take tasks, and start what can start."""
        if self._failure is not None:
            self._fail(batch, self._failure)
            return
        self._ready.extend(batch)
        self.dispatch()

    def cancel(self, unwanted: set[int]) -> None:
        """End these tasks wherever they are."""
        for submission in self._ready.remove(unwanted):
            self._crew.updates.append(Update(submission.id, TaskState.CANCELLED))
        for worker in self._crew.workers:
            if any(submission.id in unwanted for submission in worker.inflight.values()):
                self._cancel_on(worker, unwanted)
        for program in self._programs:
            if program.submission.id in unwanted:
                self._end_program(program, CancelledError())
        self.dispatch()

    def heard(self, worker: WorkerHandle) -> None:
        """A worker has answered."""
        self._ready.put_back(self._crew.hear(worker))
        self._free_if_done(worker)
        if worker.is_plain and worker.inflight:
            self._patrol_later()

    def died(self, worker: WorkerHandle) -> None:
        """A worker's process has ended, and all it had to say was heard."""
        self._ready.put_back(self._crew.bury(worker))
        worker.inflight.clear()
        self._free_if_done(worker)

    def ended(self, program: Program) -> None:
        """A program's process has ended."""
        self._programs.discard(program)
        update = program.ended()
        if isinstance(program.verdict, CancelledError):
            update = Update(update.id, TaskState.CANCELLED, place=update.place)
        self._crew.updates.append(update)
        self._slots.give_back(program.grant)

    # -- what starts next ----------------------------------------------------------------------------

    def dispatch(self) -> None:
        """Start what can start, and send ahead."""
        if self._is_winding_up or self._failure is not None:
            return
        if self._ready:
            self._start_ready()
        self._balance()

    def _start_ready(self) -> None:
        while (shape := self._ready.choose(self._slots, self._crew.has_room)) is not None:
            self._start_next(shape)
        if self._crew.failure is not None:
            self._fail(self._ready.remove_calls(), self._crew.failure)
        if not self._ready.holds_cores_back:
            for worker in self._crew.workers:
                if worker.is_plain and worker.grant is not None:
                    self._top_up(worker)

    def _top_up(self, worker: WorkerHandle) -> None:
        queue = self._ready.plain
        if queue and len(worker.inflight) * 2 <= worker.depth and worker.verdict is None and not worker.is_silent:
            self._ready.pass_others(queue[0])
            self._crew.give_plain(worker, queue)
            self._free_if_done(worker)

    def _start_next(self, shape: Shape) -> None:
        queue = self._ready.queue(shape)
        if not shape.is_call:
            self._start_program(queue.popleft(), shape)
            return
        grant = self._slots.take(shape, prefer=self._crew.idle_gpus() if shape.gpus else ())
        try:
            worker = self._crew.hire(grant)
        except OSError as error:
            self._slots.give_back(grant)
            self._crew.note_stillborn(f"a worker cannot be started: {error}")
            return
        if shape.is_plain:
            worker.is_plain = True
            self._crew.give_plain(worker, queue)
        else:
            submission = queue.popleft()
            self._crew.give_one(worker, submission)
            if submission.options.walltime is not None and worker.inflight:
                self._limit(worker, submission, submission.options.walltime)
        self._free_if_done(worker)

    def _start_program(self, submission: Submission, shape: Shape) -> None:
        grant = self._slots.take(shape)
        try:
            program = Program(submission, grant, self._environment())
        except Exception as error:  # noqa: BLE001  whatever stops it from starting is the task's error
            self._slots.give_back(grant)
            self._crew.updates.append(Update(submission.id, TaskState.FAILED, error=error, place="local"))
            return
        self._programs.add(program)
        self._watch(program)
        self._crew.updates.append(Update(submission.id, TaskState.RUNNING, place="local"))
        if submission.options.walltime is not None:
            self._after(submission.options.walltime, lambda: self._end_program(program, program.overtime()))

    def _free_if_done(self, worker: WorkerHandle) -> None:
        if worker.grant is not None and not worker.inflight:
            self._slots.give_back(worker.grant)
            worker.grant = None
            worker.is_plain = False

    # -- what is taken back --------------------------------------------------------------------------

    def _balance(self) -> None:
        """Take back what was sent ahead when a worker is free for it, or a task that needs more must have room."""
        ahead = [worker for worker in self._crew.workers if worker.is_plain and len(worker.inflight) > 1]
        if not ahead:
            return
        if self._ready.holds_cores_back:
            for worker in ahead:
                self._take_back(worker)
        elif self._is_free_for_plain():
            self._patrol_later()

    def _is_free_for_plain(self) -> bool:
        return bool(self._slots.free_cores) and self._crew.has_room() and not self._ready.plain

    def _patrol_later(self) -> None:
        if not self._patrolling:
            self._patrolling = True
            self._after(1.2 * SILENCE, self._patrol)

    def _patrol(self) -> None:
        """Look after workers whose task takes longer than was to be expected."""
        self._patrolling = False
        for worker in self._crew.workers:
            if worker.is_plain and worker.is_silent:
                self._crew.note_running(worker)
                if len(worker.inflight) > 1 and self._is_free_for_plain():
                    self._take_back(worker)
            elif worker.is_plain and worker.inflight:
                self._patrol_later()

    def _take_back(self, worker: WorkerHandle) -> None:
        self._ready.put_back(worker.take_back())
        self._free_if_done(worker)

    # -- what is ended -------------------------------------------------------------------------------

    def _cancel_on(self, worker: WorkerHandle, unwanted: set[int]) -> None:
        kept = []
        for submission in worker.take_back():
            if submission.id in unwanted:
                self._crew.updates.append(Update(submission.id, TaskState.CANCELLED))
            else:
                kept.append(submission)
        self._ready.put_back(kept)
        running = worker.running
        if running is not None and running.id in unwanted:
            self._end_worker(worker, CancelledError())
        self._free_if_done(worker)

    def _limit(self, worker: WorkerHandle, submission: Submission, walltime: float) -> None:
        sent = time.monotonic()
        number = next(iter(worker.inflight))  # of this try; a later one may be the same submission

        def expire() -> None:
            if number not in worker.inflight:
                return
            # The time a worker takes to start is not the task's.
            left = max(sent, worker.ready_at) + walltime - time.monotonic() if worker.is_ready else walltime
            if left > 0:
                self._after(left, expire)
            else:
                self._end_worker(worker, walltime_exceeded(submission.name, walltime))

        self._after(walltime, expire)

    def _end_worker(self, worker: WorkerHandle, verdict: BaseException) -> None:
        if worker.verdict is None:
            worker.verdict = verdict
            worker.kill(signal.SIGTERM)
            self._after(GRACE, lambda: self._kill_worker(worker))

    def _kill_worker(self, worker: WorkerHandle) -> None:
        if worker in self._crew.workers:
            worker.kill()

    def _end_program(self, program: Program, verdict: BaseException) -> None:
        if program in self._programs:
            program.end(signal.SIGTERM, verdict)
            self._after(GRACE, lambda: self._kill_program(program))

    def _kill_program(self, program: Program) -> None:
        if program in self._programs:
            program.end(signal.SIGKILL)

    # -- the end of all ------------------------------------------------------------------------------

    def wind_up(self) -> bool:
        """Work towards the end; True when no process is left."""
        if not self._is_winding_up:
            self._is_winding_up = True
            self._ready.clear()
            for worker in self._crew.workers:
                if worker.inflight:
                    worker.kill(signal.SIGTERM)
                elif not worker.is_retired:
                    self._retire(worker)
            for program in self._programs:
                program.end(signal.SIGTERM, CancelledError())
            self._after(_CLOSING_GRACE, self._kill_all)
        return not self._crew.workers and not self._programs

    def give_up(self, failure: EngineFailed) -> None:
        """After a fault: kill everything, fail everything, now and from now on."""
        self._failure = failure
        lost = [*self._ready.clear(), *(program.submission for program in self._programs)]
        for worker in self._crew.workers:
            lost.extend(worker.inflight.values())
        self._kill_all()
        for worker in self._crew.workers:
            worker.reap()
        for program in self._programs:
            program.reap()
        self._crew.workers.clear()
        self._programs.clear()
        self._crew.updates.clear()
        self._fail(lost, failure)

    def _kill_all(self) -> None:
        for worker in self._crew.workers:
            worker.kill()
        for program in self._programs:
            program.end(signal.SIGKILL)

    def _fail(self, submissions: Sequence[Submission], failure: EngineFailed) -> None:
        self._crew.updates.extend(Update(one.id, TaskState.FAILED, error=failure) for one in submissions)
