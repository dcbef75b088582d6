"""The work that every system is given. Workers import it, so it imports next to nothing."""

from __future__ import annotations

import fcntl
import os
import subprocess
import threading
import time
from collections.abc import Sequence
from typing import Any

PAGE = 512  # float64 numbers in one page of memory
SHORT = 0.005  # seconds of a short task


def noop(_index: int = 0) -> None:
    """Do nothing: what is left is the system's own cost."""


def short(_index: int = 0) -> None:
    """Take 5 ms, and no CPU time: what is spent is the system's own."""
    time.sleep(SHORT)


def step(value: int) -> int:
    """One link of a chain."""
    return value + 1


def one(_index: int = 0) -> int:
    """One leaf of a fan-in."""
    return 1


def total(values: Sequence[int]) -> int:
    """The root of a fan-in."""
    return sum(values)


def total_of(*values: int) -> int:
    """The same, for systems that look for futures among the arguments only."""
    return sum(values)


def total_inputs(inputs: Sequence[int] = ()) -> int:
    """The same, for Parsl."""
    return sum(inputs)


def where(seconds: float) -> tuple[int, int]:
    """Say which worker this is, after long enough that the others get some too."""
    time.sleep(seconds)
    return os.getpid(), threading.get_ident()


def wait_for(path: str) -> None:
    """Keep a worker busy until the lock on the file is given up."""
    with open(path, "rb") as stream:
        fcntl.flock(stream, fcntl.LOCK_SH)


def arguments(*argv: str) -> list[str]:
    """A command of Harmony's."""
    return list(argv)


def shell_line(line: str) -> str:
    """A command of Parsl's."""
    return line


def run_command(argv: Sequence[str]) -> int:
    """How a function runs a command where the system has no commands of its own."""
    return subprocess.run(argv, check=True).returncode


def touch(array: Any) -> float:
    """Read one number of each page, so that nobody is paid for memory that was only promised."""
    return float(array[::PAGE].sum())


def echo(array: Any) -> Any:
    """Read an array and send it back."""
    touch(array)
    return array
