"""File: a path that tasks read or write, by which they wait for each other."""

from __future__ import annotations

import os
from typing import Annotated, Any


class File(os.PathLike[str]):
    """A file that a task reads or, as an `Output`, writes.

    Passed to a task, alone or nested in its arguments, it makes the task wait for whichever task of
    the workflow writes that path. Equal and hashed by absolute path; the path is kept as given.
    """

    __slots__ = ("_absolute", "path")

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)
        if not self.path or "\0" in self.path:
            raise ValueError(f"File({self.path!r}) is not a path; give a non-empty path without a NUL")
        self._absolute = os.path.abspath(self.path)

    @property
    def absolute(self) -> str:
        """The absolute path, resolved where the File was made."""
        return self._absolute

    @property
    def name(self) -> str:
        """The last component of the path."""
        return os.path.basename(self._absolute)

    def exists(self) -> bool:
        """True when the path is there now."""
        return os.path.exists(self._absolute)

    def read_text(self) -> str:
        """The whole content, as UTF-8."""
        with open(self._absolute, encoding="utf-8") as stream:
            return stream.read()

    def write_text(self, text: str) -> None:
        """Replace the content by `text`, as UTF-8."""
        with open(self._absolute, "w", encoding="utf-8") as stream:
            stream.write(text)

    def __fspath__(self) -> str:
        return self._absolute

    def __str__(self) -> str:
        return self._absolute  # so that a text command finds it from whatever directory it runs in

    def __repr__(self) -> str:
        return f"File({self.path!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, File) and other._absolute == self._absolute

    def __hash__(self) -> int:
        return hash(self._absolute)

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (self.path, self._absolute)


def _rebuild(path: str, absolute: str) -> File:
    file = File(path)
    file._absolute = absolute
    return file


class _OutputMark:
    def __repr__(self) -> str:
        return "Output"


OUTPUT = _OutputMark()

#: Annotates a parameter of a task whose files are written by it: ``def simulate(config: File, log: Output)``.
Output = Annotated[File, OUTPUT]
