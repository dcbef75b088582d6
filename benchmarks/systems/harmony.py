"""Harmony: decorated functions called inside a workflow, as a user writes them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

from benchmarks import work
from benchmarks.systems.base import System


class Local(System):
    """Worker processes, the embedded default; nothing is recorded, as the peers record nothing."""

    label = "Harmony, local"
    distribution = "harmony-workflows"
    package = "harmony"
    statement = "from harmony import File, Workflow, command, task"
    engine: str = "local"
    recorded: ClassVar[bool] = False
    program = """
from harmony import Workflow, task
with Workflow("first", engine="local", workers=2, store=False):
    assert task(double)(21).result() == 42
    first()
"""

    def open(self, workers: int, scratch: Path) -> None:
        from harmony import Workflow, command, task

        store = scratch / ".harmony" if self.recorded else False
        self.workflow = Workflow("benchmark", engine=self.engine, workers=workers, store=store)
        self.workflow.__enter__()
        self.task = task
        self.command = command
        self.tasks: dict[Callable[..., Any], Any] = {}

    def close(self) -> None:
        self.workflow.__exit__(None, None, None)

    def _task(self, fn: Callable[..., Any]) -> Any:
        if fn not in self.tasks:
            self.tasks[fn] = self.task(fn)
        return self.tasks[fn]

    def submit(self, fn: Callable[..., Any], *args: Any) -> Any:
        return self._task(fn)(*args)

    def submit_many(self, fn: Callable[[], Any], count: int) -> Sequence[Any]:
        task = self._task(fn)
        return [task() for _ in range(count)]

    def results(self, futures: Sequence[Any]) -> list[Any]:
        gathered: list[Any] = self.workflow.gather(futures)
        return gathered

    def commands(self, argv: Sequence[str], count: int) -> None:
        run = self.command(work.arguments)
        self.results([run(*argv) for _ in range(count)])


class Recorded(Local):
    """As it comes: every task is recorded in a store, and could be resumed."""

    label = "Harmony, local, recorded"
    recorded = True
    program = Local.program.replace(", store=False", "")


class Through(Local):
    """The same workflow on another system."""

    label = "Harmony"

    def __init__(self, engine: str) -> None:
        """`engine`: its name."""
        self.engine = engine
        self.program = f"""
from harmony import Workflow, task
if __name__ == "__main__":
    with Workflow("first", engine="{engine}", workers=2, store=False):
        assert task(double)(21).result() == 42
        first()
"""


class InThreads(Local):
    """The same workflow on threads, to tell the kernel's cost from the engine's."""

    label = "Harmony, threads"
    engine = "threads"
    in_processes = False
    program = Local.program.replace('"local"', '"threads"')
