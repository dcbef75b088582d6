"""The local engine: functions in worker processes and commands as processes, on this machine."""

from __future__ import annotations

from harmony.engines.local.engine import LocalEngine

__all__ = ["LocalEngine"]
