"""The processes of a job: found by its process group and session, signalled without ever hitting another's."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Member:
    """One process that is not a zombie."""

    pid: int
    group: int
    session: int
    #: Clock ticks since the machine started; with the pid, it names one process for ever.
    started: int


class Snapshot:
    """The machine's processes at one moment, read once when first asked for; empty where there is no ``/proc``."""

    def __init__(self) -> None:
        self._members: list[Member] | None = None

    def members(self, leader: int) -> list[Member]:
        """Whoever lives in the process group or session of that number, the leader included."""
        if self._members is None:
            self._members = list(_all())
        return [member for member in self._members if leader in (member.group, member.session)]


def _all() -> Iterator[Member]:
    with contextlib.suppress(OSError):
        for name in os.listdir("/proc"):
            if name.isdigit():
                found = look(int(name))
                if found is not None:
                    yield found


def look(pid: int) -> Member | None:
    """Return a process that lives; None for one that is gone or a zombie."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return None
    return None if fields[0] in b"ZX" else Member(pid, int(fields[2]), int(fields[3]), int(fields[19]))


def start_time(member: Member) -> float:
    """When a process started, in seconds since the epoch; good to a hundredth of a second."""
    up = time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.time() - up + member.started / os.sysconf("SC_CLK_TCK")


def send(member: Member, number: int) -> None:
    """Send a signal to exactly that process, if it still lives."""
    if not hasattr(os, "pidfd_open"):
        if look(member.pid) == member:
            with contextlib.suppress(OSError):
                os.kill(member.pid, number)
        return
    try:
        descriptor = os.pidfd_open(member.pid)
    except OSError:
        return
    try:
        if look(member.pid) == member:  # the descriptor is that process's, not a later one's of the same number
            signal.pidfd_send_signal(descriptor, number)
    except OSError:
        pass  # it ended meanwhile, or is another user's now
    finally:
        os.close(descriptor)
