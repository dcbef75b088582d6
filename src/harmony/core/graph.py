"""Who waits for whom: find futures and files inside arguments, replace futures by results, order tasks. Pure."""

from __future__ import annotations

import copy
import dataclasses
import itertools
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any

from harmony.core.data import File
from harmony.core.task import Task
from harmony.errors import CycleError, WorkflowError

#: Types that hold neither futures nor files; most arguments are of these.
ATOMS = frozenset({int, float, complex, str, bytes, bool, type(None)})


def is_plain(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
    """True when every argument is an atom, so that there is nothing to find or replace."""
    for value in args:  # a loop, because all(...) over a generator costs twice as much and this runs per task
        if type(value) not in ATOMS:
            return False
    if kwargs:
        for value in kwargs.values():
            if type(value) not in ATOMS:
                return False
    return True


def find(value: Any, futures: list[Future[Any]], files: list[File]) -> None:
    """Append the futures and files anywhere inside lists, tuples, sets, dicts and dataclasses.

    Other objects are not looked into. A structure that contains itself is looked at once.
    """
    seen: set[int] = set()
    todo = [value]
    while todo:
        item = todo.pop()
        kind = type(item)
        if kind in ATOMS:
            continue
        if isinstance(item, Future):
            futures.append(item)
        elif isinstance(item, File):
            files.append(item)
        else:
            children = _children(item)
            if children and id(item) not in seen:
                seen.add(id(item))
                todo.extend(reversed(children))


def _children(item: Any) -> list[Any]:
    if isinstance(item, (list, tuple, set, frozenset)):
        return list(item)
    if isinstance(item, dict):
        return [part for pair in item.items() for part in pair]
    if dataclasses.is_dataclass(item) and not isinstance(item, type):
        return [getattr(item, field.name) for field in dataclasses.fields(item) if hasattr(item, field.name)]
    return []


def resolve(value: Any, read: Callable[[Future[Any]], Any] = Future.result) -> Any:
    """Return `value` with each future replaced by its result; what holds no future is returned as it is.

    `read` gives a future's result: by default it waits, and raises the error of the first that failed.
    """
    return _resolve(value, set(), read)


def _resolve(value: Any, around: set[int], read: Callable[[Future[Any]], Any]) -> Any:
    kind = type(value)
    if kind in ATOMS:
        return value
    if isinstance(value, Future):
        return read(value)
    if id(value) in around:
        return value  # a structure that contains itself
    if isinstance(value, (list, tuple, set, frozenset, dict)):
        old = _children(value)
        around.add(id(value))
        new = [_resolve(item, around, read) for item in old]
        around.discard(id(value))
        return value if _same(new, old) else _rebuild(value, new)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        around.add(id(value))
        twin = _resolve_dataclass(value, around, read)
        around.discard(id(value))
        return twin
    return value


def _same(new: Sequence[Any], old: Sequence[Any]) -> bool:
    return all(a is b for a, b in zip(new, old, strict=True))


def _rebuild(old: Any, new: list[Any]) -> Any:
    if isinstance(old, dict):
        twin = copy.copy(old)
        twin.clear()
        for key, item in zip(new[::2], new[1::2], strict=True):
            twin[key] = item
        return twin
    return type(old)(*new) if hasattr(old, "_fields") else type(old)(new)


def _resolve_dataclass(value: Any, around: set[int], read: Callable[[Future[Any]], Any]) -> Any:
    changed = {}
    for field in dataclasses.fields(value):
        old = getattr(value, field.name, None)
        new = _resolve(old, around, read)
        if new is not old:
            changed[field.name] = new
    if not changed:
        return value
    twin = copy.copy(value)
    for name, new in changed.items():
        object.__setattr__(twin, name, new)  # also in frozen ones, and without running __post_init__ again
    return twin


def add_inputs(task: Task, files: Sequence[File]) -> Task:
    """Return the task with these files among its inputs, but for those that it writes."""
    written = set(task.outputs)
    inputs = (*task.inputs, *(file for file in files if file not in written))
    return task._replace(inputs=tuple(dict.fromkeys(inputs)))


def order(tasks: Sequence[Task]) -> list[int]:
    """Return the indices of `tasks` so that whoever writes a file comes before those who read it.

    Ties keep the given order. Raises `CycleError`, naming the files, when there is no such order, and
    `WorkflowError` when two tasks write the same file.
    """
    writer: dict[File, int] = {}
    for index, task in enumerate(tasks):
        for file in task.outputs:
            if writer.setdefault(file, index) != index:
                raise two_writers(file, tasks[writer[file]].name, task.name)
    parents = [{writer[file] for file in task.inputs if file in writer} for task in tasks]
    readers: list[list[int]] = [[] for _ in tasks]
    for index, needed in enumerate(parents):
        for parent in needed:
            readers[parent].append(index)
    missing = [len(needed) for needed in parents]
    ready = deque(index for index, count in enumerate(missing) if not count)
    done: list[int] = []
    while ready:
        done.append(ready.popleft())
        for reader in readers[done[-1]]:
            missing[reader] -= 1
            if not missing[reader]:
                ready.append(reader)
    if len(done) < len(tasks):
        raise CycleError(_describe_cycle(tasks, parents, writer, {i for i, count in enumerate(missing) if count}))
    return done


def _describe_cycle(
    tasks: Sequence[Task], parents: Sequence[set[int]], writer: Mapping[File, int], stuck: set[int]
) -> str:
    walk: list[int] = [min(stuck)]
    while (parent := min(parents[walk[-1]] & stuck)) not in walk:
        walk.append(parent)
    cycle = [*walk[walk.index(parent) :], parent][::-1]
    steps = []
    for before, after in itertools.pairwise(cycle):
        file = next(file for file in tasks[after].inputs if writer.get(file) == before)
        steps.append(f"{tasks[before].name} writes {file.shown}, which {tasks[after].name} reads")
    return f"these tasks wait for each other through files: {'; '.join(steps)}. Give one of them another output path"


def two_writers(file: File, first: str, second: str) -> WorkflowError:
    """The error for a file with two writers, whose order nothing decides."""
    return WorkflowError(
        f"{second} and {first} both write {file.shown}, in no defined order; give each its own path, "
        "or make one task do both"
    )
