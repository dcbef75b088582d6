"""A session: one process that opens one system, takes measures, closes it, and reports each as a line of JSON."""

from __future__ import annotations

import argparse
import json
import os
import time
import traceback
from pathlib import Path
from typing import Any, TextIO

from benchmarks.cost import adopt_orphans
from benchmarks.measures import MEASURES, warm
from benchmarks.systems import system as make
from benchmarks.systems.base import System


def take(system: System, name: str, count: int, scratch: Path) -> dict[str, Any]:
    """Take one measure; CPU microseconds per task are those of the driver and of all processes."""
    taken = MEASURES[name].take(system, count, scratch)
    per_task = 1e6 / taken.tasks
    return {
        "value": taken.value,
        "driver_us": taken.spent.driver * per_task,
        "total_us": (taken.spent.driver + taken.spent.others) * per_task,
        "extra": taken.extra,
    }


def _report(stream: TextIO, **facts: Any) -> None:
    stream.write(json.dumps(facts) + "\n")
    stream.flush()


def run(options: argparse.Namespace, stream: TextIO) -> None:
    """Open, measure, close."""
    system = make(options.system)
    system.workers = options.workers
    scratch = Path(options.scratch)
    start = time.perf_counter()
    system.open(options.workers, scratch)
    if system.measures is None:
        warm(system, options.workers)
    _report(stream, step="opened", seconds=time.perf_counter() - start)
    for wanted in options.take:
        name, _, count = wanted.partition("=")
        try:
            _report(stream, step=wanted, **take(system, name, int(count), scratch))
        except Exception as error:
            traceback.print_exc()
            _report(stream, step=wanted, error=f"{type(error).__name__}: {error}".splitlines()[0][:120])
    start = time.perf_counter()
    system.close()
    _report(stream, step="closed", seconds=time.perf_counter() - start)


def main() -> None:
    """What the runner starts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--system", required=True)
    parser.add_argument("--workers", type=int, required=True)
    parser.add_argument("--scratch", required=True)
    parser.add_argument("--report", type=int, required=True, help="file descriptor for the reports")
    parser.add_argument("take", nargs="+", metavar="MEASURE=COUNT")
    options = parser.parse_args()
    os.set_inheritable(options.report, False)  # so that the report ends with this process, not with a stray child
    adopt_orphans()
    with os.fdopen(options.report, "w") as stream:
        run(options, stream)


if __name__ == "__main__":
    main()
