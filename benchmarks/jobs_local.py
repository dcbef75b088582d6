"""Measures of jobs on this machine, with Harmony, psij-python and bare processes; and of the import of the packages."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.apart import Taken
from benchmarks.cost import Meter, descendants, others_precisely

PROGRAM = "/bin/true"
PACKAGES = {
    "harmony": "harmony.jobs",
    "harmony-durable": "harmony.jobs",
    "harmony-bulk": "harmony.jobs",
    "psij": "psij",
}
_IDLE_SECONDS = 5.0
_IMPORTS = 7
_IMPORT = """\
import json, os, signal, sys, time
before, handlers = set(sys.modules), [signal.getsignal(number) for number in signal.valid_signals()]
cpu, wall = time.process_time(), time.perf_counter()
{statement}
cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
tops = {{name.partition(".")[0] for name in set(sys.modules) - before}}
print(json.dumps({{
    "cpu": 1e3 * cpu,
    "wall": 1e3 * wall,
    "foreign": len(tops - set(sys.stdlib_module_names) - {{"{top}"}}),
    "threads": len(os.listdir("/proc/self/task")) - 1,
    "handlers": sum(
        signal.getsignal(number) != handler for number, handler in zip(signal.valid_signals(), handlers)
    ),
}}))
"""


def package_of(system: str) -> Any:
    """What has the names of the specification: Harmony's, or psij-python's."""
    return importlib.import_module(PACKAGES[system])


def _executor(system: str, scratch: Path) -> Any:
    package = package_of(system)
    if system == "harmony-durable":
        from harmony.jobs.local import LocalExecutorConfig

        return package.JobExecutor.get_instance("local", config=LocalExecutorConfig(None, scratch, durable=True))
    config = package.JobExecutorConfig(work_directory=scratch)
    return package.JobExecutor.get_instance("local", config=config)


def close(executor: Any) -> None:
    """psij-python's executors have nothing to close."""
    if hasattr(executor, "close"):
        executor.close()


def local(system: str, count: int, scratch: Path) -> Taken:
    """Submit all, then wait for all. Beside it: the processes that are left when the executor is closed."""
    if system == "popen":
        _popen(2)
        with Meter() as spent:
            _popen(count)
        return Taken.rate(count, spent)
    executor = _executor(system, scratch)
    _run(package_of(system), executor, 2)  # what is made once is not what is measured
    with Meter() as spent:
        _run(package_of(system), executor, count)
    close(executor)
    return Taken.rate(count, spent, left=_living())


def _living() -> int:
    """Processes below this one; ended ones that were left to it, as they are to init, are not waited for here."""
    return sum(not process.zombie for process in descendants(os.getpid()))


def _popen(count: int) -> None:
    started = [subprocess.Popen([PROGRAM]) for _ in range(count)]
    for process in started:
        process.wait()


def _run(package: Any, executor: Any, count: int) -> None:
    jobs = [package.Job(package.JobSpec(PROGRAM)) for _ in range(count)]
    for job in jobs:
        executor.submit(job)
    for job in jobs:
        status = job.wait()
        assert status.exit_code == 0, status


def idle(system: str, count: int, scratch: Path) -> Taken:
    """CPU milliseconds a second of an executor with so many jobs that sleep, after it has run one.

    Beside it: the processes that are neither this nor a job's program.
    """
    package, executor = package_of(system), _executor(system, scratch)
    _run(package, executor, 1)
    jobs = [package.Job(package.JobSpec("/bin/sleep", ["60"])) for _ in range(count)]
    for job in jobs:
        executor.submit(job)
    time.sleep(0.5)  # starting them is not what is measured
    with Meter(others_precisely) as spent:
        time.sleep(_IDLE_SECONDS)
    helpers = _living() - count
    for job in jobs:
        job.cancel()
        job.wait()
    close(executor)
    return Taken(1e3 * (spent.driver + spent.others) / _IDLE_SECONDS, count, extra={"helpers": helpers})


def imports(system: str, count: int, scratch: Path) -> Taken:
    """CPU milliseconds of the import, the least of several: what a machine adds by chance is not the package's.

    Beside it: wall milliseconds, top-level modules that are not the standard library's, threads, signal handlers; and
    the CPU milliseconds of the import of all public names, for they may be lazy.
    """
    package = PACKAGES[system]
    alone = [_imported(f"import {package}", package, scratch) for _ in range(_IMPORTS)]
    least = {key: min(run[key] for run in alone) for key in alone[0]}
    value = least.pop("cpu")
    if system != "psij":  # where `import *` fails
        least["all names"] = min(
            _imported(f"from {package} import *", package, scratch)["cpu"] for _ in range(_IMPORTS)
        )
    return Taken(value, count, extra=least)


def _imported(statement: str, package: str, scratch: Path) -> dict[str, float]:
    program = _IMPORT.format(statement=statement, top=package.partition(".")[0])
    argv = [sys.executable, "-c", program]
    done = subprocess.run(argv, stdout=subprocess.PIPE, cwd=scratch, check=True, timeout=60)
    return dict(json.loads(done.stdout))
