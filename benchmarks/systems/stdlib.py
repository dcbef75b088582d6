"""The standard library's pools: the reference."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.systems.base import System


class _Pool(System):
    takes_futures = False
    executor: Executor

    def close(self) -> None:
        self.executor.shutdown()

    def submit(self, fn: Callable[..., Any], *args: Any) -> Any:
        return self.executor.submit(fn, *args)


class Threads(_Pool):
    """No processes, no pickling: what no engine with processes can reach."""

    label = "ThreadPoolExecutor"
    statement = "from concurrent.futures import ThreadPoolExecutor"
    in_processes = False
    program = """
from concurrent.futures import ThreadPoolExecutor
with ThreadPoolExecutor(2) as pool:
    assert pool.submit(double, 21).result() == 42
    first()
"""

    def open(self, workers: int, scratch: Path) -> None:
        self.executor = ThreadPoolExecutor(workers)


class Processes(_Pool):
    """The reference, 1.0."""

    label = "ProcessPoolExecutor"
    statement = "from concurrent.futures import ProcessPoolExecutor"
    program = """
from concurrent.futures import ProcessPoolExecutor
with ProcessPoolExecutor(2) as pool:
    assert pool.submit(double, 21).result() == 42
    first()
"""

    def open(self, workers: int, scratch: Path) -> None:
        self.executor = ProcessPoolExecutor(workers)
