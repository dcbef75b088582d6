"""``harmony job`` on this machine: submit, look, wait, cancel, and what a shell script sees of it."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.cli_jobs import Gate, facts, follows, gate, here, how, job, rows, started, submitted, until

__all__ = ["gate", "here"]
pytestmark = pytest.mark.usefixtures("here")

KEYS = [
    "id", "executor", "native_id", "array", "array_index", "name", "submitted", "state", "final", "time", "exit_code",
    "reason", "message", "metadata", "stdout_path", "stderr_path",
]  # fmt: skip


@pytest.mark.parametrize(
    ("program", "status", "expected"),
    [
        ("true", 0, ("COMPLETED", 0, None)),
        ("exit 3", 1, ("FAILED", 3, "exit")),
        ("kill -KILL $$", 1, ("FAILED", 137, "signal")),
    ],
)
def test_the_status_of_wait_tells_how_the_job_ended(
    here: Path, program: str, status: int, expected: tuple[str, int, str | None]
) -> None:
    name = submitted("--", "sh", "-c", program)
    done = job("wait", name)
    assert done.returncode == status
    assert [row[4] for row in rows(done.stdout)] == [expected[0]]
    assert bool(done.stderr) == bool(status)
    assert how(facts(name)) == expected
    assert os.listdir(here / "work" / "local") == []


def test_submit_can_wait_itself() -> None:
    done = job("submit", "--wait", "--", "sh", "-c", "exit 3")
    name = done.stdout.strip()
    assert (done.returncode, done.stdout.count("\n")) == (1, 1)
    assert done.stderr == f"{name[:8]}: ended with exit status 3\n"
    assert job("submit", "--wait", "true").returncode == 0


def test_what_is_asked_for_reaches_the_program(here: Path) -> None:
    (here / "in put").write_text("the input\n")
    done = job(
        "submit", "--wait", "--name", "it's", "-d", "a b", "-e", "WORD=$(x) é", "--stdin", here / "in put", "-o", "out",
        "--stderr", "err", "--stage-in", "in put:copy", "--stage-out", "out:taken", "--",
        "sh", "-c", 'cat; pwd; printf "%s|" "$WORD" "$@"; cat copy >&2', "sh", "", "it's", "*", "-n",
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert (here / "a b" / "out").read_text() == f"the input\n{here}/a b\n$(x) é||it's|*|-n|"
    assert (here / "a b" / "err").read_text() == "the input\n"
    assert (here / "taken").read_text() == (here / "a b" / "out").read_text()
    found = facts(done.stdout.strip())
    assert (found["name"], found["stdout_path"]) == ("it's", f"{here}/a b/out")


def test_json_is_as_documented(gate: Gate) -> None:
    name = submitted("-o", "out", "--", "cat", gate.path)
    (listed,) = json.loads(job("list", "--json").stdout)
    assert list(listed) == KEYS
    assert (listed["id"], listed["executor"], listed["final"], listed["exit_code"]) == (name, "local", False, None)
    gate.open()
    (ended,) = json.loads(job("wait", name, "--json").stdout)
    assert list(ended) == KEYS
    assert (ended["state"], ended["final"], ended["exit_code"], ended["native_id"]) == (
        "COMPLETED", True, 0, listed["native_id"],
    )  # fmt: skip
    (at_once,) = json.loads(job("submit", "--wait", "--json", "true").stdout)
    assert (list(at_once), at_once["state"]) == (KEYS, "COMPLETED")
    assert json.loads(job("list", "--json").stdout) == []


def test_list_shows_what_has_not_ended_and_forgets_on_demand(gate: Gate) -> None:
    ended, name = submitted("true"), submitted("--", "cat", gate.path)
    job("wait", ended)
    assert [row[0] for row in rows(job("list").stdout)] == [name[:8]]
    assert [row[0] for row in rows(job("list", "--all").stdout)] == [ended[:8], name[:8]]
    assert rows(job("list", "--executor", "slurm").stdout) == []
    assert [row[0] for row in rows(job("list", "--forget").stdout)] == [ended[:8], name[:8]]
    assert job("status", ended).returncode == 2
    assert job("list", "--queue", "-x", "local").stdout.strip() == facts(name)["native_id"]
    gate.open()
    assert job("wait", name).returncode == 0


def test_a_job_that_ended_while_nobody_looked(here: Path, gate: Gate) -> None:
    name = submitted("--", "sh", "-c", f"cat {gate.path}; exit 4")
    gate.open()
    (directory,) = (here / "work" / "local").iterdir()
    until("the job script ends", lambda: list(directory.glob("news/*.E.*")))
    assert how(facts(name)) == ("FAILED", 4, "exit")


def test_a_job_that_was_killed_while_nobody_looked(gate: Gate) -> None:
    name = submitted("--", "cat", gate.path)
    until("the job runs", lambda: facts(name)["state"] == "ACTIVE")
    leader = int(facts(name)["native_id"])
    os.killpg(leader, signal.SIGKILL)
    done = job("wait", name)
    assert done.returncode == 1
    state, _, reason = how(facts(name))
    assert (state, reason) in {("FAILED", "unknown"), ("FAILED", "signal")}
    assert done.stderr.startswith(f"{name[:8]}: ")


def test_a_wait_can_time_out(gate: Gate) -> None:
    name = submitted("--", "cat", gate.path)
    done = job("wait", "--timeout", "0.01", name)
    assert (done.returncode, rows(done.stdout)[0][0]) == (124, name[:8])
    assert job("wait", "--timeout", "soon", name).returncode == 2
    gate.open()
    assert job("wait", "--timeout", "1m", name).returncode == 0


def test_ctrl_c_ends_the_wait_and_not_the_job(gate: Gate) -> None:
    name = submitted("--", "cat", gate.path)
    waiting = started("wait", name)
    until("the wait begins", lambda: follows(waiting))
    waiting.send_signal(signal.SIGINT)
    out, said = waiting.communicate()
    assert (waiting.returncode, out) == (130, "")
    assert said.strip() == "harmony: not waiting any more; the jobs go on"
    gate.open()
    assert job("wait", name).returncode == 0


def test_two_commands_may_wait_for_one_job(here: Path, gate: Gate) -> None:
    name = submitted("--", "sh", "-c", f"cat {gate.path}; exit 5")
    both = [started("wait", name, "--json") for _ in range(2)]
    for waiting in both:
        until("the wait begins", lambda: follows(waiting))  # noqa: B023  called at once
    gate.open()
    for waiting in both:
        out, _ = waiting.communicate()
        assert (waiting.returncode, how(json.loads(out)[0])) == (1, ("FAILED", 5, "exit"))
    assert os.listdir(here / "work" / "local") == []


def test_cancel_ends_what_will_not_end(here: Path, gate: Gate) -> None:
    name = submitted("--", "sh", "-c", f"trap '' TERM; cat {gate.path}; while :; do sleep 0.1; done")
    gate.open()
    done = job("cancel", name)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert how(facts(name))[::2] == ("CANCELED", "canceled")
    assert job("cancel", name).returncode == 0  # again
    assert job("wait", name).returncode == 1
    assert os.listdir(here / "work" / "local") == []


def test_cancel_can_give_time(here: Path) -> None:
    told = Gate(here / "told")
    name = submitted("-o", "out", "--", "bash", "-c", "trap 'echo saved; exit 0' TERM; cat told; sleep 100 & wait")
    told.open()
    assert job("cancel", "--grace", "30s", name).returncode == 0
    assert (here / "out").read_text() == "saved\n"
    assert job("cancel", "--grace", "long", name).returncode == 2


def test_an_array_has_one_id(here: Path) -> None:
    name = submitted("--array", "3", "-o", "out-%a", "--", "sh", "-c", "echo $PSIJ_ARRAY_INDEX; exit $PSIJ_ARRAY_INDEX")
    done = job("wait", name)
    assert [(row[0], row[5]) for row in rows(done.stdout)] == [
        (f"{name[:8]}.{index}", f"{index}") for index in range(3)
    ]
    assert done.returncode == 1
    assert [(here / f"out-{index}").read_text() for index in range(3)] == ["0\n", "1\n", "2\n"]
    first, last = job("wait", f"{name}.0"), job("wait", f"{name[:6]}.2")
    assert (first.returncode, last.returncode) == (0, 1)
    assert (facts(f"{name}.1")["array"], facts(f"{name}.1")["array_index"]) == (name, 1)
    assert job("status", f"{name}.3").returncode == 2


def test_a_local_job_can_follow_another(here: Path, gate: Gate) -> None:
    first = submitted("--", "sh", "-c", f"cat {gate.path}; echo 1 > first")
    alone = job("submit", "--after-ok", first, "true")
    assert (alone.returncode, "--wait" in alone.stderr) == (2, True)
    second = started("submit", "--after-ok", first, "--wait", "-o", "second", "cat", "first")
    until("the second is followed", lambda: follows(second))
    gate.open()
    second.communicate()
    assert (second.returncode, (here / "second").read_text()) == (0, "1\n")
    third = job("submit", "--after-any", first, "--wait", "true")  # it has ended already
    assert (third.returncode, third.stderr) == (0, "")
    elsewhere = job("submit", "-x", "slurm", "--after", first, "true")
    assert (elsewhere.returncode, "no job of slurm can wait for it" in elsewhere.stderr) == (2, True)


def test_attach_takes_up_jobs_that_there_are(gate: Gate) -> None:
    name = submitted("--", "cat", gate.path)
    native_id = facts(name)["native_id"]
    done = job("attach", "local", native_id, "999999999")
    assert (done.returncode, rows(done.stdout)[0][0]) == (1, name[:8])
    assert done.stderr == "harmony: local knows nothing of a job '999999999'\n"
    assert len(rows(job("list", "--all").stdout)) == 1
    gate.open()
    assert job("wait", f"local:{native_id}").returncode == 0


@pytest.mark.parametrize("executor", ["local", "slurm", "pbs"])
def test_script_shows_what_would_be_submitted(here: Path, executor: str) -> None:
    done = job("script", "-x", executor, "--name", "it's", "-t", "5", "--", "/bin/echo", "it's", "$(a)")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("#!/bin/bash\n")
    assert "/bin/echo 'it'\"'\"'s' '$(a)'" in done.stdout
    assert subprocess.run(["bash", "-n"], input=done.stdout, text=True, check=False).returncode == 0
    assert not (here / "work").exists()


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["submit"], 2, "-- PROGRAM"),
        (["submit", "-x", "slrum", "true"], 2, "did you mean 'slurm'?"),
        (["submit", "-l", "nothing", "true"], 2, "launcher='nothing'"),
        (["submit", "-N", "2", "-n", "3", "true"], 2, "process_count=3 must be a multiple of node_count=2"),
        (["submit", "-n", "two", "true"], 2, "'two' is not a valid integer"),
        (["submit", "-t", "soon", "true"], 2, "walltime='soon'"),
        (["submit", "-m", "lots", "true"], 2, "memory='lots'"),
        (["submit", "-e", "WORD", "true"], 2, "--env 'WORD' must be NAME=VALUE"),
        (["submit", "-a", "constraint=gpu", "true"], 2, "'constraint' must be 'SCHEDULER.OPTION'"),
        (["submit", "--stage-in", "file", "true"], 2, "--stage-in 'file' must be FROM:TO"),
        (["submit", "--spec", "nowhere.toml"], 2, "nowhere.toml"),
        (["submit", "--iri", "true"], 2, "--spec FILE"),
        (["submit", "--", "/no/such/program"], 0, ""),
        (["submit", "--work-directory", "/proc/nowhere", "true"], 75, "/proc/nowhere"),
        (["status", "123"], 2, "there is no job '123' here"),
        (["list", "--queue"], 2, "--executor"),
        (["list", "-x", "slrum"], 2, "did you mean 'slurm'?"),
        (["list", "--queue", "-x", "nothing"], 2, "there is no executor 'nothing'"),
        (["attach", "nothing", "1"], 2, "there is no executor 'nothing'"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(words: list[str], status: int, said: str) -> None:
    done = job(*words)
    assert (done.returncode, "Traceback" in done.stderr) == (status, False)
    assert said in done.stderr
    if status == 0:
        assert job("wait", done.stdout.strip()).returncode == 1


def test_nothing_is_submitted_that_could_not_be_recorded(here: Path) -> None:
    (here / "jobs").write_text("")
    done = job("submit", "--", "touch", "ran")
    assert (done.returncode, done.stdout) == (1, "")
    assert str(here / "jobs") in done.stderr
    assert not (here / "ran").exists()


def test_a_terminal_gets_a_table_in_colour() -> None:
    name = submitted("--wait", "true")
    terminal, inside = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120"}
    command = [sys.executable, "-m", "harmony", "job", "status", name]
    with subprocess.Popen(command, stdout=inside, env=environment) as process:
        os.close(inside)
        text = b""
        while b"COMPLETED" not in text:
            text += os.read(terminal, 4096)
    os.close(terminal)
    assert process.returncode == 0
    assert b"\x1b[32mCOMPLETED" in text
    assert b"\t" not in text


def test_a_reader_may_leave() -> None:
    submitted("--wait", "true")
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "harmony", "job", "list", "--all"]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    assert b"Traceback" not in done.stderr


def test_the_help_imports_next_to_nothing() -> None:
    text = (
        "import sys\nfrom harmony.cli.job import job_command\n"
        "job_command.main(['submit', '--help'], standalone_mode=False)\n"
        "print([name for name in ('harmony.jobs', 'harmony.workflow', 'rich', 'asyncio') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
