"""File: a path that tasks read or write, by which they wait for each other."""

from __future__ import annotations

import os
import pathlib
import sys
from typing import TYPE_CHECKING, Annotated

if TYPE_CHECKING:
    from typing_extensions import Self


class File(pathlib.PosixPath):
    """A file that a task reads or, as an `Output`, writes. It is a `pathlib.Path`, and absolute.

    Passed to a task, alone or nested in its arguments, it makes the task wait for whichever task of the
    workflow writes that path. A relative path is meant from where the File is made.
    """

    __slots__ = ()

    def __new__(cls, *parts: str | os.PathLike[str]) -> Self:
        """Make the path absolute. Raises `ValueError` for what is no path."""
        return super().__new__(cls, _absolute(parts))

    if sys.version_info >= (3, 12):

        def __init__(self, *parts: str | os.PathLike[str]) -> None:
            super().__init__(_absolute(parts))

    @property
    def shown(self) -> str:
        """The path for people: relative when it is below the current directory."""
        try:
            return str(self).removeprefix(os.path.join(os.getcwd(), ""))
        except OSError:  # the current directory is gone
            return str(self)

    def __repr__(self) -> str:
        return f"File({self.shown!r})"


def _absolute(parts: tuple[str | os.PathLike[str], ...]) -> str:
    path = os.path.join(*parts) if parts else ""
    if not isinstance(path, str) or not path or "\0" in path:
        raise ValueError(f"File({path!r}) is not a path; give a non-empty text without a NUL")
    return os.path.abspath(path)


class _OutputMark:
    def __repr__(self) -> str:
        return "Output"


OUTPUT = _OutputMark()

#: Annotates a parameter of a task whose files are written by it: ``def simulate(config: File, log: Output)``.
Output = Annotated[File, OUTPUT]
