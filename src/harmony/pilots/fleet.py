"""A fleet: the blocks of one engine on one site.

engine ── demand, connected ──▶ ┌───────────────┐ ── submit, cancel ──▶ JobExecutor ──▶ the batch system
engine ◀────── tell(Fact) ───── │ harmony-fleet │ ◀── status callbacks ──┘
                                └───────────────┘ ── what lives ──▶ guard, which cancels when the driver dies
"""

from __future__ import annotations

import logging
import os
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from harmony.errors import EngineFailed, HarmonyError, SubmitException
from harmony.jobs import Job, JobExecutorConfig, JobState, JobStatus
from harmony.pilots.block import Block
from harmony.pilots.facts import BlockEnded, BlockQueued, BlockRunning, Exhausted, Fact
from harmony.pilots.footing import Footing
from harmony.pilots.policy import Need, Past, decide, needed, pause
from harmony.sites import Site

_log = logging.getLogger("harmony")

#: What a fresh block can give a task is less than its walltime by this share of it, but by no more than so many
#: seconds, until its workers are there; and what is left of one that runs, for clocks differ and an end takes time.
_STARTING, _LONGEST_START = 0.1, 300.0
_ENDING, _LONGEST_END = 0.02, 30.0
#: Seconds that blocks which are cancelled at the close may take to be gone; then they are left to the guard.
_CLOSING = 60.0
#: Seconds for which a job may tell of itself whose submission had no good answer, and between two looks.
_LOST, _LOOK = 120.0, 1.0


def _look() -> None:
    """There is something new to be decided about."""


class Fleet:
    """Starts, replaces and stops the blocks of a site, as there is work for them.

    `command` gives, for a block's id, the words of the program that is started once on each of its nodes, after the
    site's set-up lines; the block ends when that does. `tell` is called with each `Fact` in the fleet's own thread and
    must return soon. `name` is seen in the queue, as ``harmony-NAME``. Methods may be called from any thread.

    A block that is lost is replaced while there is work for it, after a pause that grows with each failure in a row;
    after so many failures as the site's `Blocks` say, nothing is started any more and `Exhausted` is told. When the
    driver dies, be it by SIGKILL, a guard cancels the blocks.
    """

    def __init__(
        self,
        site: Site,
        command: Callable[[str], Sequence[str]],
        *,
        name: str,
        tell: Callable[[Fact], None],
        config: JobExecutorConfig | None = None,
    ) -> None:
        self.site = site
        self._command = command
        self._name = name
        self._tell = tell
        self._config = config
        self._events: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._blocks: dict[str, Block] = {}
        self._lost: dict[str, float] = {}
        self._ends: Mapping[str, float] = {}
        self._said: tuple[Need, Mapping[str, int] | None] = (Need(), None)
        self._meant: object = None
        self._past = Past()
        self._count = 0
        self._complaint = ""
        self._cores = site.block_cores
        self._fresh: float | None = None
        self._closing: float | None = None
        self._exhausted = False
        self._thread: threading.Thread | None = None
        self._process = os.getpid()

    # -- for the engine, from any thread --------------------------------------------------------------

    def start(self) -> None:
        """Submit the first blocks, without waiting for them.

        Raises `ConfigError` or `EngineError` when no block of this site could ever be submitted from here.
        """
        self._footing = Footing(self.site, self._command, self._name, self._config)
        self._thread = threading.Thread(target=self._run, name=f"harmony-fleet-{self._name}", daemon=True)
        self._thread.start()

    def demand(
        self,
        waiting_cores: int,
        running_cores: int,
        busy: Mapping[str, int] | None = None,
        *,
        longest: float | None = None,
    ) -> None:
        """Say how many cores of work wait for workers, and how many have them. It may be said as often as it changes.

        `busy` says how many of each block's cores have work, where the engine knows. Without it, or while its counts
        are less than `running_cores` in all, no block is given back while any work runs: none is ended under its work.
        `longest` is the longest walltime, in seconds, among the tasks that wait: where no block has so much time left,
        a fresh one is started, if need be in the place of one that is empty.
        """
        limit = self.walltime
        if longest is not None and limit is not None and longest > limit:
            longest = None  # no fresh one has so much either
        need = Need(waiting_cores, running_cores, longest)
        if busy is not None and sum(busy.values()) < running_cores:
            busy = None
        self._said = need, busy
        meaning = self._meaning(need, busy)
        if meaning != self._meant:
            self._meant = meaning
            self._post(_look)

    def connected(self, block_id: str, workers: int) -> None:
        """Say how many workers of a block are there now."""
        self._post(partial(self._has_workers, block_id, workers))

    def remaining(self) -> float | None:
        """Seconds left for a task in the running block that ends first; None when no limit is known, or none runs."""
        ends = self._ends.values()
        return max(0.0, min(ends) - time.monotonic()) if ends else None

    @property
    def walltime(self) -> float | None:
        """Seconds that a fresh block gives a task: its walltime less what its start may take; None without a limit.

        It is less than before when the workers of a block took longer to come than was thought.
        """
        limit = self.site.block_walltime
        if limit is None:
            return None
        promised = limit - min(_LONGEST_START, _STARTING * limit)
        return promised if self._fresh is None else min(promised, self._fresh)

    def close(self) -> None:
        """Cancel all blocks and wait until they are gone; may be called again.

        What a batch system does not give up within a minute is left to the guard.
        """
        if os.getpid() != self._process:
            return  # a forked process has neither the thread nor the blocks
        if self._thread is not None:
            self._post(self._close)
            if self._thread is not threading.current_thread():
                self._thread.join()

    def _meaning(self, need: Need, busy: Mapping[str, int] | None) -> object:
        """What of a demand can make a difference, so that the thread is not woken by every task."""
        cores = self._cores
        blocks = needed(need, self.site.blocks, cores or 1)
        idle = None if busy is None else frozenset(block for block, cores in busy.items() if cores)
        return cores, blocks, need.waiting > 0, need.running > 0, need.longest, idle

    # -- the thread -----------------------------------------------------------------------------------

    def _post(self, event: Callable[[], None]) -> None:
        self._events.put(event)

    def _run(self) -> None:
        again: float | None = None
        while not self._is_over():
            try:
                again = self._act()
            except Exception:  # noqa: BLE001  a fault of ours must not end the thread, nor be repeated at once
                _log.exception("a fault inside the fleet %s, please report it", self._name)
                again = time.monotonic() + pause(10)
            self._next(again)
        left = [str(block.job.native_id) for block in self._blocks.values()]
        self._footing.close(left, keep=self._exhausted)

    def _next(self, again: float | None) -> None:
        """Take what has come in; wait for it if there is nothing, or until then."""
        if self._is_over():
            return
        try:
            timeout = None if again is None else min(max(0.0, again - time.monotonic()), threading.TIMEOUT_MAX)
            self._handle(self._events.get(timeout=timeout))
            while True:
                self._handle(self._events.get_nowait())
        except queue.Empty:
            pass

    def _handle(self, event: Callable[[], None]) -> None:
        try:
            event()
        except Exception:  # noqa: BLE001  the same
            _log.exception("a fault inside the fleet %s, please report it", self._name)

    def _is_over(self) -> bool:
        return self._closing is not None and (not self._blocks or time.monotonic() >= self._closing)

    def _close(self) -> None:
        if self._closing is None:
            self._closing = time.monotonic() + _CLOSING

    def _act(self) -> float | None:
        """Do what is to be done now; return when to look again."""
        now = time.monotonic()
        times: list[float | None] = [self._closing, self._look_for_the_lost(now)]
        if self._closing is not None:
            for block in self._blocks.values():
                block.stopping = block.stopping or "stopped"
        elif not self._exhausted:
            times.append(self._decide(now))
        times += [self._cancel(block, now) for block in list(self._blocks.values()) if block.stopping is not None]
        return min((at for at in times if at is not None), default=None)

    def _decide(self, now: float) -> float | None:
        if any(block.is_steady(now) and block.submitted > self._past.counted for block in self._blocks.values()):
            self._past = self._past.steady()
        late = self._end_the_late(now)
        policy = self.site.blocks
        if self._past.is_exhausted(policy) and not self._blocks:
            self._give_up()
            return None
        need, busy = self._said
        views = [block.view(now, need, busy, self._ends.get(block.id)) for block in self._blocks.values()]
        actions = decide(now, need, views, self._past, policy, self._cores)
        for block_id in actions.stop:
            self._blocks[block_id].stopping = "stopped"
        again = actions.again
        for _ in range(actions.start):
            if not self._submit():
                again = now  # with what has been learnt
                break
        return min((at for at in (late, again) if at is not None), default=None)

    def _end_the_late(self, now: float) -> float | None:
        """End blocks whose workers do not connect; return when the next one is due."""
        patience = self.site.blocks.patience
        due = {block.id: at for block in self._blocks.values() if (at := block.lateness(patience)) is not None}
        for block_id, at in due.items():
            if at <= now:
                said = f"no worker of it has connected within {patience:g} s"
                self._blocks[block_id].stopping = f"{said}; can its nodes reach this machine?"
        return min((at for at in due.values() if at > now), default=None)

    def _give_up(self) -> None:
        self._exhausted = True
        tries = f"{self._past.failures} blocks in a row have failed" if self._past.failures else "no block can be had"
        said = f"site {self.site.name!r}: {tries}; the last: {self._complaint}"
        self._tell_fact(Exhausted(EngineFailed(f"{said}\n(what they have printed is in {self._footing.directory})")))

    # -- blocks ---------------------------------------------------------------------------------------

    def _submit(self) -> bool:
        """Submit one block; False if that was refused."""
        self._count += 1
        name = f"block-{self._count}"
        try:
            job = self._footing.job(name)
            block = self._blocks[name] = Block(name, job, self._footing.files(name), time.monotonic())
            job.set_job_status_callback(partial(self._heard_of, block))
            self._footing.guard.expects(name)
            self._footing.executor.submit(job)
        except (HarmonyError, OSError) as error:
            self._refused(name, error)
            return False
        self._footing.guard.has(name, job)
        self._past = self._past.submitted()
        self._tell_fact(BlockQueued(name, job.native_id or ""))
        return True

    def _refused(self, name: str, error: Exception) -> None:
        now = time.monotonic()
        self._blocks.pop(name, None)
        self._footing.files(name).forbid()
        if isinstance(error, SubmitException) and error.exception is not None:
            self._lost[name] = now + _LOST  # it was not refused: no answer came, and the job may start all the same
        else:
            self._footing.guard.lost(name)
        self._complaint = str(error)
        if isinstance(error, OSError) or (isinstance(error, SubmitException) and error.transient):
            self._past = self._past.refused(now)
        elif self._blocks:  # what there is goes on
            self._past = self._past.failed(now, now, seen=False)
        else:
            self._past = self._past.hopeless()

    def _look_for_the_lost(self, now: float) -> float | None:
        """Have jobs end that have started though no answer came for them; return when to look again."""
        for name, until in list(self._lost.items()):
            files = self._footing.files(name)
            native_id = files.told_id()
            if native_id is not None:
                block = Block(name, Job(), files, now)
                block.stopping, block.is_told = "stopped", False
                if self._footing.follow(block.job, native_id, partial(self._heard_of, block)):
                    self._blocks[name] = block
                    del self._lost[name]
            elif now > until:
                del self._lost[name]
                self._footing.guard.lost(name)
        return now + _LOOK if self._lost and self._closing is None else None

    def _cancel(self, block: Block, now: float) -> float | None:
        """Ask for the end of a block, if it is time to; return when to ask again."""
        if now < block.ask_at:
            return block.ask_at
        block.asked += 1
        block.ask_at = now + 2 * pause(block.asked)
        try:
            block.job.cancel()
        except HarmonyError as error:
            _log.warning("%s: %s is not cancelled yet: %s", self._name, block.id, error)
        return block.ask_at

    def _heard_of(self, block: Block, _: Job, status: JobStatus) -> None:
        """The job of a block has got somewhere; called in a thread of the executor's."""
        self._post(partial(self._heard, block, status))

    def _heard(self, block: Block, status: JobStatus) -> None:
        now = time.monotonic()
        if block.id not in self._blocks:
            return
        if status.state is JobState.ACTIVE and block.is_told:
            block.runs(status, now)
            limit = self.site.block_walltime
            if limit is not None and block.started is not None:
                ends = block.started + limit - min(_LONGEST_END, _ENDING * limit)
                self._ends = {**self._ends, block.id: ends}
            self._tell_fact(BlockRunning(block.id))
        elif status.final:
            self._ended(block, now)

    def _ended(self, block: Block, now: float) -> None:
        del self._blocks[block.id]
        self._ends = {name: at for name, at in self._ends.items() if name != block.id}
        self._footing.guard.lost(block.id)
        block.files.forbid()
        reason, in_time, message = block.verdict()
        self._past = self._past.freed()
        if block.is_steady(now):
            self._past = self._past.steady()
        elif block.stopping != "stopped" and not (in_time and block.seen is not None):
            self._complaint = message
            self._past = self._past.failed(now, block.submitted, seen=block.seen is not None)
        if block.is_told:
            self._tell_fact(BlockEnded(block.id, reason, in_time, message))

    def _has_workers(self, block_id: str, workers: int) -> None:
        block = self._blocks.get(block_id)
        if block is None:
            return  # it has ended
        now = time.monotonic()
        if workers and block.seen is None and block_id in self._ends:
            self._fresh = max(0.0, self._ends[block_id] - now)
        block.connected(workers, now)
        if self.site.block_cores is None and workers:
            self._cores = max(workers, self._cores or 0)

    def _tell_fact(self, fact: Fact) -> None:
        try:
            self._tell(fact)
        except Exception:  # noqa: BLE001  the same, of the engine
            _log.exception("the engine failed at %s", type(fact).__name__)
