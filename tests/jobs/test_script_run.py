"""The job script, run by the shell: how jobs end, and what it reports of that."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from pathlib import Path

import pytest
from tests.jobs.running import PATIENCE, Bench, command

from harmony.jobs.launcher import Launcher
from harmony.jobs.script import Frame, array_script, job_script
from harmony.jobs.spec import JobSpec


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def appears(path: Path) -> None:
    """Wait until a job has written a line into the file."""
    deadline = time.monotonic() + PATIENCE
    while not path.exists() or not path.read_bytes().endswith(b"\n"):
        assert time.monotonic() < deadline, f"{path} does not appear"
        time.sleep(0.01)


# -- ends


@pytest.mark.parametrize("code", [0, 3, 255])
def test_exit_code_is_reported(bench: Bench, code: int) -> None:
    ran = bench.run(JobSpec("sh", ["-c", f"exit {code}"]))
    assert (ran.code, ran.end, ran.states) == (code, (code, "done"), ["ACTIVE"])


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM])
def test_death_by_a_signal_is_reported_as_the_shell_counts_it(bench: Bench, number: signal.Signals) -> None:
    ran = bench.run(JobSpec("sh", ["-c", f"ulimit -c 0; kill -{int(number)} $$"]))
    assert ran.end == (128 + number, "done")


def test_term_is_passed_on_to_the_program(bench: Bench) -> None:
    process = bench.start(JobSpec("sh", ["-c", "echo ready; exec sleep 60"], stdout_path="out"))
    appears(bench.home / "out")
    os.kill(process.pid, signal.SIGTERM)
    assert bench.ended(process).end == (143, "done")


def test_program_that_handles_term_ends_as_it_will(bench: Bench) -> None:
    program = "trap 'kill $!; exit 7' TERM; sleep 60 & echo ready; wait"
    process = bench.start(JobSpec("sh", ["-c", program], stdout_path="out"))
    appears(bench.home / "out")
    os.kill(process.pid, signal.SIGTERM)
    assert bench.ended(process).end == (7, "done")


@pytest.mark.parametrize("name", ["USR1", "USR2", "HUP", "XCPU"])
def test_signals_reach_the_program_as_often_as_they_come(bench: Bench, name: str) -> None:
    program = (
        "import signal, sys\n"
        f"signal.signal(signal.SIG{name}, lambda *_: print('got', flush=True))\n"
        "print('ready', flush=True)\n"
        "signal.pause(); signal.pause(); sys.exit(5)"
    )
    process = bench.start(JobSpec(sys.executable, ["-c", program], stdout_path="out"))
    appears(bench.home / "out")
    number = getattr(signal, f"SIG{name}")
    os.kill(process.pid, number)
    deadline = time.monotonic() + PATIENCE
    while (bench.home / "out").read_text() != "ready\ngot\n" and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(process.pid, number)
    assert bench.ended(process).end == (5, "done")


def test_term_before_the_program_ends_the_script(bench: Bench, tmp_path: Path) -> None:
    slow = tmp_path / "slow.sh"
    slow.write_text(f"echo ready >{tmp_path}/ready\nwhile :; do :; done\n")
    process = bench.start(JobSpec("touch", ["never"], pre_launch=slow))
    appears(tmp_path / "ready")
    os.kill(process.pid, signal.SIGTERM)
    assert bench.ended(process).end == (143, "pre_launch")
    assert not (bench.home / "never").exists()


# -- what cannot be started


@pytest.mark.parametrize(
    ("executable", "code", "says"),
    [
        ("/no/such/program", 127, "there is no program /no/such/program"),
        ("no-such-program", 127, "there is no program no-such-program on the PATH"),
        ("no such $(program)", 127, "there is no program no such $(program) on the PATH"),
        ("./plain", 126, "./plain is not a program that may be run"),
        (".", 127, "there is no program ."),
        ("/", 126, "/ is not a program that may be run"),
    ],
)
def test_program_that_cannot_be_started_is_said(bench: Bench, executable: str, code: int, says: str) -> None:
    bench.home.mkdir()
    (bench.home / "plain").write_text("text")
    ran = bench.run(JobSpec(executable))
    assert (ran.code, ran.end, ran.states) == (code, (code, "launch"), [])
    assert says in ran.log


def test_launcher_that_is_not_installed_is_said(bench: Bench) -> None:
    ran = bench.run(JobSpec("true", launcher="aprun"))
    assert ran.end == (127, "launch")
    assert "there is no program aprun on the PATH" in ran.log


def test_name_is_a_program_never_a_builtin_or_function_of_the_shell(bench: Bench, tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("echo", "cd", "psij_mark", "kill"):
        (tools / name).write_text("#!/bin/sh\nprintf 'the file %s\\n' \"${0##*/}\"\n")
        (tools / name).chmod(0o755)
    for name in ("echo", "cd", "psij_mark", "kill"):
        ran = bench.run(JobSpec(name, environment={"PATH": f"{tools}:${{PATH}}"}, stdout_path="out"))
        assert ran.end == (0, "done")
        assert (bench.home / "out").read_text() == f"the file {name}\n"


def test_program_sees_the_name_it_was_called_by(bench: Bench) -> None:
    bench.run(JobSpec("sh", ["-c", "cat /proc/$$/cmdline"], stdout_path="out"))
    assert (bench.home / "out").read_bytes().split(b"\0")[0] == b"sh"


def test_script_without_a_first_line_runs(bench: Bench) -> None:
    bench.home.mkdir()
    (bench.home / "plain").write_text("exit 4\n")
    (bench.home / "plain").chmod(0o755)
    assert bench.run(JobSpec("./plain")).end == (4, "done")


def test_directory_is_made(bench: Bench, tmp_path: Path) -> None:
    where = tmp_path / "a b" / "$(c)\nd"
    ran = bench.run(JobSpec("pwd", directory=where, stdout_path="out"))
    assert ran.end == (0, "done")
    assert (where / "out").read_text() == f"{where}\n"


def test_directory_that_cannot_be_made_is_said(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    ran = bench.run(JobSpec("true", directory=tmp_path / "file" / "inside", cleanup=["x"]))
    assert ran.end == (121, "directory")
    assert f"cannot run in the directory {tmp_path}/file/inside" in ran.log


@pytest.mark.parametrize("field", ["stdin_path", "stdout_path", "stderr_path"])
def test_stream_that_cannot_be_opened_is_said(bench: Bench, field: str) -> None:
    ran = bench.run(JobSpec("true", **{field: "no/such/place"}))  # type: ignore[arg-type]
    assert (ran.end, ran.states) == ((121, "launch"), [])
    assert "an input or output file of the program cannot be opened" in ran.log
    assert "no/such/place" in ran.log


# -- the streams


def test_streams_are_the_files_that_were_named(bench: Bench) -> None:
    bench.home.mkdir()
    names = ["in 'put'", "out $(put)\n1", 'ër"r`or`']
    (bench.home / names[0]).write_text("hello")
    ran = bench.run(
        JobSpec("sh", ["-c", "cat; echo bad >&2"], stdin_path=names[0], stdout_path=names[1], stderr_path=names[2])
    )
    assert ran.end == (0, "done")
    assert ((bench.home / names[1]).read_text(), (bench.home / names[2]).read_text()) == ("hello", "bad\n")


def test_one_file_for_both_streams_keeps_their_order(bench: Bench) -> None:
    bench.run(JobSpec("sh", ["-c", "echo 1; echo 2 >&2; echo 3"], stdout_path="out", stderr_path="out"))
    assert (bench.home / "out").read_text() == "1\n2\n3\n"


def test_streams_that_were_not_named_are_empty(bench: Bench) -> None:
    ran = bench.run(JobSpec("sh", ["-c", "cat; echo lost; echo lost >&2; ls -l /proc/self/fd >seen"]))
    assert (ran.end, ran.log) == ((0, "done"), "")
    assert (bench.home / "seen").read_text().count("/dev/null") >= 2


def test_program_inherits_no_file_of_the_script(bench: Bench) -> None:
    bench.home.mkdir()
    (bench.home / "in").write_text("")
    count = "import os; print(len(os.listdir('/proc/self/fd')))"
    bench.run(JobSpec(sys.executable, ["-c", count], stdin_path="in", stdout_path="out", stderr_path="err"))
    assert (bench.home / "out").read_text() == "4\n"  # the three, and the directory that it lists


def test_paths_stay_relative_to_the_directory_wherever_pre_launch_goes(bench: Bench, tmp_path: Path) -> None:
    code = tmp_path / "pre.sh"
    code.write_text("cd /\n")
    ran = bench.run(JobSpec("pwd", pre_launch=code, stdout_path="out", cleanup=["junk"]))
    assert ran.end == (0, "done")
    assert (bench.home / "out").read_text() == "/\n"


# -- sourced scripts


def sourced(tmp_path: Path, text: str, name: str = "code 'of' $(mine)\n.sh") -> Path:
    (tmp_path / name).write_text(text)
    return tmp_path / name


def test_pre_launch_changes_what_the_program_sees(bench: Bench, tmp_path: Path) -> None:
    code = sourced(tmp_path, "export A=1\ndeclare -x B='2 3'\nmy_tool() { echo tool; }\nexport -f my_tool\nC=hidden\n")
    program = 'echo "$A,$B,${C-none}"; my_tool'
    ran = bench.run(JobSpec("bash", ["-c", program, "${A}${B}"], pre_launch=code, stdout_path="out"))
    assert ran.end == (0, "done")
    assert (bench.home / "out").read_text() == "1,2 3,none\ntool\n"


@pytest.mark.parametrize(
    ("text", "code"),
    [("exit 3\n", 3), ("false\ntouch after\n", 1), ("exit 0\n", 121), ("no_such_command_here\n", 127)],
)
def test_pre_launch_that_fails_ends_the_job(bench: Bench, tmp_path: Path, text: str, code: int) -> None:
    ran = bench.run(JobSpec("touch", ["never"], pre_launch=sourced(tmp_path, text)))
    assert (ran.code, ran.end, ran.states) == (code, (code, "pre_launch"), [])
    assert not (bench.home / "never").exists()
    assert not (bench.home / "after").exists()


def test_pre_launch_that_is_missing_ends_the_job(bench: Bench, tmp_path: Path) -> None:
    ran = bench.run(JobSpec("true", pre_launch=tmp_path / "nothing.sh"))
    assert ran.end == (1, "pre_launch")
    assert "nothing.sh" in ran.log


def test_pre_launch_may_print_any_amount(bench: Bench, tmp_path: Path) -> None:
    code = sourced(tmp_path, "head -c 1000000 /dev/zero | tr '\\0' x\n")
    ran = bench.run(JobSpec("true", pre_launch=code))
    assert (ran.end, len(ran.log)) == ((0, "done"), 1_000_000)


def test_pre_launch_may_leave_the_shell_as_it_likes(bench: Bench, tmp_path: Path) -> None:
    text = (
        "set -euaf -o pipefail -o noclobber; shopt -s nullglob failglob; IFS=/; set +h; unset HOME\n"
        "cp() { return 9; }; mv() { return 9; }; rm() { return 9; }; true() { return 9; }; printf() { return 9; }\n"
        "cd() { return 9; }; PATH=/nowhere\n"
    )
    (tmp_path / "old").write_text("new")
    spec = JobSpec("/bin/sh", ["-c", "exit 3"], pre_launch=sourced(tmp_path, text), stdout_path="out", cleanup=["out"])
    (bench.home).mkdir()
    (bench.home / "out").write_text("was there")
    ran = bench.run(spec)
    assert ran.end == (3, "done")
    assert not (bench.home / "out").exists()


def test_pre_launch_in_the_directory_may_be_named_alone(bench: Bench) -> None:
    bench.home.mkdir()
    (bench.home / "-pre").write_text("export A=5\n")
    ran = bench.run(JobSpec("sh", ["-c", "exit $A"], pre_launch="-pre"))
    assert ran.end == (5, "done")


def test_traps_of_pre_launch_run_at_the_end_and_the_end_is_reported(bench: Bench, tmp_path: Path) -> None:
    code = sourced(tmp_path, "trap 'echo \"it'\\''s over\" >after; exit 9' EXIT\n")
    ran = bench.run(JobSpec("sh", ["-c", "[ ! -e after ]; exit 3"], pre_launch=code))
    assert ran.end == (3, "done")
    assert (bench.home / "after").read_text() == "it's over\n"


def test_post_launch_runs_also_after_a_failure(bench: Bench, tmp_path: Path) -> None:
    ran = bench.run(JobSpec("sh", ["-c", "exit 3"], post_launch=sourced(tmp_path, "touch after\n")))
    assert ran.end == (3, "done")
    assert (bench.home / "after").exists()


@pytest.mark.parametrize(
    ("program", "text", "end"),
    [
        ("exit 0", "exit 4", (4, "post_launch")),
        ("exit 0", "false", (1, "post_launch")),
        ("exit 3", "exit 4", (3, "done")),
        ("exit 3", "exit 0", (3, "done")),
        ("exit 0", "exit 0", (0, "done")),
    ],
)
def test_first_failure_is_the_jobs(bench: Bench, tmp_path: Path, program: str, text: str, end: tuple[int, str]) -> None:
    ran = bench.run(JobSpec("sh", ["-c", program], post_launch=sourced(tmp_path, text)))
    assert (ran.code, ran.end) == (end[0], end)


# -- walltime, where the script itself keeps it


def test_limit_ends_the_program_and_all_it_started(bench: Bench) -> None:
    program = "sleep 60 & echo ready; wait"
    ran = bench.run(JobSpec("sh", ["-c", program], stdout_path="out"), limit=0.3)
    assert ran.end == (143, "walltime")


def test_limit_ends_a_program_that_ignores_term(bench: Bench) -> None:
    program = "trap '' TERM; sleep 60 & wait; wait"
    assert bench.run(JobSpec("sh", ["-c", program]), limit=0.2).end == (143, "walltime")


def test_limit_that_is_not_reached_costs_nothing(bench: Bench) -> None:
    assert bench.run(JobSpec("sh", ["-c", "exit 3"]), limit=1000).end == (3, "done")


def test_limit_leaves_time_to_stage_out(bench: Bench, tmp_path: Path) -> None:
    from harmony.jobs.staging import StageOut, StageOutFlags

    out = [StageOut("partial", tmp_path / "saved", StageOutFlags.ON_ERROR)]
    ran = bench.run(JobSpec("sh", ["-c", "echo 1 >partial; sleep 60"], stage_out=out), limit=0.3)
    assert ran.end == (143, "walltime")
    assert (tmp_path / "saved").read_text() == "1\n"


# -- where it reports


def test_directory_of_the_executor_may_have_any_name(tmp_path: Path) -> None:
    bench = Bench(tmp_path / "it's a $(dir)\nwith `all` ü")
    ran = bench.run(JobSpec("sh", ["-c", 'cat "$PSIJ_NODEFILE"'], stdout_path="out"))
    assert (ran.end, ran.log) == ((0, "done"), "")
    assert (bench.home / "out").read_text().strip()


def test_news_that_cannot_be_written_do_not_stop_the_job(bench: Bench) -> None:
    os.rmdir(bench.place.news)
    ran = bench.run(JobSpec("sh", ["-c", "echo ran >out; exit 3"]))
    assert (ran.code, ran.markers) == (3, [])
    assert (bench.home / "out").read_text() == "ran\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a file system of a given size needs root")
def test_full_disk_still_lets_the_end_be_reported(bench: Bench, tmp_path: Path) -> None:
    news = bench.place.news
    made = command("mount", "-t", "tmpfs", "-o", "nr_inodes=2,size=64k", "tmpfs", news)
    if made.returncode:
        pytest.skip(f"mounting is not allowed here: {made.stderr.strip()}")
    try:
        ran = bench.run(JobSpec("sh", ["-c", "exit 3"]))
    finally:
        assert command("umount", news).returncode == 0
    assert (ran.end, ran.states) == ((3, "done"), [])


def test_old_shell_is_refused_in_a_sentence(bench: Bench) -> None:
    script = Path(bench.write(JobSpec("true")))
    script.write_text(script.read_text().replace("< 403", "< 9903"))
    done = command("/bin/bash", str(script))
    assert done.returncode == 121
    assert "job scripts need bash 4.3 or later; /bin/bash here is" in done.stdout
    (name,) = os.listdir(bench.place.news)
    assert name.endswith(".121.start")


def test_task_of_an_array_runs_its_own_script(bench: Bench) -> None:
    spec = JobSpec("sh", ["-c", 'echo "$PSIJ_ARRAY_INDEX"'], stdout_path="out", pre_launch="noise")
    bench.home.mkdir()
    (bench.home / "noise").write_text("echo noise; echo more >&2")
    spec.directory = bench.home
    text = job_script(spec, bench.place, Launcher.get_instance("single"), Frame(redirect=True), array_index=7)
    folder = Path(bench.place.directory)
    (folder / "array-1.3.sh").write_text(text)
    array = folder / "array-1.sh"
    array.write_text(array_script(str(folder), "array-1", ["#SBATCH --array=0-3"], "$TASK"))
    done = command("/bin/bash", str(array), environment={**os.environ, "TASK": "3"})
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (bench.home / "out").read_text() == "7\n"
    assert Path(bench.place.log).read_text() == "noise\nmore\n"


def test_attempt_is_what_the_batch_system_counts(bench: Bench) -> None:
    ran = bench.run(JobSpec("true"), {**os.environ, "RESTARTS": "2"}, attempt="${RESTARTS:-0}")
    assert {marker.attempt for marker in ran.markers} == {2}


@pytest.mark.skipif(sys.platform != "linux", reason="strace is Linux's")
def test_plain_job_costs_the_shell_and_its_program(bench: Bench) -> None:
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    bench.home.mkdir()
    script = bench.write(JobSpec("/bin/true"))
    done = command("strace", "-f", "-e", "trace=clone,clone3,fork,vfork,execve", "/bin/bash", script)
    assert done.stderr.count("execve(") == 2
    assert done.stderr.count("clone") + done.stderr.count("fork(") == 1
