"""Flux's words: directives, and answers as its commands print them."""

from __future__ import annotations

import shlex
from datetime import timedelta

import pytest
from tests.jobs.texts import ODD, brief, order, said

from harmony.errors import InvalidJobException
from harmony.jobs.scheduler import NoAnswer
from harmony.jobs.schedulers.flux import Flux

FLUX = Flux()


def words(**fields: object) -> list[str]:
    """The options in the directives, split as Flux splits them."""
    found = []
    for line in FLUX.directives(order(**fields)):  # type: ignore[arg-type]
        assert line.startswith("#FLUX: ")
        text = line.removeprefix("#FLUX:")
        assert "'''" not in text
        assert '"""' not in text
        lexer = shlex.shlex(text, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        lexer.escapedquotes = "\"'"
        found += list(lexer)
    return found


def test_a_plain_job() -> None:
    assert words(name="psij") == [
        "--nodes=1", "--nslots=1", "--cores-per-slot=1", "--time-limit=600s", "--job-name=psij", "--output=/work/1.out",
    ]  # fmt: skip


def test_every_field() -> None:
    found = words(
        node_count=2, processes_per_node=3, cpu_cores_per_process=4, gpu_cores_per_process=1, exclusive_node_use=True,
        queue_name="pbatch", account="lc", duration=timedelta(seconds=90), inherit_environment=False,
        after=["f1"], after_ok=["f2"], after_any=["f3"],
        custom_attributes={"flux.urgency": 20, "flux.unbuffered": None},
    )  # fmt: skip
    assert found == [
        "--nodes=2", "--nslots=6", "--cores-per-slot=4", "--gpus-per-slot=1", "--exclusive", "--time-limit=90s",
        "--job-name=true", "--output=/work/1.out", "--queue=pbatch", "--bank=lc", "--env-remove=*",
        "--dependency=after:f1", "--dependency=afterok:f2", "--dependency=afterany:f3", "--urgency=20", "--unbuffered",
    ]  # fmt: skip


@pytest.mark.parametrize("kind", ODD)
def test_odd_values_arrive(kind: str) -> None:
    value = ODD[kind]
    found = words(name=value, queue_name=value, account=value, log=f"/w/{value}", custom_attributes={"flux.cwd": value})
    for option in ("job-name=", "queue=", "bank=", "output=/w/", "cwd="):
        assert f"--{option}{value}" in found


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"memory": 1}, "memory=1"),
        ({"reservation_id": "r"}, "reservation_id='r'"),
        ({"log": "/w/{{id}}"}, "work_directory"),
    ],
)
def test_what_cannot_be_had_is_refused_by_name(fields: dict[str, object], named: str) -> None:
    with pytest.raises(InvalidJobException, match=named):
        words(**fields)


def test_ids() -> None:
    assert FLUX.native_id("ƒM7Zq9AKHno\n") == "fM7Zq9AKHno"
    assert FLUX.native_id("warning: odd\nfM7Zq9AKHno\n") == "fM7Zq9AKHno"
    with pytest.raises(ValueError, match="no job id"):
        FLUX.native_id("flux-batch: odd\n")


def test_refusals() -> None:
    gone = "flux-batch: ERROR: Unable to connect to Flux: broker socket /run/flux/local was not found"
    assert FLUX.refusal_is_transient(said(err=gone, code=1))
    assert not FLUX.refusal_is_transient(said(err="flux-batch: ERROR: [Errno 22] unsatisfiable request", code=1))


ANSWER = """\
ƒ1|11|DEPEND||||||
ƒ2|12|SCHED||||||
ƒ3|13|RUN||||||
ƒ4|14|CLEANUP|COMPLETED|0|||
ƒ5|15|INACTIVE|COMPLETED|0|||
ƒ6|16|INACTIVE|FAILED|3|||
ƒ7|17|INACTIVE|FAILED|137|||
ƒ8|18|INACTIVE|FAILED|-9|||
ƒ9|19|INACTIVE|TIMEOUT|142|0|timeout|resource allocation expired
ƒA|20|INACTIVE|CANCELED|-128|0|cancel|
ƒB|21|INACTIVE|CANCELED|143|0|cancel|
ƒC|22|INACTIVE|FAILED|1|0|alloc|unsatisfiable request | odd
ƒD|23|INACTIVE|CANCELED|-128|0|dependency|dependency afterok failed
ƒE|24|INACTIVE|FAILED|68|0|node-failure|lost host7
ƒF|25|STRANGE||||||
ƒG|26|INACTIVE|ODD|0|||
ƒH|27|INACTIVE|FAILED|5|3|dependency|after: is deprecated
no job at all
"""


def test_statuses() -> None:
    found = FLUX.statuses(said(ANSWER))
    assert {name: brief(status) for name, status in found.items() if name.startswith("f")} == {
        "f1": ("QUEUED", None, None),
        "f2": ("QUEUED", None, None),
        "f3": ("ACTIVE", None, None),
        "f4": ("ACTIVE", None, None),
        "f5": ("COMPLETED", 0, None),
        "f6": ("FAILED", 3, "exit"),
        "f7": ("FAILED", 137, "signal"),
        "f8": ("FAILED", 137, "signal"),
        "f9": ("FAILED", None, "walltime"),
        "fA": ("CANCELED", None, "canceled"),
        "fB": ("CANCELED", None, "canceled"),
        "fC": ("FAILED", None, "launch"),
        "fD": ("FAILED", None, "dependency"),
        "fE": ("FAILED", None, "node_failure"),
        "fF": ("QUEUED", None, None),
        "fG": ("COMPLETED", 0, None),
        "fH": ("FAILED", 5, "exit"),  # it was only warned
    }
    assert found["fC"].message == "unsatisfiable request | odd"
    assert found["ƒ6"] is found["f6"] is found["16"]


def test_unknown_jobs_are_not_in_the_queue() -> None:
    assert FLUX.statuses(said("ƒ3|13|RUN||||||\n", "JobID ƒ4 unknown\n", 1)).keys() == {"f3", "ƒ3", "13"}
    assert FLUX.statuses(said(err="JobID ƒ4 unknown\nJobID ƒ5 unknown\n", code=1)) == {}


@pytest.mark.parametrize("text", ["flux-jobs: ERROR: Unable to connect to Flux", ""])
def test_no_answer(text: str) -> None:
    with pytest.raises(NoAnswer):
        FLUX.statuses(said(err=text, code=1))
    with pytest.raises(NoAnswer):
        FLUX.listed(said(err=text, code=1))


def test_cancelling() -> None:
    assert not FLUX.cancel_failed(said())
    assert not FLUX.cancel_failed(said(err="flux-cancel: ƒ4: job is inactive\n", code=1))
    assert not FLUX.cancel_failed(said(err="flux-cancel: ƒ4: unknown job id\n", code=1))
    assert FLUX.cancel_failed(said(err="flux-cancel: ƒ4: guests may only cancel their own jobs\n", code=1))
    assert FLUX.signal_command(["f1"], "TERM") == ["flux", "job", "kill", "--signal=TERM", "f1"]


def test_listing() -> None:
    assert FLUX.listed(said("ƒ1|11|DEPEND||||||\nƒ3|13|RUN||||||\n")) == ["f1", "f3"]
