"""The dask engine: tasks on Dask's workers, with a scheduler of our own, or on a cluster that the user has."""

from __future__ import annotations

import logging
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from harmony.core.engine import Capacity
from harmony.engines._blocks import BlockEngine
from harmony.engines._dispatch import Parcel
from harmony.engines._futures import FuturesEngine
from harmony.engines._parcel import run
from harmony.errors import EngineFailed, WorkerLost

if TYPE_CHECKING:
    import distributed

    from harmony.sites import Site

#: A worker that dies costs the task it ran; Dask's own tries again are not for us, who know which task may be.
_SETTINGS = {
    "distributed.scheduler.allowed-failures": 0,
    "distributed.comm.retry.count": 0,
    "distributed.admin.log-length": 10,
    "distributed.admin.low-level-log-length": 10,
    "distributed.diagnostics.computations.max-history": 1,
}
#: Bytes of a parcel beyond which Dask warns of a large graph; such parcels go to a worker first.
_MOST_IN_GRAPH = 1 << 20
#: Seconds after which workers end whose scheduler is gone.
_ORPHANED = 30
#: The workers of a node, which Dask wants to have names of their own.
_NODE = """
import os, platform, sys
from distributed.cli.dask_worker import main
main(["--name", f"{sys.argv[1]}.{platform.node()}.{os.getpid()}", *sys.argv[2:]])
"""


class DaskEngine(BlockEngine):
    """Runs a Dask scheduler in this process, and `workers` single-threaded workers on each node of the site's blocks.

    All talk is encrypted and authenticated, by certificates that are made for the one run. A cluster that is there
    already is used through its client: ``DaskClientEngine(client)``.
    """

    name = "dask"

    def __init__(
        self,
        workers: int | None = None,
        *,
        site: str | Site | None = None,
        address: str | None = None,
    ) -> None:
        super().__init__(workers, site=site, address=address)
        self._cluster: Any = None
        self._settings: Any = None
        self._client: distributed.Client | None = None
        self._seen: Counter[str] = Counter()

    def _serve(self) -> None:
        import dask
        import distributed

        security = distributed.Security.temporary()
        for name in ("ca_file", "worker_cert", "worker_key"):
            path = self.folder / f"{name}.pem"
            path.touch(mode=0o600)
            path.write_text(getattr(security, f"tls_{name}"), encoding="ascii")
        self._settings = dask.config.set(_SETTINGS)  # until the end: what workers come later is made by them
        try:
            self._cluster = distributed.LocalCluster(
                n_workers=0, host=f"tls://{self.address}", protocol="tls://", security=security,
                dashboard_address=None, silence_logs=logging.CRITICAL,
            )  # fmt: skip
            self._client = distributed.Client(self._cluster, set_as_default=False)
            self._cluster.scheduler.add_plugin(_plugin(self._came, self._went), name="harmony")
        except BaseException:
            self._stop_serving()
            raise

    def _command(self, block: str) -> Sequence[str]:
        return [
            sys.executable, "-c", _NODE, block, self._cluster.scheduler_address,
            "--nworkers", str(self._per_node), "--nthreads", "1", "--memory-limit", "0", "--no-dashboard",
            "--death-timeout", str(_ORPHANED), "--local-directory", tempfile.gettempdir(),
            "--tls-ca-file", str(self.folder / "ca_file.pem"),
            "--tls-cert", str(self.folder / "worker_cert.pem"),
            "--tls-key", str(self.folder / "worker_key.pem"),
        ]  # fmt: skip

    def _call(self, parcel: Parcel) -> Any:
        assert self._client is not None
        return _call(self._client, parcel)

    def _withdraw(self, parcel: Parcel) -> None:
        """Nothing: Dask would forget the task, but not end it."""

    def _translated(self, error: BaseException) -> BaseException:
        return _translated(error)

    def _stop_serving(self) -> None:
        if self._client is not None:
            self._client.close()
        if self._cluster is not None:
            self._cluster.close()
        self._settings.__exit__(None, None, None)

    def _came(self, name: str) -> None:
        self._counted(name, 1)

    def _went(self, name: str) -> None:
        self._counted(name, -1)

    def _counted(self, name: str, change: int) -> None:
        block = name.partition(".")[0]
        self._seen[block] += change
        self._connected(block, self._seen[block])


class DaskClientEngine(FuturesEngine):
    """Runs tasks on the cluster of a `distributed.Client`, which is left as it is.

    Its workers need Harmony, and are best single-threaded: environment variables and directories are a process's.
    """

    name = "dask"

    def __init__(self, client: distributed.Client) -> None:
        super().__init__(workers=sum(client.nthreads().values()))
        self._client = client

    @property
    def capacity(self) -> Capacity:
        """One core of a thread."""
        return Capacity(cores=1, workers=self._feeder.workers)

    def _call(self, parcel: Parcel) -> Any:
        return _call(self._client, parcel)

    def _withdraw(self, parcel: Parcel) -> None:
        """Nothing: Dask would forget the task, but not end it."""

    def _translated(self, error: BaseException) -> BaseException:
        return _translated(error)

    def _shut(self) -> None:
        self._client.cancel(list(self._futures.values()), force=True)


def _call(client: distributed.Client, parcel: Parcel) -> Any:
    blob: Any = parcel.blob
    if len(blob) > _MOST_IN_GRAPH:
        blob = client.scatter(blob, hash=False)
    return client.submit(run, blob, key=("harmony", f"{id(parcel):x}-{parcel.number}"), pure=False, retries=0)


def _translated(error: BaseException) -> BaseException:
    from distributed.client import FutureCancelledError
    from distributed.scheduler import KilledWorker

    if isinstance(error, KilledWorker):
        return WorkerLost(f"a worker of Dask died: {error}")
    if isinstance(error, FutureCancelledError):
        return EngineFailed(f"Dask has dropped the task: {error}")
    return error


def _plugin(came: Callable[[str], None], went: Callable[[str], None]) -> Any:
    from distributed.diagnostics.plugin import SchedulerPlugin

    names: dict[str, str] = {}

    class Watch(SchedulerPlugin):  # type: ignore[misc]  # Dask's types are not looked at
        def add_worker(self, scheduler: Any, worker: str) -> None:
            names[worker] = str(scheduler.workers[worker].name)
            came(names[worker])

        def remove_worker(self, scheduler: Any, worker: str, **more: Any) -> None:
            went(names.pop(worker))

    return Watch()
