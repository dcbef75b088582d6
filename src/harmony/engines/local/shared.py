"""Memory that driver and worker share: large buffers, and the board by which tasks are taken back.

Buffers travel as files without a name, one for each message, whose descriptor is passed over a socket. Nothing
has to be unlinked, so nothing is left behind, however a process ends.

The board settles who has a task that was sent ahead. Before it starts task n the worker writes n to `current`, then
looks at n's mark; to take n back the driver sets the mark, then looks at `current`. Each side passes a memory
barrier between its two steps, so at least one sees the other. A worker that sees a mark skips the task and says so;
the driver counts on having it back only if `current` had not reached it.
"""

from __future__ import annotations

import errno
import mmap
import os
import pickle
import socket
import sys
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from harmony.core.travel import dump_parts

#: Buffers of at least so many bytes travel in shared memory; smaller ones go faster through the socket.
LARGE = 128 * 1024
#: Segments of at least so many bytes are mapped, smaller ones copied.
_MAPPED = 4 * 2**20
_ALIGN = 64
#: Types whose values are pickled in a few bytes, and cannot fail to be.
SMALL_TYPES = frozenset({int, float, complex, bool})
MARKS = 8192


@dataclass(frozen=True, slots=True)
class Encoded:
    """A pickled value and the large buffers that it refers to."""

    payload: bytes
    buffers: Sequence[memoryview]

    @property
    def is_large(self) -> bool:
        """True when it should travel in shared memory."""
        return bool(self.buffers) or len(self.payload) >= LARGE


def encode(value: Any) -> Encoded:
    """Pickle a value with its large contiguous buffers out of band, not copied."""
    return Encoded(*dump_parts(value, LARGE))


def write_segment(encoded: Encoded) -> tuple[int, tuple[int, ...]]:
    """Write to a new nameless file; return its descriptor and the sizes that `read_segment` needs."""
    descriptor = nameless_memory()
    try:
        offset = 0
        parts = (memoryview(encoded.payload), *encoded.buffers)
        for part in parts:
            written = 0
            while written < part.nbytes:
                written += os.pwrite(descriptor, part[written:], offset + written)
            offset = _aligned(offset + part.nbytes)
        os.ftruncate(descriptor, max(offset, 1))
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor, tuple(part.nbytes for part in parts)


def read_segment(descriptor: int, sizes: Sequence[int]) -> Any:
    """Unpickle what `write_segment` wrote, and close `descriptor`.

    Large arrays stay in the shared memory, which they keep; smaller ones are copied out of it, because a process
    may have only so many descriptors and maps.
    """
    try:
        size = os.fstat(descriptor).st_size
        memory = memoryview(_map(descriptor) if size >= _MAPPED else _read(descriptor, size))
    finally:
        os.close(descriptor)
    parts = []
    offset = 0
    for length in sizes:
        parts.append(memory[offset : offset + length])
        offset = _aligned(offset + length)
    return pickle.loads(parts[0], buffers=parts[1:])  # noqa: S301  only driver and worker hold the descriptor


def _map(descriptor: int) -> mmap.mmap:
    if sys.version_info >= (3, 13):
        return mmap.mmap(descriptor, 0, trackfd=False)
    return mmap.mmap(descriptor, 0)


def _read(descriptor: int, size: int) -> bytearray:
    data = bytearray(size)
    with memoryview(data) as view:
        done = 0
        while done < size:
            done += os.preadv(descriptor, [view[done:]], done)
    return data


def _aligned(offset: int) -> int:
    return -(-offset // _ALIGN) * _ALIGN


def nameless_memory() -> int:
    """Return the descriptor of a new empty file that lives in memory and has no name."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("harmony")
    with tempfile.TemporaryFile() as stream:
        return os.dup(stream.fileno())


def send_descriptor(channel: socket.socket, descriptor: int) -> None:
    """Pass a descriptor to the other process and close it here."""
    try:
        socket.send_fds(channel, [b"d"], [descriptor])
    finally:
        os.close(descriptor)


def receive_descriptor(channel: socket.socket) -> int:
    """Take the next descriptor that the other process passed; raises `EOFError` when it is gone."""
    message, descriptors, _, _ = socket.recv_fds(channel, 1, 1)
    if not message:
        raise EOFError("the other process is gone")
    if not descriptors:
        raise OSError(errno.EMFILE, "too many open files to take a large value; see `ulimit -n`")
    return descriptors[0]


class Board:
    """See the module. Made by the driver; the worker opens the same memory by its descriptor."""

    def __init__(self, descriptor: int | None = None) -> None:
        if descriptor is None:
            descriptor = nameless_memory()
            os.ftruncate(descriptor, 8 + MARKS)
        self.descriptor = descriptor
        self._memory = memoryview(mmap.mmap(descriptor, 8 + MARKS))
        self._current = self._memory[:8].cast("Q")
        self._marks = self._memory[8:]
        self._barrier = threading.Lock()

    def close(self) -> None:
        """Give the memory back; nothing may be asked of the board afterwards."""
        memory = self._memory.obj
        for view in (self._current, self._marks, self._memory):
            view.release()
        if isinstance(memory, mmap.mmap):
            memory.close()

    @property
    def current(self) -> int:
        """The number of the task that the worker started last; 0 before the first."""
        return self._current[0]

    def start(self, number: int) -> bool:
        """Worker: start a task; False when the driver has taken it back."""
        self._current[0] = number
        with self._barrier:
            pass
        return not self._marks[number % MARKS]

    def clear(self, number: int) -> None:
        """Driver: no mark for a task that is about to be sent."""
        self._marks[number % MARKS] = 0

    def take_back(self, numbers: Sequence[int]) -> list[int]:
        """Driver: take tasks back; return those that the worker is sure not to run."""
        for number in numbers:
            self._marks[number % MARKS] = 1
        with self._barrier:
            pass
        current = self._current[0]
        return [number for number in numbers if number > current]
