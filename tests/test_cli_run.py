"""``harmony run``: programs as Python runs them, on whichever engine; wrong command lines; workflows of others."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from pathlib import Path

import pytest
from tests.cli_commands import ENGINES, TIMES, command, harmony, timeless, write

# -- as Python runs it --------------------------------------------------------------------------------

ABOUT = """
import inspect, os, sys
def here(): "source"
print(__name__, __file__, __spec__, __package__, __doc__, type(__loader__).__name__, type(__builtins__).__name__)
print(sorted(globals()))
print(sys.argv, sys.path[0], os.getcwd())
print(sys.modules["__main__"].here is here, inspect.getsource(here), here.__code__.co_filename)
"""


def test_a_program_sees_what_it_sees_under_python(tmp_path: Path) -> None:
    path = write(tmp_path, ABOUT)
    arguments = ["a", "--engine", "x", "-q", "--", "--help", ""]
    under_harmony = harmony("run", "--quiet", path, *arguments)
    assert under_harmony.stderr == ""
    assert under_harmony.stdout == command(sys.executable, path, *arguments).stdout


def test_a_link_to_a_program_is_named_as_python_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sub").mkdir()
    os.symlink(write(tmp_path, ABOUT), tmp_path / "sub" / "link.py")
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
def test_a_program_ends_as_under_python(tmp_path: Path, text: str) -> None:
    path = write(tmp_path, text)
    expected, got = command(sys.executable, path), harmony("run", "--quiet", path)
    assert (got.stdout, got.stderr, got.returncode) == (expected.stdout, expected.stderr, expected.returncode)


def test_a_program_may_import_its_neighbours(tmp_path: Path) -> None:
    (tmp_path / "neighbour.py").write_text("def double(x): return 2 * x\n")
    path = write(
        tmp_path,
        "import neighbour\nfrom harmony import Workflow\n"
        "with Workflow() as workflow:\n    print(workflow.submit(neighbour.double, 4).result())\n",
    )
    for engine in ENGINES:
        assert harmony("run", "--engine", engine, path).stdout == "8\n"


def test_a_program_may_use_multiprocessing(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "import multiprocessing\n"
        "def double(x): return 2 * x\n"
        "if __name__ == '__main__':\n"
        "    with multiprocessing.get_context('spawn').Pool(1) as pool:\n"
        "        print(pool.map(double, [1, 2]))\n",
    )
    assert harmony("run", path).stdout == "[2, 4]\n"


def test_the_script_does_what_the_module_does(tmp_path: Path) -> None:
    script = shutil.which("harmony")
    assert script is not None
    path = write(tmp_path, "import sys\nprint(sys.path[0])\nsys.exit(3)")
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
def test_functions_of_the_program_run_everywhere(tmp_path: Path, engine: str) -> None:
    got = harmony("run", "--engine", engine, "--workers", "2", write(tmp_path, FUNCTIONS))
    assert got.stdout == f"9\n30 4\n{engine}\n"
    assert got.returncode == 0, got.stderr


@pytest.mark.parametrize("engine", ENGINES)
def test_workers_go_to_the_engine(tmp_path: Path, engine: str) -> None:
    path = write(tmp_path, "from harmony import Workflow\nwith Workflow() as workflow: print(workflow.cores)")
    assert harmony("run", "--engine", engine, "--workers", "3", path).stdout == "3\n"


def test_the_program_chooses_when_the_command_line_does_not(tmp_path: Path) -> None:
    path = write(tmp_path, "from harmony import Workflow\nwith Workflow(engine='threads', workers=5) as w: print(w)")
    assert "on threads" in harmony("run", path).stdout
    assert "on local" in harmony("run", "--engine", "local", path).stdout


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
def test_a_wrong_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], told: str) -> None:
    write(tmp_path, "print('ran')")
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
def test_options_that_the_program_cannot_take(tmp_path: Path, options: list[str], made: str, told: str) -> None:
    path = write(
        tmp_path,
        f"from harmony import Workflow\nfrom harmony.engines.inline import InlineEngine\nwith Workflow({made}): pass\n",
    )
    assert harmony("run", path).returncode == 0
    got = harmony("run", *options, path)
    assert got.stderr.startswith(f"Error: {told}")
    assert "Traceback" not in got.stderr
    assert got.returncode == 2


def test_the_programs_own_mistakes_have_a_traceback(tmp_path: Path) -> None:
    path = write(tmp_path, "from harmony import Workflow\nwith Workflow(engine='lcoal'): pass\n")
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
