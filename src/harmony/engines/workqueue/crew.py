"""The crew: what Work Queue starts on a worker, once, to run parcels in: processes that stay, one for each core.

    work_queue_worker ─▶ keeper   sees the end of the worker, and of
                           └▶ boss   in a session of its own: forks hands, tells of their deaths, ends what they leave
                                └▶ hand, hand, …   each runs parcels that come over its own connection to the driver

Work Queue's own tasks would cost an interpreter each, and its ``kill`` makes a worker deaf for three seconds.
``python -c 'from harmony.engines.workqueue.crew import main; main()'``, with what `Orders` has in `VARIABLE`.
"""

from __future__ import annotations

import json
import mmap
import os
import select
import signal
import socket
import sys
import time
import traceback
from typing import Any, NamedTuple, NoReturn

from harmony.engines.workqueue import frames

#: Where a crew finds its orders, and the mark that all it starts carries.
VARIABLE, MARK = "HARMONY_CREW", "HARMONY_WORKQUEUE"
#: Seconds that a task is given to end, a driver to answer; so many hands, or crews, may die before one has begun.
GRACE, PATIENCE, TRIES = 1.0, 30.0, 3
_GPU_VARIABLES = ("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "ZE_AFFINITY_MASK")


class Orders(NamedTuple):
    """What a crew is told when it is started."""

    crew: int
    secret: str
    mark: str
    hands: int
    host: str
    port: int
    directory: str
    threads: str


class Terminated(BaseException):
    """The driver asks the task that runs to end, so that its ``finally`` clauses are run."""


def main() -> NoReturn:
    """Be the keeper, and have the boss do the rest."""
    orders = Orders(*json.loads(os.environ.pop(VARIABLE)))
    worker = os.getppid()
    lifeline, kept = os.pipe()
    boss = os.fork()
    if boss == 0:
        os.close(kept)
        os.setsid()
        if os.path.isdir(orders.directory):
            os.chdir(orders.directory)
        status = 1
        try:
            status = Boss(orders, lifeline).run()
        except BaseException:  # noqa: BLE001  what is written here reaches the driver, as the output of the crew
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)
    os.close(lifeline)
    status = _keep(boss, worker)
    _sweep_all(orders.mark, frozenset({os.getpid()}))  # a boss that was killed has not
    os._exit(status)


def _keep(boss: int, worker: int) -> int:
    """Wait for the end of the boss, or of the worker; return the exit code."""
    if hasattr(os, "pidfd_open"):
        try:
            ends = select.poll()
            for process in (boss, worker):
                ends.register(os.pidfd_open(process), select.POLLIN)
            ends.poll()
        except OSError:
            pass  # an old kernel, or the worker is gone already
        else:
            ended, status = os.waitpid(boss, os.WNOHANG)
            return os.waitstatus_to_exitcode(status) if ended else 1
    return os.waitstatus_to_exitcode(os.waitpid(boss, 0)[1])


class Boss:
    """See the module."""

    def __init__(self, orders: Orders, lifeline: int) -> None:
        self._orders = orders
        self._lifeline = lifeline
        self._pids: dict[int, int] = {}
        self._marks: dict[int, str] = {}
        self._count = self._failures = 0
        self._killing: dict[int, tuple[float, int]] = {}
        size = 3 * orders.hands
        self._shared = memoryview(mmap.mmap(-1, 8 * size)).cast("Q")
        self._runs, self._wanted = self._shared[: orders.hands], self._shared[orders.hands : 2 * orders.hands]
        self._begun = self._shared[2 * orders.hands :]

    def run(self) -> int:
        """Serve until the driver, or the keeper, is gone; return the exit code."""
        import harmony.engines._parcel  # noqa: F401  once, before hands are forked

        os.environ["OMP_NUM_THREADS"] = self._orders.threads  # Work Queue would have each use what the crew has

        self._control = connect(self._orders, "boss", 0)
        self._ends, waker = socket.socketpair()
        for end in (self._ends, waker):
            end.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
        try:
            for index in range(self._orders.hands):
                self._fork(index)
            return self._serve()
        finally:
            self._end_all()

    def _serve(self) -> int:
        waiting = select.poll()
        for what in (self._lifeline, self._control, self._ends):
            waiting.register(what, select.POLLIN)
        text = b""
        while True:
            ready = {descriptor for descriptor, _ in waiting.poll(self._pause())}
            self._kill_the_slow()
            if self._lifeline in ready:
                return 1
            if self._ends.fileno() in ready:
                self._ends.recv(4096)
                if not self._bury():
                    return 1
            if self._control.fileno() in ready:
                data = self._control.recv(4096)
                if not data:
                    return 0
                *lines, text = (text + data).split(b"\n")
                for line in lines:
                    self._ask_to_end(*map(int, line.split()))

    # -- hands ------------------------------------------------------------------------------------------

    def _fork(self, index: int) -> None:
        self._count += 1
        self._runs[index] = self._wanted[index] = self._begun[index] = 0
        self._marks[index] = mark = f"{self._orders.mark}-{index}-{self._count};"
        sys.stderr.flush()
        pid = os.fork()
        if pid:
            self._pids[index] = pid
            return
        try:
            os.setpgid(0, 0)
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.signal(signal.SIGTERM, lambda *_: self._asked_to_end(index))
            os.environ[MARK] = mark
            for end in (self._control, self._ends):
                end.close()
            os.close(self._lifeline)
            self._work(index)
        except BaseException:  # noqa: BLE001  as above
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(1)

    def _work(self, index: int) -> NoReturn:
        from harmony.engines._parcel import run

        channel = connect(self._orders, "hand", index)
        self._begun[index] = 1
        visible = {name: os.environ.get(name) for name in _GPU_VARIABLES}
        stream = channel.makefile("rb")
        while head := stream.read(frames.TO_HAND.size):
            number, size, gpus = frames.TO_HAND.unpack(head)
            devices, blob = stream.read(gpus).decode(), stream.read(size)
            try:
                self._runs[index] = number
                self._asked_to_end(index)
                if devices:
                    _show(devices, visible)
                answer = run(blob)
                self._runs[index] = 0
            except Terminated:
                self._runs[index] = 0
                answer = b""
            if devices:
                _show("", visible)
            is_last = self._wanted[index] == number  # for what was cut short has left who knows what: the boss sweeps
            channel.sendall(frames.TO_DRIVER.pack(number, len(answer), is_last) + answer)
            if is_last:
                break
        os._exit(0)

    def _asked_to_end(self, index: int) -> None:
        if self._runs[index] and self._runs[index] == self._wanted[index]:
            raise Terminated

    # -- ends -------------------------------------------------------------------------------------------

    def _ask_to_end(self, index: int, number: int) -> None:
        """End a parcel that a hand runs, with SIGTERM, and a moment later with SIGKILL; or have it not begin."""
        self._wanted[index] = number
        pid = self._pids.get(index)
        if pid is not None and self._runs[index] == number:
            self._killing[index] = time.monotonic() + GRACE, number
            os.kill(pid, signal.SIGTERM)

    def _pause(self) -> float | None:
        """Return the milliseconds until a task that was asked to end has had its time."""
        if not self._killing:
            return None
        first = min(when for when, _ in self._killing.values())
        return max(0.0, first - time.monotonic()) * 1000 + 1

    def _kill_the_slow(self) -> None:
        now = time.monotonic()
        for index, (when, number) in list(self._killing.items()):
            if when <= now:
                del self._killing[index]
                if self._runs[index] == number:
                    os.kill(self._pids[index], signal.SIGKILL)

    def _bury(self) -> bool:
        """Tell of hands that have died, end what they have left, fork others; False when that is of no use."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return True
            if not pid:
                return True
            index = next((index for index, other in self._pids.items() if other == pid), None)
            if index is None:
                continue
            _kill_group(pid)
            _sweep(self._marks[index])
            self._killing.pop(index, None)
            self._control.sendall(f"{index} {pid} {os.waitstatus_to_exitcode(status)}\n".encode())
            self._failures = 0 if self._begun[index] else self._failures + 1
            if self._failures >= TRIES:
                return False
            self._fork(index)

    def _end_all(self) -> None:
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        for pid in self._pids.values():
            _kill_group(pid)
        _sweep_all(self._orders.mark, frozenset({os.getpid(), os.getppid()}))


def connect(orders: Orders, role: str, index: int) -> socket.socket:
    """Return a connection to the driver, on which both sides have shown who they are. Raises `OSError`."""
    channel = socket.create_connection((orders.host, orders.port), PATIENCE)
    channel.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    channel.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    ours = frames.challenge()
    channel.sendall(f"harmony {role} {orders.crew} {index} {os.getpid()} {ours}\n".encode())
    theirs, _, shown = _line(channel).partition(" ")
    if not frames.is_proof(shown, orders.secret, "driver", ours, theirs):
        raise ConnectionError(f"{orders.host}:{orders.port} is not the driver that has started this crew")
    channel.sendall(f"{frames.proof(orders.secret, role, theirs, ours)}\n".encode())
    channel.settimeout(None)
    return channel


def _line(channel: socket.socket) -> str:
    data = b""
    while not data.endswith(b"\n") and len(data) < 4096:
        part = channel.recv(1)
        if not part:
            raise ConnectionError("the driver has closed the connection")
        data += part
    return data.decode(errors="replace").rstrip("\n")


def _show(devices: str, visible: dict[str, str | None]) -> None:
    """Let the task see these GPUs, numbered among those that the worker sees; "" puts all back."""
    for name, value in visible.items():
        if devices:
            all_of_them: Any = value.split(",") if value else None
            chosen = [int(device) for device in devices.split(",")]
            os.environ[name] = ",".join(str(all_of_them[number]) if all_of_them else str(number) for number in chosen)
        elif value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def _kill_group(group: int) -> None:
    try:
        os.killpg(group, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass


def _sweep_all(mark: str, spared: frozenset[int]) -> None:
    for _ in range(50):
        if not _sweep(mark, spared):
            break
        time.sleep(0.01)  # the dead need a moment to leave /proc


def _sweep(mark: str, spared: frozenset[int] = frozenset()) -> int:
    from harmony.engines._guard import sweep  # not before the keeper has forked: it stays small

    return sweep(mark, spared) if os.path.isdir("/proc/self") else 0
