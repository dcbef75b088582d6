"""The fields of a specification in JSON: each is written and read by its kind, and what is wrong is named."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, TypeVar

from harmony.errors import InvalidJobException

T = TypeVar("T")


class Kind(NamedTuple):
    """How a field is written and read; both are given its full name, for messages."""

    write: Callable[[str, Any], Any]
    read: Callable[[str, Any], Any]
    default: Any = None

    def or_else(self, default: object) -> Kind:
        """The same kind, left out when it has this value."""
        return self._replace(default=default)


def wrong(name: str, value: object, what: str) -> InvalidJobException:
    """Return the error for a value that cannot be."""
    return InvalidJobException(f"{name or 'the specification'}={value!r} must be {what}")


def dotted(name: str, key: str) -> str:
    """The full name of a field of the object `name`."""
    return f"{name}.{key}" if name else key


def write_fields(name: str, fields: Mapping[str, Kind], value: object) -> dict[str, Any]:
    """Return the fields of an object that have another value than their default."""
    tree = {}
    for key, kind in fields.items():
        item = getattr(value, key)
        if item is not None and item != kind.default:
            tree[key] = kind.write(dotted(name, key), item)
    return tree


def read_fields(name: str, fields: Mapping[str, Kind], tree: object, *others: str) -> dict[str, Any]:
    """Return the values of the fields that the tree gives; null is the same as not given.

    Raises `InvalidJobException` for a key that is neither a field nor one of `others`.
    """
    if not isinstance(tree, Mapping):
        raise wrong(name, tree, "an object")
    for key in tree:
        if key not in fields and key not in others:
            raise InvalidJobException(
                f"there is no field {dotted(name, str(key))!r} in a job's specification; "
                f"{name or 'it'} has {', '.join(fields)}"
            )
    given = {key: tree[key] for key in fields if tree.get(key) is not None}
    return {key: fields[key].read(dotted(name, key), value) for key, value in given.items()}


def typed(kind: type[T], what: str) -> Kind:
    """A kind whose values are the same in JSON."""

    def same(name: str, value: object) -> T:
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise wrong(name, value, what)
        return value

    return Kind(same, same)


TEXT = typed(str, "a text")
NUMBER = typed(int, "a whole number")
BOOL = typed(bool, "true or false")
PATH = TEXT._replace(write=lambda name, value: TEXT.write(name, os.fspath(value)))


def list_of(kind: Kind) -> Kind:
    """A list of one kind."""

    def each(convert: Callable[[str, Any], Any]) -> Callable[[str, Any], Any]:
        def converted(name: str, values: Iterable[Any]) -> list[Any]:
            if not isinstance(values, list | tuple):
                raise wrong(name, values, "a list")
            return [convert(f"{name}[{index}]", value) for index, value in enumerate(values)]

        return converted

    return Kind(each(kind.write), each(kind.read))


def plain(name: str, value: Any) -> Any:
    """Return a value of any kind that JSON has."""
    if value is None or isinstance(value, str | bool | int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    if isinstance(value, list | tuple):
        return [plain(f"{name}[{index}]", item) for index, item in enumerate(value)]
    if isinstance(value, Mapping):
        return mapping(plain)(name, value)
    raise wrong(name, value, "what JSON can hold: a text, a number, true, false, null, a list or an object")


def mapping(convert: Callable[[str, Any], Any]) -> Callable[[str, Any], dict[str, Any]]:
    """A mapping from texts to one kind."""

    def converted(name: str, value: Any) -> dict[str, Any]:
        if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
            raise wrong(name, value, "an object with texts as its keys")
        return {key: convert(f"{name}[{key!r}]", item) for key, item in value.items()}

    return converted


def text_or_number(name: str, value: object) -> str:
    """Return a text; whole numbers are taken as texts."""
    return str(value) if type(value) is int else TEXT.read(name, value)


def object_of(kind: type[T], fields: Mapping[str, Kind], needed: tuple[str, ...] = ()) -> Kind:
    """An object of a class, made by its fields' names."""

    def write(name: str, value: object) -> dict[str, Any]:
        if not isinstance(value, kind):
            raise wrong(name, value, f"a {kind.__name__}")
        return write_fields(name, fields, value)

    def read(name: str, tree: object) -> T:
        found = read_fields(name, fields, tree)
        for key in needed:
            if key not in found:
                raise InvalidJobException(f"{dotted(name, key)} is not given")
        return kind(**found)

    return Kind(write, read)
