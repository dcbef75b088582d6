"""Pace: how fast tasks end, and so how long the rest will take. Pure."""

from __future__ import annotations

from collections import deque

#: The rate is taken over the last so many seconds, or over the last so many tasks where that is longer.
WINDOW = 10.0
ENOUGH = 20


class Pace:
    """The rate at which tasks ended lately. Times are seconds on any clock that only goes forward."""

    def __init__(self, began: float) -> None:
        self._samples = deque([(began, 0)])
        self._now = began

    def note(self, now: float, ended: int) -> None:
        """`ended` tasks in all had ended at the time `now`."""
        self._now = now
        samples = self._samples
        if ended != samples[-1][1]:
            samples.append((now, ended))
        while len(samples) > 1 and now - samples[1][0] >= WINDOW and ended - samples[1][1] >= ENOUGH:
            samples.popleft()

    @property
    def rate(self) -> float:
        """Tasks per second."""
        time, ended = self._samples[0]
        return (self._samples[-1][1] - ended) / (self._now - time) if self._now > time else 0.0

    def left(self, tasks: int) -> float | None:
        """Seconds until so many more tasks have ended; None while none has."""
        if not tasks:
            return 0.0
        return tasks / self.rate if self.rate else None


def clock(seconds: float | None) -> str:
    """Return a duration for people: ``1:05``, ``2:00:00``, ``3d 04:00:00``, or ``-:--`` when it is not known."""
    if seconds is None:
        return "-:--"
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    if not hours:
        return f"{minute}:{second:02}"
    days, hour = divmod(hours, 24)
    return f"{days}d {hour:02}:{minute:02}:{second:02}" if days else f"{hour}:{minute:02}:{second:02}"
