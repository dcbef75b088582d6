"""Measures of whole programs: the first result, and the import alone."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.cost import clean_up
from benchmarks.systems.base import System

_FIRST = """\
import time

def double(x):
    return 2 * x

def first():
    print("first", time.monotonic(), flush=True)

"""
_IMPORT = """\
import time
before = time.process_time()
{statement}
print("first", time.process_time() - before)
"""


@dataclass(frozen=True, slots=True)
class Ended:
    """What a program printed, and how long it took."""

    printed: float
    started: float
    wall: float
    cpu: float


@dataclass(frozen=True, slots=True)
class Program:
    """A measure of whole programs."""

    title: str
    unit: str
    take: Callable[[System, Path, float], dict[str, Any]]


class ProgramFailed(Exception):
    """The program did not do what it is for."""


def first_result(system: System, scratch: Path, timeout: float) -> dict[str, Any]:
    """Seconds from the start of the interpreter to the first result; then the program's wall and CPU seconds."""
    ended = _run(_FIRST + system.program.lstrip(), scratch, timeout)
    extra = {"program": ended.wall, "CPU s": ended.cpu}
    return {"value": ended.printed - ended.started, "extra": extra}


def import_cpu(system: System, scratch: Path, timeout: float) -> dict[str, Any]:
    """CPU milliseconds of the import that a program begins with, and of the package's bare import."""
    names, package = (
        _run(_IMPORT.format(statement=statement), scratch, timeout).printed
        for statement in (system.statement, f"import {system.package}")
    )
    return {"value": 1e3 * names, "extra": {f"import {system.package}": 1e3 * package}}


def _run(text: str, scratch: Path, timeout: float) -> Ended:
    path, out, log = scratch / "program.py", scratch / "program.out", scratch / "program.log"
    path.write_text(text)
    before = os.times()
    with out.open("wb") as output, log.open("wb") as errors:
        started = time.monotonic()
        process = subprocess.Popen([sys.executable, str(path)], stdout=output, stderr=errors, cwd=scratch)
        try:
            process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise ProgramFailed(f"no end after {timeout:g} s") from None
        finally:
            wall = time.monotonic() - started
            process.kill()
            clean_up(process)
    after = os.times()
    lines = [line.split() for line in out.read_text().splitlines() if line.startswith("first ")]
    if not lines:
        tail = log.read_text(errors="replace").strip().splitlines()
        raise ProgramFailed(tail[-1][:120] if tail else f"exit code {process.returncode}, no first result")
    cpu = (after.children_user + after.children_system) - (before.children_user + before.children_system)
    return Ended(float(lines[0][1]), started, wall, cpu)


PROGRAMS: dict[str, Program] = {
    "first": Program("first result, from the start of the program", "s", first_result),
    "import": Program("the import a program begins with", "CPU ms", import_cpu),
}
