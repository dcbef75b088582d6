"""What the real systems for tests have in common: started by a script, and stopped whatever becomes of the tests."""

from __future__ import annotations

import os
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

_HERE = Path(__file__).parent
#: Installing takes a quarter of a minute, more where the network is slow.
_PATIENCE = 300.0
#: Prefixes of variables that would lead a command to another system than the one that is started here.
_FOREIGN = ("SLURM_C", "SLURM_J", "SBATCH_", "SQUEUE_", "SGE_R", "SGE_C", "SGE_Q", "SGE_E")
#: Runs the script that stops a system when its standard input ends: with the tests, be they killed.
_WATCHER = 'trap "" INT TERM HUP; cat >/dev/null; bash "$1" "$2"; rm -rf -- "$2"'


@contextmanager
def running(name: str, **variables: str) -> Iterator[Path]:
    """Run ``NAME-up.sh`` for a new directory, and give it; at the end ``NAME-down.sh``. Skips without it."""
    # Under /tmp, not under pytest's directory: the path of a socket has 108 bytes, and other accounts enter.
    directory = Path(tempfile.mkdtemp(prefix=f"{name}-"))
    directory.chmod(0o755)
    kept = {key: value for key, value in os.environ.items() if not key.startswith(_FOREIGN)}
    clean = {**kept, **variables}
    clean.pop("HARMONY_TEST_RUN", None)
    watcher = subprocess.Popen(
        ["/bin/bash", "-c", _WATCHER, "lab", str(_HERE / f"{name}-down.sh"), str(directory)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=clean,
        start_new_session=True,
    )
    try:
        complaint = _start(name, directory, clean)
        if complaint is not None:
            pytest.skip(f"a real {name} cannot be had here: {complaint[-1500:]}")
        yield directory
    finally:
        assert watcher.stdin is not None
        watcher.stdin.close()
        watcher.wait(_PATIENCE)


def _start(name: str, directory: Path, environment: dict[str, str]) -> str | None:
    """Return why it did not start."""
    try:
        done = subprocess.run(
            ["bash", str(_HERE / f"{name}-up.sh"), str(directory)],
            check=False,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
        )
    except subprocess.TimeoutExpired:
        return f"it has not started within {_PATIENCE:g} s"
    return None if done.returncode == 0 else done.stderr.strip()


def variables_of(directory: Path) -> dict[str, str]:
    """The environment variables by which commands find the system, as its script has written them."""
    return dict(line.split("=", 1) for line in (directory / "environment").read_text().splitlines())


def free_ports(count: int) -> int:
    """Return the first of a row of ports that nobody listens on now. Skips where there is none."""
    for first in range(20000 + os.getpid() % 400 * 25, 32000, 25):
        with ExitStack() as held:
            try:
                for port in range(first, first + count):
                    held.enter_context(socket.socket()).bind(("", port))
            except OSError:
                continue
            return first
    pytest.skip("there is no row of free ports here")
