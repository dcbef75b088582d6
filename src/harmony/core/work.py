"""Work, where it runs: how a command is started and judged, and how errors and functions travel.

Every engine uses these, so that a failing command, a missing output and a remote exception mean the
same thing everywhere.
"""

from __future__ import annotations

import importlib
import io
import os
import pickle
import signal
import subprocess
import tempfile
import time
import traceback
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import cloudpickle

from harmony.core.data import File
from harmony.core.task import Call, Command, CommandResult, Options
from harmony.errors import (
    CommandError,
    MissingFileError,
    RemoteError,
    RemoteTraceback,
    SerializationError,
    WalltimeExceeded,
    text_of,
)

#: The most of a captured stream that is kept; of a longer one, its end.
CAPTURE_LIMIT = 16 * 2**20
#: The most of stderr that an error shows.
ERROR_TAIL = 4000
#: Seconds between the polite signal and the sure one.
GRACE = 2.0


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
        return os.open(os.path.join(directory or "", path), flags | os.O_CLOEXEC, 0o666)
    except OSError as error:
        reason = f"could not be started: its {stream} {path!r} cannot be opened: {error.strerror}"
        raise CommandError(command.args, reason=reason) from error


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
    try:
        if command.stderr is None:
            return read_captured(stderr)[-ERROR_TAIL:]
        with open(os.path.join(directory or "", command.stderr), "rb") as stream:
            stream.seek(max(0, os.fstat(stream.fileno()).st_size - ERROR_TAIL))
            return stream.read().decode(errors="replace")
    except OSError:
        return ""


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


def run_command(command: Command, options: Options, outputs: Sequence[str] = ()) -> CommandResult:
    """Run a command here and wait for it: for engines that have threads or nothing better."""
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
        status = _wait(process, command, options.walltime)
        seconds = time.monotonic() - started
        return judge(command, status, streams, directory=options.directory, seconds=seconds, outputs=outputs)
    finally:
        for descriptor in streams:
            os.close(descriptor)


def _wait(process: subprocess.Popen[bytes], command: Command, walltime: float | None) -> int:
    try:
        return process.wait(walltime)
    except BaseException as error:
        for number, patience in ((signal.SIGTERM, GRACE), (signal.SIGKILL, None)):
            signal_group(process.pid, number)
            try:
                process.wait(patience)
                break
            except subprocess.TimeoutExpired:
                continue
        signal_group(process.pid, signal.SIGKILL)
        if isinstance(error, subprocess.TimeoutExpired):
            raise walltime_exceeded(str(command), walltime or 0) from None
        raise


def walltime_exceeded(name: str, walltime: float) -> WalltimeExceeded:
    """The error for work that ran too long."""
    return WalltimeExceeded(f"{name} ran longer than its walltime of {walltime:g} s and was ended")


def signal_group(group: int, number: int) -> None:
    """Send a signal to a process group, if it is still there."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        pass


# -- functions and values -----------------------------------------------------------------------------


def locate(module: str, qualname: str) -> Any:
    """Return the plain function that `module.qualname` is, or wraps."""
    found: Any = importlib.import_module(module)
    for part in qualname.split("."):
        found = getattr(found, part)
    return _unwrap(found)


def _unwrap(found: Any) -> Any:
    while hasattr(found, "__wrapped__"):
        found = found.__wrapped__
    return found


def dump_function(fn: Callable[..., Any]) -> bytes:
    """Pickle a function: by reference where it can be imported, by value (cloudpickle) where not.

    A decorated function is found by the name that its decorated form has taken. Raises `SerializationError`.
    """
    module, qualname = getattr(fn, "__module__", None), getattr(fn, "__qualname__", None)
    if isinstance(fn, types.FunctionType) and module not in (None, "__main__") and "<" not in (qualname or "<"):
        try:
            if locate(str(module), str(qualname)) is _unwrap(fn) and module not in _by_value():
                return pickle.dumps((module, qualname), 5)
        except (ImportError, AttributeError):
            pass
    try:
        data: bytes = cloudpickle.dumps(fn, 5)
        return data
    except Exception as error:
        raise cannot_pickle(f"function {qualname or fn!r}", error) from error


def _by_value() -> set[str]:
    return set(cloudpickle.list_registry_pickle_by_value())


def load_function(data: bytes) -> Callable[..., Any]:
    """Undo `dump_function`."""
    loaded = pickle.loads(data)  # noqa: S301  written by the user's own driver
    fn: Callable[..., Any] = locate(*loaded) if isinstance(loaded, tuple) else loaded
    return fn


def dump_value(value: Any) -> bytes:
    """Pickle a value in one piece; see `dump_parts`."""
    return dump_parts(value, None)[0]


def dump_parts(value: Any, large: int | None) -> tuple[bytes, list[memoryview]]:
    """Pickle a value; its contiguous buffers of at least `large` bytes come apart, in order and not copied.

    Plain pickle first, which is fast; cloudpickle for what it cannot do, and for anything that names
    ``__main__``, which another process does not have.
    """
    buffers: list[memoryview] = []

    def keep_inside(buffer: pickle.PickleBuffer) -> bool:
        try:
            raw = buffer.raw()
        except BufferError:
            return True  # not contiguous
        if large is None or raw.nbytes < large:
            return True
        buffers.append(raw)
        return False

    try:
        data = pickle.dumps(value, 5, buffer_callback=keep_inside)
        if b"__main__" not in data and not _by_value():
            return data, buffers
    except Exception:  # noqa: BLE001  whatever a __reduce__ raises, cloudpickle may do better
        pass
    buffers.clear()
    return cloudpickle.dumps(value, 5, buffer_callback=keep_inside), buffers


def cannot_pickle(what: str, error: BaseException) -> SerializationError:
    """The error for something that cannot be sent to another process."""
    return SerializationError(f"{what} cannot be pickled: {type(error).__name__}: {error}")


# -- exceptions ---------------------------------------------------------------------------------------


def dump_exception(error: BaseException) -> bytes:
    """Pickle an exception with its traceback's text, so that `load_exception` cannot fail on it."""
    text = "".join(traceback.format_exception(type(error), error, _without_ours(error.__traceback__)))
    name = f"{type(error).__module__}.{type(error).__qualname__}".removeprefix("builtins.")
    stand_in = (name, text_of(error), text)
    for form in (error, (type(error), error.args, dict(error.__dict__)), (type(error), error.args, {})):
        try:
            data = dump_value(form)
            if type(_rebuild(pickle.loads(data))) is type(error):  # noqa: S301  our own bytes
                return pickle.dumps((data, stand_in), 5)
        except Exception:  # noqa: BLE001  a user's exception may fail in any way; the next form is simpler
            continue
    return pickle.dumps((None, stand_in), 5)


def load_exception(data: bytes) -> BaseException:
    """Undo `dump_exception`: the original type where it can be had here, else a `RemoteError`."""
    form, stand_in = pickle.loads(data)  # noqa: S301  written by our own worker
    try:
        error = _rebuild(pickle.loads(form)) if form is not None else RemoteError(*stand_in)  # noqa: S301
    except Exception:  # noqa: BLE001  its type may not be importable here
        error = RemoteError(*stand_in)
    error.__cause__ = RemoteTraceback(stand_in[2])
    return error


def _rebuild(form: Any) -> BaseException:
    if isinstance(form, BaseException):
        return form
    kind, args, state = form
    error: BaseException = kind.__new__(kind, *args)  # past an __init__ that takes other arguments
    error.args = args
    error.__dict__.update(state)
    return error


def _without_ours(trace: types.TracebackType | None) -> types.TracebackType | None:
    """Drop the frames of Harmony at the start, so that the user sees their own code first."""
    here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    while trace is not None and trace.tb_frame.f_code.co_filename.startswith(here) and trace.tb_next is not None:
        trace = trace.tb_next
    return trace


class Prints(io.TextIOBase):
    """A stdout that keeps what one task prints. `take` returns it and starts anew."""

    def __init__(self) -> None:
        super().__init__()
        self._parts: list[str] = []

    def writable(self) -> bool:
        """True."""
        return True

    def write(self, text: str) -> int:
        """Keep the text."""
        self._parts.append(text)
        return len(text)

    def take(self) -> str:
        """Return what was written since the last call."""
        if not self._parts:
            return ""
        text = "".join(self._parts)
        self._parts.clear()
        return text


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
