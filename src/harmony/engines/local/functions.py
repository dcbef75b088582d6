"""Functions: pickled once and sent to each worker once, and again when what they refer to has changed.

A function that can be imported travels as its name. One that cannot (from ``__main__``, a notebook, a lambda, a
closure) travels by value, with the globals it uses; when one of those names is bound anew, as happens in a notebook,
the function is pickled anew. Changes *inside* a captured object are not noticed: pass such objects as arguments.
"""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any

from harmony.core.travel import dump_function, reference_to, undecorated

#: So many functions are remembered; of more, the one that was first sent is forgotten.
LIMIT = 1024
#: The same for their pickles together, of which closures over large arrays make much.
LIMIT_BYTES = 64 * 2**20


class Function:
    """One function as workers know it: by number."""

    __slots__ = ("_seen", "_watched", "data", "fn", "number")

    def __init__(self, fn: Callable[..., Any], number: int) -> None:
        self.fn = fn  # kept, so that its id is not given to another
        self.number = number
        self.data = dump_function(fn)
        self._watched = [] if reference_to(fn) is not None else _globals_of(fn)
        self._seen = self._bound()

    def is_current(self) -> bool:
        """True when its globals and its closure are bound to the same objects as when it was pickled."""
        if not self._seen:
            return True
        bound = self._bound()
        return len(bound) == len(self._seen) and all(a is b for a, b in zip(bound, self._seen, strict=True))

    def _bound(self) -> list[object]:
        found = [namespace.get(name) for namespace, name in self._watched]
        for cell in getattr(self.fn, "__closure__", None) or ():
            try:
                found.append(cell.cell_contents)
            except ValueError:
                found.append(None)  # not bound yet
        return found


class FunctionTable:
    """The functions of one engine."""

    def __init__(self) -> None:
        self._known: dict[int, Function] = {}
        self._next = 1
        self._size = 0
        self.forgotten: list[int] = []

    def get(self, fn: Callable[..., Any]) -> Function:
        """Return the function as it is now. Raises `SerializationError` when it cannot be pickled."""
        known = self._known.get(id(fn))
        if known is not None and known.is_current():
            return known
        made = Function(fn, self._next)
        self._next += 1
        if known is not None:
            self.forgotten.append(known.number)
        self._known[id(fn)] = made
        self._size += len(made.data) - (len(known.data) if known is not None else 0)
        while len(self._known) > LIMIT or (self._size > LIMIT_BYTES and len(self._known) > 1):
            oldest = self._known.pop(next(iter(self._known)))
            self._size -= len(oldest.data)
            self.forgotten.append(oldest.number)
        return made


def _globals_of(fn: Any) -> list[tuple[dict[str, Any], str]]:
    """Return the globals that a function uses, and those used by the functions of its module that it calls."""
    found: dict[tuple[int, str], tuple[dict[str, Any], str]] = {}
    todo, seen = [fn], set[int]()
    while todo:
        item = todo.pop()
        if not isinstance(item, types.FunctionType) or id(item) in seen:
            continue
        seen.add(id(item))
        for name in _names(item.__code__):
            if name in item.__globals__:
                found[id(item.__globals__), name] = (item.__globals__, name)
                value = item.__globals__[name]
                value = undecorated(value)
                if getattr(value, "__module__", None) == item.__module__:
                    todo.extend((value, getattr(value, "__wrapped__", None)))
    return list(found.values())


def _names(code: types.CodeType) -> set[str]:
    names = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names |= _names(constant)
    return names
