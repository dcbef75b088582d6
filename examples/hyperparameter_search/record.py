"""What a search has found and what it cost: compared in a table and in a picture."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence

from matplotlib.figure import Figure
from network import Candidate, Trial

from harmony import TaskFuture

SHARES = (0.1, 0.25, 0.5)  # of the budget, after which the searches are compared


class Record:
    """The trials of one search in the order in which they ended."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.trials: list[Trial] = []
        self.cost = 0  # epochs
        self.core_seconds = 0.0
        self._progress: list[tuple[int, float]] = []
        self._began = time.monotonic()

    @property
    def best(self) -> Trial:
        """The trial with the least loss."""
        return min(self.trials, key=lambda trial: trial.loss)

    @property
    def candidates(self) -> set[Candidate]:
        """All that were tried."""
        return {trial.candidate for trial in self.trials}

    def add(self, future: TaskFuture[Trial]) -> None:
        """Take note of a finished trial, and print it if it is the best so far."""
        trial = future.result()
        self.trials.append(trial)
        self.cost += trial.cost
        self.core_seconds += future.seconds
        if trial is self.best:
            self._progress.append((self.cost, trial.loss))
            elapsed = time.monotonic() - self._began
            print(f"{self.name:14} {self.cost:6} epochs {elapsed:6.1f} s   loss {trial.loss:.4f}   {trial.candidate}")

    def best_loss_after(self, cost: float) -> float:
        """Return the least loss known once `cost` epochs were spent, or infinity before any result."""
        return min((loss for spent, loss in self._progress if spent <= cost), default=float("inf"))

    def steps(self) -> tuple[list[int], list[float]]:
        """Return the least loss over the epochs spent, as the corners of a staircase."""
        costs, losses = zip(*self._progress, strict=True)
        return [*costs, self.cost], [*losses, losses[-1]]


def compare(records: Sequence[Record], test_accuracies: Sequence[float], budget: int) -> str:
    """Return the searches side by side: score over time, cost, and the best parameters."""
    shares = "".join(f"{share:>9.0%}" for share in SHARES)
    lines = [f"\nleast validation loss after {shares}   of {budget} epochs, and at the end"]
    for record in records:
        losses = "".join(f"{record.best_loss_after(share * budget):9.4f}" for share in SHARES)
        spent = f"{record.cost} epochs, {len(record.candidates)} candidates, {record.core_seconds:.1f} core-seconds"
        lines.append(f"  {record.name:25} {losses}   {record.best.loss:.4f}   ({spent})")
    lines.append("\nbest parameters")
    for record, accuracy in zip(records, test_accuracies, strict=True):
        lines.append(f"  {record.name:14}  {record.best.candidate}")
        lines.append(f"  {'':14}  accuracy {record.best.accuracy:.1%} in validation, {accuracy:.1%} on the test images")
    return "\n".join(lines)


def plot(records: Sequence[Record], path: str | os.PathLike[str]) -> None:
    """Draw every trial, and the least loss so far, over the epochs spent."""
    figure = Figure(figsize=(8, 4.8), layout="constrained")
    axes = figure.subplots()
    for record, colour in zip(records, ("C0", "C1"), strict=True):
        spent = 0
        costs = [spent := spent + trial.cost for trial in record.trials]
        axes.plot(costs, [trial.loss for trial in record.trials], ".", ms=6, alpha=0.4, mew=0, color=colour)
        axes.step(*record.steps(), where="post", color=colour, label=record.name)
    axes.set(yscale="log", xlabel="epochs spent by the search", ylabel="validation loss")
    axes.set_title("Every trial (dots) and the best so far (lines)")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=150)
