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
from harmony.core.journal import Attached, Ended, Entry, Started, Tried
from harmony.core.record import Record
from harmony.core.task import Call, Command, CommandResult, Join, Options, TaskState
from harmony.core.travel import dump_parts
from harmony.errors import CommandError
from harmony.store.failures import clean, failure_row, tail
from harmony.store.filestates import FileStates
from harmony.store.objects import INLINE, LARGE, Objects

_log = logging.getLogger("harmony")
_DONE = TaskState.DONE
_RUNNING = int(TaskState.RUNNING)
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
        self.worked = self.tables["worked"]
        self.kept = self.tables["kept"]
        self.texts: dict[str, int] = {}
        self.shapes: dict[str, int] = {}
        self.undone: list[int] = []  # tasks that were written as running, and will be tried again
        self.detached: list[bytes] = []
        self.told: Sequence[Any] = ()
        self.ended: Sequence[Any] = ()
        self.tasks = 0


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
        self._attached: set[bytes] = set()
        self._events = 0
        self._unkept: set[str] = set()
        self.rows = Rows()
        self.recalled = 0
        self.lost_objects: OSError | None = None

    def attached(self, keys: Sequence[bytes]) -> None:
        """Note what earlier drivers left: it is dropped when a task of that content ends."""
        self._attached.update(keys)

    def encode(self, news: Sequence[News]) -> Rows:
        """Return the rows of this news."""
        rows = self.rows = Rows()
        running: dict[int, Started] = {}
        for at, entries in news:
            now = at - self._zero
            for entry in entries:
                try:
                    if type(entry) is Ended:
                        rows.tasks += 1
                        running.pop(entry[0].id, None)
                        self._end(entry, now)
                    elif type(entry) is Started:
                        running[entry.record.id] = entry
                    elif type(entry) is Tried:
                        running.pop(entry.record.id, None)
                        self._tried(entry)
                    elif type(entry) is Attached:
                        self._attach(entry)
                except Exception:  # noqa: BLE001  one task that cannot be written must not cost the others
                    _log.exception("a fault inside Harmony, please report it: task %d is not recorded", entry[0].id)
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

    def _end(self, entry: Ended, now: float) -> None:
        record, result, error, data = entry
        future, options, key, started = record.future, record.options, record.key, record.started
        if started is not None:
            started -= self._zero
        has_more = record.failures or record.losses or record.origin is not None or error is not None
        if has_more or type(record.work) is not Call:
            self._end_otherwise(entry, started, now)
        else:
            seconds = future.seconds
            if started is not None and now - started < seconds:  # both were heard of late, and together
                started = now - seconds
            known = self._shapes.get(id(options))
            texts, usage = self._texts, record.usage
            common = (
                record.id, texts[record.name], known[1] if known is not None else self._shape(options), key,
                record.accepted - self._zero, started, now, seconds, texts[record.engine], texts[future.place],
                record.path,
            )  # fmt: skip
            if usage is None:
                self.rows.worked += common
            else:
                self.rows.tables["measured"] += (*common, *usage)
            if key is not None and options.cache != "never":
                self._remember(entry, result, data)
            if record.parents or future.stdout or record.inputs or record.outputs:
                self._more(entry)
        if self._shown:
            self._shown.discard(record.id)
        if self._attached and key in self._attached:
            self._attached.discard(key)
            self.rows.detached.append(key)

    def _end_otherwise(self, entry: Ended, started: float | None, now: float) -> None:
        record, result, error, data = entry
        key, options, seconds = record.key, record.options, record.future.seconds
        origin: tuple[int | None, int | None] = record.origin or (None, None)
        attempts = record.failures + record.losses
        if error is None and record.origin is None:
            attempts += 1
            if key is not None and options.cache != "never" and not isinstance(record.work, Join):
                self._remember(entry, result, data)
        elif error is None:
            self.recalled += 1
        if started is not None and attempts == 1 and now - started < seconds:
            started = now - seconds
        self._task(
            record, int(record.state), (started, now, seconds), record.usage or _UNKNOWN, attempts, record.path, *origin
        )
        self._more(entry)

    def _task(
        self,
        record: Record,
        state: int,
        times: tuple[float | None, float | None, float],
        usage: Sequence[Any],
        attempts: int,
        *rest: Any,
    ) -> None:
        texts, options = self._texts, record.options
        known = self._shapes.get(id(options))
        self.rows.tables["task"] += (
            record.id, texts[record.name], _KINDS.get(type(record.work), "command"),
            known[1] if known is not None else self._shape(options), state, record.key, record.accepted - self._zero,
            *times, *usage, texts[record.engine], texts[record.future.place], attempts, *rest,
        )  # fmt: skip

    def _shape(self, options: Options) -> int:
        text = shape_of(options)
        number = number_of(text)
        self.rows.shapes[text] = number
        if len(self._shapes) >= _MOST_OPTIONS:
            self._shapes.clear()
        self._shapes[id(options)] = (options, number)  # which keeps it, and so its id, from being another's
        return number

    def _remember(self, entry: Ended, result: Any, data: bytes | None) -> None:
        record = entry.record
        buffers: Sequence[memoryview] = ()
        if data is None:
            if type(result) in ATOMS:
                data = pickle.dumps(result, 5)
            else:
                try:
                    data, buffers = dump_parts(result, LARGE)
                except Exception as error:  # noqa: BLE001  whatever a __reduce__ raises
                    self._cannot_keep(record, error)
                    return
        size, digest, files = len(data), None, None
        value: bytes | None = data
        if buffers or size > INLINE:
            try:
                digest = self._objects.save(data, buffers)
            except OSError as error:
                self.lost_objects = error
                return
            size += sum(buffer.nbytes for buffer in buffers)
            value = None
        if record.outputs or record.paths:
            files = self._files.promise(record.outputs, record.paths)
        if record.options.cache == "always":
            self.rows.tables["memo"] += (record.key, record.id, value, digest, size, files)
        elif digest is None and files is None:
            self.rows.kept += (record.key, record.id, value, size)
        else:
            self.rows.tables["recent"] += (record.key, record.id, value, digest, size, files)

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

    # -- the rest ----------------------------------------------------------------------------------------

    def _more(self, entry: Ended) -> None:
        record, result, error, _ = entry
        tables, future, id = self.rows.tables, record.future, record.id
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
        if error is not None and record.state is TaskState.FAILED:
            if isinstance(error, CommandError):
                stderr = error.stderr
            tables["failure"] += failure_row(record, max(1, record.failures + record.losses), error)
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
        self._task(record, _RUNNING, times, _UNKNOWN, attempts, None, None, None)

    def _tried(self, entry: Tried) -> None:
        record, number, error, place, at, seconds = entry
        ended = at - self._zero
        started = ended - seconds
        self.rows.tables["attempt"] += (
            record.id, number, self._texts[record.engine], self._texts[place], started, ended, seconds,
        )  # fmt: skip
        self.rows.tables["failure"] += failure_row(record, number, error)
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
