"""``harmony run PROGRAM.py``: the program as Python runs it, its exit status, and what is told at the end."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Write = Callable[[str], Path]

ENGINES = ("threads", "local")


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a program."""

    def make(text: str) -> Path:
        path = tmp_path / "program.py"
        path.write_text(text, encoding="utf-8")
        return path

    return make


def command(*words: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a command line to its end, without a terminal."""
    return subprocess.run(words, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False, timeout=50)


def harmony(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return command(sys.executable, "-m", "harmony", *words)


def timeless(text: str) -> str:
    """The text with every duration and share replaced: T, and P %."""
    return re.sub(r"\d[\d.e-]* %", "P %", re.sub(r"\b\d[\d.e-]* m?s\b", "T", text))


TIMES = """\
  wall time      T
  work           T on 2 cores: T
  critical path  T
  efficiency     P % = max(critical path, work / cores) / wall time
"""

# -- as Python runs it --------------------------------------------------------------------------------

ABOUT = """
import inspect, os, sys
def here(): "source"
print(__name__, __file__, __spec__, __package__, __doc__, type(__loader__).__name__, type(__builtins__).__name__)
print(sorted(globals()))
print(sys.argv, sys.path[0], os.getcwd())
print(sys.modules["__main__"].here is here, inspect.getsource(here), here.__code__.co_filename)
"""


def test_a_program_sees_what_it_sees_under_python(write: Write) -> None:
    path = write(ABOUT)
    arguments = ["a", "--engine", "x", "-q", "--", "--help", ""]
    under_harmony = harmony("run", "--quiet", path, *arguments)
    assert under_harmony.stderr == ""
    assert under_harmony.stdout == command(sys.executable, path, *arguments).stdout


def test_a_link_to_a_program_is_named_as_python_names_it(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sub").mkdir()
    os.symlink(write(ABOUT), tmp_path / "sub" / "link.py")
    monkeypatch.chdir(tmp_path)
    words = [os.path.join("sub", "link.py"), "a"]
    assert harmony("run", "--quiet", *words).stdout == command(sys.executable, *words).stdout


@pytest.mark.parametrize(
    "text",
    [
        "def f(): raise ValueError('no')\nf()",
        "try:\n    1 / 0\nexcept ZeroDivisionError as error:\n    raise KeyError('k') from error",
        "import json\njson.loads('{')",
        "x = = 1",
        "# -*- coding: latin-1 -*-\nprint(ascii('é'))",
        "import nothing_of_this_name",
        "import sys\nsys.exit('a reason')",
        "import sys\nsys.exit(3)",
        "raise SystemExit",
        "import sys\nsys.excepthook = lambda kind, error, trace: print('hook', kind, trace.tb_lineno)\n1 / 0",
        "import atexit\natexit.register(lambda: print(__name__))",
    ],
)
def test_a_program_ends_as_under_python(write: Write, text: str) -> None:
    path = write(text)
    expected, got = command(sys.executable, path), harmony("run", "--quiet", path)
    assert (got.stdout, got.stderr, got.returncode) == (expected.stdout, expected.stderr, expected.returncode)


def test_a_program_may_import_its_neighbours(write: Write, tmp_path: Path) -> None:
    (tmp_path / "neighbour.py").write_text("def double(x): return 2 * x\n")
    path = write(
        "import neighbour\nfrom harmony import Workflow\n"
        "with Workflow() as workflow:\n    print(workflow.submit(neighbour.double, 4).result())\n"
    )
    for engine in ENGINES:
        assert harmony("run", "--engine", engine, path).stdout == "8\n"


def test_a_program_may_use_multiprocessing(write: Write) -> None:
    path = write(
        "import multiprocessing\n"
        "def double(x): return 2 * x\n"
        "if __name__ == '__main__':\n"
        "    with multiprocessing.get_context('spawn').Pool(1) as pool:\n"
        "        print(pool.map(double, [1, 2]))\n"
    )
    assert harmony("run", path).stdout == "[2, 4]\n"


def test_the_script_does_what_the_module_does(write: Write) -> None:
    script = shutil.which("harmony")
    assert script is not None
    path = write("import sys\nprint(sys.path[0])\nsys.exit(3)")
    got = command(script, "run", path)
    assert (got.stdout, got.returncode) == (f"{path.parent}\n", 3)


# -- functions, engines -------------------------------------------------------------------------------

FUNCTIONS = """
from harmony import Workflow, command, join, task

FACTOR = 3

class Box:
    def __init__(self, value): self.value = value

@task
def times(x): return Box(FACTOR * x.value)

@task
def add(*boxes): return sum(box.value for box in boxes)

@command
def echo(number): return ["echo", number]

@join
def both(x): return [times(x), times(x)]

with Workflow("functions", engine="inline") as workflow:
    total = add(times(Box(1)), times(Box(2)))
    print(echo(total).result().stdout, end="")
    print(add(*both(Box(5)).result()).result(), workflow.submit(lambda: FACTOR + 1).result())
    print(*workflow._engines)
"""


@pytest.mark.parametrize("engine", [*ENGINES, "inline"])
def test_functions_of_the_program_run_everywhere(write: Write, engine: str) -> None:
    got = harmony("run", "--engine", engine, "--workers", "2", write(FUNCTIONS))
    assert got.stdout == f"9\n30 4\n{engine}\n"
    assert got.returncode == 0, got.stderr


@pytest.mark.parametrize("engine", ENGINES)
def test_workers_go_to_the_engine(write: Write, engine: str) -> None:
    path = write("from harmony import Workflow\nwith Workflow() as workflow: print(workflow.cores)")
    assert harmony("run", "--engine", engine, "--workers", "3", path).stdout == "3\n"


def test_the_program_chooses_when_the_command_line_does_not(write: Write) -> None:
    path = write("from harmony import Workflow\nwith Workflow(engine='threads', workers=5) as w: print(w)")
    assert "on threads" in harmony("run", path).stdout
    assert "on local" in harmony("run", "--engine", "local", path).stdout


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
def test_the_report_says_what_happened(write: Write, engine: str) -> None:
    got = harmony("run", "--engine", engine, "--workers", "2", write(MIXED))
    assert got.stdout == "after\n"
    assert timeless(got.stderr) == (
        "mixed: 6 tasks: 2 done, 4 failed\n"
        "  2 × ValueError: no (first in bad)\n"
        "      second line\n"
        "  1 × KeyError: 'k' (in ugly)\n"
        "  1 × not run, because a task it needs failed\n" + TIMES
    )
    assert got.returncode == 1


def test_the_report_of_a_run_without_failures(write: Write) -> None:
    path = write("from harmony import Workflow\nwith Workflow('fine') as w: w.submit(int).result()")
    got = harmony("run", "--engine", "threads", "--workers", "2", path)
    assert timeless(got.stderr) == "fine: 1 task: 1 done\n" + TIMES
    assert (got.stdout, got.returncode) == ("", 0)


def test_each_workflow_has_its_report_when_it_ends(write: Write) -> None:
    path = write(
        "import sys\n"
        "from harmony import Workflow\n"
        "for name in 'first', 'second':\n"
        "    with Workflow(name) as workflow: workflow.submit(int, name == 'second' or 'x').exception()\n"
        "    print('after', name, file=sys.stderr)\n"
    )
    got = harmony("run", "--engine", "threads", path)
    wanted = re.findall(r"^\w+: 1 task: .*|^after.*", got.stderr, re.MULTILINE)
    assert wanted == ["first: 1 task: 1 failed", "after first", "second: 1 task: 1 done", "after second"]
    assert got.returncode == 1


def test_workflows_that_are_open_at_once(write: Write) -> None:
    path = write(
        "from harmony import Workflow\n"
        "with Workflow('outer') as outer, Workflow('inner') as inner:\n"
        "    print(outer.submit(int, 1).result() + inner.submit(int, 2).result())\n"
    )
    got = harmony("run", path)
    assert re.findall(r"^(\w+): 1 task: 1 done$", got.stderr, re.MULTILINE) == ["inner", "outer"]
    assert (got.stdout, got.returncode) == ("3\n", 0)


def test_a_workflow_without_tasks(write: Write) -> None:
    got = harmony("run", write("from harmony import Workflow\nwith Workflow('idle'): pass"))
    assert (got.stderr, got.returncode) == ("idle: no tasks\n", 0)


def test_a_program_without_workflows(write: Write) -> None:
    path = write("print('nothing')")
    got = harmony("run", path)
    assert got.stderr == f"{path} opened no workflow, so there is nothing to report\n"
    assert (got.stdout, got.returncode) == ("nothing\n", 0)


def test_a_workflow_that_is_left_open_is_closed_and_reported(write: Write) -> None:
    path = write(
        "from harmony import Workflow\n"
        "workflow = Workflow('left').start()\n"
        "workflow.submit(int, 'x').exception()\n"
        "print('end')\n"
    )
    got = harmony("run", "--engine", "threads", path)
    assert got.stderr.startswith("left: 1 task: 1 failed\n  1 × ValueError: invalid literal")
    assert (got.stdout, got.returncode) == ("end\n", 1)


def test_quiet_is_silent_when_all_is_well(write: Write) -> None:
    got = harmony("run", "--quiet", write(FUNCTIONS))
    assert (got.stderr, got.returncode) == ("", 0)


@pytest.mark.parametrize("flag", ["-q", "--quiet"])
def test_quiet_tells_failures_in_a_line(write: Write, flag: str) -> None:
    got = harmony("run", flag, write(MIXED))
    expected = "mixed: 4 of 6 tasks failed; 2 × ValueError: no (first in bad), and 1 other error\n"
    assert (got.stderr, got.returncode) == (expected, 1)


# -- how it ends --------------------------------------------------------------------------------------


def test_an_exception_is_told_before_the_report(write: Write) -> None:
    path = write(
        "from harmony import Workflow\n"
        "with Workflow('broken') as workflow:\n"
        "    workflow.submit(int).result()\n"
        "    raise RuntimeError('no more')\n"
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
def test_a_tasks_exception_that_nobody_catches(write: Write, engine: str) -> None:
    path = write(
        "from harmony import Workflow\n"
        "def bad(): raise ValueError('inside')\n"
        "with Workflow('w') as workflow:\n"
        "    workflow.submit(bad).result()\n"
    )
    got = harmony("run", "--engine", engine, path)
    assert f'File "{path}", line 2, in bad\n' in got.stderr
    assert "\nValueError: inside\nw: 1 task: 1 failed\n  1 × ValueError: inside (in bad)\n" in got.stderr
    assert "harmony/cli" not in got.stderr
    assert got.returncode == 1


def test_an_exception_that_the_program_handles(write: Write) -> None:
    path = write(
        "from harmony import Workflow\n"
        "try:\n"
        "    with Workflow('w') as workflow:\n"
        "        workflow.submit(int).result()\n"
        "        1 / 0\n"
        "except ZeroDivisionError:\n"
        "    print('handled')\n"
    )
    got = harmony("run", "--engine", "threads", path)
    assert got.stderr.startswith("w: 1 task: 1 done\n")
    assert (got.stdout, got.returncode) == ("handled\n", 0)


@pytest.mark.parametrize(
    ("ending", "status"),
    [("sys.exit(3)", 3), ("sys.exit(0)", 1), ("sys.exit()", 1), ("sys.exit('text')", 1), ("pass", 1), ("1 / 0", 1)],
)
def test_the_status_with_a_failed_task(write: Write, ending: str, status: int) -> None:
    path = write(
        f"import sys\nfrom harmony import Workflow\nwith Workflow() as w: w.submit(int, 'x').exception()\n{ending}"
    )
    assert harmony("run", "--engine", "threads", path).returncode == status


def test_cancelled_tasks_are_not_failures(write: Write) -> None:
    path = write(
        "from concurrent.futures import Future\n"
        "from harmony import Workflow\n"
        "with Workflow('w') as workflow:\n"
        "    print(workflow.submit(int, Future()).cancel())\n"
    )
    got = harmony("run", "--engine", "threads", path)
    assert got.stderr.startswith("w: 1 task: 1 cancelled\n")
    assert (got.stdout, got.returncode) == ("True\n", 0)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("kind", ["function", "command"])
def test_a_signal_ends_the_run_with_its_report(write: Write, number: signal.Signals, kind: str) -> None:
    start = "workflow.submit(time.sleep, 600)" if kind == "function" else "sleep()"
    path = write(
        "import time\n"
        "from harmony import Workflow, command\n"
        "@command\n"
        "def sleep(): return ['sleep', '600']\n"
        "with Workflow('endless') as workflow:\n"
        f"    for _ in range(5): {start}\n"
        "    while not workflow.counts.running: time.sleep(0.01)\n"
        "    print('running', flush=True)\n"
    )
    words = [sys.executable, "-m", "harmony", "run", "--engine", "local", "--workers", "2", str(path)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "running\n"
        process.send_signal(number)
        _, told = process.communicate(timeout=20)
    assert timeless(told) == f"interrupted by {number.name}\nendless: 5 tasks: 5 cancelled\n" + TIMES
    assert process.returncode == -number  # which a shell shows as 128 + number


def test_a_signal_that_the_program_handles_is_its_own(write: Write) -> None:
    path = write(
        "import os, signal\n"
        "signal.signal(signal.SIGTERM, lambda *_: print('mine'))\n"
        "os.kill(os.getpid(), signal.SIGTERM)\n"
        "try: signal.raise_signal(signal.SIGINT)\n"
        "except KeyboardInterrupt: print('mine too')\n"
    )
    got = harmony("run", "--quiet", path)
    assert (got.stdout, got.stderr, got.returncode) == ("mine\nmine too\n", "", 0)


def test_a_forked_child_is_left_alone(write: Write) -> None:
    path = write(
        "import os, sys, signal\n"
        "from harmony import Workflow\n"
        "with Workflow('w', engine='inline') as workflow:\n"
        "    workflow.submit(int)\n"
        "    child = os.fork()\n"
        "    if not child:\n"
        "        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL\n"
        "        sys.exit(5)\n"
        "    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
    )
    got = harmony("run", path)
    assert got.stdout == "5\n"
    assert got.stderr.count("w: 1 task: 1 done") == 1
    assert got.returncode == 0


# -- wrong command lines ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "Missing argument"),
        (["progam.py"], "there is no program 'progam.py'; did you mean 'program.py'?"),
        (["nowhere/program.py"], "there is no program 'nowhere/program.py'; nor is there a directory 'nowhere'"),
        (["."], "'.' is a directory; give the program or the workflow in it"),
        (["--engine", "lcoal", "program.py"], "--engine: there is no engine 'lcoal'; did you mean 'local'?"),
        (["--workers", "0", "program.py"], "0 is not in the range x>=1"),
        (["--workers", "two", "program.py"], "'two' is not a valid integer range"),
        (["--wrokers", "2", "program.py"], "No such option"),
        (["--scale", "2", "program.py"], "--scale is for a WORKFLOW.json"),
        (["workflow.json", "more"], "a workflow takes no arguments, here 'more'"),
    ],
)
def test_a_wrong_command_line(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], told: str
) -> None:
    write("print('ran')")
    (tmp_path / "workflow.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    got = harmony("run", *words)
    assert (got.stdout, got.returncode) == ("", 2)
    assert re.search(rf"^Error: .*{re.escape(told)}", got.stderr, re.MULTILINE), got.stderr


@pytest.mark.parametrize(
    ("options", "made", "told"),
    [
        (["--engine", "threads"], "engines={'a': 'inline'}", "--engine threads: engines= names several engines"),
        (["--workers", "2"], "engine=InlineEngine()", "--workers 2: workers=2 goes to an engine that is named"),
    ],
)
def test_options_that_the_program_cannot_take(write: Write, options: list[str], made: str, told: str) -> None:
    path = write(
        f"from harmony import Workflow\nfrom harmony.engines.inline import InlineEngine\nwith Workflow({made}): pass\n"
    )
    assert harmony("run", path).returncode == 0
    got = harmony("run", *options, path)
    assert got.stderr.startswith(f"Error: {told}")
    assert "Traceback" not in got.stderr
    assert got.returncode == 2


def test_the_programs_own_mistakes_have_a_traceback(write: Write) -> None:
    path = write("from harmony import Workflow\nwith Workflow(engine='lcoal'): pass\n")
    for options in ([], ["--workers", "2"]):
        got = harmony("run", *options, path)
        assert got.stderr.startswith("Traceback")
        assert "there is no engine 'lcoal'" in got.stderr
        assert got.returncode == 1


# -- workflows of others ------------------------------------------------------------------------------


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    """A WfFormat file of a few short tasks."""
    from harmony.frontends.wfformat import generate
    from harmony.frontends.wfformat import write as write_trace

    path = tmp_path / "montage.json"
    write_trace(generate("montage", 12, 0, 0.02, 1000), path)
    return path


@pytest.mark.parametrize("engine", ENGINES)
def test_a_workflow_is_replayed(trace: Path, tmp_path: Path, engine: str) -> None:
    directory = tmp_path / "files"
    words = ["--engine", engine, "--workers", "2", "--scale", "0.5", "--size-scale", "2", "--directory", str(directory)]
    got = harmony("run", *words, trace)
    tasks = len(json.loads(trace.read_text())["workflow"]["specification"]["tasks"])
    assert re.match(rf".*: {tasks} tasks, \d+ edges, on 2 cores\nmakespan .* efficiency \d+%\n", got.stdout)
    assert got.stdout.endswith("every task ran once, after its parents\n")
    assert timeless(got.stderr) == f"montage.json: {tasks} tasks: {tasks} done\n" + TIMES
    assert got.returncode == 0
    assert any(directory.iterdir())


def test_a_workflow_that_cannot_be_replayed(trace: Path) -> None:
    for options, told in (["--scale", "-1"], "scale=-1.0 must be"), ([], "'schemaVersion' is missing"):
        got = harmony("run", *options, trace)
        assert got.stderr.startswith("Error: ")
        assert told in got.stderr
        assert len(got.stderr.splitlines()) == 1
        assert (got.stdout, got.returncode) == ("", 2)
        trace.write_text("{}")
