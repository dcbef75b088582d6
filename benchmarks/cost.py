"""CPU time and memory of a process and all its descendants, read from /proc."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

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


def kill_descendants(root: int) -> int:
    """End all that is below `root`; returns how many were alive."""
    alive = [process for process in descendants(root) if not process.zombie]
    for process in alive:
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
    return len(alive)


def adopt_orphans() -> None:
    """Keep daemons that detach themselves in this process's tree, where they are counted (Linux)."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Cost:
    """CPU seconds of this process and of those below it."""

    driver: float
    others: float

    @classmethod
    def now(cls) -> Cost:
        """What was used so far."""
        usage = resource.getrusage(resource.RUSAGE_SELF)
        reaped = resource.getrusage(resource.RUSAGE_CHILDREN)
        alive = sum(process.cpu for process in descendants(os.getpid()))
        driver = usage.ru_utime + usage.ru_stime
        return cls(driver, alive + reaped.ru_utime + reaped.ru_stime)

    def __sub__(self, other: Cost) -> Cost:
        return Cost(self.driver - other.driver, self.others - other.others)

    @property
    def total(self) -> float:
        """Seconds of the whole tree."""
        return self.driver + self.others


def precise_cpu() -> float:
    """CPU seconds of the tree to the nanosecond, of threads that are alive: for trees that do nothing."""
    pids = [os.getpid(), *(process.pid for process in descendants(os.getpid()))]
    nanoseconds = 0
    for pid in pids:
        with suppress(OSError):
            for thread in Path(f"/proc/{pid}/task").iterdir():
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
