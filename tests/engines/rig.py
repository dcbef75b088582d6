"""What the tests of the local engine need beside the suite's gates and news: its workers, and programs to start.

Tasks run functions of this module in other processes, so it imports little.
"""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harmony.conformance.engines.gates import PATIENCE, Gate, News, lines
from harmony.conformance.engines.processes import children, command_line, wait_gone
from harmony.conformance.engines.work import hold, identity, kill_once, note, pass_gate, tell

__all__ = [
    "PATIENCE", "ROOT", "Gate", "News", "children", "hold", "identity", "kill_once", "lines", "note", "pass_gate",
    "run", "started", "tell", "wait_gone", "workers",
]  # fmt: skip

ROOT = Path(__file__).parent.parent.parent


def workers() -> set[int]:
    """The workers of this process."""
    return {child for child in children(os.getpid()) if "local.worker" in command_line(child)}


@contextmanager
def started(folder: Path, text: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Start a Python program in a process group of its own; kill it in the end if need be.

    It can import this module.
    """
    path = folder / "program.py"
    path.write_text(textwrap.dedent(text), encoding="utf-8")
    with subprocess.Popen(
        [sys.executable, str(path), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        start_new_session=True,
    ) as process:
        try:
            yield process
        except BaseException:
            process.kill()
            print(*process.communicate(), file=sys.stderr)  # for who reads why the test has failed
            raise
        finally:
            process.kill()


def run(folder: Path, text: str, *arguments: str) -> str:
    """Run a Python program to its end, which must be a good one, and return what it printed."""
    with started(folder, text, *arguments) as process:
        out, err = process.communicate(timeout=PATIENCE)
    if process.returncode:
        raise AssertionError(f"the program ended with {process.returncode}:\n{out}\n{err}")
    return out
