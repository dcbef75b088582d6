"""An executor for every batch system: a `Scheduler`, which knows its words, over a `Shell`, which runs its commands."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from harmony.errors import InvalidJobException, InvalidStateException, PluginError, SubmitException
from harmony.jobs.evidence import Case, Patience
from harmony.jobs.executor import Dependencies, JobExecutor, JobExecutorConfig
from harmony.jobs.follow import Followed, Follower, Pace
from harmony.jobs.job import Job, Timeout, in_seconds
from harmony.jobs.scheduler import NoAnswer, Scheduler
from harmony.jobs.script import Place
from harmony.jobs.shell import CommandUnavailable, Completed, Here, Shell
from harmony.jobs.state import JobState, JobStatus
from harmony.jobs.submission import Accepted, Submission, discard, make_directory, remove_if_done
from harmony.jobs.uninterrupted import Uninterrupted

#: The states in which a job's program can be sent a signal.
_RUNNING = (JobState.ACTIVE, JobState.STAGE_OUT, JobState.CLEANUP)


class BatchSchedulerExecutorConfig(JobExecutorConfig):
    """Settings of the executors for batch systems.

    `queue_polling_interval` is the longest time in seconds between two questions to the scheduler, and
    `initial_queue_polling_delay` the time before the first; most news comes from the job scripts without a question.
    `command_timeout` is how long one of the scheduler's commands may take. `patience` says how long evidence about a
    job's end is waited for. `shell` is where the commands run. `keep_files` keeps job scripts and what they printed.
    """

    def __init__(  # noqa: PLR0913  psij-python's settings, and ours
        self,
        launcher_log_file: str | Path | None = None,
        work_directory: str | Path | None = None,
        queue_polling_interval: float = 30,
        initial_queue_polling_delay: float = 2,
        queue_polling_error_threshold: int = 2,
        keep_files: bool = False,
        *,
        command_timeout: float = 60,
        patience: Patience | None = None,
        shell: Shell | None = None,
    ) -> None:
        super().__init__(launcher_log_file, work_directory)
        for name, value in (
            ("queue_polling_interval", queue_polling_interval),
            ("initial_queue_polling_delay", initial_queue_polling_delay),
            ("command_timeout", command_timeout),
        ):
            if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
                raise InvalidJobException(f"{name}={value!r} must be a number of seconds greater than 0")
        self.queue_polling_interval = queue_polling_interval
        self.initial_queue_polling_delay = initial_queue_polling_delay
        #: Means nothing here: however often the scheduler does not answer, no job fails by that.
        self.queue_polling_error_threshold = queue_polling_error_threshold
        self.keep_files = keep_files
        self.command_timeout = command_timeout
        self.patience = patience if patience is not None else Patience()
        self.shell = shell

    @property
    def pace(self) -> Pace:
        """How often the scheduler is asked."""
        first = min(self.initial_queue_polling_delay, self.queue_polling_interval)
        return Pace(first, self.queue_polling_interval, min(0.2, first), self.command_timeout)


class BatchJobExecutor(JobExecutor):
    """Submits jobs to one batch system and follows them. Made by `JobExecutor.get_instance`.

    A program that is killed loses no job that it has kept with `Job.to_dict` after its submission. One that was being
    submitted then is in `list`, if the scheduler has taken it; attached by its id, it is followed by what the queue and
    accounting tell.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        url: str | None = None,
        config: JobExecutorConfig | None = None,
    ) -> None:
        if url is not None:
            raise PluginError(f"url={url!r}: this executor reaches only the scheduler of this machine; leave it out")
        if config is None or type(config) is JobExecutorConfig:
            given = config or JobExecutorConfig()
            config = BatchSchedulerExecutorConfig(given.launcher_log_file, given.work_directory)
        if not isinstance(config, BatchSchedulerExecutorConfig):
            raise InvalidJobException(f"config={config!r} must be a BatchSchedulerExecutorConfig")
        super().__init__(url, config)
        self.name = scheduler.name
        self.scheduler = scheduler
        self._settings = config
        self._shell = config.shell if config.shell is not None else Here()
        self._submission = Submission(scheduler, self._shell, config.command_timeout)
        self._follower = Follower(scheduler, self._shell, config.pace, self._job_ended)
        self._uninterrupted = Uninterrupted(f"harmony-{self.name}-submit")
        self._lock = threading.Lock()
        self._directory: str | None = None
        self._attached_to: set[str] = set()
        self._closed = False
        self._process = os.getpid()

    # -- submitting ---------------------------------------------------------------------------------

    def _submit(self, jobs: Sequence[Job], dependencies: Dependencies) -> None:
        self._check_open()
        directory = self._own_directory()
        self._uninterrupted.run_each(self._hand_over(directory, jobs, dependencies))

    def _hand_over(self, directory: str, jobs: Sequence[Job], dependencies: Dependencies) -> Iterator[None]:
        for taken in self._submission.submit(directory, jobs, dependencies):
            for accepted in taken:
                self._take(accepted)
            yield

    def _check_open(self) -> None:
        if self._closed:
            raise InvalidStateException(f"this {self.name} executor is closed; make another one")
        if os.getpid() != self._process:
            raise InvalidStateException(f"this {self.name} executor is that of a parent process; make another one")

    def _own_directory(self) -> str:
        with self._lock:
            if self._directory is None or not os.path.isdir(self._directory):
                self._directory = make_directory(self.config.work_directory, self.name)
                self._follower.watch(os.path.join(self._directory, "news"))
            return self._directory

    def _take(self, accepted: Accepted) -> None:
        job, place = accepted.job, accepted.place
        job.record.update(work=place.directory, script=place.script_name, marker=place.job_id, cwd=_here())
        job.bind(self, accepted.native_id)
        self._follower.follow(Followed(job, self._case(job), accepted.native_id, place))
        job.advance(JobStatus(JobState.QUEUED))

    def _case(self, job: Job) -> Case:
        walltime = None if job.spec is None else job.spec.attributes.duration.total_seconds()
        return Case(self._settings.patience, walltime)

    def script(self, job: Job) -> str:
        """Return the job script that `submit` would hand over, without submitting. Raises as `submit` does."""
        self._check_job(job)
        directory = self._directory or os.path.join(self.config.work_directory, self.name, "DIRECTORY")
        return self._submission.script(job, Place(directory, job.id), Dependencies())

    # -- afterwards ---------------------------------------------------------------------------------

    def attach(self, job: Job, native_id: str | None = None) -> None:
        """Follow a job that was submitted before, by anyone; see `JobExecutor.attach`."""
        self._check_open()
        found = self._to_attach(job, native_id)
        if not re.fullmatch(self.scheduler.id_form, found):
            raise InvalidJobException(f"native_id={found!r} is not the id of a job of {self.name}")
        same = self._follower.find(native_id=found)
        if same is not None and not job.record:
            job.record.update(same.job.record)
        job.bind(self, found)
        if job.status.final:
            return
        place = None
        if "work" in job.record:
            place = Place(job.record["work"], job.record["marker"], job.record["script"])
            self._attached_to.add(place.directory)
            self._follower.watch(place.news)
            self._follower.watch(place.ended)
        item = Followed(job, self._case(job), found, place)
        if place is not None and os.path.exists(place.cancel_flag):
            item.case.cancel_asked = True
        if "gone" in job.record:  # an earlier program has missed it already
            item.case.gone(time.monotonic() - max(0.0, time.time() - job.record["gone"]))
        self._follower.follow(item)

    def cancel(self, job: Job, grace: Timeout = None) -> None:
        """End a job of this executor; see `Job.cancel`."""
        seconds = in_seconds("grace", grace)
        item = self._follower.find(job=job)
        if job.status.final:
            return
        if item is None:
            raise InvalidStateException(f"{job!r} is not followed by this executor; attach it first")
        ids = [item.native_id]
        self._flag_cancel(item)
        item.case.cancel_asked = True
        try:
            # A waiting job has nothing to tidy up.
            politely = seconds is not None and self.scheduler.can_signal and job.status.state in _RUNNING
            if politely:
                done = self._command(self.scheduler.signal_command(ids, "TERM"))
                if done.code and self.scheduler.refusal_is_transient(done):
                    raise self._not_cancelled(item, done)
                politely = done.code == 0  # or the scheduler may have put it back into the queue
            if not politely:
                done = self._command(self.scheduler.cancel_command(ids))
                if self.scheduler.cancel_failed(done) and not job.status.final:
                    raise self._not_cancelled(item, done)
        except SubmitException:
            item.case.cancel_asked = False
            if item.place is not None:
                discard(item.place.cancel_flag)
            raise
        self._follower.cancel_asked(item, seconds if politely else None)

    def _not_cancelled(self, item: Followed, done: Completed) -> SubmitException:
        said = f"{self.name} did not cancel {item.native_id}: {done.complaint}"
        return SubmitException(said, None, self.scheduler.refusal_is_transient(done))

    def list(self) -> list[str]:
        """The native ids of this user's jobs in the queue."""
        try:
            return self.scheduler.listed(self._command(self.scheduler.list_command()))
        except NoAnswer as error:
            raise SubmitException(f"{self.name} does not list jobs: {error}", error, True) from error

    @property
    def trouble(self) -> str | None:
        """Why the scheduler's last answer could not be used; None when all is well."""
        return self._follower.inquiry.trouble

    def refresh(self) -> None:
        """Ask the scheduler about all jobs now; return when what it says is in their states."""
        self._follower.refresh()

    def wait_all(self) -> None:
        """Wait until every job that this executor follows is final."""
        self._follower.wait_all()

    def close(self) -> None:
        """Stop following; see `JobExecutor.close`. The files of jobs that go on stay."""
        if os.getpid() != self._process:
            return  # a forked process has none of the threads, and the files are not its own
        self._closed = True
        self._uninterrupted.close()
        self._follower.close()
        with self._lock:
            directories = self._attached_to | ({self._directory} if self._directory else set())
            self._directory, self._attached_to = None, set()
        if not self._settings.keep_files:
            for directory in directories:
                remove_if_done(directory)

    def _command(self, argv: Sequence[str]) -> Completed:
        try:
            return self._shell.run(argv, timeout=self._settings.command_timeout)
        except CommandUnavailable as error:
            raise SubmitException(f"{self.name}: {error}", error, error.transient) from error

    def _flag_cancel(self, item: Followed) -> None:
        """Let the job script know that it is cancelled, for what is staged out in that case only."""
        if item.place is not None:
            try:
                self._shell.put(item.place.cancel_flag, "")
            except OSError:
                pass  # then it is staged out as after an error

    def _job_ended(self, item: Followed, status: JobStatus) -> JobStatus:
        """Add what the job script printed to a failure, and tidy its files away."""
        place = item.place
        if place is None:
            return status
        if status.state is JobState.FAILED and (said := place.printed()):
            status = JobStatus(
                status.state, status.time, f"{status.message}\n{said}", status.exit_code, status.metadata
            )
        if not self._settings.keep_files:
            place.tidy(item.markers)
        return status


def _here() -> str:
    try:
        return os.getcwd()
    except FileNotFoundError:
        return ""  # then the job's own directory is an absolute path


def executor_for(name: str, plugin: Any, url: str | None, config: JobExecutorConfig | None) -> JobExecutor:
    """Make an executor from what an entry point of ``harmony.executors`` names: a `JobExecutor` or a `Scheduler`."""
    if isinstance(plugin, type) and issubclass(plugin, Scheduler):
        try:
            scheduler = plugin()
        except TypeError as error:  # methods that the port asks for are not there
            raise PluginError(f"the executor {name!r} is incomplete: {error} (see harmony.jobs.Scheduler)") from error
        return BatchJobExecutor(scheduler, url, config)
    if isinstance(plugin, type) and issubclass(plugin, JobExecutor):
        made = plugin(url, config)
        made.name = made.name or name
        return made
    raise PluginError(f"the executor {name!r} is {plugin!r}, which is neither a JobExecutor nor a Scheduler")
