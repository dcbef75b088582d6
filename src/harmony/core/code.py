"""The content of functions, classes and modules: what they do, with all that they use of the user's own code.

A function is its bytecode with its constants, its defaults, what it closes over, and the globals that it names:
data by content; functions and classes of the project likewise, to DEPTH; of a module, what the function
names as an attribute anywhere (``import helpers; helpers.f()``); of an imported one, all its code. What belongs to
the standard library or to an installed package counts by name and version. Among globals, what has no content
counts by its type; where a function closes over such a thing, the function has none. What is looked up by a name
that is computed (``getattr(module, name)``) is not seen.

What is reached is numbered as it is met, so that functions may call each other in circles.
"""

from __future__ import annotations

import functools
import sys
import threading
import types
import weakref
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from harmony.core import modules
from harmony.core.bytecode import MAGIC, outline
from harmony.core.files import FileDigests
from harmony.core.scribe import Part, Scribe, Unidentified, module_of, seal, type_name
from harmony.core.travel import undecorated

#: So many steps, from a function to one that it uses, are followed.
DEPTH = 16
#: Python keeps these in classes for itself, or for people.
_KEPT = frozenset({"__doc__", "__dict__", "__weakref__", "__module__", "__annotations__", "_abc_impl"})
#: These carry no data, so a function may close over them.
_BARE = (
    type(threading.Lock()), type(threading.RLock()), threading.Condition, threading.Event, threading.local,
    weakref.WeakKeyDictionary, weakref.WeakValueDictionary, weakref.WeakSet,
)  # fmt: skip
_ACCESSORS = (types.GetSetDescriptorType, types.MemberDescriptorType)
_WRAPPERS = (property, staticmethod, classmethod, functools.cached_property, functools.partialmethod)


class Codes:
    """The contents of functions, classes and modules, each as it was when first asked for. Any thread may use it."""

    def __init__(self, files: FileDigests, root: str = "") -> None:
        self._files = files
        self._root = root
        self._known: weakref.WeakKeyDictionary[Any, bytes] = weakref.WeakKeyDictionary()

    def content(self, value: Any, around: Scribe | None = None) -> bytes:
        """Return the content. What has to be read counts for the limit of `around`."""
        value = undecorated(value)
        keep = isinstance(value, (types.FunctionType, type, types.ModuleType)) and _is_itself(type(value))
        if keep:
            known = self._known.get(value)
            if known is not None:
                return known
        graph = _Graph(self._files, self._root, None if around is None else around.left)
        found = graph.content(value)
        if around is not None and graph.scribe.left is not None:
            around.left = graph.scribe.left
        if keep:
            self._known[value] = found
        return found


def _is_itself(kind: type) -> bool:
    """True where two objects are equal only if they are the same: a metaclass may say otherwise."""
    comparing: tuple[object, object] = kind.__eq__, kind.__hash__
    return comparing == (object.__eq__, object.__hash__)


class _Graph:
    """All that is reached from one value."""

    def __init__(self, files: FileDigests, root: str, limit: int | None) -> None:
        self._numbers: dict[int, int] = {}
        self._todo: deque[tuple[Any, int]] = deque()
        self._depth = 0
        self._files = files
        self.scribe = Scribe(
            lambda scribe, value: self._reach(value), files=files, root=root, limit=limit, order=self._order
        )

    def content(self, value: Any) -> bytes:
        first = self.scribe.digest(value)
        nodes: list[Part] = []
        while self._todo:
            item, self._depth = self._todo.popleft()
            nodes.append(_class(self, item) if isinstance(item, type) else _function(self, item))
        return seal("graph", [MAGIC, first, nodes]) if nodes else first

    def _reach(self, value: Any) -> bytes:
        """Return what stands for code: of the user's own a number, where it is to be described; else its name."""
        if isinstance(value, types.FunctionType):
            module = value.__globals__.get("__name__") or ""
            if not modules.is_local_code(value.__code__, module):
                return self._foreign_function(value, module)
            if self._depth >= DEPTH:
                return seal("deep", [value.__qualname__, outline(value.__code__).digest])
        elif isinstance(value, type):
            module = module_of(value)
            if not modules.is_local(module):
                return _name(module, value.__qualname__)
            if self._depth >= DEPTH:
                return seal("deep", [value.__qualname__])
        elif isinstance(value, types.ModuleType):
            return self._module(value)
        elif isinstance(value, types.CodeType):
            return outline(value).digest
        else:
            return self._built_in(value)
        number = self._numbers.get(id(value))
        if number is None:
            number = self._numbers[id(value)] = len(self._numbers)
            self._todo.append((value, self._depth + 1))
        return seal("number", number)

    def _foreign_function(self, value: types.FunctionType, module: str) -> bytes:
        """Return the name of a function that is not the user's, and the user's functions that it wraps."""
        parts: list[Part] = [_name(module, value.__code__.co_name), value.__qualname__]
        for cell in value.__closure__ or ():
            held = _held(cell)
            if isinstance(held, (types.FunctionType, types.MethodType, type, str, int, float, bytes, type(None))):
                parts.append(self.lenient(held))
        return seal("wrapper", parts)

    def _order(self, value: Any) -> bytes:
        """Return what decides which of a set is numbered first: the value, with code by its name and outline."""
        bare = Scribe(_bare, files=self._files, root=self.scribe.root, limit=self.scribe.left)
        try:
            return bare.digest(value)
        except (Unidentified, OSError):
            return b""

    def _module(self, module: types.ModuleType) -> bytes:
        name = module.__name__
        if not modules.is_local(name):
            return _name(name, "")
        path = getattr(module, "__file__", None)
        if name == "__main__" or path is None:
            return seal("module", name)
        return seal("module", [name, modules.content_of_module(name, path, self._files)])

    def _built_in(self, value: Any) -> bytes:
        """Return what stands for code written in C; where its file is the user's own, that counts."""
        owner = getattr(value, "__self__", None)
        if owner is not None and not isinstance(owner, types.ModuleType):
            return seal("built-in", [value.__qualname__, self.scribe.part(owner)])
        owner = getattr(value, "__objclass__", None)
        module = module_of(value) or module_of(owner)
        name = getattr(value, "__qualname__", type_name(type(value)))
        found = sys.modules.get(module)
        if found is not None and getattr(found, "__file__", None) and modules.is_local(module):
            return seal("built-in", [_name(module, name), self._module(found)])
        return _name(module, name)

    def lenient(self, value: Any) -> Part:
        """Return a part; of what has no content, the type."""
        try:
            return self.scribe.part(value)
        except (Unidentified, OSError):
            return (seal("type", type_name(type(value))),)

    def strict(self, place: str, value: Any) -> Part:
        """Return a part; name the place of what has no content."""
        if isinstance(value, _BARE):
            return self.lenient(value)
        try:
            return self.scribe.part(value)
        except Unidentified as error:
            raise error.inside(place) from None


def _name(module: str, name: str) -> bytes:
    return seal("name", [module, name, modules.version_of(module)])


def _bare(scribe: Scribe, value: Any) -> bytes:
    name = getattr(value, "__qualname__", None) or getattr(value, "__name__", "")
    lines = outline(value.__code__).digest if isinstance(value, types.FunctionType) else None
    return seal("bare", [module_of(value), name, lines])


def _held(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not filled yet
        return NotImplemented


def _function(graph: _Graph, function: types.FunctionType) -> Part:
    code = function.__code__
    lines = outline(code)
    name = function.__qualname__
    defaults = [
        *(graph.strict(f"in a default of {name}", value) for value in function.__defaults__ or ()),
        *([key, graph.strict(f"in a default of {name}", value)] for key, value in _sorted(function.__kwdefaults__)),
    ]
    closed = [
        [variable, graph.strict(f"in {variable!r}, over which {name} closes", _held(cell))]
        for variable, cell in zip(code.co_freevars, function.__closure__ or (), strict=True)
    ]
    names = function.__globals__
    used = [
        [variable, _global(graph, variable, names[variable], lines.names)]
        for variable in sorted(lines.globals)
        if variable in names
    ]
    package = names.get("__package__") or ""
    brought = [modules.content_of_import(statement, package, graph._files) for statement in lines.imports]
    return ["function", name, lines.digest, defaults, closed, used, brought]


def _sorted(names: Mapping[str, Any] | None) -> list[tuple[str, Any]]:
    return sorted((names or {}).items())


def _global(graph: _Graph, name: str, value: Any, names: frozenset[str]) -> Part:
    if name in ("__name__", "__doc__", "__spec__", "__loader__", "__builtins__"):
        return None
    if name == "__file__" or isinstance(value, str):
        root = graph.scribe.root
        if root and isinstance(value, str) and (value == root or value.startswith(root + "/")):
            return ["below", value[len(root) :]]
    if isinstance(value, types.ModuleType):
        return _attributes(graph, value, names, set())
    return graph.lenient(value)


def _attributes(graph: _Graph, module: types.ModuleType, names: frozenset[str], seen: set[int]) -> Part:
    """Return of a module what is named; where nothing is, it is used as a whole."""
    if not modules.is_local(module.__name__):
        return (graph.scribe.code(module),)
    if id(module) in seen:
        return None
    seen.add(id(module))
    found: list[Part] = []
    for name in sorted(names.intersection(vars(module))):
        value = vars(module)[name]
        if isinstance(value, types.ModuleType):
            found.append([name, _attributes(graph, value, names, seen)])
        elif not name.startswith("__"):
            found.append([name, graph.lenient(value)])
    return ["module", found] if found else (graph.scribe.code(module),)


def _class(graph: _Graph, kind: type) -> Part:
    found: list[Part] = []
    for name, value in sorted(vars(kind).items()):
        if name in _KEPT or isinstance(value, _ACCESSORS):
            continue
        if name.startswith("__") and not isinstance(value, (types.FunctionType, *_WRAPPERS)) and name != "__slots__":
            continue  # made by the interpreter, by dataclasses and their like
        found.append([name, graph.lenient(value)])
    bases = [graph.lenient(base) for base in kind.__bases__]
    return ["class", kind.__qualname__, bases, graph.lenient(type(kind)), found]


def function_content(fn: Callable[..., Any]) -> bytes:
    """Return the content of a function, 16 bytes; see the module. Raises `Unidentified`, `TooMuch`."""
    return _default.content(fn)


_default = Codes(FileDigests())
