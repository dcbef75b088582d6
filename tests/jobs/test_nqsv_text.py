"""NQSV's words: directives, and answers as its commands print them."""

from __future__ import annotations

import subprocess
from datetime import timedelta
from pathlib import Path

import pytest
from tests.jobs.texts import ODD, brief, order, said

from harmony.errors import InvalidJobException
from harmony.jobs.scheduler import NoAnswer
from harmony.jobs.schedulers.nqsv import NQSV

NQS = NQSV()


def lines(**fields: object) -> list[str]:
    return NQS.directives(order(**fields))  # type: ignore[arg-type]


def test_a_plain_job() -> None:
    assert lines(name="psij") == [
        "#PBS -N psij", "#PBS -o /work/1.out", "#PBS -j o", "#PBS -b 1", "#PBS -l cpunum_job=1",
        "#PBS -l elapstim_req=00:10:00", "#PBS -V",
    ]  # fmt: skip


def test_every_field() -> None:
    found = lines(
        node_count=2, processes_per_node=3, cpu_cores_per_process=4, gpu_cores_per_process=1, memory=3 * 2**30,
        exclusive_node_use=True, queue_name="gen_S", account="SKIING", reservation_id="1234",
        duration=timedelta(hours=48, seconds=1), inherit_environment=False,
        custom_attributes={"nqsv.T": "openmpi", "nqsv.rerunable": None, "nqsv.group": "G16445"},
    )  # fmt: skip
    assert found[3:] == [
        "#PBS -b 2", "#PBS -l cpunum_job=12", "#PBS -l elapstim_req=48:00:01", "#PBS -l gpunum_job=3",
        "#PBS -l memsz_job=1536mb", "#PBS --exclusive", "#PBS -q gen_S", "#PBS -A SKIING", "#PBS -y 1234",
        "#PBS -T openmpi", "#PBS --rerunable", "#PBS --group G16445",
    ]  # fmt: skip


@pytest.mark.parametrize("field", ["after", "after_ok", "after_any"])
def test_dependencies_are_refused_by_name(field: str) -> None:
    with pytest.raises(InvalidJobException, match=f"{field}="):
        lines(**{field: ["1.nqsv"]})


@pytest.mark.parametrize("field", ["queue_name", "account", "reservation_id", "custom_attributes", "log"])
@pytest.mark.parametrize("kind", ODD)
def test_odd_values_are_refused(field: str, kind: str) -> None:
    value = f"/w/{ODD[kind]}" if field == "log" else ODD[kind]
    given = {"nqsv.group": value} if field == "custom_attributes" else value
    if kind == "dash":
        assert any(line.endswith(f" {value}") for line in lines(**{field: given}))
    else:
        named = {"log": "work_directory", "custom_attributes": "group"}.get(field, field)
        with pytest.raises(InvalidJobException, match=named):
            lines(**{field: given})


@pytest.mark.parametrize("kind", ODD)
def test_odd_names_are_one_word(kind: str) -> None:
    words = lines(name=ODD[kind] * 9)[0].split()
    assert len(words) == 3
    assert len(words[2]) <= 63
    assert not set(words[2]) & set("'\"`$;|&<>()\\#")


def test_only_the_first_job_of_a_request_runs_the_script(tmp_path: Path) -> None:
    (tmp_path / "nodes").write_text("n1\nn1\nn2\n")
    script = "\n".join(["trap 'echo ended' EXIT", *NQS.preamble(order()), "psij_nodes"])
    for job, wanted in (
        ("0:996644.nqsv", "n1\nn2\nended\n"),
        ("1:996644.nqsv", ""),
        ("996644.nqsv", "n1\nn2\nended\n"),
    ):
        done = subprocess.run(
            ["/bin/bash", "-c", script], capture_output=True, text=True, check=True,
            env={"PBS_JOBID": job, "PBS_NODEFILE": str(tmp_path / "nodes"), "PATH": "/usr/bin:/bin"},
        )  # fmt: skip
        assert done.stdout == wanted


def test_ids() -> None:
    assert NQS.native_id("Request 996644.nqsv submitted to queue: gen_S.\n") == "996644.nqsv"
    assert NQS.native_id("Request 143993.ace-ssiox submitted to queue: clexpress.\n") == "143993.ace-ssiox"
    with pytest.raises(ValueError, match="no request id"):
        NQS.native_id("qsub: odd\n")


def test_refusals() -> None:
    assert NQS.refusal_is_transient(said(err="qsub: Cannot connect to the batch server.\n", code=1))
    assert not NQS.refusal_is_transient(said(err="qsub: No such queue: nope.\n", code=1))


def test_statuses() -> None:
    states = ("QUE", "WAT", "HLD", "SUS", "ARI", "TRS", "PRR", "MIG", "STG", "RUN", "EXT", "POR", "NEW")
    table = "".join(f"{number}.nqsv          {state}\n" for number, state in enumerate(states, 1))
    found = NQS.statuses(said(f"RequestID       STT\n{table}Batch Request: 99.nqsv does not exist on bsv0.\n"))
    assert {job: brief(status) for job, status in found.items() if "." in job} == {
        "1.nqsv": ("QUEUED", None, None),
        "2.nqsv": ("QUEUED", None, None),
        "3.nqsv": ("QUEUED", None, "held"),
        "4.nqsv": ("ACTIVE", None, None),
        "5.nqsv": ("QUEUED", None, None),
        "6.nqsv": ("QUEUED", None, None),
        "7.nqsv": ("ACTIVE", None, None),
        "8.nqsv": ("QUEUED", None, None),
        "9.nqsv": ("QUEUED", None, None),
        "10.nqsv": ("ACTIVE", None, None),
        "11.nqsv": ("ACTIVE", None, None),
        "12.nqsv": ("ACTIVE", None, None),
        "13.nqsv": ("ACTIVE", None, None),
    }
    assert found["10"] is found["10.nqsv"]
    assert found["13"].metadata["native_state"] == "NEW"


def test_unknown_requests_are_not_in_the_queue() -> None:
    assert NQS.statuses(said("Batch Request: 12345.bsv0 does not exist on bsv0.\n", code=1)) == {}
    assert NQS.statuses(said()) == {}


@pytest.mark.parametrize("text", ["qstat: Cannot connect to the batch server.", ""])
def test_no_answer(text: str) -> None:
    with pytest.raises(NoAnswer):
        NQS.statuses(said(err=text, code=1))
    with pytest.raises(NoAnswer):
        NQS.listed(said(err=text, code=1))


def test_cancelling_and_listing() -> None:
    assert not NQS.cancel_failed(said("Request 1.nqsv was deleted.\n"))
    assert not NQS.cancel_failed(said(err="Batch Request: 1.nqsv does not exist on bsv0.\n", code=1))
    assert NQS.cancel_failed(said(err="Permission denied\n", code=1))
    assert NQS.listed(said("1.nqsv  RUN\n2.nqsv  QUE\n")) == ["1.nqsv", "2.nqsv"]
    assert NQS.status_command(["1.nqsv"]) == ["qstat", "-F", "rid,stt", "-n", "-l", "1.nqsv"]
