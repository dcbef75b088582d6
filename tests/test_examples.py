"""The examples run as a user runs them, in small form, and their results are right."""

from __future__ import annotations

import csv
import importlib
import importlib.util
import json
import math
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from harmony import Workflow

EXAMPLES = Path(__file__).parent.parent / "examples"
PNG = b"\x89PNG\r\n\x1a\n"


def needs(*modules: str) -> pytest.MarkDecorator:
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    return pytest.mark.skipif(bool(missing), reason=f"needs {', '.join(missing)}: pip install harmony-workflows[examples]")


needs_ase = needs("ase", "scipy", "matplotlib")
needs_sklearn = needs("sklearn", "matplotlib")


def run(example: str, *arguments: str | Path, through: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """Run an example's main program in a process of its own."""
    program = EXAMPLES / example / f"{example}.py"
    return subprocess.run(
        [sys.executable, *through, program, *arguments], capture_output=True, text=True, check=False, timeout=120
    )


def module(example: str, name: str, patch: pytest.MonkeyPatch) -> ModuleType:
    """Import a module of an example, under its own name, for as long as the test runs."""
    patch.syspath_prepend(str(EXAMPLES / example))
    before = set(sys.modules)
    found = importlib.import_module(name)
    for loaded in set(sys.modules) - before:
        if str(getattr(sys.modules[loaded], "__file__", "")).startswith(str(EXAMPLES)):
            patch.delitem(sys.modules, loaded)
            sys.modules[loaded] = found if loaded == name else importlib.import_module(loaded)
    return found


# -- equation of state ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    output = tmp_path_factory.mktemp("study")
    ended = run("equation_of_state", "--metals", "Cu", "Ag", "--points", "11", "--workers", "2", "--output", output)
    assert ended.returncode == 0, ended.stderr
    yield ended.stdout, output


def energy(metal: str, lattice_constant: float) -> float:
    """The energy of one atom in a crystal, asked of EMT without the example."""
    build, emt = importlib.import_module("ase.build"), importlib.import_module("ase.calculators.emt")
    atoms = build.bulk(metal, "fcc", a=lattice_constant)
    atoms.calc = emt.EMT()
    return float(atoms.get_potential_energy())
