"""``harmony version``, ``harmony --help``: what they tell, and how little they load for it."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

import pytest

import harmony as package


def harmony(*words: str, **environment: str) -> str:
    """The stdout of a command line that succeeds."""
    done = subprocess.run(
        [sys.executable, "-m", "harmony", *words],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
        env={**os.environ, **environment},
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def rows(text: str) -> Mapping[str, str]:
    """The lines ``name  value`` as a mapping."""
    return dict(re.split(r"  +", line, maxsplit=1) for line in text.splitlines())


@pytest.mark.parametrize("word", ["version", "--version"])
def test_the_version(word: str) -> None:
    assert harmony(word) == f"harmony {package.__version__}\n"


@pytest.mark.parametrize("flag", ["-v", "--verbose"])
def test_the_version_and_the_system(flag: str) -> None:
    told = rows(harmony("version", flag))
    assert told["harmony"] == package.__version__
    assert told["python"] == f"{platform.python_implementation()} {platform.python_version()}, {sys.executable}"
    assert platform.platform() in told["system"]
    assert told["cores"].startswith(f"{len(os.sched_getaffinity(0))} usable of {os.cpu_count()}")
    assert re.match(r"[\d.]+ [GT]B, [\d.]+ [MGT]B available", told["memory"])
    assert "GPUs" in told
    assert f"rich {version('rich')}" in told["packages"]
    assert f"cloudpickle {version('cloudpickle')}" in told["packages"]
    assert {told[f"engine {name}"] for name in ("inline", "local", "threads")} == {"ready"}
    assert told["shared memory"].startswith("/dev/shm, ")


def test_the_system_as_json() -> None:
    told = json.loads(harmony("version", "--json"))
    assert told["harmony"] == package.__version__
    assert told["cores"]["usable"] == len(os.sched_getaffinity(0))
    assert told["memory"]["total"] >= told["memory"]["available"] > 0
    assert told["shared_memory"]["total"] >= told["shared_memory"]["free"]
    assert told["packages"]["click"] == version("click")
    assert told["engines"]["local"] == "ready"
    assert json.loads(harmony("version", "--json", "--verbose")).keys() == told.keys()


def test_cores_are_those_of_the_affinity() -> None:
    one = min(os.sched_getaffinity(0))
    program = f"import os; os.sched_setaffinity(0, {{{one}}}); from harmony import system; print(system.describe())"
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "'cores': {'usable': 1," in told.stdout


def test_gpus_are_those_that_the_environment_shows() -> None:
    told = rows(harmony("version", "-v", CUDA_VISIBLE_DEVICES="0,GPU-8932f937"))
    assert told["GPUs"].startswith("2 (0, GPU-8932f937)")
    assert rows(harmony("version", "-v", CUDA_VISIBLE_DEVICES=""))["GPUs"] == "none"


def test_an_mpi_launcher_is_told(tmp_path: Path) -> None:
    launcher = tmp_path / "mpiexec"
    launcher.write_text("#!/bin/sh\necho 'mpiexec (Open MPI) 4.1.6'\n")
    launcher.chmod(0o755)
    program = (
        "import sys; from harmony import system\n"
        f"sys.executable = {str(tmp_path / 'python')!r}\n"
        "told = system.describe(); print(told['mpi']); print(system.text(told))"
    )
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert told.startswith(f"{{'path': '{launcher}', 'flavour': 'openmpi', 'version': '4.1.6'}}\n")
    assert f"Open MPI 4.1.6, {launcher}" in told
    launcher.chmod(0o644)
    told = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env={"PATH": str(tmp_path)}
    ).stdout
    assert "no launcher" in told


def test_engines_that_cannot_be_imported_are_told_as_such(tmp_path: Path) -> None:
    information = tmp_path / "third_party-1.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: third-party\nVersion: 1\n")
    (information / "entry_points.txt").write_text(
        "[harmony.engines]\nabsent = a_package_that_is_absent:Engine\nbroken = broken_engine:Engine\n"
    )
    (tmp_path / "broken_engine.py").write_text("raise RuntimeError('no licence')\n")
    told = rows(harmony("version", "-v", PYTHONPATH=str(tmp_path)))
    assert "pip install 'harmony-workflows[absent]'" in told["engine absent"]
    assert told["engine broken"] == "cannot be imported: RuntimeError: no licence"
    assert told["engine local"] == "ready"


def test_help_names_the_commands_and_loads_little() -> None:
    program = (
        "import sys\n"
        "from harmony.cli import main\n"
        "sys.argv = ['harmony', '--help']\n"
        "try: main()\n"
        "finally: print(*sys.modules, file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert re.search(r"^  run  +Run a program, or replay a workflow\.$", done.stdout, re.MULTILINE)
    assert re.search(r"^  version  +Print the version and the system\.$", done.stdout, re.MULTILINE)
    loaded = set(done.stderr.split())
    assert "click" in loaded
    assert not loaded & {"rich", "cloudpickle", "harmony.workflow", "harmony.system", "multiprocessing", "asyncio"}


def test_a_run_without_a_terminal_does_not_load_the_display(tmp_path: Path) -> None:
    path = tmp_path / "program.py"
    path.write_text(
        "import sys\nfrom harmony import Workflow\n"
        "with Workflow(engine='threads') as workflow: workflow.submit(int)\nprint('rich' in sys.modules)\n"
    )
    assert harmony("run", "-q", str(path)) == "False\n"


def test_nothing_given_shows_the_help() -> None:
    done = subprocess.run([sys.executable, "-m", "harmony"], capture_output=True, text=True, check=False)
    assert "Usage: harmony [OPTIONS] COMMAND [ARGS]..." in done.stdout + done.stderr  # as click's version has it
