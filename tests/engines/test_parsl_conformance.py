"""The Parsl engines keep what every engine promises."""

from __future__ import annotations

from typing import ClassVar

import pytest

from harmony.conformance.engines import EngineSuite

pytest.importorskip("parsl", reason="parsl is not installed: pip install 'harmony-workflows[parsl]'")


class TestParsl(EngineSuite):
    """A HighThroughputExecutor with two workers on this machine."""

    engine = "harmony.engines.parsl:ParslEngine"
    slow_levels = ("faults",)
    options: ClassVar = {"workers": 2}
