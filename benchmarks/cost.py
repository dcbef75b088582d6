"""CPU time and memory of a process and all its descendants, read from /proc."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import subprocess
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import final

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_PR_SET_CHILD_SUBREAPER = 36


@dataclass(frozen=True, slots=True)
class Process:
    """One line of /proc: CPU in seconds, including children that were waited for."""

    pid: int
    parent: int
    cpu: float
    memory: int
    zombie: bool


def _read(pid: int) -> Process | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = text[text.rindex(")") + 2 :].split()
    cpu = sum(int(field) for field in fields[11:15]) / _TICKS
    return Process(pid, int(fields[1]), cpu, int(fields[21]) * _PAGE, fields[0] == "Z")


def descendants(root: int) -> list[Process]:
    """All processes below `root`, without `root`."""
    children: dict[int, list[Process]] = defaultdict(list)
    for name in os.listdir("/proc"):
        if name.isdigit() and (process := _read(int(name))) is not None:
            children[process.parent].append(process)
    found: list[Process] = []
    pending = [root]
    while pending:
        below = children.pop(pending.pop(), [])
        found += below
        pending += [process.pid for process in below]
    return found


def clean_up(process: subprocess.Popen[bytes] | None = None) -> None:
    """End and reap everything below this process; `process`, if it has said all it had to, gets a moment to leave."""
    if process is not None:
        with suppress(subprocess.TimeoutExpired):
            process.wait(5)
    while left := descendants(os.getpid()):
        for below in left:
            with suppress(ProcessLookupError):
                os.kill(below.pid, signal.SIGKILL)
        if process is not None:
            process.wait()
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        time.sleep(0.005)


def adopt_orphans() -> None:
    """Keep daemons that detach themselves in this process's tree, where they are counted (Linux)."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


@final
class Meter:
    """Wall and CPU seconds of what runs inside ``with``; reading /proc is not part of it."""

    seconds: float
    driver: float
    others: float

    def __init__(self, others: Callable[[], float] | None = None) -> None:
        self._read = others or _others

    def __enter__(self) -> Meter:
        self._others = self._read()
        self._driver = time.process_time()
        self._start = time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.perf_counter() - self._start
        self.driver = time.process_time() - self._driver
        self.others = self._read() - self._others


def _others() -> float:
    """CPU seconds of all processes below this one, ended ones included, to 10 ms for each."""
    reaped = resource.getrusage(resource.RUSAGE_CHILDREN)
    return reaped.ru_utime + reaped.ru_stime + sum(process.cpu for process in descendants(os.getpid()))


def others_precisely() -> float:
    """The same to the nanosecond, for trees that do next to nothing: of threads that live all the time."""
    nanoseconds = 0
    for process in descendants(os.getpid()):
        with suppress(OSError):
            for thread in Path(f"/proc/{process.pid}/task").iterdir():
                nanoseconds += int((thread / "schedstat").read_text().split()[0])
    return nanoseconds / 1e9


def driver_memory() -> int:
    """Resident bytes of this process."""
    own = _read(os.getpid())
    return own.memory if own else 0


def memory() -> int:
    """Resident bytes of the tree; pages that processes share count once for each."""
    return driver_memory() + sum(process.memory for process in descendants(os.getpid()))


def peak_memory() -> int:
    """The most resident bytes this process ever had."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0
