"""The thread of an emulator: it hears the commands, notices ends of jobs, and lets time pass.

command ──socket──▶ Connection ─▶ faults, delays ─▶ Dialect.answer ─▶ Machine
   ▲                                                      │
   └───────────────── what it prints, its exit status ◀───┘
"""

from __future__ import annotations

import os
import selectors
import shutil
import socket
import threading
from collections.abc import Callable
from dataclasses import replace

from harmony.conformance.emulators.engine import Machine
from harmony.conformance.emulators.model import Call, Fault, NeedsInput, Refused, Reply
from harmony.conformance.emulators.processes import Process


class Connection:
    """One command while it runs."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.call: Call | None = None
        self.fault: Fault | None = None
        self._in, self._out = bytearray(), b""

    def receive(self) -> bool:
        """Take in what has come; False when the command is gone."""
        try:
            data = self.socket.recv(1 << 18)
        except BlockingIOError:
            return True
        except OSError:
            return False
        self._in += data
        return bool(data)

    def message(self) -> list[bytes] | None:
        """Return the fields of a message that is complete."""
        head, found, body = self._in.partition(b"\n")
        if not found or len(body) < int(head[1:]):
            return None
        self._in.clear()
        return bytes(body).split(b"\0") if head[:1] == b"C" else [bytes(body)]

    def send(self, kind: bytes, body: bytes = b"") -> None:
        """Have an answer sent."""
        self._out = b"%s%d\n" % (kind, len(body)) + body

    def flush(self) -> bool:
        """Send what can be sent; True while more is to be sent."""
        try:
            self._out = self._out[self.socket.send(self._out) :]
        except BlockingIOError:
            pass
        except OSError:
            self._out = b""
        return bool(self._out)


class Server:
    """Serves the commands of one machine, in a thread of its own."""

    def __init__(self, path: str, machine: Callable[[Callable[[], None]], Machine]) -> None:
        self._selector = selectors.DefaultSelector()
        self._wakes, self._wake = os.pipe()
        os.set_blocking(self._wake, False)
        os.set_blocking(self._wakes, False)
        self.machine = machine(self.wake)
        self.calls: list[Call] = []
        self.faults: dict[str, list[Fault]] = {}
        self._watched: dict[Process, int] = {}
        self._closing = False
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(path)
        self._listener.listen(512)
        self._listener.setblocking(False)
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(self._wakes, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._serve, name="harmony-emulator", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Have the thread look at what has changed."""
        try:
            os.write(self._wake, b"\0")
        except OSError:  # full, which wakes as well; or closed
            pass

    def close(self) -> None:
        """End the thread and every job; commands that wait for an answer are told that there is no emulator."""
        self._closing = True
        self.wake()
        self._thread.join()
        for key in list(self._selector.get_map().values()):
            if isinstance(key.data, Connection):
                key.data.socket.close()
        self._listener.close()
        with self.machine.lock:
            self.machine.close()
        self._selector.close()
        os.close(self._wake)
        os.close(self._wakes)

    # -- in the thread

    def _serve(self) -> None:
        while not self._closing:
            with self.machine.lock:
                self.machine.tick()
                self._watch()
                pause = self.machine.pause()
            for key, events in self._selector.select(pause):
                if key.fileobj is self._listener:
                    self._accept()
                elif key.fd == self._wakes:
                    os.read(self._wakes, 65536)
                elif isinstance(key.data, Connection):
                    self._attend(key.data, events)

    def _watch(self) -> None:
        """Listen to the ends of the jobs that run now, and of no others."""
        running = set(self.machine.running.values())
        for process in self._watched.keys() - running:  # closed already: its number may be another's by now
            self._selector.unregister(self._watched.pop(process))
        for process in running - self._watched.keys():
            if process.descriptor is not None:
                self._watched[process] = process.descriptor
                self._selector.register(process.descriptor, selectors.EVENT_READ)

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError:
            return
        connection.setblocking(False)
        self._selector.register(connection, selectors.EVENT_READ, Connection(connection))

    def _attend(self, connection: Connection, events: int) -> None:
        if connection.socket.fileno() < 0:
            return  # a second event under its number, of a descriptor that a fork under way still holds
        if events & selectors.EVENT_WRITE:
            if not connection.flush():
                self._drop(connection)
            return
        if not connection.receive():
            self._drop(connection)
            return
        fields = connection.message()
        if fields is None:
            return
        if connection.call is None:
            connection.call = call = _call(fields)
            with self.machine.lock:
                self.calls.append(call)
                self.machine.changed.notify_all()
                connection.fault = self._fault(call.program)
                self._meet(connection, call, connection.fault)
        else:
            with self.machine.lock:
                self._answer(connection, replace(connection.call, stdin=fields[0]), connection.fault)

    def _drop(self, connection: Connection) -> None:
        self._selector.unregister(connection.socket)
        connection.socket.close()

    def _fault(self, program: str) -> Fault | None:
        faults = self.faults.get(program, [])
        if not faults:
            return None
        fault = faults[0]
        fault.times -= 1
        if fault.times == 0:
            del faults[0]
        return fault

    def _meet(self, connection: Connection, call: Call, fault: Fault | None) -> None:
        """Answer a call, with what is to go wrong with it."""
        delay = fault.delay if fault else 0.0
        if call.program in self.machine.dialect.telling:
            delay += self.machine.settings.status_delay
        if fault and fault.hang:
            return
        if delay:
            self.machine.at(self.machine.now() + delay, lambda: self._answer(connection, call, fault))
        else:
            self._answer(connection, call, fault)

    def _answer(self, connection: Connection, call: Call, fault: Fault | None) -> None:
        if connection.socket.fileno() < 0:
            return  # it was killed meanwhile
        dialect, refusal = self.machine.dialect, self.machine.settings.refusal
        try:
            if fault and fault.complaint is not None:
                raise Refused(fault.complaint, fault.code)
            if refusal and call.program in dialect.submitting:
                raise Refused(refusal)
            reply = dialect.answer(call, self.machine)
        except NeedsInput:
            connection.send(b"S")
            connection.flush()
            return
        except Refused as refused:
            reply = Reply(err=refused.complaint.rstrip("\n") + "\n", code=refused.code)
        except Exception as error:  # noqa: BLE001  the command says so, and the emulator lives on
            reply = Reply(err=f"{call.program}: the emulator failed: {error!r}\n", code=70)
        if reply.execute:
            connection.send(b"X", _execution(reply, call))
        else:
            connection.send(b"R", _printed(reply, fault))
        if connection.flush():
            self._selector.modify(connection.socket, selectors.EVENT_WRITE, connection)
        else:
            self._drop(connection)


def _call(fields: list[bytes]) -> Call:
    count = int(fields[1])
    words = [os.fsdecode(field) for field in fields[2:]]
    environment = dict(word.partition("=")[::2] for word in words[count:])
    return Call(words[0], tuple(words[1:count]), os.fsdecode(fields[0]), environment)


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _execution(reply: Reply, call: Call) -> bytes:
    path = call.environment.get("PATH", os.defpath)
    program = reply.execute[0]
    if "/" not in program:
        program = shutil.which(program, path=path) or program
    settings = [name if value is None else f"{name}={value}" for name, value in reply.environment.items()]
    words = [program, *reply.execute[1:], *settings]
    return b"\0".join([b"%d" % len(reply.execute), *map(_encoded, words)])


def _printed(reply: Reply, fault: Fault | None) -> bytes:
    out = reply.out
    if fault and fault.lines:
        lines = out.splitlines(keepends=True)
        for position, line in enumerate(fault.lines):  # among the others: before the first, after it, …
            lines.insert(min(len(lines), position * 2), line + "\n")
        out = "".join(lines)
    if fault and fault.cut is not None:
        out = out[: fault.cut]
    text = _encoded(out)
    return b"%d\0%d\0" % (reply.code, len(text)) + text + _encoded(reply.err)
