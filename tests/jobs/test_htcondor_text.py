"""HTCondor's words: the submit description, and answers as its commands print them."""

from __future__ import annotations

import json
import subprocess
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.jobs.texts import ODD, brief, order, said

from harmony.errors import InvalidJobException
from harmony.jobs.scheduler import NoAnswer
from harmony.jobs.schedulers.htcondor import HTCondor
from harmony.jobs.state import JobStatus

CONDOR = HTCondor()


def description(**fields: object) -> dict[str, str]:
    """The submit description as HTCondor reads it, its one macro for a dollar sign replaced."""
    found = {}
    for line in CONDOR.directives(order(**fields)):  # type: ignore[arg-type]
        assert line.startswith("#HTCONDOR ")
        key, equals, value = line.removeprefix("#HTCONDOR ").partition("=")
        if equals:
            found[key.strip()] = value.strip().replace("$(DOLLAR)", "$")
    return found


def test_a_plain_job() -> None:
    found = description(name="psij")
    assert found["batch_name"] == "psij"
    assert found["request_cpus"] == "1"
    assert found["output"] == "/work/1.out"
    assert found["getenv"] == "True"
    assert "JobStatus == 2 && time() - EnteredCurrentStatus > 600" in found["periodic_remove"]
    assert CONDOR.directives(order())[-1] == "#HTCONDOR queue"


def test_every_field() -> None:
    found = description(
        process_count=3, cpu_cores_per_process=2, gpu_cores_per_process=1, memory=3 * 2**20 + 1, account="group.one",
        duration=timedelta(seconds=30), inherit_environment=False,
        custom_attributes={"htcondor.requirements": 'TARGET.Arch == "X86_64"', "condor.nice_user": None, "slurm.x": 1},
    )  # fmt: skip
    assert {key: found[key] for key in ("request_cpus", "request_gpus", "request_memory", "accounting_group")} == {
        "request_cpus": "6", "request_gpus": "3", "request_memory": "4", "accounting_group": "group.one",
    }  # fmt: skip
    assert found["getenv"] == "False"
    assert found["requirements"] == 'TARGET.Arch == "X86_64"'
    assert found["nice_user"] == "True"
    assert "> 30)" in found["periodic_remove"]
    assert "x" not in found


def test_an_array() -> None:
    lines = CONDOR.directives(order(size=4))
    assert lines[-1] == "#HTCONDOR queue 4"
    assert '#HTCONDOR environment = "PSIJ_PROCESS=$(Process)"' in lines
    assert CONDOR.array_ids("7.0", 3) == ["7.0", "7.1", "7.2"]


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"node_count": 2}, "node_count=2"),
        ({"exclusive_node_use": True}, "exclusive_node_use"),
        ({"queue_name": "long"}, "queue_name='long'"),
        ({"reservation_id": "r"}, "reservation_id='r'"),
        ({"after": ["1.0"]}, "after="),
        ({"after_ok": ["1.0"]}, "after_ok="),
        ({"after_any": ["1.0"]}, "after_any="),
    ],
)
def test_what_cannot_be_had_is_refused_by_name(fields: dict[str, object], named: str) -> None:
    with pytest.raises(InvalidJobException, match=named):
        description(**fields)


@pytest.mark.parametrize("field", ["account", "custom_attributes", "log"])
@pytest.mark.parametrize("kind", ODD)
def test_odd_values_arrive_or_are_refused(field: str, kind: str) -> None:
    value = f"/w/{ODD[kind]}" if field == "log" else ODD[kind]
    given: Any = {"htcondor.description": value} if field == "custom_attributes" else value
    if kind == "backslash":
        with pytest.raises(InvalidJobException, match="a line of a submit description"):
            description(**{field: given})
    else:
        lines = CONDOR.directives(order(**{field: given}))
        assert not any("$(touch" in line or "$HOME" in line or "${" in line for line in lines)
        key = {"account": "accounting_group", "custom_attributes": "description", "log": "output"}[field]
        assert description(**{field: given})[key] == value


@pytest.mark.parametrize("kind", ODD)
def test_odd_names(kind: str) -> None:
    assert description(name=f"{ODD[kind]}.")["batch_name"] == f"{ODD[kind]}."


def submitted(tmp_path: Path, name: str, body: str) -> tuple[str, str]:
    """What condor_submit is given: its standard input, and the line that is appended."""
    script = tmp_path / name
    script.write_text(body)
    (tmp_path / "condor_submit").write_text("#!/bin/sh\nprintf '%s\\n' \"$3\" >&2\ncat\n")
    (tmp_path / "condor_submit").chmod(0o700)
    done = subprocess.run(
        CONDOR.submit_command(str(script)), env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    return done.stdout, done.stderr.rstrip("\n")


def test_submitting_hands_on_the_description_alone(tmp_path: Path) -> None:
    head = CONDOR.directives(order(name="a b"))
    out, line = submitted(tmp_path, 'it\'s "$(x)".sh', "\n".join(["#!/bin/bash", *head, "true", "#HTCONDOR queue 9"]))
    assert out.splitlines() == [each.removeprefix("#HTCONDOR ") for each in head]
    wanted = f'{tmp_path}/it\'\'s ""$(DOLLAR)(x)"".sh'
    assert line == f"arguments = \"'{wanted}'\""


def test_the_count_of_starts(tmp_path: Path) -> None:
    for text, wanted in (('NumShadowStarts = 8\nOwner = "x"\n', "8"), ('Owner = "x"\n', "0")):
        (tmp_path / "ad").write_text(text)
        done = subprocess.run(
            ["/bin/bash", "-c", f"echo {CONDOR.attempt}"], env={"_CONDOR_JOB_AD": str(tmp_path / "ad"), "PATH": "/bin"},
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert done.stdout == f"{wanted}\n"


def test_ids() -> None:
    assert CONDOR.native_id("123.0 - 123.4\n") == "123.0"
    assert CONDOR.native_id("WARNING: odd\n5.0 - 5.0\n") == "5.0"
    with pytest.raises(ValueError, match="no job id"):
        CONDOR.native_id("Submitting job(s)\n")


def test_refusals() -> None:
    for text in (
        "ERROR: Can't find address of local schedd",
        "ERROR: Failed to connect to local queue manager\nCEDAR:6001:Failed to connect; connection timed out",
    ):
        assert CONDOR.refusal_is_transient(said(err=text, code=1))
    assert not CONDOR.refusal_is_transient(said(err="ERROR: on Line 3 of submit file: Unknown command 'frob'", code=1))


def job(process: int, status: int, **more: object) -> dict[str, object]:
    return {"ClusterId": 7, "ProcId": process, "JobStatus": status, **more}


HELD = "Error from slot1@host: Job has gone over cgroup memory limit of 128 megabytes."
EXPRESSION = "The job attribute PeriodicRemove expression '(JobStatus == 2 && time() > 1)' evaluated to TRUE"

STATES = [
    (job(0, 1), ("QUEUED", None, None)),
    (job(1, 2, NumShadowStarts=3), ("ACTIVE", None, None)),
    (job(2, 3, RemoveReason="via condor_rm (by user someone)"), ("CANCELED", None, "canceled")),
    (job(3, 3, RemoveReason=EXPRESSION), ("FAILED", None, "walltime")),
    (job(4, 3, RemoveReason=EXPRESSION, HoldReasonCode=34, HoldReason=HELD), ("FAILED", None, "out_of_memory")),
    (job(5, 4, ExitCode=3, ExitBySignal=False), ("FAILED", 3, "exit")),
    (job(6, 4, ExitCode=0, ExitBySignal=False), ("COMPLETED", 0, None)),
    (job(7, 4, ExitBySignal=True, ExitSignal=9), ("FAILED", 137, "signal")),
    (job(8, 5, HoldReasonCode=1, HoldReason="via condor_hold (by user someone)"), ("QUEUED", None, "held")),
    (job(9, 5, HoldReasonCode=34, HoldReason=HELD), ("FAILED", None, "out_of_memory")),
    (job(10, 6), ("ACTIVE", None, None)),
    (job(11, 7), ("ACTIVE", None, None)),
    (job(12, 42), ("QUEUED", None, None)),
]


def test_statuses() -> None:
    ads = [ad for ad, _ in STATES]
    found = CONDOR.statuses(said(json.dumps([*ads, "odd", {"ClusterId": 1}, {"JobStatus": 2}])))
    assert {name: brief(status) for name, status in found.items()} == {
        f"7.{index}": wanted for index, (_, wanted) in enumerate(STATES)
    }
    assert found["7.1"].metadata["restarts"] == 2
    assert found["7.4"].message == HELD


def test_history_tells_only_of_ends() -> None:
    found = CONDOR.outcomes(said(json.dumps([job(0, 4, ExitCode=0, ExitBySignal=False), job(1, 2)])))
    assert list(found) == ["7.0"]
    assert isinstance(found["7.0"], JobStatus)


def test_an_empty_queue_prints_nothing() -> None:
    assert CONDOR.statuses(said("\n")) == {}
    assert CONDOR.outcomes(said("[\n]\n")) == {}


@pytest.mark.parametrize(
    "answer",
    [
        said(err="Error: Couldn't contact the condor_collector", code=1),
        said("-- Schedd: odd\n"),
        said("{}"),
        said("[{"),
    ],
)
def test_no_answer(answer: object) -> None:
    with pytest.raises(NoAnswer):
        CONDOR.statuses(answer)  # type: ignore[arg-type]


def test_commands() -> None:
    assert CONDOR.status_command(["7.0", "7.1", "8.2"])[:3] == ["condor_q", "7", "8.2"]
    assert CONDOR.accounting_command(["7.0", "7.1"])[:5] == ["condor_history", "7.0", "7.1", "-limit", "2"]
    assert CONDOR.cancel_command(["7.0"]) == ["condor_rm", "7.0"]


def test_cancelling() -> None:
    assert not CONDOR.cancel_failed(said("Job 7.0 marked for removal\n"))
    assert not CONDOR.cancel_failed(said(err="Job 7.0 not found\n", code=1))
    assert not CONDOR.cancel_failed(said("Job 7.1 marked for removal\n", "Job 7.0 not found\n", 1))
    assert CONDOR.cancel_failed(said(err="Permission denied to remove job 7.0\n", code=1))
    assert CONDOR.cancel_failed(said(code=1))


def test_listing() -> None:
    assert CONDOR.listed(said(json.dumps([job(0, 1), job(1, 4, ExitCode=0)]))) == ["7.0"]
