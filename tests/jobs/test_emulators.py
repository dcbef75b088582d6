"""The emulated batch systems: their commands say what the real ones say, jobs really run, faults come to order."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from harmony.conformance.emulators import Emulator, How, State

Start = Callable[..., Emulator]
MINE = ("slurm", "pbs", "pbs_classic", "sge")
#: How each system is told: the id only on stdout, a limit of a minute, a dependency, an array of three tasks.
SUBMIT = {
    "slurm": "sbatch --parsable -o /dev/null",
    "pbs": "qsub -o /dev/null -j oe",
    "sge": "qsub -terse -o /dev/null -j y",
}
SUBMIT["pbs_classic"] = SUBMIT["pbs"]
MINUTE = {"slurm": "-t 1", "pbs": "-l walltime=60", "pbs_classic": "-l walltime=1:00", "sge": "-l h_rt=60"}
AFTER = {
    "slurm": "-d afterok:{}",
    "pbs": "-W depend=afterok:{}",
    "pbs_classic": "-W depend=afterok:{}",
    "sge": "-hold_jid {}",
}
ARRAY = {"slurm": "-a 1-3", "pbs": "-J 1-3", "pbs_classic": "-t 1-3", "sge": "-t 1-3"}
STATUS = {"slurm": "squeue", "pbs": "qstat", "pbs_classic": "qstat", "sge": "qstat"}
CANCEL = {"slurm": "scancel", "pbs": "qdel", "pbs_classic": "qdel", "sge": "qdel"}


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    with ExitStack() as stack:
        yield lambda name, **options: stack.enter_context(Emulator(name, tmp_path / "lab", **options))


@pytest.fixture(params=MINE)
def lab(request: pytest.FixtureRequest, start: Start) -> Emulator:
    return start(request.param)


def run(command: str, stdin: str = "", **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, shell=True, input=stdin, capture_output=True, text=True, check=False, timeout=30, **options
    )


def out(command: str, stdin: str = "", **options: Any) -> str:
    done = run(command, stdin, **options)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.rstrip("\n")


def submit(lab: Emulator, script: str, options: str = "") -> str:
    return out(f"{SUBMIT[lab.name]} {options}", f"#!/bin/bash\n{script}\n")


@pytest.mark.parametrize("code", [0, 3])
def test_a_job_runs_as_a_process_and_its_exit_code_is_known(lab: Emulator, tmp_path: Path, code: int) -> None:
    job = submit(lab, f"echo $$ >{tmp_path}/pid; exit {code}")
    ended = lab.wait_for(job)
    assert (ended.how, ended.status) == (How.EXITED, code)
    assert int((tmp_path / "pid").read_text()) == ended.pid


def test_a_cancel_ends_a_running_job_and_all_that_it_has_started(lab: Emulator, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "up")
    job = submit(lab, f"setsid sleep 1000 & echo $! >{tmp_path}/up; wait")
    child = int((tmp_path / "up").read_text())
    assert run(f"{CANCEL[lab.name]} {job}").returncode == 0
    assert lab.wait_for(job).how is How.CANCELLED
    lab.close()
    assert not Path(f"/proc/{child}").exists() or "Z" in Path(f"/proc/{child}/stat").read_text()


def test_a_cancel_of_a_waiting_job(lab: Emulator) -> None:
    lab.hold()
    job = submit(lab, "true")
    run(f"{CANCEL[lab.name]} {job}")
    ended = lab.wait_for(job)
    assert (ended.how, ended.started) == (How.CANCELLED, None)


def test_a_time_limit_is_enforced(lab: Emulator) -> None:
    lab.set(speed=600, kill_wait=0.05)
    job = submit(lab, "trap '' TERM; while :; do sleep 0.01; done", MINUTE[lab.name])
    ended = lab.wait_for(job)
    assert (ended.how, ended.signal) == (How.TIMEOUT, 9)


def test_a_job_waits_for_another(lab: Emulator, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "go")
    first = submit(lab, f"read <{tmp_path}/go")
    second = submit(lab, "true", AFTER[lab.name].format(first))
    lab.wait_until(lambda: lab.job(second).reason == "dependency")
    (tmp_path / "go").write_text("\n")
    begun = lab.wait_for(second).started
    before = lab.job(first).ended
    assert begun is not None
    assert before is not None
    assert begun >= before


@pytest.mark.parametrize("name", ["slurm", "pbs", "pbs_classic"])
def test_a_dependency_that_cannot_be_met(start: Start, name: str) -> None:
    lab = start(name)
    lab.hold()
    first = submit(lab, "exit 3")
    second = submit(lab, "true", AFTER[name].format(first))
    lab.start_all()
    if name == "slurm":
        lab.wait_until(lambda: lab.job(second).reason == "never")
        assert out(f"squeue -h -j {second} -o %r") == "DependencyNeverSatisfied"
    else:
        assert lab.wait_for(second).how is How.DEPENDENCY


def test_an_array_job_has_its_tasks(lab: Emulator, tmp_path: Path) -> None:
    index = {
        "slurm": "SLURM_ARRAY_TASK_ID",
        "pbs": "PBS_ARRAY_INDEX",
        "pbs_classic": "PBS_ARRAYID",
        "sge": "SGE_TASK_ID",
    }
    submit(lab, f"touch {tmp_path}/task${index[lab.name]}", ARRAY[lab.name])
    lab.wait_until(lambda: all(job.state is State.ENDED for job in lab.jobs()))
    assert [job.index for job in lab.jobs()] == [1, 2, 3]
    assert sorted(path.name for path in tmp_path.glob("task*")) == ["task1", "task2", "task3"]


def test_a_lost_node_takes_its_jobs_with_it(lab: Emulator) -> None:
    no = {"slurm": "--no-requeue", "pbs": "-r n", "pbs_classic": "-r n", "sge": "-r n"}
    job = submit(lab, "sleep 1000", no[lab.name])
    node = lab.wait_for(job, State.RUNNING).nodes[0]
    lab.kill_node(node)
    assert lab.wait_for(job).how is How.NODE_FAILED
    again = submit(lab, "sleep 1000")
    assert node not in lab.wait_for(again, State.RUNNING).nodes


def test_a_preempted_job_starts_again(lab: Emulator) -> None:
    yes = {"slurm": "--requeue", "pbs": "-r y", "pbs_classic": "-r y", "sge": "-r y"}
    job = submit(lab, "sleep 1000", yes[lab.name])
    lab.wait_for(job, State.RUNNING)
    lab.befall(job, How.PREEMPTED)
    lab.wait_until(lambda: lab.job(job).restarts == 1 and lab.job(job).state is State.RUNNING)


def test_a_start_that_fails(lab: Emulator) -> None:
    lab.set(failing_starts=1)
    job = submit(lab, "true")
    if lab.name == "sge":
        lab.wait_for(job, State.HELD)
        assert " Eqw " in out("qstat")
    else:
        assert lab.wait_for(job).how is How.LAUNCH_FAILED


def test_what_can_be_wrong_with_a_status_command(lab: Emulator) -> None:
    program = STATUS[lab.name]
    submit(lab, "sleep 1000")
    lab.fault(program, unreachable=True)
    assert run(program).returncode != 0
    lab.fault(program, lines=["what?"])
    assert run(program).stdout.startswith("what?\n")
    lab.fault(program, cut=7)
    assert len(run(program).stdout) == 7
    lab.fault(program, hang=True)
    with pytest.raises(subprocess.TimeoutExpired):
        subprocess.run([program], timeout=0.3, check=False, capture_output=True)
    assert run(program).returncode == 0
    assert len(lab.calls(program)) == 5


def test_a_refused_submission(lab: Emulator) -> None:
    lab.refuse(transient=True)
    lab.refuse()
    for _ in range(2):
        assert run(f"{SUBMIT[lab.name]}", "#!/bin/sh\n").returncode != 0
    assert lab.jobs() == []
    submit(lab, "true")


def test_a_queue_full_of_foreign_jobs(start: Start) -> None:
    start("slurm", foreign=10_000)
    lines = out("squeue -h -a -o '%i|%T|%R'").splitlines()
    assert len(lines) > 9_000
    assert any("Nodes required for job are DOWN" in line for line in lines)


def test_commands_at_once_do_not_disturb_each_other(start: Start) -> None:
    lab = start("slurm")
    threads = [threading.Thread(target=submit, args=(lab, "true")) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(int(job.id) for job in lab.jobs()) == list(range(1, 21))


def test_slurm_reads_directives_as_the_real_one(start: Start, tmp_path: Path) -> None:
    lab = start("slurm")
    lab.hold()
    script = r"""#!/bin/bash
#SBATCH --job-name="a b 'c' \"d" # comment
#SBATCH --comment='it\'s $(id) #x' -N 2

 #SBATCH --account=indented
true
#SBATCH --qos=late
"""
    job = out("sbatch --parsable", script)
    assert out(f"squeue -h -j {job} -o '%j|%k|%D|%a|%q'") == "a b 'c' \"d|it's $(id) #x|2|(null)|(null)"


def test_slurm_says_what_the_real_one_says(start: Start, tmp_path: Path) -> None:
    start("slurm")
    complaints = {
        "squeue -j 99": (1, "slurm_load_jobs error: Invalid job id specified\n"),
        "squeue -j 99,98 -h": (0, ""),
        "scancel 99": (0, ""),
        "scancel": (1, "scancel: error: No job identification provided\n"),
        "sbatch --bogus": (1, "sbatch: unrecognized option '--bogus'\n"),
        "sbatch nosuch": (1, "sbatch: error: Unable to open file nosuch\n"),
        "sbatch --wrap x -t abc": (255, "sbatch: error: Invalid --time specification\n"),
        "sbatch --wrap x -n 1000": (
            1, "sbatch: error: Batch job submission failed: Requested node configuration is not available\n",
        ),
        "scontrol show hostnames": (0, "scontrol: error: host list is empty\n"),
    }  # fmt: skip
    for command, expected in complaints.items():
        done = run(command)
        assert (done.returncode, done.stderr) == expected, command
    assert out("scontrol show hostnames 'n[1-3,7],m4'").split() == ["n1", "n2", "n3", "n7", "m4"]


def test_slurm_accounts_for_what_has_ended(start: Start) -> None:
    lab = start("slurm", keep=0)
    jobs = [submit(lab, "exit 3"), submit(lab, "kill -9 $$"), submit(lab, "sleep 1000")]
    lab.wait_for(jobs[2], State.RUNNING)
    lab.befall(jobs[2], How.TIMEOUT)
    for job in jobs:
        lab.wait_for(job)
    assert out("squeue -h -t all") == ""
    table = out(f"sacct -XPn -o JobID,State,ExitCode -j {','.join(jobs)}").splitlines()
    assert sorted(table) == ["1|FAILED|3:0", "2|FAILED|0:9", "3|TIMEOUT|0:15"]
    lab.set(accounting_delay=3600)
    assert out("sacct -XPn -o JobID -j 1") == ""
    lab.set(accounting=False)
    assert run("sacct").stderr == "Slurm accounting storage is disabled\n"


def test_srun_starts_copies_within_a_job(start: Start, tmp_path: Path) -> None:
    lab = start("slurm")
    job = submit(lab, f"srun -n 3 bash -c 'touch {tmp_path}/rank$SLURM_PROCID; exit $SLURM_PROCID'", "-N 2")
    assert lab.wait_for(job).status == 2
    assert len(list(tmp_path.glob("rank?"))) == 3


def test_pbs_shows_history_only_when_asked(start: Start) -> None:
    lab = start("pbs")
    job = submit(lab, "sleep 1000")
    lab.wait_for(job, State.RUNNING)
    out(f"qdel {job}")
    lab.wait_for(job)
    done = run(f"qstat {job}")
    assert done.returncode == 35
    assert done.stderr == f"qstat: {job} Job has finished, use -x or -H to obtain historical job information\n"
    shown = out(f"qstat -x -f {job}")
    assert "    job_state = F\n" in shown
    assert "    Exit_status = 271" in shown
    assert run("qstat 99").stderr == "qstat: Unknown Job Id 99.emulator\n"


@pytest.mark.parametrize("name", ["pbs", "pbs_classic"])
def test_pbs_selects_whole_ids(start: Start, name: str) -> None:
    lab = start(name)
    lab.hold()
    submit(lab, "true")
    submit(lab, "true", ARRAY[name])
    assert out("qselect -u $(id -un)").split() == ["1.emulator", "2[].emulator"]
    assert out("qselect -s R") == ""


def test_pbs_output_comes_at_the_end(start: Start, tmp_path: Path) -> None:
    lab = start("pbs")
    os.mkfifo(tmp_path / "go")
    job = out(f"qsub -N name -o '{tmp_path}/a b'", f"#!/bin/bash\necho hello; read <{tmp_path}/go\n", cwd=tmp_path)
    lab.wait_for(job, State.RUNNING)
    assert not (tmp_path / "a b").exists()
    (tmp_path / "go").write_text("\n")
    lab.wait_for(job)
    assert (tmp_path / "a b").read_text() == "hello\n"
    assert (tmp_path / "name.e1").read_text() == ""


def test_torque_keeps_what_has_completed_for_a_while(start: Start) -> None:
    lab = start("pbs_classic")
    job = submit(lab, "exit 3")
    lab.wait_for(job)
    shown = out(f"qstat -f {job}")
    assert "    job_state = C\n" in shown
    assert "    exit_status = 3\n" in shown
    lab.forget(job)
    done = run(f"qstat {job}")
    assert (done.returncode, done.stderr) == (153, f"qstat: Unknown Job Id Error {job}\n")


def test_grid_engine_forgets_at_once_and_accounts(start: Start) -> None:
    lab = start("sge")
    job = submit(lab, "exit 3")
    lab.wait_for(job)
    lab.wait_until(lambda: not lab.job(job).visible)
    assert out("qstat") == ""
    assert run(f"qstat -j {job}").returncode == 1
    unknown = run(f"qstat -xml -j {job}")
    assert (unknown.returncode, "<unknown_jobs" in unknown.stdout) == (0, True)
    assert "exit_status  3 " in out(f"qacct -j {job}")


def test_nothing_is_left_of_an_emulator(tmp_path: Path) -> None:
    path = os.environ["PATH"]
    with Emulator("slurm", tmp_path) as lab:
        job = submit(lab, "sleep 1000")
        process = lab.wait_for(job, State.RUNNING).pid
    assert os.environ["PATH"] == path
    assert not Path(f"/proc/{process}").exists()
    assert run(f"{tmp_path}/bin/squeue").stderr == "squeue: the emulator is not running\n"


def test_the_fixture_for_other_peoples_tests(emulated_scheduler: Start) -> None:
    lab = emulated_scheduler("sge", nodes=1)
    assert lab.wait_for(submit(lab, "true")).nodes == ("n1",)


def test_the_plug_in_brings_no_emulator_until_it_is_used() -> None:
    program = "import sys, harmony.conformance.plugin; print([name for name in sys.modules if 'emulators' in name])"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_names_and_settings_that_there_are_not(tmp_path: Path, start: Start) -> None:
    with pytest.raises(ValueError, match="there is no emulator of 'nosuch'"):
        Emulator("nosuch", tmp_path)
    lab = start("slurm")
    with pytest.raises(TypeError, match="'colour' is no setting"):
        lab.set(colour="red")
    with pytest.raises(ValueError, match="slurm has no command 'qsub'"):
        lab.fault("qsub")
