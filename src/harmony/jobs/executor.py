"""Submitting jobs: the interface that every executor has, and finding one by name."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar

import harmony
from harmony import plugins
from harmony.errors import InvalidJobException, InvalidStateException, PluginError, shown
from harmony.jobs.job import Callback, Job, Timeout, as_function
from harmony.jobs.spec import JobSpec
from harmony.jobs.state import JobStatus

EXECUTORS = "harmony.executors"
#: What a job may wait for: the key words of `submit`, and what each asks of the other job.
DEPENDENCIES = {"after": "has started", "after_ok": "has ended well", "after_any": "has ended"}

JobOrId = Job | str


class JobExecutorConfig:
    """Settings that every executor understands.

    `work_directory` is where job scripts and their reports are kept: on batch systems, a directory that every node
    sees. `launcher_log_file` takes what launchers say.
    """

    DEFAULT_WORK_DIRECTORY: ClassVar[Path] = Path("~/.harmony/work")

    def __init__(self, launcher_log_file: str | Path | None = None, work_directory: str | Path | None = None) -> None:
        self.launcher_log_file = None if launcher_log_file is None else Path(launcher_log_file)
        self.work_directory = Path(work_directory or self.DEFAULT_WORK_DIRECTORY).expanduser().absolute()


@dataclass(frozen=True)
class Dependencies:
    """The native ids of the jobs that a job waits for."""

    after: tuple[str, ...] = ()
    after_ok: tuple[str, ...] = ()
    after_any: tuple[str, ...] = ()
    #: The jobs behind the ids, where they are known.
    jobs: dict[str, Job] = field(default_factory=dict, compare=False)

    def __bool__(self) -> bool:
        return bool(self.after or self.after_ok or self.after_any)

    @classmethod
    def of(cls, executor: JobExecutor, **given: Iterable[JobOrId] | JobOrId) -> Dependencies:
        """Return the dependencies. Raises `InvalidJobException` for what is no job that was submitted there."""
        known: dict[str, Job] = {}
        groups: dict[str, tuple[str, ...]] = {}
        for name, others in given.items():
            if isinstance(others, Job | str):
                others = [others]  # noqa: PLW2901
            if not isinstance(others, Iterable):
                raise InvalidJobException(f"{name}={others!r} must be a job, a native id, or several of them")
            jobs = list(others)
            for other in jobs:
                if isinstance(other, Job) and other.native_id is not None:
                    theirs = executor.name if other.executor is None else other.executor.name
                    if theirs != executor.name:
                        raise InvalidJobException(f"{name}: {executor.name} cannot wait for {other!r} of {theirs}")
                    known[other.native_id] = other
            groups[name] = tuple(_native_id(name, other) for other in jobs)
        return cls(**groups, jobs=known)


def _native_id(name: str, job: object) -> str:
    native_id = job.native_id if isinstance(job, Job) else job
    if not isinstance(native_id, str) or not native_id:
        raise InvalidJobException(f"{name}: {job!r} must be a job that was submitted, or a native id")
    return native_id


class JobExecutor(ABC):
    """Submits jobs to one scheduler, and follows them.

    As a context manager it waits, at the end of the block, for every job submitted in it, and then closes; if the block
    raises, it closes at once and jobs go on without it. It may be used from any thread. A subclass gives `submit`'s
    inside (`_submit`), `cancel`, `list`, `attach` and `close`, and registers under the entry point group
    ``harmony.executors``.
    """

    name: str = ""
    version: str = harmony.__version__

    def __init__(self, url: str | None = None, config: JobExecutorConfig | None = None) -> None:
        if config is not None and not isinstance(config, JobExecutorConfig):
            raise InvalidJobException(f"config={config!r} must be a JobExecutorConfig")
        self.url = url
        self.config = config if config is not None else JobExecutorConfig()
        self.status_callback: Callable[[Job, JobStatus], object] | None = None

    @staticmethod
    def get_instance(
        name: str,
        version_constraint: str | None = None,
        url: str | None = None,
        config: JobExecutorConfig | None = None,
    ) -> JobExecutor:
        """Return the executor of that name: ``"local"``, ``"slurm"`` and the like.

        `version_constraint` (as ``">=0.1,<2"``) holds the executor's version to account. Raises `PluginError`, which is
        a `ValueError`, for a name that nobody registered or a version that does not fit.
        """
        from harmony.jobs.batch import executor_for

        made = executor_for(name, plugins.load(EXECUTORS, name), url, config)
        if version_constraint is not None and not satisfies(str(made.version), version_constraint):
            made.close()
            raise PluginError(f"executor {name!r} is version {made.version}, which is not {version_constraint!r}")
        return made

    @staticmethod
    def get_executor_names() -> set[str]:
        """The names that `get_instance` knows here."""
        return set(plugins.names(EXECUTORS))

    # -- submitting ---------------------------------------------------------------------------------

    def submit(
        self,
        job: Job,
        *,
        after: Iterable[JobOrId] | JobOrId = (),
        after_ok: Iterable[JobOrId] | JobOrId = (),
        after_any: Iterable[JobOrId] | JobOrId = (),
    ) -> None:
        """Hand a NEW job to the scheduler; on return it has a `native_id` and is QUEUED or further.

        It starts when the jobs of `after` have started, those of `after_ok` have ended well, those of `after_any` have
        ended; when that cannot happen any more it FAILS with the reason ``dependency``. Raises `InvalidJobException`
        if the job can never run as it is, `InvalidStateException` if it was submitted before, `SubmitException` if the
        scheduler refused; after these the job is as it was, NEW.
        """
        self.submit_all([job], after=after, after_ok=after_ok, after_any=after_any)

    def submit_all(
        self,
        jobs: Sequence[Job],
        *,
        after: Iterable[JobOrId] | JobOrId = (),
        after_ok: Iterable[JobOrId] | JobOrId = (),
        after_any: Iterable[JobOrId] | JobOrId = (),
    ) -> None:
        """Submit many jobs; those that differ only in what they run become array jobs where the scheduler has them.

        Jobs with different names, resources or attributes are submitted one by one: an array job has one of each.
        All are checked before the first is handed over. If the scheduler refuses some, the error tells of the first
        such; jobs that it has taken are QUEUED, all others NEW.
        """
        if isinstance(jobs, Job | str) or not isinstance(jobs, Iterable):
            raise InvalidJobException(f"jobs={shown(jobs)} must be a list of jobs")
        jobs = list(jobs)
        for job in jobs:
            self._check_job(job)
        dependencies = Dependencies.of(self, after=after, after_ok=after_ok, after_any=after_any)
        if len({id(job) for job in jobs}) != len(jobs):
            raise InvalidStateException("submit_all was given the same job twice; make a Job for each run")
        claimed: list[Job] = []
        try:
            for job in jobs:
                job.claim(self)
                claimed.append(job)
            self._submit(jobs, dependencies)
        finally:
            for job in claimed:
                job.release()

    @abstractmethod
    def _submit(self, jobs: Sequence[Job], dependencies: Dependencies) -> None:
        """Submit jobs that `_check_job` has passed."""

    def _check_job(self, job: Job) -> JobSpec:
        """Return the specification of a job, if it is sound. Raises as `submit` does."""
        if not isinstance(job, Job):
            raise InvalidJobException(f"{job!r} must be a Job")
        if not isinstance(job.spec, JobSpec):
            raise InvalidJobException(f"{job!r} has no JobSpec: spec={job.spec!r}")
        job.spec.check()
        return job.spec

    # -- afterwards ---------------------------------------------------------------------------------

    @abstractmethod
    def cancel(self, job: Job, grace: Timeout = None) -> None:
        """End a job of this executor, as `Job.cancel` does."""

    @abstractmethod
    def list(self) -> list[str]:
        """The native ids of this user's jobs that the scheduler has now; each can be attached to."""

    @abstractmethod
    def attach(self, job: Job, native_id: str | None = None) -> None:
        """Follow a job that someone else, or an earlier program, has submitted.

        The job is NEW, with the scheduler's id given here, or comes from `Job.from_dict`. Returns at once; states
        follow as they become known. An id that the scheduler knows nothing of ends as FAILED, with the reason
        ``unknown``.
        """

    def set_job_status_callback(self, callback: Callback | None) -> None:
        """Have every state of every job of this executor reported to `callback`; None removes it.

        A job's own callback hears first.
        """
        self.status_callback = as_function(callback)

    def refresh(self) -> None:
        """Bring the states of all followed jobs up to date now; an executor that hears of everything need not."""
        return

    @abstractmethod
    def wait_all(self) -> None:
        """Wait until every job that this executor follows is final."""

    @abstractmethod
    def close(self) -> None:
        """Stop following jobs and end the executor's threads; may be called again. Jobs go on.

        Whoever still waits for a job of this executor gets `InvalidStateException`.
        """

    def __enter__(self) -> Any:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self.wait_all()
        finally:
            self.close()

    def _to_attach(self, job: Job, native_id: str | None) -> str:
        """Return the native id to follow. Raises as `attach` does."""
        if not isinstance(job, Job):
            raise InvalidJobException(f"{shown(job)} must be a Job")
        found = native_id if native_id is not None else job.native_id
        if job.executor is not None or (native_id is not None and job.native_id not in (None, native_id)):
            raise InvalidStateException(f"{job!r} belongs to an executor; attach a new Job")
        if not isinstance(found, str) or not found:
            raise InvalidJobException(f"native_id={found!r} must be the scheduler's id of a job")
        if job.origin not in (None, self.name):
            raise InvalidJobException(
                f"{job!r} is a job of the executor {job.origin!r}, which {self.name!r} cannot follow"
            )
        return found


_CONSTRAINT = re.compile(r"\s*(==|!=|>=|<=|>|<|~=)\s*(\d+(?:\.\d+)*)\s*")


def satisfies(version: str, constraint: str) -> bool:
    """Whether a version fits ``">=1.2,<2"`` and the like. Raises `PluginError` for what is no constraint."""
    have = _numbers(version)
    for part in constraint.split(","):
        match = _CONSTRAINT.fullmatch(part)
        if match is None:
            raise PluginError(f"version_constraint={constraint!r} must be like '>=1.2,<2'")
        operator, text = match.groups()
        want = _numbers(text)
        width = max(len(have), len(want))
        left, right = have + (0,) * (width - len(have)), want + (0,) * (width - len(want))
        fits = {
            "==": left == right, "!=": left != right, ">=": left >= right, "<=": left <= right,
            ">": left > right, "<": left < right, "~=": left >= right and have[: len(want) - 1] == want[:-1],
        }[operator]  # fmt: skip
        if not fits:
            return False
    return True


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version.partition("+")[0]))
