"""Logs: what Parsl's processes write. Those of a node only why they end, to the output of its job, which errors show.

The interchange, which has no job, has a file for its warnings.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

try:
    from parsl.logconfigs.base import LogConfig
except ImportError:  # Parsl before July 2026, which has but files, or none
    LogConfig = object


class Few(LogConfig):  # type: ignore[misc]  # Parsl need not be installed where types are checked
    """See the module."""

    def initialize_logging(self, *, log_dir: Path, log_name: str) -> Callable[[], None]:
        """Begin to log; return what ends it."""
        handler: logging.Handler
        if log_name == "interchange":
            log_dir.mkdir(exist_ok=True, parents=True)
            handler, level = logging.FileHandler(log_dir / f"{log_name}.log", delay=True), logging.WARNING
        else:  # a manager's "Failed to connect" is an error that is none: it has not waited
            handler, level = logging.StreamHandler(), logging.CRITICAL
        handler.setFormatter(logging.Formatter("%(asctime)s %(processName)s %(levelname)s %(message)s"))
        logger = logging.getLogger("parsl")
        logger.setLevel(level)
        logger.addHandler(handler)
        return lambda: logger.removeHandler(handler)
