"""Tables of measures of which each is taken in a process of its own: the systems take turns, round by round.

A module that makes a `Suite` is a program: it is started again, with ``--take``, for each value.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from benchmarks import machine, targets
from benchmarks.cost import Meter, adopt_orphans, clean_up
from benchmarks.runner import ROOT, Record
from benchmarks.tables import Results, table
from benchmarks.targets import Target


@dataclass(frozen=True, slots=True)
class Taken:
    """A value, of how many tasks or jobs, and their cost: see `Record`."""

    value: float
    count: int
    driver_us: float | None = None
    total_us: float | None = None
    extra: dict[str, float] = field(default_factory=dict)

    @classmethod
    def rate(cls, count: int, spent: Meter, **extra: float) -> Taken:
        """How many a second, and CPU for each."""
        return cls.at(count / spent.seconds, count, spent, extra)

    @classmethod
    def at(cls, value: float, count: int, spent: Meter, extra: Mapping[str, float]) -> Taken:
        """Any value, with the CPU that was spent on each."""
        driver, others = 1e6 * spent.driver / count, 1e6 * spent.others / count
        return cls(value, count, driver, driver + others, dict(extra))


@dataclass(frozen=True, slots=True)
class Measure:
    """What is measured, with how many for each system, and against which: one for all, or for some of them their own.

    `once`: systems of the first round only. `wants`: the option without which it is left out.
    """

    title: str
    unit: str
    take: Callable[[str, int, Path], Taken]
    counts: Mapping[str, int]
    reference: str | Mapping[str, str]
    more_is_better: bool = False
    once: tuple[str, ...] = ()
    wants: str = ""


def _no_facts(options: argparse.Namespace) -> dict[str, str]:
    return {}


@dataclass(frozen=True, slots=True)
class Suite:
    """One such program.

    `labels` names the systems, in the order of the tables; `packages` says what a system needs to be importable;
    `wants` explains the options that measures want; `engines` are groups of systems, for an option that picks them;
    `noun` is what is counted.
    """

    module: str
    description: str
    noun: str
    labels: Mapping[str, str]
    measures: Mapping[str, Measure]
    targets: Sequence[Target]
    distributions: Sequence[str]
    packages: Mapping[str, str] = field(default_factory=dict)
    wants: Mapping[str, str] = field(default_factory=dict)
    engines: Mapping[str, Sequence[str]] = field(default_factory=dict)
    timeout: float = 200
    facts: Callable[[argparse.Namespace], dict[str, str]] = _no_facts

    def main(self) -> None:
        """Measure, print, write; or, for one that does so, take one measure."""
        options = self._options()
        if options.take:
            self._take(options)
        adopt_orphans()
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        facts = machine.facts([*self.distributions]) | self.facts(options)
        load, began = machine.load(), time.monotonic()
        results = Results(self._records(options))
        facts["load"] = f"{load} at start, {machine.load()} at end"
        facts["run"] = f"{options.rounds} rounds, {time.monotonic() - began:.0f} s"
        for key, fact in facts.items():
            print(f"{key + ':':<10}{fact}")
        print(
            "× NAME says how many times as good as NAME, compared within a round. driver is the program's own process."
        )
        print(*self._tables(results), sep="\n")
        sizes = "" if options.most is None else f" (at most {options.most:,} {self.noun}: not the sizes that are meant)"
        about = [target for target in self.targets if not target.of or target.of in options.systems]
        print(f"\ntargets{sizes}", *targets.lines(results, about), sep="\n")
        if options.json:
            records = [asdict(each) for each in results.records]
            options.json.write_text(json.dumps({**facts, "records": records}, indent=1))

    def _options(self) -> argparse.Namespace:
        parser = argparse.ArgumentParser(prog=f"python -m {self.module}", description=self.description)
        for name, meaning in self.wants.items():
            parser.add_argument(f"--{name}", action="store_true", help=meaning)
        systems, measures = [*self.labels], [*self.measures]
        if self.engines:
            engines = [*self.engines]
            parser.add_argument("--engines", type=_names(engines), default=engines, help=f"of {','.join(engines)}")
        parser.add_argument("--rounds", type=int, default=3, help="rounds (default: 3)")
        parser.add_argument("--systems", type=_names(systems), default=systems, help=f"of {','.join(systems)}")
        parser.add_argument("--measures", type=_names(measures), default=measures, help=f"of {','.join(measures)}")
        parser.add_argument("--most", type=int, help=f"give no measure more {self.noun} than this")
        usual = f"seconds for one measure (default: {self.timeout:g})"
        parser.add_argument("--timeout", type=float, default=self.timeout, help=usual)
        parser.add_argument("--json", type=Path, help="write all values to this file")
        parser.add_argument("--take", help=argparse.SUPPRESS)
        parser.add_argument("--scratch", type=Path, help=argparse.SUPPRESS)
        options = parser.parse_args()
        if self.engines:
            picked = {system for engine in options.engines for system in self.engines[engine]}
            options.systems = [system for system in options.systems if system in picked]
        return options

    def _take(self, options: argparse.Namespace) -> None:
        """Take one measure in this process: what `_apart` has started. Does not return."""
        adopt_orphans()
        name, system, count = options.take.split("=")
        try:
            taken = self.measures[name].take(system, int(count), options.scratch)
        except Exception:
            traceback.print_exc()
            os._exit(1)
        print(json.dumps(asdict(taken)), flush=True)
        os._exit(0)  # threads of psij-python and Parsl may not end

    def _records(self, options: argparse.Namespace) -> list[Record]:
        """All of them, or what there is when the run is interrupted."""
        records: list[Record] = []
        try:
            for round in range(options.rounds):
                for name, system, count in self._wanted(options, round):
                    _progress(f"round {round + 1} of {options.rounds}: {system} {name}")
                    records.append(self._apart(name, system, count, round, options.timeout))
        except KeyboardInterrupt:
            print("interrupted: what follows is incomplete")
        _progress("")
        return records

    def _wanted(self, options: argparse.Namespace, round: int) -> list[tuple[str, str, int]]:
        return [
            (name, system, min(count, options.most or count))
            for name in options.measures
            if not self.measures[name].wants or getattr(options, self.measures[name].wants)
            for system, count in self.measures[name].counts.items()
            if system in options.systems and (round == 0 or system not in self.measures[name].once)
        ]

    def _apart(self, name: str, system: str, count: int, round: int, timeout: float) -> Record:
        """Take one measure in a process of its own, and leave nothing of it behind."""
        record = Record(name, system, count, round)
        package = self.packages.get(system)
        if package is not None and importlib.util.find_spec(package) is None:
            record.error = "not installed"
            return record
        with tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as scratch:
            argv = [sys.executable, "-m", self.module, "--take", f"{name}={system}={count}", "--scratch", scratch]
            # psij-python's executors write into the home directory; Parsl finds its programs on the PATH.
            path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
            environment = {**os.environ, "HOME": scratch, "PYTHONPATH": str(ROOT), "PATH": path}
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

    def _tables(self, results: Results) -> list[str]:
        texts = []
        for name, measure in self.measures.items():
            more = measure.more_is_better
            title = f"{name}: {measure.title} ({measure.unit}; {'more' if more else 'less'} is better)"
            texts.append(
                table(results, name, title, more_is_better=more, reference=measure.reference, labels=self.labels)
            )
        return [text for text in texts if text]


def _names(known: Sequence[str]) -> Callable[[str], list[str]]:
    def parse(text: str) -> list[str]:
        names = text.split(",")
        if unknown := [name for name in names if name not in known]:
            raise argparse.ArgumentTypeError(f"{unknown[0]!r} is not one of {', '.join(known)}")
        return names

    return parse


def _progress(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\033[K{text[:110]}", end="", file=sys.stderr, flush=True)
