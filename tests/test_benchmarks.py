"""The benchmark harness works: every system asked is a row, with a value or with the reason why there is none."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
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


@pytest.mark.parametrize("module", ["benchmarks", "benchmarks.jobs"])
def test_unknown_names_are_refused(module: str) -> None:
    argv = [sys.executable, "-m", module, "--systems", "harmony,nobody"]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 2
    assert "'nobody' is not one of" in done.stderr


def jobs(tmp_path: Path, *options: str) -> tuple[str, list[dict[str, Any]]]:
    """What was printed, and the records."""
    file = tmp_path / "jobs.json"
    argv = [sys.executable, "-m", "benchmarks.jobs", "--rounds", "1", "--json", str(file), *options]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout, json.loads(file.read_text())["records"]


def test_jobs_of_every_system_are_a_value_or_a_reason(tmp_path: Path) -> None:
    printed, records = jobs(tmp_path, "--most", "3", "--measures", "local,import")
    assert {(record["measure"], record["system"]) for record in records} == {
        *(("local", system) for system in ("popen", "harmony", "harmony-durable", "psij")),
        *(("import", system) for system in ("harmony", "psij")),
    }
    for record in records:
        assert record["error"] == "not installed" or record["value"] is not None, record
        assert record["error"] == "" or record["system"] == "psij"
    lines = {" ".join(line.split()) for line in printed.splitlines()}
    assert {"processes left after local jobs ≤ 0 0 yes", "200 submissions to Slurm, × sbatch ≥ 1 not measured"} <= lines


def test_a_look_at_many_jobs_is_one_command(tmp_path: Path) -> None:
    _, records = jobs(tmp_path, "--most", "20", "--measures", "watch", "--systems", "harmony")
    assert [(record["count"], record["error"], record["extra"]["commands"]) for record in records] == [(20, "", 1)]


@pytest.mark.usefixtures("slurm_commands")
def test_submissions_and_ends_on_slurm(tmp_path: Path) -> None:
    options = ["--slurm", "--most", "1", "--measures", "submit,end", "--systems", "sbatch,harmony,harmony-bulk"]
    printed, records = jobs(tmp_path, *options)
    assert [record["error"] for record in records] == [""] * 4
    assert {*records[-1]["extra"]} == {"exit 0", "exit 3", "scancel"}
    assert "× sbatch, in a loop" in printed


@pytest.fixture
def slurm_commands(emulated_scheduler: Callable[..., Any]) -> None:
    emulated_scheduler("slurm")
