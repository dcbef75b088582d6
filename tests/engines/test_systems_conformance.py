"""Engines over systems that pip installs keep what every engine promises."""

from __future__ import annotations

import importlib.util
from typing import ClassVar

import pytest

from harmony.conformance.engines import EngineSuite
from harmony.core.mpi import find_launcher


def needs(package: str, extra: str) -> pytest.MarkDecorator:
    """Skip where it is not installed."""
    missing = importlib.util.find_spec(package) is None
    return pytest.mark.skipif(missing, reason=f"{package} is not installed: pip install 'harmony-workflows[{extra}]'")


class TestFutures(EngineSuite):
    """A pool of processes of the standard library."""

    engine = "harmony.engines.futures:ExecutorEngine"
    shares = True


@needs("distributed", "dask")
class TestDask(EngineSuite):
    """A scheduler in the driver, and two workers of this machine."""

    engine = "harmony.engines.dask:DaskEngine"
    shares = True
    slow_levels = ("faults",)
    patience: ClassVar = 60.0


@needs("executorlib", "executorlib")
class TestExecutorlib(EngineSuite):
    """Two executors of one worker."""

    engine = "harmony.engines.executorlib:ExecutorlibEngine"
    shares = True
    slow_levels = ("faults",)


@needs("ipyparallel", "ipyparallel")
class TestIPyParallel(EngineSuite):
    """A controller beside the driver, and two engines of this machine."""

    engine = "harmony.engines.ipyparallel:IPyParallelEngine"
    shares = True
    slow_levels = ("faults",)
    patience: ClassVar = 60.0


@pytest.mark.skipif(find_launcher() is None, reason="there is no mpiexec on the PATH: pip install mpich")
@needs("mpi4py", "mpi")
class TestMPI(EngineSuite):
    """Three ranks of one MPI program, of which one serves the others."""

    engine = "harmony.engines.mpi:MPIEngine"
    shares = True


@needs("ray", "ray")
class TestRay(EngineSuite):
    """A Ray of our own, with two cores."""

    engine = "harmony.engines.ray:RayEngine"
    shares = True
    slow_levels = ("faults",)
    patience: ClassVar = 60.0
