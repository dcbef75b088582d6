"""Imports: each module alone, in a fresh interpreter; `import harmony` light; core and jobs on the standard library."""

from __future__ import annotations

import ast
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import distribution
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "src" / "harmony"
#: What only the command line, an example, or one engine may load.
FOREIGN = {
    "click", "rich", "numpy", "mpi4py", "psutil",
    "parsl", "dask", "distributed", "ray", "radical", "ndcctools", "flux", "globus_compute_sdk", "ipyparallel",
}  # fmt: skip
#: What of the standard library is too slow to load for those who do not use it.
SLOW = {"asyncio", "multiprocessing", "sqlite3", "ssl", "subprocess"}


def name_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


#: `__main__` modules run a program when they are imported, so they are left to the tests of that program.
MODULES = sorted(name_of(path) for path in PACKAGE.rglob("*.py") if path.stem != "__main__")


#: Uses of batch jobs, for a fresh interpreter: import all names, then run a job to its end.
RUN_A_JOB = """
import signal, sys, threading
def handlers():
    return {number: signal.getsignal(number) for number in signal.valid_signals()}
before = handlers()
import harmony.jobs
assert not [name for name in sys.modules if name.startswith("harmony.jobs.")], "the names are not lazy"
from harmony.jobs import *
assert threading.active_count() == 1, threading.enumerate()
assert handlers() == before
slow = {"asyncio", "multiprocessing", "sqlite3", "ssl"} & set(sys.modules)
assert not slow, slow
with JobExecutor.get_instance("local") as executor:
    job = Job(JobSpec(sys.executable, ["-c", "print(6 * 7)"], stdout_path=sys.argv[1] + "/answer"))
    executor.submit(job)
    assert job.wait().state is JobState.COMPLETED
    assert job.stdout_text() == "42\\n"
JobExecutor.get_instance("slurm").close()
assert handlers() == before
assert threading.active_count() == 1, threading.enumerate()
print(*sys.modules)
"""


def run(program: str, *arguments: str, flags: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """Run a program in a fresh interpreter with warnings as errors."""
    command = [sys.executable, *flags, "-W", "error", "-c", program, *arguments]
    return subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)


def fresh(program: str, *arguments: str, flags: tuple[str, ...] = ()) -> str:
    """Return the stdout of a program that succeeds."""
    done = run(program, *arguments, flags=flags)
    assert done.returncode == 0, done.stderr
    return done.stdout


def loaded(names: str) -> set[str]:
    """The top-level packages among the names of modules."""
    return {name.partition(".")[0] for name in names.split()}


def import_error(module: str) -> str:
    """Import a module alone; return the error, or ""."""
    done = run(f"import {module}")
    return f"{module}: {done.stderr}" if done.returncode else ""


@pytest.mark.parametrize("part", range(4))
def test_each_module_can_be_imported_alone(part: int) -> None:
    with ThreadPoolExecutor(2) as pool:
        errors = [error for error in pool.map(import_error, MODULES[part::4]) if error]
    assert not errors, "\n".join(errors)


def test_importing_harmony_is_light() -> None:
    """In modules, and in CPU time: wall-clock time would depend on what else the machine does."""
    program = (
        "import resource, sys\n"
        "def cpu():\n"
        "    used = resource.getrusage(resource.RUSAGE_SELF)\n"
        "    return used.ru_utime + used.ru_stime\n"
        "before = cpu(); import harmony; print(cpu() - before); print(*sys.modules)"
    )
    runs = [fresh(program).splitlines() for _ in range(5)]
    assert min(float(run[0]) for run in runs) < 0.1
    assert loaded(runs[0][1]) & (FOREIGN | SLOW) == set()


def test_what_a_program_uses_loads_nothing_foreign() -> None:
    """The names are lazy, so `import harmony` alone tells too little. Commands are started with subprocess."""
    unwanted = FOREIGN | SLOW - {"subprocess"}
    assert loaded(fresh("import sys; from harmony import *; print(*sys.modules)")) & unwanted == set()


def test_jobs_run_with_nothing_but_the_standard_library(tmp_path: Path) -> None:
    """No third party's package is on the path; of our installation there is what names the executors."""
    held = distribution("harmony-workflows")
    metadata = tmp_path / "harmony_workflows.dist-info"
    metadata.mkdir()
    for name in ("METADATA", "entry_points.txt"):
        (metadata / name).write_text(held.read_text(name) or "", encoding="utf-8")
    paths = f"import sys; sys.path += {[str(PACKAGE.parent), str(tmp_path)]!r}\n"
    modules = fresh(paths + RUN_A_JOB, str(tmp_path), flags=("-I", "-S"))
    assert loaded(modules) - {*sys.stdlib_module_names, "__main__", "harmony"} == set()
    others = {name for name in modules.split() if name.startswith("harmony.") and not name.startswith("harmony.jobs")}
    assert others <= {"harmony.errors", "harmony.plugins", "harmony.resources", "harmony.events"}


def test_the_pytest_plugin_loads_nothing_else() -> None:
    """Every pytest of an environment that has Harmony loads it."""
    program = (
        "import sys, pytest\n"
        "before = set(sys.modules)\n"
        "import harmony.conformance.plugin\n"
        "print(*(set(sys.modules) - before))"
    )
    assert set(fresh(program).split()) <= {"harmony", "harmony.conformance", "harmony.conformance.plugin"}


def test_a_failed_promise_of_a_suite_is_explained() -> None:
    """pytest rewrites the assertions of test files by itself; those of our suites it has to be told of."""
    from harmony.conformance.executors import ends

    assert "@pytest_ar" in vars(ends)


def imported(path: Path) -> set[str]:
    """The top-level packages that a file imports, anywhere in it but under TYPE_CHECKING."""
    found: set[str] = set()
    todo: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.Import):
            found.update(name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            found.add(str(node.module) if not node.level else "harmony")
        for_types = isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        todo.extend(node.orelse if isinstance(node, ast.If) and for_types else ast.iter_child_nodes(node))
    return {name.partition(".")[0] for name in found}


#: An engine's own file → the systems that it drives.
SYSTEMS = {
    "engines/dask.py": ["dask", "distributed"],
    "engines/executorlib.py": ["executorlib"],
    "engines/ipyparallel.py": ["ipyparallel"],
    "engines/_mpi_pool.py": ["mpi4py"],
    "engines/parsl/engine.py": ["parsl", "psutil"],  # Parsl brings it
    "engines/parsl/exchange.py": ["parsl"],
    "engines/parsl/logs.py": ["parsl"],
    "engines/ray.py": ["ray"],
    "engines/taskvine.py": ["ndcctools"],
}


@pytest.mark.parametrize("folder", ["core", "engines", "pilots", "sites", "store", "."])
def test_only_the_standard_library_and_two_more(folder: str) -> None:
    """The core, our own engines, the store, and the modules beside them; the command line has more."""
    found = foreign(folder, "cloudpickle", "tomli", "xxhash")
    assert {path: names for path, names in found.items() if names != SYSTEMS.get(path)} == {}


@pytest.mark.parametrize("folder", ["jobs", "conformance/emulators"])
def test_only_the_standard_library(folder: str) -> None:
    """Batch jobs, also where only this package's files are copied to; the emulated systems run without pytest."""
    assert foreign(folder) == {}


def foreign(folder: str, *more: str) -> dict[str, list[str]]:
    """The files of a folder of ours that import what is not of the standard library, and what that is."""
    allowed = {*sys.stdlib_module_names, "harmony", *more}
    paths = list(PACKAGE.glob("*.py") if folder == "." else (PACKAGE / folder).rglob("*.py"))
    assert paths
    found = {str(path.relative_to(PACKAGE)): sorted(imported(path) - allowed) for path in paths}
    return {path: names for path, names in found.items() if names}
