"""Work, where it runs: how a command is started and judged, and a function called.

Every engine uses these, so that a failing command and a missing output mean the same thing everywhere.
"""

from __future__ import annotations

import io
import os
import select
import signal
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from harmony.core.data import File
from harmony.core.engine import Usage
from harmony.core.task import Call, Command, CommandResult, Options
from harmony.core.usage import of_command
from harmony.errors import (
    CommandError,
    MissingFileError,
    WalltimeExceeded,
)

#: The most of a captured stream that is kept; of a longer one, its end.
CAPTURE_LIMIT = 8 * 2**20
#: The most of stderr that an error shows.
ERROR_TAIL = 4000
#: Seconds between the polite signal and the sure one.
GRACE = 2.0
#: Seconds that `poll` can wait; what is longer is taken for ever.
_LONGEST_POLL = 2_000_000


# -- commands ---------------------------------------------------------------------------------------


def open_streams(command: Command, directory: str | None) -> tuple[int, int, int]:
    """Open a command's stdin, stdout and stderr as file descriptors that the caller must close.

    What is captured goes to a file without a name. Raises `CommandError` naming the path that cannot be opened.
    """
    opened: list[int] = []
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    try:
        opened.append(_open(command, "stdin", command.stdin or os.devnull, os.O_RDONLY, directory))
        for name in ("stdout", "stderr"):
            path = getattr(command, name)
            if path is None:
                opened.append(_nameless_file())
            elif name == "stderr" and path == command.stdout:
                opened.append(os.dup(opened[1]))
            else:
                opened.append(_open(command, name, path, flags, directory))
    except BaseException:
        for descriptor in opened:
            os.close(descriptor)
        raise
    return opened[0], opened[1], opened[2]


def _open(command: Command, stream: str, path: str, flags: int, directory: str | None) -> int:
    try:
        # Not blocking, or a FIFO that nobody has open would keep the engine here for ever.
        descriptor = os.open(os.path.join(directory or "", path), flags | os.O_CLOEXEC | os.O_NONBLOCK, 0o666)
    except OSError as error:
        reason = f"could not be started: its {stream} {path!r} cannot be opened: {error.strerror}"
        raise CommandError(command.args, reason=reason) from error
    os.set_blocking(descriptor, True)
    return descriptor


def _nameless_file() -> int:
    if hasattr(os, "O_TMPFILE"):
        try:
            return os.open(tempfile.gettempdir(), os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except OSError:
            pass  # not every file system can
    descriptor, path = tempfile.mkstemp(prefix="harmony-")
    os.unlink(path)
    return descriptor


def read_captured(descriptor: int) -> str:
    """Return what a command wrote to a stream that was captured; of more than `CAPTURE_LIMIT` bytes, the end."""
    size = os.fstat(descriptor).st_size
    if not size:
        return ""
    skipped = max(0, size - CAPTURE_LIMIT)
    text = os.pread(descriptor, size - skipped, skipped).decode(errors="replace")
    return f"[… {skipped} bytes left out …]\n{text}" if skipped else text


def _read_tail(command: Command, stderr: int, directory: str | None) -> str:
    if command.stderr is None:
        return read_captured(stderr)[-ERROR_TAIL:]
    try:
        descriptor = os.open(os.path.join(directory or "", command.stderr), os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return ""
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            return ""  # a device has no end
        return os.pread(descriptor, ERROR_TAIL, max(0, status.st_size - ERROR_TAIL)).decode(errors="replace")
    finally:
        os.close(descriptor)


def judge(
    command: Command,
    status: int,
    streams: tuple[int, int, int],
    *,
    directory: str | None,
    seconds: float,
    outputs: Sequence[str],
) -> CommandResult:
    """Return the result of a command that has ended; raise `CommandError` or `MissingFileError`.

    `status` is the exit code, or the negative number of the signal that ended it, as `subprocess` has it.
    """
    if status:
        raise CommandError(
            command.args,
            exit_code=status if status > 0 else None,
            signal=-status if status < 0 else None,
            stderr=_read_tail(command, streams[2], directory),
        )
    check_outputs(str(command), outputs)
    stdout = read_captured(streams[1]) if command.stdout is None else ""
    stderr = read_captured(streams[2]) if command.stderr is None else ""
    return CommandResult(str(command), stdout, stderr, seconds, tuple(map(File, outputs)))


def check_outputs(name: str, outputs: Sequence[str]) -> None:
    """Raise `MissingFileError` when a declared output is not there."""
    missing = [path for path in outputs if not os.path.exists(path)]
    if missing:
        raise MissingFileError(f"{name} ended well but did not write its declared output {', '.join(missing)}")


def cannot_start(command: Command, error: OSError) -> CommandError:
    """Translate the operating system's refusal to start a program."""
    program = command.argv[0]
    if isinstance(error, FileNotFoundError):
        reason = f"could not be started: there is no program {program!r}"
    elif isinstance(error, PermissionError):
        reason = f"could not be started: {program!r} is not executable, or its directory cannot be entered"
    else:
        reason = f"could not be started: {error.strerror or error}"
    failure = CommandError(command.args, reason=reason)
    failure.__cause__ = error
    return failure


def make_directory(command: Command, directory: str | None) -> None:
    """Make the working directory of a command; raise `CommandError` when it cannot be made."""
    if directory is not None:
        try:
            os.makedirs(directory, exist_ok=True)
        except OSError as error:
            raise CommandError(
                command.args, reason=f"could not be started: its directory {directory!r} cannot be made: {error}"
            ) from error


def run_command(
    command: Command,
    options: Options,
    outputs: Sequence[str] = (),
    used: Callable[[Usage], object] = lambda usage: None,
) -> CommandResult:
    """Run a command here and wait for it: for engines that have threads or nothing better.

    `used` is told what it used, also of one that failed.
    """
    make_directory(command, options.directory)
    streams = open_streams(command, options.directory)
    started = time.monotonic()
    try:
        try:
            process = subprocess.Popen(  # noqa: S603  the command is what the user asked for
                command.argv,
                stdin=streams[0],
                stdout=streams[1],
                stderr=streams[2],
                cwd=options.directory,
                env={**os.environ, **dict(options.environment)},
                start_new_session=True,
            )
        except OSError as error:
            raise cannot_start(command, error) from error
        status = _wait(process, command, options.walltime, used)
        seconds = time.monotonic() - started
        return judge(command, status, streams, directory=options.directory, seconds=seconds, outputs=outputs)
    finally:
        for descriptor in streams:
            os.close(descriptor)


def _wait(
    process: subprocess.Popen[bytes], command: Command, walltime: float | None, used: Callable[[Usage], object]
) -> int:
    try:
        if _ended(process, walltime):
            return _collect(process, used)
        raise walltime_exceeded(str(command), walltime or 0)
    except BaseException:
        if process.returncode is None:
            signal_group(process.pid, signal.SIGTERM)
            if not _ended(process, GRACE):
                signal_group(process.pid, signal.SIGKILL)
            _collect(process, used)
        signal_group(process.pid, signal.SIGKILL)
        raise


def _ended(process: subprocess.Popen[bytes], seconds: float | None) -> bool:
    """Wait so long for the end of a process; leave it to be collected."""
    if seconds is not None and hasattr(os, "pidfd_open"):
        try:
            descriptor = os.pidfd_open(process.pid)
        except OSError:
            pass  # an old kernel
        else:
            try:
                waiting = select.poll()
                waiting.register(descriptor, select.POLLIN)
                return bool(waiting.poll(seconds * 1000 if seconds < _LONGEST_POLL else None))
            finally:
                os.close(descriptor)
    deadline = None if seconds is None else time.monotonic() + seconds
    how = os.WEXITED | os.WNOWAIT | (0 if deadline is None else os.WNOHANG)
    try:
        while os.waitid(os.P_PID, process.pid, how) is None:
            if deadline is not None and time.monotonic() >= deadline:
                return False
            time.sleep(0.01)
    except ChildProcessError:
        pass  # someone else has waited for it
    return True


def _collect(process: subprocess.Popen[bytes], used: Callable[[Usage], object]) -> int:
    try:
        _, status, usage = os.wait4(process.pid, 0)
    except ChildProcessError:
        process.returncode = 0  # as `subprocess` has it
    else:
        process.returncode = os.waitstatus_to_exitcode(status)
        used(of_command(usage))
    return process.returncode


def walltime_exceeded(name: str, walltime: float) -> WalltimeExceeded:
    """The error for work that ran too long."""
    return WalltimeExceeded(f"{name} ran longer than its walltime of {walltime:g} s and was ended")


def signal_group(group: int, number: int) -> None:
    """Send a signal to a process group, if it is still there."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        pass


# -- functions ---------------------------------------------------------------------------------------


class Prints(io.TextIOBase):
    """A stdout that keeps what one task prints. `take` returns it and starts anew."""

    encoding = "utf-8"
    errors = "replace"

    def __init__(self) -> None:
        super().__init__()
        self._parts: list[str] = []
        self.buffer = _PrintedBytes(self)

    def writable(self) -> bool:
        """True."""
        return True

    def write(self, text: str) -> int:
        """Keep the text."""
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        self._parts.append(text)
        return len(text)

    def take(self) -> str:
        """Return what was written since the last call."""
        if not self._parts:
            return ""
        text = "".join(self._parts)
        self._parts.clear()
        return text


class _PrintedBytes(io.RawIOBase):
    """``sys.stdout.buffer`` of a task."""

    def __init__(self, prints: Prints) -> None:
        super().__init__()
        self._prints = prints

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._prints.write(bytes(data).decode(errors="replace"))
        return len(data)


def run_call(call: Call, environment: Mapping[str, str], directory: str | None) -> Any:
    """Call a function here, under its environment variables and working directory, and put both back."""
    if not environment and directory is None:
        return call.fn(*call.args, **call.kwargs)
    before = {key: os.environ.get(key) for key in environment}
    home = os.getcwd() if directory is not None else None
    os.environ.update(environment)
    try:
        if directory is not None:
            os.makedirs(directory, exist_ok=True)
            os.chdir(directory)
        return call.fn(*call.args, **call.kwargs)
    finally:
        if home is not None:
            os.chdir(home)
        for key, value in before.items():
            if value is None:
                os.environ.pop(key, None)
            else:
                os.environ[key] = value
