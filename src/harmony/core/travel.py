"""How functions, values and exceptions travel between processes, whichever engine takes them."""

from __future__ import annotations

import copyreg
import functools
import importlib.machinery
import importlib.util
import os
import pickle
import sys
import traceback
import types
from collections.abc import Callable
from typing import Any, NamedTuple

import cloudpickle

from harmony.errors import RemoteError, RemoteTraceback, SerializationError, text_of

#: Modules that no other process has, as they stand in a pickle: the main program's, here and in what multiprocessing
#: starts, and those loaded from a file by hand, as they are met.
_strays = {"__main__": b"__main__", "__mp_main__": b"__mp_main__"}


# -- functions and values -----------------------------------------------------------------------------


def locate(module: str, qualname: str) -> Any:
    """Return the function that goes by this name; of one that was made a task, the function itself."""
    found: Any = importlib.import_module(module)
    for part in qualname.split("."):
        found = getattr(found, part)
    return undecorated(found)


def undecorated(found: Any) -> Any:
    """Look through our own decorators, and no others: what those add is part of the function."""
    return found.fn if hasattr(found, "make_task") else found


def reference_to(fn: Callable[..., Any]) -> tuple[str, str] | None:
    """Return the module and name by which another process can import a function, or None."""
    module, qualname = getattr(fn, "__module__", None), getattr(fn, "__qualname__", "<")
    if not isinstance(fn, types.FunctionType) or not module or module in _strays or "<" in qualname:
        return None
    if module in _by_value():
        return None
    if not _can_be_found(module.partition(".")[0]):
        _strays[module] = module.encode()
        return None
    try:
        return (module, qualname) if locate(module, qualname) is fn else None
    except (ImportError, AttributeError):
        return None


@functools.lru_cache(maxsize=1024)
def _can_be_found(package: str) -> bool:
    """True when any process with our path can import it; not so a module that was loaded from a file by hand."""
    if package in sys.builtin_module_names or package in sys.stdlib_module_names:
        return True
    try:
        return importlib.util.find_spec(package) is not None and (
            importlib.machinery.PathFinder.find_spec(package) is not None
            or getattr(sys.modules.get(package), "__path__", None) is not None
        )
    except (ImportError, ValueError):
        return False


def dump_function(fn: Callable[..., Any]) -> bytes:
    """Pickle a function: by reference where it can be imported, by value (cloudpickle) where not.

    Raises `SerializationError`.
    """
    reference = reference_to(fn)
    if reference is not None:
        return pickle.dumps(reference, 5)
    try:
        return _dump_by_value(fn)
    except BaseException as error:
        raise cannot_pickle(f"function {getattr(fn, '__qualname__', repr(fn))!r}", error) from error


def _dump_by_value(value: Any, buffers: Callable[[pickle.PickleBuffer], Any] | None = None) -> bytes:
    strays = [sys.modules[name] for name in _strays if name in sys.modules and name != "__main__"]
    lent = [module for module in strays if module.__name__ not in _by_value() and module.__name__ != "__main__"]
    for module in lent:  # else cloudpickle trusts that every process has it
        cloudpickle.register_pickle_by_value(module)
    try:
        data: bytes = cloudpickle.dumps(value, 5, buffer_callback=buffers)
    finally:
        for module in lent:
            cloudpickle.unregister_pickle_by_value(module)
    return data


def call_object(fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """Call an object that travels as an argument, because it is data rather than code."""
    return fn(*args, **kwargs)


def _by_value() -> set[str]:
    return set(cloudpickle.list_registry_pickle_by_value())


def load_function(data: bytes) -> Callable[..., Any]:
    """Undo `dump_function`."""
    loaded = pickle.loads(data)  # noqa: S301  written by the user's own driver
    fn: Callable[..., Any] = locate(*loaded) if isinstance(loaded, tuple) else loaded
    return fn


def dump_value(value: Any) -> bytes:
    """Pickle a value in one piece; see `dump_parts`."""
    return dump_parts(value, None)[0]


def dump_parts(value: Any, large: int | None) -> tuple[bytes, list[memoryview]]:
    """Pickle a value; its contiguous buffers of at least `large` bytes come apart, in order and not copied.

    Plain pickle first, which is fast; cloudpickle for what it cannot do, and for anything that names
    ``__main__``, which another process does not have.
    """
    buffers: list[memoryview] = []

    def keep_inside(buffer: pickle.PickleBuffer) -> bool:
        try:
            raw = buffer.raw()
        except BufferError:
            return True  # not contiguous
        if large is None or raw.nbytes < large:
            return True
        buffers.append(raw)
        return False

    try:
        data = pickle.dumps(value, 5, buffer_callback=keep_inside)
        if not any(name in data for name in _strays.values()) and not _by_value():
            return data, buffers
    except Exception:  # noqa: BLE001  whatever a __reduce__ raises, cloudpickle may do better
        pass
    buffers.clear()
    return _dump_by_value(value, keep_inside), buffers


def cannot_pickle(what: str, error: BaseException) -> SerializationError:
    """The error for something that cannot be sent to another process."""
    return SerializationError(f"{what} cannot be pickled: {type(error).__name__}: {error}")


# -- exceptions ---------------------------------------------------------------------------------------


def dump_exception(error: BaseException) -> bytes:
    """Pickle an exception with its traceback's text, so that `load_exception` cannot fail on it."""
    text = "".join(traceback.format_exception(type(error), error, without_ours(error.__traceback__)))
    name = f"{type(error).__module__}.{type(error).__qualname__}".removeprefix("builtins.")
    stand_in = (name, text_of(error), text)
    near = None
    forms: tuple[Any, ...] = (
        _Reduced.of(error) or error,
        (type(error), error.args, dict(error.__dict__)),
        (type(error), error.args, {}),
    )
    for form in forms:
        try:
            data = dump_value(form)
            twin = _rebuild(pickle.loads(data))  # noqa: S301  our own bytes
            if type(twin) is type(error):
                near = near or data
                if text_of(twin) == stand_in[1]:
                    return pickle.dumps((data, stand_in), 5)
        except BaseException:  # noqa: BLE001  a user's exception may fail in any way; the next form is simpler
            continue
    return pickle.dumps((near, stand_in), 5)


def load_exception(data: bytes) -> BaseException:
    """Undo `dump_exception`: the original type where it can be had here, else a `RemoteError`."""
    form, stand_in = pickle.loads(data)  # noqa: S301  written by our own worker
    try:
        error = _rebuild(pickle.loads(form)) if form is not None else RemoteError(*stand_in)  # noqa: S301
    except BaseException:  # noqa: BLE001  its type may not be importable here
        error = RemoteError(*stand_in)
    object.__setattr__(error, "__cause__", RemoteTraceback(stand_in[2]))  # also of a frozen dataclass
    return error


class _Reduced(NamedTuple):
    """An exception as it reduces itself, where another package has changed how such are pickled."""

    parts: tuple[Any, ...]

    @classmethod
    def of(cls, error: BaseException) -> _Reduced | None:
        """Return None unless `tblib` has, as it does in workers of Dask; what it makes loses ``SystemExit.code``."""
        reducer = copyreg.dispatch_table.get(type(error))
        if reducer is None or reducer.__module__.partition(".")[0] != "tblib":
            return None
        return cls(tuple(error.__reduce_ex__(5)[:3]))

    def rebuilt(self) -> BaseException:
        """Return the exception."""
        make, args, *state = self.parts
        error: BaseException = make(*args)
        if state and state[0]:
            error.__setstate__(state[0])
        return error


def _rebuild(form: Any) -> BaseException:
    if isinstance(form, BaseException):
        return form
    if isinstance(form, _Reduced):
        return form.rebuilt()
    kind, args, state = form
    error: BaseException = kind.__new__(kind, *args)  # past an __init__ that takes other arguments
    object.__setattr__(error, "args", args)
    error.__dict__.update(state)
    return error


def without_ours(trace: types.TracebackType | None) -> types.TracebackType | None:
    """Drop the frames of Harmony at the start, so that the user sees their own code first."""
    here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    while trace is not None and trace.tb_frame.f_code.co_filename.startswith(here) and trace.tb_next is not None:
        trace = trace.tb_next
    return trace
