"""Real schedulers, started when the first test wants one, and stopped at the end."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.labs.sge import sge_lab
from tests.labs.slurm import slurm_lab

#: Until a real system runs, when its packages come first; the scripts in tests/labs limit each of their steps.
INSTALLATION = 360


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give the first test of each real system the time to install it."""
    for lab in ("slurm_environment", "sge_environment"):
        users = (item for item in items if lab in getattr(item, "fixturenames", ()))
        first = next((item for item in users if not item.get_closest_marker("skip")), None)
        if first is not None:
            first.add_marker(pytest.mark.timeout(INSTALLATION), append=False)


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
