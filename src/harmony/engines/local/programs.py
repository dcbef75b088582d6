"""Programs: the commands that run, each a process group of its own, started without a shell in between."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from harmony.core.engine import Submission, Update
from harmony.core.task import Call, Command, TaskState
from harmony.core.work import (
    cannot_start,
    judge,
    make_directory,
    open_streams,
    read_captured,
    signal_group,
    walltime_exceeded,
)
from harmony.engines.local.slots import Grant
from harmony.errors import CommandError, EngineFailed

if TYPE_CHECKING:
    from harmony.core.ranks import RankCall

_DEFAULTS = [signal.SIGPIPE, signal.SIGXFSZ]  # Python ignores these, and what is ignored is inherited


class Program:
    """One command that runs. Making it starts it; raises the error of the task when it cannot be started."""

    def __init__(self, submission: Submission, grant: Grant, environment: Mapping[str, str]) -> None:
        self.submission = submission
        self.grant = grant
        self.verdict: BaseException | None = None
        self._ranks: RankCall | None = None
        self._command, extra = self._prepare(submission)
        options = submission.options
        self._environment = {**environment, **extra, **grant.environment(), **dict(options.environment)}
        make_directory(self._command, options.directory)
        self._streams = open_streams(self._command, options.directory)
        self._process: subprocess.Popen[bytes] | None = None
        self.began = time.monotonic()
        try:
            self.pid = self._start(options.directory)
        except BaseException:
            self._close()
            raise

    def _prepare(self, submission: Submission) -> tuple[Command, Mapping[str, str]]:
        work, resources = submission.work, submission.options.resources
        if not resources.is_parallel:
            assert isinstance(work, Command)
            return work, {}
        from harmony.core.mpi import find_launcher  # only who asks for ranks pays for MPI
        from harmony.core.ranks import RankCall

        launcher = find_launcher()
        if launcher is None:
            raise EngineFailed(
                f"{submission.name} asks for {resources.ranks} ranks and there is no MPI launcher here; install one, "
                "such as Debian's openmpi-bin, or: pip install mpich"
            )
        if isinstance(work, Call):
            self._ranks = RankCall(work, submission.name)
            work = Command(tuple(self._ranks.argv))
        argv, extra = launcher.wrap(work.argv, resources)
        return Command(argv, work.stdin, work.stdout, work.stderr), extra

    def _start(self, directory: str | None) -> int:
        argv = self._command.argv
        stdin, stdout, stderr = self._streams
        try:
            if directory is not None:  # posix_spawn cannot change the directory
                self._process = subprocess.Popen(  # noqa: S603  the command is what the user asked for
                    argv,
                    stdin=stdin,
                    stdout=stdout,
                    stderr=stderr,
                    cwd=directory,
                    env=self._environment,
                    start_new_session=True,
                )
                return self._process.pid
            return os.posix_spawn(
                self._find(argv[0]),
                argv,
                self._environment,
                file_actions=[(os.POSIX_SPAWN_DUP2, mine, theirs) for theirs, mine in enumerate(self._streams)],
                setpgroup=0,
                setsigdef=_DEFAULTS,
            )
        except OSError as error:
            raise cannot_start(self._command, error) from error

    def _find(self, program: str) -> str:
        if os.sep in program:
            return program
        found = shutil.which(program, path=self._environment.get("PATH", os.defpath))
        if found is None:
            raise FileNotFoundError(program)
        return found

    def end(self, number: int, verdict: BaseException | None = None) -> None:
        """Send a signal to its process group; with a verdict, that is how its task ends."""
        self.verdict = verdict or self.verdict
        signal_group(self.pid, number)

    def overtime(self) -> BaseException:
        """The verdict for a program that has run longer than its walltime."""
        return walltime_exceeded(self.submission.name, self.submission.options.walltime or 0)

    def reap(self) -> None:
        """Collect the process, which has been killed, and whatever it held."""
        self._status()
        self._close()

    def ended(self) -> Update:
        """Collect the process, which has ended, and return what became of the task."""
        seconds = time.monotonic() - self.began
        submission = self.submission
        try:
            result = self._outcome(seconds)
        except Exception as error:  # noqa: BLE001  the task's error, or the operating system's
            return Update(submission.id, TaskState.FAILED, None, error, seconds, "local", self._prints())
        else:
            return Update(submission.id, TaskState.DONE, result, None, seconds, "local", self._prints())
        finally:
            self._close()

    def _outcome(self, seconds: float) -> Any:
        status = self._status()
        if self.verdict is not None:
            signal_group(self.pid, signal.SIGKILL)  # whoever of its group has outlived it
            raise self.verdict
        if status is None:
            raise CommandError(
                self._command.args, reason="has ended, but its exit code was taken by another wait() of this program"
            )
        if self._ranks is not None:
            return self._ranks.collect(read_captured(self._streams[2]))
        submission = self.submission
        return judge(
            self._command,
            status,
            self._streams,
            directory=submission.options.directory,
            seconds=seconds,
            outputs=submission.outputs,
        )

    def _status(self) -> int | None:
        if self._process is not None:
            return self._process.wait()
        try:
            return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        except ChildProcessError:
            return None

    def _prints(self) -> str:
        return self._ranks.prints() if self._ranks is not None else ""

    def _close(self) -> None:
        for descriptor in self._streams:
            os.close(descriptor)
        if self._ranks is not None:
            self._ranks.close()
