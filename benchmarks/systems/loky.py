"""loky, the pool under joblib."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.systems.base import System


class Loky(System):
    """A process pool with cloudpickle."""

    label = "joblib's loky"
    distribution = "joblib"
    package = "joblib"
    statement = "import joblib"
    takes_futures = False
    program = """
from joblib.externals.loky import get_reusable_executor
pool = get_reusable_executor(max_workers=2)
assert pool.submit(double, 21).result() == 42
first()
pool.shutdown()
"""

    def open(self, workers: int, scratch: Path) -> None:
        from joblib.externals.loky import get_reusable_executor

        self.executor = get_reusable_executor(max_workers=workers, timeout=None)

    def close(self) -> None:
        self.executor.shutdown()

    def submit(self, fn: Callable[..., Any], *args: Any) -> Any:
        return self.executor.submit(fn, *args)
