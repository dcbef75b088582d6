"""``python -m benchmarks``: Harmony and its peers on the same work, in one run, as ratios."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from benchmarks import machine, programs, targets
from benchmarks.cost import adopt_orphans
from benchmarks.measures import MEASURES, Measure
from benchmarks.runner import Program, Record, Runner
from benchmarks.systems import SYSTEMS
from benchmarks.systems import system as make
from benchmarks.tables import Results, table

#: Measures of whole programs: title, unit, how.
PROGRAMS: dict[str, tuple[str, str, Program]] = {
    "first": ("first result, from the start of the program", "s", programs.first_result),
    "import": ("the import a program begins with", "CPU ms", programs.import_cpu),
}


def _names(known: dict[str, object]) -> object:
    def parse(text: str) -> list[str]:
        names = text.split(",")
        if unknown := [name for name in names if name not in known]:
            raise argparse.ArgumentTypeError(f"{unknown[0]!r} is not one of {', '.join(known)}")
        return [name for name in known if name in names]

    return parse


def _options() -> argparse.Namespace:
    everything: dict[str, object] = {**MEASURES, **PROGRAMS}
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few minutes: fewer tasks, all measures in one session")
    parser.add_argument("--rounds", type=int, help="rounds (default: 5, quick: 2)")
    parser.add_argument("--workers", type=int, default=2, help="workers of each system (default: 2)")
    parser.add_argument("--systems", type=_names({**SYSTEMS}), default=[*SYSTEMS], help=f"of {','.join(SYSTEMS)}")
    parser.add_argument("--measures", type=_names(everything), default=[*everything], help=f"of {','.join(everything)}")
    parser.add_argument("--most", type=int, help="give no measure more tasks than this")
    parser.add_argument("--timeout", type=float, help="seconds for one measure (default: 600, quick: 90)")
    parser.add_argument("--json", type=Path, help="write all values to this file")
    options = parser.parse_args()
    options.rounds = options.rounds or (2 if options.quick else 5)
    options.timeout = options.timeout or (90 if options.quick else 600)
    return options


def _counts(options: argparse.Namespace, measure: Measure, system: str) -> list[int]:
    made = make(system)
    counts = measure.quick if options.quick else measure.full
    if options.quick and measure.paced:
        counts = tuple(int(count * made.pace) for count in counts)
    return sorted({min(count, options.most or count) for count in counts})


def _takes(options: argparse.Namespace, system: str) -> list[tuple[str, int]]:
    """What a system is asked, with how many tasks."""
    able = make(system).measures
    return [
        (name, count)
        for name in options.measures
        if name in MEASURES
        and (able is None or name in able)
        and (not MEASURES[name].only or system in MEASURES[name].only)
        for count in _counts(options, MEASURES[name], system)
    ]


def _sessions(options: argparse.Namespace) -> Iterator[tuple[str, list[tuple[str, int]]]]:
    """One round: all of a system's measures at once when quick, else measure by measure."""
    asked = {system: _takes(options, system) for system in options.systems}
    for system, takes in asked.items():
        alone = [take for take in takes if take[0] == "scale"]
        if options.quick:
            yield system, [take for take in takes if take not in alone]
            yield from ((system, [take]) for take in alone)
    if not options.quick:
        for name in options.measures:
            for system, takes in asked.items():
                yield from ((system, [take]) for take in takes if take[0] == name)


def _run(options: argparse.Namespace) -> list[Record]:
    runner = Runner(options.workers, options.timeout)
    records: list[Record] = []
    for round in range(options.rounds):
        for name in options.measures:
            for system in options.systems:
                if name in PROGRAMS and make(system).program:
                    _progress(f"round {round + 1} of {options.rounds}: {system} {name}")
                    records.append(runner.program(name, PROGRAMS[name][2], system, round))
        for system, takes in _sessions(options):
            if takes:
                _progress(f"round {round + 1} of {options.rounds}: {system} {', '.join(name for name, _ in takes)}")
                records += runner.session(system, takes, round)
    _progress("")
    return records


def _progress(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\033[K{text[:110]}", end="", file=sys.stderr, flush=True)


def _print(results: Results) -> None:
    for name, measure in MEASURES.items():
        text = table(
            results,
            name,
            f"{measure.title} ({measure.unit}; {'more' if measure.more_is_better else 'less'} is better)",
            more_is_better=measure.more_is_better,
            reference=measure.reference,
        )
        if text:
            print(text)
    for name, (title, unit, _) in PROGRAMS.items():
        text = table(results, name, f"{title} ({unit}; less is better)", more_is_better=False, reference="processes")
        if text:
            print(text)
    print("\ntargets", *targets.lines(results), sep="\n")


def main() -> None:
    """Measure, print, write."""
    options = _options()
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    adopt_orphans()
    distributions = [made.distribution for made in map(make, options.systems) if made.distribution]
    facts = machine.facts([*dict.fromkeys([*distributions, "numpy"])])
    start, began = machine.load(), time.monotonic()
    records = _run(options)
    facts["load"] = f"{start} at start, {machine.load()} at end"
    facts["run"] = f"{options.rounds} rounds, {options.workers} workers, {time.monotonic() - began:.0f} s"
    for key, value in facts.items():
        print(f"{key + ':':<10}{value}")
    print("× says how many times as good as the reference, paired by round; CPU µs per task beside it.")
    _print(Results(records))
    if options.json:
        options.json.write_text(json.dumps({**facts, "records": [asdict(record) for record in records]}, indent=1))


if __name__ == "__main__":
    main()
