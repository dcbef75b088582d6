"""The jobs engine: the port over an executor of jobs.

kernel's thread      submit, cancel ─▶ errands
harmony-jobs-submit  submissions and cancels, which are commands of a batch system and take their time
executor's threads   news of jobs ─▶ errands
harmony-jobs         news ─▶ results ─▶ report
"""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
import threading
import time
from collections import deque
from collections.abc import Sequence

from harmony.core.engine import Capability, Capacity, Notice, Report, Submission, Update
from harmony.core.task import TaskState
from harmony.core.work import walltime_exceeded
from harmony.engines.jobs.desk import Desk
from harmony.engines.jobs.order import handle_of, read_handle, specification, streams_of
from harmony.engines.jobs.running import Running
from harmony.engines.jobs.verdict import is_all_there, outcome
from harmony.errors import ConfigError, EngineError, InvalidJobException, InvalidStateException, SubmitException
from harmony.jobs.executor import JobExecutor, JobExecutorConfig
from harmony.jobs.job import Job
from harmony.jobs.local import LocalExecutorConfig
from harmony.jobs.state import JobState, JobStatus
from harmony.jobs.submission import remove_if_done
from harmony.resources import check_whole

_log = logging.getLogger("harmony")

#: What starts ranks, by the executor's name; any other has MPI's own launcher.
_LAUNCHERS = {"slurm": "srun", "flux": "flux", "cobalt": "aprun"}
#: Seconds between one try to submit, or to cancel, and the next, when the scheduler is busy or full.
_PAUSES = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0)
#: Seconds that the files of a job that has ended well may take to be seen here, and between two looks.
_LAG, _LOOK = 15.0, 0.5
#: Seconds that jobs which are cancelled at the close may take to end.
_CLOSING = 60.0


class JobEngine:
    """Runs each command as a job: of this machine (``"local"``), of a batch system by name, or of a `JobExecutor`.

    The jobs of a driver that is killed go on, and the next run of the same program takes them up where the engine can
    REATTACH, which is always but with a local executor that is not durable. `workers` is the most jobs that are
    submitted at once: as many as there are cores on this machine, and no limit on a batch system, by default. Jobs ask
    for the walltime of their task, or an hour. `launcher` starts the ranks of tasks that ask for some. `patience` is
    for how many seconds a submission that a scheduler refuses for the moment is tried again.

    An executor that is given is not closed, but the jobs that this engine has submitted to it are cancelled at the
    engine's close as they are with all engines.
    """

    def __init__(
        self,
        executor: str | JobExecutor = "local",
        *,
        config: JobExecutorConfig | None = None,
        workers: int | None = None,
        launcher: str | None = None,
        patience: float = 3600.0,
    ) -> None:
        if not isinstance(executor, str | JobExecutor):
            raise ConfigError(f"executor={executor!r} must be the name of an executor, or a JobExecutor")
        if isinstance(executor, JobExecutor) and config is not None:
            raise ConfigError("config is for an executor that is named; give it to the JobExecutor")
        if workers is not None:
            check_whole("workers", workers, 1)
        self._name = executor if isinstance(executor, str) else executor.name
        if self._name == "local":
            workers = workers or os.cpu_count() or 1
            if config is None or type(config) is JobExecutorConfig:
                given = config or JobExecutorConfig()
                config = LocalExecutorConfig(given.launcher_log_file, given.work_directory, durable=True)
        self._given = executor
        self._config = config if isinstance(executor, str) else executor.config
        self._limit = workers
        self._launcher = launcher or _LAUNCHERS.get(self._name, "mpirun")
        self._patience = patience
        lasting = not isinstance(self._config, LocalExecutorConfig) or self._config.durable
        self.capabilities = _CAPABILITIES | {Capability.REATTACH} if lasting else _CAPABILITIES
        self._lock = threading.Lock()
        self._settled = threading.Condition(self._lock)
        self._tasks: dict[int, Running] = {}
        self._queue: deque[Running] = deque()
        self._spent: set[str] = set()
        self._folders: set[str] = set()
        self._scripts: set[str] = set()
        self._folder = ""
        self._report: Report | None = None
        self._closed = False

    @property
    def capacity(self) -> Capacity:
        """Not known before the scheduler is asked."""
        return Capacity(nodes=None)

    # -- the port ------------------------------------------------------------------------------------

    def start(self, report: Report) -> None:
        """See `Engine`."""
        if self._folder:
            raise ConfigError("this JobEngine was started before; make a new one for each workflow")
        given = self._given
        executor = JobExecutor.get_instance(given, config=self._config) if isinstance(given, str) else given
        parent = executor.config.work_directory / "captured"
        try:
            parent.mkdir(parents=True, exist_ok=True)
            self._folder = tempfile.mkdtemp(dir=parent, prefix="")
        except OSError as error:
            if isinstance(given, str):
                executor.close()
            where = str(executor.config.work_directory)
            raise ConfigError(f"work_directory={where!r} cannot be used: {error.strerror}; give another") from error
        self._executor = executor
        self._folders.add(self._folder)
        self._report = report
        self._submitting = Desk("harmony-jobs-submit")
        self._hearing = Desk("harmony-jobs")

    def submit(self, batch: Sequence[Submission]) -> None:
        """See `Engine`."""
        with self._lock:
            if self._closed or not self._folder:
                return
            for submission in batch:
                self._tasks[submission.id] = task = Running(submission)
                if submission.handle and submission.handle not in self._spent:
                    self._spent.add(submission.handle)
                    self._submitting.do(task.bound(self._attach))
                else:
                    self._queue.append(task)
        self._submitting.do(self._submit_ready)

    def cancel(self, ids: Sequence[int]) -> None:
        """See `Engine`."""
        with self._lock:
            found = [self._tasks[number] for number in ids if number in self._tasks]
            waiting = [task for task in found if task in self._queue]
            self._queue = deque(task for task in self._queue if task not in waiting)
            for task in found:
                task.is_unwanted = True
        for task in waiting:
            self._end(task, Update(task.id, TaskState.CANCELLED))
        for task in found:
            if task not in waiting:
                self._submitting.do(task.bound(self._cancel))

    def close(self) -> None:
        """See `Engine`. Waits until the jobs have ended; one that does not is named in a warning, and goes on."""
        with self._lock:
            if self._closed or not self._folder:
                return
            self._closed = True
            self._report = None
            waiting, self._queue = list(self._queue), deque()
            for task in waiting:
                self._tasks.pop(task.id, None)
            left = list(self._tasks.values())
        for task in left:
            task.is_unwanted = True
            self._submitting.do(task.bound(self._cancel))
        with self._settled:
            if not self._settled.wait_for(lambda: not self._tasks, _CLOSING):
                names = ", ".join(task.place for task in self._tasks.values())
                _log.warning("jobs that were cancelled have not ended yet: %s", names)
        self._submitting.close()
        self._hearing.close()
        if isinstance(self._given, str):
            self._executor.close()
        self._tidy()

    def _tidy(self) -> None:
        if self._tasks:
            return  # they still write
        for folder in self._folders:
            shutil.rmtree(folder, ignore_errors=True)
        if isinstance(self._given, str) and not getattr(self._config, "keep_files", False):
            for folder in self._scripts:
                remove_if_done(folder)

    # -- submitting: harmony-jobs-submit -------------------------------------------------------------

    def _submit_ready(self) -> None:
        with self._lock:
            room = len(self._queue)
            if self._limit is not None:
                room = min(room, self._limit - (len(self._tasks) - len(self._queue)))
            ready = [self._queue.popleft() for _ in range(room)] if room > 0 and not self._closed else []
        fresh = [task for task in ready if self._prepare(task)]
        if fresh:
            self._hand_over(fresh)

    def _prepare(self, task: Running) -> bool:
        submission = task.submission
        try:
            name = f"{submission.id}-{id(task):x}"
            task.streams = streams_of(submission.work, self._folder, name)  # type: ignore[arg-type]  # a Command
            task.job = Job(specification(submission, task.streams, self._launcher))
        except Exception as error:  # noqa: BLE001  resources that no job can have
            self._fail(task, _refused(submission, self._name, error))
            return False
        return True

    def _hand_over(self, tasks: Sequence[Running]) -> None:
        try:
            self._executor.submit_all([task.job for task in tasks])
        except Exception as error:  # noqa: BLE001  one of them, which cannot be told, was refused
            failure: Exception | None = error
        else:
            failure = None
        refused = []
        for task in tasks:
            if task.job.native_id is None:
                refused.append(task)
            else:
                self._submitted(task)
        if failure is None:
            return
        if isinstance(failure, SubmitException) and failure.transient:
            self._try_again(refused, failure)
        elif len(tasks) == 1:
            for task in refused:
                self._fail(task, _refused(task.submission, self._name, failure))
        else:  # one of them is at fault, which cannot be told from here
            for task in refused:
                self._hand_over([task])

    def _try_again(self, tasks: Sequence[Running], error: SubmitException) -> None:
        now = time.monotonic()
        later: dict[float, list[Running]] = {}
        for task in tasks:
            task.refused_since = task.refused_since or now
            if task.is_unwanted:
                self._end(task, Update(task.id, TaskState.CANCELLED))
            elif now - task.refused_since >= self._patience:
                self._fail(task, _refused(task.submission, self._name, error))
            else:
                later.setdefault(_PAUSES[min(task.refusals, len(_PAUSES) - 1)], []).append(task)
                task.refusals += 1
        for pause, group in later.items():
            self._submitting.do(lambda group=group: self._once_more(group), after=pause)  # type: ignore[misc]

    def _once_more(self, tasks: Sequence[Running]) -> None:
        wanted = [task for task in tasks if not task.is_over]
        if wanted:
            self._hand_over(wanted)

    def _submitted(self, task: Running) -> None:
        if Capability.REATTACH in self.capabilities:
            task.handle = handle_of(task.job, task.streams)
        self._follow(task)

    def _attach(self, task: Running) -> None:
        handle = task.submission.handle or ""
        try:
            task.job, task.streams = read_handle(handle, self._name)
            self._executor.attach(task.job)
        except Exception as error:  # noqa: BLE001  whatever is wrong with what was kept
            self._fail(task, _refused(task.submission, self._name, error))
            return
        task.handle, task.is_attached = handle, True
        for path in filter(None, task.streams):
            self._folders.add(os.path.dirname(path))
        self._follow(task)

    def _follow(self, task: Running) -> None:
        job, task.is_submitted = task.job, True
        task.place = f"{self._name}-{job.native_id}"
        if "work" in job.record:
            self._scripts.add(job.record["work"])
        news: list[Update | Notice] = [Update(task.id, TaskState.SUBMITTED, place=task.place, handle=task.handle)]
        if not task.is_attached:
            facts = {"engine": self._name, "native_id": job.native_id}
            news.append(Notice(0, "job.submitted", task.place, facts))
        self._tell(*news)

        def changed(job: Job, status: JobStatus) -> None:
            self._hearing.do(lambda: self._heard(task, status))

        job.set_job_status_callback(changed)
        changed(job, job.status)  # which may be news from before
        if task.is_unwanted:
            self._cancel(task)

    def _cancel(self, task: Running, refusals: int = 0) -> None:
        """Ask for the end of a job; one that is being submitted is ended afterwards."""
        if task.is_over:
            return
        if not task.is_submitted:
            if task.refused_since is not None:
                self._end(task, Update(task.id, TaskState.CANCELLED))
            return
        try:
            task.job.cancel()
        except (SubmitException, InvalidStateException) as error:
            if isinstance(error, SubmitException) and error.transient and refusals < len(_PAUSES):
                pause = _PAUSES[refusals]
                self._submitting.do(lambda: self._cancel(task, refusals + 1), after=pause)
            else:
                _log.warning("%s cannot be cancelled: %s", task.place, error)

    # -- hearing: harmony-jobs -----------------------------------------------------------------------

    def _heard(self, task: Running, status: JobStatus) -> None:
        if task.is_over:
            return
        if status.final:
            self._ended(task, status, time.monotonic() + (0.0 if self._name == "local" else _LAG))
        elif task.began is None and status.state not in (JobState.NEW, JobState.QUEUED):
            task.running(status)
            self._tell(Update(task.id, TaskState.RUNNING, place=task.place))
            walltime = task.submission.options.walltime
            if walltime is not None and self._name != "local" and not task.is_attached:
                self._hearing.do(lambda: self._overtime(task, walltime), after=walltime)

    def _overtime(self, task: Running, walltime: float) -> None:
        """Batch systems count in minutes, a task's walltime in seconds."""
        if not task.is_over:
            task.verdict = walltime_exceeded(task.submission.name, walltime)
            self._submitting.do(task.bound(self._cancel))

    def _ended(self, task: Running, status: JobStatus, until: float) -> None:
        if task.is_over:
            return
        submission = task.submission
        may_lag = status.state is JobState.COMPLETED and time.monotonic() < until
        if may_lag and not is_all_there(submission.outputs, task.streams):
            self._hearing.do(lambda: self._ended(task, status, until), after=_LOOK)
            return
        facts = {"engine": self._name, "native_id": task.job.native_id, "state": status.state.name}
        self._tell(Notice(0, "job.ended", task.place, facts))
        seconds = task.seconds(status)
        if status.state is JobState.CANCELED and task.is_unwanted:
            self._end(task, Update(task.id, TaskState.CANCELLED, seconds=seconds, place=task.place))
            return
        try:
            if task.verdict is not None and status.state is not JobState.COMPLETED:
                raise task.verdict
            result = outcome(submission, status, task.streams, seconds, task.place)
        except Exception as error:  # noqa: BLE001  the task's error
            self._end(task, Update(task.id, TaskState.FAILED, None, error, seconds, task.place))
        else:
            self._end(task, Update(task.id, TaskState.DONE, result, None, seconds, task.place))

    # -- reporting -----------------------------------------------------------------------------------

    def _fail(self, task: Running, error: BaseException) -> None:
        self._end(task, Update(task.id, TaskState.FAILED, error=error, place=task.place))

    def _end(self, task: Running, update: Update) -> None:
        with self._settled:
            if task.is_over:
                return
            task.is_over = True
            if self._tasks.get(task.id) is task:
                del self._tasks[task.id]
            self._settled.notify_all()
            waiting = bool(self._queue) and self._limit is not None
        self._tell(update)
        if waiting:
            self._submitting.do(self._submit_ready)

    def _tell(self, *news: Update | Notice) -> None:
        report = self._report
        if report is not None:
            report(news)


_CAPABILITIES = frozenset(
    {
        Capability.COMMANDS,
        Capability.WALLTIME,
        Capability.MEMORY,
        Capability.GPUS,
        Capability.RANKS,
        Capability.MULTI_NODE,
        Capability.CANCEL_RUNNING,
        Capability.ENVIRONMENT,
        Capability.DIRECTORY,
    }
)


def _refused(submission: Submission, executor: str, error: BaseException) -> BaseException:
    """Return a task's error for a job that was not taken: a setting of the user's, or the machinery."""
    if isinstance(error, EngineError | ConfigError):
        return error
    if isinstance(error, InvalidJobException):
        failure: BaseException = ConfigError(f"{submission.name} cannot be a job of {executor}: {error}")
    else:
        failure = EngineError(f"{executor} did not take {submission.name}: {error}")
    failure.__cause__ = error
    return failure
