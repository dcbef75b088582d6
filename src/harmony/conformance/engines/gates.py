"""What the tests hold tasks with and hear from them by, on one machine or on a file system that all share."""

from __future__ import annotations

import fcntl
import os
import select
import time
from pathlib import Path

#: Seconds after which what is waited for is taken not to happen; far more than it takes on a busy machine.
PATIENCE = 30.0


class Gate:
    """Closed until `open`; tasks wait at it with `work.pass_gate`, commands with ``flock -s PATH true``."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self._descriptor = os.open(self.path, os.O_CREAT | os.O_RDWR)
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)

    def open(self) -> None:
        """Let everybody through. Idempotent."""
        if self._descriptor >= 0:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)
            os.close(self._descriptor)
            self._descriptor = -1


class News:
    """Lines that tasks write with `work.tell`, and commands with ``echo … > PATH``, in the order of their writing."""

    def __init__(self, path: Path, patience: float = PATIENCE) -> None:
        self.path = str(path)
        os.mkfifo(self.path)
        self._patience = patience
        self._descriptor = os.open(self.path, os.O_RDWR)
        self._text = ""

    def hear(self, count: int = 1) -> list[str]:
        """Wait for so many lines and return them."""
        return [self._line() for _ in range(count)]

    def numbers(self, count: int = 1) -> list[int]:
        """Wait for so many lines, each a number."""
        return [int(line) for line in self.hear(count)]

    def _line(self) -> str:
        deadline = time.monotonic() + self._patience
        while "\n" not in self._text:
            if not select.select([self._descriptor], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise AssertionError(f"no news for {self._patience:g} s; what came before: {self._text!r}")
            self._text += os.read(self._descriptor, 1 << 16).decode()
        line, _, self._text = self._text.partition("\n")
        return line

    def close(self) -> None:
        """Hear no more."""
        os.close(self._descriptor)


def lines(path: Path) -> list[str]:
    """What was noted in a file, or nothing."""
    return path.read_text().splitlines() if path.exists() else []
