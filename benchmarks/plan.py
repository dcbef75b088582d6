"""What is measured in a run, and in which order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from benchmarks.measures import MEASURES
from benchmarks.programs import PROGRAMS
from benchmarks.systems import system as make

Take = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Plan:
    """Systems and measures, in the order of the tables.

    `most` bounds the number of tasks. A quick run gives slow systems and long measures one round only, and takes
    most measures of a system in one process; a full run starts a process for each, so that neighbours in time are
    the same measure.
    """

    systems: Sequence[str]
    measures: Sequence[str]
    rounds: int
    quick: bool = False
    most: int | None = None

    def systems_of(self, round: int) -> list[str]:
        """Who takes part in a round."""
        return [name for name in self.systems if not self.quick or round == 0 or make(name).pace == 1]

    def programs(self, round: int) -> Iterator[tuple[str, str]]:
        """Measures of whole programs, each with a system."""
        for name in self.measures:
            if name in PROGRAMS:
                yield from ((name, system) for system in self.systems_of(round) if make(system).program)

    def sessions(self, round: int) -> Iterator[tuple[str, list[Take]]]:
        """Each is one process."""
        takes = {system: self._takes(system) for system in self.systems_of(round)}
        if self.quick:
            for system, wanted in takes.items():
                together = [take for take in wanted if not MEASURES[take[0]].alone]
                if together:
                    yield system, together
        for name in self.measures:
            if self.quick and (round > 0 or name not in MEASURES or not MEASURES[name].alone):
                continue
            for system, wanted in takes.items():
                yield from ((system, [take]) for take in wanted if take[0] == name)

    def _takes(self, system: str) -> list[Take]:
        able = make(system).measures
        return [
            (name, count)
            for name in self.measures
            if name in MEASURES
            and (able is None or name in able)
            and (not MEASURES[name].only or system in MEASURES[name].only)
            for count in self._counts(name, make(system).pace)
        ]

    def _counts(self, name: str, pace: float) -> list[int]:
        measure = MEASURES[name]
        counts = measure.quick if self.quick else measure.full
        if measure.paced:
            counts = tuple(int(count * pace) for count in counts)
        return sorted({min(count, self.most or count) for count in counts})
