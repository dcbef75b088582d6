"""The parsl engine: tasks on the workers of Parsl's HighThroughputExecutor, or on any other executor of Parsl."""

from __future__ import annotations

from typing import Any

__all__ = ["ParslEngine", "ParslExecutorEngine"]


def __getattr__(name: str) -> Any:  # workers import this package too, and need no engine
    if name in __all__:
        from harmony.engines.parsl import engine

        return getattr(engine, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
