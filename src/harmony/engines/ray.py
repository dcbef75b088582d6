"""The ray engine: tasks on a Ray of our own, on the nodes of a site, or on a cluster that the user has."""

from __future__ import annotations

import os
from typing import Any

from harmony.core.engine import Capability, Capacity
from harmony.engines._dispatch import PARCEL, Parcel
from harmony.engines._futures import FuturesEngine
from harmony.engines._parcel import run
from harmony.errors import WorkerLost
from harmony.resources import check_whole

_SETTINGS = {
    "include_dashboard": False,
    "log_to_driver": False,
    "configure_logging": False,
    "logging_level": "ERROR",
}


class RayEngine(FuturesEngine):
    """Runs tasks on Ray: on this machine, with `workers` cores, or on the cluster at `cluster` ("auto", "host:port").

    Cores, GPUs and memory of a task are Ray's to count. A Ray that this process has connected to before is used as it
    is, and is not shut down.
    """

    name = "ray"
    capabilities = PARCEL | {Capability.GPUS, Capability.MEMORY}

    def __init__(self, workers: int | None = None, *, cluster: str | None = None) -> None:
        if workers is not None:
            check_whole("workers", workers, 1)
        super().__init__()
        self._asked = workers
        self._cluster = cluster
        self._is_ours = False
        self._function: Any = None
        self._gpus = 0
        self._most = (0, 0, 0)

    @property
    def capacity(self) -> Capacity:
        """What the largest node has."""
        cores, gpus, memory = self._most
        return Capacity(cores=cores, gpus=gpus, memory=memory, workers=self._feeder.workers // cores if cores else 1)

    def _open(self) -> None:
        import ray

        self._is_ours = not ray.is_initialized()
        if self._is_ours:
            os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
            if self._cluster is None:
                count = self._asked or os.cpu_count() or 1
                ray.init(address="local", num_cpus=count, _node_ip_address="127.0.0.1", **_SETTINGS)
            else:
                ray.init(address=self._cluster, **_SETTINGS)
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        self._feeder.workers = int(sum(node.get("CPU", 0) for node in nodes))
        self._most = tuple(int(max(node.get(kind, 0) for node in nodes)) for kind in ("CPU", "GPU", "memory"))  # type: ignore[assignment]
        self._function = ray.remote(run)

    def _call(self, parcel: Parcel) -> Any:
        options: dict[str, Any] = {"num_cpus": 1, "max_retries": 0}
        if parcel.only is not None:
            asked = parcel.only.options.resources
            options["num_cpus"] = asked.cores
            options["num_gpus"] = asked.gpus
            if asked.memory is not None:
                options["memory"] = asked.memory
        reference = self._function.options(**options).remote(parcel.blob)
        future = reference.future()
        future.reference = reference
        return future

    def _withdraw(self, parcel: Parcel) -> None:
        """Nothing: Ray ends a worker and its children, our guard among them, but not what those have started."""

    def _translated(self, error: BaseException) -> BaseException:
        from ray import exceptions

        lost = (
            exceptions.WorkerCrashedError, exceptions.NodeDiedError, exceptions.OutOfMemoryError,
            exceptions.LocalRayletDiedError, exceptions.ObjectLostError,
        )  # fmt: skip
        if isinstance(error, lost):
            return WorkerLost(f"a worker of Ray died: {str(error).strip().splitlines()[0]}")
        return error

    def _shut(self) -> None:
        import ray

        if self._is_ours:
            ray.shutdown()
        else:
            for future in list(self._futures.values()):
                ray.cancel(future.reference, force=True)
