"""What the tests of fleets share: fleets that tell what befalls them, and workers that tell where they run."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pytest
from tests.engines.rig import PATIENCE, News
from tests.jobs import systems

from harmony.jobs import JobExecutorConfig
from harmony.pilots import BlockEnded, BlockQueued, BlockRunning, Exhausted, Fact, Fleet
from harmony.sites import Blocks, Site

F = TypeVar("F", bound=Fact)

#: Tells its block and stays, as a worker does that is connected.
WORKER = 'echo "$HARMONY_BLOCK" > {news}; exec sleep 1000'


class Told:
    """A fleet, and all that it has told."""

    def __init__(self, site: Site, command: Callable[[str], Sequence[str]], config: JobExecutorConfig | None) -> None:
        self.fleet = Fleet(site, command, name="test", tell=self._tell, config=config)
        self.facts: list[Fact] = []
        self._news: queue.SimpleQueue[Fact] = queue.SimpleQueue()

    def _tell(self, fact: Fact) -> None:
        self.facts.append(fact)
        self._news.put(fact)

    def hear(self, kind: type[F], seconds: float = PATIENCE) -> F:
        """Wait for a fact of that kind, leaving out others."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                fact = self._news.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise AssertionError(f"no {kind.__name__} within {seconds:g} s, but {self.facts}") from None
            if isinstance(fact, kind):
                return fact

    def block(self) -> str:
        """Wait until a block runs, have its worker connect, and return its id."""
        running = self.hear(BlockRunning)
        self.fleet.connected(running.block, 1)
        return running.block

    def of(self, kind: type[F]) -> list[F]:
        """All facts of a kind so far."""
        return [fact for fact in self.facts if isinstance(fact, kind)]


class Harbour:
    """Makes fleets on one batch system, and closes them when the test ends."""

    def __init__(self, folder: Path, scheduler: str = "local", **settings: Any) -> None:
        self.work = folder / "work"
        self.news = News(folder / "news")
        self.scheduler = scheduler
        self.config = None if scheduler == "local" else systems.config(self.work, **settings)
        self._made: list[Told] = []

    def site(self, *, blocks: Blocks | None = None, **more: Any) -> Site:
        """Return a site of one-core nodes."""
        given = {"cores_per_node": 1, "work_directory": str(self.work), "blocks": blocks or Blocks(), **more}
        return Site("harbour", scheduler=self.scheduler, **given)

    def fleet(self, site: Site | None = None, program: str = WORKER) -> Told:
        """Return a started fleet, of workers that run this shell program."""
        text = program.format(news=self.news.path)
        made = Told(site or self.site(), lambda _: ["/bin/sh", "-c", text], self.config)
        self._made.append(made)
        made.fleet.start()
        return made

    def directories(self) -> list[Path]:
        """The directories of fleets that are still there."""
        return list((self.work / "pilots").glob("*"))

    def close(self) -> None:
        for told in self._made:
            told.fleet.close()
        self.news.close()


@pytest.fixture
def harbour(tmp_path: Path) -> Iterator[Harbour]:
    """Fleets on this machine."""
    made = Harbour(tmp_path)
    yield made
    made.close()


__all__ = [
    "WORKER", "BlockEnded", "BlockQueued", "BlockRunning", "Exhausted", "Harbour", "Told", "harbour",
]  # fmt: skip
