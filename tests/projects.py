"""Projects: programs that are run again and again, in a directory of their own."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import textwrap
from contextlib import closing
from pathlib import Path


def own(**more: str) -> dict[str, str]:
    """The environment of a user who names no store."""
    return {**{key: value for key, value in os.environ.items() if key != "HARMONY_STORE"}, **more}


class Project:
    """A directory with a program, whose tasks leave a line in the file `ran` each time they run."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.program = directory / "campaign.py"
        self.store = directory / ".harmony"

    def write(self, text: str, name: str = "campaign.py") -> None:
        """Write the program, or a module of it."""
        (self.directory / name).write_text(
            textwrap.dedent(HEAD if name == "campaign.py" else "") + textwrap.dedent(text)
        )

    def run(self, *argv: str, status: int = 0, **environment: str) -> str:
        """Run it; return what it prints."""
        done = subprocess.run(
            [sys.executable, str(self.program), *argv], env=own(**environment), cwd=self.directory,
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == status, done.stdout + done.stderr
        self.stderr = done.stderr
        return done.stdout

    def integrity(self) -> list[tuple[str]]:
        """What SQLite finds wrong with the store, or "ok"."""
        with closing(sqlite3.connect(self.store / "store.db")) as database:
            return database.execute("PRAGMA integrity_check").fetchall()

    def ran(self) -> list[str]:
        """Which tasks have run since the last look, sorted."""
        path = self.directory / "ran"
        lines = sorted(path.read_text().splitlines()) if path.exists() else []
        path.unlink(missing_ok=True)
        return lines


HEAD = """\
import os, sys, dataclasses, pathlib
from harmony import File, Output, Workflow, command, gather, join, task

HERE = os.path.dirname(os.path.abspath(__file__))

def note(text):
    with open(os.path.join(HERE, "ran"), "a") as stream:
        stream.write(text + "\\n")

"""
