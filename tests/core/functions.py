"""Functions that tests run elsewhere. A module of its own, light to import, so that other processes find them."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any


class Odd(Exception):
    """Takes other arguments than it hands to its base, as many users' exceptions do."""

    def __init__(self, code: int, *, hint: str) -> None:
        super().__init__(f"code {code}, {hint}")
        self.code = code
        self.hint = hint


class Callable:
    """An object that can be called."""

    def __init__(self, base: int) -> None:
        self.base = base

    def __call__(self, number: int) -> int:
        return self.base + number

    def method(self, number: int) -> int:
        return self.base * number


def add(a: Any, b: Any = 0) -> Any:
    return a + b


def square(number: int) -> int:
    return number * number


def echo(*args: Any, **kwargs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    return args, kwargs


def fail(text: str = "on purpose") -> None:
    raise ValueError(text)


def fail_on(number: int, bad: int) -> int:
    if number == bad:
        raise ValueError(f"{number} is bad")
    return number


def fail_oddly() -> None:
    raise Odd(7, hint="try again")


def leave() -> None:
    sys.exit(3)


def touch(path: str) -> str:
    Path(path).touch()
    return path


def say(text: str) -> str:
    print(text)
    return text


def process() -> int:
    return os.getpid()
