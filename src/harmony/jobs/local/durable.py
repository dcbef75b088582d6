"""Jobs that another program can find: which process each is, in a file beside its script."""

from __future__ import annotations

import contextlib
import glob
import os
from collections.abc import Iterator
from pathlib import Path

from harmony.jobs.local.tree import Member, look
from harmony.jobs.script import Place


def _path(place: Place) -> str:
    return os.path.join(place.directory, f"{place.job_id}.pid")


def note(place: Place, pid: int) -> None:
    """Keep which process the job is. What cannot be kept only makes the job harder to find."""
    member = look(pid)
    if member is not None:
        with contextlib.suppress(OSError), open(_path(place), "w", encoding="ascii") as file:
            file.write(f"{pid} {member.started}")


def forget(place: Place) -> None:
    """The job has ended."""
    with contextlib.suppress(OSError):
        os.unlink(_path(place))


def process(place: Place) -> Member | None:
    """Return the job's process, if it lives."""
    try:
        with open(_path(place), encoding="ascii") as file:
            pid, started = map(int, file.read().split())
    except (OSError, ValueError):
        return None
    member = look(pid)
    return member if member is not None and member.started == started else None


def places(folder: Path) -> Iterator[Place]:
    """Every job of a script that has not been seen to end, below an executor's part of the work directory."""
    for path in glob.glob(os.path.join(glob.escape(str(folder)), "*", "*.pid")):
        yield Place(os.path.dirname(path), os.path.basename(path)[: -len(".pid")])


def running(folder: Path) -> list[int]:
    """The process ids of the jobs that run."""
    return [member.pid for place in places(folder) if (member := process(place)) is not None]


def find(folder: Path, pid: int) -> Place | None:
    """Return the place of the running job of that process."""
    for place in places(folder):
        member = process(place)
        if member is not None and member.pid == pid:
            return place
    return None
