"""Values and errors that cannot be pickled, or cannot be unpickled, each in its own way."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


class Refuses:
    """Raises an error of a type when it is pickled."""

    def __init__(self, kind: type[BaseException]) -> None:
        self.kind = kind

    def __reduce__(self) -> Any:
        raise self.kind("will not be pickled")


class Bomb:
    """Raises an error of a type when it is unpickled, and only in another process than `spared`."""

    def __init__(self, kind: type[BaseException], spared: int = 0) -> None:
        self.kind = kind
        self.spared = spared

    def __reduce__(self) -> Any:
        return _explode, (self.kind, self.spared)


def _explode(kind: type[BaseException], spared: int) -> Bomb:
    if os.getpid() == spared:
        return Bomb(kind, spared)
    raise kind("will not be unpickled")


def make_bomb(kind: type[BaseException]) -> Bomb:
    """Return a value that this process can handle and no other."""
    return Bomb(kind, os.getpid())


def make_refusing(kind: type[BaseException]) -> Refuses:
    """Return a value that refuses to be pickled."""
    return Refuses(kind)


def make_lock() -> Any:
    """Return what cannot be pickled."""
    return threading.Lock()


def make_nested(depth: int) -> list[Any]:
    """Return a list in a list, so many deep."""
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


class WantsMore(Exception):
    """Its constructor takes other arguments than its `args`."""

    def __init__(self, code: int, *, where: str) -> None:
        super().__init__(f"code {code} at {where}")
        self.code = code
        self.where = where


class HoldsLock(Exception):
    """Has an attribute that cannot be pickled."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.lock = threading.Lock()


class Speechless(Exception):
    """Cannot be made a text."""

    def __str__(self) -> str:
        raise ValueError("no text")


class Unsendable(Exception):
    """Has arguments that cannot be pickled."""


class RefusesError(Exception):
    """Raises when it is pickled."""

    def __reduce__(self) -> Any:
        raise SystemExit("will not be pickled")


class BombError(Exception):
    """Raises when it is unpickled."""

    def __reduce__(self) -> Any:
        return _explode, (SystemExit, 0)


class Worded(Exception):
    """Its constructor takes one argument, and makes another of it."""

    def __init__(self, code: int) -> None:
        super().__init__(f"code {code}")
        self.code = code


class Plain:
    """Its repr holds its address."""


@dataclass(frozen=True)
class Frozen(Exception):
    """Cannot be changed."""

    code: int


def throw(make: Callable[..., BaseException], *args: Any, **kwargs: Any) -> None:
    """Raise the error that `make` makes, where this runs."""
    raise make(*args, **kwargs)


def throw_unsendable() -> None:
    """Raise an error that cannot be pickled."""
    raise Unsendable(threading.Lock())


def throw_local() -> None:
    """Raise an error whose type nobody else knows."""

    class Local(Exception):
        pass

    raise Local("made here")


def throw_chain() -> None:
    """Raise one error from another."""
    try:
        raise KeyError("first")
    except KeyError as error:
        raise ValueError("second") from error


def make_generator() -> Any:
    """Return what cannot be pickled."""
    return (number for number in range(3))
