"""The words of PBS Professional and OpenPBS: what is asked of it, and answers as its commands print them."""

from __future__ import annotations

import shlex
from datetime import timedelta

import pytest
from tests.jobs.texts import ODD, brief, order, said

from harmony.errors import InvalidJobException
from harmony.jobs.scheduler import NoAnswer
from harmony.jobs.schedulers.pbs import PBS

OPENPBS = PBS()

QSTAT = """\
Job Id: 1001.pbs-server
    Job_Name = relax
    Job_Owner = someone@login1.example.org
    job_state = Q
    queue = workq
    comment = Not Running: Insufficient amount of resource: ncpus (R: 4 A: 0 T
\t: 8)
    Variable_List = PBS_O_HOME=/home/someone,PBS_O_LANG=C.UTF-8,
\tPBS_O_LOGNAME=someone,PBS_O_PATH=/usr/local/bin:/usr/bin

Job Id: 1002.pbs-server
    Job_Name = relax
    resources_used.walltime = 00:00:07
    job_state = R
    run_count = 2
    stime = Sat Nov 21 09:07:20 2026
    comment = Job run at Sat Nov 21 at 09:07 on (n1:ncpus=1)

Job Id: 1003.pbs-server
    job_state = F
    Exit_status = 3
    substate = 93
    run_count = 1
    comment = Job run at Sat Nov 21 at 09:07 on (n1:ncpus=1) and failed

Job Id: 1004.pbs-server
    job_state = F
    Exit_status = 0
    substate = 92
    run_count = 1
    comment = Job run at Sat Nov 21 at 09:07 on (n1:ncpus=1) and finished

Job Id: 1005.pbs-server
    job_state = F
    Exit_status = 271
    substate = 91
    run_count = 1
    comment = Job run at Sat Nov 21 at 09:07 on (n1:ncpus=1) and terminated by s
\tomeone@login1

Job Id: 1006.pbs-server
    job_state = F
    substate = 91
    queue = workq

Job Id: 1007.pbs-server
    job_state = F
    Exit_status = -29
    substate = 93
    run_count = 1
    comment = Job run at Sat Nov 21 at 09:07 on (n1:ncpus=1) and exceeded resour
\tce walltime

Job Id: 1008[2].pbs-server
    job_state = X
    array_index = 2
    substate = 92
    comment = Subjob finished

Job Id: not an id at all
    job_state = R

Job Id: 1009.pbs-server
    Job_Name = cut off by a full di"""


def lines(**fields: object) -> list[str]:
    return OPENPBS.directives(order(**fields))  # type: ignore[arg-type]


def words(**fields: object) -> list[str]:
    """The options, split as qsub splits a directive: quotes are dropped, what is between them stays as it is."""
    return [word for line in lines(**fields) if line.startswith("#PBS ") for word in shlex.split(line)[1:]]


def one(attributes: str) -> tuple[str, int | None, str | None]:
    (status,) = OPENPBS.statuses(said(f"Job Id: 1.server\n{attributes}")).values()
    return brief(status)


def test_a_plain_job() -> None:
    assert lines(name="relax") == [
        "#PBS -N relax", "#PBS -S /bin/bash", "#PBS -j oe", "#PBS -o /dev/null",
        "#PBS -l select=1:ncpus=1:mpiprocs=1", "#PBS -l walltime=00:10:00", "#PBS -V", "exec >>/work/1.out 2>&1",
    ]  # fmt: skip


def test_resources() -> None:
    asked = words(
        node_count=2, processes_per_node=4, cpu_cores_per_process=3, gpu_cores_per_process=1, memory=2**31 + 1,
        exclusive_node_use=True, duration=timedelta(hours=100, seconds=1.2),
    )  # fmt: skip
    assert "select=2:ncpus=12:mpiprocs=4:ompthreads=3:ngpus=4:mem=1048577kb" in asked
    assert "place=scatter:excl" in asked
    assert "walltime=100:00:02" in asked


def test_the_environment_is_handed_on_only_if_it_is_to_be() -> None:
    assert "-V" in words()
    assert "-V" not in words(inherit_environment=False)


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
def test_odd_values_stay_one_word(odd: str) -> None:
    asked = words(queue_name=odd, account=odd, custom_attributes={"pbs.P": odd, "pbspro.r": "n"})
    for option in ("-q", "-A", "-P"):
        assert asked[asked.index(option) + 1] == odd
    assert asked[-2:] == ["-r", "n"]


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
def test_odd_names_become_allowed_ones(odd: str) -> None:
    name = words(name=odd)[1]
    assert name[0].isalpha()
    assert name.isascii()
    assert set("_+.-").issuperset(c for c in name if not c.isalnum())


def test_names() -> None:
    assert words(name="2nd try")[1] == "j2nd_try"
    assert len(words(name="x" * 500)[1]) == 230


def test_an_odd_path_of_the_log() -> None:
    assert lines(log="/it's a $place/1.out")[-1] == "exec >>'/it'\"'\"'s a $place/1.out' 2>&1"


def test_options() -> None:
    assert lines(custom_attributes={"pbs.l": "filesystems=home:eagle", "pbs.h": None, "slurm.x": "y"})[-3:-1] == [
        "#PBS -l filesystems=home:eagle", "#PBS -h",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "value"),
    [("pbs.place", "excl"), ("pbs.J", "0-3"), ("pbs.o", "/tmp/x"), ("pbs.z", None), ("pbs.I", None), ("pbs.A", "a\nb")],
)
def test_options_that_cannot_be(name: str, value: str | None) -> None:
    with pytest.raises(InvalidJobException, match=r"A='a\\nb'" if name == "pbs.A" else name):
        lines(custom_attributes={name: value})


def test_a_reservation_is_a_queue() -> None:
    assert "R17" in words(reservation_id="R17.pbs-server")
    assert words(reservation_id="R17.pbs-server", queue_name="R17").count("-q") == 2
    with pytest.raises(InvalidJobException, match="queue_name='workq'"):
        lines(reservation_id="R17", queue_name="workq")
    with pytest.raises(InvalidJobException, match="reservation_id"):
        lines(reservation_id="a b")


def test_dependencies() -> None:
    asked = words(after=["1.s"], after_ok=["2.s", "3[].s"], after_any=["4.s"])
    assert "depend=after:1.s,afterok:2.s:3[].s,afterany:4.s" in asked
    with pytest.raises(InvalidJobException, match=r"after_ok='3\[1\]\.s'"):
        lines(after_ok=["3[1].s"])
    with pytest.raises(InvalidJobException, match="after='1,after:2'"):
        lines(after=["1,after:2"])


def test_arrays() -> None:
    assert "-J" in (asked := words(size=3))
    assert asked[asked.index("-J") + 1] == "0-2"
    assert OPENPBS.array_ids("12[].pbs-server", 2) == ["12[0].pbs-server", "12[1].pbs-server"]
    with pytest.raises(InvalidJobException, match="at least two"):
        lines(size=1)


def test_the_id() -> None:
    assert OPENPBS.native_id("Welcome. Read the news.\n1001.pbs-server\n") == "1001.pbs-server"
    assert OPENPBS.native_id("1001[].pbs-server.example.org") == "1001[].pbs-server.example.org"
    with pytest.raises(ValueError, match="no id"):
        OPENPBS.native_id("1001 jobs are waiting\n")


def test_the_status_of_an_array_is_asked_for_once() -> None:
    assert OPENPBS.status_command(["1.s", "2[0].s", "2[7].s"]) == ["qstat", "-x", "-f", "-t", "1.s", "2[].s"]
    assert OPENPBS.status_command(["1.s"]) == ["qstat", "-x", "-f", "1.s"]


def test_statuses() -> None:
    found = OPENPBS.statuses(said(QSTAT))
    assert {native_id: brief(status) for native_id, status in found.items()} == {
        "1001.pbs-server": ("QUEUED", None, None),
        "1002.pbs-server": ("ACTIVE", None, None),
        "1003.pbs-server": ("FAILED", 3, "exit"),
        "1004.pbs-server": ("COMPLETED", 0, None),
        "1005.pbs-server": ("CANCELED", 271, "canceled"),
        "1006.pbs-server": ("CANCELED", None, "canceled"),
        "1007.pbs-server": ("FAILED", None, "walltime"),
        "1008[2].pbs-server": ("COMPLETED", None, None),
    }
    assert found["1001.pbs-server"].message == "Not Running: Insufficient amount of resource: ncpus (R: 4 A: 0 T: 8)"
    assert found["1002.pbs-server"].metadata == {"native_state": "R", "restarts": 1}


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ("    job_state = F\n    Exit_status = 265\n    run_count = 1\n", ("FAILED", 137, "signal")),
        ("    job_state = F\n    Exit_status = 137\n    run_count = 1\n", ("FAILED", 137, "signal")),
        ("    job_state = F\n    Exit_status = -27\n", ("FAILED", None, "out_of_memory")),
        ("    job_state = F\n    Exit_status = -20\n", ("FAILED", None, "node_failure")),
        ("    job_state = F\n    Exit_status = -17\n", ("FAILED", None, "launch")),
        ("    job_state = F\n    Exit_status = -99\n", ("FAILED", None, "launch")),
        ("    job_state = F\n    run_count = 1\n", ("COMPLETED", None, None)),
        ("    job_state = X\n    substate = 93\n    comment = Subjob failed\n", ("FAILED", None, "exit")),
        ("    job_state = H\n    Hold_Types = u\n", ("QUEUED", None, "held")),
        ("    job_state = H\n    Hold_Types = s\n", ("QUEUED", None, None)),
        ("    job_state = S\n", ("ACTIVE", None, None)),
        ("    job_state = B\n", ("ACTIVE", None, None)),
        ("    job_state = new\n", ("QUEUED", None, None)),
        ("    job_state = R\n    Variable_List = A=a\n    job_state = F\n", ("ACTIVE", None, None)),
        (
            "    job_state = F\n    comment = Job deleted as result of dependency on job 7.server\n",
            ("FAILED", None, "dependency"),
        ),
        (
            (
                "    job_state = F\n    Exit_status = 271\n    run_count = 1\n    resources_used.walltime = 00:01:04\n"
                "    Resource_List.walltime = 00:01:00\n"
            ),
            ("FAILED", 143, "walltime"),
        ),
        (
            (
                "    job_state = F\n    Exit_status = 265\n    run_count = 1\n    resources_used.mem = 2097152kb\n"
                "    Resource_List.mem = 2gb\n"
            ),
            ("FAILED", 137, "out_of_memory"),
        ),
    ],
)
def test_ends(attributes: str, expected: tuple[str, int | None, str | None]) -> None:
    assert one(attributes) == expected


def test_a_job_that_is_not_there_spoils_no_other() -> None:
    err = "qstat: Unknown Job Id 77.pbs-server\nqstat: 78.pbs-server Job has finished, use -x or -H to obtain\n"
    assert len(OPENPBS.statuses(said(QSTAT, err, 153))) == 8
    assert OPENPBS.statuses(said("", "qstat: Unknown Job Id 77.pbs-server\n", 153)) == {}


@pytest.mark.parametrize(
    "err", ["", "qstat: cannot connect to server pbs (errno=111)\n", "qstat: Unknown Job Id 7.s\nqstat: End of File\n"]
)
def test_no_answer(err: str) -> None:
    with pytest.raises(NoAnswer):
        OPENPBS.statuses(said(QSTAT, err, 1))


@pytest.mark.parametrize(
    ("err", "transient"),
    [
        ("qsub: cannot connect to server pbs (errno=111)", True),
        ("Connection refused\nqsub: cannot connect to server pbs-server (errno=15010)", True),
        ("qsub: would exceed queue workq's per-user limit", True),
        ("qsub: Maximum number of jobs for user someone already in queue workq", True),
        ("qsub: Unknown queue", False),
        ("qsub: Job violates queue and/or server resource limits", False),
        ("qsub: Unauthorized Request", False),
        ("qsub: illegal -N value", False),
    ],
)
def test_refusals(err: str, transient: bool) -> None:
    assert OPENPBS.refusal_is_transient(said("", err, 1)) is transient


def test_acting() -> None:
    assert OPENPBS.cancel_command(["1.s", "2[0].s"]) == ["qdel", "1.s", "2[0].s"]
    assert OPENPBS.signal_command(["1.s"], "TERM") == ["qsig", "-s", "SIGTERM", "1.s"]
    assert not OPENPBS.cancel_failed(said("", "qdel: Job has finished 1.s\nqdel: Unknown Job Id 2.s\n", 153))
    assert OPENPBS.cancel_failed(said("", "qdel: Unauthorized Request  1.s\n", 159))
    assert OPENPBS.cancel_failed(said("", "", 1))
    assert OPENPBS.listed(said("1.s\n2[].s\nnonsense here\n")) == ["1.s", "2[].s"]
    with pytest.raises(NoAnswer):
        OPENPBS.listed(said("", "qselect: cannot connect to server", 1))


@pytest.mark.parametrize(
    ("code", "told"), [(129, 129), (192, 192), (255, 255), (193, 193), (256 + 9, 137), (128, 128)]
)  # fmt: skip
def test_exit_status_is_that_of_a_signal_only_where_there_is_such_a_signal(code: int, told: int) -> None:
    text = f"Job Id: 1.s\n    job_state = F\n    substate = 93\n    Exit_status = {code}\n    stime = x\n"
    status = PBS().statuses(said(text))["1.s"]
    assert status.exit_code == told
    assert (status.reason == "signal") is (128 < code <= 192 or code > 256)
