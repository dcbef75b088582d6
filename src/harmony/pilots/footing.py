"""What a fleet stands on: an executor, a directory that all nodes see, and a guard."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Collection, Sequence

from harmony.errors import ConfigError, EngineError, HarmonyError, JobError
from harmony.jobs import Job, JobExecutor, JobExecutorConfig, JobStatus
from harmony.pilots.block import Files, specification, write_script, write_setup
from harmony.pilots.guard import Guard
from harmony.sites import Site

_log = logging.getLogger("harmony")


class Footing:
    """Made when a fleet starts. Raises `ConfigError` or `EngineError` when no block could ever be had."""

    def __init__(
        self, site: Site, command: Callable[[str], Sequence[str]], name: str, config: JobExecutorConfig | None
    ) -> None:
        self._site = site
        self._command = command
        self._name = name
        self._config = config if config is not None else JobExecutorConfig(work_directory=site.work_directory)
        self.executor = JobExecutor.get_instance(site.scheduler, url=site.url, config=self._config)
        self.directory = ""
        try:
            self.directory = self._make_directory()
            self._try_out()
            self.guard = self._start_guard()
        except BaseException:
            self.executor.close()
            if self.directory:
                shutil.rmtree(self.directory, ignore_errors=True)
            raise

    def files(self, block: str) -> Files:
        """Where the files of a block are."""
        return Files(self.directory, block)

    def job(self, block: str) -> Job:
        """Return the job of a block, with its script in place. Raises `ConfigError` or `OSError`."""
        setup = write_setup(self._site, self.directory, block)
        files = self.files(block)
        write_script(self._site, files, block, self._command(block), setup)
        return Job(specification(self._site, f"harmony-{self._name}", files, setup))

    def follow(self, job: Job, native_id: str, callback: Callable[[Job, JobStatus], object]) -> bool:
        """Follow a job that the batch system has; False if that cannot be done now."""
        job.set_job_status_callback(callback)
        try:
            self.executor.attach(job, native_id)
        except HarmonyError as error:
            _log.warning("%s: job %s cannot be followed: %s", self._name, native_id, error)
            return False
        return True

    def close(self, left: Collection[str], keep: bool) -> None:
        """Let go of everything; jobs that are left over are the guard's. `keep`: what blocks have printed stays."""
        self.executor.close()
        if left:
            _log.warning(
                "%s: %s has not ended the jobs %s yet; a process in the background goes on cancelling them",
                self._name, self._site.scheduler, ", ".join(left),
            )  # fmt: skip
            self.guard.abandon()
            return
        self.guard.dismiss()
        if not keep:
            shutil.rmtree(self.directory, ignore_errors=True)

    def _make_directory(self) -> str:
        work = str(self._config.work_directory)
        try:
            parent = os.path.join(work, "pilots")
            os.makedirs(parent, exist_ok=True)
            return tempfile.mkdtemp(dir=parent, prefix=f"{self._name}-")
        except OSError as error:
            raise ConfigError(
                f"site {self._site.name!r}: work_directory={work!r} cannot be used: {error.strerror}; "
                "name another one that all nodes see"
            ) from error

    def _try_out(self) -> None:
        """Raise `ConfigError` if the site asks for what its scheduler or launcher cannot do."""
        job = self.job("block-0")
        assert job.spec is not None
        try:
            job.spec.check()
            if hasattr(self.executor, "script"):
                self.executor.script(job)
        except JobError as error:
            raise ConfigError(f"site {self._site.name!r}: {error}") from error

    def _start_guard(self) -> Guard:
        guard = Guard(
            {
                "executor": self._site.scheduler,
                "url": self._site.url,
                "work_directory": str(self._config.work_directory),
                "directory": self.directory,
            }
        )
        try:
            guard.start()
        except OSError as error:
            raise EngineError(f"the guard of the blocks cannot be started: {error.strerror}") from error
        return guard
