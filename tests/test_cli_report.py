"""``harmony run``: what is told at the end, and the exit status."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.cli_commands import ENGINES, TIMES, harmony, timeless, write

# -- the report ---------------------------------------------------------------------------------------

MIXED = """
from harmony import Workflow, task

@task
def good(x): return x
@task
def bad(x): raise ValueError("no\\nsecond line")
@task
def ugly(x): raise KeyError(x)

with Workflow("mixed") as workflow:
    good(1), good(2), bad(1), ugly("k")
    good(bad(2))
print("after")
"""


@pytest.mark.parametrize("engine", ENGINES)
def test_the_report_says_what_happened(tmp_path: Path, engine: str) -> None:
    got = harmony("run", "--engine", engine, "--workers", "2", write(tmp_path, MIXED))
    assert got.stdout == "after\n"
    assert timeless(got.stderr) == (
        "mixed: 6 tasks: 2 done, 4 failed\n"
        "  2 × ValueError: no (first in bad)\n"
        "      second line\n"
        "  1 × KeyError: 'k' (in ugly)\n"
        "  1 × not run, because a task it needs failed\n" + TIMES
    )
    assert got.returncode == 1


def test_the_report_of_a_run_without_failures(tmp_path: Path) -> None:
    path = write(tmp_path, "from harmony import Workflow\nwith Workflow('fine') as w: w.submit(int).result()")
    got = harmony("run", "--engine", "threads", "--workers", "2", path)
    assert timeless(got.stderr) == "fine: 1 task: 1 done\n" + TIMES
    assert (got.stdout, got.returncode) == ("", 0)


def test_each_workflow_has_its_report_when_it_ends(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "import sys\n"
        "from harmony import Workflow\n"
        "for name in 'first', 'second':\n"
        "    with Workflow(name) as workflow: workflow.submit(int, name == 'second' or 'x').exception()\n"
        "    print('after', name, file=sys.stderr)\n",
    )
    got = harmony("run", "--engine", "threads", path)
    wanted = re.findall(r"^\w+: 1 task: .*|^after.*", got.stderr, re.MULTILINE)
    assert wanted == ["first: 1 task: 1 failed", "after first", "second: 1 task: 1 done", "after second"]
    assert got.returncode == 1


def test_workflows_that_are_open_at_once(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "from harmony import Workflow\n"
        "with Workflow('outer') as outer, Workflow('inner') as inner:\n"
        "    print(outer.submit(int, 1).result() + inner.submit(int, 2).result())\n",
    )
    got = harmony("run", path)
    assert re.findall(r"^(\w+): 1 task: 1 done$", got.stderr, re.MULTILINE) == ["inner", "outer"]
    assert (got.stdout, got.returncode) == ("3\n", 0)


no_late_threads = pytest.mark.skipif(
    (3, 12) <= sys.version_info < (3, 12, 2),
    reason="Python 3.12.0 and 3.12.1 start no thread when the main part is over",
)


@pytest.mark.parametrize(
    "end", ["thread.join()", pytest.param("print('the main part is over')", marks=no_late_threads)]
)
def test_a_workflow_in_a_thread_of_the_program(tmp_path: Path, end: str) -> None:
    path = write(
        tmp_path,
        "import threading\n"
        "from harmony import Workflow\n"
        "def go():\n"
        "    with Workflow('threaded') as workflow: print(workflow.submit(int, 'x').exception(), workflow)\n"
        "thread = threading.Thread(target=go)\n"
        "thread.start()\n"
        f"{end}\n",
    )
    got = harmony("run", "--engine", "threads", path)
    assert "on threads" in got.stdout
    assert got.stderr.startswith("threaded: 1 task: 1 failed\n")
    assert got.returncode == 1


def test_a_workflow_without_tasks(tmp_path: Path) -> None:
    got = harmony("run", write(tmp_path, "from harmony import Workflow\nwith Workflow('idle'): pass"))
    assert (got.stderr, got.returncode) == ("idle: no tasks\n", 0)


def test_a_program_without_workflows(tmp_path: Path) -> None:
    path = write(tmp_path, "print('nothing')")
    got = harmony("run", path)
    assert got.stderr == f"{path} opened no workflow, so there is nothing to report\n"
    assert (got.stdout, got.returncode) == ("nothing\n", 0)


def test_a_workflow_that_is_left_open_is_closed_and_reported(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "from harmony import Workflow\n"
        "workflow = Workflow('left').start()\n"
        "workflow.submit(int, 'x').exception()\n"
        "print('end')\n",
    )
    got = harmony("run", "--engine", "threads", path)
    assert got.stderr.startswith("left: 1 task: 1 failed\n  1 × ValueError: invalid literal")
    assert (got.stdout, got.returncode) == ("end\n", 1)


def test_quiet_is_silent_when_all_is_well(tmp_path: Path) -> None:
    program = "from harmony import Workflow\nwith Workflow() as workflow: print(workflow.submit(int).result())"
    got = harmony("run", "--quiet", write(tmp_path, program))
    assert (got.stdout, got.stderr, got.returncode) == ("0\n", "", 0)


@pytest.mark.parametrize("flag", ["-q", "--quiet"])
def test_quiet_tells_failures_in_a_line(tmp_path: Path, flag: str) -> None:
    got = harmony("run", flag, write(tmp_path, MIXED))
    expected = "mixed: 4 of 6 tasks failed; 2 × ValueError: no (first in bad), and 1 other error\n"
    assert (got.stderr, got.returncode) == (expected, 1)


# -- how it ends --------------------------------------------------------------------------------------


def test_an_exception_is_told_before_the_report(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "from harmony import Workflow\n"
        "with Workflow('broken') as workflow:\n"
        "    workflow.submit(int).result()\n"
        "    raise RuntimeError('no more')\n",
    )
    got = harmony("run", "--engine", "threads", "--workers", "2", path)
    assert timeless(got.stderr) == (
        "Traceback (most recent call last):\n"
        f'  File "{path}", line 4, in <module>\n'
        "    raise RuntimeError('no more')\n"
        "RuntimeError: no more\n"
        "broken: 1 task: 1 done\n" + TIMES
    )
    assert got.returncode == 1


@pytest.mark.parametrize("engine", ENGINES)
def test_a_tasks_exception_that_nobody_catches(tmp_path: Path, engine: str) -> None:
    path = write(
        tmp_path,
        "from harmony import Workflow\n"
        "def bad(): raise ValueError('inside')\n"
        "with Workflow('w') as workflow:\n"
        "    workflow.submit(bad).result()\n",
    )
    got = harmony("run", "--engine", engine, path)
    assert f'File "{path}", line 2, in bad\n' in got.stderr
    assert "\nValueError: inside\nw: 1 task: 1 failed\n  1 × ValueError: inside (in bad)\n" in got.stderr
    assert "harmony/cli" not in got.stderr
    assert got.returncode == 1


def test_an_exception_that_the_program_handles(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "from harmony import Workflow\n"
        "try:\n"
        "    with Workflow('w') as workflow:\n"
        "        workflow.submit(int).result()\n"
        "        1 / 0\n"
        "except ZeroDivisionError:\n"
        "    print('handled')\n",
    )
    got = harmony("run", "--engine", "threads", path)
    assert got.stderr.startswith("w: 1 task: 1 done\n")
    assert (got.stdout, got.returncode) == ("handled\n", 0)


@pytest.mark.parametrize(
    ("ending", "status"),
    [("sys.exit(3)", 3), ("sys.exit(0)", 1), ("sys.exit()", 1), ("sys.exit('text')", 1), ("pass", 1), ("1 / 0", 1)],
)
def test_the_status_with_a_failed_task(tmp_path: Path, ending: str, status: int) -> None:
    path = write(
        tmp_path,
        f"import sys\nfrom harmony import Workflow\nwith Workflow() as w: w.submit(int, 'x').exception()\n{ending}",
    )
    assert harmony("run", "--engine", "threads", path).returncode == status


def test_cancelled_tasks_are_not_failures(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "from concurrent.futures import Future\n"
        "from harmony import Workflow\n"
        "with Workflow('w') as workflow:\n"
        "    print(workflow.submit(int, Future()).cancel())\n",
    )
    got = harmony("run", "--engine", "threads", path)
    assert got.stderr.startswith("w: 1 task: 1 cancelled\n")
    assert (got.stdout, got.returncode) == ("True\n", 0)


def wait_until_blocked(process: int) -> None:
    """Wait until the main thread sleeps in the kernel: Python may miss a signal that comes just before it does."""
    while Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "S":
        pass


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("kind", ["function", "command"])
def test_a_signal_ends_the_run_with_its_report(tmp_path: Path, number: signal.Signals, kind: str) -> None:
    start = "workflow.submit(time.sleep, 600)" if kind == "function" else "sleep()"
    path = write(
        tmp_path,
        "import time\n"
        "from harmony import Workflow, command\n"
        "@command\n"
        "def sleep(): return ['sleep', '600']\n"
        "with Workflow('endless') as workflow:\n"
        f"    for _ in range(5): {start}\n"
        "    while not workflow.counts.running: time.sleep(0.01)\n"
        "    print('running', flush=True)\n",
    )
    words = [sys.executable, "-m", "harmony", "run", "--engine", "local", "--workers", "2", str(path)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "running\n"
            wait_until_blocked(process.pid)
            process.send_signal(number)
            _, told = process.communicate(timeout=20)
        finally:
            process.kill()
    assert timeless(told) == f"interrupted by {number.name}\nendless: 5 tasks: 5 cancelled\n" + TIMES
    assert process.returncode == -number  # which a shell shows as 128 + number


def test_a_signal_that_the_program_handles_is_its_own(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "import os, signal\n"
        "signal.signal(signal.SIGTERM, lambda *_: print('mine'))\n"
        "os.kill(os.getpid(), signal.SIGTERM)\n"
        "try: signal.raise_signal(signal.SIGINT)\n"
        "except KeyboardInterrupt: print('mine too')\n",
    )
    got = harmony("run", "--quiet", path)
    assert (got.stdout, got.stderr, got.returncode) == ("mine\nmine too\n", "", 0)


def test_a_forked_child_is_left_alone(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "import os, sys, signal\n"
        "from harmony import Workflow\n"
        "with Workflow('w', engine='inline') as workflow:\n"
        "    workflow.submit(int)\n"
        "    child = os.fork()\n"
        "    if not child:\n"
        "        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL\n"
        "        sys.exit(5)\n"
        "    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n",
    )
    got = harmony("run", path)
    assert got.stdout == "5\n"
    assert got.stderr.count("w: 1 task: 1 done") == 1
    assert got.returncode == 0
