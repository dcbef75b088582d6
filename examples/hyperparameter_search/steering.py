"""Decides what to try next: asynchronous successive halving that narrows around the best candidates.

Every candidate starts with one epoch. The best third of those so far is trained three times as long,
the best third of these again; the others are not continued (Li et al., "A System for Massively Parallel
Hyperparameter Tuning", MLSys 2020). New candidates are drawn near the best ones, some anywhere.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from network import Candidate, Trial

RUNGS = (1, 3, 9, 27)  # epochs
LONGEST = RUNGS[-1]
KEEP = 3  # one in three goes on
FIRST = 12  # candidates drawn anywhere before any is drawn near the best
ANYWHERE = 0.2  # the share of the later ones that are still drawn anywhere
STEP = 0.15  # how near is near, as a share of each range

#: The ranges to search, all of them by order of magnitude.
LOW = np.log([1e-5, 1e-6, 8, 1, 16])
HIGH = np.log([1.0, 10.0, 128, 4, 256])


def candidate_at(place: np.ndarray) -> Candidate:
    """Return the candidate at a place in the unit cube."""
    rate, penalty, width, layers, batch = np.exp(LOW + place * (HIGH - LOW))
    return Candidate(float(rate), float(penalty), int(width), min(int(layers), 3), int(batch))


def draw_anywhere(seed: int, count: int) -> list[Candidate]:
    """Return `count` candidates from anywhere in the ranges."""
    return [candidate_at(place) for place in np.random.default_rng(seed).random((count, len(LOW)))]


class Steering:
    """Learns from finished trials (`tell`) and says what to run next (`ask`). Runs nothing itself."""

    def __init__(self, seed: int) -> None:
        self._random = np.random.default_rng(seed)
        self._places: dict[Candidate, np.ndarray] = {}
        self._rungs: dict[int, list[Trial]] = {epochs: [] for epochs in RUNGS}
        self._continued: set[tuple[Candidate, int]] = set()

    def tell(self, trial: Trial) -> None:
        """Take note of a finished trial."""
        self._rungs[trial.epochs].append(trial)
        self._rungs[trial.epochs].sort(key=lambda trial: trial.loss)

    def ask(self) -> tuple[Candidate, int, Trial | None]:
        """Return what to train next: a candidate, until how many epochs, and the trial to go on from."""
        for epochs, longer in reversed([*pairwise(RUNGS)]):
            best = self._rungs[epochs][: len(self._rungs[epochs]) // KEEP]
            for trial in best:
                if (trial.candidate, longer) not in self._continued:
                    self._continued.add((trial.candidate, longer))
                    return trial.candidate, longer, trial
        return self._new_candidate(), RUNGS[0], None

    def _new_candidate(self) -> Candidate:
        best = next((rung[:KEEP] for rung in reversed(self._rungs.values()) if len(rung) >= KEEP), [])
        if len(self._places) < FIRST or not best or self._random.random() < ANYWHERE:
            place = self._random.random(len(LOW))
        else:
            centre = self._places[best[self._random.integers(len(best))].candidate]
            place = np.clip(centre + STEP * self._random.standard_normal(len(LOW)), 0, 1)
        candidate = candidate_at(place)
        self._places[candidate] = place
        return candidate
