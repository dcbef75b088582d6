"""Job scripts and what batch systems do to all of a job's processes at once, or take exit statuses for."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from tests.jobs.running import Bench

from harmony.jobs.spec import JobSpec


def starts(bench: Bench) -> None:
    """Wait until the script has reported that it starts the program; return within microseconds of that."""
    for _ in range(10_000_000):
        if any(".S." in name for name in os.listdir(bench.place.news)):
            return
    pytest.fail("the program has not been started")


@pytest.mark.parametrize("launcher", ["single", "multiple"])
def test_cancel_at_the_moment_of_the_start(tmp_path: Path, launcher: str) -> None:
    """bash may lose a signal or an exit status then; PBS and Slurm signal the script and the program at once."""
    found = []
    for number in range(25):
        bench = Bench(tmp_path / str(number))
        process = bench.start(JobSpec("sleep", ["100"], launcher=launcher))
        starts(bench)
        Path(bench.place.cancel_flag).touch()
        os.killpg(process.pid, signal.SIGTERM)
        ran = bench.ended(process)
        found.append((ran.code, *ran.end))
    assert found == [(143, 143, "done")] * 25


@pytest.mark.parametrize(("code", "left"), [(99, 1), (100, 1), (98, 98), (9, 9), (0, 0)])
def test_status_that_is_an_order_to_the_scheduler_is_for_the_marker_only(tmp_path: Path, code: int, left: int) -> None:
    ran = Bench(tmp_path).run(JobSpec("sh", ["-c", f"exit {code}"]), preamble=["psij_orders='99 100'"])
    assert (ran.code, ran.end) == (left, (code, "done"))
