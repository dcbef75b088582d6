"""Measures of whole programs that record: one that is run again, and looks at a large one from outside."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.apart import Taken

_LOOKS = 5
_HEAD = """\
import json, resource, sys, time
COUNT = int(sys.argv[1])

def mark(value, stage):
    with open({ran!r}, "ab", 0) as stream:
        stream.write(b".")
    return value

def told():
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({{"cpu": time.process_time(), "peak": peak}}))

"""
#: Half of the tasks take what the other half returned.
_HARMONY = """
from harmony import Workflow, task

if __name__ == "__main__":
    mark = task(mark)
    with Workflow("campaign", workers=2, store={store!r}) as workflow:
        firsts = [mark(number, 1) for number in range(COUNT // 2)]
        assert sum(workflow.gather([mark(first, 2) for first in firsts])) == sum(range(COUNT // 2))
    told()
"""
_PARSL = """
import parsl
from parsl.dataflow.memoization import BasicMemoizer
from parsl.executors import ThreadPoolExecutor

if __name__ == "__main__":
    kept = BasicMemoizer(checkpoint_mode="task_exit")
    config = parsl.Config([ThreadPoolExecutor(max_threads=2)], kept, run_dir={store!r}, usage_tracking=0)
    with parsl.load(config):
        mark = parsl.python_app(mark, cache=True)
        firsts = [mark(number, 1) for number in range(COUNT // 2)]
        assert sum([mark(first, 2).result() for first in firsts]) == sum(range(COUNT // 2))
    told()
"""
_PROGRAMS = {"harmony-recorded": _HARMONY, "parsl-threads-checkpoints": _PARSL}
#: No file for each task: only its rows are of interest.
_LARGE = """\
import sys
from harmony import Workflow, task

@task
def noop(number):
    pass

if __name__ == "__main__":
    with Workflow("large", workers=2, store={store!r}) as workflow:
        workflow.gather([noop(number) for number in range(int(sys.argv[1]))])
"""


def resume(system: str, count: int, scratch: Path) -> Taken:
    """Seconds for a program of so many tasks that has run to its end before: of the whole process.

    Beside it: how many tasks ran, as told by what each leaves in a file; the time of the first run, in which all
    ran; the most memory of the driver; the store on disk.
    """
    count -= count % 2
    program, ran, store = scratch / "campaign.py", scratch / "ran", scratch / "store"
    program.write_text(_HEAD.format(ran=str(ran)) + _PROGRAMS[system].format(store=str(store)))
    first, _ = _run(program, count)
    assert ran.stat().st_size == count, "not every task of the first run ran once"
    seconds, told = _run(program, count)
    extra = {
        "executed": float(ran.stat().st_size - count),
        "µs/task": 1e6 * seconds / count,
        "first run s": first,
        "peak MB": told["peak"] / 1e6,
        "store MB": sum(path.stat().st_size for path in store.rglob("*") if path.is_file()) / 1e6,
    }
    return Taken(seconds, count, 1e6 * told["cpu"] / count, None, extra)


def _run(program: Path, count: int) -> tuple[float, dict[str, Any]]:
    start = time.monotonic()
    argv = [sys.executable, str(program), str(count)]
    done = subprocess.run(argv, capture_output=True, text=True, cwd=program.parent, check=False)
    if done.returncode:
        raise RuntimeError(f"{program.name}: {(done.stderr.strip().splitlines() or [str(done.returncode)])[-1]}")
    return time.monotonic() - start, json.loads(done.stdout or "{}")


def status(system: str, count: int, scratch: Path) -> Taken:
    """Seconds that `harmony status` takes for a run of so many tasks, from its start to its end.

    Beside it: the slowest; other commands, once each.
    """
    program, store = scratch / "large.py", scratch / "store"
    program.write_text(_LARGE.format(store=str(store)))
    first, _ = _run(program, count)
    times = [_look(store, "status") for _ in range(_LOOKS)]
    extra = {
        "slowest": max(times),
        "runs": _look(store, "runs"),
        "show TASK": _look(store, "show", "1", str(count // 2 + 1)),
        "the run s": first,
        "store MB": (store / "store.db").stat().st_size / 1e6,
    }
    return Taken(statistics.median(times), count, extra=extra)


def _look(store: Path, *words: str) -> float:
    """How long one of the commands takes."""
    argv = [sys.executable, "-m", "harmony", *words, "--store", str(store)]
    start = time.monotonic()
    subprocess.run(argv, stdout=subprocess.DEVNULL, check=True, env={**os.environ, "COLUMNS": "120"})
    return time.monotonic() - start
