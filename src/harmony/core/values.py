"""The contents of Python's own kinds of values, and of objects in general, by what they would be pickled as."""

from __future__ import annotations

import array
import copyreg
import dataclasses
import enum
import functools
import io
import os
import pickle
import queue
import threading
import types
import uuid
import weakref
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path, PurePath
from typing import Any

from harmony.core.data import File
from harmony.core.files import FileDigests
from harmony.core.scribe import (
    LONG,
    Part,
    Scribe,
    Unidentified,
    Writer,
    finds,
    seal,
    type_name,
    writes,
)

_CODE = (
    types.FunctionType, types.BuiltinFunctionType, types.ModuleType, types.CodeType, type, types.MethodDescriptorType,
    types.WrapperDescriptorType, types.ClassMethodDescriptorType, types.GetSetDescriptorType,
    types.MemberDescriptorType,
)  # fmt: skip
#: What would pickle, or nearly, and yet is nothing that another process could have.
_WITHOUT = (
    threading.Thread, Future, io.IOBase, queue.Queue, weakref.ref, weakref.WeakKeyDictionary,
    weakref.WeakValueDictionary, weakref.WeakSet, types.GeneratorType, types.CoroutineType, types.FrameType,
    types.TracebackType,
)  # fmt: skip


# -- atoms, texts and bytes -----------------------------------------------------------------------------


@writes(int, float, complex, bool, type(None), type(Ellipsis))
def _atom(scribe: Scribe, value: Any) -> bytes:
    return seal("atom", value)


@writes(str, bytes)
def _text(scribe: Scribe, value: str | bytes) -> bytes:
    if len(value) <= LONG:
        return seal("atom", value)
    if isinstance(value, str):
        scribe.spend(len(value))
        return write_buffer(scribe, "text", None, [value.encode("utf-8", "surrogatepass")])
    return write_buffer(scribe, "bytes", None, [value])


def write_buffer(scribe: Scribe, tag: str, parts: Part, chunks: Sequence[Any]) -> bytes:
    """Return the digest of contiguous buffers, whose sizes follow from the parts or from there being only one."""
    from xxhash import xxh3_128

    state = xxh3_128(seal(tag, parts))
    for chunk in chunks:
        scribe.spend(memoryview(chunk).nbytes)
        state.update(chunk)
    return state.digest()


@writes(bytearray)
def _bytearray(scribe: Scribe, value: bytearray) -> bytes:
    return write_buffer(scribe, "bytearray", None, [value])


@writes(memoryview)
def _memoryview(scribe: Scribe, value: memoryview) -> bytes:
    parts = [value.format, list(value.shape or ())]
    scribe.spend(value.nbytes if not value.c_contiguous else 0)
    return write_buffer(scribe, "memoryview", parts, [value if value.c_contiguous else value.tobytes()])


@writes(pickle.PickleBuffer)
def _pickle_buffer(scribe: Scribe, value: pickle.PickleBuffer) -> bytes:
    return scribe.digest(memoryview(value))


@writes(array.array)
def _array(scribe: Scribe, value: array.array[Any]) -> bytes:
    return write_buffer(scribe, "array", value.typecode, [value])


# -- containers -----------------------------------------------------------------------------------------


@writes(list)
def _list(scribe: Scribe, value: list[Any]) -> bytes:
    return scribe.sequence("list", value)


@writes(tuple)
def _tuple(scribe: Scribe, value: tuple[Any, ...]) -> bytes:
    return scribe.sequence("tuple", value)


@writes(dict)
def _dict(scribe: Scribe, value: dict[Any, Any]) -> bytes:
    return seal("dict", scribe.mapping("dict", value))


@writes(types.MappingProxyType)
def _proxy(scribe: Scribe, value: Any) -> bytes:
    return seal("mappingproxy", scribe.mapping("mappingproxy", dict(value)))


@writes(set)
def _set(scribe: Scribe, value: set[Any]) -> bytes:
    return seal("set", scribe.unordered(value))


@writes(frozenset)
def _frozenset(scribe: Scribe, value: frozenset[Any]) -> bytes:
    return seal("frozenset", scribe.unordered(value))


@writes(range)
def _range(scribe: Scribe, value: range) -> bytes:
    return seal("range", [value.start, value.stop, value.step])


@writes(slice)
def _slice(scribe: Scribe, value: slice) -> bytes:
    return scribe.sequence("slice", [value.start, value.stop, value.step])


@writes(uuid.UUID)
def _uuid(scribe: Scribe, value: uuid.UUID) -> bytes:
    return seal("uuid", value.int)


# -- paths ----------------------------------------------------------------------------------------------


def place(root: str, path: str) -> Part:
    """Return an absolute path as parts: below the root, relative to it."""
    if root and path.startswith(root) and path[len(root) : len(root) + 1] in ("", "/"):
        return ["below", path[len(root) + 1 :]]
    return ["at", path]


@finds
def _find_path(kind: type) -> Writer | None:
    if issubclass(kind, File):
        return _file
    return _path if issubclass(kind, PurePath) else None


def _path(scribe: Scribe, value: PurePath) -> bytes:
    text = str(value)
    if isinstance(value, Path):
        scribe.note(os.path.abspath(text))
    return seal("path", [type_name(type(value)), place(scribe.root, text)])


def _file(scribe: Scribe, value: File) -> bytes:
    path = str(value)
    if path in scribe.written:
        return seal("written file", [type_name(type(value)), place(scribe.root, path)])
    scribe.touch()
    return seal("file", [type_name(type(value)), place(scribe.root, path), file_content(scribe.files, path)])


def file_content(files: FileDigests, path: str) -> Part:
    """Return what is in a file, or in all files below a directory; None for one that is not there."""
    try:
        if os.path.isdir(path):
            return _tree(files, path)
        return files.digest(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise Unidentified(f"the file {path}", f"cannot be read: {error}") from error


def _tree(files: FileDigests, path: str) -> Part:
    found: list[Part] = []
    with os.scandir(path) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            if entry.is_symlink():
                found.append([entry.name, "link", os.readlink(entry.path)])
            elif entry.is_dir():
                found.append([entry.name, "directory", _tree(files, entry.path)])
            else:
                found.append([entry.name, "file", file_content(files, entry.path)])
    return found


# -- code as a value ------------------------------------------------------------------------------------


@finds
def _find_code(kind: type) -> Writer | None:
    return Scribe.code if issubclass(kind, _CODE) else None


@writes(types.MethodType)
def _method(scribe: Scribe, value: types.MethodType) -> bytes:
    return scribe.sequence("method", [value.__func__, value.__self__])


@writes(property)
def _property(scribe: Scribe, value: property) -> bytes:
    return scribe.sequence("property", [value.fget, value.fset, value.fdel])


@writes(staticmethod, classmethod)
def _static(scribe: Scribe, value: Any) -> bytes:
    return scribe.sequence(type(value).__name__, [value.__func__])


@writes(functools.cached_property)
def _cached(scribe: Scribe, value: functools.cached_property[Any]) -> bytes:
    return scribe.sequence("cached_property", [value.func, value.attrname])


@writes(functools.partialmethod)
def _partialmethod(scribe: Scribe, value: functools.partialmethod[Any]) -> bytes:
    return scribe.sequence("partialmethod", [value.func, value.args, value.keywords])


@writes(type(functools.lru_cache(len)))
def _lru(scribe: Scribe, value: Any) -> bytes:
    return scribe.sequence("lru_cache", [value.__wrapped__, value.cache_parameters()])


# -- objects --------------------------------------------------------------------------------------------


@finds
def _find_other(kind: type) -> Writer | None:
    if hasattr(kind, "make_task"):
        return _task_function
    if issubclass(kind, enum.Enum):
        return _enum
    if issubclass(kind, (io.BytesIO, io.StringIO)):
        return write_object
    if issubclass(kind, _WITHOUT):
        return _nothing
    if issubclass(kind, (set, frozenset)):
        return _set_like
    if dataclasses.is_dataclass(kind) and _is_plain(kind) and not issubclass(kind, _BUILT_IN):
        return _dataclass
    return None


#: What `functools.update_wrapper` copies from the function.
_COPIED = frozenset({*functools.WRAPPER_ASSIGNMENTS, "__wrapped__"})
#: Instances of classes that are derived from these have more state than their attributes.
_BUILT_IN = (list, tuple, dict, str, bytes, bytearray, int, float, complex, BaseException)


def _is_plain(kind: type) -> bool:
    """True where an object is pickled by its attributes."""
    reduce: tuple[object, object] = kind.__reduce_ex__, kind.__reduce__
    return reduce == (object.__reduce_ex__, object.__reduce__)


def _nothing(scribe: Scribe, value: Any) -> bytes:
    raise Unidentified(f"a {type_name(type(value))}")


def _task_function(scribe: Scribe, value: Any) -> bytes:
    return scribe.digest(value.fn)


def _enum(scribe: Scribe, value: enum.Enum) -> bytes:
    return scribe.named("enum", type(value), [value._name_, scribe.part(value._value_)])


def _set_like(scribe: Scribe, value: Any) -> bytes:
    parts = [scribe.unordered(value), scribe.part(getattr(value, "__dict__", None))]
    return scribe.named("set-like", type(value), parts)


def _dataclass(scribe: Scribe, value: Any) -> bytes:
    kind = type(value)
    names = [field.name for field in dataclasses.fields(value) if hasattr(value, field.name)]
    extra = _state_of(kind, getattr(value, "__dict__", {}))
    names += sorted(set(extra).difference(names))
    return scribe.named("fields", kind, [names, attributes(scribe, kind, [getattr(value, name) for name in names])])


def attributes(scribe: Scribe, kind: type, values: Sequence[Any]) -> Sequence[Part]:
    """Return what an object consists of, as parts."""
    try:
        return scribe.parts(values)
    except Unidentified as error:
        raise error.inside(f"in a {type_name(kind)}") from None


def _state_of(kind: type, state: dict[str, Any]) -> dict[str, Any]:
    """Leave out what was only computed from the rest."""
    cached = [name for name in state if isinstance(getattr(kind, name, None), functools.cached_property)]
    return {name: item for name, item in state.items() if name not in cached} if cached else state


def write_object(scribe: Scribe, value: Any) -> bytes:
    """Write any object, by what it would be pickled as."""
    kind = type(value)
    wrapped = getattr(value, "__wrapped__", None)
    if callable(value) and isinstance(wrapped, types.FunctionType):  # a decorator that made the function an object
        state = getattr(value, "__dict__", {}) if _is_plain(kind) else {}
        state = {name: item for name, item in _state_of(kind, state).items() if name not in _COPIED}
        return scribe.named("wrapped", kind, attributes(scribe, kind, [wrapped, state]))
    try:
        reducer = copyreg.dispatch_table.get(kind)
        reduced = reducer(value) if reducer else value.__reduce_ex__(5)
    except RecursionError:
        raise
    except Exception as error:  # whatever user code raises
        raise Unidentified(f"a {type_name(kind)}", f"has no content that could be compared ({error})") from error
    if isinstance(reduced, str):
        return scribe.named("global", kind, [getattr(value, "__module__", None), reduced])
    make, args, state, items, pairs, setter = (*reduced, None, None, None, None)[:6]
    if isinstance(state, dict) and type(state) is dict:
        state = _state_of(kind, state)
    ordered = isinstance(value, OrderedDict) or not isinstance(value, dict)
    rest = (
        None if items is None else list(items),
        None if pairs is None else list(pairs) if ordered else dict(pairs),
    )
    return seal("object", attributes(scribe, kind, [kind, make, args, state, *rest, setter]))
