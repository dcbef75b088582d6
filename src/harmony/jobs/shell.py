"""Where a scheduler's commands run: the port, and this machine."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections import ChainMap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Completed:
    """A command that has ended: its exit status, what it printed, and what it complained of."""

    code: int
    out: str
    err: str = ""

    @property
    def complaint(self) -> str:
        """What to show of a failure, in a line or a few: stderr, or else stdout, or else the status."""
        return (self.err.strip() or self.out.strip() or f"exit status {self.code}")[-2000:]


class CommandUnavailable(Exception):
    """A command could not be run to its end: it is not installed, cannot be started, or does not answer.

    `transient` is False when another try cannot help.
    """

    def __init__(self, message: str, transient: bool) -> None:
        super().__init__(message)
        self.transient = transient


class Shell(Protocol):
    """Runs commands somewhere. Called from several threads at once.

    `environment` is what its commands find set, None where that is not known.
    """

    @property
    def environment(self) -> Mapping[str, str] | None:
        """What its commands find set, if that is known."""

    def run(self, argv: Sequence[str], stdin: str = "", timeout: float | None = None) -> Completed:
        """Run a command without a terminal; return when it has ended, or raise `CommandUnavailable`."""

    def put(self, path: str, text: str, executable: bool = False) -> None:
        """Write a file that only this user can read."""


class Here:
    """This machine.

    `environment` is added to the commands' environment: a test puts its own programs first on the PATH with it.
    """

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        self._environment = dict(environment or {})

    @property
    def environment(self) -> Mapping[str, str]:
        """What the commands find set."""
        return ChainMap(self._environment, os.environ)

    def run(self, argv: Sequence[str], stdin: str = "", timeout: float | None = None) -> Completed:
        """Run a command; a command that does not end within `timeout` seconds is killed with all it has started."""
        environment = {**os.environ, **self._environment} if self._environment else None
        try:
            # Its own session: a Ctrl-C for the user's program is not one for a submission under way.
            process = _Process(  # every value is an argument of its own
                list(argv),
                stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=environment,
                start_new_session=True,
            )
        except FileNotFoundError as error:
            raise CommandUnavailable(
                f"the command {argv[0]!r} is not on the PATH; is it installed here?", False
            ) from error
        except PermissionError as error:
            raise CommandUnavailable(f"the command {argv[0]!r} may not be run: {error.strerror}", False) from error
        except OSError as error:
            raise CommandUnavailable(f"the command {argv[0]!r} cannot be started: {error.strerror}", True) from error
        try:
            out, err = process.communicate(stdin.encode() if stdin else None, timeout)
        except subprocess.TimeoutExpired as error:
            raise CommandUnavailable(f"{argv[0]!r} has not answered within {timeout:g} s", True) from error
        finally:
            if process.returncode is None:
                _kill_group(process)
        return Completed(process.returncode, out.decode(errors="replace"), err.decode(errors="replace"))

    def put(self, path: str, text: str, executable: bool = False) -> None:
        """Write a file that only this user can read. Raises `OSError`."""
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o700 if executable else 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(text)


class _Process(subprocess.Popen[bytes]):
    """A command that is waited for without the naps of the standard library: they double the time of a short one."""

    def wait(self, timeout: float | None = None) -> int:
        """Wait; `communicate` does when the command has closed what it prints to."""
        if timeout is not None and self.returncode is None and sys.platform == "linux":
            try:
                descriptor = os.pidfd_open(self.pid)
            except OSError:  # no descriptor is left, or an old kernel
                return super().wait(timeout)
            try:
                poll = select.poll()
                poll.register(descriptor, select.POLLIN)
                timeout = 0 if poll.poll(max(0.0, timeout) * 1000) else timeout
            finally:
                os.close(descriptor)
        return super().wait(timeout)


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            stream.close()
