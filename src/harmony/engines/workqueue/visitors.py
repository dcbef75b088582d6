"""Those who come to the driver's port and say that they are of a crew: who they are, and what a boss tells."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from harmony.engines.workqueue import frames
from harmony.engines.workqueue.loop import Connection

if TYPE_CHECKING:
    from harmony.engines.workqueue.crews import Crews
    from harmony.engines.workqueue.hands import Crew

_LONGEST_LINE = 4096


class Member(NamedTuple):
    """Who somebody says to be, and what it asks the driver to prove itself with."""

    role: str
    crew: int
    place: int
    pid: int
    challenge: str


class _Lines:
    """A handler of lines."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._text = b""

    def received(self, data: bytes) -> None:
        """See `Handler`."""
        *lines, self._text = (self._text + data).split(b"\n")
        if len(self._text) > _LONGEST_LINE:
            self.connection.close()
        for line in lines:
            self.line(line.decode(errors="replace"))

    def line(self, text: str) -> None:
        """Take a line."""
        raise NotImplementedError

    def closed(self) -> None:
        """See `Handler`."""


class Control(_Lines):
    """The boss of a crew, who tells of deaths."""

    def __init__(self, crews: Crews, crew: Crew, connection: Connection) -> None:
        super().__init__(connection)
        self._crews, self._crew = crews, crew

    def line(self, text: str) -> None:
        """Take ``INDEX PID STATUS``."""
        _, pid, status = map(int, text.split())
        self._crews.explained(self._crew, pid, status)

    def closed(self) -> None:
        """See `Handler`."""
        self._crews.without_boss(self._crew)


class Visitor(_Lines):
    """Someone who says to be of a crew, until it is proved."""

    def __init__(self, crews: Crews, connection: Connection, member: Member, secret: str) -> None:
        super().__init__(connection)
        self._crews, self._member, self._secret = crews, member, secret
        self._ours = frames.challenge()
        shown = frames.proof(secret, "driver", member.challenge, self._ours)
        connection.send(f"{self._ours} {shown}\n".encode())

    def line(self, text: str) -> None:
        """Take the proof, and nothing else."""
        member = self._member
        is_there = self._crews.secret_of(member.crew) == self._secret
        if is_there and frames.is_proof(text, self._secret, member.role, self._ours, member.challenge):
            self._crews.arrived(self.connection, member)
        else:
            self.connection.close()


def visitor(crews: Crews, connection: Connection, words: tuple[str, ...]) -> Visitor | None:
    """Return who greets with these words; None when it is nobody that is expected."""
    try:
        _, role, crew, place, pid, challenge = words
        member = Member(role, int(crew), int(place), int(pid), challenge)
    except ValueError:
        return None
    secret = crews.secret_of(member.crew)
    if secret is None or role not in ("boss", "hand"):
        return None
    return Visitor(crews, connection, member, secret)
