"""A worker as the driver sees it: its process, its sockets, and the tasks it has."""

from __future__ import annotations

import contextlib
import os
import pickle
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

import harmony
from harmony.core.engine import Submission
from harmony.core.work import signal_group
from harmony.engines.local import shared, wire
from harmony.engines.local.slots import Grant

#: A worker is sent work for so many seconds ahead, by its recent pace.
AHEAD = 0.02
MOST_AHEAD = 1024
#: A worker that has said nothing for so many seconds is not sent anything ahead, and gives back what it was.
SILENCE = 0.005
#: So many tasks with arguments in shared memory are sent ahead; a socket does not take descriptors without end.
SEGMENTS = 16
_ROOT = os.path.dirname(os.path.dirname(os.path.abspath(harmony.__file__)))
_PROGRAM = (
    "import sys; sys.path[:] = [p for p in sys.path if p] + [{root!r}]; "
    "from harmony.engines.local.worker import main; main({frames}, {descriptors}, {board})"
)


class WorkerHandle:
    """See the module. Starting one starts the process; the engine owns it until `reap`."""

    def __init__(self, name: str, environment: Mapping[str, str], initializer: bytes | None) -> None:
        self.name = name
        self._process = self._start(environment)
        self.frames.setblocking(False)
        self.pid = self._process.pid
        self.inflight: dict[int, Submission] = {}
        self.grant: Grant | None = None
        self.is_plain = False
        self.is_ready = False
        self.is_retired = False
        self.watched = selectors.EVENT_READ
        self.gpus: tuple[str, ...] | None = None
        self.known: set[int] = set()
        self.segments: set[int] = set()
        self.verdict: BaseException | None = None
        self.pace: float | None = None
        self.news = time.monotonic()
        self.noted = 0
        self.ready_at = 0.0
        self.path = list(sys.path)
        self.is_drained = False
        self.next = 1
        self._held = bytearray()
        self._unsent: deque[memoryview] = deque()
        self._parts: list[bytes] = []
        self.say(wire.frame(wire.INIT, pickle.dumps(tuple(wire.Setup(sys.path, sys.argv, name, initializer)), 5)))

    def _start(self, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
        self.frames, frames = socket.socketpair()
        self.descriptors, descriptors = socket.socketpair()
        self.board = shared.Board()
        inherited = (frames.fileno(), descriptors.fileno(), self.board.descriptor)
        program = _PROGRAM.format(root=_ROOT, frames=inherited[0], descriptors=inherited[1], board=inherited[2])
        try:
            return subprocess.Popen(  # noqa: S603  our own program
                [sys.executable, "-c", program],
                stdin=subprocess.DEVNULL,
                env=dict(environment),
                pass_fds=inherited,
                start_new_session=True,
            )
        except BaseException:
            self.frames.close()
            self.descriptors.close()
            raise
        finally:
            frames.close()
            descriptors.close()
            os.close(self.board.descriptor)

    # -- what it has ---------------------------------------------------------------------------------

    @property
    def is_idle(self) -> bool:
        """True when it can be given a task."""
        return self.grant is None and not self.is_retired and self.verdict is None and self._room > 0

    @property
    def depth(self) -> int:
        """How many plain tasks it should have, by its pace, and can be sent; one while the pace is not known."""
        wanted = 1 if self.pace is None else max(1, min(MOST_AHEAD, int(AHEAD / max(self.pace, 1e-6))))
        return min(wanted, len(self.inflight) + self._room)

    @property
    def _room(self) -> int:
        """How many more tasks it can be sent; what was taken back counts until the worker has come to it.

        Otherwise a mark on its board would be used twice.
        """
        return 0 if len(self.segments) >= SEGMENTS else shared.MARKS - (self.next - self.board.current)

    def number(self, submission: Submission) -> int:
        """Give a task that is about to be sent the number by which the worker knows it."""
        number = self.next
        self.next = number + 1
        self.board.clear(number)
        self.inflight[number] = submission
        return number

    def take_back(self) -> list[Submission]:
        """Take back the tasks that it has not started, in their order."""
        return [self.inflight.pop(number) for number in self.board.take_back(list(self.inflight))]

    @property
    def running(self) -> Submission | None:
        """The task that it has started last, unless that one's end is known."""
        return self.inflight.get(self.board.current)

    @property
    def is_silent(self) -> bool:
        """True when it has had work, and nothing to say, for longer than `SILENCE`."""
        return bool(self.inflight) and self.news < time.monotonic() - SILENCE

    def keep_pace(self, seconds: float, count: int) -> None:
        """Note that `count` tasks took `seconds` in all."""
        mean = seconds / count
        self.pace = mean if self.pace is None else 0.5 * self.pace + 0.5 * mean
        self.news = time.monotonic()

    # -- what is said --------------------------------------------------------------------------------

    @property
    def has_to_say(self) -> bool:
        """True when `flush` has something to send."""
        return bool(self._parts or self._unsent)

    def say(self, data: bytes) -> None:
        """Add to what the next `flush` sends."""
        self._parts.append(data)

    def pass_segment(self, number: int, descriptor: int) -> None:
        """Pass the memory of the task whose frame is said next; closes `descriptor` here."""
        self.segments.add(number)
        with contextlib.suppress(BrokenPipeError, ConnectionError):  # it is dead, which its process will tell
            shared.send_descriptor(self.descriptors, descriptor)

    def flush(self) -> bool:
        """Send what can be sent now; False when some is left for when the socket takes more."""
        if self._parts:
            self._unsent.append(memoryview(b"".join(self._parts)))
            self._parts.clear()
        try:
            while self._unsent:
                part = self._unsent[0]
                sent = self.frames.send(part)
                if sent < len(part):
                    self._unsent[0] = part[sent:]
                else:
                    self._unsent.popleft()
        except BlockingIOError:
            return False
        except OSError:
            self._unsent.clear()  # it is dead, which the engine learns from its process
        return True

    def receive(self) -> Iterator[tuple[int, int, float, Any, str]]:
        """Yield its answers: kind, task number, seconds, payload, prints. Ends when there is no more for now."""
        try:
            data = self.frames.recv(1 << 18)
        except OSError:
            data = b""
        if not data:
            self.is_drained = True
            return
        head, size, at = wire.TO_DRIVER.unpack_from, wire.TO_DRIVER.size, 0
        if self._held:
            self._held += data
            if len(self._held) < size or len(self._held) < size + sum(head(self._held)[3:]):
                return
            data, self._held = bytes(self._held), bytearray()
        end = len(data)
        while end - at >= size:
            kind, number, seconds, length, printed = head(data, at)
            stop = at + size + length + printed
            if stop > end:
                break
            payload = data[at + size : at + size + length] if length else b""
            text = data[stop - printed : stop].decode() if printed else ""
            at = stop
            yield kind, number, seconds, payload, text
        if at < end:
            self._held += data[at:]

    # -- its end -------------------------------------------------------------------------------------

    def retire(self) -> None:
        """Let it end by itself once it has nothing to do."""
        self.is_retired = True
        try:
            self.frames.shutdown(socket.SHUT_RDWR)  # a fork of the driver may hold the other descriptor of it
        except OSError:
            pass  # it is gone already
        self.frames.close()

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send a signal to its process and to those it has started, but for those that left its group."""
        signal_group(self.pid, number)

    def reap(self) -> str:
        """Collect the process, which has ended, and return how in words."""
        status = self._process.wait()
        self.kill()
        self.frames.close()
        self.descriptors.close()
        self.board.close()
        if status < 0:
            return f"was killed by signal {signal.Signals(-status).name}"
        return f"ended with exit code {status}"
