"""The work of one task: train a small neural network on scikit-learn's hand-written digits for a while."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from functools import cache

import numpy as np
from sklearn.datasets import load_digits
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from threadpoolctl import threadpool_limits

Part = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Candidate:
    """A choice of hyper-parameters."""

    learning_rate: float
    penalty: float
    width: int
    layers: int
    batch_size: int

    def __str__(self) -> str:
        return (
            f"learning rate {self.learning_rate:.2g}, L2 penalty {self.penalty:.2g}, "
            f"{self.layers} × {self.width} neurons, batches of {self.batch_size}"
        )


@dataclass(frozen=True)
class Trial:
    """A candidate after `epochs`, `cost` of them in this trial, with its score on data not trained with."""

    candidate: Candidate
    epochs: int
    cost: int
    loss: float  # the lower the better
    accuracy: float
    model: MLPClassifier


@cache
def digits() -> tuple[Part, Part, Part]:
    """Return the parts of the data to train with, to choose by, and to test with once, at the end."""
    images, labels = load_digits(return_X_y=True)
    train, rest, train_labels, rest_labels = train_test_split(
        images / 16, labels, test_size=0.4, stratify=labels, random_state=0
    )
    choose, test, choose_labels, test_labels = train_test_split(
        rest, rest_labels, test_size=0.5, stratify=rest_labels, random_state=0
    )
    return (train, train_labels), (choose, choose_labels), (test, test_labels)


def train(candidate: Candidate, epochs: int, before: Trial | None = None) -> Trial:
    """Train until `epochs` are done, going on from an earlier trial of the same candidate if there is one."""
    (images, labels), (unseen, truth), _ = digits()
    done, model = (before.epochs, deepcopy(before.model)) if before else (0, new_network(candidate))
    with threadpool_limits(1):  # the workers share the cores
        for _ in range(done, epochs):
            model.partial_fit(images, labels, classes=range(10))
        loss = log_loss(truth, model.predict_proba(unseen))
        return Trial(candidate, epochs, epochs - done, float(loss), float(model.score(unseen, truth)), model)


def new_network(candidate: Candidate) -> MLPClassifier:
    """Return an untrained network; its seed is fixed, so that a candidate always gives the same trial."""
    return MLPClassifier(
        hidden_layer_sizes=(candidate.width,) * candidate.layers,
        learning_rate_init=candidate.learning_rate,
        alpha=candidate.penalty,
        batch_size=candidate.batch_size,
        random_state=0,
    )


def test_accuracy(trial: Trial) -> float:
    """Return the share of the test part that a trained network reads correctly."""
    *_, (images, labels) = digits()
    return float(trial.model.score(images, labels))
