"""Functions that tests run elsewhere. A module of its own, light to import, so that other processes find them."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from tests.core.gate import pass_through


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


def touch_behind(port: int, path: str) -> str:
    """With a port of 0 there is no gate."""
    if port:
        pass_through(port, path)
    return touch(path)


def note(path: str, text: object) -> None:
    """Append a line to a file, at once."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(descriptor, f"{text}\n".encode())
    os.close(descriptor)


def say(text: str) -> str:
    print(text)
    return text


def say_and_fail(text: str) -> None:
    print(text)
    raise ValueError(text)


def process() -> int:
    return os.getpid()


def fail_until(path: str, tries: int) -> int:
    """Fail until it is called for the `tries`-th time, counting in a file."""
    with open(path, "a+", encoding="ascii") as stream:
        stream.write("x")
        stream.seek(0)
        count = len(stream.read())
    if count < tries:
        raise OSError(f"try {count}")
    return count


def node(index: int, fails: bool, parents: Any) -> int:
    """One node of a random graph: a number of its own and of its parents' values, or an error."""
    if fails:
        raise ValueError(f"node {index}")
    value = index
    for number in numbers_in(parents):
        value = (value * 1_000_003 + number) % 2**61
    return value


def numbers_in(value: Any) -> list[int]:
    """The numbers inside lists, tuples and dicts, in their order."""
    if isinstance(value, int):
        return [value]
    inside = value.values() if isinstance(value, dict) else value
    return [number for item in inside for number in numbers_in(item)]
