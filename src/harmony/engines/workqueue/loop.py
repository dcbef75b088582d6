"""The loop: one thread that owns sockets. It sleeps until one of them, another thread or a timer has something.

Handlers are called in that thread, and so is what other threads `post`. Nothing in here knows what is said.
"""

from __future__ import annotations

import heapq
import itertools
import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

_PART = 1 << 18


class Handler(Protocol):
    """What is told of a connection."""

    def received(self, data: bytes) -> None:
        """Take what has arrived."""
        ...

    def closed(self) -> None:
        """Take note that the other side is gone, or that the connection was closed here. Called once."""
        ...


class Connection:
    """A socket that never blocks: what it cannot take at once waits here. Only for the loop's thread."""

    def __init__(self, loop: Loop, channel: socket.socket) -> None:
        channel.setblocking(False)
        channel.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        channel.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self.handler: Handler | None = None
        self.address = channel.getsockname()
        self._loop = loop
        self._socket = channel
        self._waiting: deque[memoryview] = deque()
        self._is_open = True
        loop.selector.register(channel, selectors.EVENT_READ, self)

    def send(self, data: bytes) -> None:
        """Send, in order, when the other side takes it."""
        if not self._is_open or not data:
            return
        self._waiting.append(memoryview(data))
        if len(self._waiting) == 1:
            self._flush()

    def close(self) -> None:
        """Close it; the handler is told."""
        if not self._is_open:
            return
        self._is_open = False
        self._loop.selector.unregister(self._socket)
        self._socket.close()
        self._waiting.clear()
        if self.handler is not None:
            self.handler.closed()

    def ready(self, events: int) -> None:
        """Take note that the socket can be read or written."""
        if events & selectors.EVENT_WRITE:
            self._flush()
        if events & selectors.EVENT_READ and self._is_open:
            try:
                data = self._socket.recv(_PART)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self.close()
            elif self.handler is not None:
                self.handler.received(data)

    def _flush(self) -> None:
        waiting = self._waiting
        try:
            while waiting:
                sent = self._socket.send(waiting[0])
                if sent < len(waiting[0]):
                    waiting[0] = waiting[0][sent:]
                else:
                    waiting.popleft()
        except BlockingIOError:
            pass
        except OSError:
            self._loop.post(self.close)  # not now: the caller may be in the midst of a change
            waiting.clear()
        if self._is_open:
            events = selectors.EVENT_READ | (selectors.EVENT_WRITE if waiting else 0)
            if self._loop.selector.get_key(self._socket).events != events:
                self._loop.selector.modify(self._socket, events, self)


class Loop:
    """See the module. `crashed` is told of an exception that no handler should have let through; the loop then ends."""

    def __init__(self, name: str, crashed: Callable[[BaseException], None]) -> None:
        self.selector = selectors.DefaultSelector()
        self._crashed = crashed
        self._acts: deque[Callable[[], None]] = deque()
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._count = itertools.count()
        self._listening: socket.socket | None = None
        self._accept: Callable[[Connection], None] | None = None
        self._woken, self._waker = socket.socketpair()
        for end in (self._woken, self._waker):
            end.setblocking(False)
        self.selector.register(self._woken, selectors.EVENT_READ, None)
        self._is_over = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def listen(self, host: str, port: int, accept: Callable[[Connection], None]) -> int:
        """Take connections there from now on; return the port. Before `start`. Raises `OSError`."""
        self._listening = socket.create_server((host, port), backlog=1024)
        self._listening.setblocking(False)
        self._accept = accept
        self.selector.register(self._listening, selectors.EVENT_READ, self._listening)
        return int(self._listening.getsockname()[1])

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def post(self, act: Callable[[], None]) -> None:
        """Have something done in the loop's thread, soon. From any thread."""
        self._acts.append(act)
        if threading.get_ident() != self._thread.ident:
            try:
                self._waker.send(b"!")
            except OSError:
                pass  # it is full, so the loop wakes anyway; or the loop is over

    def later(self, seconds: float, act: Callable[[], None]) -> None:
        """Have something done in so many seconds. In the loop's thread."""
        heapq.heappush(self._timers, (time.monotonic() + seconds, next(self._count), act))

    def stop(self) -> None:
        """End, closing every connection, and wait for it. Idempotent."""
        if self._thread.ident is not None:
            self.post(self._end)
            self._thread.join()
        else:
            self._close_all()

    def _end(self) -> None:
        self._is_over = True

    def _run(self) -> None:
        try:
            while not self._is_over:
                for key, events in self.selector.select(self._pause()):
                    self._ready(key.data, events)
                self._do_posted()
        except Exception as error:  # noqa: BLE001  a fault of ours: who waits for this thread must hear of it
            self._crashed(error)
        finally:
            self._close_all()

    def _pause(self) -> float | None:
        if self._acts:
            return 0.0
        return max(0.0, self._timers[0][0] - time.monotonic()) if self._timers else None

    def _ready(self, what: Any, events: int) -> None:
        if isinstance(what, Connection):
            what.ready(events)
        elif what is None:
            try:
                self._woken.recv(4096)
            except BlockingIOError:
                pass
        else:
            self._take_connection(what)

    def _take_connection(self, listening: socket.socket) -> None:
        try:
            channel, _ = listening.accept()
        except OSError:
            return  # it has gone again, or there are too many open files: it will come back
        assert self._accept is not None
        self._accept(Connection(self, channel))

    def _do_posted(self) -> None:
        while self._acts:
            self._acts.popleft()()
        while self._timers and self._timers[0][0] <= time.monotonic():
            heapq.heappop(self._timers)[2]()

    def _close_all(self) -> None:
        for key in list(self.selector.get_map().values()):
            if isinstance(key.data, Connection):
                key.data.handler = None
                key.data.close()
        if self._listening is not None:
            self._listening.close()
        self._woken.close()
        self._waker.close()
        self.selector.close()
