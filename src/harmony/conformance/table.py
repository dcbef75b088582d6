"""The outcome of a suite as a table: a row for each promise, a column for each thing that was held to it."""

from __future__ import annotations

from pathlib import Path

import pytest

_SIGNS = {"passed": "✓", "failed": "✗", "skipped": "–"}


class Table:
    """A pytest plug-in that writes the table, as Markdown, when the tests are over.

    Counted are the tests of classes with an attribute ``conformance``; a column is named after the class, without its
    ``Test``, and after the parameter ``name`` if it has one. A promise with parameters of its own is kept if it is kept
    with all of them.
    """

    def __init__(self, path: str) -> None:
        self._path = Path(path)
        self._cells: dict[str, dict[str, str]] = {}
        self._places: dict[str, tuple[str, str]] = {}

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Note which test is which promise of which column."""
        for item in items:
            cls = getattr(item, "cls", None)
            if isinstance(item, pytest.Function) and hasattr(cls, "conformance"):
                assert cls is not None
                parameters = item.callspec.params if hasattr(item, "callspec") else {}
                column = f"{cls.__name__.removeprefix('Test')} {parameters.get('name', '')}".strip()
                self._places[item.nodeid] = (item.originalname.removeprefix("test_").replace("_", " "), column)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note an outcome; the worst of a cell stays."""
        place = self._places.get(report.nodeid)
        if place is None or (report.when != "call" and report.outcome == "passed"):
            return
        row = self._cells.setdefault(place[0], {})
        if row.get(place[1]) != "failed" and not (row.get(place[1]) == "passed" and report.outcome == "skipped"):
            row[place[1]] = report.outcome

    def pytest_sessionfinish(self) -> None:
        """Write the table."""
        columns = sorted({column for row in self._cells.values() for column in row})
        lines = [f"| promise | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
        for promise, row in self._cells.items():
            lines.append(f"| {promise} | {' | '.join(_SIGNS.get(row.get(column, ''), '') for column in columns)} |")
        for outcome in _SIGNS:
            counts = (sum(row.get(column) == outcome for row in self._cells.values()) for column in columns)
            lines.append(f"| **{outcome}** | {' | '.join(str(count) for count in counts)} |")
        self._path.write_text("\n".join(lines) + "\n", encoding="utf-8")
