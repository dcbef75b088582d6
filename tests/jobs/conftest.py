"""Real schedulers, started when the first test wants one, and stopped at the end."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.labs.sge import sge_lab
from tests.labs.slurm import slurm_lab


@pytest.fixture(scope="session")
def slurm_environment() -> Iterator[dict[str, str]]:
    """The environment variables by which a command finds a real Slurm."""
    with slurm_lab() as environment:
        yield environment


@pytest.fixture(scope="session")
def sge_environment() -> Iterator[dict[str, str]]:
    """The environment variables by which a command finds a real Grid Engine."""
    with sge_lab() as environment:
        yield environment
