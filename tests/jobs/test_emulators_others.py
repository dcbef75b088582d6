"""The emulators of HTCondor, OAR and Cobalt say and do what the real programs say and do."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.jobs.typed import Make, labs

from harmony.conformance.emulators.htcondor_ads import evaluate


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Make]:
    with labs(tmp_path) as make:
        yield make


# -- HTCondor

_DESCRIPTION = """executable = /bin/sh
arguments = "-c 'echo $(Process) $FOO [$KEPT]; exit $(Process)'"
environment = "FOO='a b' OTHER=\"\"q"
output = out.$(Cluster).$(Process)
batch_name = my batch
+Extra = "x"
queue 2
"""


def test_htcondor_runs_the_jobs_of_a_description(lab: Make) -> None:
    here = lab("htcondor")
    done = here.out("condor_submit", _DESCRIPTION, KEPT="yes")
    assert done == "Submitting job(s)..\n2 job(s) submitted to cluster 1.\n"
    here.ended()
    assert (here.directory / "out.1.1").read_text() == "1 a b []\n"
    told = here.out("condor_history -af:j JobStatus ExitCode ExitBySignal Extra Nothing -constraint 'ExitCode =!= 0'")
    assert told == "1.1 4 1 false x undefined\n"
    ads = json.loads(here.out("condor_history 1.0 -json -attributes ClusterId,ProcId,JobBatchName"))
    assert ads == [{"ClusterId": 1, "ProcId": 0, "JobBatchName": "my batch"}]
    assert here.out("condor_q -af ClusterId") == ""
    assert json.loads(here.out("condor_q -json")) == []


def test_htcondor_answers_for_jobs_that_it_does_not_know(lab: Make) -> None:
    here = lab("htcondor", kill_wait=0.05)
    assert here.sh("condor_rm 77").stderr == "\nThere are no jobs in the queue\n"
    assert here.out("condor_submit -terse", "executable=/bin/sleep\narguments=60\nqueue\n") == "1.0 - 1.0\n"
    here.running()
    done = here.sh("condor_rm 77 77.0")
    assert done.returncode == 1
    assert done.stderr == "Couldn't find/remove all jobs in cluster 77\nJob 77.0 not found\n"
    assert here.out("condor_rm 1") == "All jobs in cluster 1 have been marked for removal\n"
    here.ended()
    assert here.out("condor_history -af JobStatus RemoveReason") == "3 via condor_rm (by user {})\n".format(
        here.out("id -un").strip()
    )


def test_htcondor_holds_and_releases(lab: Make) -> None:
    here = lab("htcondor")
    here.out("condor_submit", "executable=/bin/true\nhold=True\nqueue\n")
    assert here.out("condor_q -af JobStatus HoldReasonCode") == "5 15\n"
    assert here.out("condor_release 1.0") == "Job 1.0 released\n"
    here.ended()


def test_htcondor_refuses_in_its_own_words(lab: Make) -> None:
    here = lab("htcondor")
    assert 'doesn\'t contain any "queue" commands' in here.sh("condor_submit", "executable=/bin/true\n").stderr
    assert "Can't access executable file" in here.sh("condor_submit", "executable=nope\nqueue\n").stderr
    assert "Failed to open command file (nope)" in here.sh("condor_submit nope").stderr


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1 + 2 * 3 == 7", True),
        ('Owner == "ME" && JobStatus =?= 2', True),
        ("Missing =?= undefined", True),
        ("Missing == 1", None),
        ("Missing == 1 || true", True),
        ("!(JobStatus > 1) ? 1 : 2", 2),
        ('stringListMember("b", "a, b")', True),
        ("7 / 2", 3),
        ("((JobStatus", 2),
    ],
)
def test_htcondor_expressions(text: str, value: object) -> None:
    assert evaluate(text, {"JobStatus": 2, "Owner": "me"}) == value


# -- OAR

_OAR = """#!/bin/bash
#OAR -l /nodes=2/core=2,walltime=0:10:00
#OAR -n a b
#OAR -O out.%jobid%
echo $OAR_JOB_ID $OAR_ARRAY_ID $OAR_ARRAY_INDEX $OAR_JOB_WALLTIME_SECONDS "$OAR_JOB_NAME" [$KEPT]
cat $OAR_NODEFILE
exit $OAR_ARRAY_INDEX
"""


def test_oar_runs_an_array(lab: Make) -> None:
    here = lab("oar")
    path = here.script(_OAR)
    assert here.out(f"oarsub -S --array 2 {path}", KEPT="no") == "OAR_JOB_ID=1\nOAR_JOB_ID=2\nOAR_ARRAY_ID=1\n"
    here.ended(1)
    here.ended(2)
    assert (here.directory / "out.2").read_text() == "2 1 2 600 a b []\nn1\nn1\nn2\nn2\n"
    facts = json.loads(here.out("oarstat -J -f -j 1 -j 2 -j 77"))
    assert {each: (facts[each]["state"], facts[each]["exit_code"]) for each in facts} == {
        "1": ("Terminated", 256),
        "2": ("Terminated", 512),
    }
    assert "exit_code = 512 (2,0,0)" in here.out("oarstat -fj 2")
    assert here.out("oarstat -J -j 77") == ""
    assert here.out("oarstat -s -j 1 -j 77") == "1: Terminated\n"


def test_oar_deletes(lab: Make) -> None:
    here = lab("oar")
    here.out("oarsub 'sleep 60'")
    here.running()
    done = here.sh("oardel 1 77 x")
    assert done.stdout == (
        "Deleting the job = 1 ...REGISTERED.\nDeleting the job = 77 ...ERROR.\n"
        "The job(s) [ 1 ] will be deleted in the near future.\n"
    )
    assert done.stderr.splitlines() == [
        "Cannot frag 77 ; You are not the right user.", '[ERROR] "x" is not a valid job identifier',
    ]  # fmt: skip
    assert done.returncode == 4
    here.ended()
    facts = json.loads(here.out("oarstat -J -j 1"))["1"]
    assert (facts["state"], facts["events"][0]["type"]) == ("Error", "FRAG_JOB_REQUEST")
    assert here.sh("oardel 1").returncode == 6


def test_oar_signals_the_command_alone(lab: Make) -> None:
    here = lab("oar")
    here.script("#!/bin/bash\ntrap 'echo got; exit 7' TERM\necho up\nsleep 60 & wait\n")
    here.out("oarsub -O out -E out ./job.sh")
    out = here.directory / "out"
    here.out("until grep -sq up out; do sleep 0.02; done")
    assert "notified to signal itself with TERM on n1." in here.out("oardel -s TERM 1")
    here.ended()
    assert out.read_text() == "up\ngot\n"
    assert json.loads(here.out("oarstat -J -j 1"))["1"]["exit_code"] == 7 << 8
    assert here.sh("oardel -s TERM 1").returncode == 5


def test_oar_refuses_in_its_own_words(lab: Make) -> None:
    here = lab("oar")
    assert here.sh("oarsub -q no true").stderr == "# Error: queue 'no' does not exist\n"
    assert here.sh("oarsub -O 'a$b' true").stderr == "# Error: invalid stdout file name (bad character)\n"
    assert here.sh("oarsub --zz true").stderr == "Unknown option: zz\n"
    here.script("#!/bin/bash\n#OAR --odd 1\n")
    done = here.sh("oarsub -S ./job.sh")
    assert (done.returncode, "Not able to scan file line: #OAR --odd 1" in done.stderr) == (12, True)


# -- Cobalt

_COBALT = """#!/bin/bash
#COBALT -t 10 -n 2 -o out.$jobid
#COBALT --env A=1:B=x\\:y
echo $COBALT_JOBID $COBALT_JOBSIZE $A $B $1 [$KEPT]; cat $COBALT_NODEFILE
exit 3
"""


def test_cobalt_runs_a_script_and_forgets_it(lab: Make) -> None:
    here = lab("cobalt")
    here.script(_COBALT)
    here.emulator.hold()
    assert here.out("qsub job.sh word", KEPT="no") == "1\n"
    assert here.out("qsub -t 5 --dependencies 1 job.sh") == "2\n"
    here.emulator.start_all()
    here.ended()
    assert (here.directory / "out.1").read_text() == "1 2 1 x:y word []\nn1\nn2\n"
    here.emulator.wait_until(lambda: here.emulator.job("2").reason == "never")
    table = here.out("qstat --header JobID:State:Nodes").splitlines()
    assert table == ["JobID  State     Nodes  ", "=" * 24, "2      dep_fail  2      "]
    assert here.sh("qstat 1").returncode == 1
    assert here.out("qdel 1") == ""
    deleted = here.out("qdel 2").splitlines()
    assert (deleted[0], deleted[1].split(), deleted[3].split()[0]) == ("      Deleted Jobs", ["JobID", "User"], "2")


def test_cobalt_refuses_in_its_own_words(lab: Make) -> None:
    here = lab("cobalt")
    path = here.script("#!/bin/sh\n")
    assert here.sh("qsub -n 1 job.sh").stderr == "'time' not provided\n"
    assert here.sh("qsub -n 1 -t 5 -q no job.sh").stderr == "trying to add job to non-existent queue 'no'\n"
    assert "illegal value 'x' for minutes" in here.sh("qsub -n 1 -t x job.sh").stderr
    assert "No Max Walltime" in here.sh("qsub -n 1 -t 00:00:30 job.sh").stderr  # seconds do not count
    assert here.sh("qstat abc").stderr == "abc is not a valid jobid or queue name\n"
    path.chmod(0o644)
    assert here.sh("qsub -n 1 -t 5 job.sh").stderr.endswith("job.sh is not executable\n")
