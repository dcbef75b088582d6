"""How the emulated PBS family writes lists: ranges of an array's indices, settings, and what qstat shows as one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from harmony.conformance.emulators.model import Job, State


@dataclass(frozen=True)
class Entry:
    """What qstat shows as one: a job, a task, or a whole array job."""

    jobs: Sequence[Job]
    array: bool = False

    @property
    def job(self) -> Job:
        """The job, or the array's first task."""
        return self.jobs[0]

    def name(self, server: str) -> str:
        """Its id."""
        return f"{self.job.number}[].{server}" if self.array else self.job.id

    @property
    def over(self) -> bool:
        """Whether all of it has ended."""
        return all(job.state is State.ENDED for job in self.jobs)


def indices(text: str) -> list[int]:
    """The numbers of ``1,4-9:2``. Raises `ValueError`."""
    found: list[int] = []
    for part in text.split(","):
        span, _, step = part.partition(":")
        first, _, last = span.partition("-")
        numbers = range(int(first), int(last or first) + 1, int(step or 1))
        if not numbers:
            raise ValueError(part)
        found += numbers
    return found


def pairs(text: str) -> dict[str, str | None]:
    """The settings of ``a=1,b="x,y",c``: a comma within quotes, or before what has no ``=``-name, does not separate."""
    found: dict[str, str | None] = {}
    last = ""
    for match in re.finditer(r"""((?:"[^"]*"|'[^']*'|\\.|[^,"'\\])+)""", text):
        name, equals, value = match[1].partition("=")
        if last == "depend" and ":" in name and not equals:
            found[last] = f"{found[last]},{name}"
            continue
        plain = re.sub(r"\\(.)", r"\1", value)
        found[name] = (
            (plain[1:-1] if plain[:1] in ("'", '"') and plain[-1:] == plain[:1] else plain) if equals else None
        )
        last = name
    return found
