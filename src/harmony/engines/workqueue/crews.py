"""Crews as their driver sees them: one on each worker of Work Queue, whose hands run parcels. Placement is here.

    engine's thread   give, withdraw ─▶ Loop.post ─▶ Crews ─▶ a free hand ─▶ its connection
    loop's thread     an answer, a death ─▶ Audience.ended, broke, back (any thread may be told so)

A parcel goes to a worker that has its cores, memory and GPUs free, the first that has come first. A hand that runs
short tasks gets the next parcel of such before it has finished, so that it never waits for the driver.
"""

from __future__ import annotations

import json
import os
import secrets
import sys
from collections import deque
from collections.abc import Callable
from typing import Protocol

from harmony.engines.workqueue.crew import MARK, TRIES, VARIABLE, Orders
from harmony.engines.workqueue.hands import Crew, Hand, Load
from harmony.engines.workqueue.loop import Connection, Loop
from harmony.engines.workqueue.manager import Manager
from harmony.engines.workqueue.visitors import Control, Member, visitor
from harmony.engines.workqueue.wire import Order
from harmony.engines.workqueue.worker import Outcome, Worker
from harmony.errors import EngineError, WorkerLost

#: Seconds that the boss of a crew has to say how a hand has died.
_WORD = 3.0
_PROGRAM = "from harmony.engines.workqueue.crew import main; main()"


class Employer(Protocol):
    """Who has work for crews. Told in the loop's thread, and must not take long."""

    def ended(self, number: int, blob: bytes) -> None:
        """A parcel has been run."""
        ...

    def broke(self, number: int, error: BaseException) -> None:
        """A parcel was lost with who ran it."""
        ...

    def back(self, number: int) -> None:
        """A parcel that was withdrawn will not be heard of."""
        ...

    def counted(self, worker: Worker, hands: int) -> None:
        """So many hands of this worker are there now."""
        ...

    def useless(self, error: EngineError) -> None:
        """No crew can work."""
        ...


class Crews:
    """See the module; the `Host` of a manager.

    `memory` is the most that a worker has, in megabytes, and `threads` how many threads a task of one core may use.
    """

    def __init__(
        self, loop: Loop, password: bytes | None, employer: Employer, memory: int | None = None, threads: str = "1"
    ) -> None:
        self.manager = Manager(loop, password, self)
        self._loop = loop
        self._employer = employer
        self._memory, self._threads = memory, threads
        self._crews: dict[int, Crew] = {}
        self._of: dict[Worker, Crew] = {}
        self._waiting: deque[Load] = deque()
        self._open: dict[Crew, None] = {}
        self._brief: dict[Hand, None] = {}
        self._loads: dict[int, Load] = {}
        self._failures: dict[Worker, int] = {}
        self._disbanded: Callable[[], None] | None = None

    # -- for the engine, in the loop's thread -----------------------------------------------------------

    def give(self, load: Load) -> None:
        """Have a parcel run."""
        self._loads[load.number] = load
        self._waiting.append(load)
        self._place()

    def withdraw(self, number: int) -> None:
        """Do not run a parcel; end it if it runs. `back` follows."""
        load = self._loads.get(number)
        if load is None:
            return
        load.is_withdrawn = True
        if load.hand is None:
            self._waiting.remove(load)
            self._settle(load)
        elif (control := load.hand.crew.control) is not None:
            control.send(f"{load.hand.index} {number}\n".encode())

    def disband(self, done: Callable[[], None]) -> None:
        """End all crews, and with them what they run, and let their workers go; `done` is called when they have."""
        self._disbanded = done
        for crew in list(self._crews.values()):
            if crew.control is not None:
                crew.control.close()
            else:
                self.manager.cancel(crew.task)
                self._let_go(crew)
        self._check_disbanded()

    def busy(self) -> list[tuple[Worker, int]]:
        """Return how many hands of each worker have something to do. From any thread, of about now."""
        return [(crew.worker, crew.most["cores"] - crew.cores) for crew in list(self._crews.values())]

    # -- what the manager tells -------------------------------------------------------------------------

    def joined(self, worker: Worker) -> None:
        """See `Host`."""
        if self._disbanded is None:
            self._hire(worker)
        else:
            worker.dismiss()

    def left(self, worker: Worker) -> None:
        """See `Host`."""
        self._failures.pop(worker, None)

    def ended(self, number: int, outcome: Outcome) -> None:
        """See `Host`. A crew has ended: its worker has gone, or something is wrong with it."""
        crew = next((crew for crew in self._crews.values() if crew.task == number), None)
        if crew is None:
            return
        if self._disbanded is not None:
            self._let_go(crew)
            return
        self._dissolve(crew)
        if outcome.status is None:
            return
        worker = crew.worker
        self._failures[worker] = 0 if crew.has_worked else self._failures.get(worker, 0) + 1
        if self._failures[worker] < TRIES:
            self._hire(worker)
            return
        worker.dismiss()
        if not self._crews:
            said = outcome.stdout.decode(errors="replace").strip()[-2000:]
            self._employer.useless(
                EngineError(
                    f"the worker of Work Queue on {worker.name} cannot run Python tasks: what was started there "
                    f"ended with exit code {outcome.exit_code}; Harmony must be installed there, for {sys.executable}, "
                    f"and this host must be reachable. It said: {said or 'nothing'}"
                )
            )

    def guest(self, connection: Connection, words: tuple[str, ...], rest: bytes) -> None:
        """See `Host`. Someone says to be of a crew."""
        found = visitor(self, connection, words)
        if found is None:
            connection.close()
        else:
            connection.handler = found
            found.received(rest)

    # -- what crews tell --------------------------------------------------------------------------------

    def secret_of(self, number: int) -> str | None:
        """Return what the members of a crew, and only they, know."""
        crew = self._crews.get(number)
        return None if crew is None else crew.secret

    def arrived(self, connection: Connection, member: Member) -> None:
        """A member of a crew has shown who it is."""
        crew = self._crews[member.crew]
        if member.role == "boss":
            crew.control = connection
            connection.handler = Control(self, crew, connection)
            self._opened(crew)
            return
        hand = crew.hands[member.place] = Hand(self, crew, connection, member.place, member.pid)
        crew.idle.append(hand)
        crew.has_worked = True
        self._employer.counted(crew.worker, len(crew.hands))
        self._opened(crew)

    def answered(self, hand: Hand, answer: bytes) -> None:
        """A hand has run its first parcel."""
        load = hand.loads.popleft()
        del self._loads[load.number]
        if load.is_withdrawn:
            self._employer.back(load.number)
        else:
            self._employer.ended(load.number, answer)
        if hand.is_leaving:
            self._brief.pop(hand, None)
            hand.crew.release(load)
        elif hand.loads:
            self._brief[hand] = None  # it has room for another one; the core is the next one's now
            self._place()
        else:
            self._brief.pop(hand, None)
            hand.crew.release(load)
            hand.crew.idle.append(hand)
            self._opened(hand.crew)

    def died(self, hand: Hand) -> None:
        """A hand is gone; how, its boss will say."""
        crew = hand.crew
        if crew.hands.get(hand.index) is hand:
            del crew.hands[hand.index]
            self._employer.counted(crew.worker, len(crew.hands))
        self._brief.pop(hand, None)
        if hand in crew.idle:
            crew.idle.remove(hand)
            return
        crew.dying[hand.pid] = hand
        status = crew.deaths.pop(hand.pid, None)
        if crew.control is None or status is not None:
            self.explained(crew, hand.pid, status)
        else:
            self._loop.later(_WORD, lambda: self.explained(crew, hand.pid, None))

    def explained(self, crew: Crew, pid: int, status: int | None) -> None:
        """The boss has said how a hand has died; None: it has not."""
        hand = crew.dying.pop(pid, None)
        if hand is None:
            if status is not None and any(hand.pid == pid for hand in crew.hands.values()):
                crew.deaths[pid] = status  # its connection has not ended yet: there may be an answer in it
            return
        if hand.loads and not hand.is_leaving:
            first = hand.loads.popleft()
            crew.release(first)
            self._settle(first, WorkerLost(f"the worker process {pid} on {crew.worker.name} {_how(crew, status)}"))
        for load in reversed(hand.loads):  # it had not begun these
            load.hand = None
            if load.is_withdrawn:
                self._settle(load)
            else:
                self._waiting.appendleft(load)
        self._opened(crew)

    def without_boss(self, crew: Crew) -> None:
        """The boss of a crew has gone: it can say nothing more."""
        crew.control = None
        for hand in list(crew.hands.values()):
            hand.end()
        for pid in list(crew.dying):
            self.explained(crew, pid, None)

    # -- inside -----------------------------------------------------------------------------------------

    def _hire(self, worker: Worker) -> None:
        memory = worker.resources["memory"]
        crew = Crew(worker, memory if self._memory is None else min(memory, self._memory))
        number = max(self._crews, default=0) + 1
        self._crews[number] = crew
        host, port = worker.address
        mark = secrets.token_hex(8)
        orders = Orders(number, crew.secret, mark, crew.most["cores"], host, port, os.getcwd(), self._threads)
        crew.task = self.manager.submit(
            Order(
                f"exec {sys.executable} -c '{_PROGRAM}'",
                cores=crew.most["cores"],
                environment={VARIABLE: json.dumps(orders), MARK: mark},
            ),
            worker,
        )

    def _let_go(self, crew: Crew) -> None:
        self._dissolve(crew)
        crew.worker.dismiss()
        self._check_disbanded()

    def _check_disbanded(self) -> None:
        if self._disbanded is not None and not self._crews:
            self._disbanded()

    def _dissolve(self, crew: Crew) -> None:
        self._crews = {number: other for number, other in self._crews.items() if other is not crew}
        self._open.pop(crew, None)
        if crew.control is not None:
            crew.control.close()
        self.without_boss(crew)

    def _opened(self, crew: Crew) -> None:
        if crew.idle and crew.cores > 0 and crew.control is not None:
            self._open[crew] = None
        self._place()

    def _place(self) -> None:
        while self._waiting:
            load = self._waiting[0]
            hand = self._hand_for(load)
            if hand is not None:
                self._waiting.popleft()
                hand.give(load)
            elif self._crews and not any(crew.could(load) for crew in self._crews.values()):
                self._waiting.popleft()
                self._settle(load, EngineError(f"a task asks for {load}, and no worker of Work Queue has as much"))
            else:
                return

    def _hand_for(self, load: Load) -> Hand | None:
        for crew in self._open:
            if crew.fits(load):
                hand = crew.take(load)
                if load.is_short:
                    self._brief[hand] = None
                if not crew.idle or not crew.cores:
                    del self._open[crew]
                return hand
        if load.is_short and self._brief:
            hand, _ = self._brief.popitem()
            return hand
        return None

    def _settle(self, load: Load, error: BaseException | None = None) -> None:
        """A parcel has come to nothing."""
        del self._loads[load.number]
        if load.is_withdrawn or error is None:
            self._employer.back(load.number)
        else:
            self._employer.broke(load.number, error)


def _how(crew: Crew, status: int | None) -> str:
    if status is None:
        return f"is lost with its Work Queue worker: {crew.worker.fault}" if crew.worker.fault else "is gone"
    return f"was killed by signal {-status}" if status < 0 else f"ended with exit code {status}"
