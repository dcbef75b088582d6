"""The benchmark harness works: every system asked is a row, with a value or with the reason why there is none."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="CPU and memory are read from /proc")
ROOT = Path(__file__).resolve().parents[1]
MEASURES = ["noop", "round-trip", "chain", "fan-in", "commands", "pending", "first", "import"]


def benchmarks(tmp_path: Path, *options: str) -> tuple[str, list[dict[str, Any]]]:
    """What was printed, and the records."""
    file = tmp_path / "results.json"
    argv = [sys.executable, "-m", "benchmarks", "--quick", "--rounds", "1", "--json", str(file), *options]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout, json.loads(file.read_text())["records"]


@pytest.mark.parametrize("system", ["processes", "harmony", "executorlib"])
def test_every_measure_of_a_system_is_a_value_or_a_reason(tmp_path: Path, system: str) -> None:
    printed, records = benchmarks(tmp_path, "--most", "50", "--systems", system, "--measures", ",".join(MEASURES))
    assert {record["measure"] for record in records} == set(MEASURES)
    for record in records:
        assert record["error"] == "not installed" or record["value"] is not None, record
        assert record["count"] <= 50
    assert all(f"\n{name}: " in printed for name in MEASURES)
    assert "\ntargets" in printed


def test_ratios_are_made_against_the_reference_of_the_measure(tmp_path: Path) -> None:
    printed, records = benchmarks(
        tmp_path, "--most", "50", "--systems", "bare,bare-2,threads", "--measures", "commands"
    )
    values = {record["system"]: record["value"] for record in records}
    assert set(values) == {"bare", "bare-2", "threads"}
    row = next(line for line in printed.splitlines() if line.startswith("  ThreadPoolExecutor"))
    assert f"{values['threads'] / values['bare-2']:.3g}" in row.split()
    assert "× posix_spawn, 2 in flight" in printed


def test_what_does_not_end_in_time_is_killed_and_said(tmp_path: Path) -> None:
    printed, records = benchmarks(tmp_path, "--timeout", "0.001", "--systems", "processes", "--measures", "noop,first")
    assert [record["value"] for record in records] == [None, None]
    assert printed.count("no end after") == 2


def test_unknown_names_are_refused() -> None:
    argv = [sys.executable, "-m", "benchmarks", "--systems", "processes,nobody"]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 2
    assert "'nobody' is not one of" in done.stderr
