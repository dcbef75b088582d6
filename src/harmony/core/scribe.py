"""Scribe: the content of values, as 16 bytes that are the same for equal values of equal types, in any process.

A value is either an atom (a number, a text, None …) or is written down as the digest of its type's tag and its parts,
where each part is an atom or the digest of what is in its place, in a 1-tuple: nothing else that is written has that
shape, so what is written could be read back. Parts are written by `marshal` version 2, which is the same in
all Python versions, prefixes lengths, and tells types apart. xxh3_128 is the digest.

A structure that contains itself is cut where it does, at "so many levels up". What is shared is written once, and
counts as if it were not shared; except inside a structure that contains itself, where objects are told apart.
"""

from __future__ import annotations

import marshal
import os
import stat
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

from harmony.core.files import FileDigests
from harmony.core.journal import PathState

#: Types that are written as they are; a text or bytes only up to LONG.
SMALL = frozenset({int, float, complex, bool, type(None), type(Ellipsis)})
ATOMS = SMALL | {str, bytes}
LONG = 2**16
#: What the limit counts for each object that is looked into, beside its buffers.
_EACH = 128
#: A level that nothing leads back to.
_NONE = 2**31
_NOTHING: frozenset[int] = frozenset()
_SORTABLE = (frozenset({str}), frozenset({int}), frozenset({bytes}))

Part = Any  # an atom, or a digest in a 1-tuple; also lists of these, where the tag says which
Writer = Callable[["Scribe", Any], bytes]


class Unidentified(Exception):
    """A value has no content that would be the same in another process. The text says which, where and why."""

    def __init__(self, what: str, why: str = "has no content that could be compared") -> None:
        super().__init__(what, why)
        self.what = what
        self.why = why

    def inside(self, place: str) -> Unidentified:
        """Return the same, seen from what is around it."""
        return Unidentified(f"{self.what} {place}", self.why)

    def __str__(self) -> str:
        return f"{self.what} {self.why}"


class TooMuch(Exception):
    """More bytes would have to be read than the limit allows."""


_hash: Callable[[bytes], bytes] | None = None


def digest_of(data: bytes) -> bytes:
    """Return the xxh3_128 of bytes."""
    global _hash  # noqa: PLW0603  imported when it is first needed
    if _hash is None:
        from xxhash import xxh3_128_digest

        _hash = xxh3_128_digest
    return _hash(data)


def seal(tag: str, parts: Part) -> bytes:
    """Return the digest of what is made of these parts. A tag has no NUL."""
    return digest_of(b"%b\0%b" % (tag.encode(), marshal.dumps(parts, 2)))


def type_name(kind: type) -> str:
    """A type's name, for people and for keys."""
    module = module_of(kind)
    return kind.__qualname__ if module == "builtins" else f"{module}.{kind.__qualname__}"


def module_of(value: Any) -> str:
    """The module that a class or a function names; some name none, or something that is no text."""
    module = getattr(value, "__module__", None)
    return module if isinstance(module, str) else ""


class Scribe:
    """Writes values down. One is used for one value or one call, by one thread.

    `code` returns the content of functions, classes and modules. Plain paths that are met are noted in `paths`.
    Files at the paths `written` count by these alone: what is in them will be replaced.
    `order` is given where the contents depend on which value is met first; what has no order is met in this one.
    """

    def __init__(
        self,
        code: Callable[[Scribe, Any], bytes],
        *,
        files: FileDigests,
        root: str = "",
        limit: int | None = None,
        written: Collection[str] = (),
        order: Callable[[Any], bytes] | None = None,
    ) -> None:
        self._code = code
        self.files = files
        self.root = root
        self.left = limit
        self.written = written
        self._order = order
        self.paths: list[PathState] = []
        self._memo: dict[int, tuple[bytes, frozenset[int], Any]] = {}
        self._around: dict[int, tuple[int, int]] = {}
        self._lowest = _NONE
        self._open: list[tuple[Any, int]] = []
        self._numbers: dict[int, int] = {}

    def spend(self, count: int) -> None:
        """Count bytes that are about to be read; raise `TooMuch` if they are more than is left."""
        if self.left is not None:
            self.left -= count
            if self.left < 0:
                raise TooMuch(f"{-self.left} bytes more than the limit")

    def touch(self) -> None:
        """Count that a file system is asked, which may be slow: under a limit, too much."""
        if self.left is not None:
            raise TooMuch("a file would have to be looked at")

    def note(self, path: str) -> None:
        """Note a plain path as it is now, unless it is a directory."""
        self.touch()
        try:
            status = os.stat(path)
        except (OSError, ValueError):
            state = PathState(path, -1, 0)
        else:
            if stat.S_ISDIR(status.st_mode):
                return
            state = PathState(path, status.st_size, status.st_mtime_ns)
        if state not in self.paths:
            self.paths.append(state)

    def part(self, value: Any) -> Part:
        """Return the value as a part of something."""
        kind = type(value)
        if kind in SMALL or ((kind is str or kind is bytes) and len(value) <= LONG):
            return value
        return (self.digest(value),)

    def parts(self, values: Sequence[Any]) -> Sequence[Part]:
        """Return each value as a part; quick where all are atoms."""
        self.spend(8 * len(values))
        kinds = set(map(type, values))
        if kinds <= SMALL:
            return values
        if kinds <= ATOMS:
            sizes = list(map(len, values if len(kinds) == 1 else [v for v in values if type(v) not in SMALL]))
            if max(sizes) <= LONG:
                self.spend(sum(sizes))
                return values
        return [value if type(value) in SMALL else self.part(value) for value in values]

    def digest(self, value: Any) -> bytes:
        """Return the value's content. Raises `Unidentified`, `TooMuch`, and `OSError` for files."""
        key = id(value)
        known = self._memo.get(key)
        if known is not None and (not known[1] or known[1].isdisjoint(self._around)):
            return known[0]
        if key in self._around:
            return self._back(self._around[key][0], -1)
        if key in self._numbers:
            number = self._numbers[key]
            level = self._open[number][1]
            start = next(begun for depth, begun in self._around.values() if depth == level)
            return self._back(level, number - start)
        self.spend(_EACH)
        return self._look_into(key, value)

    def _back(self, level: int, number: int) -> bytes:
        self._lowest = min(self._lowest, level)
        return seal("up", [len(self._around) - level, number])

    def _look_into(self, key: int, value: Any) -> bytes:
        """Write down what is inside; what leads back to something around it is only remembered for as long."""
        level, begun, outer = len(self._around), len(self._open), self._lowest
        self._around[key] = level, begun
        self._lowest = _NONE
        result = None
        inside: list[Any] = []
        try:
            result = writer_of(type(value))(self, value)
        except RecursionError:
            raise Unidentified(f"a {type_name(type(value))}", "is nested too deeply") from None
        finally:
            del self._around[key]
            lowest, self._lowest = self._lowest, outer
            if result is None or lowest >= level:
                inside = self._forget(begun)
        if lowest < level:
            self._lowest = min(outer, lowest)
            self._open[begun:] = [(item, min(low, lowest)) for item, low in self._open[begun:]]
            self._numbers[key] = len(self._open)
            self._open.append((value, lowest))
        else:
            circle = frozenset({key, *map(id, inside)}) if lowest == level else _NOTHING
            self._memo[key] = result, circle, (value, inside)
        return result

    def _forget(self, begun: int) -> list[Any]:
        inside = [item for item, _ in self._open[begun:]]
        for item in inside:
            del self._numbers[id(item)]
        del self._open[begun:]
        return inside

    def code(self, value: Any) -> bytes:
        """Return the content of a function, a class or a module."""
        return self._code(self, value)

    def named(self, tag: str, kind: type, parts: Part) -> bytes:
        """Return the digest of an object of this class, whose code counts too."""
        return seal(tag, [self.code(kind), parts])

    def sequence(self, tag: str, values: Sequence[Any]) -> bytes:
        """Return the digest of values in an order; names the kind of container where one has no content."""
        try:
            return seal(tag, self.parts(values))
        except Unidentified as error:
            raise error.inside(f"in a {tag}") from None

    def unordered(self, values: Iterable[Any]) -> Part:
        """Return parts in an order that depends on nothing but themselves."""
        values = list(values)
        if frozenset(map(type, values)) in _SORTABLE:
            return self.parts(sorted(values))
        return sorted(self.parts(self._in_order(values)), key=_written)

    def mapping(self, tag: str, items: dict[Any, Any]) -> Part:
        """Return the parts of a dict; in whichever order, as equality of dicts has it."""
        if not items or frozenset(map(type, items)) in _SORTABLE:
            keys = sorted(items)
            return [self.parts(keys), self._values(tag, [items[key] for key in keys])]
        keys = self._in_order(list(items))
        pairs = zip(self.parts(keys), self._values(tag, [items[key] for key in keys]), strict=True)
        return list(zip(*sorted(pairs, key=_written), strict=True))

    def _in_order(self, values: list[Any]) -> list[Any]:
        return values if self._order is None else sorted(values, key=self._order)

    def _values(self, tag: str, values: Sequence[Any]) -> Sequence[Part]:
        try:
            return self.parts(values)
        except Unidentified as error:
            raise error.inside(f"in a {tag}") from None


def _written(part: Part) -> bytes:
    return marshal.dumps(part, 2)


# -- who writes which type ------------------------------------------------------------------------------

#: type → what writes it; for types that were met, also those that a search came to.
_exact: dict[type, Writer] = {}
_found: dict[type, Writer] = {}
_hooks: dict[type, Callable[[Any], Any]] = {}
#: Asked in turn for types that are not in `_exact`.
_finders: list[Callable[[type], Writer | None]] = []


def writes(*kinds: type) -> Callable[[Writer], Writer]:
    """Make a function the writer of exactly these types."""

    def add(writer: Writer) -> Writer:
        for kind in kinds:
            _exact[kind] = writer
        return writer

    return add


def finds(finder: Callable[[type], Writer | None]) -> Callable[[type], Writer | None]:
    """Have a function asked, after those before it, for the writer of a type that has no exact one."""
    _finders.append(finder)
    return finder


def register_content(kind: type, content: Callable[[Any], Any]) -> None:
    """Have objects of a class, and of its subclasses, count by what `content` returns for them.

    That may be any value which itself has content. A class of one's own may have a method `__harmony_content__`
    instead. Raises `TypeError` for atoms such as int and str, which count by their value.
    """
    if kind in ATOMS or not isinstance(kind, type) or not callable(content):
        raise TypeError(f"register_content({kind!r}, {content!r}) needs a class that is no atom, and a function")
    _hooks[kind] = content
    _found.clear()


def writer_of(kind: type) -> Writer:
    """Return what writes objects of a type."""
    writer = _found.get(kind)
    if writer is None:
        if len(_found) > 4096:  # classes made on the fly
            _found.clear()
        writer = _found[kind] = _hook(kind) or _exact.get(kind) or _search(kind)
    return writer


def _hook(kind: type) -> Writer | None:
    for base in kind.__mro__:
        if base in _hooks:
            return _write_hooked(_hooks[base])
        if "__harmony_content__" in base.__dict__:
            return _write_hooked(lambda value: value.__harmony_content__())
    return None


def _write_hooked(content: Callable[[Any], Any]) -> Writer:
    def write(scribe: Scribe, value: Any) -> bytes:
        try:
            return seal("hooked", [type_name(type(value)), scribe.part(content(value))])
        except Unidentified as error:
            raise error.inside(f"in the content of a {type_name(type(value))}") from None

    return write


def _search(kind: type) -> Writer:
    for finder in _finders:
        writer = finder(kind)
        if writer is not None:
            return writer
    raise AssertionError("the last finder takes all")
