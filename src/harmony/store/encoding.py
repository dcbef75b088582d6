"""Encoding: news from the kernel as rows of the store.

This runs once for each task, so the way of a task that simply worked is short, and the rest is elsewhere. Rows of a
table lie one after another in one flat list, as the statement that writes them all takes its parameters.
"""

from __future__ import annotations

import json
import logging
import pickle
import time
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from harmony.core.future import TaskFuture
from harmony.core.graph import ATOMS
from harmony.core.journal import Attached, Entry, Started, Tried
from harmony.core.record import Record
from harmony.core.task import Call, Command, CommandResult, Join, Options, TaskState
from harmony.core.travel import dump_parts
from harmony.errors import CommandError
from harmony.store.failures import clean, failure_row, tail
from harmony.store.filestates import FileStates
from harmony.store.objects import INLINE, LARGE, Objects

_log = logging.getLogger("harmony")
_KINDS: dict[type, str] = {Call: "call", Join: "join"}  # all else is a command, or will be
#: So many options are remembered by their identity; most programs have a handful.
_MOST_OPTIONS = 10_000
_MOST_TEXTS = 100_000

#: Time of the news (monotonic), and the news.
News = tuple[float, Sequence[Entry]]


class Rows:
    """What one transaction writes. `tables` goes by the name of the statement, without ``add_``."""

    def __init__(self) -> None:
        self.tables: defaultdict[str, list[Any]] = defaultdict(list)
        self.texts: dict[str, int] = {}
        self.shapes: dict[str, int] = {}
        self.tasks = 0
        self.unkept = 0  # results that are files, and could not be written
        self.undone: list[int] = []  # tasks that were written as running, and will be tried again
        self.detached: list[bytes] = []
        self.told: Sequence[Any] = ()
        self.ended: Sequence[Any] = ()


class Encoder:
    """Makes the rows of one run, whose times count from `zero`. Used by one thread at a time."""

    def __init__(self, run: int, zero: float, objects: Objects, files: FileStates) -> None:
        self._run = run
        self._zero = zero
        self._objects = objects
        self._files = files
        self._texts = _Texts(self)
        self._shapes: dict[int, tuple[Options, int]] = {}
        self._shown: set[int] = set()  # tasks that were written as running
        self._tried_before: dict[int, tuple[int, float]] = {}  # task → attempts that another followed, their seconds
        self._attached: set[bytes] = set()
        self._events = 0
        self._unkept: set[str] = set()
        self.rows = Rows()
        self._worked = self.rows.tables["worked"].extend
        self.recalled = 0
        self.lost_objects: list[OSError] = []

    def attached(self, keys: Sequence[bytes]) -> None:
        """Note what earlier drivers left: it is dropped when a task of that content ends."""
        self._attached.update(keys)

    def encode(self, news: Sequence[News]) -> Rows:
        """Return the rows of this news."""
        rows = self.rows = Rows()
        self._worked = rows.tables["worked"].extend
        running: dict[int, Started] = {}
        for at, entries in news:
            now = at - self._zero
            for entry in entries:
                try:
                    if type(entry) is Record:
                        if running:
                            running.pop(entry.id, None)
                        self._end(entry, now)
                    elif isinstance(entry, Started):
                        running[entry.record.id] = entry
                    elif isinstance(entry, Tried):
                        running.pop(entry.record.id, None)
                        self._tried(entry)
                    elif isinstance(entry, Attached):
                        self._attach(entry)
                except Exception:  # noqa: BLE001  one task that cannot be written must not cost the others
                    id = (entry if isinstance(entry, Record) else entry.record).id
                    _log.exception("a fault inside Harmony, please report it: task %d is not recorded", id)
        for started in running.values():
            self._started(started)
        rows.tables["digest"] += self._files.news()
        return rows

    def note(self, kind: str, subject: str, at: float, monotonic: float, data: Any) -> None:
        """Add an event to the rows that were encoded last."""
        self._events += 1
        text = json.dumps(data, default=str)
        self.rows.tables["event"] += (self._events, kind, clean(subject), at, monotonic - self._zero, text)

    # -- the short way ---------------------------------------------------------------------------------

    def _end(self, record: Record, now: float) -> None:
        future, options, key = record.future, record.options, record.key
        if (
            future._exception is not None
            or record.failures
            or record.losses
            or record.origin is not None
            or type(record.work) is not Call
            or record.id in self._shown
        ):
            self._end_otherwise(record, now)
        else:
            texts, seconds, began, usage = self._texts, future.seconds, record.started, record.usage
            started = now - seconds  # of a short one it is only heard that it has ended
            if began is not None and began - self._zero < started:
                started = began - self._zero
            known = self._shapes.get(id(options))
            row = (
                record.id, texts[record.name], known[1] if known is not None else self._shape(options), key,
                record.accepted - self._zero, started, now, seconds, texts[record.engine], texts[future.place],
                record.path, None if key is None else self._remember(record),
            )  # fmt: skip
            if usage is None:
                self._worked(row)
            else:
                self.rows.tables["measured"] += (*usage, *row)
            if record.parents or future.stdout or record.inputs or record.outputs:
                self._more(record)
        if self._attached and key in self._attached:
            self._attached.discard(key)
            self.rows.detached.append(key)

    def _remember(self, record: Record) -> bytes | None:
        """Keep the result; return it pickled where it is kept with the task's row."""
        result, data, cache = record.future._result, record.data, record.options.cache
        has_files = record.outputs or record.paths
        if result is None and cache == "run" and not has_files:
            return _NONE
        if cache == "never":
            return None
        buffers: Sequence[memoryview] = ()
        if data is None:
            if type(result) in ATOMS:
                data = pickle.dumps(result, 5)
            else:
                try:
                    data, buffers = dump_parts(result, LARGE)
                except Exception as error:  # noqa: BLE001  whatever a __reduce__ raises
                    self._cannot_keep(record, error)
                    return None
        size, digest = len(data), None
        value: bytes | None = data
        if buffers or size > INLINE:
            try:
                digest = self._objects.save(data, buffers)
            except OSError as error:
                self.lost_objects.append(error)
                return None
            size += sum(buffer.nbytes for buffer in buffers)
            value = None
        files = self._files.promise(record.outputs, record.paths) if has_files else None
        if digest is None and files is None and cache == "run":
            return value
        table = "memo" if cache == "always" else "recent"
        self.rows.tables[table] += (record.key, record.id, value, digest, size, files)
        return None

    # -- the rest ----------------------------------------------------------------------------------------

    def _end_otherwise(self, record: Record, now: float) -> None:
        error, origin, is_join = record.future._exception, record.origin, isinstance(record.work, Join)
        self._shown.discard(record.id)
        tries, spent = self._tried_before.pop(record.id, (0, 0.0))
        seconds = record.future.seconds
        works = error is None and origin is None
        ended_itself = works or record.failures + record.losses > tries
        started = None if record.started is None else record.started - self._zero
        if ended_itself and not is_join:
            latest = now - (seconds - spent)
            started = latest if started is None else min(started, latest)
        if works and record.key is not None and not is_join:
            value = self._remember(record)
            if value is not None:
                self.rows.tables["kept"] += (record.key, record.id, value, len(value))
        if error is None and origin is not None:
            self.recalled += origin[0] != self._run
        attempts = tries + (ended_itself or started is not None)
        times = (started, now, seconds)
        rest = (attempts, record.path, *(origin or (None, None)))
        self._task(record, record.state, times, record.usage or _UNKNOWN, *rest)
        if error is not None and record.state is TaskState.FAILED:
            self.rows.tables["failure"] += failure_row(record, tries + 1, error)
        self._more(record)

    def _task(
        self,
        record: Record,
        state: TaskState,
        times: tuple[float | None, float | None, float],
        usage: Sequence[Any],
        *rest: Any,
    ) -> None:
        texts, options = self._texts, record.options
        known = self._shapes.get(id(options))
        self.rows.tables["task"] += (
            record.id, texts[record.name], _KINDS.get(type(record.work), "command"),
            known[1] if known is not None else self._shape(options), int(state), record.key,
            record.accepted - self._zero, *times, *usage, texts[record.engine], texts[record.future.place], *rest,
        )  # fmt: skip

    def _shape(self, options: Options) -> int:
        text = shape_of(options)
        number = number_of(text)
        self.rows.shapes[text] = number
        if len(self._shapes) >= _MOST_OPTIONS:
            self._shapes.clear()
        self._shapes[id(options)] = (options, number)  # which keeps it, and so its id, from being another's
        return number

    def _cannot_keep(self, record: Record, error: Exception) -> None:
        reason = f"{type(error).__name__}: {error}"
        data = {"name": clean(record.name), "reason": clean(reason)}
        self.note("task.unkept", str(record.id), time.time(), time.monotonic(), data)
        if record.name not in self._unkept:
            self._unkept.add(record.name)
            _log.warning(
                "what %s returns cannot be pickled, so a resumed run will run it again: %s. "
                "Give cache='never' if that is meant",
                record.name,
                reason,
            )

    def _more(self, record: Record) -> None:
        tables, future, id = self.rows.tables, record.future, record.id
        result, error = future._result, future._exception
        for parent in record.parents:
            if isinstance(parent, TaskFuture) and parent.owner is future.owner:
                tables["edge"] += (id, parent.id)
        if isinstance(record.work, Command):
            tables["command"] += (id, clean(str(record.work)))
        if record.inputs or record.outputs:
            self._files_of(record, ended_well=error is None)
        stdout, stderr = future.stdout, ""
        if isinstance(result, CommandResult):
            stdout, stderr = stdout + result.stdout, result.stderr
        if isinstance(error, CommandError) and record.state is TaskState.FAILED:
            stderr = error.stderr
        if stdout or stderr:
            tables["output"] += (id, tail(stdout), tail(stderr))

    def _files_of(self, record: Record, *, ended_well: bool) -> None:
        rows: list[Any] = self.rows.tables["file"]
        if record.origin is None and (ended_well or record.failures):
            for file in record.inputs:
                rows += (record.id, "input", clean(str(file)), *self._files.state(str(file)))
        if ended_well:
            for path in record.outputs:
                rows += (record.id, "output", clean(path), *self._files.state(path))

    def _started(self, entry: Started) -> None:
        record = entry.record
        self._shown.add(record.id)
        times = (entry.at - self._zero, None, record.future.seconds)
        attempts = record.failures + record.losses + 1
        self._task(record, TaskState.RUNNING, times, _UNKNOWN, attempts, None, None, None)

    def _tried(self, entry: Tried) -> None:
        record, number, error, place, at, seconds = entry
        ended = at - self._zero
        started = ended - seconds
        self.rows.tables["attempt"] += (
            record.id, number, self._texts[record.engine], self._texts[place], started, ended, seconds,
        )  # fmt: skip
        self.rows.tables["failure"] += failure_row(record, number, error)
        tries, spent = self._tried_before.get(record.id, (0, 0.0))
        self._tried_before[record.id] = tries + 1, spent + seconds
        if record.id in self._shown:
            self._shown.discard(record.id)
            self.rows.undone.append(record.id)

    def _attach(self, entry: Attached) -> None:
        record, handle = entry
        if record.key is not None:
            self._attached.add(record.key)
            self.rows.tables["attachment"] += (record.key, record.id, record.engine, handle)


class _Texts(dict[str, "int | None"]):
    """The numbers of texts; one that is asked for the first time is a new row."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder

    def __missing__(self, text: str) -> int | None:
        if len(self) >= _MOST_TEXTS:
            self.clear()
        shown = clean(text)
        number = self[text] = number_of(shown) if text else None
        if number is not None:
            self._encoder.rows.texts[shown] = number
        return number


_UNKNOWN = (None, None, None, None)
_NONE = pickle.dumps(None, 5)


def number_of(text: str) -> int:
    """Return the number by which a text is known in the store: the same in every process, without asking."""
    from xxhash import xxh3_64_intdigest

    return (xxh3_64_intdigest(text.encode()) & (1 << 47) - 1) or 1


def shape_of(options: Options) -> str:
    """Return what a task asks for, as JSON."""
    resources = options.resources
    asked = {
        name: value
        for name in resources.__dataclass_fields__
        if (value := getattr(resources, name)) != resources.__dataclass_fields__[name].default
    }
    return clean(
        json.dumps(
            {
                "resources": asked, "walltime": options.walltime, "retries": options.retry.times,
                "environment": dict(options.environment), "directory": options.directory, "cache": options.cache,
            },
            default=str,
        )
    )  # fmt: skip
