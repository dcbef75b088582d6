"""The outcome of the suites as tables: what was held to them, promise by promise, and engines level by level."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

SIGNS = {"passed": "✓", "failed": "✗", "skipped": "–"}


class Place(NamedTuple):
    """Where the outcome of a test belongs: to which suite and level, to which promise, and to whom."""

    suite: str
    level: str
    promise: str
    name: str


class Table:
    """A pytest plug-in that knows the tests of the suites, and tells their outcomes when the tests are over.

    These are the tests of classes with an attribute ``conformance``, which names the suite. Their outcomes are those
    of the class, without its ``Test``, and of the parameter ``name`` if it has one; in the suite for engines, of that
    parameter or of the class's ``engine``. A promise with parameters of its own is kept if it is kept with all of them.
    """

    def __init__(self, path: str | None) -> None:
        self._path = Path(path) if path else None
        self._places: dict[str, Place] = {}
        self._outcomes: dict[str, str] = {}

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Note which test is which promise of whom; put the tests of an engine into the order of their levels."""
        for item in items:
            cls = getattr(item, "cls", None)
            if cls is None or not isinstance(item, pytest.Function) or not hasattr(cls, "conformance"):
                continue
            parameters = item.callspec.params if hasattr(item, "callspec") else {}
            title = f"{cls.__name__.removeprefix('Test')} {parameters.get('name', '')}".strip()
            level = ""
            if cls.conformance == "engines":
                from harmony.conformance.engines.suite import level_of

                title = str(parameters.get("name") or cls.engine or title).rpartition(":")[2]
                level = level_of(cls, item.originalname)
                _prepare(item, cls)
            promise = item.originalname.removeprefix("test_").replace("_", " ")
            self._places[item.nodeid] = Place(cls.conformance, level, promise, title)
        _sort(items, self._places)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note an outcome; the worst of a test stays. One that was expected to fail is broken all the same."""
        if report.nodeid in self._places and (report.when == "call" or report.outcome != "passed"):
            outcome = "failed" if hasattr(report, "wasxfail") else report.outcome
            self._outcomes[report.nodeid] = worst(self._outcomes.get(report.nodeid), outcome)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Show the engines, level by level."""
        rows = list(self._badges())
        if rows:
            terminalreporter.section("conformance of engines")
            for line in aligned(rows):
                terminalreporter.write_line(line)
            terminalreporter.write_line("✓ kept   ✗ broken   – skipped: not declared, or its capacity is too small")

    def pytest_sessionfinish(self) -> None:
        """Write the tables."""
        if self._path is None:
            return
        parts = []
        badges = list(self._badges())
        if badges:
            parts.append(markdown(badges))
        parts += [markdown(list(self._promises(suite))) for suite in dict.fromkeys(p.suite for p in self._found())]
        self._path.write_text("\n\n".join(parts) + "\n", encoding="utf-8")

    def _found(self) -> list[Place]:
        return [self._places[nodeid] for nodeid in self._outcomes]

    def _badges(self) -> Iterator[list[str]]:
        """A row for each engine, a column for each level: how many promises are kept, broken, and skipped."""
        counts: dict[str, dict[str, Counter[str]]] = {}
        for nodeid, outcome in self._outcomes.items():
            place = self._places[nodeid]
            if place.suite == "engines":
                counts.setdefault(place.name, {}).setdefault(place.level, Counter())[outcome] += 1
        if counts:
            from harmony.conformance.engines.suite import LEVELS

            yield ["engine", *LEVELS]
            for name, levels in counts.items():
                yield [name, *(badge(levels.get(level, Counter())) for level in LEVELS)]

    def _promises(self, suite: str) -> Iterator[list[str]]:
        """A row for each promise, a column for each that was held to it; then how many of each outcome there are."""
        cells: dict[str, dict[str, str]] = {}
        for nodeid, outcome in self._outcomes.items():
            place = self._places[nodeid]
            if place.suite == suite:
                row = cells.setdefault(f"{place.level}: {place.promise}" if place.level else place.promise, {})
                row[place.name] = worst(row.get(place.name), outcome)
        names = sorted({name for row in cells.values() for name in row})
        yield ["promise", *names]
        for promise, row in cells.items():
            yield [promise, *(SIGNS.get(row.get(name, ""), "") for name in names)]
        for outcome in SIGNS:
            yield [f"**{outcome}**", *(str(sum(row.get(name) == outcome for row in cells.values())) for name in names)]


def worst(one: str | None, other: str) -> str:
    """Of two outcomes the one that counts; what was skipped only in part was kept."""
    if one is None or other == "failed":
        return other
    return "failed" if one == "failed" else "passed" if "passed" in (one, other) else one


def badge(counts: Counter[str]) -> str:
    """The outcomes of a level, for a cell."""
    return " ".join(f"{counts[outcome]} {sign}" for outcome, sign in SIGNS.items() if counts[outcome])


def markdown(rows: list[list[str]]) -> str:
    """Rows as a Markdown table; the first is the heading."""
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([lines[0], "|---" * len(rows[0]) + "|", *lines[1:]])


def aligned(rows: list[list[str]]) -> Iterator[str]:
    """Rows in columns, for a terminal."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _prepare(item: pytest.Item, cls: type) -> None:
    """Give a test its time limit; and a shared engine's processes live on when the test has ended."""
    limit = getattr(cls, "limit", None)
    if limit is not None and item.get_closest_marker("timeout") is None:
        item.add_marker(pytest.mark.timeout(limit))
    if getattr(cls, "shares", False):
        item.add_marker(pytest.mark.leaves_threads("one engine is shared"))
        item.add_marker(pytest.mark.leaves_processes("one engine is shared"))


def _sort(items: list[pytest.Item], places: dict[str, Place]) -> None:
    """Order neighbouring tests of one engine by level, and have those come last that need an engine of their own."""
    start = 0
    while start < len(items):
        end = start + 1
        place = places.get(items[start].nodeid)
        if place is not None and place.suite == "engines":
            owner = getattr(items[start], "cls", None)
            while end < len(items) and _belongs(items[end], owner, place, places):
                end += 1
            items[start:end] = sorted(items[start:end], key=lambda item: _rank(item, places))
        start = end


def _belongs(item: pytest.Item, owner: type | None, place: Place, places: dict[str, Place]) -> bool:
    other = places.get(item.nodeid)
    return other is not None and other.name == place.name and getattr(item, "cls", None) is owner


def _rank(item: pytest.Item, places: dict[str, Place]) -> tuple[bool, int]:
    from harmony.conformance.engines.suite import LEVELS

    names = getattr(item, "fixturenames", ())
    level = places[item.nodeid].level
    return "fresh" in names or "start" in names, LEVELS.index(level) if level in LEVELS else len(LEVELS)
