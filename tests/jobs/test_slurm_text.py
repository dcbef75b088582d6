"""What Slurm is told, and how its answers are read. The answers are of Slurm 22.05, if it is not said otherwise."""

from __future__ import annotations

import re
import subprocess
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.jobs.texts import ODD, brief, order, said

from harmony.errors import InvalidJobException
from harmony.jobs.scheduler import NoAccounting, NoAnswer
from harmony.jobs.schedulers.slurm import Slurm
from harmony.jobs.state import JobState

SLURM = Slurm()
QUEUE = """\
1_0         PENDING         0           0       None
1_1         FAILED          768         0       NonZeroExitCode
2           CANCELLED       0           0       BeginTime
3           CANCELLED       0           0       DependencyNeverSatisfied
4           FAILED          9           0       JobLaunchFailure
5           FAILED          4021        0       JobLaunchFailure
6           TIMEOUT         15          0       TimeLimit
7           PENDING         768         1       BeginTime
8           RUNNING         0           2       None
9           PENDING         0           0       JobHeldUser
10          COMPLETED       0           0       None
11          CANCELLED       1280        0       None
12          PENDING         0           0       Nodes required for job are DOWN, DRAINED or reserved
13          NODE_FAIL       1           0       NodeDown
14          OUT_OF_MEMORY   125         0       OutOfMemory
15          PENDING         0           0       launch failed requeued held
16          PENDING         0           0       Dependency
17          PENDING         0           0       DependencyNeverSatisfied
"""
ACCOUNTING = """\
1|1|3:0|1795252482|None|FAILED
4|4|0:9|1795252504|None|FAILED
6|6|0:0|Unknown|None|RUNNING
2|2_[0-1]|0:0|1795252503|None|CANCELLED by 0
5|5|0:53|1795252504|None|FAILED
8|8|0:0|1795252511|None|TIMEOUT
9|9|0:0|Unknown|BeginTime|PENDING
10|10|0:0|1795252511|odd | reason|COMPLETED
12|11_4|0:125|1795252512|None|OUT_OF_MEMORY
13|13|1:0|1795252513|None|NODE_FAIL
14|14|0:15|1795252514|None|PREEMPTED
"""


def options(lines: list[str]) -> dict[str, str]:
    """The directives, by name."""
    found = {}
    for line in lines:
        match = re.fullmatch(r"#SBATCH --?([\w-]+)(?:[= ](.*))?", line)
        assert match, line
        assert match[1] not in found, line
        found[match[1]] = match[2] or ""
    return found


def unquoted(text: str) -> str:
    """A value as sbatch reads it."""
    match = re.fullmatch(r'"((?:\\.|[^"\\])*)"', text)
    return re.sub(r"\\(.)", r"\1", match[1]) if match else text


def test_the_directives_of_a_plain_job() -> None:
    assert SLURM.directives(order()) == [
        "#SBATCH --job-name=true",
        "#SBATCH --output=/work/1.out",
        "#SBATCH --export=ALL",
        "#SBATCH --time=10:00",
        "#SBATCH --nodes=1",
        "#SBATCH --ntasks=1",
        "#SBATCH --ntasks-per-node=1",
    ]


def test_every_field_has_its_directive() -> None:
    found = options(
        SLURM.directives(
            order(
                size=5,
                name="n",
                inherit_environment=False,
                node_count=2,
                processes_per_node=3,
                cpu_cores_per_process=4,
                gpu_cores_per_process=1,
                memory=1 << 30,
                exclusive_node_use=True,
                duration=timedelta(hours=30, seconds=1),
                queue_name="q",
                account="a",
                reservation_id="r",
                after=["1"],
                after_ok=["2_0", "3"],
                after_any=["4"],
                custom_attributes={"slurm.constraint": "x&y", "slurm.requeue": None, "slurm.p": "z", "lsf.q": "no"},
            )
        )
    )
    assert found == {
        "job-name": "n", "output": "/work/1.out", "export": "NONE", "time": "1800:01", "nodes": "2", "ntasks": "6",
        "ntasks-per-node": "3", "cpus-per-task": "4", "gpus-per-task": "1", "mem": "524288K", "exclusive": "",
        "array": "0-4", "partition": "q", "account": "a", "reservation": "r",
        "dependency": "after:1,afterok:2_0:3,afterany:4", "kill-on-invalid-dep": "yes", "constraint": '"x&y"',
        "requeue": "", "p": "z",
    }  # fmt: skip


@pytest.mark.parametrize("value", ODD.values(), ids=ODD.keys())
def test_values_are_quoted_once(value: str) -> None:
    found = options(
        SLURM.directives(
            order(queue_name=value, account=value, reservation_id=value, custom_attributes={"slurm.comment": value})
        )
    )
    for name in ("partition", "account", "reservation", "comment"):
        assert unquoted(found[name]) == value


def test_the_log_is_no_pattern() -> None:
    def log(path: str) -> str:
        return unquoted(options(SLURM.directives(order(log=path)))["output"])

    assert log("/a b/%j/100%.out") == "/a b/%%j/100%%.out"
    assert log("/a\\b/%j.out") == "/a\\\\b/%j.out"  # with a backslash there are no patterns


@pytest.mark.parametrize("field", ["log", "custom_attributes"])
def test_a_newline_is_refused_by_name(field: str) -> None:
    value: Any = {"slurm.comment": "a\nb"} if field == "custom_attributes" else "a\nb"
    with pytest.raises(InvalidJobException, match="comment" if field == "custom_attributes" else "log"):
        SLURM.directives(order(**{field: value}))


@pytest.mark.parametrize("name", ["array", "a", "o", "output", "M", "clusters", "wait", "wrap", "x y", "x=1", "-"])
def test_options_that_contradict_are_refused_by_name(name: str) -> None:
    with pytest.raises(InvalidJobException, match=re.escape(f"slurm.{name}")):
        SLURM.directives(order(custom_attributes={f"slurm.{name}": "1"}))


def test_a_dependency_of_the_users_own_is_kept() -> None:
    own = {"slurm.dependency": "singleton"}
    assert options(SLURM.directives(order(custom_attributes=own)))["dependency"] == "singleton"
    both = options(SLURM.directives(order(custom_attributes=own, after_ok=["7"])))
    assert both["dependency"] == "afterok:7,singleton"
    with pytest.raises(InvalidJobException, match="afterok: 'x y'"):
        SLURM.directives(order(after_ok=["x y"]))


@pytest.mark.parametrize("name", ["gres", "gpus", "gpus-per-node", "G"])
def test_gpus_may_be_asked_for_in_another_way(name: str) -> None:
    found = options(SLURM.directives(order(gpu_cores_per_process=2, custom_attributes={f"slurm.{name}": "gpu:a100:2"})))
    assert "gpus-per-task" not in found
    assert found[name] == "gpu:a100:2"


@pytest.mark.parametrize(
    ("printed", "native_id"),
    [("12\n", "12"), ("12;far\n", "12"), ("Welcome 2 all\n12\n", "12"), ("Submitted batch job 12\n", "12")],
)
def test_the_id(printed: str, native_id: str) -> None:
    assert SLURM.native_id(printed) == native_id


@pytest.mark.parametrize("printed", ["", "sbatch: ok\n", "job x12\n"])
def test_no_id(printed: str) -> None:
    with pytest.raises(ValueError, match="has not printed an id"):
        SLURM.native_id(printed)


def test_ids_of_an_array() -> None:
    assert SLURM.array_ids("7", 3) == ["7_0", "7_1", "7_2"]


def test_the_queue() -> None:
    found = SLURM.statuses(said(QUEUE))
    assert {key: brief(status) for key, status in found.items()} == {
        "1_0": ("QUEUED", None, None), "1_1": ("FAILED", 3, "exit"), "2": ("CANCELED", None, "canceled"),
        "3": ("FAILED", None, "dependency"), "4": ("FAILED", 137, "signal"), "5": ("FAILED", None, "launch"),
        "6": ("FAILED", None, "walltime"), "7": ("QUEUED", None, None), "8": ("ACTIVE", None, None),
        "9": ("QUEUED", None, "held"), "10": ("COMPLETED", 0, None), "11": ("CANCELED", 5, "canceled"),
        "12": ("QUEUED", None, None), "13": ("FAILED", None, "node_failure"), "14": ("FAILED", None, "out_of_memory"),
        "15": ("QUEUED", None, "held"), "16": ("QUEUED", None, None), "17": ("QUEUED", None, "dependency"),
    }  # fmt: skip
    assert found["8"].metadata == {"native_state": "RUNNING", "restarts": 2}
    assert found["12"].message == "Nodes required for job are DOWN, DRAINED or reserved"
    assert found["4"].metadata["signal"] == 9


def test_accounting() -> None:
    found = SLURM.outcomes(said(ACCOUNTING))
    assert {key: brief(status) for key, status in found.items()} == {
        "1": ("FAILED", 3, "exit"), "4": ("FAILED", 137, "signal"), "2_0": ("CANCELED", None, "canceled"),
        "2_1": ("CANCELED", None, "canceled"), "5": ("FAILED", None, "launch"), "8": ("FAILED", None, "walltime"),
        "10": ("COMPLETED", 0, None), "11_4": ("FAILED", None, "out_of_memory"),
        "13": ("FAILED", 1, "node_failure"), "14": ("FAILED", None, "preempted"),
        "6": ("ACTIVE", None, None), "9": ("QUEUED", None, None),
    }  # fmt: skip
    assert found["1"].time == 1795252482


@pytest.mark.parametrize(
    ("state", "expected", "reason"),
    [
        ("BOOT_FAIL", "FAILED", "node_failure"), ("BF", "FAILED", "node_failure"), ("CA", "CANCELED", "canceled"),
        ("CANCELLED by 1000", "CANCELED", "canceled"), ("CD", "COMPLETED", None), ("CONFIGURING", "QUEUED", None),
        ("CF", "QUEUED", None), ("COMPLETING", "ACTIVE", None), ("CG", "ACTIVE", None),
        ("DEADLINE", "FAILED", "walltime"),
        ("DL", "FAILED", "walltime"), ("F", "FAILED", "unknown"), ("NF", "FAILED", "node_failure"),
        ("OOM", "FAILED", "out_of_memory"), ("PD", "QUEUED", None), ("PREEMPTED", "FAILED", "preempted"),
        ("PR", "FAILED", "preempted"), ("R", "ACTIVE", None), ("RESV_DEL_HOLD", "QUEUED", "held"),
        ("RD", "QUEUED", "held"), ("REQUEUE_FED", "QUEUED", None), ("RF", "QUEUED", None),
        ("REQUEUE_HOLD", "QUEUED", "held"), ("RH", "QUEUED", "held"), ("REQUEUED", "QUEUED", None),
        ("RQ", "QUEUED", None), ("RESIZING", "ACTIVE", None), ("RS", "ACTIVE", None), ("REVOKED", "QUEUED", None),
        ("RV", "QUEUED", None), ("SIGNALING", "ACTIVE", None), ("SI", "ACTIVE", None),
        ("SPECIAL_EXIT", "QUEUED", "held"), ("SE", "QUEUED", "held"), ("STAGE_OUT", "ACTIVE", None),
        ("SO", "ACTIVE", None), ("STOPPED", "ACTIVE", None), ("ST", "ACTIVE", None), ("SUSPENDED", "ACTIVE", None),
        ("S", "ACTIVE", None), ("TO", "FAILED", "walltime"), ("LAUNCH_FAILED", "FAILED", "launch"),
        ("POWER_UP_NODE", "QUEUED", None), ("NEVER_HEARD_OF", "ACTIVE", None),
    ],
)  # fmt: skip
def test_every_state(state: str, expected: str, reason: str | None) -> None:
    lines = SLURM.outcomes(said(f"1|1|0:0|Unknown|None|{state}\n"))
    assert brief(lines["1"])[::2] == (expected, reason)
    if " " not in state:
        assert brief(SLURM.statuses(said(f"1 {state} 0 0 None\n"))["1"])[::2] == (expected, reason)


@pytest.mark.parametrize(
    "line",
    [
        "slurm_load_jobs error: x",
        "1",
        "1 RUNNING",
        "1 RUNNING x 0 None",
        "CLUSTER: far",
        "",
        "é 模 0 0",
        "x R 0 0 None",
    ],
)
def test_a_line_that_cannot_be_read_spoils_only_itself(line: str) -> None:
    found = SLURM.statuses(said(f"7 RUNNING 0 0 None\n{line}\n8 COMPLETED 0 0 None\n"))
    assert {key: status.state for key, status in found.items()} == {"7": JobState.ACTIVE, "8": JobState.COMPLETED}
    told = SLURM.outcomes(said(f"7|7|0:0|1|None|COMPLETED\n{line}\n8|8|x|1|None|COMPLETED\n"))
    assert list(told) == ["7"]


def test_a_command_that_fails_tells_nothing() -> None:
    failure = said(QUEUE, "slurm_load_jobs error: Unable to contact slurm controller (connect failure)", 1)
    with pytest.raises(NoAnswer, match="Unable to contact"):
        SLURM.statuses(failure)
    with pytest.raises(NoAnswer, match="Unable to contact"):
        SLURM.listed(failure)
    with pytest.raises(NoAnswer, match="refused"):
        SLURM.outcomes(said("", "sacct: error: slurmdbd: Connection refused", 1))
    with pytest.raises(NoAccounting):
        SLURM.outcomes(said("", "Slurm accounting storage is disabled", 1))


@pytest.mark.parametrize(
    ("complaint", "transient"),
    [
        ("sbatch: error: Batch job submission failed: Socket timed out on send/recv operation", True),
        ("sbatch: error: Batch job submission failed: Unable to contact slurm controller (connect failure)", True),
        ("sbatch: error: QOSMaxSubmitJobPerUserLimit\nsbatch: error: Batch job submission failed: Job violates", True),
        ("sbatch: error: AssocMaxSubmitJobLimit\nsbatch: error: Batch job submission failed: Job violates", True),
        ("sbatch: error: Slurm temporarily unable to accept job, sleeping and retrying", True),
        ("sbatch: error: Batch job submission failed: Resource temporarily unavailable", True),
        ("sbatch: error: invalid partition specified: timeout socket busy", False),
        ("sbatch: error: Batch job submission failed: Invalid partition name specified", False),
        ("sbatch: error: Memory specification can not be satisfied", False),
        ("sbatch: error: Batch job submission failed: Requested node configuration is not available", False),
        ("sbatch: error: QOSMaxNodePerJobLimit\nsbatch: error: Batch job submission failed: Job violates", False),
    ],
)  # fmt: skip
def test_which_refusals_may_pass(complaint: str, transient: bool) -> None:
    assert SLURM.refusal_is_transient(said("", complaint, 1)) is transient


def test_a_cancel_that_comes_too_late_is_none_that_failed() -> None:
    late = "scancel: error: Kill job error on job id 5: Job/step already completing or completed"
    unknown = "scancel: error: Kill job error on job id 6: Invalid job id specified"
    other = "scancel: error: Kill job error on job id 7: Access/permission denied"
    assert not SLURM.cancel_failed(said())
    assert not SLURM.cancel_failed(said("", f"{late}\n{unknown}\n", 1))
    assert SLURM.cancel_failed(said("", f"{late}\n{other}\n", 1))


def test_what_is_run() -> None:
    assert SLURM.cancel_command(["1", "2_3"]) == ["scancel", "1", "2_3"]
    assert SLURM.signal_command(["1"], "TERM") == ["scancel", "--signal=TERM", "--batch", "1"]
    assert len(SLURM.status_command([str(index) for index in range(10_000)])) < 10
    assert "--jobs=1,2_3" in SLURM.accounting_command(["1", "2_3"])
    assert SLURM.listed(said("1_0      \n12       \n\nx\n")) == ["1_0", "12"]


@pytest.mark.parametrize("inside", [False, True])
def test_submission_ignores_the_settings_around_it(tmp_path: Path, inside: bool) -> None:
    sbatch = tmp_path / "sbatch"  # prints what it would see
    sbatch.write_text('#!/bin/sh\nexport -p | /bin/sed -n "/_\\(NTASKS\\|CONF\\|MPI\\|ACC\\|PART\\|TIME\\)/p"\n')
    sbatch.chmod(0o700)
    script = tmp_path / "job.sh"
    script.write_text(
        "#!/bin/sh\n" + "\n".join(SLURM.directives(order(account="a b"))) + "\necho '#SBATCH --partition=x'\n"
    )
    around = {
        "PATH": str(tmp_path), "SLURM_NTASKS": "7", "SLURM_CONF": "c", "SLURM_MPI_TYPE": "pmi2", "SBATCH_ACCOUNT": "x",
        "SBATCH_PARTITION": "site", "SBATCH_TIMELIMIT": "1", "ODD": "a\nexport SLURM_odd name=1\n* b",
        **({"SLURM_JOB_ID": "1"} if inside else {}),
    }  # fmt: skip
    done = subprocess.run(SLURM.submit_command(str(script)), env=around, capture_output=True, text=True, check=True)
    kept = {"SBATCH_PARTITION", "SLURM_CONF", "SLURM_MPI_TYPE"} | (set() if inside else {"SLURM_NTASKS"})
    assert set(re.findall(r"^export (\w+)", done.stdout, re.MULTILINE)) == kept


def test_srun_is_told_what_the_job_was() -> None:
    assert any("psij_pass_on" in line for line in SLURM.preamble(order(launcher="srun")))
    assert not any("psij_pass_on" in line for line in SLURM.preamble(order()))
    assert "unset SLURM_EXPORT_ENV" in SLURM.preamble(order(inherit_environment=False))
