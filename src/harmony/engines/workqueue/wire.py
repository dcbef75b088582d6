"""The Work Queue protocol, as bytes: lines of words, some followed by raw bytes. Pure: no socket, no clock.

Learnt by watching what Debian's ``work_queue_worker`` (protocol 9) and its managers say to each other; no code of
cctools, which is under the GPL, is in here.

    worker   [auth password sha1 …] workqueue 9 HOST OS ARCH VERSION, info …, feature …, resource …
    manager  put NAME SIZE MODE + bytes, task ID … end
    worker   available_results
    manager  send_results -1
    worker   result STATUS EXIT SIZE MICROSECONDS ID + stdout, …, end
    manager  get NAME 1
    worker   file NAME SIZE + bytes | missing NAME ERRNO, end
    manager  kill ID (it also clears away what an ended task has left), check, exit
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from harmony.errors import ConfigError

#: The protocols that workers may speak: Debian's cctools 9.9, and that of cctools 8.
PROTOCOLS = frozenset({9, 11})
#: What the status of a result means; any other is a failure of the worker's.
ENDED, FORSAKEN, OVERTIME = 0, 40, 56
_LONGEST_LINE = 1 << 16
_NAME = re.compile(r"[^\s/][^\s]*")
#: Where in a message the number of the bytes that follow it stands.
_FOLLOWED = {"result": 3, "file": 2, "update": 4}


class ProtocolError(Exception):
    """What came is not the Work Queue protocol, or not a protocol that is known here."""


class Message(NamedTuple):
    """A line that a worker has sent, as words, and the bytes that came with it."""

    words: tuple[str, ...]
    data: bytes = b""


class Reader:
    """Cuts what arrives into messages. Bytes come after lines only from one who is `trusted`: they may be many."""

    def __init__(self, trusted: bool = False) -> None:
        self.trusted = trusted
        self._held = bytearray()
        self._waiting: tuple[tuple[str, ...], int] | None = None

    def feed(self, data: bytes) -> Iterator[Message]:
        """Yield the messages that are complete now. `rest` may be asked for between two of them."""
        self._held += data
        while True:
            if self._waiting is None:
                end = self._held.find(b"\n")
                if end < 0:
                    if len(self._held) > _LONGEST_LINE:
                        raise ProtocolError("a line has no end")
                    return
                words = tuple(self._held[:end].decode(errors="replace").split(" "))
                del self._held[: end + 1]
                self._waiting = words, _size(words) if self.trusted else 0
            words, size = self._waiting
            if len(self._held) < size:
                return
            data = bytes(self._held[:size])
            del self._held[:size]
            self._waiting = None
            yield Message(words, data)

    def rest(self) -> bytes:
        """Return what has come and has not been read; it is no longer this reader's."""
        rest = bytes(self._held)
        self._held.clear()
        return rest


def _size(words: tuple[str, ...]) -> int:
    place = _FOLLOWED.get(words[0])
    if place is None:
        return 0
    try:
        size = int(words[place])
    except (IndexError, ValueError):
        raise ProtocolError(f"{' '.join(words)!r} does not say how many bytes follow it") from None
    if size < 0:
        raise ProtocolError(f"{' '.join(words)!r} is followed by less than nothing")
    return size


@dataclass(frozen=True, slots=True)
class Order:
    """A task of Work Queue: a shell command in a sandbox, the resources it takes, its files.

    `memory` and `disk` are in megabytes, `walltime` in seconds. `inputs` are names in the sandbox with the content
    of each, which a worker keeps, so that it is sent to it once. `outputs` are names in the sandbox, of plain files.
    """

    command: str
    cores: int = 1
    memory: int | None = None
    disk: int | None = None
    gpus: int = 0
    walltime: float | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    inputs: Mapping[str, bytes] = field(default_factory=dict)
    outputs: Sequence[str] = ()

    def __post_init__(self) -> None:
        for name in (*self.inputs, *self.outputs):
            if not _NAME.fullmatch(name) or ".." in name.split("/"):
                raise ConfigError(f"{name!r} is no name of a file in a sandbox: relative, without blanks and '..'")


def cached_name(content: bytes) -> str:
    """Return the name under which a worker keeps an input: the same for the same content."""
    return f"harmony-{hashlib.sha256(content).hexdigest()}"


def output_name(number: int, place: int) -> str:
    """Return the name under which a worker keeps an output until it is fetched."""
    return f"harmony-{number}-out-{place}"


def put(name: str, content: bytes) -> bytes:
    """Return the message that gives a worker a file to keep; it is executable."""
    return b"put %s %d 0755\n%s" % (name.encode(), len(content), content)


def task(number: int, order: Order) -> bytes:
    """Return the message that starts a task; its inputs have been put."""
    command = order.command.encode()
    parts = [b"task %d\ncmd %d\n%s" % (number, len(command), command), b"cores %d\n" % order.cores]
    parts.append(b"gpus %d\n" % order.gpus)
    if order.memory is not None:
        parts.append(b"memory %d\n" % order.memory)
    if order.disk is not None:
        parts.append(b"disk %d\n" % order.disk)
    if order.walltime is not None:
        parts.append(b"wall_time %d\n" % max(1, round(order.walltime * 1e6)))
    for key, value in order.environment.items():
        pair = f"{key}={value}".encode()
        parts.append(b"env %d\n%s\n" % (len(pair), pair))
    for name, content in order.inputs.items():
        parts.append(f"infile {cached_name(content)} {name} 1\n".encode())
    for place, name in enumerate(order.outputs):
        parts.append(f"outfile {output_name(number, place)} {name} 0\n".encode())
    parts.append(b"end\n")
    return b"".join(parts)


# -- passwords ---------------------------------------------------------------------------------------------

OFFER = ("auth", "password", "sha1")


def challenge() -> str:
    """Return a text that was never used before."""
    return secrets.token_hex(31)


def answer(password: bytes, text: str) -> str:
    """Return what only one who has the password can say to a challenge. `password` is the whole file's content."""
    return hashlib.sha1(password + b" " + text.encode()).hexdigest()  # noqa: S324  the protocol's choice


class Gatekeeper:
    """The manager's side of a greeting by password, message by message: both sides prove that they have it.

    worker   auth password sha1      manager  auth password sha1
    worker   CHALLENGE               manager  CHALLENGE, answer
    worker   answer                  manager  ok
    worker   ok
    """

    def __init__(self, password: bytes) -> None:
        self._password = password
        self._challenge = challenge()
        self._step = 0

    def hear(self, words: tuple[str, ...]) -> bytes | None:
        """Return what to say to a message; None when both sides are sure of each other."""
        self._step += 1
        text = " ".join(words)
        if self._step == 1 and words == OFFER:
            return f"{text}\n".encode()
        if self._step == 2:
            return f"{self._challenge}\n{answer(self._password, text)}\n".encode()
        if self._step == 3 and hmac.compare_digest(text.encode(), answer(self._password, self._challenge).encode()):
            return b"ok\n"
        if self._step == 4 and text == "ok":
            return None
        raise ProtocolError("it does not know the password" if self._step == 3 else f"{text!r} is no greeting")
