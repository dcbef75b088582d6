"""Ray on one node: remote functions and object references."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks import work
from benchmarks.systems.base import System


class Ray(System):
    """No dashboard, no usage statistics."""

    label = "Ray"
    distribution = "ray"
    package = "ray"
    statement = "import ray"
    pace = 0.5
    program = """
import os
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
import ray
ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="error", _node_ip_address="127.0.0.1")
assert ray.get(ray.remote(double).remote(21)) == 42
first()
ray.shutdown()
"""

    def open(self, workers: int, scratch: Path) -> None:
        import os

        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        import ray

        self.ray = ray
        self.remote: dict[Callable[..., Any], Any] = {}
        ray.init(
            num_cpus=workers,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=40,
            _node_ip_address="127.0.0.1",
        )

    def close(self) -> None:
        self.ray.shutdown()

    def submit(self, fn: Callable[..., Any], *args: Any) -> Any:
        if fn not in self.remote:
            self.remote[fn] = self.ray.remote(fn)
        return self.remote[fn].remote(*args)

    def result(self, future: Any) -> Any:
        return self.ray.get(future)

    def results(self, futures: Sequence[Any]) -> list[Any]:
        gathered: list[Any] = self.ray.get(list(futures))
        return gathered

    def is_done(self, future: Any) -> bool:
        ready, _ = self.ray.wait([future], timeout=0)
        return bool(ready)

    def fan_in(self, count: int) -> int:
        leaves = self.submit_many(work.one, count)
        return int(self.result(self.submit(work.total_of, *leaves)))  # references inside a list stay references
