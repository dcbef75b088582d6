"""The engines over Parsl's executors: one that starts its own workers, and one for an executor that is given."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from harmony.core.engine import Capacity
from harmony.engines._blocks import BlockEngine
from harmony.engines._dispatch import Parcel
from harmony.engines._futures import FuturesEngine
from harmony.engines._parcel import run
from harmony.engines.parsl.exchange import Exchange, Manager
from harmony.errors import ConfigError, EngineFailed, WorkerLost, text_of
from harmony.pilots.facts import BlockEnded, BlockRunning, Fact
from harmony.resources import check_whole

if TYPE_CHECKING:
    from parsl.executors.base import ParslExecutor

    from harmony.sites import Site

#: Every how many seconds a node's manager tells that it lives, and after how many it counts as lost: on this machine,
#: and on a site, where so many nodes send one such message a second.
_HERE = (1, 15)
_SITE, _NODES_A_SECOND = (2, 30), 50
#: Seconds between two looks of Parsl at the blocks of an executor that is given, and without work before they are
#: given back.
_PERIOD, _IDLE = 0.5, 120.0


class ParslEngine(BlockEngine):
    """Runs Parsl's HighThroughputExecutor, whose `workers` are started on each node of the site's blocks.

    Its interchange runs beside this process, and all talk is encrypted and authenticated by certificates made for the
    one run. `address` is this host's as the nodes know it; by default they try each that this host has. `htex` has
    more arguments of `HighThroughputExecutor`: ``{"cpu_affinity": "block", "available_accelerators": 4}``.

    An executor that is there already is used through ``ParslExecutorEngine(executor)``.
    """

    name = "parsl"

    def __init__(
        self,
        workers: int | None = None,
        *,
        site: str | Site | None = None,
        cores: int = 1,
        address: str | None = None,
        htex: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(workers, site=site, cores=cores, address=address)
        self._given_address = address
        self._arguments = dict(htex or {})
        self._exchange: Exchange | None = None
        self._running: set[str] = set()
        self._gone: dict[str, str] = {}
        self._written_off: set[str] = set()
        self._seen_busy: dict[str, int] = {}
        self._is_fresh = False  # what has been sent since the last look may be anywhere

    def _serve(self) -> None:
        most = self.site.blocks.max * self.site.nodes
        heartbeat, alone = _HERE, {"prefetch_capacity": self._per_node} if most == 1 else {}
        if not self.is_here:
            period = max(_SITE[0], most // _NODES_A_SECOND)
            heartbeat = period, max(_SITE[1], 4 * period)
        addresses = [self.address] if self._given_address or self.is_here else _addresses(self.address)
        exchange = Exchange(self.folder, self._per_node, addresses, heartbeat, {**alone, **self._arguments})
        exchange.start(self._seen, self._fail_all)
        self._exchange = exchange

    def _command(self, block: str) -> Sequence[str]:
        assert self._exchange is not None
        return self._exchange.command(block)

    def _call(self, parcel: Parcel) -> Any:
        assert self._exchange is not None
        self._is_fresh = False
        return self._exchange.call(parcel.blob)

    def _withdraw(self, parcel: Parcel) -> None:
        """Nothing: Parsl cannot take a task back, nor end it."""

    def _translated(self, error: BaseException) -> BaseException:
        return _translated(error)

    def _stop_serving(self) -> None:
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.stop()

    def _fed(self, waiting: int, running: int) -> None:
        self._busy = self._seen_busy if self._is_fresh else None
        super()._fed(waiting, running)

    # -- who is there ----------------------------------------------------------------------------------

    def _seen(self, managers: list[Manager]) -> None:
        self._inbox.put(lambda: self._look(managers))

    def _look(self, managers: list[Manager]) -> None:
        """Take note of which managers are connected, and of work that a block has taken with it."""
        workers: Counter[str] = Counter()
        busy: Counter[str] = Counter()
        lost = 0
        for manager in managers:
            if manager.block not in self._gone:
                workers[manager.block] += manager.workers
                busy[manager.block] += min(manager.tasks, manager.workers) * self._cores
            elif manager.id not in self._written_off:
                lost += manager.tasks
        self._seen_busy = dict(busy)
        self._is_fresh = sum(manager.tasks for manager in managers) >= len(self._out)
        for block in {*self._counts, *workers}:
            if self._counts.get(block, 0) != workers[block]:
                self._count(block, workers[block])
        if lost and lost == len(self._out):  # all that is out: Parsl would say so when their heartbeats are missed
            gone = [manager for manager in managers if manager.block in self._gone]
            self._written_off.update(manager.id for manager in gone)
            why = " ".join(dict.fromkeys(self._gone[manager.block] for manager in gone if manager.tasks))
            for number in list(self._out):
                self._fail(number, WorkerLost(f"the workers of the task are gone: {why}"))

    def _note(self, fact: Fact) -> None:
        super()._note(fact)
        if isinstance(fact, BlockRunning):
            self._running.add(fact.block)
        elif isinstance(fact, BlockEnded):
            self._running.discard(fact.block)
            self._gone[fact.block] = fact.message or fact.reason
        exchange = self._exchange
        if exchange is not None:
            if isinstance(fact, BlockEnded):
                exchange.forget(fact.block)
            exchange.expect(len(self._running) * self.site.nodes)


class ParslExecutorEngine(FuturesEngine):
    """Runs tasks on a Parsl executor, which is started here and shut down at the end; its blocks are Parsl's own.

    It must not belong to a DataFlowKernel: two threads would use what is made for one. `workers` is how many tasks it
    runs at once: what it says itself by default, or the cores of this machine.
    """

    name = "parsl"

    def __init__(self, executor: ParslExecutor, *, workers: int | None = None) -> None:
        if workers is not None:
            check_whole("workers", workers, 1)
        if not callable(getattr(executor, "submit", None)) or not callable(getattr(executor, "shutdown", None)):
            raise ConfigError(f"executor={executor!r} must be a parsl.executors.base.ParslExecutor")
        if getattr(executor, "run_id", None) is not None:
            raise ConfigError(f"the executor {executor.label!r} belongs to a DataFlowKernel; give one that does not")
        super().__init__(workers=workers or _workers_of(executor))
        self._executor: Any = executor
        self._poller: Any = None
        self._folder = ""

    @property
    def capacity(self) -> Capacity:
        """One core of as many as the executor has workers."""
        return Capacity(cores=1, workers=self._feeder.workers)

    def _open(self) -> None:
        from parsl.executors.status_handling import BlockProviderExecutor
        from parsl.jobs.job_status_poller import JobStatusPoller

        executor = self._executor
        self._folder = tempfile.mkdtemp(prefix="harmony-parsl-")
        executor.run_dir, executor.run_id = self._folder, str(uuid.uuid4())
        provider: Any = getattr(executor, "provider", None)
        if hasattr(provider, "script_dir"):
            provider.script_dir = os.path.join(self._folder, "submit_scripts")
            os.makedirs(provider.script_dir)
        try:
            executor.start()
            if isinstance(executor, BlockProviderExecutor):
                self._poller = JobStatusPoller(strategy="simple", max_idletime=_IDLE, strategy_period=_PERIOD)
                self._poller.add_executors([executor])
        except Exception as error:
            self._shut()
            raise EngineFailed(f"Parsl's executor {executor.label!r} does not start: {text_of(error)}") from error

    def _call(self, parcel: Parcel) -> Any:
        return self._executor.submit(run, {}, parcel.blob)

    def _withdraw(self, parcel: Parcel) -> None:
        """Nothing: most of Parsl's executors cannot take a task back, and break when its future is cancelled."""

    def _translated(self, error: BaseException) -> BaseException:
        return _translated(error)

    def _shut(self) -> None:
        try:
            if self._poller is not None:
                self._poller.close()
        finally:
            try:
                with contextlib.suppress(AttributeError):  # it has not started
                    self._executor.shutdown()
            finally:
                shutil.rmtree(self._folder, ignore_errors=True)


def _workers_of(executor: Any) -> int:
    for name in ("max_threads", "max_workers"):
        count = getattr(executor, name, None)
        if isinstance(count, int) and count > 0:
            return count
    provider = getattr(executor, "provider", None)
    per_node = getattr(executor, "workers_per_node", None)
    if provider is not None and isinstance(per_node, int | float):
        return max(1, int(per_node) * int(provider.nodes_per_block) * int(provider.max_blocks))
    return os.cpu_count() or 1


def _translated(error: BaseException) -> BaseException:
    from parsl.executors.errors import BadStateException
    from parsl.executors.high_throughput.errors import ManagerLost, VersionMismatch
    from parsl.executors.high_throughput.errors import WorkerLost as ParslWorkerLost

    if isinstance(error, ManagerLost | ParslWorkerLost):
        return WorkerLost(f"a worker of Parsl died: {error}")
    if isinstance(error, BadStateException | VersionMismatch):
        return EngineFailed(f"Parsl's executor has failed: {error}")
    return error


def _addresses(own: str) -> list[str]:
    """Return all by which a node may reach this host. None of them is asked for anywhere else."""
    import psutil  # type: ignore[import-untyped, unused-ignore]  # Parsl brings it

    found = {own: None}
    for name, entries in psutil.net_if_addrs().items():
        for entry in entries:
            if entry.family.name in ("AF_INET", "AF_INET6") and not entry.address.startswith("fe80") and name != "lo":
                found[entry.address.partition("%")[0]] = None
    return [*found, "127.0.0.1"]
