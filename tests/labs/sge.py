"""A real Grid Engine for tests, on this host: started once, stopped at the end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tests.labs.lab import free_ports, running, variables_of


@contextmanager
def sge_lab(slots: int = 8) -> Iterator[dict[str, str]]:
    """Run a Grid Engine of one host, and give the variables that its commands need in their environment.

    Skips the test where it cannot be had.
    """
    with running("sge", SGE_LAB_SLOTS=str(slots), SGE_LAB_PORT=str(free_ports(2))) as directory:
        yield variables_of(directory)
