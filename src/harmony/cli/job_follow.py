"""Following recorded jobs for as long as a command runs, and ending the command when that cannot be done."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from typing import ParamSpec

import click

from harmony.cli.job_records import Record, Records, complain
from harmony.errors import HarmonyError, InvalidJobException, JobError, SubmitException
from harmony.jobs import Job, JobExecutor, JobExecutorConfig, JobState, JobStatus

#: Exit statuses, beside 0: a job ended badly; the command line is wrong; it may work later (EX_TEMPFAIL of sysexits);
#: a time-out, as timeout(1) has it.
FAILED, WRONG, TRY_LATER, TIMED_OUT = 1, 2, 75, 124

P = ParamSpec("P")


def reported(action: Callable[P, int]) -> Callable[P, int]:
    """Have a command's errors told in a line each, with the status that fits."""

    @functools.wraps(action)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> int:
        _hear_warnings()
        try:
            return action(*args, **kwargs)
        except (click.ClickException, click.Abort, KeyboardInterrupt, BrokenPipeError):
            raise
        except HarmonyError as error:
            complain(str(error))
            return status_of(error)
        except OSError as error:
            complain(f"{error.filename or 'a file'}: {error.strerror or error}")
            return FAILED
        except Exception as error:
            if os.environ.get("HARMONY_DEBUG"):
                raise
            complain(f"{type(error).__name__}: {error} (HARMONY_DEBUG=1 shows where)")
            return FAILED

    return wrapped


def status_of(error: HarmonyError) -> int:
    """The exit status for an error."""
    if isinstance(error, SubmitException):
        return TRY_LATER if error.transient else FAILED
    if isinstance(error, JobError):
        return WRONG if type(error) is InvalidJobException else FAILED
    return WRONG


class _Warnings(logging.Handler):
    """Warnings of the executors, for a person: without the traceback."""

    def emit(self, record: logging.LogRecord) -> None:
        complain(record.getMessage())


def _hear_warnings() -> None:
    logger = logging.getLogger("harmony.jobs")
    logger.handlers[:] = [_Warnings(logging.WARNING)]
    logger.propagate = False


def verdict(found: Sequence[Record]) -> int:
    """The exit status that tells how jobs have ended."""
    if not all(record.job.status.final for record in found):
        return TIMED_OUT
    return 0 if all(record.job.status.state is JobState.COMPLETED for record in found) else FAILED


def make_executor(name: str, work_directory: str | None = None) -> JobExecutor:
    """Return an executor whose jobs outlive this command."""
    config: JobExecutorConfig | None
    if name == "local":
        from harmony.jobs.local import LocalExecutorConfig

        config = LocalExecutorConfig(work_directory=work_directory, durable=True)
    else:
        config = None if work_directory is None else JobExecutorConfig(work_directory=work_directory)
    return JobExecutor.get_instance(name, config=config)


def keep_when_final(executor: JobExecutor, records: Records, known: Callable[[], dict[str, Record]]) -> None:
    """Have the record of a job written as soon as its end is known: before its files are deleted."""

    def heard(job: Job, status: JobStatus) -> None:
        record = known().get(job.id)
        if status.final and record is not None:
            with contextlib.suppress(OSError):  # it is tried again when the command ends, and said then
                records.keep(record)

    executor.set_job_status_callback(heard)


def tidy(found: Sequence[Record]) -> None:
    """Delete the directories of local jobs, when all that ran in one have been seen to end."""
    from harmony.jobs.submission import remove_if_done

    for directory in {
        record.job.record.get("work") for record in found if record.executor == "local" and record.job.status.final
    }:
        if directory is not None:
            remove_if_done(directory)


class Following:
    """The executors of some jobs, each of which follows its own."""

    def __init__(self, found: Sequence[Record], records: Records) -> None:
        self._records = records
        self.open = [record for record in found if not record.job.status.final]
        self._executors: dict[tuple[str, str | None], JobExecutor] = {}
        #: The batch systems that could not be reached at all.
        self.lost: set[str] = set()

    def begin(self) -> None:
        """Attach every job, and bring their states up to date."""
        known = {record.job.id: record for record in self.open}
        for record in self.open:
            if record.executor in self.lost:
                continue
            key = record.executor, record.work_directory
            try:
                if key not in self._executors:
                    self._executors[key] = make_executor(*key)
                    keep_when_final(self._executors[key], self._records, lambda: known)
                self._executors[key].attach(record.job)
            except HarmonyError as error:
                self.lost.add(record.executor)
                complain(f"{record.executor}:{record.job.native_id} cannot be followed: {error}")
        for executor in self._executors.values():
            executor.refresh()

    @property
    def silent(self) -> bool:
        """Whether a batch system did not answer that should have told of a job."""
        troubled = {key[0] for key, executor in self._executors.items() if getattr(executor, "trouble", None)}
        return any(not record.job.status.final for record in self.open if record.executor in troubled)

    def keep(self) -> None:
        """Write what has become known."""
        for record in self.open:
            try:
                self._records.keep(record)
            except OSError as error:
                complain(f"{self._records.directory}: what has become known cannot be written: {error.strerror}")
                return

    def close(self) -> None:
        """Follow no more."""
        for executor in self._executors.values():
            executor.close()
        self.keep()
        tidy(self.open)


@contextlib.contextmanager
def followed(found: Sequence[Record], records: Records) -> Iterator[Following]:
    """Follow the jobs that have not ended while the block runs, and keep what has become known of them."""
    following = Following(found, records)
    try:
        following.begin()
        yield following
    except KeyboardInterrupt:
        following.keep()  # and wait for no thread: it may be waiting for a batch system that does not answer
        raise
    except BaseException:
        with contextlib.suppress(HarmonyError, OSError):
            following.close()
        raise
    following.close()
