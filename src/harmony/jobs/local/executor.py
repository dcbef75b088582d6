r"""The local executor: starts jobs as processes of this machine, and follows them.

submit --> program.start ------------------> reaper.watch
       \-> program.start_script --> news       |  the leader has ended
cancel --> run.signal                          v
                                run.collect --> run.outcome --> job, those who listen
"""

from __future__ import annotations

import os
import shutil
import weakref
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from harmony.errors import InvalidJobException, InvalidStateException, PluginError, SubmitException
from harmony.jobs.executor import Dependencies, JobExecutor, JobExecutorConfig
from harmony.jobs.job import Job, Timeout, in_seconds
from harmony.jobs.launcher import Launcher, Launchers
from harmony.jobs.local import children, durable, program, waiting
from harmony.jobs.local.config import LocalExecutorConfig
from harmony.jobs.local.follower import Follower
from harmony.jobs.local.run import Listener, Run
from harmony.jobs.script import Place
from harmony.jobs.spec import JobSpec
from harmony.jobs.state import JobState, JobStatus, Reason
from harmony.jobs.submission import make_directory
from harmony.jobs.uninterrupted import Uninterrupted


class LocalJobExecutor(JobExecutor):
    """Runs jobs as processes of this machine, each in a session of its own, at once and as many as are submitted.

    A job's native id is the process id of its leader; that of a job which still waits for others is `Job.id`. The job
    ends when its leader does: whoever is left of its process group is killed then, as on a batch system. This machine
    stands for every node that a job asks for, so that a program for a cluster can be tried out on a laptop. Cores,
    GPUs, memory, exclusive use, queue, account, reservation and custom attributes are not managed, and mean nothing.

    Jobs outlive `close` and this program, but unless the config says ``durable=True``, their walltime is then no longer
    enforced and their exit code is known to nobody. Jobs that wait for others never start then. One thread follows all
    jobs; it starts with the first and costs nothing while they run. If jobs go on after `close`, a thread that does no
    more than reap them stays as long as they do. When the process has no file descriptor left, or the system no
    process, `submit` raises a transient `SubmitException`.
    """

    name = "local"

    def __init__(self, url: str | None = None, config: JobExecutorConfig | None = None) -> None:
        if url is not None:
            raise PluginError(f"url={url!r}: the local executor runs jobs on this machine only; leave it out")
        if config is not None and not isinstance(config, LocalExecutorConfig) and isinstance(config, JobExecutorConfig):
            config = LocalExecutorConfig(config.launcher_log_file, config.work_directory)
        super().__init__(url, config if config is not None else LocalExecutorConfig())
        assert isinstance(self.config, LocalExecutorConfig)
        self._settings = self.config
        self._launchers = Launchers()
        self._begin()

    def _begin(self) -> None:
        self._process = os.getpid()
        self._directory: str | None = None
        self._null = -1
        self._close_null: Callable[[], object] = int
        self._follower = Follower(self._settings)
        self._uninterrupted = Uninterrupted("harmony-local-submit")

    def _enter(self) -> None:
        if self._process != os.getpid():
            self._leave_to_parent()
        if self._follower.closed:
            raise InvalidStateException("this local executor is closed; make another one")
        if self._null < 0:
            with self._follower.lock:
                if self._null < 0:
                    null = os.open(os.devnull, os.O_RDWR)
                    self._close_null = weakref.finalize(self, os.close, null)
                    self._null = null

    def _leave_to_parent(self) -> None:
        """This is the child of a fork: jobs and thread are the parent's."""
        self._follower.leave_to_parent()
        self._begin()

    # -- submitting ---------------------------------------------------------------------------------

    def _submit(self, jobs: Sequence[Job], dependencies: Dependencies) -> None:
        self._enter()
        for job in jobs:
            assert job.spec is not None
            if not program.is_plain(job.spec):  # before the first is started
                self._launcher(job.spec).prefix(program.on_one_node(job.spec))
        waits = waiting.resolve(dependencies, self._find) if dependencies else []
        self._uninterrupted.run_each(self._begin_each(jobs, waits))

    def _begin_each(self, jobs: Sequence[Job], waits: Sequence[waiting.Wait]) -> Iterator[None]:
        for job in jobs:
            if waits:
                self._hold(job, waits)
            else:
                self._start(Run(job, self._follower))
            yield

    def _launcher(self, spec: JobSpec) -> Launcher:
        launcher = self._launchers.of(spec)
        if launcher.allocation and launcher.allocation not in {**os.environ, **(spec.environment or {})}:
            raise InvalidJobException(
                f"launcher={spec.launcher!r} starts processes in an allocation, and there is none here "
                f"({launcher.allocation} is not set); use 'mpirun' or 'multiple', or submit to the batch system"
            )
        return launcher

    def _start(self, run: Run) -> None:
        """Start the program of a job. Raises as `submit` does, with nothing started."""
        job, spec = run.job, run.job.spec
        assert spec is not None
        if not self._settings.durable and program.is_plain(spec):
            try:
                run.pid = program.start(spec, job.id, job.record.get("array_index"), self._null)
            except program.NeedsScript:
                self._start_script(run, spec)
        else:
            self._start_script(run, spec)
        self._began(run, spec)

    def _start_script(self, run: Run, spec: JobSpec) -> None:
        place = Place(self._own_directory(), run.job.id)
        limit = spec.attributes.duration.total_seconds() if self._settings.durable else None
        index = run.job.record.get("array_index")
        run.pid = program.start_script(
            program.on_one_node(spec), place, self._launcher(spec), index, limit, self.config.launcher_log_file
        )
        run.reports_at(place, tidies=not self._settings.keep_files)
        run.job.record.update(work=place.directory, script="", marker=place.job_id)
        durable.note(place, run.pid)

    def script(self, job: Job) -> str:
        """Return the script that a durable job runs; others run without one where they can. Raises as `submit` does."""
        spec = program.on_one_node(self._check_job(job))
        place = Place(self._directory or os.path.join(self.config.work_directory, self.name, "DIRECTORY"), job.id)
        limit = spec.attributes.duration.total_seconds()
        return program.script_text(spec, place, self._launcher(spec), job.record.get("array_index"), limit)

    def _own_directory(self) -> str:
        with self._follower.lock:
            if self._directory is None:
                directory = make_directory(self.config.work_directory, self.name)
                self._follower.hear_of(directory)
                self._directory = directory
            return self._directory

    def _began(self, run: Run, spec: JobSpec) -> None:
        """The job's leader runs: have its end heard of, and tell the job."""
        job = run.job
        run.is_child = True
        native_id = str(run.pid)
        if job.native_id is not None:
            job.record["pid"], native_id = run.pid, job.native_id
        if spec.stdout_path is not None or spec.stderr_path is not None:
            job.record["cwd"] = os.getcwd()
        children.started_here[self._process, native_id] = job
        job.bind(self, native_id)
        self._follower.follow_child(run, spec)

    # -- waiting for other jobs ---------------------------------------------------------------------

    def _hold(self, job: Job, waits: Sequence[waiting.Wait]) -> None:
        run = Run(job, self._follower)
        run.waits_for = len(waits)
        children.started_here[self._process, job.id] = job
        job.bind(self, job.id)
        self._follower.live[id(job)] = run
        run.tell(JobStatus(JobState.QUEUED))
        for wait in waits:
            _subscribe(wait.job, partial(self._heard, run, wait))

    def _heard(self, run: Run, wait: waiting.Wait, status: JobStatus | None) -> None:
        """A job that another waits for has got somewhere; None: nobody will hear more of it."""
        verdict = wait.judge(status)
        if verdict is None:
            return
        with self._follower.lock:
            if run.over or run.pid or run.stop is not None or (verdict and wait in run.met):
                return
            if verdict:
                run.met.append(wait)
                if len(run.met) < run.waits_for:
                    return
                run.waits_for = -1
        if not verdict:
            facts = {"reason": Reason.DEPENDENCY}
            self._follower.finish(run, JobStatus(JobState.FAILED, message=wait.complaint(status), metadata=facts))
            return
        try:
            self._start(run)
        except (SubmitException, InvalidJobException) as error:
            facts = {"reason": Reason.LAUNCH}
            self._follower.finish(run, JobStatus(JobState.FAILED, message=str(error), metadata=facts))
        else:
            if run.stop is not None:  # asked for while it started
                self._follower.kill(run)

    # -- afterwards ---------------------------------------------------------------------------------

    def cancel(self, job: Job, grace: Timeout = None) -> None:
        """End a job of this executor; see `Job.cancel`. Without a grace, that of the config."""
        seconds = in_seconds("grace", grace)
        run = self._follower.live.get(id(job))
        if run is None or self._process != os.getpid():
            if job.status.final:
                return
            raise InvalidStateException(f"{job!r} is not followed by this executor; attach it first")
        run = run.source or run
        run.owner.end(run, Reason.CANCELED, self._settings.cancel_grace if seconds is None else max(0.0, seconds))

    def list(self) -> list[str]:
        """The native ids of the jobs that run or wait here: this executor's, and others that can be attached to."""
        with self._follower.lock:
            own = [run.job.native_id or "" for run in self._follower.live.values()]
        found = durable.running(self.config.work_directory / self.name)
        return list(dict.fromkeys([*own, *(str(pid) for pid in found)]))

    def attach(self, job: Job, native_id: str | None = None) -> None:
        """Follow a job of this or another program; see `JobExecutor.attach`.

        A process of which no executor here is the parent, and which is not durable, ends as FAILED with the reason
        ``unknown``: its exit code cannot be had.
        """
        self._enter()
        found = self._to_attach(job, native_id)
        job.bind(self, found)
        if job.status.final:
            return
        run = Run(job, self._follower)
        self._follower.live[id(job)] = run
        other = children.started_here.get((self._process, found))
        if other is None or other is job or not self._mirror(run, other):
            self._follower.adopt(run)

    def _find(self, native_id: str) -> Job:
        """Return the job of that id, of this process or attached now."""
        found = children.started_here.get((self._process, native_id))
        if found is None:
            found = Job()
            self.attach(found, native_id)
        return found

    def _mirror(self, run: Run, other: Job) -> bool:
        """Have a job of an executor of this process tell of another handle on it; False if it does not follow it."""
        source = _run_of(other)
        if source is None and not other.status.final:
            return False
        if source is not None:
            run.source = source.source or source
            if not run.job.record:
                run.job.record.update(other.record)
        _subscribe(other, partial(self._reflect, run))
        return True

    def _reflect(self, run: Run, status: JobStatus | None) -> None:
        if status is None:  # that executor was closed
            run.source = None
            self._follower.adopt(run)
        elif status.final:
            self._follower.finish(run, status)
        else:
            run.tell(status)

    def wait_all(self) -> None:
        """Wait until every job that this executor follows is final."""
        self._follower.wait_all()

    def close(self) -> None:
        """Stop following; see `JobExecutor.close`."""
        if self._process != os.getpid():
            self._leave_to_parent()
        self._uninterrupted.close()
        self._follower.close()
        self._close_null()
        keep = self._settings.durable or self._settings.keep_files or self._follower.live
        if self._directory is not None and not keep:
            shutil.rmtree(self._directory, ignore_errors=True)


def _subscribe(job: Job, listener: Listener) -> None:
    """Have a listener told what a job's status is, and of each further one."""
    run = _run_of(job)
    if run is not None:
        run.listeners.append(listener)
    listener(job.status if run is not None or job.status.final else None)


def _run_of(job: Job) -> Run | None:
    """The run of a job that an executor of this process follows."""
    executor = job.executor
    if not isinstance(executor, LocalJobExecutor) or executor._follower.closed:
        return None
    return executor._follower.live.get(id(job))
