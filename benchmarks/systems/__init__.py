"""The systems that are compared, by name, in the order of the tables."""

from __future__ import annotations

from importlib import import_module

from benchmarks.systems.base import System

#: name on the command line → module and class; a module is imported only where its system is measured.
SYSTEMS: dict[str, str] = {
    "bare": "bare:OneAtATime",
    "bare-2": "bare:AsManyAsWorkers",
    "threads": "stdlib:Threads",
    "processes": "stdlib:Processes",
    "harmony": "harmony:Local",
    "harmony-recorded": "harmony:Recorded",
    "harmony-threads": "harmony:InThreads",
    "parsl-htex": "parsl:HighThroughput",
    "parsl-threads": "parsl:Threads",
    "dask": "dask:Dask",
    "executorlib": "executorlib:Executorlib",
    "loky": "loky:Loky",
    "ipyparallel": "ipyparallel:IPyParallel",
    "ray": "ray:Ray",
}


def system(name: str) -> System:
    """A new instance of the system; its packages are imported when it is opened."""
    module, kind = SYSTEMS[name].split(":")
    made: System = getattr(import_module(f"benchmarks.systems.{module}"), kind)()
    return made
