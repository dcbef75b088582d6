"""Settings of the local executor."""

from __future__ import annotations

from pathlib import Path

from harmony.errors import InvalidJobException
from harmony.jobs.executor import JobExecutorConfig


class LocalExecutorConfig(JobExecutorConfig):
    """Settings of the local executor, in seconds.

    A job that is cancelled, or runs longer than its walltime, is sent SIGTERM, and SIGKILL after `cancel_grace` or
    `walltime_grace`; when it stages files out after that, it has `staging_grace` for it. With `durable` a job, its
    walltime and what becomes known of its end do not need this program: another one can attach to it later. That costs
    a shell and a few files for each job. `keep_files` keeps job scripts and what they printed.
    """

    def __init__(
        self,
        launcher_log_file: str | Path | None = None,
        work_directory: str | Path | None = None,
        *,
        durable: bool = False,
        cancel_grace: float = 2.0,
        walltime_grace: float = 5.0,
        staging_grace: float = 60.0,
        keep_files: bool = False,
    ) -> None:
        super().__init__(launcher_log_file, work_directory)
        for name, value in (
            ("cancel_grace", cancel_grace),
            ("walltime_grace", walltime_grace),
            ("staging_grace", staging_grace),
        ):
            if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
                raise InvalidJobException(f"{name}={value!r} must be a number of seconds, at least 0")
        self.durable = durable
        self.cancel_grace = cancel_grace
        self.walltime_grace = walltime_grace
        self.staging_grace = staging_grace
        self.keep_files = keep_files
