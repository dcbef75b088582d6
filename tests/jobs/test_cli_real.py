"""``harmony job`` on a real Slurm: a session as a user has it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from tests.cli_jobs import Gate, facts, here, how, job, rows, submitted, until

__all__ = ["here"]


@pytest.fixture
def slurm(slurm_environment: dict[str, str], here: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory to work in, from which commands find Slurm."""
    for name, value in slurm_environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("HARMONY_EXECUTOR", "slurm")
    return here


def test_a_session(slurm: Path) -> None:
    gate = Gate(slurm / "gate")
    (slurm / "prepare.toml").write_text(
        'executable = "sh"\narguments = ["-c", "cat gate; echo 21 > input"]\n'
        '[attributes]\nduration = "5m"\n[resources]\nmemory = "16MB"\n'
    )
    assert "#SBATCH --time=5:00\n" in job("script", "--spec", "prepare.toml").stdout
    first = submitted("--spec", "prepare.toml", "--name", "prepare")
    program = "echo $(( $(cat input) * PSIJ_ARRAY_INDEX )); [ $PSIJ_ARRAY_INDEX -lt 2 ]"
    array = submitted("--after-ok", first, "--array", "3", "-o", "out-%a", "--", "sh", "-c", program)
    until("the first runs", lambda: facts(first)["state"] == "ACTIVE")
    assert [row[4] for row in rows(job("list").stdout)] == ["ACTIVE", *["QUEUED"] * 3]
    assert facts(f"{array}.0")["native_id"] in job("list", "--queue", "-x", "slurm").stdout.split()
    gate.open()
    assert job("wait", first).returncode == 0
    done = job("wait", array, "--json")
    assert [how(found)[:2] for found in json.loads(done.stdout)] == [("COMPLETED", 0)] * 2 + [("FAILED", 1)]
    assert done.returncode == 1
    assert [(slurm / f"out-{index}").read_text() for index in range(3)] == ["0\n", "21\n", "42\n"]
    assert rows(job("list").stdout) == []
    assert os.listdir(slurm / "work" / "slurm") == []


def test_a_cancel(slurm: Path) -> None:
    gate = Gate(slurm / "gate")
    name = submitted("-o", "out", "--", "bash", "-c", "trap 'kill $!; echo saved' TERM; sleep 1000 & cat gate; wait")
    gate.open()
    assert job("wait", name, "--timeout", "0").returncode == 124
    assert job("cancel", "--grace", "20s", name).returncode == 0
    assert facts(name)["final"] is True
    assert (slurm / "out").read_text() == "saved\n"


def test_a_refusal(slurm: Path) -> None:
    done = job("submit", "-q", "no-such-partition", "true")
    assert (done.returncode, done.stdout) == (1, "")
    assert "invalid partition" in done.stderr.lower()
    unknown = job("attach", "slurm", "99999")
    assert (unknown.returncode, unknown.stdout.count("\n")) == (1, 1)
