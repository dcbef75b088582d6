"""Memo: finds out, before a task is run, whether its result is known already. Used in the kernel's loop only.

A task is known by its content (`identity`). What takes long, such as reading files to know it or loading a large
result, is a call that the driver makes meanwhile; its answer is given back by `answer`, and `look` is asked again.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

from harmony.core.identity import Identifier, TooMuch
from harmony.core.journal import Found, Journal, PathState, StaleError
from harmony.core.record import Known, Record, Same
from harmony.core.scribe import seal
from harmony.core.task import Call, Command

_log = logging.getLogger("harmony")
#: So many bytes of arguments are read in the loop; more, by the driver.
_QUICK = 1 << 18


class _Content(NamedTuple):
    content: bytes
    paths: tuple[PathState, ...]


class _Loaded(NamedTuple):
    found: Found
    value: Any


class Memo:
    """See the module. `root` is where relative paths begin; `reattachable` names engines that take tasks up again."""

    def __init__(self, journal: Journal, root: str, reattachable: Collection[str]) -> None:
        self._journal = journal
        self._identifier = Identifier(root, journal.digests, journal.campaign)
        self._reattachable = reattachable
        self._calls: dict[bytes, int] = {}
        self._flying: dict[bytes, Record] = {}
        self._answers: dict[int, _Content | _Loaded | Exception] = {}
        self._told: set[str] = set()

    def look(self, record: Record) -> Known | Same | Call | None:
        """Return what is known of a task that could run now; a call to be made first; or None: it has to run."""
        if record.key is None and not (record.inputs or record.outputs or self._answers):
            content = self._identifier.quick(record.work, record.options)
            if content is not None:
                return self._find(record, content)
        return self._look_closely(record)

    def _look_closely(self, record: Record) -> Known | Same | Call | None:
        if record.options.cache == "never":
            return None
        answer = self._answers.pop(record.id, None) if self._answers else None
        if record.key is None:
            try:
                found = answer if answer is not None else self._identify(record, _QUICK)
            except TooMuch:
                return Call(self._identify, (record, None))
            if not isinstance(found, _Content):
                self._give_up(record, found)
                return None
            record.paths = found.paths
            return self._find(record, found.content)
        if isinstance(answer, _Loaded):
            record.origin = (answer.found.run, answer.found.task)
            return Known(answer.value)
        record.handle = None  # what was found is stale; or this is another attempt, not what was left running
        return None

    def answer(self, record: Record, answer: Any) -> None:
        """Take what the call has returned that `look` had asked for."""
        self._answers[record.id] = answer

    def landed(self, ended: Sequence[Record]) -> None:
        """Note that the journal has what these tasks came to, so that it will be found there."""
        if self._flying:
            for record in ended:
                if record.key is not None and self._flying.get(record.key) is record:
                    del self._flying[record.key]

    def is_earlier(self, run: int) -> bool:
        """True for another run than this."""
        return run != self._journal.run_id

    def _find(self, record: Record, content: bytes) -> Known | Same | Call | None:
        if record.options.cache == "run":
            number = self._calls.get(content, 0)
            self._calls[content] = number + 1
            key = record.key = content if not number else seal("again", [content, number])
        else:
            key = record.key = content
            other = self._flying.get(key)
            if other is not None:
                record.origin = (self._journal.run_id, other.id)
                return Same(other.future)
        found = self._journal.find(key)
        if found is not None and found.value is not None and found.files is None:
            loaded = self._load(found)
            if isinstance(loaded, _Loaded):
                record.origin = (found.run, found.task)
                return Known(loaded.value)
            found = None
        if record.options.cache == "always":
            self._flying[key] = record
        if found is not None:
            return Call(self._load, (found,))
        if record.engine in self._reattachable:
            record.handle = self._journal.handle(key, record.engine)
        return None

    def _load(self, found: Found) -> _Loaded | Exception:
        try:
            return _Loaded(found, self._journal.load(found))
        except StaleError as error:
            return error

    def _identify(self, record: Record, limit: int | None) -> _Content | Exception:
        work = record.work
        assert isinstance(work, (Call, Command))
        try:
            return _Content(
                *self._identifier.identify(work, record.options, record.inputs, record.outputs, limit=limit)
            )
        except TooMuch:
            raise
        except Exception as error:  # noqa: BLE001  Unidentified; or whatever a user's own __reduce__ raises
            return error

    def _give_up(self, record: Record, why: object) -> None:
        if record.name not in self._told:
            self._told.add(record.name)
            _log.warning(
                "%s has no content by which its result could be known again, so a resumed run will run it again: %s. "
                "Give cache='never' if that is meant, or register_content() for the type",
                record.name,
                why,
            )
