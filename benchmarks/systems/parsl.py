"""Parsl through its kernel, with the settings it comes with: default logging, default strategy."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import work
from benchmarks.systems.base import System


def _monitoring(scratch: Path, *, resources: bool) -> dict[str, Any]:
    from parsl.monitoring import MonitoringHub

    endpoint = f"sqlite:///{scratch}/monitoring.db"
    return {"monitoring": MonitoringHub(logging_endpoint=endpoint, resource_monitoring_enabled=resources)}


def _checkpoints(scratch: Path) -> dict[str, Any]:
    """What each task came to is found again: the mode in which nothing is lost when the driver is killed."""
    from parsl.dataflow.memoization import BasicMemoizer

    return {"memoizer": BasicMemoizer(checkpoint_mode="task_exit")}


#: Settings beside the executor.
_KEEPS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "monitoring": partial(_monitoring, resources=True),
    "monitoring-tasks": partial(_monitoring, resources=False),
    "checkpoints": _checkpoints,
}


class _Parsl(System):
    distribution = "parsl"
    package = "parsl"
    statement = "import parsl"

    def __init__(self, keeps: str = "") -> None:
        """`keeps`: what it records, with settings as they come: "" for nothing, or a key of `_KEEPS`."""
        self.keeps = keeps

    def executor(self, workers: int) -> Any:
        """The executor inside the configuration."""
        raise NotImplementedError

    def open(self, workers: int, scratch: Path) -> None:
        import parsl

        self.parsl = parsl
        self.apps: dict[Callable[..., Any], Any] = {}
        executor = self.executor(workers)
        kept = _KEEPS[self.keeps](scratch) if self.keeps else {}
        parsl.load(parsl.Config(executors=[executor], run_dir=str(scratch / "runinfo"), usage_tracking=0, **kept))

    def close(self) -> None:
        self.parsl.dfk().cleanup()
        self.parsl.clear()

    def submit(self, fn: Callable[..., Any], *args: Any) -> Any:
        if fn not in self.apps:
            self.apps[fn] = self.parsl.python_app(fn, cache=self.keeps == "checkpoints")
        return self.apps[fn](*args)

    def fan_in(self, count: int) -> int:
        leaves = self.submit_many(work.one, count)
        total = self.parsl.python_app(work.total_inputs)  # futures in a list are found only in `inputs`
        return int(total(inputs=leaves).result())

    def commands(self, argv: Sequence[str], count: int) -> None:
        run = self.parsl.bash_app(work.shell_line)
        line = " ".join(argv)
        self.results([run(line) for _ in range(count)])


class HighThroughput(_Parsl):
    """Pilot workers, Parsl's default choice."""

    label = "Parsl HTEX"
    pace = 0.2
    program = """
import parsl, tempfile
from parsl.executors import HighThroughputExecutor
from parsl.providers import LocalProvider
htex = HighThroughputExecutor(address="127.0.0.1", max_workers_per_node=2, provider=LocalProvider(max_blocks=1))
with tempfile.TemporaryDirectory() as folder:
    with parsl.load(parsl.Config(executors=[htex], run_dir=folder, usage_tracking=0)):
        assert parsl.python_app(double)(21).result() == 42
        first()
"""

    def executor(self, workers: int) -> Any:
        return _htex(workers)


class WithoutKernel(System):
    """Its executor alone, as Globus Compute drives it: `submit` of the executor, a block that is asked for at once."""

    label = "Parsl HTEX without its kernel"
    distribution = "parsl"
    package = "parsl"
    statement = "from parsl.executors import HighThroughputExecutor"
    takes_futures = False
    pace = 0.2
    program = """
import tempfile, uuid
from parsl.executors import HighThroughputExecutor
from parsl.providers import LocalProvider
htex = HighThroughputExecutor(address="127.0.0.1", max_workers_per_node=2, provider=LocalProvider(max_blocks=1))
with tempfile.TemporaryDirectory() as folder:
    htex.run_dir, htex.run_id, htex.provider.script_dir = folder, str(uuid.uuid4()), folder
    htex.start()
    htex.scale_out_facade(1)
    assert htex.submit(double, {}, 21).result() == 42
    first()
    htex.scale_in_facade(1)
    htex.shutdown()
"""

    def open(self, workers: int, scratch: Path) -> None:
        self.htex = _htex(workers)
        self.htex.run_dir = self.htex.provider.script_dir = str(scratch)
        self.htex.run_id = str(uuid.uuid4())
        self.htex.start()
        self.htex.scale_out_facade(1)

    def close(self) -> None:
        self.htex.scale_in_facade(1)
        self.htex.shutdown()

    def submit(self, fn: Callable[..., Any], *args: Any) -> Any:
        return self.htex.submit(fn, {}, *args)


def _htex(workers: int) -> Any:
    from parsl.executors import HighThroughputExecutor
    from parsl.providers import LocalProvider

    provider = LocalProvider(init_blocks=1, max_blocks=1)
    return HighThroughputExecutor(address="127.0.0.1", max_workers_per_node=workers, provider=provider)


class Threads(_Parsl):
    """Parsl's kernel alone."""

    label = "Parsl threads"
    pace = 0.2
    in_processes = False
    program = """
import parsl, tempfile
from parsl.executors import ThreadPoolExecutor
with tempfile.TemporaryDirectory() as folder:
    config = parsl.Config(executors=[ThreadPoolExecutor(max_threads=2)], run_dir=folder, usage_tracking=0)
    with parsl.load(config):
        assert parsl.python_app(double)(21).result() == 42
        first()
"""

    def executor(self, workers: int) -> Any:
        from parsl.executors import ThreadPoolExecutor

        return ThreadPoolExecutor(max_threads=workers)
