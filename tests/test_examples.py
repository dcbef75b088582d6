"""The examples run as a user runs them, in small form, and their results are right."""

from __future__ import annotations

import csv
import importlib
import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from harmony import Workflow

EXAMPLES = Path(__file__).parent.parent / "examples"
PNG = b"\x89PNG\r\n\x1a\n"

Load = Callable[[str], ModuleType]


def needs(*modules: str) -> pytest.MarkDecorator:
    missing = ", ".join(name for name in modules if importlib.util.find_spec(name) is None)
    return pytest.mark.skipif(bool(missing), reason=f"{missing} is missing: pip install 'harmony-workflows[examples]'")


needs_ase = needs("ase", "scipy", "matplotlib")
needs_sklearn = needs("sklearn", "matplotlib")


def run(example: str, *arguments: str | Path, through: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """Run an example's main program in a process of its own, by Python or through another program."""
    program = EXAMPLES / example / f"{example}.py"
    return subprocess.run(
        [*(through or (sys.executable,)), program, *arguments], capture_output=True, text=True, check=False, timeout=100
    )


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[Load]:
    """Import modules of the example that the test is about, and forget them afterwards."""
    folder = EXAMPLES / request.node.get_closest_marker("usefixtures").kwargs["example"]
    monkeypatch.syspath_prepend(str(folder))
    yield importlib.import_module
    for name, loaded in list(sys.modules.items()):
        if str(getattr(loaded, "__file__", None)).startswith(str(folder)):
            del sys.modules[name]
