"""``python -m benchmarks.jobs``: jobs on this machine, with Harmony, psij-python and bare processes, in one run.

Each measure is a process of its own, the systems take turns, and ratios are taken within a round. psij-python is a row
when it can be imported.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROGRAM = "/bin/true"
#: How many jobs a system is given, as a share of the number asked for: slow ones would take minutes.
SHARES = {"popen": 1.0, "harmony": 1.0, "harmony-durable": 0.2, "psij": 0.3}


def popen(count: int) -> None:
    """Bare `subprocess.Popen`: start all, then wait for all."""
    started = [subprocess.Popen([PROGRAM]) for _ in range(count)]
    for process in started:
        process.wait()


def _jobs(package: Any, executor: Any, count: int) -> None:
    jobs = [package.Job(package.JobSpec(PROGRAM)) for _ in range(count)]
    for job in jobs:
        executor.submit(job)
    for job in jobs:
        status = job.wait()
        assert status.exit_code == 0, status


def harmony(count: int) -> None:
    """`harmony.jobs`: submit each, then wait for each."""
    import harmony.jobs

    with harmony.jobs.JobExecutor.get_instance("local") as executor:
        _jobs(harmony.jobs, executor, count)


def harmony_durable(count: int) -> None:
    """The same for jobs that need this program no more: each by a job script."""
    import harmony.jobs
    from harmony.jobs.local import LocalExecutorConfig, LocalJobExecutor

    with LocalJobExecutor(config=LocalExecutorConfig(durable=True)) as executor:
        _jobs(harmony.jobs, executor, count)


def psij(count: int) -> None:
    """psij-python's local executor."""
    import psij as package  # type: ignore[import-not-found,unused-ignore]

    _jobs(package, package.JobExecutor.get_instance("local"), count)


SYSTEMS: dict[str, Callable[[int], None]] = {
    "popen": popen,
    "harmony": harmony,
    "harmony-durable": harmony_durable,
    "psij": psij,
}


@dataclass(frozen=True)
class Result:
    """Of one measure: jobs a second, and CPU microseconds per job of this process and of the jobs together."""

    system: str
    rate: float
    own_us: float
    all_us: float


def measure(system: str, count: int) -> Result:
    """Take one measure in this process."""
    SYSTEMS[system](2)  # imports are not what is measured
    before, start = _spent(), time.perf_counter()
    SYSTEMS[system](count)
    seconds = time.perf_counter() - start
    own, children = (1e6 * (after - earlier) / count for after, earlier in zip(_spent(), before, strict=True))
    return Result(system, count / seconds, own, own + children)


def _spent() -> tuple[float, float]:
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    own, children = (usage.ru_utime + usage.ru_stime for usage in usages)
    return own, children


def _apart(system: str, count: int) -> Result:
    """Take one measure in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.jobs", "--take", system, "--count", str(count)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=600)
    return Result(**json.loads(done.stdout))


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.jobs", description=__doc__)
    parser.add_argument("--count", type=int, default=1000, help="jobs in a measure (default: 1000)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds (default: 3)")
    parser.add_argument("--json", type=Path, help="write all values to this file")
    parser.add_argument("--take", choices=SYSTEMS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.take:
        print(json.dumps(vars(measure(options.take, options.count))))
        return
    systems = [name for name in SYSTEMS if name != "psij" or importlib.util.find_spec("psij") is not None]
    rounds = [
        {name: _apart(name, max(1, int(options.count * SHARES[name]))) for name in systems}
        for _ in range(options.rounds)
    ]
    print(f"{'':16}{'jobs/s':>10}{'× popen':>10}{'× psij':>10}{'own µs/job':>12}{'all µs/job':>12}")
    for name in systems:
        columns = [
            statistics.median(taken[name].rate for taken in rounds),
            statistics.median(taken[name].rate / taken["popen"].rate for taken in rounds),
            statistics.median(taken[name].rate / taken["psij"].rate for taken in rounds) if "psij" in systems else 0,
        ]
        spent = [statistics.median(getattr(taken[name], field) for taken in rounds) for field in ("own_us", "all_us")]
        print(f"{name:16}{columns[0]:10.0f}{columns[1]:10.2f}{columns[2]:10.1f}{spent[0]:12.0f}{spent[1]:12.0f}")
    if options.json:
        options.json.write_text(json.dumps([[vars(result) for result in taken.values()] for taken in rounds], indent=1))


if __name__ == "__main__":
    main()
