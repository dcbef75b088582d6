"""Hyper-parameter search in which early results steer later ones, beside random search of the same budget.

    steering.ask() ──▶ train(candidate, 1 epoch) ───▶ steering.tell(trial) ──▶ steering.ask() ──▶ ...
                                                      the best third goes on, the others do not,
                                                      and new candidates are drawn near the best

Run it with `python hyperparameter_search.py` or `harmony run hyperparameter_search.py`; see --help.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import network
from record import Record, compare, plot
from steering import LONGEST, Steering, draw_anywhere

from harmony import TaskFuture, Workflow, task, wait

train = task(network.train)
test_accuracy = task(network.test_accuracy)


def random_search(workflow: Workflow, budget: int, seed: int) -> Record:
    """Train candidates drawn anywhere, each to the end."""
    record = Record("random search")
    trials = [train(candidate, LONGEST) for candidate in draw_anywhere(seed, budget // LONGEST)]
    for future in workflow.as_completed(trials):
        record.add(future)
    return record


def steered_search(workflow: Workflow, budget: int, seed: int) -> Record:
    """Decide at each result what to train next, so that every core is always busy with what looks best."""
    steering = Steering(seed)
    record = Record("steered search")
    running: set[TaskFuture[network.Trial]] = set()
    while record.cost < budget:
        while len(running) < workflow.cores:
            running.add(train(*steering.ask()))
        done, running = wait(running, return_when="FIRST_COMPLETED")
        for future in done:
            steering.tell(future.result())
            record.add(future)
    for future in running:
        future.cancel()  # the budget is spent
    return record


def run(options: argparse.Namespace) -> str:
    """Run both searches and return how they compare."""
    with Workflow("hyper-parameter search", engine=options.engine, workers=options.workers) as workflow:
        records = [search(workflow, options.budget, options.seed) for search in (steered_search, random_search)]
        accuracies = [test_accuracy(record.best) for record in records]
    options.output.mkdir(parents=True, exist_ok=True)
    plot(records, options.output / "search.png")
    return compare(records, workflow.gather(accuracies), options.budget)


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Search the hyper-parameters of a small network, two ways.")
    parser.add_argument("--budget", type=int, default=810, help="epochs of training that each search may spend")
    parser.add_argument("--seed", type=int, default=0, help="for drawing candidates")
    parser.add_argument("--output", type=Path, default=Path("results/hyperparameter_search"), help="directory")
    parser.add_argument("--engine", help="where tasks run: local (the default), threads, inline")
    parser.add_argument("--workers", type=int, help="how many run at once; by default, one per core")
    options = parser.parse_args()
    if options.budget < LONGEST:
        parser.error(f"--budget must be at least {LONGEST}: the epochs of one candidate of the random search")
    return options


if __name__ == "__main__":
    options = parse_arguments()
    print(run(options))
    print(f"\nA picture of both searches is in {options.output}/search.png")
