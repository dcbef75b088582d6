"""Failures: why a task failed, as a row of the store; and texts that a database can hold."""

from __future__ import annotations

import reprlib
import traceback
from typing import Any

from harmony.core.record import Record
from harmony.core.task import Call
from harmony.core.travel import without_ours
from harmony.errors import CommandError, DependencyError, RemoteError, RemoteTraceback, text_of

#: Characters that are kept of a stream, of a traceback, and of a message.
MOST_OUTPUT = 1 << 16
_MOST_MESSAGE = 1 << 14
_MOST_ARGUMENTS = 1000

_short = reprlib.Repr()
_short.maxlevel = 3
_short.maxstring = _short.maxother = 120


def clean(text: str) -> str:
    """Return the text without what is no Unicode: parts of file names and of programs' output may not be."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace").decode()
    return text


def tail(text: str) -> str:
    """Return the end of a long text."""
    return clean(text[-MOST_OUTPUT:])


def failure_row(record: Record, attempt: int, error: BaseException) -> tuple[Any, ...]:
    """Return a row of `failure`, without the run."""
    kind = f"{type(error).__module__}.{type(error).__qualname__}".removeprefix("builtins.")
    message = text_of(error)
    if isinstance(error, RemoteError):
        kind, message = error.type_name, message.removeprefix(f"{error.type_name}: ")
    is_root = not isinstance(error, DependencyError)
    exit_code = signal = None
    if isinstance(error, CommandError):
        exit_code, signal = error.exit_code, error.signal
    return (
        record.id, attempt, clean(kind), clean(message[:_MOST_MESSAGE]), traceback_of(error) if is_root else "",
        arguments_of(record), exit_code, signal, is_root,
    )  # fmt: skip


def traceback_of(error: BaseException) -> str:
    """Return the traceback that the user sees: that of the place where the error was raised."""
    if isinstance(error.__cause__, RemoteTraceback):
        return tail(str(error.__cause__.args[0]))
    try:
        lines = traceback.format_exception(type(error), error, without_ours(error.__traceback__))
    except Exception:  # noqa: BLE001  a user's own __str__, or what lies behind its attributes
        return ""
    return tail("".join(lines))


def arguments_of(record: Record) -> str:
    """Return how a function was called, shortened."""
    work = record.work
    if not isinstance(work, Call):
        return ""
    parts = [_repr(value) for value in work.args]
    parts += [f"{name}={_repr(value)}" for name, value in work.kwargs.items()]
    text = ", ".join(parts)
    return clean(text if len(text) <= _MOST_ARGUMENTS else f"{text[:_MOST_ARGUMENTS]} …")


def _repr(value: Any) -> str:
    try:
        return _short.repr(value)
    except Exception as error:  # noqa: BLE001  a user's own __repr__
        return f"<{type(value).__name__}, whose repr fails: {type(error).__name__}>"
