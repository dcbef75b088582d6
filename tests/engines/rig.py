"""What the tests of engines hold tasks with and hear from them by: gates, news, programs, and processes to watch.

Tasks run the functions below in other processes, so this module imports little.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

#: Seconds after which what is waited for is taken not to happen; far more than it takes on a busy machine.
PATIENCE = 30.0
ROOT = Path(__file__).parent.parent.parent


class Gate:
    """Closed until `open`; tasks wait at it with `pass_gate`, commands with ``flock -s PATH true``."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self._descriptor = os.open(self.path, os.O_CREAT | os.O_RDWR)
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)

    def open(self) -> None:
        if self._descriptor >= 0:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)
            os.close(self._descriptor)
            self._descriptor = -1


class News:
    """Lines that tasks write with `tell`, and commands with ``echo … > PATH``, in the order of their writing."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        os.mkfifo(self.path)
        self._descriptor = os.open(self.path, os.O_RDWR)
        self._text = ""

    def hear(self, count: int = 1) -> list[str]:
        """Wait for so many lines and return them."""
        return [self._line() for _ in range(count)]

    def numbers(self, count: int = 1) -> list[int]:
        return [int(line) for line in self.hear(count)]

    def _line(self) -> str:
        deadline = time.monotonic() + PATIENCE
        while "\n" not in self._text:
            if not select.select([self._descriptor], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise AssertionError(f"no news for {PATIENCE:g} s; what came before: {self._text!r}")
            self._text += os.read(self._descriptor, 1 << 16).decode()
        line, _, self._text = self._text.partition("\n")
        return line

    def close(self) -> None:
        os.close(self._descriptor)


# -- what tasks do ----------------------------------------------------------------------------------


def pass_gate(path: str, value: Any = None) -> Any:
    """Wait until the gate is open."""
    with open(path, "rb") as stream:
        fcntl.flock(stream, fcntl.LOCK_SH)
    return value


def tell(news: str, text: object) -> None:
    """Write a line, at once."""
    descriptor = os.open(news, os.O_WRONLY)
    os.write(descriptor, f"{text}\n".encode())
    os.close(descriptor)


def hold(gate: str, news: str, value: Any = None) -> Any:
    """Tell this process's id, then wait at the gate."""
    tell(news, os.getpid())
    return pass_gate(gate, value)


def note(path: str, text: object) -> None:
    """Append a line to a file, at once."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(descriptor, f"{text}\n".encode())
    os.close(descriptor)


def kill_once(marker: str, value: Any = None) -> Any:
    """Kill this process with SIGKILL, but only the first time."""
    try:
        os.close(os.open(marker, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return value
    os.kill(os.getpid(), signal.SIGKILL)
    return None


def identity(value: Any) -> Any:
    return value


def lines(path: Path) -> list[str]:
    """What was noted, or nothing."""
    return path.read_text().splitlines() if path.exists() else []


# -- processes --------------------------------------------------------------------------------------


def wait_gone(process: int) -> None:
    """Wait until a process, of whomever, has ended."""
    try:
        ended = os.pidfd_open(process)
    except ProcessLookupError:
        return
    try:
        if not select.select([ended], [], [], PATIENCE)[0]:
            raise AssertionError(f"process {process} is still there: {Path(f'/proc/{process}/cmdline').read_bytes()!r}")
    finally:
        os.close(ended)


def children(process: int) -> set[int]:
    """The children of a process that have not ended."""
    found = set()
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
        except OSError:
            continue  # gone meanwhile
        if int(parent) == process and state != "Z":
            found.add(int(entry.name))
    return found


def workers() -> set[int]:
    """The workers of this process."""
    return {child for child in children(os.getpid()) if b"local.worker" in _command_line(child)}


def _command_line(process: int) -> bytes:
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return b""


@contextmanager
def started(folder: Path, text: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Start a Python program in a process group of its own; kill it in the end if need be.

    It can import this module.
    """
    path = folder / "program.py"
    path.write_text(textwrap.dedent(text), encoding="utf-8")
    with subprocess.Popen(
        [sys.executable, str(path), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        start_new_session=True,
    ) as process:
        try:
            yield process
        except BaseException:
            process.kill()
            print(*process.communicate(), file=sys.stderr)  # for who reads why the test has failed
            raise
        finally:
            process.kill()


def run(folder: Path, text: str, *arguments: str) -> str:
    """Run a Python program to its end, which must be a good one, and return what it printed."""
    with started(folder, text, *arguments) as process:
        out, err = process.communicate(timeout=PATIENCE)
    if process.returncode:
        raise AssertionError(f"the program ended with {process.returncode}:\n{out}\n{err}")
    return out
