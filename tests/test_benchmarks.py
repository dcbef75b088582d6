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


@pytest.mark.parametrize(
    ("module", "option", "known"),
    [
        ("benchmarks", "--systems", "harmony"),
        ("benchmarks.jobs", "--systems", "harmony"),
        ("benchmarks.journal", "--systems", "harmony"),
        ("benchmarks.engines", "--engines", "futures"),
    ],
)
def test_unknown_names_are_refused(module: str, option: str, known: str) -> None:
    argv = [sys.executable, "-m", module, option, f"{known},nobody"]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 2
    assert "'nobody' is not one of" in done.stderr


def suite(tmp_path: Path, name: str, *options: str) -> tuple[str, list[dict[str, Any]]]:
    """What was printed, and the records."""
    file = tmp_path / f"{name}.json"
    argv = [sys.executable, "-m", f"benchmarks.{name}", "--rounds", "1", "--json", str(file), *options]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout, json.loads(file.read_text())["records"]


def test_jobs_of_every_system_are_a_value_or_a_reason(tmp_path: Path) -> None:
    printed, records = suite(tmp_path, "jobs", "--most", "3", "--measures", "local,import")
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
    _, records = suite(tmp_path, "jobs", "--most", "20", "--measures", "watch", "--systems", "harmony")
    assert [(record["count"], record["error"], record["extra"]["commands"]) for record in records] == [(20, "", 1)]


@pytest.mark.usefixtures("slurm_commands")
def test_submissions_and_ends_on_slurm(tmp_path: Path) -> None:
    options = ["--slurm", "--most", "1", "--measures", "submit,end", "--systems", "sbatch,harmony,harmony-bulk"]
    printed, records = suite(tmp_path, "jobs", *options)
    assert [record["error"] for record in records] == [""] * 4
    assert {*records[-1]["extra"]} == {"exit 0", "exit 3", "scancel"}
    assert "× sbatch, in a loop" in printed


def test_recording_is_measured_with_and_without(tmp_path: Path) -> None:
    systems = ["harmony", "harmony-recorded", "parsl-threads", "parsl-threads-checkpoints"]
    measures = "recording,recording-threads"
    printed, records = suite(
        tmp_path, "journal", "--most", "100", "--systems", ",".join(systems), "--measures", measures
    )
    assert [record["system"] for record in records] == systems
    for record in records:
        assert record["error"] == "not installed" or record["value"] >= record["extra"]["to the end"] > 0, record
        assert record["error"] == "" or record["system"].startswith("parsl")
    share = records[1]["value"] / records[0]["value"]
    row = next(line for line in printed.splitlines() if line.startswith("  Harmony, as it comes"))
    assert f"{share:.3g}" in row.split()
    assert "CPU per task that recording adds, driver" in printed


def test_what_a_resumed_program_runs_again_is_counted(tmp_path: Path) -> None:
    options = ["--large", "--most", "200", "--systems", "harmony-recorded", "--measures", "resume,resume-large,status"]
    printed, records = suite(tmp_path, "journal", *options)
    assert [(record["measure"], record["count"], record["error"]) for record in records] == [
        ("resume", 200, ""), ("resume-large", 200, ""), ("status", 200, ""),
    ]  # fmt: skip
    assert [record["extra"]["executed"] for record in records[:2]] == [0, 0]
    lines = {" ".join(line.split()) for line in printed.splitlines()}
    assert {"tasks that ran again ≤ 0 0 yes", "the same of 1,000,000 ≤ 0 0 yes"} <= lines


def test_the_content_of_an_array_beside_the_hash_and_the_memory(tmp_path: Path) -> None:
    options = ["--most", "2", "--systems", "harmony-recorded,xxhash,copy", "--measures", "content"]
    printed, records = suite(tmp_path, "journal", *options)
    values = {record["system"]: record["value"] for record in records}
    assert min(values.values()) > 0
    share = values["harmony-recorded"] / min(values["xxhash"], values["copy"])
    line = next(line for line in printed.splitlines() if "slower of hash and memory" in line)
    assert line.split()[-2] in (f"{share:.3g}", f"{share:.0f}")


def test_an_engine_by_its_own_client_and_through_harmony(tmp_path: Path) -> None:
    printed, records = suite(tmp_path, "engines", "--most", "100", "--engines", "futures")
    found = {(record["measure"], record["system"]): record for record in records}
    assert [*found] == [
        (measure, system) for measure in ("noop", "short", "first") for system in ("futures", "harmony-futures")
    ]
    assert {record["error"] for record in records} == {""}
    assert all(found["short", system]["extra"]["ideal ÷ wall"] <= 1 for system in ("futures", "harmony-futures"))
    native, harmony = found["noop", "futures"], found["noop", "harmony-futures"]
    row = next(line for line in printed.splitlines() if line.startswith("    Harmony on futures"))
    assert f"{harmony['value'] / native['value']:.3g}" in row.split()
    lines = {line.split("  ")[1]: line.split()[-2] for line in printed.partition("\ntargets")[2].splitlines()[1:]}
    assert [*lines] == [
        f"futures: {work}, {what}" for work in ("no-ops", "of 5 ms") for what in ("throughput", "CPU per task")
    ]
    reached = float(lines["futures: no-ops, throughput"].replace(",", ""))
    assert reached == pytest.approx(harmony["value"] / native["value"], rel=0.01)
    assert harmony["total_us"] >= harmony["driver_us"] > 0


@pytest.mark.skipif((Path(sys.executable).parent / "work_queue_worker").exists(), reason="it is beside the interpreter")
def test_an_engine_that_cannot_start_is_a_row_that_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))
    printed, records = suite(tmp_path, "engines", "--most", "1", "--engines", "workqueue", "--measures", "noop")
    assert [(record["system"], record["value"]) for record in records] == [("harmony-workqueue", None)]
    assert "'work_queue_worker' is not installed" in records[0]["error"]
    assert "    Harmony on workqueue" in printed
    assert printed.endswith("not the sizes that are meant)\n")


@pytest.fixture
def slurm_commands(emulated_scheduler: Callable[..., Any]) -> None:
    emulated_scheduler("slurm")
