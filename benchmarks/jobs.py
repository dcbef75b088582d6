"""``python -m benchmarks.jobs``: jobs with Harmony, psij-python and the bare tools, in one run.

Each measure is a process of its own, the systems take turns, and ratios are taken within a round. What is not
installed or fails is a row that says so. With ``--slurm`` jobs are submitted to the Slurm whose commands are on the
PATH, and taken out of its queue again.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks import jobs_local, jobs_slurm, machine, targets
from benchmarks.cost import adopt_orphans, clean_up
from benchmarks.jobs_local import Taken
from benchmarks.runner import ROOT, Record
from benchmarks.tables import Results, table
from benchmarks.targets import Target, extra, times, value

LABELS = {
    "popen": "subprocess.Popen",
    "sbatch": "sbatch, in a loop",
    "harmony": "Harmony",
    "harmony-bulk": "Harmony, submit_all",
    "harmony-durable": "Harmony, durable",
    "psij": "psij-python",
}


@dataclass(frozen=True, slots=True)
class Measure:
    """What is measured, with how many jobs for each system, and against which; `once`: in the first round only."""

    title: str
    unit: str
    take: Callable[[str, int, Path], Taken]
    counts: dict[str, int]
    reference: str
    more_is_better: bool = False
    slurm: bool = False
    once: tuple[str, ...] = ()


MEASURES = {
    "local": Measure(
        "/bin/true on this machine; left: processes, after it is closed",
        "jobs/s",
        jobs_local.local,
        {"popen": 1000, "harmony": 1000, "harmony-durable": 200, "psij": 1000},
        "popen",
        more_is_better=True,
    ),
    "idle": Measure(
        "CPU of an executor that has nothing to do",
        "ms/s",
        jobs_local.idle,
        {"harmony": 0, "psij": 0},
        "psij",
        once=("harmony", "psij"),
    ),
    "idle-job": Measure(
        "the same while a job sleeps",
        "ms/s",
        jobs_local.idle,
        {"harmony": 1, "psij": 1},
        "psij",
        once=("harmony", "psij"),
    ),
    "import": Measure(
        "importing the package", "CPU ms", jobs_local.imports, {"harmony": 1, "psij": 1}, "psij", once=("psij",)
    ),
    "watch": Measure(
        "a look at waiting jobs of Slurm; its answer is a file",
        "CPU ms",
        jobs_slurm.watch,
        {"harmony": 10_000, "psij": 10_000},
        "psij",
        once=("harmony", "psij"),
    ),
    "submit": Measure(
        "submissions to Slurm",
        "jobs/s",
        jobs_slurm.submit,
        {"sbatch": 200, "harmony": 200, "harmony-bulk": 200, "psij": 200},
        "sbatch",
        more_is_better=True,
        slurm=True,
    ),
    "end": Measure(
        "the end of a job on Slurm, from when squeue shows it to when it is told; the longest",
        "s",
        jobs_slurm.end,
        {"harmony": 4, "psij": 4},
        "psij",
        slurm=True,
        once=("psij",),
    ),
}
TARGETS = (
    Target("local jobs, × psij-python", 10, times("local", "psij", more_is_better=True)),
    Target("local jobs, × bare subprocess.Popen", 0.5, times("local", "popen", more_is_better=True)),
    Target("processes left after local jobs", 0, extra("local", "left"), least=False),
    Target("idle, CPU", 0.1, value("idle"), least=False, unit="ms/s"),
    Target("idle with a job that sleeps, CPU", 0.1, value("idle-job"), least=False, unit="ms/s"),
    Target("processes beside the job's program", 0, extra("idle-job", "helpers"), least=False),
    Target("import harmony.jobs, CPU", 50, value("import"), least=False, unit="ms"),
    Target("import harmony.jobs, wall", 50, extra("import", "wall"), least=False, unit="ms"),
    Target("import of all its names, CPU", 50, extra("import", "all names"), least=False, unit="ms"),
    Target("modules beside the standard library's", 0, extra("import", "foreign"), least=False),
    Target("threads of the import", 0, extra("import", "threads"), least=False),
    Target("signal handlers of the import", 0, extra("import", "handlers"), least=False),
    Target("10,000 watched jobs, CPU of a look", 100, value("watch"), least=False, unit="ms"),
    Target("commands of a look", 1, extra("watch", "commands"), least=False),
    Target("200 submissions to Slurm, × sbatch", 1, times("submit", "sbatch", more_is_better=True)),
    Target(
        "the same by submit_all",
        5,
        times("submit", "sbatch", more_is_better=True, system="harmony-bulk"),
    ),
    Target("end of a Slurm job known after", 1, value("end"), least=False, unit="s"),
)


def _names(known: Sequence[str]) -> Callable[[str], list[str]]:
    def parse(text: str) -> list[str]:
        names = text.split(",")
        if unknown := [name for name in names if name not in known]:
            raise argparse.ArgumentTypeError(f"{unknown[0]!r} is not one of {', '.join(known)}")
        return names

    return parse


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.jobs", description=__doc__)
    parser.add_argument("--slurm", action="store_true", help="measure on the Slurm of this machine too")
    parser.add_argument("--rounds", type=int, default=3, help="rounds (default: 3)")
    parser.add_argument("--systems", type=_names([*LABELS]), default=[*LABELS], help=f"of {','.join(LABELS)}")
    parser.add_argument("--measures", type=_names([*MEASURES]), default=[*MEASURES], help=f"of {','.join(MEASURES)}")
    parser.add_argument("--most", type=int, help="give no measure more jobs than this")
    parser.add_argument("--timeout", type=float, default=200, help="seconds for one measure (default: 200)")
    parser.add_argument("--json", type=Path, help="write all values to this file")
    parser.add_argument("--take", help=argparse.SUPPRESS)
    parser.add_argument("--scratch", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def _take(options: argparse.Namespace) -> None:
    """Take one measure in this process: what `_apart` has started."""
    adopt_orphans()
    name, system, count = options.take.split("=")
    taken = MEASURES[name].take(system, int(count), options.scratch)
    print(json.dumps(asdict(taken)), flush=True)
    os._exit(0)  # psij-python's threads may not end


def _apart(name: str, system: str, count: int, round: int, timeout: float) -> Record:
    """Take one measure in a process of its own, and leave nothing of it behind."""
    record = Record(name, system, count, round)
    if system == "psij" and importlib.util.find_spec("psij") is None:
        record.error = "not installed"
        return record
    with tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as scratch:
        argv = [sys.executable, "-m", "benchmarks.jobs", "--take", f"{name}={system}={count}", "--scratch", scratch]
        # psij-python's executors write into the home directory.
        environment = {**os.environ, "HOME": scratch, "PYTHONPATH": str(ROOT)}
        process = subprocess.Popen(
            argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, cwd=scratch
        )
        try:
            out, error = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            record.error = f"no end after {timeout:g} s"
            return record
        finally:
            clean_up(process)
    try:
        taken = Taken(**json.loads(out.splitlines()[-1]))
    except (IndexError, ValueError):
        record.error = (error.strip().splitlines() or [f"exit code {process.returncode}"])[-1][:120]
        return record
    record.count, record.value, record.extra = taken.count, taken.value, taken.extra
    record.driver_us, record.total_us = taken.driver_us, taken.total_us
    return record


def _wanted(options: argparse.Namespace, round: int) -> list[tuple[str, str, int]]:
    return [
        (name, system, min(count, options.most or count))
        for name in options.measures
        if options.slurm or not MEASURES[name].slurm
        for system, count in MEASURES[name].counts.items()
        if system in options.systems and (round == 0 or system not in MEASURES[name].once)
    ]


def _records(options: argparse.Namespace) -> list[Record]:
    """All of them, or what there is when the run is interrupted."""
    records: list[Record] = []
    try:
        for round in range(options.rounds):
            for name, system, count in _wanted(options, round):
                _progress(f"round {round + 1} of {options.rounds}: {system} {name}")
                records.append(_apart(name, system, count, round, options.timeout))
    except KeyboardInterrupt:
        print("interrupted: what follows is incomplete")
    _progress("")
    return records


def _progress(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\033[K{text[:110]}", end="", file=sys.stderr, flush=True)


def _slurm_version() -> str:
    if shutil.which("sbatch") is None:
        return "not installed"
    return subprocess.run(["sbatch", "--version"], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()


def main() -> None:
    """Measure, print, write."""
    options = _options()
    if options.take:
        try:
            _take(options)
        except Exception:
            traceback.print_exc()
            os._exit(1)
    adopt_orphans()
    facts = machine.facts(["harmony-workflows", "psij-python"])
    if options.slurm:
        facts["slurm"] = _slurm_version()
    load, began = machine.load(), time.monotonic()
    results = Results(_records(options))
    facts["load"] = f"{load} at start, {machine.load()} at end"
    facts["run"] = f"{options.rounds} rounds, {time.monotonic() - began:.0f} s"
    for key, fact in facts.items():
        print(f"{key + ':':<10}{fact}")
    print("× NAME says how many times as good as NAME, compared within a round. driver is the program's own process.")
    for name, measure in MEASURES.items():
        better = "more" if measure.more_is_better else "less"
        title = f"{name}: {measure.title} ({measure.unit}; {better} is better)"
        how = {"more_is_better": measure.more_is_better}
        if text := table(results, name, title, reference=measure.reference, labels=LABELS, **how):
            print(text)
    sizes = "" if options.most is None else f" (at most {options.most:,} jobs: not the sizes that are meant)"
    print(f"\ntargets{sizes}", *targets.lines(results, TARGETS), sep="\n")
    if options.json:
        options.json.write_text(json.dumps({**facts, "records": [asdict(each) for each in results.records]}, indent=1))


if __name__ == "__main__":
    main()
