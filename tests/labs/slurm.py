"""A real Slurm for tests, on this host: started once, stopped at the end."""

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
_NODES = 4
#: Installing takes a quarter of a minute, more where the network is slow.
_PATIENCE = 300.0


@contextmanager
def slurm_lab(accounting: bool | None = None) -> Iterator[dict[str, str]]:
    """Run a Slurm of four nodes, and give the variables that its commands need in their environment.

    With accounting (sacct) for root, if it is not said otherwise. Skips the test where Slurm cannot be had.
    """
    if accounting is None:
        accounting = os.geteuid() == 0
    # under /tmp, not under pytest's directory: the path of a socket has 108 bytes
    directory = Path(tempfile.mkdtemp(prefix="slurm-"))
    try:
        up = _run("slurm-up.sh", directory, SLURM_LAB_DBD=str(int(accounting)), SLURM_LAB_PORT=str(_free_ports()))
        if up.returncode != 0:
            pytest.skip(f"a real Slurm cannot be had here: {up.stderr.strip()[-1500:]}")
        lines = (directory / "environment").read_text().splitlines()
        yield dict(line.split("=", 1) for line in lines)
    finally:
        _run("slurm-down.sh", directory)
        shutil.rmtree(directory, ignore_errors=True)


def _run(script: str, directory: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            ["bash", str(_HERE / script), str(directory)],
            check=False,
            env={**_untagged(os.environ), **variables},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
        )
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess([script], 124, "", f"{script} has not ended within {_PATIENCE:g} s")


def _untagged(environment: Mapping[str, str]) -> dict[str, str]:
    """Without what marks the processes that a test must not leave behind, and without another cluster's settings."""
    return {
        name: value
        for name, value in environment.items()
        if name != "HARMONY_TEST_RUN" and not name.startswith(("SLURM_", "SBATCH_", "SQUEUE_"))
    }


def _free_ports() -> int:
    """Return the first of a row of ports that nobody listens on now."""
    for first in range(20000 + os.getpid() % 400 * 25, 32000, 25):
        with ExitStack() as held:
            try:
                for port in range(first, first + 10 + _NODES):
                    held.enter_context(socket.socket()).bind(("127.0.0.1", port))
            except OSError:
                continue
            return first
    pytest.skip("there is no row of free ports for a Slurm here")
