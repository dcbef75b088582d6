"""Dask distributed: a local cluster of processes with one thread each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.systems.base import System


class Dask(System):
    """Scheduler in the driver, workers under nannies; no dashboard."""

    label = "Dask distributed"
    distribution = "distributed"
    package = "distributed"
    statement = "from distributed import Client, LocalCluster"
    pace = 0.2
    program = """
from distributed import Client, LocalCluster
if __name__ == "__main__":
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster, Client(cluster) as client:
        assert client.submit(double, 21).result() == 42
        first()
"""

    def open(self, workers: int, scratch: Path) -> None:
        from distributed import Client, LocalCluster

        self.cluster = LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            dashboard_address=None,
            local_directory=str(scratch),
        )
        self.client = Client(self.cluster)

    def close(self) -> None:
        self.client.close()
        self.cluster.close()

    def submit(self, fn: Callable[..., Any], *args: Any) -> Any:
        return self.client.submit(fn, *args, pure=False)

    def submit_many(self, fn: Callable[[], Any], count: int) -> Sequence[Any]:
        futures: Sequence[Any] = self.client.map(fn, range(count), pure=False)
        return futures

    def results(self, futures: Sequence[Any]) -> list[Any]:
        gathered: list[Any] = self.client.gather(futures)
        return gathered
