"""Locks that tell whether a driver lives: the operating system lets go of them when it dies, in whatever way.

A POSIX record lock belongs to a process, is not inherited by those it starts, and is lost when the process closes
*any* descriptor of the file. So who holds it is told in a second file, ``NAME.driver``, and the lock's file is never
opened to ask about a lock of our own.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import secrets
import socket
import struct
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harmony.errors import StoreError

#: Tells this process from an earlier one of the same number.
_MYSELF = secrets.token_hex(8)
#: Where nobody holds it for longer than it takes to look.
_TRIES, _PAUSE = 20, 0.05
#: What the name of the second file ends in; while it is written, the number of the process is behind that.
TOLD = ".driver"
#: struct flock: type, whence, start, length, pid.
_FLOCK = "hhqqi4x"


class DriverLock:
    """The lock at `path`, taken at once and held until `release`. Raises `StoreError` when another has it.

    `what` names, in the error, what is being run.
    """

    def __init__(self, path: Path, what: str) -> None:
        self.path = path
        self._pid = os.getpid()
        if _is_own(holder(path)):
            raise StoreError(_refusal(what, holder(path)))
        self._file = -1
        try:
            while not self._is_there():  # whoever tidies up may have removed it meanwhile, and it is made anew
                self._shut()
                self._file = _open(path)
                self._take(what)
            self.tell()
        except BaseException:
            self._shut()
            raise

    def _is_there(self) -> bool:
        try:
            there, mine = os.stat(self.path), os.fstat(self._file)
        except OSError:
            return False
        return os.path.samestat(there, mine)

    def _shut(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _take(self, what: str) -> None:
        for left in reversed(range(_TRIES)):
            try:
                fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except OSError as error:
                if error.errno not in (errno.EACCES, errno.EAGAIN):
                    raise StoreError(
                        f"{self.path} cannot be locked ({error.strerror}): the file system has no working locks; "
                        "name a store elsewhere with --store or HARMONY_STORE"
                    ) from error
                if not left or not _is_looking(self._file):
                    raise StoreError(_refusal(what, holder(self.path))) from error
                time.sleep(_PAUSE)

    def tell(self, **more: Any) -> None:
        """Write down who holds it, and `more`. Raises `StoreError`."""
        who = {"pid": self._pid, "host": socket.gethostname(), "since": time.time(), "process": _MYSELF, **more}
        beside = f"{_driver(self.path)}.{self._pid}"
        try:
            with open(beside, "w", encoding="utf-8") as file:
                json.dump(who, file)
            os.replace(beside, _driver(self.path))
        except OSError as error:
            with contextlib.suppress(OSError):
                os.unlink(beside)
            raise _cannot_be_made(self.path, error) from error

    @property
    def is_mine(self) -> bool:
        """False in a process that was forked from the holder."""
        return os.getpid() == self._pid

    def release(self) -> None:
        """Let go. Idempotent; in a process that was forked from the holder it does nothing."""
        if self._file < 0 or not self.is_mine:
            return
        with contextlib.suppress(OSError):
            os.unlink(_driver(self.path))
        self._shut()


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise _cannot_be_made(path, error) from error


def _cannot_be_made(path: Path, error: OSError) -> StoreError:
    return StoreError(
        f"{path} cannot be made ({error.strerror}): see that you may write there and that there is room, or name "
        "a store elsewhere with --store or HARMONY_STORE"
    )


def _driver(path: Path) -> str:
    return f"{path}{TOLD}"


def holder(path: Path) -> Mapping[str, Any]:
    """Return who took the lock last, as it was told: pid, host, run, since. Empty when it was let go in order."""
    try:
        with open(_driver(path), encoding="utf-8") as file:
            told = json.load(file)
    except (OSError, ValueError):
        return {}
    return told if isinstance(told, dict) else {}


def is_held(path: Path) -> bool:
    """True while a living driver holds the lock. Does not disturb one that is about to take it."""
    if _is_own(holder(path)):
        return True
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return _is_locked(file)
    finally:
        os.close(file)


def remove(path: Path) -> bool:
    """Remove a lock's files; False where a driver has it. One process at a time may do so in a folder.

    A driver that is about to take the lock sees that its file is gone, and makes another.
    """
    if is_held(path):
        return False
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise _cannot_be_made(path, error) from error
    try:
        fcntl.lockf(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(_driver(path))  # first: afterwards another driver may write its own
        os.unlink(path)
    except OSError:
        return False
    finally:
        os.close(file)
    return True


def last_used(path: Path) -> float:
    """Return when a driver took the lock last, in seconds since the epoch."""
    times = [0.0]
    for name in (path, _driver(path)):
        with contextlib.suppress(OSError):
            times.append(os.stat(name).st_mtime)
    return max(times)


def _is_own(who: Mapping[str, Any]) -> bool:
    return who.get("process") == _MYSELF and who.get("pid") == os.getpid()


def _is_locked(file: int) -> bool:
    if sys.platform == "linux":
        asked = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        try:
            return bool(struct.unpack(_FLOCK, fcntl.fcntl(file, fcntl.F_GETLK, asked))[0] == fcntl.F_WRLCK)
        except OSError:
            return False
    try:
        fcntl.lockf(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    return False


def _is_looking(file: int) -> bool:
    """True when what is in the way may not be a driver: on other systems than Linux, to look is to lock."""
    return sys.platform != "linux" or not _is_locked(file)


def _refusal(what: str, who: Mapping[str, Any]) -> str:
    if not who:
        return f"{what} is being run by another process; wait until it has ended, or end it"
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(float(who.get("since", 0))))
    run = f" as run {who['run']}" if who.get("run") else ""
    return (
        f"{what} is being run{run} by process {who.get('pid')} on {who.get('host')} since {since}; wait until it has "
        "ended, or end it, and start again: what is done by then is not done again"
    )
