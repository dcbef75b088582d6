"""What is brought to a job before it runs, and taken away afterwards, how, and on which condition."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, Flag
from pathlib import Path
from typing import TypeVar
from urllib.parse import ParseResult, unquote, urlparse

E = TypeVar("E", bound=Enum)


class URI:
    """Where a staged file is. A text without ``scheme://`` is a path as it stands: ``a#b?c`` is a file of that name."""

    def __init__(self, uri: str) -> None:
        if not isinstance(uri, str):
            raise TypeError(f"uri={uri!r} must be a str")
        plain = "://" not in uri and not uri.startswith("file:")
        self.parts = ParseResult("", "", uri, "", "", "") if plain else urlparse(uri)
        self._text = uri

    @property
    def scheme(self) -> str:
        """The scheme, or an empty text."""
        return self.parts.scheme

    @property
    def netloc(self) -> str:
        """Host, port and log-in together, or an empty text."""
        return self.parts.netloc

    @property
    def hostname(self) -> str | None:
        """The host, if there is one."""
        return self.parts.hostname

    @property
    def port(self) -> int | None:
        """The TCP port, if there is one."""
        return self.parts.port

    @property
    def username(self) -> str | None:
        """The user, if there is one."""
        return self.parts.username

    @property
    def password(self) -> str | None:
        """The password, if there is one."""
        return self.parts.password

    @property
    def path(self) -> str:
        """The path as it is written, with its percent signs."""
        return self.parts.path

    @property
    def params(self) -> str:
        """The parameters, or an empty text."""
        return self.parts.params

    @property
    def query(self) -> str:
        """The query, or an empty text."""
        return self.parts.query

    @property
    def fragment(self) -> str:
        """The fragment, or an empty text."""
        return self.parts.fragment

    @property
    def file_path(self) -> str | None:
        """The path of a file that every node can open by that path; None when the URI names another place."""
        if not self.scheme and not self.netloc:
            return self.path
        if self.scheme == "file" and self.hostname in (None, "localhost"):
            return unquote(self.path)
        return None

    def __str__(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return f"URI({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, URI) and self.parts == other.parts

    def __hash__(self) -> int:
        return hash(self.parts)


class StagingMode(Enum):
    """How a file is staged."""

    COPY = 1
    LINK = 2
    MOVE = 3


class StageOutFlags(Flag):
    """When a file is staged out. Without one of ON_SUCCESS, ON_ERROR, ON_CANCEL it is staged out in every case.

    `IF_PRESENT` makes a missing file no error.
    """

    NONE = 0
    IF_PRESENT = 1
    ON_SUCCESS = 2
    ON_ERROR = 4
    ON_CANCEL = 8
    ALWAYS = ON_SUCCESS | ON_ERROR | ON_CANCEL

    @property
    def normalized(self) -> StageOutFlags:
        """The same, with ALWAYS added when no condition is named."""
        return self if self & StageOutFlags.ALWAYS else self | StageOutFlags.ALWAYS


def _uri(value: URI | Path | str, name: str) -> URI:
    if isinstance(value, URI):
        return value
    if not isinstance(value, str | Path):
        raise TypeError(f"{name}={value!r} must be a URI, a Path or a str")
    return URI(str(value))


def _path(value: object, name: str) -> Path:
    if not isinstance(value, str | Path):
        raise TypeError(f"{name}={value!r} must be a Path or a str")
    return Path(value)


def _checked(value: E, kind: type[E], name: str) -> E:
    if not isinstance(value, kind):
        raise TypeError(f"{name}={value!r} must be a {kind.__name__}")
    return value


@dataclass(frozen=True, init=False)
class StageIn:
    """Bring `source` to `target` before the job starts.

    A relative source is relative to this process's working directory at the time of submission, a relative target to
    the job's directory.
    """

    source: URI
    target: Path
    mode: StagingMode

    def __init__(self, source: URI | Path | str, target: Path | str, mode: StagingMode = StagingMode.COPY) -> None:
        object.__setattr__(self, "source", _uri(source, "source"))
        object.__setattr__(self, "target", _path(target, "target"))
        object.__setattr__(self, "mode", _checked(mode, StagingMode, "mode"))


@dataclass(frozen=True, init=False)
class StageOut:
    """Take `source` to `target` after the job has ended, when `flags` say so.

    A relative source is relative to the job's directory, a relative target to this process's working directory at the
    time of submission.
    """

    source: Path
    target: URI
    flags: StageOutFlags
    mode: StagingMode

    def __init__(
        self,
        source: Path | str,
        target: URI | Path | str,
        flags: StageOutFlags = StageOutFlags.ALWAYS,
        mode: StagingMode = StagingMode.COPY,
    ) -> None:
        object.__setattr__(self, "source", _path(source, "source"))
        object.__setattr__(self, "target", _uri(target, "target"))
        object.__setattr__(self, "flags", _checked(flags, StageOutFlags, "flags").normalized)
        object.__setattr__(self, "mode", _checked(mode, StagingMode, "mode"))
