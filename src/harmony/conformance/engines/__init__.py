"""What every engine promises, as one body of tests.

::

    from harmony.conformance.engines import EngineSuite

    class TestMine(EngineSuite):
        engine = "mine"  # or "package.module:Class"
        options = {"workers": 2}

or, without writing anything, ``pytest --pyargs harmony.conformance --engine mine``.

Each class of tests belongs to a level: core, data, resources, ranks, faults, scale. What an engine does not declare
as a `Capability`, or what its `Capacity` is too small for, is skipped, and says so.

Names are loaded when they are used: workers import `work` from here, and nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harmony.conformance.engines.driver import Driver
    from harmony.conformance.engines.subject import Subject
    from harmony.conformance.engines.suite import EngineSuite

__all__ = ["Driver", "EngineSuite", "Subject"]

_HOMES = {"Driver": "driver", "EngineSuite": "suite", "Subject": "subject"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
