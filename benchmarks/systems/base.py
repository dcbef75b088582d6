"""System: what a measure needs of anything that runs tasks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

from benchmarks import work


class System:
    """One system under test, with `submit` as it comes from `concurrent.futures` unless said otherwise.

    Each is used the way its own manual recommends for speed: its bulk calls, its futures as arguments.
    """

    #: what the tables call it
    label: ClassVar[str]
    #: what pip calls it; "" is the standard library
    distribution: ClassVar[str] = ""
    #: what Python imports it as
    package: ClassVar[str] = "concurrent"
    #: what a program imports before it can do anything
    statement: ClassVar[str]
    #: the smallest program; it ends by calling `first()` with the first result at hand
    program: str = ""
    #: the measures it takes part in; None is all
    measures: ClassVar[frozenset[str] | None] = None
    #: a future may be an argument; otherwise the driver waits for it and passes its result on
    takes_futures: ClassVar[bool] = True
    #: share of the tasks it is given in a quick run, so that slow systems end, too
    pace: ClassVar[float] = 1.0
    #: its workers are processes of their own
    in_processes: ClassVar[bool] = True
    #: how many it was opened with
    workers: int = 2

    @classmethod
    def is_installed(cls) -> bool:
        """Whether it can be measured here."""
        return find_spec(cls.package) is not None

    def open(self, workers: int, scratch: Path) -> None:
        """Start it; files go to `scratch`."""
        raise NotImplementedError

    def close(self) -> None:
        """End it."""
        raise NotImplementedError

    def submit(self, fn: Callable[..., Any], *args: Any) -> Any:
        """Run ``fn(*args)`` on a worker; returns a future."""
        raise NotImplementedError

    def result(self, future: Any) -> Any:
        """Wait for one."""
        return future.result()

    def results(self, futures: Sequence[Any]) -> list[Any]:
        """Wait for all."""
        return [future.result() for future in futures]

    def is_done(self, future: Any) -> bool:
        """Whether it has ended."""
        return bool(future.done())

    def submit_many(self, fn: Callable[[], Any], count: int) -> Sequence[Any]:
        """Run ``fn()`` many times."""
        return [self.submit(fn) for _ in range(count)]

    def many(self, fn: Callable[[], Any], count: int) -> list[Any]:
        """Run ``fn()`` many times and wait."""
        return self.results(self.submit_many(fn, count))

    def chain(self, length: int) -> int:
        """Run `length` tasks, each on the result of the one before."""
        value: Any = 0
        for _ in range(length):
            value = self.submit(work.step, value)
            if not self.takes_futures:
                value = self.result(value)
        return int(self.result(value) if self.takes_futures else value)

    def fan_in(self, count: int) -> int:
        """Run `count` tasks, then one on all their results."""
        leaves: Sequence[Any] = self.submit_many(work.one, count)
        if not self.takes_futures:
            leaves = self.results(leaves)
        return int(self.result(self.submit(work.total, leaves)))

    def commands(self, argv: Sequence[str], count: int) -> None:
        """Run a command many times and wait."""
        self.results([self.submit(work.run_command, argv) for _ in range(count)])
