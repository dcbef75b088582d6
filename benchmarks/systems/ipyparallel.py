"""IPyParallel: engines behind a hub, through the load-balanced view."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.systems.base import System


class IPyParallel(System):
    """Its executor is a `concurrent.futures` one around the view."""

    label = "IPyParallel"
    distribution = "ipyparallel"
    package = "ipyparallel"
    statement = "import ipyparallel"
    takes_futures = False
    pace = 0.2
    program = """
import ipyparallel, os, tempfile
with tempfile.TemporaryDirectory() as folder:
    os.environ["IPYTHONDIR"] = folder
    with ipyparallel.Cluster(n=2, log_level=40) as client:
        assert client.load_balanced_view().apply_async(double, 21).get() == 42
        first()
"""

    def open(self, workers: int, scratch: Path) -> None:
        os.environ["IPYTHONDIR"] = str(scratch / "ipython")
        import ipyparallel

        self.cluster = ipyparallel.Cluster(n=workers, log_level=40)
        self.client = self.cluster.start_and_connect_sync()
        self.view = self.client.load_balanced_view()

    def close(self) -> None:
        self.client.close()
        self.cluster.stop_cluster_sync()

    def submit(self, fn: Callable[..., Any], *args: Any) -> Any:
        return self.view.apply_async(fn, *args)

    def result(self, future: Any) -> Any:
        return future.get()

    def results(self, futures: Sequence[Any]) -> list[Any]:
        return [future.get() for future in futures]
