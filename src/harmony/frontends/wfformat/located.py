"""Located: a JSON value that knows its file and its path, so that each error can name both."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from typing import Any, NoReturn

from harmony.errors import ConfigError

_KINDS = {dict: "an object", list: "an array", str: "a text", bool: "true or false", type(None): "null"}


def load(path: str | os.PathLike[str]) -> Located:
    """Parse a JSON file. Raises `ConfigError` for one that is not JSON, `OSError` for one that cannot be read."""
    source = os.fspath(path)
    try:
        with open(path, encoding="utf-8-sig") as stream:
            return Located(json.load(stream), source, "")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{source}: byte {error.start} is not UTF-8; a WfFormat file is JSON in UTF-8") from error
    except json.JSONDecodeError as error:
        where = f"{source}: line {error.lineno}, column {error.colno}"
        raise ConfigError(f"{where}: not JSON: {error.msg}; is the file complete?") from error
    except RecursionError as error:
        raise ConfigError(f"{source}: nested too deeply to be a WfFormat file") from error


class Located:
    """A value inside a JSON file. The methods return it as what is asked for, or raise `ConfigError`."""

    __slots__ = ("source", "value", "where")

    def __init__(self, value: Any, source: str, where: str) -> None:
        self.value = value
        self.source = source
        self.where = where

    def fail(self, problem: str, advice: str) -> NoReturn:
        """Raise the error for this value."""
        raise ConfigError(f"{self.source}: {self.where or 'the whole file'}: {problem}; {advice}")

    def _expect(self, kind: type, what: str) -> None:
        if not isinstance(self.value, kind):
            self.fail(f"{self.described} stands where {what} is expected", f"give {what}")

    @property
    def described(self) -> str:
        """The value in a few words."""
        kind = _KINDS.get(type(self.value), "a number")
        return kind if isinstance(self.value, (dict, list, type(None))) else f"{kind}, {self.value!r:.60},"

    def get(self, key: str) -> Located | None:
        """The member `key` of an object; None when it is missing or null."""
        self._expect(dict, "an object")
        value = self.value.get(key)
        return None if value is None else Located(value, self.source, f"{self.where}.{key}" if self.where else key)

    def need(self, key: str) -> Located:
        """The member `key`, which has to be there."""
        member = self.get(key)
        if member is None:
            self.fail(f"{key!r} is missing", f"WfFormat 1.5 requires it: add {key!r}")
        return member

    def items(self) -> Iterator[Located]:
        """The items of an array."""
        self._expect(list, "an array")
        for index, value in enumerate(self.value):
            yield Located(value, self.source, f"{self.where}[{index}]")

    def text(self) -> str:
        """A text that is not empty."""
        self._expect(str, "a text")
        if not self.value:
            self.fail("the text is empty", "give at least one character")
        return self.value  # type: ignore[no-any-return]

    def number(self, least: float = -math.inf) -> float:
        """A finite number, at least `least`; whole ones stay `int`."""
        if isinstance(self.value, bool) or not isinstance(self.value, (int, float)):
            self.fail(f"{self.described} stands where a number is expected", "give a number, without quotes")
        if not math.isfinite(self.value):
            self.fail(f"{self.value} is not a finite number", "give a finite one")
        if self.value < least:
            self.fail(f"{self.value} is less than {least:g}", f"give a number of at least {least:g}")
        return self.value

    def whole(self, least: int = 0) -> int:
        """A whole number, at least `least`."""
        value = self.number(least)
        if value != int(value):
            self.fail(f"{value} is not a whole number", "give a whole one")
        return int(value)

    def texts(self, key: str) -> tuple[str, ...]:
        """The member `key`, an array of texts; empty when it is missing."""
        member = self.get(key)
        return () if member is None else tuple(item.text() for item in member.items())

    def ids(self, key: str) -> tuple[str, ...]:
        """The member `key`, an array of texts, each only once; empty when it is missing."""
        ids = self.texts(key)
        if len(set(ids)) < len(ids):
            first: dict[str, int] = {}
            for index, item in enumerate(self.need(key).items()):
                if first.setdefault(item.value, index) != index:
                    item.fail(f"{item.value!r} is named twice, first at {first[item.value]}", "name it once")
        return ids
