"""Blocks: the base of engines whose workers are started in jobs, by a `Fleet`, and come to the driver."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harmony.core.engine import Capacity, Notice, Update
from harmony.core.task import TaskState
from harmony.engines._futures import FuturesEngine
from harmony.errors import EngineFailed
from harmony.pilots import BlockEnded, BlockQueued, BlockRunning, Exhausted, Fact, Fleet
from harmony.resources import check_whole
from harmony.sites import Site, here, site


class BlockEngine(FuturesEngine):
    """See the module, and `FuturesEngine`. A subclass says how to `_serve`, and what `_command` a node starts.

    `workers` is how many there are on each node; what the site says of its nodes, or the cores of this machine, by
    default. Without a `site` they are started on this machine. `address` is this host's as the nodes know it.
    `folder` is private, there from `_serve` to `_stop_serving`, and seen by the nodes.
    """

    def __init__(
        self,
        workers: int | None = None,
        *,
        site: str | Site | None = None,
        cores: int = 1,
        address: str | None = None,
    ) -> None:
        super().__init__(cores=cores)
        if workers is not None:
            check_whole("workers", workers, 1)
        check_whole("cores", cores, 1)
        self.site = here(workers) if site is None else _site(site)
        self._per_node = workers or max(1, (self.site.cores_per_node or os.cpu_count() or 1) // cores)
        self._share = max(cores, (self.site.cores_per_node or 0) // self._per_node)
        self._busy: dict[str, int] | None = None
        self._fleet = Fleet(self.site, self._command, name=self.name, tell=self._told)
        self._counts: dict[str, int] = {}
        self.is_here = self.site.scheduler == "local"
        self.address = address or ("127.0.0.1" if self.is_here else _own_address())
        self.folder = Path()

    # -- what a subclass gives ---------------------------------------------------------------------------

    def _serve(self) -> None:
        """Get ready for workers to come. Raises as `_open`, and then holds nothing."""

    def _command(self, block: str) -> Sequence[str]:
        """Return the program that is started on each node of a block, and that starts its workers."""
        raise NotImplementedError

    def _stop_serving(self) -> None:
        """Release everything; the blocks are gone."""

    # -- what a subclass says ------------------------------------------------------------------------------

    def _connected(self, block: str, workers: int) -> None:
        """So many workers of this block are there now. From any thread."""
        self._inbox.put(lambda: self._count(block, workers))

    # -- for the base --------------------------------------------------------------------------------------

    @property
    def capacity(self) -> Capacity:
        """One worker's cores, and as many workers as the largest number of blocks has."""
        most = self.site.blocks.max * self.site.nodes * self._per_node
        return Capacity(cores=self._cores, workers=most, walltime=self._fleet.walltime)

    def _open(self) -> None:
        self.folder = _private_folder(self.name, is_here=self.is_here)
        try:
            self._serve()
            try:
                self._fleet.start()
            except BaseException:
                self._stop_serving()
                raise
        except BaseException:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise

    def _fed(self, waiting: int, running: int) -> None:
        held, most = self._feeder.held, self._fleet.walltime
        if (
            held is not None and most is not None and held > most
        ):  # blocks have turned out to give less than they should
            error = EngineFailed(
                f"a block of site {self.site.name!r} gives a task {most:g} s, and this one asks for more"
            )
            dropped = self._feeder.drop_longer(most)
            self._tell([Update(submission.id, TaskState.FAILED, error=error) for submission in dropped])
            waiting -= len(dropped)
        self._fleet.demand(waiting * self._share, running * self._share, self._busy, longest=held)

    def _remaining(self) -> float | None:
        return self._fleet.remaining()

    def _shut(self) -> None:
        try:
            self._fleet.close()
        finally:
            try:
                self._stop_serving()
            finally:
                shutil.rmtree(self.folder, ignore_errors=True)

    def _count(self, block: str, workers: int) -> None:
        if workers:
            self._counts[block] = workers
        else:
            self._counts.pop(block, None)
        self._fleet.connected(block, workers)
        self._feeder.workers = sum(self._counts.values())

    def _told(self, fact: Fact) -> None:
        """Take note of what has become of a block. From the fleet's thread."""
        if isinstance(fact, Exhausted):
            self._fail_all(fact.error)
        else:
            self._inbox.put(lambda: self._note(fact))

    def _note(self, fact: Fact) -> None:
        if isinstance(fact, BlockEnded):
            self._counts.pop(fact.block, None)
            self._feeder.workers = sum(self._counts.values())
        report = self._report
        if report is not None:
            report([_notice(self.name, fact)])


def _private_folder(engine: str, *, is_here: bool) -> Path:
    if is_here:
        return Path(tempfile.mkdtemp(prefix=f"harmony-{engine}-"))
    shared = Path.home() / ".harmony" / "engines"
    shared.mkdir(mode=0o700, parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(prefix=f"{engine}-", dir=shared))


def _own_address() -> str:
    """Return the address by which other hosts reach this one. Nothing is sent."""
    try:
        named = socket.gethostbyname(socket.gethostname())
    except OSError:
        named = "127."
    if not named.startswith("127."):
        return named
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("10.255.255.255", 9))
            return str(probe.getsockname()[0])
        except OSError:
            return "127.0.0.1"


def _site(given: str | Site) -> Site:
    return given if isinstance(given, Site) else site(given)


def _notice(engine: str, fact: Any) -> Notice:
    kind = {BlockQueued: "block.queued", BlockRunning: "block.running", BlockEnded: "block.ended"}[type(fact)]
    data = {"engine": engine}
    if isinstance(fact, BlockQueued):
        data["job"] = fact.native_id
    elif isinstance(fact, BlockEnded):
        data["reason"] = fact.reason
    return Notice(0, kind, fact.block, data)
