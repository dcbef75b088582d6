"""Columns: the tasks and attempts of a run as arrays, because a million tuples would fill the memory."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from itertools import islice
from typing import Any

#: Column → type code of its array, in the order of the query `report_tasks`. -1 stands for what is not known.
TASK = {
    "id": "q", "name": "q", "shape": "q", "state": "b", "accepted": "d", "started": "d", "ended": "d", "seconds": "d",
    "cpu": "d", "memory": "q", "read": "q", "written": "q", "engine": "q", "place": "q", "attempts": "q", "path": "d",
    "origin": "q",
}  # fmt: skip
#: The same for `report_attempts`.
ATTEMPT = {"task": "q", "number": "q", "engine": "q", "place": "q", "started": "d", "ended": "d", "seconds": "d"}
_CHUNK = 20_000


class Columns:
    """Rows of a query, one array for each column, as attributes."""

    id: array[int]
    task: array[int]
    name: array[int]
    number: array[int]
    shape: array[int]
    state: array[int]
    accepted: array[float]
    started: array[float]
    ended: array[float]
    seconds: array[float]
    cpu: array[float]
    memory: array[int]
    read: array[int]
    written: array[int]
    engine: array[int]
    place: array[int]
    attempts: array[int]
    path: array[float]
    origin: array[int]

    def __init__(self, rows: Iterator[tuple[Any, ...]], codes: dict[str, str]) -> None:
        columns: list[array[Any]] = [array(code) for code in codes.values()]
        while chunk := list(islice(rows, _CHUNK)):
            for column, values in zip(columns, zip(*chunk, strict=True), strict=True):
                column.extend(values)
        for name, column in zip(codes, columns, strict=True):
            setattr(self, name, column)
        self._length = len(columns[0])

    def __len__(self) -> int:
        return self._length
