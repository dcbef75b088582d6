"""Grid Engine's words: what is asked of it, and answers as Son of Grid Engine 8.1.9 has printed them."""

from __future__ import annotations

import pytest
from tests.jobs.texts import ODD, brief, order, said

from harmony.errors import InvalidJobException
from harmony.jobs.scheduler import NoAnswer
from harmony.jobs.schedulers.sge import GridEngine

SGE = GridEngine()


def entry(number: int, state: str, tasks: str = "", name: str = "a.sh") -> str:
    """One job as ``qstat -xml`` shows it."""
    more = f"\n      <tasks>{tasks}</tasks>" if tasks else ""
    return f"""    <job_list state="pending">
      <JB_job_number>{number}</JB_job_number>
      <JAT_prio>0.00000</JAT_prio>
      <JB_name>{name}</JB_name>
      <JB_owner>someone</JB_owner>
      <state>{state}</state>
      <JB_submission_time>2026-11-21T09:08:48</JB_submission_time>
      <queue_name></queue_name>
      <slots>1</slots>{more}
    </job_list>
"""


def shown(*entries: str) -> str:
    """The answer of ``qstat -xml``."""
    return f"""<?xml version='1.0'?>
<job_info  xmlns:xsd="http://example.org/qstat.xsd">
  <queue_info>
  </queue_info>
  <job_info>
{"".join(entries)}  </job_info>
</job_info>
"""


def record(number: int, how: str = "0", status: str = "0", task: str = "undefined", **more: str) -> str:
    """One record as ``qacct -j`` shows it."""
    fields = {"jobnumber": str(number), "taskid": task, "failed": how, "exit_status": status, "ru_wallclock": "3s"}
    fields |= {"cpu": "0.125s", "maxvmem": "5.234MB", "category": "-l h_rt=600", **more}
    return "=" * 62 + "\n" + "".join(f"{name:<13}{value:<20}\n" for name, value in fields.items())


def lines(**fields: object) -> list[str]:
    return SGE.directives(order(**fields))  # type: ignore[arg-type]


def one(text: str) -> tuple[str, int | None, str | None]:
    (status,) = SGE.outcomes(said(text)).values()
    return brief(status)


def test_a_plain_job() -> None:
    assert lines(name="relax") == [
        "#$ -N relax", "#$ -S /bin/bash", "#$ -j y", "#$ -o /work/1.out", "#$ -V", "#$ -l h_rt=600",
    ]  # fmt: skip
    assert "#$ -V" not in lines(inherit_environment=False)


def test_a_path_in_which_qsub_would_replace_something() -> None:
    asked = lines(log="/a $HOME/b:c/1.out")
    assert "#$ -o /dev/null" in asked
    assert asked[-1] == "exec >>'/a $HOME/b:c/1.out' 2>&1"


def test_resources() -> None:
    asked = lines(
        process_count=4, cpu_cores_per_process=2, gpu_cores_per_process=1, memory=2**30, exclusive_node_use=True,
        custom_attributes={"sge.pe": "mpi", "ge.gpu_resource": "ngpus"}, queue_name="main.q@@fast", account="chem",
        reservation_id="17",
    )  # fmt: skip
    wanted = {
        "-pe mpi 8",
        "-l h_vmem=131072K",
        "-l ngpus=4",
        "-l exclusive=true",
        "-q main.q@@fast",
        "-P chem",
        "-ar 17",
    }
    assert wanted <= {line.removeprefix("#$ ") for line in asked}


def test_gpus_for_each_slot() -> None:
    settings = {"sge.pe": "smp", "sge.gpu_per_slot": True}
    assert "#$ -l gpu=2" in lines(process_count=2, gpu_cores_per_process=2, custom_attributes=settings)
    with pytest.raises(InvalidJobException, match="gpu_cores_per_process=1"):
        lines(cpu_cores_per_process=4, gpu_cores_per_process=1, custom_attributes=settings)


def test_more_than_one_core_wants_a_parallel_environment() -> None:
    with pytest.raises(InvalidJobException, match=r"'sge\.pe'"):
        lines(process_count=2)
    with pytest.raises(InvalidJobException, match=r"'sge\.pe'"):
        lines(cpu_cores_per_process=2)


def test_options() -> None:
    asked = lines(custom_attributes={"sge.l": "arch=lx*", "gridengine.notify": None, "sge.ac": "why=a b", "pbs.x": "y"})
    assert asked[-3:] == ["#$ -l arch=lx*", "#$ -notify", '#$ -ac "why=a b"']
    for name, value in (("sge.t", "1-3"), ("sge.o", "/x"), ("sge.a-b", "c"), ("sge.ac", "x='y'"), ("sge.m", "a\nb")):
        with pytest.raises(InvalidJobException, match=name):
            lines(custom_attributes={name: value})


@pytest.mark.parametrize("field", ["queue_name", "account", "reservation_id"])
@pytest.mark.parametrize("odd", [ODD[name] for name in ("blank", "quote", "double", "command", "unicode", "backslash")])
def test_odd_values_are_refused_by_name(field: str, odd: str) -> None:
    with pytest.raises(InvalidJobException, match=f"{field}="):
        lines(**{field: odd})


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
def test_odd_names_become_allowed_ones(odd: str) -> None:
    name = lines(name=odd)[0].removeprefix("#$ -N ")
    assert name.isascii() and name.isprintable()  # noqa: PT018
    assert not set(" *?:@\\/\"'#$") & set(name)
    assert name[0] not in "-0123456789"


def test_dependencies() -> None:
    assert "#$ -hold_jid 7,8" in lines(after_any=["7", "8"])
    for kind, value in (("after", "7"), ("after_ok", "7"), ("after_any", "7.1")):
        with pytest.raises(InvalidJobException, match=f"{kind}='{value}'"):
            lines(**{kind: [value]})


def test_arrays() -> None:
    assert "#$ -t 1-3" in lines(size=3)
    assert SGE.array_ids("12", 2) == ["12.1", "12.2"]


def test_the_id() -> None:
    assert SGE.native_id("16\n") == "16"
    assert SGE.native_id("495.1-3:1\n") == "495"
    assert SGE.native_id('Your job 16 ("a.sh") has been submitted\n') == "16"
    assert SGE.native_id('Your job-array 500.1-2:1 ("a.sh") has been submitted\n') == "500"
    with pytest.raises(ValueError, match="no id"):
        SGE.native_id("Exiting.\n")


def test_statuses() -> None:
    states = ["r", "t", "qw", "hqw", "Eqw", "Rr", "Rq", "s", "tsS", "T", "dr", "dRr", "new"]
    found = SGE.statuses(said(shown(*(entry(number, state) for number, state in enumerate(states)))))
    assert [found[str(number)].state.name for number in range(len(states))] == [
        "ACTIVE", "QUEUED", "QUEUED", "QUEUED", "FAILED", "ACTIVE", "QUEUED", "ACTIVE", "ACTIVE", "ACTIVE", "ACTIVE",
        "ACTIVE", "QUEUED",
    ]  # fmt: skip
    assert brief(found["4"]) == ("FAILED", None, "launch")
    assert "qdel 4" in (found["4"].message or "")
    assert found["5"].metadata == {"native_state": "Rr", "restarts": 1}


def test_tasks_of_an_array() -> None:
    found = SGE.statuses(said(shown(entry(495, "qw", "2,4-8:2"), entry(495, "r", "1"))))
    assert {native_id: status.state.name for native_id, status in found.items()} == {
        "495.1": "ACTIVE", "495.2": "QUEUED", "495.4": "QUEUED", "495.6": "QUEUED", "495.8": "QUEUED",
    }  # fmt: skip
    assert SGE.listed(said(shown(entry(7, "r"), entry(8, "qw", "1-2:1")))) == ["7", "8.1", "8.2"]


def test_a_strange_entry_spoils_only_itself() -> None:
    strange = [entry(1, "r", name='h%lt;&amp;<&>"'), "    <job_list><JB_job_number>x</JB_job_number></job_list>\n"]
    assert list(SGE.statuses(said(shown(*strange, entry(2, "r"))))) == ["1", "2"]


@pytest.mark.parametrize(
    ("out", "err", "code"),
    [
        ("", "error: commlib error: got select error (Connection refused)\n", 1),
        ("<?xml version='1.0'?>\n<job_info>\n  <queue_info>\n", "", 0),
        (shown(entry(1, "r")), "error: unable to send message to qmaster", 1),
        ("", "", 0),
    ],
)
def test_no_answer(out: str, err: str, code: int) -> None:
    with pytest.raises(NoAnswer):
        SGE.statuses(said(out, err, code))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (record(1), ("COMPLETED", 0, None)),
        (record(1, status="3"), ("FAILED", 3, "exit")),
        (record(1, status="137                  (Killed)"), ("FAILED", 137, "signal")),
        (record(1, "100 : assumedly after job", "137                  (Killed)"), ("FAILED", 137, "signal")),
        (
            record(1, "37  : qmaster enforced h_rt, h_cpu, or h_vmem limit", "137   (Killed)", category="-l h_rt=2"),
            ("FAILED", 137, "walltime"),
        ),
        (
            record(1, "37  : qmaster enforced h_rt, h_cpu, or h_vmem limit", "137", category="-l h_rt=9,h_vmem=4M"),
            ("FAILED", 137, "out_of_memory"),
        ),
        (
            record(
                1, "37  : qmaster enforced h_rt, h_cpu, or h_vmem limit", "137", category="-l h_cpu=1", cpu="1.468s"
            ),
            ("FAILED", 137, "walltime"),
        ),
        (record(1, "37  : qmaster enforced h_rt", "137", category="NONE"), ("FAILED", 137, "walltime")),
        (record(1, status="140", category="-l h_rt=3 -notify"), ("FAILED", 140, "walltime")),
        (record(1, status="0", category="-l h_rt=3"), ("COMPLETED", 0, None)),
        (record(1, "26  : opening input/output file", "0"), ("FAILED", None, "launch")),
        (record(1, "21  : in recognizing job", "0"), ("FAILED", None, "node_failure")),
        (record(1, "25  : rescheduling", "0") + record(1), ("COMPLETED", 0, None)),
        (record(1, "25  : rescheduling", "0"), ("QUEUED", None, None)),
    ],
)
def test_ends(text: str, expected: tuple[str, int | None, str | None]) -> None:
    assert one(text) == expected


def test_accounting() -> None:
    command = SGE.accounting_command(["7", "8.1", "8.2", "9"])
    assert command[-3:] == ["7", "8", "9"]
    text = record(7) + record(8, task="1") + record(8, task="2", status="1")
    found = SGE.outcomes(said(text, "error: job id 9 not found\n"))
    assert {native_id: brief(status)[:2] for native_id, status in found.items()} == {
        "7": ("COMPLETED", 0), "8.1": ("COMPLETED", 0), "8.2": ("FAILED", 1),
    }  # fmt: skip
    assert SGE.outcomes(said("", "error: job id 9 not found\n")) == {}
    for code, err in ((0, "/sge/lab/common/accounting: No such file or directory\n"), (127, "qacct: not found\n")):
        with pytest.raises(NoAnswer):
            SGE.outcomes(said("", err, code))


@pytest.mark.parametrize(
    ("err", "transient"),
    [
        (
            "error: commlib error: got select error (Connection refused)\nUnable to run job: unable to contact qmaster",
            True,
        ),
        ("Unable to run job: job rejected: only 2 jobs are allowed per user (current job count: 2)\nExiting.", True),
        ('Unable to run job: Job was rejected because job requests unknown queue "nope"\nExiting.', False),
        ('Unable to run job: job rejected: the requested parallel environment "nope" does not exist\nExiting.', False),
        ('Unable to run job: unknown resource "nope"\nExiting.', False),
    ],
)
def test_refusals(err: str, transient: bool) -> None:
    assert SGE.refusal_is_transient(said("", err, 1)) is transient


def test_a_cancel_that_comes_too_late_is_none_that_failed() -> None:
    assert not SGE.cancel_failed(said('denied: job "9999" does not exist\n', "", 1))
    assert SGE.cancel_failed(said("error: commlib error: can't find connection\n", "", 1))
    assert SGE.cancel_command(["7", "8.2"]) == ["qdel", "7", "8.2"]
