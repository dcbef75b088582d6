"""Our engines keep what every engine promises."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest

from harmony import plugins
from harmony.core.engine import Engine

pytest.register_assert_rewrite("tests.engines.conformance")
from tests.engines.conformance import *  # noqa: E402, F403  the tests


@pytest.fixture(params=["inline", "threads", "local"])
def make_engine(request: pytest.FixtureRequest) -> Callable[[], Engine]:
    return partial(plugins.load(plugins.ENGINES, request.param), workers=2)
