"""Hearing of files: the marker files of job scripts, as they appear in directories."""

from __future__ import annotations

import ctypes
import os
import struct
import sys

_CREATED_OR_MOVED_HERE = 0x100 | 0x80
_OVERFLOW = 0x4000
_HEADER = struct.Struct("iIII")


class Notice:
    """Tells which files have appeared in some directories: by the kernel where it can, otherwise by `look`.

    The kernel (inotify, on Linux) tells only of what this machine does; files that other nodes write into a shared file
    system are found by `look`, which lists the directories. Used by one thread.
    """

    def __init__(self) -> None:
        self._known: dict[str, set[str]] = {}
        self._watches: dict[int, str] = {}
        self._descriptor = -1
        if sys.platform == "linux":
            self._libc = ctypes.CDLL(None, use_errno=True)
            self._descriptor = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)

    def fileno(self) -> int:
        """The descriptor that becomes readable with news; -1 where the kernel tells nothing."""
        return self._descriptor

    def add(self, directory: str) -> None:
        """Watch a directory too."""
        if directory in self._known:
            return
        self._known[directory] = set()
        if self._descriptor >= 0:
            watch = self._libc.inotify_add_watch(self._descriptor, os.fsencode(directory), _CREATED_OR_MOVED_HERE)
            if watch >= 0:
                self._watches[watch] = directory

    def told(self) -> tuple[list[str], bool]:
        """The names of which the kernel has told, and whether it has left some out, so that a `look` is needed."""
        names: list[str] = []
        lost = False
        while self._descriptor >= 0:
            try:
                data = os.read(self._descriptor, 1 << 16)
            except BlockingIOError:
                break
            position = 0
            while position < len(data):
                watch, mask, _, length = _HEADER.unpack_from(data, position)
                position += _HEADER.size
                name = os.fsdecode(data[position : position + length].rstrip(b"\0"))
                position += length
                lost = lost or bool(mask & _OVERFLOW)
                directory = self._watches.get(watch)
                if directory is not None and name:
                    self._known[directory].add(name)
                    names.append(name)
        return names, lost

    def look(self) -> list[str]:
        """List the directories; return the names that were not known."""
        fresh: list[str] = []
        for directory, known in self._known.items():
            try:
                names = set(os.listdir(directory))
            except OSError:
                continue  # gone, or not to be had just now: a file server may be restarting
            fresh.extend(names - known)
            self._known[directory] = names
        return fresh

    def close(self) -> None:
        """Stop watching."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
