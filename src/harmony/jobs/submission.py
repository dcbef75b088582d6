"""Handing jobs to a batch system: their scripts, one command for many where it can be, and typed refusals."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from harmony.errors import InvalidJobException, SubmitException
from harmony.jobs.executor import Dependencies
from harmony.jobs.job import Job
from harmony.jobs.launcher import Launchers
from harmony.jobs.scheduler import Order, Scheduler
from harmony.jobs.script import Frame, Place, array_script, job_script
from harmony.jobs.shell import CommandUnavailable, Completed, Shell

#: The script of a job, which is deleted when its end is known; that of a whole array job is not meant.
_JOB_SCRIPT = re.compile(r"(?!array-[0-9a-f]+\.sh).*\.sh")


@dataclass(frozen=True)
class Accepted:
    """A job that the scheduler has taken."""

    job: Job
    native_id: str
    place: Place


class Submission:
    """Writes job scripts into a directory of its own, and hands them over. May be used from several threads."""

    def __init__(self, scheduler: Scheduler, shell: Shell, timeout: float) -> None:
        self._scheduler = scheduler
        self._shell = shell
        self._timeout = timeout
        self._launchers = Launchers()

    def submit(self, directory: str, jobs: Sequence[Job], dependencies: Dependencies) -> Iterator[list[Accepted]]:
        """Yield jobs as soon as they are taken, those of one submission together.

        Raises as `JobExecutor.submit` does, at the first that is not taken.
        """
        if len(jobs) == 1:
            yield [self._one(directory, jobs[0], dependencies)]
            return
        for group in self._groups(jobs, dependencies):
            limit = self._scheduler.array_limit if self._scheduler.array_index else 1
            for start in range(0, len(group), limit):
                chunk = group[start : start + limit]
                if len(chunk) == 1:
                    yield [self._one(directory, chunk[0], dependencies)]
                else:
                    yield from self._array(directory, chunk, dependencies)

    def script(self, job: Job, place: Place, dependencies: Dependencies, in_array: bool = False) -> str:
        """Return the job script. Raises `InvalidJobException` for what the scheduler or launcher cannot do."""
        assert job.spec is not None
        order = Order(job.spec, place.log, None, dependencies)
        frame = Frame(
            directives=[] if in_array else self._scheduler.directives(order),
            preamble=self._scheduler.preamble(order),
            attempt=self._scheduler.attempt,
            redirect=in_array,
        )
        try:
            return job_script(
                job.spec, place, self._launchers.of(job.spec), frame, array_index=job.record.get("array_index")
            )
        except FileNotFoundError as error:
            said = "relative paths mean nothing: the directory that this program runs in is gone"
            raise InvalidJobException(said, error) from error

    def _groups(self, jobs: Sequence[Job], dependencies: Dependencies) -> list[list[Job]]:
        """Group the jobs by their directives, which also refuses, before anything runs, what cannot be had."""
        groups: dict[tuple[str, ...], list[Job]] = {}
        known: dict[int, list[Job]] = {}
        for job in jobs:
            spec = job.spec
            assert spec is not None
            group = known.get(id(spec))
            if group is None:
                self._launchers.of(spec).shell_command(spec, "true")
                key = tuple(self._scheduler.directives(Order(spec, "log", None, dependencies)))
                group = known[id(spec)] = groups.setdefault(key, [])
            group.append(job)
        return list(groups.values())

    def _one(self, directory: str, job: Job, dependencies: Dependencies) -> Accepted:
        place = Place(directory, job.id)
        self._write(place.script, self.script(job, place, dependencies))
        return Accepted(job, self._hand_over(place.script, [place.script]), place)

    def _array(self, directory: str, jobs: Sequence[Job], dependencies: Dependencies) -> Iterator[list[Accepted]]:
        array_id = f"array-{os.urandom(8).hex()}"
        places = [Place(directory, job.id, f"{array_id}.{index}") for index, job in enumerate(jobs)]
        for job, place in zip(jobs, places, strict=True):
            self._write(place.script, self.script(job, place, dependencies, in_array=True))
        array = Place(directory, array_id)
        assert jobs[0].spec is not None
        order = Order(jobs[0].spec, array.log, len(jobs), dependencies)
        directives = self._scheduler.directives(order)
        self._write(array.script, array_script(directory, array_id, directives, self._scheduler.array_index))
        try:
            native_id = self._hand_over(array.script, [array.script, *(place.script for place in places)])
        except SubmitException as error:
            if error.transient:
                raise
            # Arrays may be switched off here, or limited to fewer tasks.
            for job in jobs:
                yield [self._one(directory, job, dependencies)]
            return
        ids = self._scheduler.array_ids(native_id, len(jobs))
        yield [Accepted(*each) for each in zip(jobs, ids, places, strict=True)]

    def _write(self, path: str, text: str) -> None:
        try:
            self._shell.put(path, text, executable=True)
        except OSError as error:
            discard(path)
            message = f"the job script {path!r} cannot be written: {error.strerror}"
            raise SubmitException(message, error, transient=True) from error

    def _hand_over(self, script: str, scripts: Sequence[str]) -> str:
        """Submit; delete the scripts again if the scheduler has certainly not taken them."""
        command = self._scheduler.submit_command_in(self._shell.environment, script)
        try:
            done = self._shell.run(command, timeout=self._timeout)
        except CommandUnavailable as error:
            if not error.transient:
                discard(*scripts)
            may_be = "; it may have taken the job" if error.transient else ""
            raise SubmitException(f"{self._scheduler.name}: {error}{may_be}", error, error.transient) from error
        if done.code != 0:
            discard(*scripts)
            raise self._refusal(done)
        try:
            return self._scheduler.native_id(done.out)
        except ValueError as error:
            said = f"{command[0]} succeeded, but its answer holds no job id: {done.out.strip()[:200]!r}"
            raise SubmitException(f"{said}; the job may be in the queue", error) from error

    def _refusal(self, done: Completed) -> SubmitException:
        name = self._scheduler.name
        if done.code == 127:
            said = f"its command cannot be run here; is {name} installed, and on the PATH?"
            return SubmitException(f"{name}: {said} ({done.complaint})")
        transient = self._scheduler.refusal_is_transient(done)
        return SubmitException(f"{name} refused the job: {done.complaint}", None, transient)


def discard(*paths: str) -> None:
    """Delete files that nobody needs any more, as far as that can be done."""
    for path in paths:
        with suppress(OSError):
            os.unlink(path)


def make_directory(work_directory: Path, name: str) -> str:
    """Make a directory for the jobs of one executor, which only this user can enter. Raises `SubmitException`."""
    parent = work_directory / name
    try:
        parent.mkdir(parents=True, exist_ok=True)
        directory = tempfile.mkdtemp(dir=parent, prefix="")
        os.mkdir(os.path.join(directory, "news"), 0o700)
        os.mkdir(os.path.join(directory, "ended"), 0o700)
    except OSError as error:
        raise SubmitException(
            f"work_directory={str(work_directory)!r} cannot be used: {error.strerror}; "
            "give another one in the executor's config",
            error,
            True,
        ) from error
    return directory


def remove_if_done(directory: str) -> None:
    """Delete an executor's directory, unless there are jobs in it that nobody has seen end."""
    try:
        left = [name for name in os.listdir(directory) if _JOB_SCRIPT.fullmatch(name)]
    except OSError:
        return
    if not left:
        shutil.rmtree(directory, ignore_errors=True)
