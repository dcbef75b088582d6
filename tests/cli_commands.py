"""Command lines as users give them, for the tests of the command line."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

#: The engines that run the functions of a program outside its main thread.
ENGINES = ("threads", "local")

#: The end of a report on two cores, as `timeless` leaves it.
TIMES = """\
  wall time      T
  work           T on 2 cores: T
  critical path  T
  efficiency     P % = max(critical path, work / cores) / wall time
"""


def command(*words: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a command line to its end, without a terminal."""
    return subprocess.run(words, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False, timeout=50)


def harmony(*words: str | Path) -> subprocess.CompletedProcess[str]:
    """Run ``harmony`` with these words."""
    return command(sys.executable, "-m", "harmony", *words)


def write(directory: Path, text: str) -> Path:
    """Write a program; return its path."""
    path = directory / "program.py"
    path.write_text(text, encoding="utf-8")
    return path


def timeless(text: str) -> str:
    """The text with every duration and share replaced: T, and P %."""
    return re.sub(r"\d[\d.e-]* %", "P %", re.sub(r"\b\d[\d.e-]* m?s\b", "T", text))
