"""A job: its specification, its states as they become known, and waiting for them."""

from __future__ import annotations

import logging
import math
import threading
import time
import uuid
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Generator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harmony.errors import InvalidJobException, InvalidStateException, shown
from harmony.jobs.spec import JobSpec
from harmony.jobs.state import JobState, JobStatus, Reason

if TYPE_CHECKING:
    from harmony.jobs.executor import JobExecutor

logger = logging.getLogger("harmony.jobs")
#: Whether this thread is in a status callback.
_here = threading.local()


class JobStatusCallback(ABC):
    """Hears of every state of a job, in order."""

    @abstractmethod
    def job_status_changed(self, job: Job, job_status: JobStatus) -> None:
        """Be told of a state; must return soon, for other jobs' news wait. ``job.status`` may be newer already."""


Callback = JobStatusCallback | Callable[["Job", JobStatus], object]
Timeout = timedelta | float | None


def as_function(callback: Callback | None) -> Callable[[Job, JobStatus], object] | None:
    """Return what is to be called, or None. Raises `TypeError` for what cannot be."""
    if callback is None:
        return None
    if isinstance(callback, JobStatusCallback):
        return callback.job_status_changed
    if not callable(callback):
        raise TypeError(f"callback={callback!r} must be a JobStatusCallback, a function of (job, status), or None")
    return callback


def in_seconds(name: str, value: Timeout) -> float | None:
    """Return a timeout in seconds. Raises `TypeError` for what is none."""
    if value is None:
        return None
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name}={value!r} must be a timedelta, a number of seconds, or None")
    if math.isnan(value):
        raise ValueError(f"{name}={value!r} must be a number of seconds")
    return float(min(value, threading.TIMEOUT_MAX))


def _ended_by_itself(status: JobStatus) -> bool:
    """Whether a failure is the program's own exit, after which the job script has gone on to its end."""
    by_itself = status.reason in (Reason.EXIT.value, Reason.SIGNAL.value)
    return status.state is JobState.FAILED and by_itself and status.metadata.get("phase", "done") == "done"


def _states(states: JobState | Sequence[JobState] | None) -> list[JobState]:
    if states is None or isinstance(states, JobState):
        return [] if states is None else [states]
    if not isinstance(states, Sequence) or not all(isinstance(state, JobState) for state in states):
        raise TypeError(f"target_states={shown(states)} must be a JobState or several of them")
    return list(states)


class Job:
    """One job: made NEW, submitted once to a `JobExecutor`, and then followed by it to a final state.

    `id` is ours, `native_id` the scheduler's. ``await job`` gives the final status. A job may be used from any thread.
    """

    def __init__(self, spec: JobSpec | None = None) -> None:
        self.spec = spec
        self.executor: JobExecutor | None = None
        #: What its executor needs to find it again after a restart; kept by `to_dict`.
        self.record: dict[str, Any] = {}
        #: The name of the executor that had it when `to_dict` was called.
        self.origin: str | None = None
        self._id = str(uuid.uuid4())
        self._native_id: str | None = None
        self._status = JobStatus(JobState.NEW)
        self._changed = threading.Condition(threading.Lock())
        self._callback: Callable[[Job, JobStatus], object] | None = None
        self._waiters: list[Callable[[], object]] = []
        self._undelivered: deque[JobStatus] = deque()
        self._delivering = False
        self._abandoned: str | None = None

    @classmethod
    def array(cls, spec: JobSpec, size: int) -> list[Job]:
        """Return `size` jobs of one specification; each finds its number, from 0, in ``PSIJ_ARRAY_INDEX``.

        Give them to `JobExecutor.submit_all`, which makes one array job of them where the scheduler has such.
        """
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise InvalidJobException(f"size={size!r} must be a whole number, at least 1")
        jobs = [cls(spec) for _ in range(size)]
        for index, job in enumerate(jobs):
            job.record["array_index"] = index
        return jobs

    # -- what it is ---------------------------------------------------------------------------------

    @property
    def id(self) -> str:
        """Our identifier: unique for ever, there from the beginning."""
        return self._id

    @property
    def native_id(self) -> str | None:
        """The scheduler's identifier; set when `submit` returns."""
        return self._native_id

    @property
    def status(self) -> JobStatus:
        """The newest status; while a job waits, its message is the scheduler's reason, where it gives one."""
        return self._status

    def __repr__(self) -> str:
        return f"Job({self.name or self._id}, {self._native_id or 'not submitted'}, {self._status.state})"

    @property
    def name(self) -> str | None:
        """The name in its specification."""
        return self.spec.name if isinstance(self.spec, JobSpec) else None

    # -- following it -------------------------------------------------------------------------------

    def set_job_status_callback(self, callback: Callback | None) -> None:
        """Have every further state reported to `callback`, in order; None removes it.

        It is called in a thread of the executor's, or in the one that submits. Its errors are logged and go no further.
        """
        self._callback = as_function(callback)

    def wait(
        self, timeout: Timeout = None, target_states: JobState | Sequence[JobState] | None = None
    ) -> JobStatus | None:
        """Wait until the job is in one of the states, or past one of them, or in a final one; return its status.

        Returns None when `timeout` (seconds or a timedelta; 0 only looks) passes first. Raises `InvalidStateException`
        if nothing follows the job: it was not submitted, or its executor was closed; and in a callback, where a wait
        without a timeout could keep the news from coming that it waits for.
        """
        seconds = in_seconds("timeout", timeout)
        targets = _states(target_states)
        deadline = None if seconds is None else time.monotonic() + seconds

        def reached() -> bool:
            state = self._status.state
            return state.final or any(state is target or bool(state.is_greater_than(target)) for target in targets)

        with self._changed:
            while not reached():
                if self._abandoned is not None:
                    raise InvalidStateException(self._abandoned)
                if deadline is None and self.executor is None:
                    raise InvalidStateException(
                        f"{self!r} was not submitted, so a wait without a timeout might never end"
                    )
                if deadline is None and getattr(_here, "in_callback", False):
                    raise InvalidStateException(f"a status callback must not wait for {self!r}: news comes through it")
                remaining = None if deadline is None else deadline - time.monotonic()
                if remaining is not None and remaining <= 0:
                    return None
                self._changed.wait(None if remaining is None else min(remaining, threading.TIMEOUT_MAX))
            return self._status

    def __await__(self) -> Generator[Any, None, JobStatus]:
        return self._final_status().__await__()

    async def _final_status(self) -> JobStatus:
        import asyncio  # 20 ms, which the others save

        loop = asyncio.get_running_loop()
        ended = asyncio.Event()

        def wake() -> None:
            try:
                loop.call_soon_threadsafe(ended.set)
            except RuntimeError:
                pass  # that loop is closed: nobody waits in it

        with self._changed:
            self._waiters.append(wake)
            if self._status.final or self._abandoned is not None:
                wake()
        try:
            await ended.wait()
        finally:
            with self._changed:
                if wake in self._waiters:
                    self._waiters.remove(wake)
        if not self._status.final:
            raise InvalidStateException(self._abandoned or "nothing follows this job")
        return self._status

    def cancel(self, grace: Timeout = None) -> None:
        """End the job. A final one stays as it is; the state CANCELED follows when the job has really ended.

        With `grace`, the program is sent SIGTERM, and ended surely only that long afterwards. Raises
        `InvalidStateException` for a job that was not submitted, `SubmitException` if the scheduler cannot be asked.
        """
        if self._status.final:
            return
        if self.executor is None or self._native_id is None:
            raise InvalidStateException(f"{self!r} cannot be cancelled: it was not submitted")
        self.executor.cancel(self, grace)

    def stdout_text(self) -> str:
        """What the job has written to `stdout_path` so far. Raises `InvalidJobException` if there is no such file."""
        return self._stream_text("stdout_path")

    def stderr_text(self) -> str:
        """What the job has written to `stderr_path` so far. Raises `InvalidJobException` if there is no such file."""
        return self._stream_text("stderr_path")

    def _stream_text(self, name: str) -> str:
        path: Path | None = getattr(self.spec, name, None)
        if self.spec is None or path is None:
            raise InvalidJobException(f"{name} is not set in the specification of {self!r}, so nothing was kept")
        folder = Path(self.record.get("cwd", ""), Path(self.spec.directory or "").expanduser())
        try:
            return (folder / path.expanduser()).read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError as error:
            if not self._status.final:
                return ""  # it has not begun to write
            raise InvalidJobException(f"{name}={str(path)!r} of {self!r} is not there (any more)", error) from error
        except OSError as error:
            raise InvalidJobException(f"{name}={str(path)!r} cannot be read: {error.strerror}", error) from error

    def __reduce__(self) -> str:
        raise TypeError(f"{self!r} cannot be copied or pickled: it is followed here; to_dict and from_dict move it")

    # -- for executors ------------------------------------------------------------------------------

    def claim(self, executor: JobExecutor) -> None:
        """Take the job for a submission, so that no other takes it. For executors; raises `InvalidStateException`."""
        with self._changed:
            if self.executor is not None or self._native_id is not None or self._status.state is not JobState.NEW:
                raise InvalidStateException(
                    f"{self!r} was submitted before; make another Job of the same specification"
                )
            self.executor = executor

    def release(self) -> None:
        """Undo `claim`, unless the job was taken. For executors."""
        if self._native_id is None:
            self.executor = None

    def bind(self, executor: JobExecutor, native_id: str) -> None:
        """Make the job the executor's. For executors."""
        self.executor = executor
        self._native_id = native_id
        self._abandoned = None

    def advance(self, status: JobStatus) -> bool:
        """Move to a later state, through those left out; False if the job is already there or further.

        For executors. Check and change are one step, so that a final state stays; callbacks see the states in order,
        whichever threads report them.
        """
        with self._changed:
            current = self._status.state
            if current.final or not status.state.is_greater_than(current):
                return False
            missed: list[JobStatus] = []
            before = JobState.CLEANUP if _ended_by_itself(status) else status.state.predecessor
            while before is not None and before.is_greater_than(current):
                missed.append(JobStatus(before, status.time))
                before = before.predecessor
            self._undelivered.extend([*reversed(missed), status])
            self._status = status
            self._changed.notify_all()
            waiters, self._waiters = (self._waiters, []) if status.final else ([], self._waiters)
            deliver = not self._delivering
            self._delivering = True
        for wake in waiters:
            wake()
        if deliver:
            self._deliver()
        return True

    def learn(self, status: JobStatus) -> None:
        """Take over what is newly known of the state that the job is in: why it waits. For executors."""
        with self._changed:
            mine = self._status
            if (
                mine.state is status.state
                and not mine.final
                and (mine.message, mine.metadata)
                != (
                    status.message,
                    status.metadata,
                )
            ):
                self._status = JobStatus(mine.state, mine.time, status.message, None, status.metadata)

    def abandon(self, why: str) -> None:
        """Say that nothing follows this job any more: whoever waits for it is told so. For executors."""
        with self._changed:
            self._abandoned = why
            self._changed.notify_all()
            for wake in self._waiters:
                wake()

    def _deliver(self) -> None:
        while True:
            with self._changed:
                if not self._undelivered:
                    self._delivering = False
                    return
                status = self._undelivered.popleft()
            executor = self.executor
            for callback in (self._callback, executor.status_callback if executor is not None else None):
                if callback is not None:
                    self._call(callback, status)

    def _call(self, callback: Callable[[Job, JobStatus], object], status: JobStatus) -> None:
        before = getattr(_here, "in_callback", False)
        _here.in_callback = True
        try:
            callback(self, status)
        except BaseException:  # also SystemExit, which would end the thread that brings everybody's news
            logger.exception("a status callback of %r failed at %s", self, status.state)
        finally:
            _here.in_callback = before

    # -- outliving the program ----------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """Return all that another program needs to go on with this job, as JSON can hold it."""
        from harmony.jobs.serialize import spec_to_dict

        return {
            "version": 1,
            "id": self._id,
            "native_id": self._native_id,
            "executor": None if self.executor is None else {"name": self.executor.name, "url": self.executor.url},
            "spec": None if self.spec is None else spec_to_dict(self.spec),
            "status": self._status.to_dict(),
            "record": dict(self.record),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Job:
        """Return the job that `to_dict` described, in its last known state.

        ``executor.attach(job)`` follows it again: make the executor with
        ``JobExecutor.get_instance(data["executor"]["name"], url=data["executor"]["url"])``.
        """
        from harmony.jobs.serialize import spec_from_dict

        if not isinstance(data, Mapping):
            raise InvalidJobException(f"{shown(data)} must be what Job.to_dict returned")
        missing = {"id", "native_id", "executor", "spec", "status", "record"} - set(data)
        if data.get("version") != 1 or missing:
            raise InvalidJobException(
                f"version={data.get('version')!r}: this is not a job that Harmony wrote"
                + (f"; it lacks {', '.join(sorted(missing))}" if missing else "")
            )
        job = cls(None if data["spec"] is None else spec_from_dict(data["spec"]))
        job._id = data["id"]
        job._native_id = data["native_id"]
        job._status = JobStatus.from_dict(data["status"])
        job.record = dict(data["record"])
        job.origin = (data["executor"] or {}).get("name")
        return job
