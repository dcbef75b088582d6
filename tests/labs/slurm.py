"""A real Slurm for tests, on this host: started once, stopped at the end."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from tests.labs.lab import free_ports, running, variables_of

_NODES = 4


@contextmanager
def slurm_lab(accounting: bool | None = None) -> Iterator[dict[str, str]]:
    """Run a Slurm of four nodes, and give the variables that its commands need in their environment.

    With accounting (sacct) for root, if it is not said otherwise. Skips the test where Slurm cannot be had.
    """
    if accounting is None:
        accounting = os.geteuid() == 0
    port = free_ports(10 + _NODES)
    with running("slurm", SLURM_LAB_DBD=str(int(accounting)), SLURM_LAB_PORT=str(port)) as directory:
        yield variables_of(directory)
