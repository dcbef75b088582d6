"""The emulators of LSF, Flux and NQSV say and do what the real programs say and do; none fails over odd jobs."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from tests.jobs import systems
from tests.jobs.typed import Make, labs

from harmony.conformance.emulators import Emulator
from harmony.conformance.emulators.flux_text import f58, fluid, parsed
from harmony.conformance.emulators.model import How
from harmony.jobs import Job, JobSpec, JobState


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Make]:
    with labs(tmp_path) as make:
        yield make


# -- LSF

_BSUB = """#!/bin/bash
#BSUB -J "a b[1-2]"
#BSUB -o out.%J.%I
#BSUB -n 4 -R 'span[ptile=2]'
echo $LSB_JOBID $LSB_JOBINDEX "$LSB_JOBNAME" $LSB_MCPU_HOSTS $KEPT; cat "$LSB_DJOB_HOSTFILE"
exit $((LSB_JOBINDEX - 1))
"""


def test_lsf_runs_an_array_with_what_the_directives_ask_for(lab: Make) -> None:
    here = lab("lsf")
    assert here.out("bsub", _BSUB, KEPT="yes") == "Job <1> is submitted to default queue <normal>.\n"
    here.ended()
    assert (here.directory / "out.1.1").read_text() == "1 1 a b[1] n1 2 n2 2 yes\nn1\nn1\nn2\nn2\n"
    told = here.out("""bjobs -a -noheader -o "jobid jobindex stat exit_code exit_reason delimiter='|'" 1""")
    assert told == "1|1|DONE|-|-\n1|2|EXIT|1|-\n"
    assert "Exited with exit code 1." in here.out("bhist -l '1[2]'")
    assert "Done successfully." in here.out("bhist -l '1[1]'")


def test_lsf_answers_for_jobs_that_it_does_not_know(lab: Make) -> None:
    here = lab("lsf")
    assert here.out("bsub -q short -o /dev/null true") == "Job <1> is submitted to queue <short>.\n"
    here.ended()
    done = here.sh("bjobs -json -o 'jobid stat sub_cwd' 1 77")
    records = json.loads(done.stdout)["RECORDS"]
    assert records[0] == {"JOBID": "1", "STAT": "DONE", "SUB_CWD": str(here.directory)}
    assert records[1] == {"JOBID": "77", "ERROR": "Job <77> is not found"}
    assert (done.returncode, "\\/" in done.stdout) == (255, True)
    assert here.sh("bjobs").stderr == "No unfinished job found\n"
    killed = here.sh("bkill 1 77")
    assert killed.stderr == "Job <1>: Job has already finished\nJob <77>: No matching job found\n"
    assert killed.returncode == 255


def test_lsf_refuses_in_its_own_words(lab: Make) -> None:
    here = lab("lsf")
    done = here.sh("bsub -q nope true")
    assert (done.returncode, done.stderr) == (255, "nope: No such queue. Job not submitted.\n")
    assert here.sh("bsub -zz true").stderr == "bsub: illegal option -- zz\n. Job not submitted.\n"
    assert "Bad argument for option -n" in here.sh("bsub -n x true").stderr


def test_lsf_tells_a_kill_from_the_run_limit(lab: Make) -> None:
    here = lab("lsf", kill_wait=0.05, speed=600)
    here.out("bsub -o /dev/null -W 1 sleep 60")
    here.ended()
    told = here.out("bjobs -a -noheader -o \"stat exit_code exit_reason delimiter='^'\" 1")
    assert told == "EXIT^140^TERM_RUNLIMIT: job killed after reaching LSF run time limit\n"
    here.out("bsub -o /dev/null sleep 60")
    here.running(2)
    assert here.out("bkill 2") == "Job <2> is being terminated\n"
    here.ended(2)
    assert here.out("bjobs -a -noheader -o 'stat exit_code' 2") == "EXIT 130\n"
    assert "TERM_OWNER: job killed by owner" in here.out("bacct -l 2").replace("\n" + " " * 21, "")


def test_lsf_waits_for_conditions_and_keeps_the_environment_out(lab: Make) -> None:
    here = lab("lsf")
    here.out("bsub -o /dev/null -J first sleep 0.1")
    here.out("bsub -o out -env \"none, MINE=1\" -w 'done(1) && ended(\"first\")' 'echo [$KEPT$MINE]'", KEPT="yes")
    assert here.emulator.job("2").request.dependencies
    here.ended(2)
    assert (here.directory / "out").read_text() == "[1]\n"


# -- Flux


@pytest.mark.parametrize("number", [1, 2, 57, 12345])
def test_flux_ids_have_forms_that_mean_the_same(number: int) -> None:
    value = fluid(number)
    for form in (f58(value, "f"), f58(value, "ƒ"), str(value), hex(value)):
        assert parsed(form) == value
    assert parsed("f0OIl") is None


_FLUX = """#!/bin/bash
# flux: -N2 -n4 --job-name='a b'
# flux: --output=out --env-remove=HIDDEN*
echo [$HIDDEN_ONE] [$KEPT] $(flux hostlist -e local) ${FLUX_JOB_ID-none}
flux run -n2 sh -c 'echo rank $FLUX_TASK_RANK of $FLUX_JOB_SIZE'
exit 3
"""


def test_flux_runs_a_batch_script(lab: Make) -> None:
    here = lab("flux")
    here.script(_FLUX)
    job_id = here.out("flux batch job.sh", HIDDEN_ONE="1", KEPT="yes").strip()
    assert job_id.startswith("ƒ")
    here.ended()
    lines = (here.directory / "out").read_text().splitlines()
    assert lines[0] == "[] [yes] n1 n2 none"
    assert sorted(lines[1:]) == ["rank 0 of 2", "rank 1 of 2"]
    told = here.out(f"flux jobs -n -o '{{id.dec}}|{{state}}|{{result}}|{{returncode}}|{{name}}' {job_id}")
    assert told == f"{parsed(job_id)}|INACTIVE|FAILED|3|a b\n"
    facts = json.loads(here.out(f"flux jobs --json {job_id}"))
    assert (facts["waitstatus"], facts["exception"], facts["nodelist"]) == (3 << 8, {"occurred": False}, "n1,n2")


def test_flux_answers_for_jobs_that_it_does_not_know(lab: Make) -> None:
    here = lab("flux", kill_wait=0.05)
    job_id = here.out("flux batch -n1 --wrap sleep 60").strip()
    here.running()
    done = here.sh(f"flux jobs -no '{{id}}' {job_id} ƒ2nd")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{job_id}\n", "JobID ƒ2nd unknown\n")
    assert here.sh("flux jobs ƒ2nd").returncode == 1
    assert "invalid JobID value: 'abc'" in here.sh("flux jobs abc").stderr
    done = here.sh(f"flux cancel {job_id} ƒ2nd")
    assert (done.returncode, done.stderr) == (1, "flux-cancel: ERROR: ƒ2nd: unknown job id\n")
    here.ended()
    assert here.sh(f"flux cancel {job_id}").stderr == f"flux-cancel: ERROR: {job_id}: job is inactive\n"
    assert here.sh(f"flux job kill {job_id}").stderr == f"flux-job: kill {job_id}: job is inactive\n"
    told = here.out(f"flux jobs -no '{{result}} {{returncode}} {{exception.type}}' {job_id}")
    assert told == "CANCELED 143 cancel\n"


def test_flux_ends_a_job_whose_dependency_has_failed(lab: Make) -> None:
    here = lab("flux")
    first = here.out("flux batch -n1 --wrap false").strip()
    here.ended()
    second = here.out(f"flux batch -n1 --dependency=afterok:{first} --wrap true").strip()
    here.ended(2)
    assert here.out(f"flux jobs -no '{{result}} {{exception.type}}' {second}") == "FAILED dependency\n"
    assert "not supported" in here.sh("flux batch -n1 --dependency=odd:1 --wrap true").stderr


def test_flux_refuses_in_its_own_words(lab: Make) -> None:
    here = lab("flux")
    assert (
        here.sh("flux batch --wrap true").stderr == "flux-batch: ERROR: Number of slots to allocate must be specified\n"
    )
    assert "Invalid queue 'no' specified" in here.sh("flux batch -n1 -q no --wrap true").stderr
    done = here.sh("flux batch --zz -n1 x")
    assert (done.returncode, "unrecognized arguments: --zz" in done.stderr) == (2, True)


# -- NQSV

_NQSV = """#!/bin/bash
#PBS -N name -b 2
#PBS -l elapstim_req=00:10:00
#PBS -j o -o out.%r
echo $PBS_JOBID $PBS_JOBNAME $PBS_O_WORKDIR [$KEPT]; pwd; cat $PBS_NODEFILE
"""


def test_nqsv_runs_a_request_and_forgets_it(lab: Make) -> None:
    here = lab("nqsv")
    here.script(_NQSV)
    assert here.out("qsub job.sh", KEPT="no") == "Request 1.nqsv submitted to queue: batch.\n"
    here.ended()
    home = os.path.expanduser(f"~{here.out('id -un').strip()}")
    told = (here.directory / "out.1").read_text()
    assert told == f"0:1.nqsv name {here.directory} []\n{home}\nn1\nn2\n"
    assert here.out("qstat 1.nqsv") == "Batch Request: 1.nqsv does not exist on nqsv.\n"
    assert here.out("qstat -T 1.nqsv") == "No such request: 1.nqsv.\n"


def test_nqsv_shows_and_deletes(lab: Make) -> None:
    here = lab("nqsv")
    here.out("qsub -V -o /dev/null -e /dev/null", "sleep 60\n")
    here.running()
    assert re.fullmatch(r"1\.nqsv +RUN\n", here.out("qstat -F rid,stt -n -l 1"))
    head = here.out("qstat").splitlines()[0]
    assert head == "RequestID       ReqName  UserName Queue     Pri STT S   Memory      CPU   Elapse R H M Jobs"
    assert "    Current State           = Running\n" in here.out("qstat -f 1")
    done = here.sh("qdel 1 77")
    assert (done.stdout, done.stderr) == ("Request 1.nqsv was deleted.\n", "No such request: 77.nqsv.\n")
    assert here.ended()[0].how is How.CANCELLED


def test_nqsv_refuses_in_its_own_words(lab: Make) -> None:
    here = lab("nqsv")
    done = here.sh("qsub -l elapstim=1", "true\n")
    assert (done.returncode, done.stderr.splitlines()[0]) == (1, "Invalid syntax following -l flag.")
    assert done.stderr.endswith("Request not queued.\n")


# -- all of them


@pytest.mark.parametrize(
    ("name", "commands"),
    [
        (
            "lsf",
            ["bjobs -u all -o 'jobid stat job_name pend_reason'", "bjobs -u all -json -o 'jobid name'", "bjobs -w"],
        ),
        ("flux", ["flux jobs -A", "flux jobs -A --json"]),
        ("htcondor", ["condor_q -allusers", "condor_q -allusers -json", "condor_q -allusers -long"]),
        ("oar", ["oarstat", "oarstat -J", "oarstat -f"]),
        ("cobalt", ["qstat", "qstat -f -l"]),
        ("nqsv", ["qstat -u alice,bob", "qstat -f -u alice,bob"]),
    ],
)
def test_a_queue_full_of_odd_foreign_jobs_is_shown(lab: Make, name: str, commands: list[str]) -> None:
    here = lab(name, foreign=60)
    for command in commands:
        done = here.sh(command)
        assert "the emulator failed" not in done.stderr
        assert done.returncode == 0
        assert done.stdout or command == "bjobs -w"


# -- what others lack


def test_grid_engine_takes_two_exit_statuses_for_orders(lab: Make) -> None:
    here = lab("sge")
    here.out("qsub -o /dev/null -j y", "[ $RESTARTED = 1 ] || exit 99\nexit 3\n")
    here.ended()
    assert (here.emulator.job("1").restarts, here.emulator.job("1").exit_code) == (1, 3)
    here.out("qsub -o /dev/null -j y", "exit 100\n")
    here.emulator.wait_until(lambda: here.emulator.job("2").reason == "launch")
    assert " Eqw " in here.out("qstat")
    here.out("qdel 2")


def test_grid_engine_has_orders_from_no_program_of_harmony(tmp_path: Path) -> None:
    with Emulator("sge", tmp_path / "lab") as here, systems.executor("sge", tmp_path / "work") as executor:
        for code in (99, 100):
            job = Job(JobSpec("sh", ["-c", f"exit {code}"]))
            executor.submit(job)
            status = job.wait(timedelta(seconds=30))
            assert status is not None
            assert (status.state, status.exit_code, status.reason) == (JobState.FAILED, code, "exit")
        assert [each.restarts for each in here.jobs()] == [0, 0]


@pytest.mark.parametrize(
    ("name", "command"),
    [("slurm", "sbatch --wait --wrap true"), ("slurm", "sbatch --test-only --wrap true"), ("pbs", "qsub -I"),
     ("pbs_classic", "qsub -X"), ("sge", "qsub -sync y -b y true"), ("sge", "qsub -now y -b y true")],
)  # fmt: skip
def test_what_an_emulator_cannot_do_it_refuses(lab: Make, name: str, command: str) -> None:
    done = lab(name).sh(command)
    assert done.returncode != 0
    assert "this emulated" in done.stderr
