"""What the scripts of local jobs report: their marker files, brought to the jobs as they appear."""

from __future__ import annotations

import contextlib
import os
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
        self._runs: dict[str, list[Run]] = {}
        self._own: set[str] = set()
        self._unclaimed: dict[str, list[Marker]] = {}  # the script was quicker than who started it

    def own(self, directory: str) -> None:
        """Hear of the markers in a directory whose jobs will all be followed here."""
        with self._lock:
            self._own.add(directory)
            self._add(directory)

    def follow(self, place: Place, run: Run) -> None:
        """Tell a run of its markers: of those that are there, and of those to come."""
        with self._lock:
            if place.directory in self._own:
                self._runs.setdefault(place.job_id, []).append(run)
                markers = self._unclaimed.pop(place.job_id, [])
            else:
                self._add(place.directory)
                self._runs.setdefault(place.job_id, []).append(run)
                markers = reported(place)
            for marker in markers:
                run.marked(marker)
            if len(self._runs) == 1 and self._notice is not None and self._notice.fileno() < 0:
                self._reaper.at(time.monotonic() + _LOOK_EVERY, self._look)

    def forget(self, place: Place, run: Run) -> None:
        """The run of this place has ended."""
        with self._lock:
            runs = self._runs.get(place.job_id, [])
            if run in runs:
                runs.remove(run)
                if not runs:
                    del self._runs[place.job_id]

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

    def _add(self, directory: str) -> None:
        if self._notice is None:
            self._notice = Notice()
            if self._notice.fileno() >= 0:
                self._reaper.read(self._notice.fileno(), self.collect)
        self._notice.add(Place(directory, "").news)

    def _look(self) -> None:
        self.collect()
        if self._runs:
            self._reaper.at(time.monotonic() + _LOOK_EVERY, self._look)

    def _deliver(self, names: list[str]) -> None:
        for name in names:
            marker = Marker.parse(name)
            if marker is None:
                continue
            runs = self._runs.get(marker.job_id)
            if runs is None:
                self._unclaimed.setdefault(marker.job_id, []).append(marker)
            for run in list(runs or ()):
                run.marked(marker)


def reported(place: Place) -> list[Marker]:
    """What a job's script has reported last, as the files tell."""
    found = []
    for directory in (place.news, os.path.join(place.directory, "ended")):
        with contextlib.suppress(OSError):
            names = [name for name in os.listdir(directory) if name.startswith(f"{place.job_id}.")]
            found += [marker for name in names if (marker := Marker.parse(name)) is not None]
    return found
