"""What work has used, as the operating system counts it: of a function in its worker, and of a command at its end.

Linux gives a program that is started the peak memory of the one that starts it, so that a peak not above our own says
nothing of the program: it is then left out, and for a worker asked for elsewhere.
"""

from __future__ import annotations

import resource
import sys
import time

from harmony.core.engine import Usage

#: The use of shorter tasks is not measured: it is their time, and asking would take longer than they do.
MEASURED = 0.001
#: A reading that is older than this does not stand for the beginning of a task.
STALE = 0.0005
#: The memory of a worker is asked for again after so many seconds, where that takes reading a file.
_MEMORY_STALE = 0.05
_UNIT = 1 if sys.platform == "darwin" else 1024
_BLOCK = 512


def of_command(used: resource.struct_rusage) -> Usage:
    """Return what a program used that was waited for, with those of its descendants that were waited for."""
    memory = used.ru_maxrss if used.ru_maxrss > resource.getrusage(resource.RUSAGE_SELF).ru_maxrss else None
    return Usage(
        used.ru_utime + used.ru_stime,
        None if memory is None else memory * _UNIT,
        used.ru_inblock * _BLOCK,
        used.ru_oublock * _BLOCK,
    )


class Meter:
    """What this process uses from one reading to the next; one task runs at a time.

    `at` is when it was last read, by `time.perf_counter`. Children that a task has waited for count as the task's.
    """

    def __init__(self) -> None:
        self._peak = 0
        self._peak_at = 0.0
        self._waited = (0.0, 0, 0)
        self.read(time.perf_counter())
        self._inherited = self._resident

    def read(self, now: float) -> None:
        """Begin anew: what was used until now is nobody's."""
        used = resource.getrusage(resource.RUSAGE_SELF)
        self._used = (used.ru_utime + used.ru_stime, used.ru_inblock, used.ru_oublock)
        self._resident = used.ru_maxrss
        self.at = now

    def take(self, now: float) -> Usage:
        """Return what was used since the last reading, and begin anew."""
        cpu, read, written = self._used
        waited_cpu, waited_read, waited_written = self._waited
        waited = resource.getrusage(resource.RUSAGE_CHILDREN)
        self._waited = (waited.ru_utime + waited.ru_stime, waited.ru_inblock, waited.ru_oublock)
        self.read(now)
        return Usage(
            self._used[0] - cpu + self._waited[0] - waited_cpu,
            self._memory(),
            (self._used[1] - read + self._waited[1] - waited_read) * _BLOCK,
            (self._used[2] - written + self._waited[2] - waited_written) * _BLOCK,
        )

    def _memory(self) -> int | None:
        if self._resident > self._inherited:
            return self._resident * _UNIT
        if not self._peak or self.at - self._peak_at > _MEMORY_STALE:
            self._peak, self._peak_at = _high_water(), self.at
        return self._peak or None


def _high_water() -> int:
    """The peak memory of this program alone, in bytes; 0 where the system does not say."""
    try:
        with open("/proc/self/status", "rb") as stream:
            for line in stream:
                if line.startswith(b"VmHWM:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0
