"""The machine of an emulated batch system: nodes, the queue, jobs that really run, and what befalls them."""

from __future__ import annotations

import heapq
import itertools
import os
import signal as signals_module
import threading
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace

from harmony.conformance.emulators.dialect import Dialect
from harmony.conformance.emulators.foreign import foreign_jobs
from harmony.conformance.emulators.model import How, Job, Node, Request, Settings, State, Streams
from harmony.conformance.emulators.processes import Process, command, sweep
from harmony.conformance.emulators.registry import Registry

_BACK_TO_QUEUE = {How.NODE_FAILED, How.PREEMPTED, How.REQUEUED}


class Machine(Registry):
    """All that an emulated batch system knows, and the only one who changes it.

    Every method wants `lock` held. Jobs start and their ends are noticed in `tick`, which one thread calls when `wake`
    was called, when a process has ended and when `pause` seconds have passed.
    """

    def __init__(self, dialect: Dialect, settings: Settings, directory: str, wake: Callable[[], None]) -> None:
        super().__init__(dialect, settings)
        self.directory, self.bin = directory, os.path.join(directory, "bin")
        self.lock = threading.RLock()
        self.changed = threading.Condition(self.lock)
        names = [f"n{number}" for number in range(1, settings.nodes + 1)]
        self.nodes = {name: Node(name, settings.cores, gpus=settings.gpus) for name in names}
        self.running: dict[Job, Process] = {}
        self._wake = wake
        self._mark = uuid.uuid4().hex
        self._waiting: dict[str, Job] = {}
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._sequence = itertools.count()
        self._next = dialect.first_number
        for job in foreign_jobs(settings.foreign, self._next, dialect.job_id, self.now()):
            self._keep(job)
            self._next = job.number + 1

    # -- what dialects ask for

    def submit(self, request: Request) -> list[Job]:
        """Take a job, or the tasks of an array job, into the queue."""
        number, now = self._next, self.now()
        self._next += len(request.tasks or ()) if self.dialect.numbers_tasks and request.tasks else 1
        with open(self._script(number), "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(request.script)
        made = []
        for index in (None,) if request.tasks is None else request.tasks:
            job = Job(self.dialect.job_id(number, index), number, request, now, index)
            job.eligible = max(now + self.settings.queue_delay, request.start_after)
            job.state, job.reason = (State.HELD, "hold") if request.held else (State.WAITING, "")
            self._keep(job)
            self._waiting[job.id] = job
            made.append(job)
        if not made[0].eligible <= now:
            self.at(made[0].eligible, lambda: None)
        self._touch()
        return made

    def cancel(self, job: Job, signals: Sequence[int] | None = None) -> None:
        """End a job on its user's behalf: first these signals, then SIGKILL."""
        self.stop(job, How.CANCELLED, self.dialect.cancel_signals if signals is None else signals)

    def signal(self, job: Job, number: int, *, leader_only: bool = False) -> None:
        """Send a signal to a job that runs."""
        if job in self.running:
            self.running[job].send(number, leader_only=leader_only)

    def hold(self, job: Job) -> None:
        """Keep a waiting job from starting."""
        if job.state is State.WAITING:
            job.state, job.reason = State.HELD, "hold"
            self._touch()

    def release(self, job: Job) -> None:
        """Let a held job start."""
        if job.state is State.HELD:
            job.state, job.reason = State.WAITING, ""
            self._touch()

    def file(self, name: str, text: str) -> str:
        """Write a file that a job is given (of the names of its nodes, say), and return its path."""
        path = os.path.join(self.directory, name)
        with open(path, "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(text)
        return path

    # -- what befalls jobs

    def stop(self, job: Job, how: How, signals: Sequence[int] = ()) -> None:
        """End a job for some reason: by these signals, `kill_wait` seconds apart, and then SIGKILL."""
        if job.state in (State.HELD, State.WAITING):
            if how not in _BACK_TO_QUEUE:
                self._end(job, how, None)
        elif job.state is State.RUNNING and job.how is None:
            job.how = how
            if job.foreign:
                self._end(job, how, None)
            else:
                self._press(job, list(signals))
        self._touch()

    def kill_node(self, name: str) -> None:
        """Have a node fail: what runs on it is gone at once, and nothing more starts there."""
        self.nodes[name].up = False
        for job in [job for job in self.running if name in job.nodes]:
            job.how = None
            self.stop(job, How.NODE_FAILED)
        self._touch()

    def forget(self, job: Job) -> None:
        """Have the queue forget a job that has ended."""
        if job.state is State.ENDED:
            job.visible = False

    def at(self, moment: float, action: Callable[[], None]) -> None:
        """Have `tick` do something at that time."""
        heapq.heappush(self._timers, (moment, next(self._sequence), action))
        self._wake()

    def close(self) -> None:
        """End every job with everything that it has started."""
        for process in self.running.values():
            process.kill()
        sweep(f"{self._mark}.")
        self.running.clear()
        self._waiting.clear()

    # -- the passing of time

    def pause(self) -> float | None:
        """How many seconds may pass until the next `tick`; None: any."""
        due = max(0.0, self._timers[0][0] - self.now()) if self._timers else None
        if any(process.descriptor is None for process in self.running.values()):
            return 0.02 if due is None else min(due, 0.02)
        return due

    def tick(self) -> None:
        """Do what is due: notice ends, act on timers, start jobs."""
        for job, process in list(self.running.items()):
            status = process.status()
            if status is not None:
                del self.running[job]
                self._exited(job, status)
        while self._timers and self._timers[0][0] <= self.now():
            heapq.heappop(self._timers)[2]()
        if not self.settings.held:
            for job in list(self._waiting.values()):
                if job.state is State.WAITING and self._may_start(job):
                    self._start(job)

    # -- inside

    def _touch(self) -> None:
        self.changed.notify_all()
        self._wake()

    def _script(self, number: int) -> str:
        return os.path.join(self.directory, f"{number}.script")

    def _may_start(self, job: Job) -> bool:
        verdict = self._dependencies(job)
        now = self.now()
        if verdict == "never" and job.request.end_if_never:
            self._end(job, How.DEPENDENCY, None)
            return False
        if verdict:
            job.reason = verdict
            return False
        job.reason = "delay" if job.eligible > now else ""
        at_once = job.request.tasks_at_once
        if at_once and sum(other.state is State.RUNNING for other in self._by_number[job.number]) >= at_once:
            job.reason = "resources"
        if not job.reason and len(self._places(job)) < job.request.nodes:
            job.reason = "resources"
        return not job.reason

    def _places(self, job: Job) -> list[Node]:
        request = job.request
        return [
            node
            for node in self.nodes.values()
            if node.up
            and node.free >= (node.cores if request.exclusive else request.cores)
            and node.gpus >= request.gpus
        ][: request.nodes]

    def _dependencies(self, job: Job) -> str:
        """Return "" if nothing is in the way of a job, "dependency" if something still is, "never" if it stays."""
        groups: dict[bool, list[str]] = {True: [], False: []}
        for dependency in job.request.dependencies:
            groups[dependency.alternatives] += [self._met(dependency.kind, other) for other in dependency.ids]
        every, some = groups[False], groups[True]
        if "never" in every or (some and set(some) == {"never"}):
            return "never"
        return "dependency" if "" in every or (some and "met" not in some) else ""

    def _met(self, kind: str, job_id: str) -> str:
        """Return "met", "never" or "" for what one dependency asks of one job, or of all tasks of an array."""
        verdicts = {_verdict(kind, other) for other in self._any(job_id)}
        return "never" if "never" in verdicts else "" if "" in verdicts else "met"

    def _start(self, job: Job) -> None:
        places = self._places(job)
        job.nodes = tuple(node.name for node in places)
        streams = self._spooled(job)
        request = job.request
        try:
            environment = {**request.environment, **self.dialect.job_environment(job, self), **self._node_files(job)}
            if self.settings.failing_starts > 0:
                self.settings.failing_starts -= 1
                raise OSError("the start was made to fail")
            argv = command(self._script(job.number), request.script, request.arguments)
            tag = f"{self._mark}.{job.id}.{job.restarts}"
            process = Process(argv, self.dialect.directory(job), environment, streams, tag)
        except OSError as error:
            job.note = str(error)
            self._failed_to_start(job)
            return
        for node in places:
            node.free -= node.cores if request.exclusive else request.cores
        del self._waiting[job.id]
        self.running[job] = process
        job.state, job.started, job.pid, job.how, job.status = State.RUNNING, self.now(), process.pid, None, None
        if request.limit is not None:
            attempt = job.restarts
            self.at(job.started + request.limit / self.settings.speed, lambda: self._time_is_up(job, attempt))
        self._touch()

    def _node_files(self, job: Job) -> dict[str, str]:
        found = {}
        for variable, text in self.dialect.node_files(job).items():
            found[variable] = os.path.join(self.directory, f"{job.id}.{variable}".replace("/", "_"))
            with open(found[variable], "w", encoding="utf-8") as file:
                file.write(text)
        return found

    def _spooled(self, job: Job) -> Streams:
        """Where a job's streams go while it runs."""
        streams = self.dialect.streams(job)
        if not streams.late:
            return streams
        spool = os.path.join(self.directory, job.id.replace("/", "_"))
        out = streams.stdout and f"{spool}.out"
        return replace(streams, stdout=out, stderr=streams.stderr and f"{spool}.err")

    def _deliver(self, job: Job) -> None:
        streams, spooled = self.dialect.streams(job), self._spooled(job)
        for source, target in ((spooled.stdout, streams.stdout), (spooled.stderr, streams.stderr)):
            if streams.late and source and target:
                with suppress(OSError), open(source, "rb") as file:  # a real system sends mail when it cannot
                    text = file.read()
                    with open(target, "ab" if streams.append else "wb") as goal:
                        goal.write(text)

    def _failed_to_start(self, job: Job) -> None:
        if self.dialect.stuck:
            job.state, job.reason, job.nodes = State.HELD, "launch", ()
            self._touch()
        else:
            job.started = self.now()
            self._end(job, How.LAUNCH_FAILED, None)

    def _time_is_up(self, job: Job, attempt: int) -> None:
        if job.state is State.RUNNING and job.restarts == attempt:
            self.stop(job, How.TIMEOUT, self.dialect.timeout_signals)

    def _press(self, job: Job, signals: list[int]) -> None:
        process = self.running.get(job)
        if process is None:
            return
        if not signals:
            process.send(signals_module.SIGKILL)
            return
        process.send(signals.pop(0))

        def again() -> None:
            if self.running.get(job) is process:
                self._press(job, signals)

        self.at(self.now() + self.settings.kill_wait, again)

    def _exited(self, job: Job, status: int) -> None:
        for name in job.nodes:
            node = self.nodes[name]
            node.free += node.cores if job.request.exclusive else job.request.cores
        self._deliver(job)
        how = job.how or self.dialect.orders.get(status, How.EXITED)
        if job.how is None and how is How.LAUNCH_FAILED:
            self._waiting[job.id], job.started = job, None
            self._failed_to_start(job)
            return
        if how is How.REQUEUED or (how in _BACK_TO_QUEUE and job.request.requeue):
            job.how, job.status, job.ended = how, status, self.now()
            self._ledger.append(replace(job))
            job.state, job.how, job.status, job.started, job.ended = State.WAITING, None, None, None, None
            job.restarts, job.nodes, job.pid = job.restarts + 1, (), 0
            job.eligible = self.now() + self.settings.requeue_delay
            self._waiting[job.id] = job
            self.at(job.eligible, lambda: None)
        else:
            self._end(job, how, status)

    def _end(self, job: Job, how: How, status: int | None) -> None:
        self._waiting.pop(job.id, None)
        job.state, job.how, job.status, job.ended, job.reason = State.ENDED, how, status, self.now(), ""
        if self.settings.accounting:
            self._ledger.append(replace(job))
        keep = self.dialect.keep if self.settings.keep is None else self.settings.keep
        self.at(job.ended + keep, lambda: self.forget(job))
        self._touch()


def _verdict(kind: str, job: Job) -> str:
    """Return "met", "never" or "" for what a dependency asks of one job."""
    if kind == "after":
        return "met" if job.started is not None or job.state is State.ENDED else ""
    if job.state is not State.ENDED:
        return ""
    if kind == "any":
        return "met"
    return "met" if job.well == (kind == "ok") else "never"
