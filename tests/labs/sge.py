"""A real Grid Engine for tests, on this host: started once, stopped at the end."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

_HERE = Path(__file__).parent
#: Installing takes a quarter of a minute, more where the network is slow.
_PATIENCE = 300.0


@contextmanager
def sge_lab(slots: int = 8) -> Iterator[dict[str, str]]:
    """Run a Grid Engine of one host, and give the variables that its commands need in their environment.

    Skips the test where it cannot be had.
    """
    directory = Path(tempfile.mkdtemp(prefix="sge-"))
    try:
        up = _run("sge-up.sh", directory, SGE_LAB_SLOTS=str(slots), SGE_LAB_PORT=str(_free_ports()))
        if up.returncode != 0:
            pytest.skip(f"a real Grid Engine cannot be had here: {up.stderr.strip()[-1500:]}")
        lines = (directory / "environment").read_text().splitlines()
        yield dict(line.split("=", 1) for line in lines)
    finally:
        _run("sge-down.sh", directory)
        shutil.rmtree(directory, ignore_errors=True)


def _run(script: str, directory: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            ["bash", str(_HERE / script), str(directory)],
            env={**_untagged(os.environ), **variables},
            stdin=subprocess.DEVNULL,
            check=False,
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
        )
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess([script], 124, "", f"{script} has not ended within {_PATIENCE:g} s")


def _untagged(environment: Mapping[str, str]) -> dict[str, str]:
    """Without what marks the processes that a test must not leave behind, and without another cell's settings."""
    return {name: value for name, value in environment.items() if name != "HARMONY_TEST_RUN" and name[:4] != "SGE_"}


def _free_ports() -> int:
    """Return the first of two ports that nobody listens on now."""
    for first in range(20010 + os.getpid() % 400 * 25, 32000, 25):
        with ExitStack() as held:
            try:
                for port in (first, first + 1):
                    held.enter_context(socket.socket()).bind(("", port))
            except OSError:
                continue
            return first
    pytest.skip("there are no free ports for a Grid Engine here")
