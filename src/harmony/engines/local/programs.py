"""Programs: the commands that run, each a process group of its own, started without a shell in between."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from harmony.core.engine import Submission, Update, Usage
from harmony.core.task import Call, Command, TaskState
from harmony.core.usage import of_command
from harmony.core.work import (
    cannot_start,
    check_outputs,
    judge,
    make_directory,
    open_streams,
    read_captured,
    signal_group,
    walltime_exceeded,
)
from harmony.engines._guard import VARIABLE, sweep
from harmony.engines.local.slots import Grant
from harmony.errors import CommandError, PluginError

if TYPE_CHECKING:
    from harmony.core.ranks import RankCall

_DEFAULTS = [signal.SIGPIPE, signal.SIGXFSZ]  # Python ignores these, and what is ignored is inherited


def unrecorded(environment: dict[str, str]) -> None:
    """Keep workflows that a function starts out of its driver's store, unless the user has named one for them."""
    environment.setdefault("HARMONY_STORE", "none")


class Program:
    """One command that runs. Making it starts it; raises the error of the task when it cannot be started."""

    def __init__(self, submission: Submission, grant: Grant, environment: Mapping[str, str]) -> None:
        self.submission = submission
        self.grant = grant
        self.verdict: BaseException | None = None
        self._ranks: RankCall | None = None
        self._mark = ""
        self._process: subprocess.Popen[bytes] | None = None
        self._usage: Usage | None = None
        options = submission.options
        self._environment = {**environment, **grant.environment(), **dict(options.environment)}
        with contextlib.ExitStack() as undo:
            self._command = self._parallel() if options.resources.is_parallel else _command(submission)
            if self._ranks is not None:
                undo.callback(self._ranks.close)
            make_directory(self._command, options.directory)
            self._streams = open_streams(self._command, options.directory)
            for descriptor in self._streams:
                undo.callback(os.close, descriptor)
            self.began = time.monotonic()
            self.pid = self._start(options.directory)
            self._held = undo.pop_all()

    def _parallel(self) -> Command:
        from harmony.core.mpi import find_launcher  # only who asks for ranks pays for MPI
        from harmony.core.ranks import RankCall

        submission, resources = self.submission, self.submission.options.resources
        launcher = find_launcher()
        if launcher is None:
            raise PluginError(
                f"{submission.name} asks for {resources.ranks} ranks and there is no MPI launcher here; install one, "
                "such as Debian's openmpi-bin, or: pip install mpich"
            )
        if isinstance(submission.work, Call):
            self._ranks = RankCall(submission.work, submission.name)
            unrecorded(self._environment)
            command = Command(self._ranks.argv)
        else:
            command = _command(submission)
        argv, extra = launcher.wrap(command.argv, resources)
        # Ranks have process groups of their own, some sessions too; by this mark they are found all the same.
        self._mark = uuid.uuid4().hex
        self._environment.update(extra)
        self._environment[VARIABLE] = f"{self._environment.get(VARIABLE, '')}:{self._mark}"
        return Command(argv, command.stdin, command.stdout, command.stderr)

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
        if number == signal.SIGKILL:
            self._sweep()

    def _sweep(self) -> None:
        signal_group(self.pid, signal.SIGKILL)  # whoever of its group has outlived it
        if self._mark:
            sweep(self._mark)

    def overtime(self) -> BaseException:
        """The verdict for a program that has run longer than its walltime."""
        return walltime_exceeded(self.submission.name, self.submission.options.walltime or 0)

    def reap(self) -> None:
        """Collect the process, which has been killed, and whatever it held."""
        self._status()
        self._held.close()

    def ended(self) -> Update:
        """Collect the process, which has ended, and return what became of the task."""
        seconds = time.monotonic() - self.began
        task = self.submission.id
        try:
            result = self._outcome(seconds)
        except Exception as error:  # noqa: BLE001  the task's error, or the operating system's
            return Update(task, TaskState.FAILED, None, error, seconds, "local", self._prints(), self._usage)
        else:
            return Update(task, TaskState.DONE, result, None, seconds, "local", self._prints(), self._usage)
        finally:
            self._held.close()

    def _outcome(self, seconds: float) -> Any:
        status = self._status()
        if self.verdict is not None or (status and self._mark):
            self._sweep()
        if self.verdict is not None:
            raise self.verdict
        if status is None:
            raise CommandError(
                self._command.args, reason="has ended, but its exit code was taken by another wait() of this program"
            )
        submission = self.submission
        if self._ranks is not None:
            results = self._ranks.collect(read_captured(self._streams[2]))
            check_outputs(submission.name, submission.outputs)
            return results
        return judge(
            _command(submission),
            status,
            self._streams,
            directory=submission.options.directory,
            seconds=seconds,
            outputs=submission.outputs,
        )

    def _status(self) -> int | None:
        status: int | None = None
        try:
            _, ended, used = os.wait4(self.pid, 0)
        except ChildProcessError:
            pass  # someone else has waited for it
        else:
            status, self._usage = os.waitstatus_to_exitcode(ended), of_command(used)
        if self._process is not None:
            self._process.returncode = status or 0  # or it would wait too
        return status

    def _prints(self) -> str:
        return self._ranks.prints() if self._ranks is not None else ""


def _command(submission: Submission) -> Command:
    assert isinstance(submission.work, Command)
    return submission.work
