"""OAR's words: directives, and answers as OAR 2.5.9 printed them."""

from __future__ import annotations

import json
import subprocess
from datetime import timedelta

import pytest
from tests.jobs.texts import ODD, brief, order, said

from harmony.errors import InvalidJobException
from harmony.jobs.scheduler import NoAnswer
from harmony.jobs.schedulers.oar import OAR

OAR_2 = OAR()


def lines(**fields: object) -> list[str]:
    return OAR_2.directives(order(**fields))  # type: ignore[arg-type]


def test_a_plain_job() -> None:
    assert lines(name="psij") == [
        "#OAR -n psij", "#OAR -O /work/1.out", "#OAR -E /work/1.out", "#OAR -l /nodes=1/resource_id=1,walltime=0:10:0",
    ]  # fmt: skip


def test_every_field() -> None:
    found = lines(
        node_count=2, processes_per_node=3, cpu_cores_per_process=2, queue_name="besteffort", account="my project",
        reservation_id="42", duration=timedelta(hours=30, seconds=5), size=3, after_any=["7", "8"],
        custom_attributes={"oar.t": "allow_classic_ssh", "oar.hold": None},
    )  # fmt: skip
    assert found == [
        "#OAR -n true", "#OAR -O /work/1.out", "#OAR -E /work/1.out", "#OAR -l /nodes=2/resource_id=6,walltime=30:0:5",
        "#OAR -q besteffort", "#OAR --project my project", "#OAR -t inner=42", "#OAR --array 3", "#OAR -a 7",
        "#OAR -a 8", "#OAR -t allow_classic_ssh", "#OAR --hold",
    ]  # fmt: skip


def test_other_resources() -> None:
    assert "#OAR -l /nodes=2,walltime=0:10:0" in lines(node_count=2, exclusive_node_use=True)
    gpus = lines(process_count=2, cpu_cores_per_process=3, gpu_cores_per_process=1)
    assert "#OAR -l /nodes=1/gpu=2/resource_id=3,walltime=0:10:0" in gpus
    own = lines(node_count=2, memory=1, custom_attributes={"oar.l": "/host=2/core=1,walltime=1"})
    assert [line for line in own if line.startswith("#OAR -l")] == ["#OAR -l /host=2/core=1,walltime=1"]


@pytest.mark.parametrize(
    ("fields", "named"),
    [({"memory": 1}, "memory=1"), ({"after": ["1"]}, "after="), ({"after_ok": ["1"]}, "after_ok=")],
)
def test_what_cannot_be_had_is_refused_by_name(fields: dict[str, object], named: str) -> None:
    with pytest.raises(InvalidJobException, match=named):
        lines(**fields)


@pytest.mark.parametrize("field", ["queue_name", "account", "reservation_id"])
@pytest.mark.parametrize("kind", ODD)
def test_odd_values_arrive_or_are_refused(field: str, kind: str) -> None:
    value = ODD[kind]
    if kind in {"blank", "blanks", "dash"}:
        assert any(line.endswith((f" {value}", f"={value}")) for line in lines(**{field: value}))
    else:
        with pytest.raises(InvalidJobException, match=field):
            lines(**{field: value})


@pytest.mark.parametrize("kind", ODD)
def test_odd_names_and_paths(kind: str) -> None:
    name = lines(name=ODD[kind] * 60)[0].removeprefix("#OAR -n ")
    assert len(name.encode()) <= 100
    assert not set(name) & set("'\"`$;|&<>(){}\\#*")
    if kind not in {"percent", "dash"}:
        with pytest.raises(InvalidJobException, match="work_directory"):
            lines(log=f"/w/{ODD[kind]}/é")


def test_ids() -> None:
    said_by_it = "[ADMISSION RULE] Set default walltime to 7200.\nOAR_JOB_ID=3\nOAR_JOB_ID=4\nOAR_ARRAY_ID=3\n"
    assert OAR_2.native_id(said_by_it) == "3,4"
    assert OAR_2.array_ids("10,9", 2) == ["9", "10"]
    assert OAR_2.native_id("OAR_JOB_ID=12\n") == "12"
    with pytest.raises(ValueError, match="no job id"):
        OAR_2.native_id("[ADMISSION RULE] Modify resource description with type constraints\nOAR_JOB_ID=-5\n")


def test_refusals() -> None:
    assert not OAR_2.refusal_is_transient(said(err="ERROR : The queue nope does not exist\n", code=248))
    assert not OAR_2.refusal_is_transient(said(err="There are not enough resources for your request\n", code=8))
    refused = "Cannot connect to database (type=Pg, host=localhost): could not connect to server: Connection refused"
    assert OAR_2.refusal_is_transient(said(err=refused, code=1))


def record(number: int, state: str, *events: str, **more: object) -> dict[str, object]:
    told = [{"type": event, "description": f"about {event}", "date": 100, "job_id": number} for event in events]
    return {
        "Job_Id": number, "state": state, "events": told, "exit_code": None, "stopTime": 100, "message": "R=1,W=0:1:0",
        "name": 'it\'s "odd" $(x) é', **more,
    }  # fmt: skip


STATES = [
    (record(1, "Waiting"), ("QUEUED", None, None)),
    (record(2, "Hold"), ("QUEUED", None, "held")),
    (record(3, "Launching"), ("QUEUED", None, None)),
    (record(4, "Running"), ("ACTIVE", None, None)),
    (record(5, "Terminated", "SWITCH_INTO_TERMINATE_STATE", exit_code=0), ("COMPLETED", 0, None)),
    (record(6, "Terminated", "SWITCH_INTO_TERMINATE_STATE", exit_code=768), ("FAILED", 3, "exit")),
    (record(7, "Terminated", exit_code=9), ("FAILED", 137, "signal")),
    (record(8, "Error", "FRAG_JOB_REQUEST", "SEND_KILL_JOB"), ("CANCELED", None, "canceled")),
    (record(9, "Error", "FRAG_JOB_REQUEST", "WALLTIME", "SEND_KILL_JOB"), ("FAILED", None, "walltime")),
    (record(10, "Error", "BESTEFFORT_KILL", "FRAG_JOB_REQUEST"), ("FAILED", None, "preempted")),
    (record(11, "Error"), ("FAILED", None, "unknown")),
    (record(12, "Terminated"), ("COMPLETED", None, None)),
    (record(13, "Terminated", "FRAG_JOB_REQUEST", exit_code=768, stopTime=50), ("FAILED", 3, "exit")),
    (record(14, "toNewState"), ("QUEUED", None, None)),
    (record(15, "Terminated", exit_code="256", events=["odd", None]), ("FAILED", 1, "exit")),
]


def test_statuses() -> None:
    answer: dict[str, object] = {str(job["Job_Id"]): job for job, _ in STATES}
    found = OAR_2.statuses(said(json.dumps({**answer, "odd": [], "odder": {"Job_Id": 1}})))
    assert {job: brief(status) for job, status in found.items()} == {
        str(job["Job_Id"]): wanted for job, wanted in STATES
    }
    assert found["9"].message == "about WALLTIME"


def test_unknown_jobs_are_left_out() -> None:
    assert OAR_2.statuses(said("", "/!\\ ERROR: No job id provided in command line or environment variables\n")) == {}


@pytest.mark.parametrize("answer", [said(err="Cannot connect to database", code=1), said("No such thing"), said("[]")])
def test_no_answer(answer: object) -> None:
    with pytest.raises(NoAnswer):
        OAR_2.statuses(answer)  # type: ignore[arg-type]


def test_commands() -> None:
    assert OAR_2.status_command(["7", "8,9"]) == ["oarstat", "-J", "-f", "-j", "7", "-j", "8", "-j", "9"]
    assert OAR_2.cancel_command(["8,9"]) == ["oardel", "8", "9"]
    assert OAR_2.signal_command(["7"], "TERM") == ["oardel", "-s", "TERM", "7"]


def test_cancelling() -> None:
    done = "Deleting the job = 1 ...REGISTERED.\nThe job(s) [ 1 ] will be deleted in the near future.\n"
    assert not OAR_2.cancel_failed(said(done))
    again = "Cannot frag 2 ; This job was already killed.\n"
    assert not OAR_2.cancel_failed(said("Deleting the job = 2 ...ERROR.\n", again, 6))
    foreign = "Cannot frag 777 ; You are not the right user.\n"
    assert OAR_2.cancel_failed(said(done, foreign, 1))
    assert OAR_2.cancel_failed(said(done, foreign + again, 6))
    assert OAR_2.cancel_failed(said(code=2))


def test_the_submitters_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OF_THE_SUBMITTER", "it's $(x)\nand more")
    monkeypatch.setenv("OAR_JOB_ID", "7")
    script = "\n".join([*OAR_2.preamble(order()), 'printf %s "$OF_THE_SUBMITTER"', "env"])
    done = subprocess.run(["/bin/bash", "-c", script], env={}, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("it's $(x)\nand more")
    assert "OAR_JOB_ID=" not in done.stdout
    assert not any("export " in line for line in OAR_2.preamble(order(inherit_environment=False)))
