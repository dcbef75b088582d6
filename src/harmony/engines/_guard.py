"""The guard: a small process that outlives its driver by a moment and ends whatever the driver has left.

Every process that the engine starts carries the engine's token in its environment, and so do its children; and the
process groups that are alive stand in memory that driver and guard share. When the driver says goodbye, or is gone
for whatever reason, the guard kills those groups and every process of this user that carries the token. Run as
``python -I -S guard.py TOKEN DRIVER_PID LIFELINE_FD GROUPS_FD``; it imports nothing of Harmony and sleeps until then.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time

#: The environment variable with the tokens of the engines that a process belongs to, outermost first.
VARIABLE = "HARMONY_ENGINE"
#: So many process groups can be noted at once; of more, only the token tells.
GROUPS = 4096


def sweep(token: str, spared: frozenset[int] = frozenset()) -> int:
    """Kill every process that carries the token, and return how many there were."""
    mark = token.encode()
    found = 0
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) in spared:
            continue
        try:
            with open(f"/proc/{name}/environ", "rb") as stream:
                carries = mark in stream.read()
            if carries:
                os.kill(int(name), signal.SIGKILL)
                found += 1
        except OSError:
            continue  # gone, or another user's
    return found


def main(token: str, driver: int, lifeline: int, groups: int) -> None:
    """Wait for the end of the driver, then sweep until nothing is found."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    waiting = select.poll()
    waiting.register(lifeline, select.POLLIN)
    if os.getppid() == driver:
        try:
            waiting.register(os.pidfd_open(driver), select.POLLIN)
        except (AttributeError, OSError):
            pass  # an old kernel: the lifeline must do
        waiting.poll()
    with memoryview(mmap.mmap(groups, 4 * GROUPS)).cast("i") as alive:
        for group in filter(None, alive):
            try:
                os.killpg(group, signal.SIGKILL)
            except OSError:
                continue  # it has ended
    myself = frozenset({os.getpid(), driver})
    for _ in range(50):
        if not sweep(token, myself):
            break
        time.sleep(0.01)  # the dead need a moment to leave /proc


def end_with(process: int) -> int:
    """Let this process end at once when another of this machine does; return this one's id.

    For workers that other systems start, and that would not notice that their driver was killed.
    """
    try:
        ended = os.pidfd_open(process)
    except AttributeError:
        return os.getpid()  # an old kernel, or none
    threading.Thread(target=_follow, args=(ended,), name="harmony-follow", daemon=True).start()
    return os.getpid()


def _follow(ended: int) -> None:
    select.select([ended], [], [])
    os._exit(1)


class Guard:
    """The driver's end of a guard: `start` it before anything else is started, `dismiss` it when all has ended."""

    def __init__(self, token: str) -> None:
        self._token = token
        self._process: subprocess.Popen[bytes] | None = None
        self._lifeline = -1
        self._groups: memoryview | None = None
        self._free = list(range(GROUPS))
        self._places: dict[int, int] = {}

    def start(self) -> None:
        """Start the process; nothing on a system without /proc, where only workers end with their driver."""
        if not os.path.isdir("/proc/self"):
            return
        groups = _nameless_file()
        reading, self._lifeline = os.pipe()
        try:
            os.ftruncate(groups, 4 * GROUPS)
            self._memory = mmap.mmap(groups, 4 * GROUPS)
            self._groups = memoryview(self._memory).cast("i")
            self._process = subprocess.Popen(  # noqa: S603  our own program
                [sys.executable, "-I", "-S", __file__, self._token, str(os.getpid()), str(reading), str(groups)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[reading, groups],
                start_new_session=True,
            )
        finally:
            os.close(reading)
            os.close(groups)

    def note(self, group: int) -> None:
        """A process group has begun."""
        if self._groups is not None and self._free:
            self._places[group] = place = self._free.pop()
            self._groups[place] = group

    def strike(self, group: int) -> None:
        """A process group has ended, or its leader has, which is all that is waited for."""
        place = self._places.pop(group, None)
        if place is not None and self._groups is not None:
            self._groups[place] = 0
            self._free.append(place)

    def environment(self) -> dict[str, str]:
        """Return this process's environment with the token added."""
        environment = dict(os.environ)
        outer = environment.get(VARIABLE)
        environment[VARIABLE] = f"{outer}:{self._token}" if outer else self._token
        return environment

    def dismiss(self) -> None:
        """Let it sweep, and wait for its end."""
        if self._process is not None:
            with contextlib.suppress(BrokenPipeError):  # it was killed
                os.write(self._lifeline, b"!")  # closing it says nothing while a fork of this process holds it
            os.close(self._lifeline)
            self._process.wait()
            self._process = None
        if self._groups is not None:
            self._groups.release()
            self._groups = None
            self._memory.close()


def _nameless_file() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("harmony-groups")
    with tempfile.TemporaryFile() as stream:
        return os.dup(stream.fileno())


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
