"""LSF's words: what is asked of it, and answers as its commands print them."""

from __future__ import annotations

import subprocess
from datetime import timedelta
from pathlib import Path

import pytest
from tests.jobs.texts import ODD, brief, order, said

from harmony.errors import InvalidJobException
from harmony.jobs.scheduler import NoAnswer
from harmony.jobs.schedulers.lsf import LSF
from harmony.jobs.state import JobState

LSF_10 = LSF()

HISTORY = """
Job <4242>, Job Name <psij>, User <someone>, Project <default>, Command <#!/bin/ba
                     sh; #BSUB -J psij; exit 3>
Sun Jan 10 17:47:38: Submitted from host <login-01>, to Queue <standard>, CWD <$HO
                     ME>;
Sun Jan 10 17:47:39: Starting (Pid 110245);
Sun Jan 10 17:47:41: Exited with exit code 3. The CPU time used is 0.0 seconds;
Sun Jan 10 17:47:41: Completed <exit>;

Summary of time in seconds spent in various states by  Sun Jan 10 17:47:41
  PEND     PSUSP    RUN      USUSP    SSUSP    UNKWN    TOTAL
  1        0        2        0        0        0        3
------------------------------------------------------------------------------

Job <4243[2]>, Job Name <psij[1-2]>, User <someone>, Project <default>
Mon Nov 23 10:16:31: Started on <n28>, Execution Home </home/someone>;
Mon Nov 23 10:17:33: Exited with exit code 140. The CPU time used is 0.1 second
                     s.
Mon Nov 23 10:17:33: Completed <exit>; TERM_RUNLIMIT: job killed after reaching
                      LSF run time limit.
------------------------------------------------------------------------------

Job <4244>, User <someone>, Project <default>, Command <sleep 5>
Sun Jan 10 17:47:39: Exited with exit code 1. The CPU time used is 0.0 seconds;
Sun Jan 10 17:47:40: Pending: Job has been requeued;
Sun Jan 10 17:47:49: Done successfully. The CPU time used is 0.0 seconds;
Sun Jan 10 17:47:50: Post job process done successfully;
------------------------------------------------------------------------------

Job <4245>, User <someone>, Project <default>, Command <sleep 500>
Sun Jan 10 17:47:39: Starting (Pid 110245);
"""


def lines(**fields: object) -> list[str]:
    return LSF_10.directives(order(**fields))  # type: ignore[arg-type]


def test_a_plain_job() -> None:
    assert lines(name="psij") == [
        '#BSUB -J "psij"', '#BSUB -o "/work/1.out"', "#BSUB -W 10", "#BSUB -n 1", '#BSUB -R "span[ptile=1]"',
    ]  # fmt: skip


def test_every_field() -> None:
    found = lines(
        node_count=2, processes_per_node=3, cpu_cores_per_process=4, gpu_cores_per_process=1, memory=3 * 2**30,
        exclusive_node_use=True, queue_name="batch", account="ABC123", reservation_id="user1#0",
        duration=timedelta(seconds=30), inherit_environment=False, size=5, name="many",
        after=["1"], after_ok=["2"], after_any=["3[4]"], custom_attributes={"lsf.core_isolation": 2, "lsf.rn": None},
    )  # fmt: skip
    assert found == [
        '#BSUB -J "many[1-5]"', '#BSUB -o "/work/1.out"', "#BSUB -W 1", "#BSUB -n 24",
        '#BSUB -R "span[ptile=12]"', '#BSUB -R "rusage[mem=1536MB/host]"', '#BSUB -gpu "num=3"', "#BSUB -x",
        '#BSUB -env "none"', '#BSUB -q "batch"', '#BSUB -P "ABC123"', '#BSUB -U "user1#0"',
        '#BSUB -w "started(1) && done(2) && ended(3[4])"', "#BSUB -ti", '#BSUB -core_isolation "2"', "#BSUB -rn",
    ]  # fmt: skip


def test_whole_nodes_by_attribute() -> None:
    found = lines(node_count=2, processes_per_node=3, custom_attributes={"lsf.nnodes": 2})
    assert '#BSUB -nnodes "2"' in found
    assert not any(line.startswith(("#BSUB -n ", "#BSUB -R")) for line in found)


def parsed(line: str) -> list[str]:
    """The words of a #BSUB line, as the parser of the free descendant of LSF takes them apart."""
    words: list[str] = []
    rest = line.removeprefix("#BSUB").split()
    while rest:
        word = rest.pop(0)
        marks = [mark for mark in "'\"" if word.startswith(mark)]
        if not marks:
            words.append(word)
            continue
        mark, word = marks[0], word[1:]
        while mark not in word:
            word += " " + rest.pop(0)
        words.append(word.partition(mark)[0])
    return words


@pytest.mark.parametrize("field", ["queue_name", "account", "reservation_id", "log", "custom_attributes"])
@pytest.mark.parametrize("kind", ODD)
def test_odd_values_arrive_or_are_refused(field: str, kind: str) -> None:
    value = ODD[kind]
    given = {"lsf.Jd": value} if field == "custom_attributes" else f"/w/{value}" if field == "log" else value
    wanted = f"/w/{value}" if field == "log" else value
    if kind in {"both", "blanks", "triple"} or (kind, field == "log") in {("hash", False), ("percent", True)}:
        named = {"log": "work_directory", "custom_attributes": "lsf.Jd"}.get(field, field)
        with pytest.raises(InvalidJobException, match=named):
            lines(**{field: given})
    else:
        assert wanted in [word for line in lines(**{field: given}) for word in parsed(line)]


@pytest.mark.parametrize("kind", ODD)
def test_odd_names_are_one_word(kind: str) -> None:
    words = parsed(lines(name=f"{ODD[kind]}[3]", size=2)[0])
    assert words[0] == "-J"
    assert len(words) == 2
    assert words[1].endswith("(3)[1-2]")


def test_the_script_is_given_on_stdin(tmp_path: Path) -> None:
    script = tmp_path / "it's $(x).sh"
    script.write_text("#!/bin/sh\n")
    (tmp_path / "bsub").write_text("#!/bin/sh\ncat\n")
    (tmp_path / "bsub").chmod(0o700)
    command = LSF_10.submit_command(str(script))
    done = subprocess.run(
        command, env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, capture_output=True, text=True, check=True
    )
    assert done.stdout == "#!/bin/sh\n"


def test_hosts(tmp_path: Path) -> None:
    script = "\n".join([*LSF_10.preamble(order()), "psij_nodes"])
    (tmp_path / "hosts").write_text("n1\nn1\nn2\n")
    for environment, wanted in (
        ({"LSB_DJOB_HOSTFILE": str(tmp_path / "hosts")}, "n1\nn2\n"),
        ({"LSB_MCPU_HOSTS": "n3 4 n4 2"}, "n3\nn4\n"),
    ):
        done = subprocess.run(
            ["/bin/bash", "-c", script], env={"PATH": "/usr/bin:/bin", **environment}, capture_output=True, text=True,
            check=True,
        )  # fmt: skip
        assert done.stdout == wanted


def test_ids() -> None:
    assert LSF_10.native_id("Job <981431> is submitted to queue <normal>.\n") == "981431"
    assert LSF_10.native_id("Note: odd\nJob <771278> is submitted to default queue <short>.\n") == "771278"
    assert LSF_10.array_ids("7", 2) == ["7[1]", "7[2]"]
    with pytest.raises(ValueError, match="no job id"):
        LSF_10.native_id("Request aborted by esub. Job not submitted.\n")


def test_refusals() -> None:
    for text in ("LSF is down. Please wait ...", "Failed in an LSF library call: Communication time out"):
        assert LSF_10.refusal_is_transient(said(err=text, code=255))
    for text in ("nope: No such queue. Job not submitted.", "Bad argument for option -W. Job not submitted."):
        assert not LSF_10.refusal_is_transient(said(err=text, code=255))


def test_statuses() -> None:
    answer = said(
        "861487^0^PEND^-^-^New job is waiting for scheduling;\n"
        "861488^0^RUN^-^-^-\n"
        "861489^0^DONE^-^-^-\n"
        "861490^0^EXIT^3^-^-\n"
        "861491^0^EXIT^140^TERM_RUNLIMIT: job killed after reaching LSF run time limit^-\n"
        "861492^2^EXIT^130^TERM_OWNER: job killed by owner^-\n"
        "861493^0^EXIT^137^TERM_MEMLIMIT: job killed after reaching LSF memory usage limit^-\n"
        "861494^0^EXIT^139^TERM_EXTERNAL_SIGNAL: job killed by a signal external to LSF^-\n"
        "861495^0^PSUSP^-^-^The job was suspended by the user while pending;\n"
        "861496^0^PEND^-^-^Dependency condition invalid or never satisfied;\n"
        "861497^0^ODD_NEW^-^-^-\n"
        "861498^0^EXIT^-^-^-\n"
        "861499^0^PEND^-^-^odd ^ reason ^ text\n"
        "strange line ^ of a wrapper\n",
        "Job <1> is not found\n",
        255,
    )
    found = {job: brief(status) for job, status in LSF_10.statuses(answer).items()}
    assert found == {
        "861487": ("QUEUED", None, None),
        "861488": ("ACTIVE", None, None),
        "861489": ("COMPLETED", 0, None),
        "861490": ("FAILED", 3, "exit"),
        "861491": ("FAILED", 140, "walltime"),
        "861492[2]": ("CANCELED", 130, "canceled"),
        "861493": ("FAILED", 137, "out_of_memory"),
        "861494": ("FAILED", 139, "signal"),
        "861495": ("QUEUED", None, "held"),
        "861496": ("QUEUED", None, "dependency"),
        "861497": ("ACTIVE", None, None),
        "861498": ("FAILED", None, "unknown"),
        "861499": ("QUEUED", None, None),
    }
    assert LSF_10.statuses(answer)["861497"].metadata["native_state"] == "ODD_NEW"


def test_unknown_jobs_are_not_in_the_queue() -> None:
    assert LSF_10.statuses(said(err="Job <1> is not found\n", code=255)) == {}
    assert LSF_10.statuses(said(err="No unfinished job found\n", code=255)) == {}
    assert LSF_10.statuses(said()) == {}


@pytest.mark.parametrize("text", ["LSF is down. Please wait ...", "Segmentation fault", ""])
def test_no_answer(text: str) -> None:
    with pytest.raises(NoAnswer):
        LSF_10.statuses(said(err=text, code=255))
    with pytest.raises(NoAnswer):
        LSF_10.outcomes(said(err=text, code=255))


def test_one_question_for_an_array() -> None:
    assert LSF_10.status_command(["7[1]", "7[2]", "8"])[-2:] == ["7", "8"]
    assert LSF_10.accounting_command(["7[1]", "7[2]"]) == ["bhist", "-l", "-n", "0", "7"]


def test_history() -> None:
    found = {job: brief(status) for job, status in LSF_10.outcomes(said(HISTORY)).items()}
    assert found == {
        "4242": ("FAILED", 3, "exit"),
        "4243[2]": ("FAILED", 140, "walltime"),
        "4244": ("COMPLETED", 0, None),
        "4245": ("ACTIVE", None, None),
    }
    assert LSF_10.outcomes(said(err="No matching job found\n", code=255)) == {}


def test_cancelling() -> None:
    assert not LSF_10.cancel_failed(said("Job <7> is being terminated\n"))
    assert not LSF_10.cancel_failed(said("Job <8> is being terminated\n", "Job <7>: Job has already finished\n", 255))
    assert not LSF_10.cancel_failed(said(err="Job <7>: No matching job found\n", code=255))
    assert LSF_10.cancel_failed(said(err="Job <7>: User permission denied\n", code=255))
    assert LSF_10.cancel_failed(said(code=255))
    assert LSF_10.signal_command(["7"], "TERM") == ["bkill", "-s", "TERM", "7"]


def test_listing() -> None:
    assert LSF_10.listed(said("1^0^RUN^-^-^-\n2^3^PEND^-^-^-\n")) == ["1", "2[3]"]
    assert LSF_10.listed(said(err="No unfinished job found\n")) == []
    assert LSF_10.statuses(said("1^0^WAIT^-^-^-\n"))["1"].state is JobState.QUEUED
