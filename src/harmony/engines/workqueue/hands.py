"""One crew as its driver sees it: its hands, what they were given, and what of its worker is free."""

from __future__ import annotations

import secrets
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harmony.engines.workqueue import frames
from harmony.engines.workqueue.loop import Connection
from harmony.engines.workqueue.worker import Worker

if TYPE_CHECKING:
    from harmony.engines.workqueue.crews import Crews


@dataclass(eq=False, slots=True)
class Load:
    """A parcel, and what it takes of a worker. `memory` is in megabytes; `is_short` ones may wait at a hand."""

    number: int
    blob: bytes
    cores: int = 1
    memory: int = 0
    gpus: int = 0
    is_short: bool = False
    is_withdrawn: bool = False
    hand: Hand | None = None
    devices: tuple[int, ...] = ()

    def __str__(self) -> str:
        return f"{self.cores} cores, {self.gpus} GPUs and {self.memory} MiB of memory"


class Crew:
    """One crew: its hands, and what of its worker is free."""

    def __init__(self, worker: Worker, memory: int) -> None:
        self.worker = worker
        self.most = {"cores": worker.resources["cores"], "memory": memory, "gpus": worker.resources["gpus"]}
        self.secret = secrets.token_hex(32)
        self.task = 0
        self.control: Connection | None = None
        self.hands: dict[int, Hand] = {}
        self.idle: list[Hand] = []
        self.dying: dict[int, Hand] = {}
        self.deaths: dict[int, int] = {}
        self.cores, self.memory = self.most["cores"], memory
        self.gpus = list(range(self.most["gpus"]))
        self.has_worked = False

    def fits(self, load: Load) -> bool:
        """True when a hand is idle and what the parcel takes is free."""
        return bool(
            self.idle and self.cores >= load.cores and self.memory >= load.memory and len(self.gpus) >= load.gpus
        )

    def could(self, load: Load) -> bool:
        """True when the parcel could run here if nothing else did."""
        most = self.most
        return most["cores"] >= load.cores and most["memory"] >= load.memory and most["gpus"] >= load.gpus

    def take(self, load: Load) -> Hand:
        """Note that a parcel takes its share; return the hand for it."""
        self.cores -= load.cores
        self.memory -= load.memory
        load.devices = tuple(self.gpus[: load.gpus])
        del self.gpus[: load.gpus]
        return self.idle.pop()

    def release(self, load: Load) -> None:
        """Note that a parcel's share is free again."""
        self.cores += load.cores
        self.memory += load.memory
        self.gpus = sorted([*self.gpus, *load.devices])


class Hand:
    """One process that runs parcels, and its connection."""

    def __init__(self, crews: Crews, crew: Crew, connection: Connection, index: int, pid: int) -> None:
        self.crew, self.index, self.pid = crew, index, pid
        self.loads: deque[Load] = deque()
        self.is_leaving = False
        self._crews = crews
        self._connection = connection
        self._held = bytearray()
        connection.handler = self

    def give(self, load: Load) -> None:
        """Send a parcel."""
        self.loads.append(load)
        load.hand = self
        devices = ",".join(map(str, load.devices)).encode()
        self._connection.send(frames.TO_HAND.pack(load.number, len(load.blob), len(devices)) + devices + load.blob)

    def received(self, data: bytes) -> None:
        """See `Handler`."""
        held, size = self._held, frames.TO_DRIVER.size
        held += data
        while len(held) >= size:
            number, length, self.is_leaving = frames.TO_DRIVER.unpack_from(held)
            if len(held) < size + length:
                return
            answer = bytes(memoryview(held)[size : size + length])
            del held[: size + length]
            if not self.loads or self.loads[0].number != number:
                self._connection.close()  # it is out of its mind
                return
            self._crews.answered(self, answer)

    def closed(self) -> None:
        """See `Handler`."""
        self._crews.died(self)

    def end(self) -> None:
        """Close the connection; the process ends when it has nothing to run."""
        self._connection.close()
