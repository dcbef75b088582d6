"""Our engines keep what every engine promises."""

from __future__ import annotations

from typing import ClassVar

from harmony.conformance.engines import EngineSuite


class TestInline(EngineSuite):
    """In the caller."""

    engine = "inline"


class TestThreads(EngineSuite):
    """Threads of the driver."""

    engine = "threads"


class TestLocal(EngineSuite):
    """Processes of this machine."""

    engine = "local"
    options: ClassVar = {"workers": 2, "gpus": 2}
    shares = True
