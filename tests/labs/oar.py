"""A real OAR for tests, on this host: started once, stopped at the end."""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.labs.lab import running

from harmony.jobs.shell import Completed, Here


class AsAccount(Here):
    """This machine, as another account sees it: OAR runs no jobs of root."""

    def __init__(self, account: str) -> None:
        super().__init__()
        self.account = account
        self._entry = pwd.getpwnam(account)

    def run(self, argv: Sequence[str], stdin: str = "", timeout: float | None = None) -> Completed:
        """Run a command as that account."""
        become = ["setpriv", f"--reuid={self._entry.pw_uid}", f"--regid={self._entry.pw_gid}", "--clear-groups"]
        names = [f"{name}={self.account}" for name in ("USER", "LOGNAME")]
        return super().run([*become, "env", "HOME=/", *names, *argv], stdin, timeout)

    def put(self, path: str, text: str, executable: bool = False) -> None:
        """Write a file, and give it with the executor's directory to that account."""
        super().put(path, text, executable)
        directory = os.path.dirname(path)
        for each in (path, directory, os.path.join(directory, "news"), os.path.join(directory, "ended")):
            self.give(each)

    def give(self, path: str | Path) -> None:
        """Make a file or directory that account's."""
        if os.path.exists(path):
            os.chown(path, self._entry.pw_uid, self._entry.pw_gid)


@contextmanager
def oar_lab() -> Iterator[tuple[AsAccount, Path]]:
    """Run an OAR of four cores; give the shell for its commands, and a directory for jobs of its account.

    Skips the test where OAR cannot be had.
    """
    if os.geteuid() != 0:
        pytest.skip("a real OAR can only be started by root")
    with running("oar") as directory:
        shell = AsAccount((directory / "user").read_text().strip())
        jobs = directory / "jobs"
        jobs.mkdir()
        shell.give(jobs)
        yield shell, jobs
