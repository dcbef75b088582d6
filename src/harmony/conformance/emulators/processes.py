"""The processes of emulated jobs: started in a session of their own, and ended with all that they have started."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

from harmony.conformance.emulators.model import Streams

#: Every process of a job inherits this variable: its value tells whose it is, wherever it has gone.
TAG = "HARMONY_EMULATED_JOB"
_PROC = Path("/proc")


def interpreter(script: str) -> list[str]:
    """The words of a script's ``#!`` line, or the shell."""
    first = script.partition("\n")[0]
    return first[2:].strip().split(None, 1) if first.startswith("#!") and first[2:].strip() else ["/bin/sh"]


class Process:
    """A job's script while it runs, with everything that it has started."""

    def __init__(
        self, argv: Sequence[str], directory: str, environment: Mapping[str, str], streams: Streams, tag: str
    ) -> None:
        """Start it. Raises `OSError` when a file, the directory or the interpreter cannot be had."""
        self._tag = f"{TAG}={tag}".encode()
        with ExitStack() as files:
            mode = os.O_WRONLY | os.O_CREAT | (os.O_APPEND if streams.append else os.O_TRUNC) | os.O_CLOEXEC
            stdin = _open(files, streams.stdin, os.O_RDONLY | os.O_CLOEXEC)
            stdout = _open(files, streams.stdout, mode)
            same = streams.stderr in ("", streams.stdout) and streams.stderr is not None
            stderr = subprocess.STDOUT if same else _open(files, streams.stderr or None, mode)
            self._popen = subprocess.Popen(  # noqa: S603  the job that a user has submitted
                list(argv),
                cwd=directory,
                env={**environment, TAG: tag},
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,
            )
        self.pid = self._popen.pid
        #: Readable once the script has ended; None where the kernel has no such thing: `poll` must be asked.
        self.descriptor: int | None = os.pidfd_open(self.pid) if hasattr(os, "pidfd_open") else None

    def send(self, number: int, *, leader_only: bool = False) -> None:
        """Send a signal to the script and all that it has started, or to the script alone."""
        for process in [self.pid] if leader_only else [*self._members()]:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(process, number)

    def status(self) -> int | None:
        """How the script has ended, as ``Popen.returncode``; None while it runs. What it has left then is killed."""
        if self._popen.returncode is None:
            if os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
                return None
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)  # while the script is unreaped, the group's number is its own
            self._popen.wait()
            if self.descriptor is not None:
                os.close(self.descriptor)
        return self._popen.returncode

    def kill(self) -> None:
        """Kill all of it, and wait for the script."""
        for _ in range(3):  # what a dying process starts meanwhile is found by the next round
            self.send(signal.SIGKILL)
            if not any(self._members()):
                break
        if self._popen.returncode is None:
            self._popen.wait()
            self.status()
            if self.descriptor is not None:
                with suppress(OSError):
                    os.close(self.descriptor)

    def _members(self) -> Iterator[int]:
        yielded = False
        for entry in _PROC.glob("[0-9]*"):
            with suppress(OSError):  # it has ended meanwhile, or is another user's
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                ours = int(fields[3]) == self.pid or self._tag in (entry / "environ").read_bytes().split(b"\0")
                if ours and fields[0] != "Z":
                    yielded = True
                    yield int(entry.name)
        if not yielded and self._popen.returncode is None and not _PROC.is_dir():
            yield self.pid


def sweep(prefix: str) -> None:
    """Kill every process of jobs whose tags begin like this, wherever it has gone, and wait until they are gone."""
    mark = f"{TAG}={prefix}".encode()
    for _ in range(200):
        left = list(_tagged(mark))
        for process in left:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(process, signal.SIGKILL)
        if not left:
            break
        time.sleep(0.01)


def _tagged(mark: bytes) -> Iterator[int]:
    for entry in _PROC.glob("[0-9]*"):
        with suppress(OSError):  # it has ended meanwhile, or is another user's
            if any(item.startswith(mark) for item in (entry / "environ").read_bytes().split(b"\0")):
                yield int(entry.name)


def _open(files: ExitStack, path: str | None, mode: int) -> int:
    descriptor = os.open(path or os.devnull, mode if path else os.O_RDWR | os.O_CLOEXEC, 0o666)
    files.callback(os.close, descriptor)
    return descriptor


def command(script_path: str, script: str, arguments: Sequence[str]) -> list[str]:
    """The command that runs a job's script."""
    return [*interpreter(script), script_path, *arguments]


def copies(count: int, argv: Sequence[str], rank_variables: Sequence[str], shared: Mapping[str, str]) -> str:
    """Return a shell program that runs `count` copies of a command, each with its number in some variables.

    It ends, when all have, with the highest of their exit statuses, as launchers do.
    """
    settings = " ".join(f"{name}=$i" for name in rank_variables)
    exports = "".join(f"export {name}={shlex.quote(value)}; " for name, value in shared.items())
    return (
        f"{exports}exec 3<&0; p=(); c=0; trap 'kill -TERM \"${{p[@]}}\" 2>/dev/null' TERM; "
        f"for ((i=0; i<{count}; i++)); do {settings} {shlex.join(argv)} <&3 & p+=($!); done; "
        'for q in "${p[@]}"; do wait "$q"; s=$?; while kill -0 "$q" 2>/dev/null; do wait "$q"; s=$?; done; '
        "[ $s -le $c ] || c=$s; done; exit $c"
    )
