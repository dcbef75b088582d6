"""Outline: what a code object does, without where it stands in its file, what its docstring says, or how often it ran.

The interpreter's specialisation of instructions and the tracing of coverage do not show in it. It is
bytecode all the same: another minor version of Python makes other outlines.
"""

from __future__ import annotations

import dis
import importlib.util
import weakref
from collections.abc import Iterator
from types import CodeType
from typing import Any, NamedTuple

from harmony.core.scribe import seal

_CONST = frozenset(dis.hasconst)
_EXTENDED = dis.EXTENDED_ARG
_IMPORT = dis.opmap["IMPORT_NAME"]
_FROM = dis.opmap["IMPORT_FROM"]
_SMALL = dis.opmap.get("LOAD_SMALL_INT", -1)
_STORE = dis.opmap["STORE_NAME"]
#: How to read the name that an instruction looks up among the globals: opcode → bits to shift its argument by.
_GLOBAL = {dis.opmap["LOAD_NAME"]: 0, dis.opmap["LOAD_GLOBAL"]: int(_SMALL >= 0 or "CACHE" in dis.opmap)}
if "LOAD_FROM_DICT_OR_GLOBALS" in dis.opmap:
    _GLOBAL[dis.opmap["LOAD_FROM_DICT_OR_GLOBALS"]] = 0
#: What a class body stores of its docstring and of its place in the file.
_PLACES = frozenset({"__doc__", "__firstlineno__", "__static_attributes__"})
_HAS_DOCSTRING = 0x4000000
#: Which bytecode this is.
MAGIC = importlib.util.MAGIC_NUMBER


class Import(NamedTuple):
    """An import inside of code: `names` are those after ``from module import``."""

    module: str
    level: int
    names: tuple[str, ...]


class Outline(NamedTuple):
    """`globals` are the names that are looked up outside; `names` are those and all attributes."""

    digest: bytes
    globals: frozenset[str]
    names: frozenset[str]
    imports: tuple[Import, ...]


_outlines: weakref.WeakKeyDictionary[CodeType, Outline] = weakref.WeakKeyDictionary()


def outline(code: CodeType) -> Outline:
    """Return a code object's outline, with that of the code inside it."""
    known = _outlines.get(code)
    if known is None:
        known = _outlines[code] = _Reader(code).read()
    return known


def _instructions(code: CodeType) -> list[tuple[int, int]]:
    found = []
    extended = 0
    data = code.co_code  # as the compiler wrote it, whatever the interpreter has made of it since
    for position in range(0, len(data), 2):
        operation, argument = data[position], data[position + 1] | extended
        extended = argument << 8 if operation == _EXTENDED else 0
        if operation not in (_EXTENDED, 0):
            found.append((operation, argument))
    return found


class _Reader:
    def __init__(self, code: CodeType) -> None:
        self._code = code
        self._used: dict[int, int] = {}
        self._globals: set[str] = set()
        self._names = set(code.co_names)
        self._imports: list[Import] = []

    def read(self) -> Outline:
        code = self._code
        stream = [part for pair in self._stream() for part in pair]
        constants = [self._constant(code.co_consts[index]) for index in self._used]
        parts = [
            code.co_name, code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount,
            code.co_flags & ~_HAS_DOCSTRING, stream, constants, list(code.co_names), list(code.co_varnames),
            list(code.co_freevars), list(code.co_cellvars), getattr(code, "co_exceptiontable", b""),
        ]  # fmt: skip
        digest = seal("code", parts)
        return Outline(digest, frozenset(self._globals), frozenset(self._names), tuple(self._imports))

    def _stream(self) -> Iterator[tuple[int, int]]:
        """Yield instructions, their constants numbered in the order of use, so that a docstring moves none."""
        names = self._code.co_names
        instructions = _instructions(self._code)
        for index, (operation, argument) in enumerate(instructions):
            following = instructions[index + 1] if index + 1 < len(instructions) else (0, 0)
            constant = operation in _CONST or operation == _SMALL
            if constant and following[0] == _STORE and names[following[1]] in _PLACES:
                yield dis.opmap["LOAD_CONST"], -1
                continue
            if operation in _GLOBAL:
                self._globals.add(names[argument >> _GLOBAL[operation]])
            elif operation == _IMPORT:
                level, taken = (self._loaded(*instructions[at]) if at >= 0 else None for at in (index - 2, index - 1))
                self._imports.append(Import(names[argument], level or 0, tuple(taken or ())))
            yield operation, self._used.setdefault(argument, len(self._used)) if operation in _CONST else argument

    def _loaded(self, operation: int, argument: int) -> Any:
        if operation == _SMALL:
            return argument
        return self._code.co_consts[argument] if operation in _CONST else None

    def _constant(self, value: Any) -> Any:
        """Return a constant as a part. There are atoms, tuples, frozensets, code, and slices."""
        if isinstance(value, CodeType):
            inner = outline(value)
            self._globals |= inner.globals
            self._names |= inner.names
            self._imports += inner.imports
            return (inner.digest,)
        if isinstance(value, tuple):
            return ["tuple", [self._constant(item) for item in value]]
        if isinstance(value, frozenset):
            return ["frozenset", sorted(seal("item", self._constant(item)) for item in value)]
        if isinstance(value, slice):
            return ["slice", [self._constant(item) for item in (value.start, value.stop, value.step)]]
        return value
