"""What the scripts of local jobs report: their marker files, brought to the jobs as they appear."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from harmony.jobs.local.reaper import Reaper
from harmony.jobs.script import Marker, Place
from harmony.jobs.watch import Notice

if TYPE_CHECKING:
    from harmony.jobs.local.run import Run

#: How often to look where the kernel tells nothing of files.
_LOOK_EVERY = 1.0


class News:
    """Brings markers to the runs that have a place. May be used from any thread."""

    def __init__(self, reaper: Reaper) -> None:
        self._reaper = reaper
        self._lock = threading.RLock()
        self._notice: Notice | None = None
        self._runs: dict[str, Run] = {}

    def watch(self, place: Place, run: Run | None = None) -> None:
        """Hear of a place's markers from now on; `run` is told of those that are there already."""
        with self._lock:
            if self._notice is None:
                self._notice = Notice()
                if self._notice.fileno() >= 0:
                    self._reaper.read(self._notice.fileno(), self.collect)
            self._notice.add(place.news)
            if run is not None:
                self._runs[place.job_id] = run
                self._deliver(self._notice.look())
                if self._notice.fileno() < 0 and len(self._runs) == 1:
                    self._reaper.at(time.monotonic() + _LOOK_EVERY, self._look)

    def forget(self, place: Place) -> None:
        """The run of this place has ended."""
        with self._lock:
            self._runs.pop(place.job_id, None)

    def collect(self) -> None:
        """Deliver all that was reported up to now."""
        with self._lock:
            if self._notice is not None:
                names, lost = self._notice.told()
                if lost or self._notice.fileno() < 0:
                    names += self._notice.look()
                self._deliver(names)

    def close(self) -> None:
        """Hear of nothing more."""
        with self._lock:
            self._runs.clear()
            if self._notice is not None:
                self._reaper.unread(self._notice.fileno())
                self._notice.close()
                self._notice = None

    def _look(self) -> None:
        self.collect()
        if self._runs:
            self._reaper.at(time.monotonic() + _LOOK_EVERY, self._look)

    def _deliver(self, names: list[str]) -> None:
        for name in names:
            marker = Marker.parse(name)
            run = self._runs.get(marker.job_id) if marker is not None else None
            if marker is not None and run is not None:
                run.marked(marker)
