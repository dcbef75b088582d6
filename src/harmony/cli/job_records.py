"""Records of the jobs that were submitted from the command line, so that a later command finds them again.

One small file for each job: ``ID.json`` until its end is known, ``ended/ID.json`` from then on. Commands may run at
the same time; what one has learned of a job's end, no other overwrites.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from harmony.jobs import Job, JobState, Reason

#: Where the records are, if not in the user's home.
VARIABLE = "HARMONY_JOBS"
#: As much of an id must be given.
_LEAST = 4
#: More than a record has bytes: on a full disk, an empty file can often be made.
_PROBE = 8192


@dataclass
class Record:
    """A job, and what is needed to make its executor; `array` is the id of the array that it belongs to."""

    job: Job
    executor: str
    work_directory: str | None
    submitted: float
    array: str | None = None

    @property
    def index(self) -> int | None:
        """Its number in its array."""
        return self.job.record.get("array_index")

    @property
    def label(self) -> str:
        """A short name, which every command takes."""
        return self.job.id[:8] if self.array is None else f"{self.array[:8]}.{self.index}"

    @property
    def unknown(self) -> bool:
        """Whether the job has ended, and nobody knows how."""
        return self.job.status.final and self.job.status.reason == Reason.UNKNOWN.value

    def to_dict(self) -> dict[str, Any]:
        """Return what is kept."""
        return {
            "executor": self.executor,
            "work_directory": self.work_directory,
            "submitted": self.submitted,
            "array": self.array,
            "job": self.job.to_dict(),
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Record:
        """Return the record that `to_dict` described."""
        job = Job.from_dict(data["job"])
        return cls(job, data["executor"], data["work_directory"], data["submitted"], data["array"])


class Records:
    """The records of this user. May be used from any thread."""

    def __init__(self, directory: str | os.PathLike[str] | None = None) -> None:
        self.directory = Path(directory or os.environ.get(VARIABLE) or "~/.harmony/jobs").expanduser()
        self._lock = threading.Lock()

    def _path(self, job_id: str) -> Path:
        return self.directory / f"{job_id}.json"

    def _ended(self, job_id: str) -> Path:
        return self.directory / "ended" / f"{job_id}.json"

    def prepare(self) -> None:
        """Make the directory, so that what is wrong with it is known before a job is submitted. Raises `OSError`."""
        self._make()
        try:
            with tempfile.TemporaryFile(dir=self.directory) as file:
                file.write(bytes(_PROBE))
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self.directory)) from error

    def _make(self) -> None:
        for directory in (self.directory, self.directory / "ended"):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    def keep(self, record: Record) -> None:
        """Write a record. If another command knows of the job's end already, take that over instead."""
        with self._lock:
            self._keep(record)

    def _keep(self, record: Record) -> None:
        job_id, data = record.job.id, record.to_dict()
        final = JobState.from_name(data["job"]["status"]["state"]).final  # it may have gone on since
        known = self._read(self._ended(job_id))
        if known is not None and not (known.unknown and final and not record.unknown):
            record.job = known.job
            self._path(job_id).unlink(missing_ok=True)
            return
        self._make()
        descriptor, path = tempfile.mkstemp(dir=self.directory, prefix=".")
        try:
            with os.fdopen(descriptor, "w") as file:
                json.dump(data, file)
            os.replace(path, self._ended(job_id) if final else self._path(job_id))
        except BaseException:
            os.unlink(path)
            raise
        if final:
            self._path(job_id).unlink(missing_ok=True)

    def forget(self, record: Record) -> None:
        """Delete a record."""
        for path in (self._path(record.job.id), self._ended(record.job.id)):
            path.unlink(missing_ok=True)

    def all(self, ended: bool = True) -> list[Record]:
        """The records, the oldest first; without `ended`, only of jobs whose end is not known."""
        paths = [*self.directory.glob("*.json")]
        found = self._read_all([*paths, *self.directory.glob("ended/*.json")] if ended else paths)
        return sorted(found, key=lambda record: (record.submitted, record.index or 0))

    def _read_all(self, paths: Iterable[Path]) -> list[Record]:
        found: dict[str, Record] = {}
        for path in paths:  # one that has ended comes last: it counts, if another command has just left both
            record = self._read(path)
            if record is not None:
                found[record.job.id] = record
        return list(found.values())

    def _read(self, path: Path) -> Record | None:
        try:
            return Record.from_dict(json.loads(path.read_text()))
        except FileNotFoundError:
            return None
        except Exception as error:  # noqa: BLE001  whatever is wrong with one file, the others are to be shown
            what = error.strerror if isinstance(error, OSError) else f"{type(error).__name__}: {error}"
            click.echo(f"harmony: the record {path} cannot be read, and is left out: {what}", err=True)
            return None

    def find(self, names: Sequence[str]) -> list[Record]:
        """Return the records of these jobs, each once. Raises `click.UsageError` for a name that is none, or several's.

        A name is our id, of a job or an array, or its beginning; ARRAY.INDEX; the scheduler's id, also ``slurm:123``.
        """
        found: dict[str, Record] = {}
        everything: list[Record] | None = None
        for name in names:
            record = self._of_id(name)
            if record is not None:
                found[record.job.id] = record
                continue
            everything = self.all() if everything is None else everything
            found.update({record.job.id: record for record in _called(everything, name)})
        return list(found.values())

    def _of_id(self, name: str) -> Record | None:
        if "/" in name or name.startswith("."):
            return None
        records = self._read_all([self._path(name), self._ended(name)])
        return records[0] if records else None


def _called(records: Sequence[Record], name: str) -> list[Record]:
    executor, _, native_id = name.rpartition(":")
    native = [r for r in records if r.job.native_id == native_id and executor in ("", r.executor)]
    if native:
        if len({record.executor for record in native}) > 1:
            raise _ambiguous(name, [f"{record.executor}:{record.job.native_id}" for record in native])
        return native[-1:]  # batch systems begin anew with their numbers at times
    first, dot, index = name.partition(".")
    arrays = {r.array for r in records if r.array is not None and len(first) >= _LEAST and r.array.startswith(first)}
    jobs = [r for r in records if r.array is None and len(name) >= _LEAST and r.job.id.startswith(name)]
    if len(arrays) + len(jobs) > 1:
        raise _ambiguous(name, [*sorted(filter(None, arrays)), *(record.job.id for record in jobs)])
    found = jobs + [r for r in records if r.array in arrays and (not dot or str(r.index) == index)]
    if not found:
        hint = "; `harmony job attach EXECUTOR ID` takes up other jobs" if native_id.isdigit() else ""
        raise click.UsageError(f"there is no job {name!r} here; `harmony job list --all` shows those there are{hint}")
    return found


def _ambiguous(name: str, choices: Sequence[str]) -> click.UsageError:
    more = f" and {len(choices) - 4} more" if len(choices) > 4 else ""
    return click.UsageError(f"{name!r} may be any of {', '.join(choices[:4])}{more}; give more of it")


def complain(text: str) -> None:
    """Say something to the user, beside the command's output."""
    with contextlib.suppress(OSError):
        click.echo(f"harmony: {printable(text)}", err=True)


def printable(text: str) -> str:
    """The text without what would move a terminal's cursor; a job's own output may be in it."""
    return "".join(letter if letter.isprintable() or letter == "\n" else "?" for letter in text)
