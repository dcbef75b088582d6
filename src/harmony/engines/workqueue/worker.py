"""One worker as its manager sees it: greeting, what it has, what it runs, what it has been sent. No scheduling."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from harmony.engines.workqueue import wire
from harmony.engines.workqueue.loop import Connection


class Outcome(NamedTuple):
    """How a task of Work Queue ended.

    `status` is the worker's word: `wire.ENDED`, `wire.OVERTIME`, `wire.FORSAKEN`; None when the worker was lost first.
    `exit_code` is the shell's; a command killed by a signal has its number there. `stdout` has stderr in it too.
    `outputs` are the contents of the files that were asked for, None for one that is not there.
    """

    status: int | None
    exit_code: int = 0
    stdout: bytes = b""
    seconds: float = 0.0
    outputs: Mapping[str, bytes | None] = {}


@dataclass(slots=True)
class Running:
    """A task that a worker was sent."""

    number: int
    order: wire.Order
    words: tuple[str, ...] = ()
    stdout: bytes = b""
    outputs: dict[str, bytes | None] = field(default_factory=dict)

    def outcome(self) -> Outcome:
        """Return how it ended; what came back has come."""
        status, code, _, micros = map(int, self.words[1:5])
        return Outcome(status, code, self.stdout, micros / 1e6, self.outputs)


class Audience(Protocol):
    """Who is told of workers, in the loop's thread."""

    def joined(self, worker: Worker) -> None:
        """A worker has said what it has."""
        ...

    def left(self, worker: Worker) -> None:
        """A worker that had joined is gone, with what it ran; the reason is in `fault`."""
        ...

    def ended(self, worker: Worker, number: int, outcome: Outcome) -> None:
        """A task has ended; the worker has forgotten it."""
        ...

    def guest(self, connection: Connection, words: tuple[str, ...], rest: bytes) -> None:
        """Someone else than a worker has come, who said ``harmony`` and some words; the connection is yours."""
        ...


class Worker:
    """See the module. `name` is its host's; `features` are the words it was started with; it came to `address`."""

    def __init__(self, connection: Connection, password: bytes | None, audience: Audience) -> None:
        self.name = "?"
        self.features: set[str] = set()
        self.resources = {"cores": 0, "memory": 0, "disk": 0, "gpus": 0}
        self.free = dict(self.resources)
        self.running: dict[int, Running] = {}
        self.fault = ""
        self.address: tuple[str, int] = connection.address[:2]
        self.was_heard = True
        self.has_joined = False
        self._is_gone = False
        self._connection = connection
        self._audience = audience
        self._password = password
        self._keeper = None if password is None else wire.Gatekeeper(password)
        self._is_greeted = False
        self._kept: set[str] = set()
        self._fetching: dict[str, tuple[Running, str]] = {}
        self._reader = wire.Reader()
        self._on: dict[str, Callable[[wire.Message], None]] = {
            "workqueue": self._greet,
            "feature": lambda message: self.features.add(message.words[1]),
            "resource": self._learn,
            "info": self._note,
            "available_results": lambda _: connection.send(b"send_results -1\n"),
            "result": self._take_result,
            "file": self._take_file,
            "missing": self._take_file,
            "dir": self._take_file,
        }
        connection.handler = self

    # -- for the manager -------------------------------------------------------------------------------

    def fits(self, order: wire.Order) -> bool:
        """True when what the task takes is free here."""
        return all(self.free[name] >= amount for name, amount in _amounts(order).items())

    def start(self, number: int, order: wire.Order) -> None:
        """Have it run a task, sending what it does not keep yet."""
        for content in order.inputs.values():
            name = wire.cached_name(content)
            if name not in self._kept:
                self._kept.add(name)
                self._connection.send(wire.put(name, content))
        self._take(order, 1)
        self.running[number] = Running(number, order)
        self._connection.send(wire.task(number, order))

    def kill(self, number: int) -> bool:
        """End a task, which is not told of any more; False when it does not run here.

        A worker of protocol 9 does nothing else for the three seconds that it gives the task to end.
        """
        running = self.running.get(number)
        if running is not None:
            self._forget(running)
        return running is not None

    def check(self) -> None:
        """Ask for a sign of life. Closes the connection when the last one has not come."""
        if self.was_heard:
            self.was_heard = False
            self._connection.send(b"check\n")
        else:
            self.drop("it does not answer")

    def nudge(self) -> None:
        """Wake it if it has tasks: Debian's sometimes sleeps on when one ends just before it falls asleep."""
        if self.running:
            self._connection.send(b"check\n")

    def drop(self, fault: str) -> None:
        """Part from it. Tasks that it runs are lost."""
        self.fault = self.fault or fault
        self._connection.close()

    def dismiss(self) -> None:
        """Let it end, and all that it runs."""
        self._connection.send(b"exit\n")

    # -- the connection ---------------------------------------------------------------------------------

    def received(self, data: bytes) -> None:
        """See `Handler`."""
        self.was_heard = True
        try:
            for message in self._reader.feed(data):
                if not self._is_greeted and message.words[0] == "harmony":
                    self._connection.handler = None
                    self._audience.guest(self._connection, message.words, self._reader.rest())
                    return
                if not self._is_greeted:
                    self._before(message)
                elif (act := self._on.get(message.words[0])) is not None:
                    act(message)
                if self._is_gone:
                    return
        except (wire.ProtocolError, ValueError, IndexError) as error:
            self.drop(f"what it says makes no sense: {error}")

    def closed(self) -> None:
        """See `Handler`."""
        self._is_gone = True
        self.fault = self.fault or "it has gone"
        if self.has_joined:
            self._audience.left(self)

    def _before(self, message: wire.Message) -> None:
        if self._keeper is None:
            if message.words[0] == "auth":
                raise wire.ProtocolError("it has a password, and this manager has none")
            self._is_greeted = self._reader.trusted = True
            self._on["workqueue"](message)
        elif message.words[0] == "workqueue":
            self._connection.send(b"auth\n")  # it says that a password is wanted, and ends
        else:
            said = self._keeper.hear(message.words)
            self._is_greeted = self._reader.trusted = said is None
            self._connection.send(said or b"")

    def _greet(self, message: wire.Message) -> None:
        protocol, self.name = int(message.words[1]), message.words[2]
        if protocol not in wire.PROTOCOLS:
            known = " and ".join(map(str, sorted(wire.PROTOCOLS)))
            raise wire.ProtocolError(f"it speaks protocol {protocol}; {known} are known here")

    def _learn(self, message: wire.Message) -> None:
        name, total = message.words[1], int(float(message.words[2]))
        if name in self.resources:
            self.free[name] += total - self.resources[name]
            self.resources[name] = total

    def _note(self, message: wire.Message) -> None:
        if message.words[1] == "end_of_resource_update" and not self.has_joined:
            self.has_joined = True
            self._audience.joined(self)
        elif message.words[1] == "vacating":
            self.fault = "it was told to end"

    def _take_result(self, message: wire.Message) -> None:
        running = self.running.get(int(message.words[5]))
        if running is None:
            return  # it was killed
        running.words, running.stdout = message.words, message.data
        for place, name in enumerate(running.order.outputs):
            kept = wire.output_name(running.number, place)
            self._fetching[kept] = running, name
            self._connection.send(f"get {kept} 1\n".encode())
        self._finish(running)

    def _take_file(self, message: wire.Message) -> None:
        running, name = self._fetching.pop(message.words[1], (None, ""))
        if running is not None and running.number in self.running:
            running.outputs[name] = message.data if message.words[0] == "file" else None
            self._finish(running)

    def _finish(self, running: Running) -> None:
        if len(running.outputs) == len(running.order.outputs):
            self._forget(running)
            self._audience.ended(self, running.number, running.outcome())

    def _forget(self, running: Running) -> None:
        del self.running[running.number]
        self._take(running.order, -1)
        self._connection.send(f"kill {running.number}\n".encode())
        for place in range(len(running.order.outputs)):
            self._connection.send(f"unlink {wire.output_name(running.number, place)}\n".encode())

    def _take(self, order: wire.Order, sign: int) -> None:
        for name, amount in _amounts(order).items():
            self.free[name] -= sign * amount


def _amounts(order: wire.Order) -> dict[str, int]:
    return {"cores": order.cores, "memory": order.memory or 0, "disk": order.disk or 0, "gpus": order.gpus}
