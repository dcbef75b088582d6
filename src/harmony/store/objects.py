"""Large results: files named by their content, pickled, with the buffers of arrays and the like beside the pickle.

    magic, count of buffers, length of the pickle, length of each buffer │ the pickle │ the buffers

They are not compressed. A file is complete or not there: it is written under another name first.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harmony.core.journal import StaleError

Part = bytes | memoryview
#: Buffers of at least so many bytes are not copied into the pickle.
LARGE = 1 << 16
#: Results of up to so many bytes, pickled, are kept in the database.
INLINE = 1 << 14
_MAGIC = b"harmony object 1"
_HEAD = struct.Struct("<16sQQ")


class Objects:
    """The folder `objects` of a store. One driver at a time writes by the name `owner`.

    What an earlier one of that name has left half written is removed.
    """

    def __init__(self, folder: Path, owner: str = "") -> None:
        self.folder = folder
        self._half = folder / "new" / f"{owner}.part"
        with contextlib.suppress(OSError):
            self._half.unlink()

    def path(self, digest: bytes) -> Path:
        """Where the object is."""
        name = digest.hex()
        return self.folder / name[:2] / name[2:]

    def save(self, data: bytes, buffers: Sequence[memoryview]) -> bytes:
        """Keep a pickled result; return its digest. Raises `OSError`."""
        from xxhash import xxh3_128

        lengths = struct.pack(f"<{len(buffers)}Q", *(buffer.nbytes for buffer in buffers))
        parts: list[Part] = [_HEAD.pack(_MAGIC, len(buffers), len(data)), lengths, data, *buffers]
        content = xxh3_128()
        for part in parts:
            content.update(part)
        digest = content.digest()
        path = self.path(digest)
        try:
            os.utime(path)  # what is young is spared by those who clean up
        except FileNotFoundError:
            for folder in (path.parent, self._half.parent):
                folder.mkdir(0o700, parents=True, exist_ok=True)
            _write(path, self._half, parts)
        return digest

    def load(self, digest: bytes) -> Any:
        """Return the value; arrays in it can be written to. Raises `StaleError` when it is gone or damaged."""
        from xxhash import xxh3_128

        content = xxh3_128()
        path = self.path(digest)
        try:
            with open(path, "rb", buffering=0) as file:
                head = file.read(_HEAD.size)
                content.update(head)
                magic, count, length = _HEAD.unpack(head)
                there = os.fstat(file.fileno()).st_size - len(head)
                if magic != _MAGIC or count * 8 > there:
                    raise StaleError(f"{path} is damaged: it does not begin as an object does")
                lengths = _read(file, count * 8)
                content.update(lengths)
                sizes = (length, *struct.unpack(f"<{count}Q", lengths))
                if sum(sizes) != there - len(lengths):
                    raise StaleError(f"{path} is damaged: it is not as long as it says")
                parts = []
                for size in sizes:
                    parts.append(_read(file, size))
                    content.update(parts[-1])
        except (OSError, struct.error, MemoryError) as error:
            raise StaleError(f"{path} cannot be read: {error}") from error
        if content.digest() != digest:
            raise StaleError(f"{path} is damaged: its content is not what its name says")
        return unpickled(parts[0], parts[1:])


def unpickled(data: bytes | bytearray, buffers: Sequence[bytearray] = ()) -> Any:
    """Undo a pickle. Raises `StaleError` when what it needs is no longer there, such as a class."""
    try:
        return pickle.loads(data, buffers=buffers)  # noqa: S301  from a store that nobody else can write to
    except Exception as error:
        raise StaleError(f"a result cannot be unpickled any more: {type(error).__name__}: {error}") from error


def _read(file: Any, size: int) -> bytearray:
    data = bytearray(size)
    view, filled = memoryview(data), 0
    while filled < size:
        got = file.readinto(view[filled:])
        if not got:
            raise OSError("it is cut short")
        filled += got
    return data


def _write(path: Path, half: Path, parts: Sequence[Part]) -> None:
    try:
        with open(half, "wb", opener=lambda name, flags: os.open(name, flags | os.O_CLOEXEC, 0o600)) as file:
            file.writelines(parts)
        os.replace(half, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(half)
        raise
