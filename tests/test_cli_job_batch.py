"""``harmony job`` on batch systems that are emulated: the same commands, whichever it is, and what goes wrong."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cli_jobs import Gate, facts, follows, gate, here, how, job, rows, started, submitted, until

from harmony.conformance.emulators import Emulator

__all__ = ["gate", "here"]

#: What a job must be given there.
NEEDS = {"sge": ["-a", "sge.pe=smp"]}


@pytest.fixture(params=["slurm", "pbs", "sge", "lsf"])
def lab(request: pytest.FixtureRequest, here: Path) -> Iterator[Emulator]:
    with Emulator(request.param, here / "lab") as lab:
        yield lab


@pytest.fixture
def slurm(here: Path) -> Iterator[Emulator]:
    with Emulator("slurm", here / "lab") as lab:
        yield lab


def submit(lab: Emulator, *words: str | Path) -> str:
    return submitted("-x", lab.name, *NEEDS.get(lab.name, []), *words)


def test_jobs_of_a_batch_system(lab: Emulator, here: Path) -> None:
    name = submit(lab, "-o", "out", "--", "sh", "-c", "echo hello; exit 3")
    native_id = facts(name)["native_id"]
    lab.wait_for(native_id)
    assert how(facts(f"{lab.name}:{native_id}")) == ("FAILED", 3, "exit")  # it ended while nobody looked
    assert (here / "out").read_text() == "hello\n"
    array = submit(lab, "--array", "3", "-o", "%a", "--", "sh", "-c", "echo $PSIJ_ARRAY_INDEX")
    assert job("wait", array).returncode == 0
    assert [(here / str(index)).read_text() for index in range(3)] == ["0\n", "1\n", "2\n"]
    assert [path.name for path in (here / "work").rglob("*")] == [lab.name]


def test_a_cancelled_job_of_a_batch_system(lab: Emulator, gate: Gate) -> None:
    name = submit(lab, "--", "sh", "-c", f"cat {gate.path}; sleep 1000")
    gate.open()
    done = job("cancel", name)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    done = job("wait", name, "--json")  # another process, which has not cancelled it
    (found,) = json.loads(done.stdout)
    assert (done.returncode, found["state"], found["reason"]) == (1, "CANCELED", "canceled")


def test_jobs_of_several_systems_are_waited_for_together(slurm: Emulator, here: Path, gate: Gate) -> None:
    with Emulator("pbs", here / "other lab") as pbs:
        names = [submit(slurm, "true"), submit(pbs, "--", "cat", gate.path), submitted("false")]
        waiting = started("wait", *names, names[0], "--timeout", "1h")
        until("the wait begins", lambda: follows(waiting))
        gate.open()
        out, said = waiting.communicate()
        assert waiting.returncode == 1
        assert [(row[1], row[4]) for row in rows(out)] == [
            ("slurm", "COMPLETED"), ("pbs", "COMPLETED"), ("local", "FAILED"),
        ]  # fmt: skip
        assert said == f"{names[2][:8]}: ended with exit status 1\n"


def test_a_job_that_follows_another(slurm: Emulator, here: Path, gate: Gate) -> None:
    first = submit(slurm, "--", "sh", "-c", f"cat {gate.path}; echo 1 > first")
    second = submit(slurm, "--after-ok", first, "-o", "second", "--", "cat", "first")
    assert facts(second)["state"] == "QUEUED"
    gate.open()
    assert job("wait", second).returncode == 0
    assert (here / "second").read_text() == "1\n"


def test_jobs_that_others_have_submitted(slurm: Emulator, here: Path, gate: Gate) -> None:
    name = submit(slurm, "--", "cat", gate.path)
    native_id = facts(name)["native_id"]
    assert job("list", "--queue", "-x", "slurm").stdout == f"{native_id}\n"
    assert json.loads(job("list", "--queue", "-x", "slurm", "--json").stdout) == [native_id]
    (here / "jobs" / f"{name}.json").unlink()
    hint = job("cancel", native_id)
    assert (hint.returncode, "harmony job attach" in hint.stderr) == (2, True)
    taken = job("attach", "slurm", native_id, "--json")
    assert (taken.returncode, json.loads(taken.stdout)[0]["native_id"]) == (0, native_id)
    gate.open()
    assert job("wait", native_id).returncode == 0
    unknown = job("attach", "slurm", "99999")
    assert (unknown.returncode, unknown.stderr) == (1, "harmony: slurm knows nothing of a job '99999'\n")


def test_a_batch_system_that_is_not_there(slurm: Emulator, gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    name = submit(slurm, "--", "cat", gate.path)
    with monkeypatch.context() as without:
        without.setenv("PATH", "/nowhere")
        for words in (["status", name], ["list"], ["cancel", name], ["attach", "slurm", "99"]):
            done = job(*words)
            assert (done.returncode, "Traceback" in done.stderr) == (75 if words[0] != "cancel" else 1, False), words
            assert done.stderr.startswith("harmony: slurm"), done.stderr
        assert job("submit", "-x", "slurm", "true").returncode == 1
    gate.open()
    assert job("wait", name).returncode == 0


def test_a_refused_job_is_not_recorded(slurm: Emulator) -> None:
    done = job("submit", "-x", "slurm", "-q", "no-such-queue", "true")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("harmony: slurm refused the job: ")
    assert rows(job("list", "--all").stdout) == []


def test_a_job_that_nobody_knows_any_more(slurm: Emulator, here: Path) -> None:
    name = submit(slurm, "true")
    path = here / "jobs" / f"{name}.json"
    data = json.loads(path.read_text())
    lost = {**data["job"], "native_id": "99999", "record": {}, "id": "lost-1"}
    (here / "jobs" / "lost-1.json").write_text(json.dumps({**data, "job": lost}))
    assert facts("lost-1")["final"] is False  # the batch system may only be slow
    found = json.loads((here / "jobs" / "lost-1.json").read_text())
    found["job"]["record"]["gone"] -= 1000  # long ago
    (here / "jobs" / "lost-1.json").write_text(json.dumps(found))
    assert how(facts("lost-1")) == ("FAILED", None, "unknown")
    assert job("wait", name).returncode == 0
