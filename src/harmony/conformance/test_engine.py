"""The suite for engines over those of ``--engine``: ``pytest --pyargs harmony.conformance --engine NAME``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from harmony.conformance.engines.subject import Subject, is_full
from harmony.conformance.engines.suite import EngineSuite


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run each test with each engine that was asked for."""
    if "name" in metafunc.fixturenames:
        names = metafunc.config.getoption("--engine")
        if not names:
            raise pytest.UsageError("say which engines: --engine NAME, or --engine module:Class")
        metafunc.parametrize("name", names, scope="class")


class TestEngine(EngineSuite):
    """Every promise, by any engine. One engine is shared by the tests that do it no harm, as some start slowly."""

    shares = True
    limit = 600.0

    @pytest.fixture
    def subject(self, name: str, request: pytest.FixtureRequest) -> Subject:
        """The engine of that name, with the options of the command line."""
        config = request.config
        options: Mapping[str, Any] = dict(config.getoption("--engine-option"))
        return Subject(name, options, self.shares, config.getoption("--engine-patience"), is_full(config))
