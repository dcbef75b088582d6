"""Imports: each module alone, in a fresh interpreter; `import harmony` light; the core on the standard library."""

from __future__ import annotations

import ast
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
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


def run(program: str) -> subprocess.CompletedProcess[str]:
    """Run a program in a fresh interpreter with warnings as errors."""
    command = [sys.executable, "-W", "error", "-c", program]
    return subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)


def fresh(program: str) -> str:
    """Return the stdout of a program that succeeds."""
    done = run(program)
    assert done.returncode == 0, done.stderr
    return done.stdout


def loaded(names: str) -> set[str]:
    """The top-level packages among the names of modules."""
    return {name.partition(".")[0] for name in names.split()}


def import_error(module: str) -> str:
    """Import a module alone; return the error, or ""."""
    done = run(f"import {module}")
    return f"{module}: {done.stderr}" if done.returncode else ""


def test_each_module_can_be_imported_alone() -> None:
    with ThreadPoolExecutor(2) as pool:
        errors = [error for error in pool.map(import_error, MODULES) if error]
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


@pytest.mark.parametrize("folder", ["core", "engines", "."])
def test_only_the_standard_library_and_cloudpickle(folder: str) -> None:
    """The core, our own engines, and the modules beside them; the command line has more."""
    allowed = {*sys.stdlib_module_names, "harmony", "cloudpickle"}
    paths = PACKAGE.glob("*.py") if folder == "." else (PACKAGE / folder).rglob("*.py")
    foreign = {str(path.relative_to(PACKAGE)): sorted(imported(path) - allowed) for path in paths}
    assert foreign
    assert {path: names for path, names in foreign.items() if names} == {}
