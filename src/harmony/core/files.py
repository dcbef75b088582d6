"""FileDigests: what is in files, read again only when a file has changed."""

from __future__ import annotations

import os
import stat
import threading
import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

#: A file that was changed less than this many seconds ago may change again within the tick of its clock.
_SETTLED = 0.1
_CHUNK = 2**20


class FileDigest(NamedTuple):
    """A file's content, xxh3_128, as of this size, time of change (nanoseconds) and inode."""

    path: str
    size: int
    mtime: int
    inode: int
    digest: bytes


class FileDigests:
    """The contents of files by path, kept for as long as size, time of change and inode stay the same.

    Any thread may use it.
    """

    def __init__(self) -> None:
        self._known: dict[str, FileDigest] = {}
        self._new: dict[str, FileDigest] = {}
        self._lock = threading.Lock()

    def load(self, rows: Iterable[tuple[str, int, int, int, bytes]]) -> None:
        """Take what an earlier process found out, unless this one already knows better."""
        loaded = {row[0]: FileDigest(*row) for row in rows}
        with self._lock:
            self._known = {**loaded, **self._known}

    def new(self) -> list[FileDigest]:
        """Return what was found out since the last call, to be kept for the next process."""
        with self._lock:
            found, self._new = list(self._new.values()), {}
        return found

    def digest(self, path: str, spend: Callable[[int], None] | None = None) -> bytes:
        """Return what is in a regular file. `spend` is told how many bytes are to be read; it may raise.

        Raises `OSError`.
        """
        before = os.stat(path)
        known = self._known.get(path)
        if known is not None and known[1:4] == _signs(before):
            return known.digest
        if spend is not None:
            spend(before.st_size)
        if not stat.S_ISREG(before.st_mode):
            raise OSError(f"{path} is no regular file")
        digest, after = _read(path)
        if _signs(before) == _signs(after) and time.time() - after.st_mtime >= _SETTLED:
            found = FileDigest(path, *_signs(after), digest)
            with self._lock:
                self._known[path] = self._new[path] = found
        return digest


def _signs(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_size, status.st_mtime_ns, status.st_ino


def _read(path: str) -> tuple[bytes, os.stat_result]:
    from xxhash import xxh3_128

    state = xxh3_128()
    buffer = bytearray(_CHUNK)
    view = memoryview(buffer)
    with open(path, "rb", buffering=0) as file:
        while count := file.readinto(buffer):
            state.update(view[:count])
        return state.digest(), os.fstat(file.fileno())
