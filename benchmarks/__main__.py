"""``python -m benchmarks``: Harmony and its peers on the same work, in one run, as ratios."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from pathlib import Path

from benchmarks import machine, targets
from benchmarks.cost import adopt_orphans
from benchmarks.measures import MEASURES
from benchmarks.plan import Plan
from benchmarks.programs import PROGRAMS
from benchmarks.runner import Record, Runner
from benchmarks.systems import SYSTEMS
from benchmarks.systems import system as make
from benchmarks.tables import Results, table


def _names(known: Iterable[str]) -> Callable[[str], list[str]]:
    def parse(text: str) -> list[str]:
        names = text.split(",")
        if unknown := [name for name in names if name not in known]:
            raise argparse.ArgumentTypeError(f"{unknown[0]!r} is not one of {', '.join(known)}")
        return [name for name in known if name in names]

    return parse


def _options() -> argparse.Namespace:
    everything = [*MEASURES, *PROGRAMS]
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few minutes: fewer tasks, slow systems measured once")
    parser.add_argument("--rounds", type=int, default=3, help="rounds (default: 3)")
    parser.add_argument("--workers", type=int, default=2, help="workers of each system (default: 2)")
    parser.add_argument("--systems", type=_names(SYSTEMS), default=[*SYSTEMS], help=f"of {','.join(SYSTEMS)}")
    parser.add_argument("--measures", type=_names(everything), default=everything, help=f"of {','.join(everything)}")
    parser.add_argument("--most", type=int, help="give no measure more tasks than this")
    parser.add_argument("--timeout", type=float, help="seconds for one measure (default: 600, quick: 90)")
    parser.add_argument("--json", type=Path, help="write all values to this file")
    options = parser.parse_args()
    options.timeout = options.timeout or (90 if options.quick else 600)
    return options


def _measure(plan: Plan, runner: Runner) -> list[Record]:
    """All of the plan, or what there is when the run is interrupted."""
    records: list[Record] = []
    try:
        records.extend(_records(plan, runner))  # what came before an interruption stays
    except KeyboardInterrupt:
        _progress("")
        print("interrupted: what follows is incomplete")
    return records


def _records(plan: Plan, runner: Runner) -> Iterator[Record]:
    for round in range(plan.rounds):
        begin = f"round {round + 1} of {plan.rounds}:"
        for name, system in plan.programs(round):
            _progress(f"{begin} {system} {name}")
            yield runner.program(name, system, round)
        for system, takes in plan.sessions(round):
            _progress(f"{begin} {system} {', '.join(f'{name} {count:,}' for name, count in takes)}")
            yield from runner.session(system, takes, round)
    _progress("")


def _progress(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\033[K{text[:110]}", end="", file=sys.stderr, flush=True)


def _tables(results: Results) -> list[str]:
    texts = []
    for name, measure in MEASURES.items():
        better = "more" if measure.more_is_better else "less"
        title = f"{name}: {measure.title} ({measure.unit}; {better} is better)"
        texts.append(table(results, name, title, more_is_better=measure.more_is_better, reference=measure.reference))
    for name, program in PROGRAMS.items():
        title = f"{name}: {program.title} ({program.unit}; less is better)"
        texts.append(table(results, name, title, more_is_better=False, reference="processes"))
    return [text for text in texts if text]


def main() -> None:
    """Measure, print, write."""
    options = _options()
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    adopt_orphans()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    distributions = [made.distribution for made in map(make, options.systems) if made.distribution]
    facts = machine.facts([*dict.fromkeys([*distributions, "numpy"])])
    plan = Plan(options.systems, options.measures, options.rounds, options.quick, options.most)
    load, began = machine.load(), time.monotonic()
    records = _measure(plan, Runner(options.workers, options.timeout))
    facts["load"] = f"{load} at start, {machine.load()} at end"
    facts["run"] = f"{plan.rounds} rounds, {options.workers} workers, {time.monotonic() - began:.0f} s"
    for key, value in facts.items():
        print(f"{key + ':':<10}{value}")
    print("× NAME says how many times as good as NAME, compared within a round. driver is the program's own process.")
    results = Results(records)
    print(*_tables(results), sep="\n")
    sizes = "" if plan.most is None else f" (at most {plan.most:,} tasks: not the sizes that are meant)"
    print(f"\ntargets{sizes}", *targets.lines(results), sep="\n")
    if options.json:
        options.json.write_text(json.dumps({**facts, "records": [asdict(record) for record in records]}, indent=1))


if __name__ == "__main__":
    main()
