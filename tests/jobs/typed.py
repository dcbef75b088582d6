"""Commands typed in a shell that has an emulated batch system."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from harmony.conformance.emulators.emulator import Emulator
from harmony.conformance.emulators.model import Job, State

Make = Callable[..., "Lab"]


class Lab:
    """An emulator, and a place to type commands in."""

    def __init__(self, emulator: Emulator, directory: Path) -> None:
        self.emulator, self.directory = emulator, directory

    def sh(self, command: str, stdin: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
        settings = {**os.environ, "LC_ALL": "C.UTF-8", **self.emulator.environment, **environment}
        words = ["bash", "-c", command]
        return subprocess.run(
            words,
            cwd=self.directory,
            env=settings,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    def out(self, command: str, stdin: str = "", **environment: str) -> str:
        done = self.sh(command, stdin, **environment)
        assert (done.returncode, done.stderr) == (0, ""), done
        return done.stdout

    def script(self, text: str, name: str = "job.sh") -> Path:
        path = self.directory / name
        path.write_text(text)
        path.chmod(0o755)
        return path

    def ended(self, number: int = 1) -> list[Job]:
        """Wait until the jobs of that number have ended."""

        def mine() -> list[Job]:
            return [job for job in self.emulator.jobs() if job.number == number]

        self.emulator.wait_until(lambda: mine() and all(job.state is State.ENDED for job in mine()))
        return mine()

    def running(self, number: int = 1) -> None:
        self.emulator.wait_until(
            lambda: any(job.number == number and job.state is State.RUNNING for job in self.emulator.jobs())
        )


@contextmanager
def labs(directory: Path) -> Iterator[Make]:
    """What makes emulators, which end with the context."""
    made: list[Emulator] = []

    def make(name: str, **settings: object) -> Lab:
        made.append(Emulator(name, directory / "lab", **settings))
        here = directory / "here"
        here.mkdir()
        return Lab(made[-1], here)

    yield make
    for each in made:
        each.close()
