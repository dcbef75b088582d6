"""Torque's words: what is asked of it, and answers as its commands print them."""

from __future__ import annotations

import shlex

import pytest
from tests.jobs.texts import ODD, brief, order, said

from harmony.errors import InvalidJobException
from harmony.jobs.scheduler import NoAnswer
from harmony.jobs.schedulers.pbs_classic import PBSClassic

TORQUE = PBSClassic()

#: The first is the example of Torque's manual.
QSTAT = """\
Job Id: 179.host
    Job_Name = STDIN
    Job_Owner = user@host
    job_state = C
    queue = batchq
    server = host
    exec_host = node1/0
    Resource_List.nodes = node1
    sched_hint = Post job file processing error; job 179.host on host node1/0Bad UID for job execution
    exit_status = -1

Job Id: 180.host
    resources_used.walltime = 00:00:14
    job_state = C
    exec_host = node1/0
    Resource_List.walltime = 00:10:00
    exit_status = 271
    start_count = 1

Job Id: 181.host
    resources_used.walltime = 00:10:07
    job_state = C
    exec_host = node1/0
    Resource_List.walltime = 00:10:00
    exit_status = 271
    start_count = 1

Job Id: 182[3].host
    job_state = C
    exec_host = node1/0
    exit_status = 0
    job_array_id = 3

Job Id: 183.host
    job_state = C
    queue = batchq

Job Id: 186.host
    job_state = C
    depend = afterok:180.host@host

Job Id: 184.host
    job_state = R
    start_count = 3

Job Id: 185.host
    job_state = C
    exec_host = node1/0
    exit_status = -11
    start_count = 1
"""


def lines(**fields: object) -> list[str]:
    return TORQUE.directives(order(**fields))  # type: ignore[arg-type]


def words(**fields: object) -> list[str]:
    """The options, split as qsub splits a directive."""
    return [word for line in lines(**fields) if line.startswith("#PBS ") for word in shlex.split(line)[1:]]


def test_a_plain_job() -> None:
    assert lines(name="relax") == [
        "#PBS -N relax", "#PBS -S /bin/bash", "#PBS -j oe", "#PBS -o /dev/null",
        "#PBS -l nodes=1:ppn=1", "#PBS -l walltime=00:10:00", "#PBS -V", "exec >>/work/1.out 2>&1",
    ]  # fmt: skip


def test_resources() -> None:
    asked = words(
        node_count=2, processes_per_node=4, cpu_cores_per_process=2, gpu_cores_per_process=1, memory=2**24,
        exclusive_node_use=True, reservation_id="maint.7",
    )  # fmt: skip
    assert "nodes=2:ppn=8:gpus=4" in asked
    assert "pmem=1024kb" in asked
    assert "-n" in asked
    assert "x=FLAGS:ADVRES:maint.7" in asked
    assert "mem=16384kb" in words(process_count=2, memory=2**24)
    with pytest.raises(InvalidJobException, match="reservation_id='a,b'"):
        lines(reservation_id="a,b")


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
def test_odd_values_stay_one_word(odd: str) -> None:
    asked = words(queue_name=odd, account=odd, custom_attributes={"torque.M": odd, "pbs.r": "n", "pbspro.r": "y"})
    for option in ("-q", "-A", "-M"):
        assert asked[asked.index(option) + 1] == odd
    assert asked[-2:] == ["-r", "n"]


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
def test_odd_names_become_allowed_ones(odd: str) -> None:
    name = words(name=odd)[1]
    assert name[0].isalpha()
    assert name.isascii()
    assert " " not in name
    assert name.isprintable()


def test_dependencies_and_arrays() -> None:
    asked = words(after_ok=["1.host", "2[].host"], after_any=["3[1].host"], size=1)
    assert "depend=afterok:1.host,afterokarray:2[].host,afterany:3[1].host" in asked
    assert asked[asked.index("-t") + 1] == "0-0"
    assert TORQUE.array_ids("12[].host", 2) == ["12[0].host", "12[1].host"]
    assert TORQUE.status_command(["1.h", "2[0].h", "2[7].h"]) == ["qstat", "-f", "-1", "-t", "1.h", "2[].h"]


def test_statuses() -> None:
    found = TORQUE.statuses(said(QSTAT))
    assert {native_id: brief(status) for native_id, status in found.items()} == {
        "179.host": ("FAILED", None, "launch"),
        "180.host": ("FAILED", 143, "signal"),
        "181.host": ("FAILED", 143, "walltime"),
        "182[3].host": ("COMPLETED", 0, None),
        "183.host": ("CANCELED", None, "canceled"),
        "186.host": ("FAILED", None, "dependency"),
        "184.host": ("ACTIVE", None, None),
        "185.host": ("FAILED", None, "walltime"),
    }
    assert found["184.host"].metadata["restarts"] == 2


def test_a_job_that_is_not_there_spoils_no_other() -> None:
    assert len(TORQUE.statuses(said(QSTAT, "qstat: Unknown Job Id Error 77.host\n", 153))) == 8
    with pytest.raises(NoAnswer):
        TORQUE.statuses(said(QSTAT, "qstat: cannot connect to server host (errno=15137)\n", 1))


def test_a_cancel_that_comes_too_late_is_none_that_failed() -> None:
    late = "qdel: Request invalid for state of job MSG=invalid state for job - COMPLETE 12.host\n"
    assert not TORQUE.cancel_failed(said("", late, 170))
    assert TORQUE.cancel_failed(said("", "qdel: Unauthorized Request  MSG=operation not permitted 12.host\n", 159))
