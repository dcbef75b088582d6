"""The shape of the code: budgets, and the few places where threads and processes may start.

A change that needs more room adds its line to one of the tables below, with the argument for it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "src" / "harmony"

FILE_LINES = 400
FUNCTION_LINES = 45
PARAMETERS = 7
PUBLIC_METHODS = 15
BANNED_NAMES = {"utils", "util", "helpers", "helper", "common", "misc", "tools"}

#: "path" or "path:name" → (what it may have, why that is better than less).
LARGER: dict[str, tuple[int, str]] = {
    "src/harmony/jobs/batch.py:__init__()": (9, "psij-python's settings, which its programs give, and ours"),
    "src/harmony/jobs/job.py:Job": (18, "PSI/J's methods, and the six by which executors tell of a job"),
    "src/harmony/jobs/scheduler.py:Scheduler": (18, "a method for each command of a batch system, and for each answer"),
    "src/harmony/jobs/schedulers/slurm.py:Slurm": (16, "the port's, all of them"),
    "src/harmony/workflow.py:__init__()": (8, "what a program decides of its workflow, by name"),
    "src/harmony/jobs/spec.py:__init__()": (19, "the fields of PSI/J's JobSpec, in psij-python's order"),
}

#: path → what it starts there, and why.
STARTERS: dict[str, str] = {
    "src/harmony/cli/doctor_findings.py": "processes: a trial of each engine and each scheduler",
    "src/harmony/conformance/emulators/processes.py": "processes: the jobs of an emulated batch system",
    "src/harmony/conformance/emulators/server.py": "threads: the one that is the emulated batch system",
    "src/harmony/conformance/engines/driver.py": "threads: one that calls what must return and may not",
    "src/harmony/conformance/engines/processes.py": "processes: programs that drive an engine and are killed",
    "src/harmony/core/delivery.py": "threads: the one that runs users' callbacks",
    "src/harmony/core/kernel.py": "threads: the loop that owns every task's state",
    "src/harmony/core/mpi.py": "processes: asks a launcher for its name and version, once",
    "src/harmony/core/values.py": "none: it names the type of threads, which have no content",
    "src/harmony/core/work.py": "processes: the one place where an engine without a better way runs a command",
    "src/harmony/engines/_dispatch.py": "threads: the one that owns the client of another system",
    "src/harmony/engines/_guard.py": "processes, threads: they end what a killed program has left",
    "src/harmony/engines/_ipengines.py": "processes: the engines of IPyParallel on a node",
    "src/harmony/engines/_parcel.py": "processes: a call that has a walltime",
    "src/harmony/engines/futures.py": "processes: those of the pool that is used when none is given",
    "src/harmony/engines/ipyparallel.py": "processes: IPyParallel's controller",
    "src/harmony/engines/jobs/desk.py": "threads: one submits and cancels, which takes seconds; one hears of ends",
    "src/harmony/engines/local/engine.py": "threads: the one that hears from workers and commands",
    "src/harmony/engines/local/exits.py": "threads: waiting for a process where the kernel has no pidfd for it",
    "src/harmony/engines/local/handle.py": "processes: the workers",
    "src/harmony/engines/local/programs.py": "processes: the commands",
    "src/harmony/engines/mpi.py": "processes, threads: the ranks, and the one that hears from them",
    "src/harmony/engines/parsl/exchange.py": "threads: the one that sees who has connected, and that Parsl still lives",
    "src/harmony/engines/parsl/lean.py": "threads: they end a process of Parsl's whose parent is gone",
    "src/harmony/jobs/follow.py": "threads: one hears of marker files, one asks the batch system",
    "src/harmony/jobs/local/children.py": "threads: waiting for jobs whose executor was closed, while they run",
    "src/harmony/jobs/local/program.py": "processes: the jobs",
    "src/harmony/jobs/local/reaper.py": "threads: the one that hears of the ends of jobs",
    "src/harmony/jobs/uninterrupted.py": "threads: the one that submits what a Ctrl-C must not cut in two",
    "src/harmony/jobs/shell.py": "processes: the commands of batch systems",
    "src/harmony/engines/threads.py": "threads: they are the engine",
    "src/harmony/engines/workqueue/crew.py": "processes: those that run tasks, on a worker of Work Queue",
    "src/harmony/engines/workqueue/loop.py": "threads: the one that owns the connections of workers and crews",
    "src/harmony/pilots/fleet.py": "threads: the one that owns the blocks, for a submission takes seconds",
    "src/harmony/pilots/guard.py": "processes: the one that cancels the blocks of a driver that has died",
    "src/harmony/store/writer.py": "threads: the one that writes the journal",
}

#: What starts a thread or a process, by its full name; a trailing * stands for any ending.
STARTING = (
    "threading.Thread", "threading.Timer", "_thread.start*", "asyncio.to_thread", "asyncio.create_subprocess*",
    "subprocess.Popen", "subprocess.run", "subprocess.call", "subprocess.check_*", "subprocess.get*output",
    "_posixsubprocess.fork_exec", "os.fork*", "os.posix_spawn*", "os.spawn*", "os.exec*", "os.system", "os.popen",
    "multiprocessing.*", "concurrent.futures.ThreadPoolExecutor", "concurrent.futures.ProcessPoolExecutor",
    "concurrent.futures.process.*", "concurrent.futures.thread.*", "pty.fork", "pty.spawn",
)  # fmt: skip
#: Under those names, but starting nothing.
HARMLESS = ("multiprocessing.shared_memory*", "multiprocessing.reduction*", "multiprocessing.connection*")

Function = ast.FunctionDef | ast.AsyncFunctionDef


def sources() -> list[Path]:
    """Every Python file of the project."""
    folders = [PACKAGE, ROOT / "tests", ROOT / "benchmarks", ROOT / "examples"]
    return [ROOT / "dev", *sorted(path for folder in folders for path in folder.rglob("*.py"))]


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def over(where: str, found: int, limit: int, what: str) -> Iterator[str]:
    """Yield a fault if there is more than the limit, or than what LARGER allows instead."""
    allowed = LARGER.get(where, (limit, ""))[0]
    if found > allowed:
        yield f"{where} has {found} {what}, the most is {allowed}"


def size_faults(where: str, text: str) -> Iterator[str]:
    """Files and functions that are too long, functions with too many parameters, classes with too many methods."""
    yield from over(where, text.count("\n"), FILE_LINES, "lines")
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, Function):
            yield from over(f"{where}:{node.name}", code_lines(node), FUNCTION_LINES, "lines without its docstring")
            yield from over(f"{where}:{node.name}()", parameters(node), PARAMETERS, "parameters")
        elif isinstance(node, ast.ClassDef):
            methods = {item.name for item in node.body if isinstance(item, Function) and not item.name.startswith("_")}
            yield from over(f"{where}:{node.name}", len(methods), PUBLIC_METHODS, "public methods")


def code_lines(function: Function) -> int:
    length = (function.end_lineno or function.lineno) - function.lineno + 1
    if ast.get_docstring(function, clean=False) is not None:
        docstring = function.body[0]
        length -= (docstring.end_lineno or docstring.lineno) - docstring.lineno + 1
    return length


def parameters(function: Function) -> int:
    arguments = function.args
    names = [argument.arg for argument in [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]]
    return len(names) - (names[:1] in (["self"], ["cls"]))


def name_faults(where: str, text: str) -> Iterator[str]:
    """Modules named after nothing, and modules that do not say what they are for."""
    for part in Path(where).with_suffix("").parts:
        if part.strip("_") in BANNED_NAMES:
            yield f"{where}: {part!r} says nothing about what is inside"
    if not ast.get_docstring(ast.parse(text)):
        yield f"{where} has no docstring that says what it is for"


def started(text: str) -> set[str]:
    """The full names, among STARTING, that the code uses. Annotations do not count: they start nothing."""
    tree = ast.parse(text)
    aliases: dict[str, str] = {}
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for item in node.names:
                first = item.name.split(".")[0]
                aliases[item.asname or first] = item.name if item.asname else first
        elif isinstance(node, ast.ImportFrom) and not node.level:
            aliases.update({item.asname or item.name: f"{node.module}.{item.name}" for item in node.names})
    for node in code_nodes(tree):
        full = full_name(node, aliases)
        if full is not None and matches(full, STARTING) and not matches(full, HARMLESS):
            found.add(full)
    return found


def code_nodes(node: ast.AST) -> Iterator[ast.AST]:
    """Walk the tree without the annotations."""
    yield node
    for field, value in ast.iter_fields(node):
        if field not in ("annotation", "returns"):
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST):
                    yield from code_nodes(child)


def full_name(node: ast.AST, aliases: dict[str, str]) -> str | None:
    if isinstance(node, ast.Name):
        return aliases.get(node.id)
    if isinstance(node, ast.Attribute):
        owner = full_name(node.value, aliases)
        return owner and f"{owner}.{node.attr}"
    return None


def matches(name: str, patterns: Iterable[str]) -> bool:
    return any(name.startswith(p[:-1]) if p.endswith("*") else name == p for p in patterns)


@pytest.mark.parametrize("path", sources(), ids=relative)
def test_budgets(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert [*size_faults(relative(path), text), *name_faults(relative(path), text)] == []


@pytest.mark.parametrize("path", [path for path in sources() if PACKAGE in path.parents], ids=relative)
def test_threads_and_processes_start_in_listed_files_only(path: Path) -> None:
    names = started(path.read_text(encoding="utf-8"))
    if relative(path) in STARTERS:
        assert names, f"{relative(path)} starts nothing any more; take it off the list"
    else:
        assert not names, f"{relative(path)} is not in STARTERS and uses {', '.join(sorted(names))}"


def test_the_tables_name_files_that_exist() -> None:
    assert [name for name in [*STARTERS, *LARGER] if not (ROOT / name.partition(":")[0]).is_file()] == []


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("x = 0\n" * 401, "a.py has 401 lines, the most is 400"),
        ("def f():\n" + "    x = 0\n" * 45, "a.py:f has 46 lines without its docstring, the most is 45"),
        ("class C:\n def f(self, a, b, c, d, *, e, f, g, h): ...\n", "a.py:f() has 8 parameters, the most is 7"),
        ("class C:\n" + "".join(f" def m{i}(self): ...\n" for i in range(16)), "a.py:C has 16 public methods, the mo"),
    ],
)
def test_what_is_too_large_is_found(text: str, fault: str) -> None:
    faults = list(size_faults("a.py", text))
    assert len(faults) == 1
    assert faults[0].startswith(fault)


def test_what_is_just_small_enough_is_not_found() -> None:
    body = '    """Says\n    what."""\n' + "    x = 0\n" * 44
    methods = "class C:\n" + "".join(f" def m{i}(self, a, b, c, d, e, f, g): ...\n" for i in range(15))
    assert list(size_faults("a.py", f"def f():\n{body}{methods}")) == []


def test_bad_names_and_missing_docstrings_are_found() -> None:
    assert list(name_faults("src/harmony/core/_utils.py", '"""Says it."""')) != []
    assert list(name_faults("src/harmony/helpers/x.py", '"""Says it."""')) != []
    assert list(name_faults("src/harmony/core/graph.py", "x = 0")) != []
    assert list(name_faults("src/harmony/core/graph.py", '"""Says it."""')) == []


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("import threading\nthreading.Thread(target=f)", {"threading.Thread"}),
        ("from threading import Thread as T\nclass Mine(T): ...", {"threading.Thread"}),
        ("import subprocess as s\nstart = s.check_output", {"subprocess.check_output"}),
        ("import os\nos.posix_spawnp('a', [], {})", {"os.posix_spawnp"}),
        ("import concurrent.futures as c\nc.ThreadPoolExecutor()", {"concurrent.futures.ThreadPoolExecutor"}),
        ("from multiprocessing import get_context", set()),
        ("from multiprocessing import get_context\nget_context('spawn')", {"multiprocessing.get_context"}),
        ("from multiprocessing import shared_memory\nshared_memory.SharedMemory()", set()),
        ("import threading\nthreading.Lock()", set()),
        ("import subprocess\ndef f(p: subprocess.Popen[bytes]) -> subprocess.Popen[bytes]: return p", set()),
    ],
)
def test_what_starts_threads_and_processes_is_found(text: str, names: set[str]) -> None:
    assert started(text) == names
