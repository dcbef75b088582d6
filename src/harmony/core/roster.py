"""Roster: the engines of a kernel, by name; what one of them raises harms neither the loop nor the others."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

from harmony.core.engine import Capability, Engine, Notice, Report, Submission, Update
from harmony.core.record import DRIVER
from harmony.core.task import TaskState
from harmony.errors import EngineFailed

_log = logging.getLogger("harmony")


class Roster:
    """See the module. Engines are started, and closed, in the order given."""

    def __init__(self, engines: Mapping[str, Engine], report: Report) -> None:
        self._engines = engines
        self._report = report

    def able(self, capability: Capability) -> frozenset[str]:
        """The names of those that have it."""
        return frozenset(name for name, engine in self._engines.items() if capability in engine.capabilities)

    def start(self) -> None:
        """Start all. When one cannot start, those before it are closed again."""
        started = []
        try:
            for name, engine in self._engines.items():
                engine.start(self._report)
                started.append(engine)
                self._tell(name, "engine.started", kind=type(engine).__name__)
        except BaseException:
            for engine in reversed(started):
                engine.close()
            raise

    def submit(self, name: str, batch: Sequence[Submission]) -> None:
        """Give an engine work; when it does not take it, that is reported for each task."""
        try:
            self._engines[name].submit(batch)
        except Exception as error:  # noqa: BLE001  an engine, or a fault of ours: all waiting futures must end
            _log.exception("engine %r failed to take %d tasks", name, len(batch))
            failure = EngineFailed(f"engine {name!r} failed to take work: {error!r}")
            failure.__cause__ = error
            self._report([Update(submission.id, TaskState.FAILED, error=failure) for submission in batch])

    def cancel(self, name: str, ids: Sequence[int]) -> None:
        """Have an engine end tasks."""
        try:
            self._engines[name].cancel(ids)
        except Exception:  # noqa: BLE001  it is an engine's, and the tasks are cancelled for the user all the same
            _log.exception("engine %r failed to cancel %d tasks", name, len(ids))

    def close(self) -> Exception | None:
        """Close all, whatever one of them raises; return the first of that."""
        failures = []
        for name, engine in self._engines.items():
            try:
                engine.close()
                self._tell(name, "engine.closed")
            except Exception as error:  # noqa: BLE001  the others, and our own threads, are closed all the same
                failures.append(error)
        return failures[0] if failures else None

    def _tell(self, name: str, what: str, **more: str) -> None:
        if name != DRIVER:
            self._report([Notice(0, what, name, {"engine": name, **more})])
