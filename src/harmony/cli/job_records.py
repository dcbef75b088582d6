"""Records of the jobs that were submitted from the command line, so that a later command finds them again."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from harmony.jobs import Job, JobExecutor

#: Where the records are, if not in the user's home.
VARIABLE = "HARMONY_JOBS"


@dataclass
class Record:
    """A job, and what is needed to make its executor."""

    job: Job
    executor: str
    submitted: float

    def to_dict(self) -> dict[str, Any]:
        """Return what is kept."""
        return {"executor": self.executor, "submitted": self.submitted, "job": self.job.to_dict()}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Record:
        """Return the record that `to_dict` described."""
        return cls(Job.from_dict(data["job"]), data["executor"], data["submitted"])


class Records:
    """One small file for each job, in a directory that only the user can enter."""

    def __init__(self, directory: str | os.PathLike[str] | None = None) -> None:
        self.directory = Path(directory or os.environ.get(VARIABLE) or "~/.harmony/jobs").expanduser()

    def keep(self, record: Record) -> None:
        """Write a record, in place of an earlier one of the same job."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, path = tempfile.mkstemp(dir=self.directory, prefix=".")
        with os.fdopen(descriptor, "w") as file:
            json.dump(record.to_dict(), file)
        os.replace(path, self.directory / f"{record.job.id}.json")

    def forget(self, record: Record) -> None:
        """Delete a record."""
        with contextlib.suppress(FileNotFoundError):
            (self.directory / f"{record.job.id}.json").unlink()

    def all(self) -> list[Record]:
        """Every record, the oldest first."""
        found = [self._read(path) for path in self.directory.glob("*.json")]
        return sorted((record for record in found if record is not None), key=lambda record: record.submitted)

    def _read(self, path: Path) -> Record | None:
        try:
            return Record.from_dict(json.loads(path.read_text()))
        except FileNotFoundError:
            return None
        except Exception as error:  # noqa: BLE001  whatever is wrong with one file, the others are to be shown
            click.echo(f"harmony: the record {path} cannot be read, and is left out: {error}", err=True)
            return None

    def find(self, names: Sequence[str]) -> list[Record]:
        """Return the records of these jobs: our id, its beginning, or the scheduler's id (also ``slurm:123``)."""
        records = self.all()
        return [_the_one(records, name) for name in names]


def _the_one(records: Sequence[Record], name: str) -> Record:
    executor, _, native_id = name.rpartition(":")
    found = [record for record in records if record.job.id == name]
    found = found or [
        record
        for record in records
        if record.job.native_id == native_id and executor in ("", record.executor)
    ]  # fmt: skip
    found = found or [record for record in records if len(name) >= 4 and record.job.id.startswith(name)]
    if not found:
        raise click.UsageError(f"there is no job {name!r} here; `harmony job list --all` shows those there are")
    if len({record.executor for record in found}) > 1 or (len(found) > 1 and found[0].job.native_id != native_id):
        choices = ", ".join(f"{record.executor}:{record.job.native_id}" for record in found)
        raise click.UsageError(f"{name!r} may be any of {choices}; give more of it")
    return found[-1]


@contextlib.contextmanager
def followed(records: Sequence[Record], keep: Records) -> Iterator[None]:
    """Follow the jobs that are not final while the block runs, and keep what has become known of them."""
    executors: dict[str, JobExecutor] = {}
    open_records = [record for record in records if not record.job.status.final]
    try:
        for record in open_records:
            executor = executors.get(record.executor)
            if executor is None:
                executor = executors[record.executor] = make_executor(record.executor)
            executor.attach(record.job)
        for executor in executors.values():
            executor.refresh()
        yield
    finally:
        for executor in executors.values():
            executor.close()
        for record in open_records:
            keep.keep(record)


def make_executor(name: str, work_directory: str | None = None) -> JobExecutor:
    """Return an executor whose jobs outlive this command."""
    from harmony.jobs.executor import JobExecutorConfig

    config: JobExecutorConfig | None
    if name == "local":
        from harmony.jobs.local import LocalExecutorConfig

        config = LocalExecutorConfig(work_directory=work_directory, durable=True)
    else:
        config = None if work_directory is None else JobExecutorConfig(work_directory=work_directory)
    return JobExecutor.get_instance(name, config=config)
