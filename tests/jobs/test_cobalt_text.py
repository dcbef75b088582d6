"""Cobalt's words: directives, and answers as its commands print them."""

from __future__ import annotations

import subprocess
from datetime import timedelta
from pathlib import Path

import pytest
from tests.jobs.texts import ODD, brief, order, said

from harmony.errors import InvalidJobException
from harmony.jobs.scheduler import NoAnswer
from harmony.jobs.schedulers.cobalt import Cobalt

COBALT = Cobalt()


def words(**fields: object) -> list[str]:
    """The options of the directives, split as Cobalt splits them."""
    found = []
    for line in COBALT.directives(order(**fields)):  # type: ignore[arg-type]
        assert line.startswith("#COBALT ")
        found += line.removeprefix("#COBALT ").split()
    return found


def test_a_plain_job() -> None:
    assert words(name="psij") == [
        "-n", "1", "--proccount", "1", "-t", "10", "--jobname", "psij", "-o", "/work/1.out", "-e", "/work/1.out",
        "--debuglog", "/dev/null",
    ]  # fmt: skip


def test_every_field() -> None:
    found = words(
        node_count=2, processes_per_node=3, queue_name="debug", account="proj", duration=timedelta(seconds=61),
        exclusive_node_use=True, after_ok=["7", "8"],
        custom_attributes={"cobalt.attrs": "mcdram=flat:numa=quad", "cobalt.preemptable": None},
    )  # fmt: skip
    assert found[:6] == ["-n", "2", "--proccount", "6", "-t", "2"]
    assert found[14:] == [
        "-q", "debug", "-A", "proj", "--dependencies", "7:8", "--attrs", "mcdram=flat:numa=quad", "--preemptable",
    ]  # fmt: skip
    assert words(reservation_id="R.mine")[-2:] == ["-q", "R.mine"]


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"memory": 1}, "memory=1"),
        ({"gpu_cores_per_process": 1}, "gpu_cores_per_process=1"),
        ({"after": ["1"]}, "after="),
        ({"after_any": ["1"]}, "after_any="),
        ({"queue_name": "q", "reservation_id": "r"}, "reservation_id='r'"),
        ({"log": "/w/$x"}, "work_directory"),
        ({"log": "/a b/1.out"}, "work_directory"),
    ],
)
def test_what_cannot_be_had_is_refused_by_name(fields: dict[str, object], named: str) -> None:
    with pytest.raises(InvalidJobException, match=named):
        words(**fields)


@pytest.mark.parametrize("field", ["queue_name", "account", "reservation_id", "custom_attributes"])
@pytest.mark.parametrize("kind", ODD)
def test_odd_values_arrive_or_are_refused(field: str, kind: str) -> None:
    value = ODD[kind]
    given = {"cobalt.attrs": value} if field == "custom_attributes" else value
    if " " in value or value.startswith("-"):
        with pytest.raises(InvalidJobException, match="attrs" if field == "custom_attributes" else field):
            words(**{field: given})
    else:
        assert value in words(**{field: given})


@pytest.mark.parametrize("kind", ODD)
def test_odd_names_are_one_word(kind: str) -> None:
    found = words(name=ODD[kind])
    assert found[found.index("--jobname") + 2] == "-o"


def test_the_script_is_made_executable(tmp_path: Path) -> None:
    script = tmp_path / "job.sh"
    script.write_text("")
    script.chmod(0o600)
    (tmp_path / "qsub").write_text('#!/bin/sh\n[ -x "$1" ] && echo 12345\n')
    (tmp_path / "qsub").chmod(0o700)
    done = subprocess.run(
        COBALT.submit_command(str(script)), env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    assert COBALT.native_id(done.stdout) == "12345"


def test_ids() -> None:
    assert COBALT.native_id('Job routed to queue "default".\nMemory mode set to cache quad\n479652\n') == "479652"
    with pytest.raises(ValueError, match="no job id"):
        COBALT.native_id("failed to create the job.  Maybe a queue isn't there?\n")


def test_refusals() -> None:
    assert COBALT.refusal_is_transient(said(err="Failed to connect to queue-manager\n", code=1))
    assert not COBALT.refusal_is_transient(said(err="command /w/1.sh not found, or is not a file\n", code=1))


def test_statuses() -> None:
    states = ["queued", "starting", "running", "user_hold", "dep_fail", "killing", "exiting", "brand_new"]
    jobs = [*((str(number), state) for number, state in enumerate(states, 11)), ("odd", "running")]
    answer = "".join(f"JobID: {job}\n    State : {state}\n\n" for job, state in jobs)
    found = COBALT.statuses(said(f"strange line\n{answer}"))
    assert {job: brief(status) for job, status in found.items()} == {
        "11": ("QUEUED", None, None),
        "12": ("QUEUED", None, None),
        "13": ("ACTIVE", None, None),
        "14": ("QUEUED", None, "held"),
        "15": ("FAILED", None, "dependency"),
        "16": ("ACTIVE", None, None),
        "17": ("ACTIVE", None, None),
        "18": ("ACTIVE", None, None),
    }
    assert found["18"].metadata["native_state"] == "brand_new"


def test_unknown_jobs_are_not_in_the_queue() -> None:
    assert COBALT.statuses(said(code=1)) == {}


@pytest.mark.parametrize(
    "answer", [said(err="Failed to connect to queue-manager", code=1), said("odd"), said(code=127), said(code=2)]
)
def test_no_answer(answer: object) -> None:
    with pytest.raises(NoAnswer):
        COBALT.statuses(answer)  # type: ignore[arg-type]


def test_commands() -> None:
    assert COBALT.status_command(["1", "2"]) == ["qstat", "-l", "--header", "JobID:State", "1", "2"]
    assert COBALT.cancel_command(["1"]) == ["qdel", "1"]
    assert COBALT.accounting_command(["1"]) is None
    assert not COBALT.cancel_failed(said("      Deleted Jobs\nJobID  User\n"))
    assert COBALT.cancel_failed(said(err="odd is not a valid jobid", code=1))
    assert COBALT.listed(said("JobID: 11\n    State : queued\n")) == ["11"]


def test_the_submitters_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OF_THE_SUBMITTER", "it's $(x)\nand more")
    monkeypatch.setenv("COBALT_JOBID", "7")
    script = "\n".join([*COBALT.preamble(order()), 'printf %s "$OF_THE_SUBMITTER"', "env"])
    done = subprocess.run(["/bin/bash", "-c", script], env={}, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("it's $(x)\nand more")
    assert "COBALT_JOBID=" not in done.stdout
    assert not any("export " in line for line in COBALT.preamble(order(inherit_environment=False)))
