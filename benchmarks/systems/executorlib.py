"""executorlib on one node, with workers that stay (by default it starts a process for each call)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.systems.base import System


class Executorlib(System):
    """A `concurrent.futures` executor that takes futures as arguments."""

    label = "executorlib"
    distribution = "executorlib"
    package = "executorlib"
    statement = "from executorlib import SingleNodeExecutor"
    pace = 0.2
    program = """
from executorlib import SingleNodeExecutor
with SingleNodeExecutor(max_workers=2, block_allocation=True) as pool:
    assert pool.submit(double, 21).result() == 42
    first()
"""

    def open(self, workers: int, scratch: Path) -> None:
        from executorlib import SingleNodeExecutor

        self.executor = SingleNodeExecutor(max_workers=workers, block_allocation=True, hostname_localhost=True)

    def close(self) -> None:
        self.executor.shutdown()

    def submit(self, fn: Callable[..., Any], *args: Any) -> Any:
        return self.executor.submit(fn, *args)
