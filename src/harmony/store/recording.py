"""Recording: one workflow's run in its store, from its start to its end."""

from __future__ import annotations

import collections
import logging
import os
import sys
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from harmony.core.report import Counts, Report
from harmony.events import REPORTED
from harmony.store import locate

if TYPE_CHECKING:
    from harmony.store.journal import StoreJournal
    from harmony.store.opened import Store

_log = logging.getLogger("harmony")

#: Kinds of events that are kept as they come; those of tasks are rows of their own.
KEPT = REPORTED

#: How many workflows of a name this process has opened in a store; at a prompt, how many are open.
_opened: collections.Counter[tuple[str, str]] = collections.Counter()
_counting = threading.Lock()


class Recording:
    """See the module. `journal` is for the kernel; `root` is where relative paths begin."""

    def __init__(self, store: Store, journal: StoreJournal, root: str, release: Callable[[], None]) -> None:
        self._store = store
        self.journal = journal
        self.root = root
        self._release = release

    def close(self, state: str, report: Report) -> None:
        """Write how the run has ended, and let go of the store. Idempotent."""
        try:
            self.journal.finish(state, report)
            self.journal.close()
        finally:
            self._store.close()
            self._release()


def record(
    asked: bool | str | os.PathLike[str],
    *,
    workflow: str,
    engines: Sequence[str],
    cores: int,
    counts: Callable[[], Counts],
    fresh: bool,
    threaded: bool,
) -> Recording | None:
    """Begin to record a run; None where none is wanted, or the default place cannot be written.

    Raises `StoreError` when a place that was asked for cannot be used, a store that is there is not sound, or
    another driver holds the run.
    """
    place = locate.locate(asked)
    if place is None:
        return None
    if not place.is_chosen and not _can_be_made(place):
        _log.warning(
            "%s cannot be written, so workflow %r is not recorded and cannot be resumed; name another place: "
            "Workflow(store=PATH) or %s=PATH, or %s=none",
            place.root, workflow, locate.VARIABLE, locate.VARIABLE,
        )  # fmt: skip
        return None
    from harmony.store.opened import Beginning, Store  # whoever records nothing saves it

    name = (place.directory, workflow)
    with _counting:
        _opened[name] += 1
        ordinal = _opened[name]

    def release() -> None:
        if place.program == locate.INTERACTIVE:  # there, the same cell is run again and again
            with _counting:
                _opened[name] -= 1

    store = Store(place.directory)
    try:
        beginning = Beginning(
            program=place.program, workflow=workflow, ordinal=ordinal, argv=list(sys.argv), engines=list(engines),
            cores=cores, root=place.root,
        )  # fmt: skip
        journal = store.begin(beginning, counts=counts, fresh=fresh, threaded=threaded)
        return Recording(store, journal, place.root, release)
    except BaseException:
        store.close()
        release()
        raise


def _can_be_made(place: locate.Place) -> bool:
    return os.path.isdir(place.directory) or os.access(place.root, os.W_OK | os.X_OK)
