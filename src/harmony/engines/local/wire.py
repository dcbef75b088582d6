"""What driver and worker say to each other: frames over a socket, many in one write.

To the worker, ``kind, length, body``: INIT (set-up), FUNCTION (number, pickled), FORGET (number), PATH (to import
from), BATCH (calls whose arguments are atoms, pickled together), TASK (one call with anything about it). To the driver,
``kind, task number, seconds, lengths`` and then the pickled result and what was printed. Where the task's use of
resources was measured, the kind is raised by USED and the result comes after it.
"""

from __future__ import annotations

import pickle
import struct
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from harmony.core.engine import Usage

INIT, FUNCTION, FORGET, PATH, BATCH, TASK = b"IFXPBT"
READY, BROKEN, NOTHING, VALUE, SEGMENT, ERROR, SKIPPED = range(7)
USED = 16

#: kind, length of the body
TO_WORKER = struct.Struct("<BI")
#: kind, task number, seconds, length of the payload, length of the prints
TO_DRIVER = struct.Struct("<BQdII")
NUMBER = struct.Struct("<I")
#: CPU seconds, bytes of memory (0: not known), bytes read, bytes written
USAGE = struct.Struct("<dQQQ")


class Setup(NamedTuple):
    """What a worker needs to know once."""

    path: list[str]
    argv: list[str]
    name: str
    initializer: bytes | None


class TaskHead(NamedTuple):
    """What a worker needs to know of one call besides its pickled arguments.

    `sizes` is None when those follow in the frame, else the parts of the segment that was passed for them.
    """

    number: int
    function: int
    sizes: tuple[int, ...] | None = None
    environment: Mapping[str, str] = {}
    directory: str | None = None
    outputs: Sequence[str] = ()
    name: str = "task"


def frame(kind: int, body: bytes) -> bytes:
    """Return one message to a worker."""
    return TO_WORKER.pack(kind, len(body)) + body


def function_frame(number: int, data: bytes) -> bytes:
    """Return the message that gives a worker a function."""
    return frame(FUNCTION, NUMBER.pack(number) + data)


def task_frame(head: TaskHead, payload: bytes) -> bytes:
    """Return the message that gives a worker one task."""
    front = pickle.dumps(tuple(head), 5)
    return frame(TASK, NUMBER.pack(len(front)) + front + payload)


def read_task(body: memoryview) -> tuple[TaskHead, memoryview]:
    """Undo `task_frame`."""
    (length,) = NUMBER.unpack_from(body)
    head: Any = pickle.loads(body[4 : 4 + length])  # noqa: S301  written by our own driver
    return TaskHead(*head), body[4 + length :]


def dump_usage(usage: Usage) -> bytes:
    """Return what goes before the result of a task whose use of resources was measured."""
    return USAGE.pack(usage.cpu or 0.0, usage.memory or 0, usage.read or 0, usage.written or 0)


def load_usage(payload: bytes) -> tuple[Usage, bytes]:
    """Undo `dump_usage`; return the result too."""
    cpu, memory, read, written = USAGE.unpack_from(payload)
    return Usage(cpu, memory or None, read, written), payload[USAGE.size :]


def answer(kind: int, number: int, seconds: float, payload: bytes, prints: str = "") -> bytes:
    """Return one message to the driver."""
    if not prints:
        return TO_DRIVER.pack(kind, number, seconds, len(payload), 0) + payload
    text = prints.encode(errors="replace")
    return TO_DRIVER.pack(kind, number, seconds, len(payload), len(text)) + payload + text
