"""The manager of a Work Queue: takes in workers that come and go, and gives each task to one that has what it takes.

    who submits ──submit, cancel──▶ Manager ──▶ Worker ──bytes──▶ work_queue_worker (one connection each)
                ◀──── Audience ────         ◀──        ◀──

All of it happens in the thread of a `Loop`, nothing in it blocks, and a slow worker delays no other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from harmony.engines.workqueue.loop import Connection, Loop
from harmony.engines.workqueue.wire import Order
from harmony.engines.workqueue.worker import Outcome, Worker

#: Seconds between two signs of life of a worker, between two nudges, and those that a stranger has to greet.
CHECK_EVERY, NUDGE_EVERY, GREETING = 60.0, 5.0, 30.0


class Host(Protocol):
    """Who runs the queue; told in the loop's thread."""

    def joined(self, worker: Worker) -> None:
        """A worker has come."""
        ...

    def left(self, worker: Worker) -> None:
        """A worker has gone; each task that it ran has been told of as lost."""
        ...

    def ended(self, number: int, outcome: Outcome) -> None:
        """A task has ended."""
        ...

    def guest(self, connection: Connection, words: tuple[str, ...], rest: bytes) -> None:
        """See `Audience`."""
        ...


class Manager:
    """See the module. `password` is the content of the file that workers are given with ``--password``; None: none."""

    def __init__(self, loop: Loop, password: bytes | None, host: Host) -> None:
        self.workers: list[Worker] = []
        self._loop = loop
        self._password = password
        self._host = host
        self._waiting: dict[int, Order] = {}
        self._numbers = iter(range(1, 1 << 31))

    def listen(self, host: str, port: int = 0) -> int:
        """Take workers there; return the port. Before the loop starts. Raises `OSError`."""
        port = self._loop.listen(host, port, self._accept)
        self._loop.post(self._check)
        self._loop.post(self._nudge)
        return port

    def submit(self, order: Order, worker: Worker | None = None) -> int:
        """Have a task run, on that worker or on any that has what it takes; return its number.

        It waits while no worker does, in the order of submission; smaller ones overtake it. A worker that it was
        meant for is given it at once. It is told of once, by `ended`, unless it is cancelled.
        """
        number = next(self._numbers)
        if worker is not None:
            worker.start(number, order)
        else:
            self._waiting[number] = order
            self._loop.post(self._place)
        return number

    def cancel(self, number: int) -> bool:
        """End a task, which is not told of any more; False when it has ended already."""
        if self._waiting.pop(number, None) is not None:
            return True
        if not any(worker.kill(number) for worker in self.workers):
            return False
        self._loop.post(self._place)
        return True

    def dismiss(self) -> None:
        """Let all workers end."""
        for worker in self.workers:
            worker.dismiss()

    # -- what workers say -------------------------------------------------------------------------------

    def joined(self, worker: Worker) -> None:
        """See `Audience`."""
        self.workers.append(worker)
        self._host.joined(worker)
        self._loop.post(self._place)

    def left(self, worker: Worker) -> None:
        """See `Audience`."""
        self.workers.remove(worker)
        for number in list(worker.running):
            self._host.ended(number, Outcome(None))
        self._host.left(worker)

    def ended(self, worker: Worker, number: int, outcome: Outcome) -> None:
        """See `Audience`."""
        self._host.ended(number, outcome)
        self._loop.post(self._place)

    def guest(self, connection: Connection, words: tuple[str, ...], rest: bytes) -> None:
        """See `Audience`."""
        self._host.guest(connection, words, rest)

    # -- inside -----------------------------------------------------------------------------------------

    def _accept(self, connection: Connection) -> None:
        worker = Worker(connection, self._password, self)
        self._loop.later(GREETING, _unless_greeted(worker, connection))

    def _place(self) -> None:
        for number, order in list(self._waiting.items()):
            worker = next((worker for worker in self.workers if worker.fits(order)), None)
            if worker is not None:
                del self._waiting[number]
                worker.start(number, order)

    def _nudge(self) -> None:
        for worker in self.workers:
            worker.nudge()
        self._loop.later(NUDGE_EVERY, self._nudge)

    def _check(self) -> None:
        for worker in list(self.workers):
            worker.check()
        self._loop.later(CHECK_EVERY, self._check)


def _unless_greeted(worker: Worker, connection: Connection) -> Callable[[], None]:
    def act() -> None:
        if connection.handler is worker and not worker.has_joined:
            worker.drop("it has not said what it is")

    return act
