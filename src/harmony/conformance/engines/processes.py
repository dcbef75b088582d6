"""Processes to watch, and programs to start: what is left of an engine is found by a mark in the environment."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from harmony.conformance.engines.gates import PATIENCE

#: The name of the variable by which all that a program has started is recognised.
MARK = "HARMONY_CONFORMANCE"
#: Python starts these once, for as long as a program lives; they end with it.
SERVERS = ("multiprocessing.resource_tracker", "multiprocessing.forkserver")


def wait_gone(process: int, patience: float = PATIENCE) -> None:
    """Wait until a process, of whomever, has ended."""
    try:
        ended = os.pidfd_open(process)
    except ProcessLookupError:
        return
    try:
        if not select.select([ended], [], [], patience)[0]:
            raise AssertionError(f"process {process} is still there: {command_line(process)!r}")
    finally:
        os.close(ended)


def children(process: int) -> set[int]:
    """The children of a process that have not ended."""
    return {child for child, (state, parent) in _table().items() if parent == process and state != "Z"}


def marked(mark: str) -> set[int]:
    """The processes that carry the mark and have not ended."""
    wanted = os.fsencode(f"{MARK}={mark}")
    found = set()
    for process, (state, _) in _table().items():
        with suppress(OSError):  # it ended meanwhile, or is another user's
            if state != "Z" and wanted in Path(f"/proc/{process}/environ").read_bytes().split(b"\0"):
                found.add(process)
    return found


def wait_unmarked(mark: str, patience: float, but: int = 0) -> None:
    """Wait until no process carries the mark, `but` one."""
    deadline = time.monotonic() + patience
    while left := marked(mark) - {but}:
        for process in left:
            wait_gone(process, max(0.0, deadline - time.monotonic()))


def command_line(process: int) -> str:
    """The program and arguments of a process, or "" when it is gone or unreaped."""
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""


def is_pythons(process: int) -> bool:
    """True for what Python's own library starts beside a program."""
    return any(name in command_line(process) for name in SERVERS)


def _table() -> dict[int, tuple[str, int]]:
    """State and parent of every process."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # gone meanwhile
            state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
            found[int(entry.name)] = (state, int(parent))
    return found


class Program:
    """A Python program in a process of its own, whose descendants all carry its `mark`."""

    def __init__(self, process: subprocess.Popen[bytes], mark: str, patience: float) -> None:
        self.mark = mark
        self.pid = process.pid
        self._process = process
        self._patience = patience
        self._text = b""

    def line(self) -> str:
        """Wait for the next line that it prints; "" when it has ended."""
        assert self._process.stdout is not None
        descriptor = self._process.stdout.fileno()
        deadline = time.monotonic() + self._patience
        while b"\n" not in self._text:
            if not select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise AssertionError(f"the program has said nothing for {self._patience:g} s, but {self._text!r}")
            more = os.read(descriptor, 1 << 16)
            if not more:
                return ""
            self._text += more
        line, _, self._text = self._text.partition(b"\n")
        return line.decode()

    def go_on(self) -> None:
        """Let it read a line."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"\n")
        self._process.stdin.flush()

    def kill(self) -> None:
        """Kill it with SIGKILL, and it alone."""
        self._process.kill()
        self._process.wait(self._patience)

    def wait(self) -> int:
        """Wait for its end; return its status."""
        return self._process.wait(self._patience)

    def started(self) -> set[int]:
        """All that it has started and that runs."""
        return {process for process in marked(self.mark) - {self.pid} if not is_pythons(process)}


@contextmanager
def started(argv: list[str], folder: Path, patience: float) -> Iterator[Program]:
    """Start Python with these arguments, in a folder; in the end kill all that is left.

    What it writes to stderr is in ``stderr`` there, and shown when the test fails.
    """
    mark = uuid.uuid4().hex
    errors = folder / f"stderr-{mark[:8]}"
    with (
        errors.open("wb") as stderr,
        subprocess.Popen(  # noqa: S603  our own programs
            [sys.executable, *argv],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            cwd=folder,
            env={**os.environ, MARK: mark, "PYTHONPATH": _path()},
            start_new_session=True,
        ) as process,
    ):
        try:
            yield Program(process, mark, patience)
        except BaseException:
            print(errors.read_text(errors="replace")[-8000:], file=sys.stderr)  # noqa: T201  why the test fails
            raise
        finally:
            process.kill()
            for left in marked(mark):
                with suppress(ProcessLookupError):
                    os.kill(left, signal.SIGKILL)


def _path() -> str:
    """Where modules are found that this Python alone would not find."""
    own = (sys.prefix, sys.base_prefix)
    added = [os.path.abspath(entry) for entry in sys.path if not os.path.abspath(entry).startswith(own)]
    return os.pathsep.join(dict.fromkeys([*added, *filter(None, [os.environ.get("PYTHONPATH")])]))
