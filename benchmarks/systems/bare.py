"""The least that running a command can cost: `os.posix_spawn` and wait, without anything around it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from benchmarks.systems.base import System


class _Bare(System):
    statement = "import os"
    measures: ClassVar[frozenset[str] | None] = frozenset({"commands"})
    in_processes = False

    def open(self, workers: int, scratch: Path) -> None:
        self.in_flight = workers

    def close(self) -> None:
        pass

    def commands(self, argv: Sequence[str], count: int) -> None:
        running = 0
        for _ in range(count):
            os.posix_spawn(argv[0], [*argv], os.environ)
            running += 1
            if running == self.in_flight:
                self._reap()
                running -= 1
        for _ in range(running):
            self._reap()

    def _reap(self) -> None:
        _, status = os.waitpid(-1, 0)
        assert status == 0


class OneAtATime(_Bare):
    """Start, wait, start the next."""

    label = "posix_spawn, 1 at a time"

    def open(self, workers: int, scratch: Path) -> None:
        self.in_flight = 1


class AsManyAsWorkers(_Bare):
    """As many in flight as the others have workers."""

    label = "posix_spawn, 2 in flight"
