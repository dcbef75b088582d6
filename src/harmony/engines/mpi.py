"""The mpi engine: tasks on the ranks of one MPI program, by mpi4py's pool, for systems that start nothing else."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

from harmony.core.mpi import find_launcher
from harmony.core.work import signal_group
from harmony.engines._dispatch import DispatchEngine, Parcel
from harmony.engines._guard import Guard
from harmony.engines._mpi_pool import HEAD, read
from harmony.errors import EngineFailed, WorkerLost
from harmony.resources import Resources, check_whole

#: Seconds that the ranks may take to start, and to end.
_PATIENCE, _GRACE = 120.0, 10.0


class MPIEngine(DispatchEngine):
    """Runs tasks on `workers` ranks, and one that serves them, of one ``mpiexec``, over `nodes` nodes of an allocation.

    An MPI program ends when one of its ranks does, so a worker that dies costs what all of them run; the ranks are then
    started anew, and what may have been the cause is run by itself. The driver is not a rank, and lives on.
    """

    name = "mpi"
    one_fate = True

    def __init__(self, workers: int | None = None, *, nodes: int = 1) -> None:
        for name, value in (("workers", workers), ("nodes", nodes)):
            if value is not None:
                check_whole(name, value, 1)
        super().__init__(workers=workers or os.cpu_count() or 1)
        self._nodes = nodes
        self._guard = Guard(uuid.uuid4().hex)
        self._folder = Path()
        self._ranks: _Ranks | None = None

    def _open(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="harmony-mpi-"))
        self._guard.start()
        try:
            self._ranks = self._start()
        except BaseException:
            self._shut()
            raise

    def _start(self) -> _Ranks:
        launcher = find_launcher()
        if launcher is None:
            raise EngineFailed("there is no mpiexec on the PATH; install an MPI, or: pip install mpich")
        path = str(self._folder / uuid.uuid4().hex[:8])
        program = [sys.executable, "-m", "mpi4py.futures", "-m", "harmony.engines._mpi_pool", path]
        asked = Resources(process_count=self._feeder.workers + 1, node_count=self._nodes)
        command, variables = launcher.wrap(program, asked)
        environment = {**self._guard.environment(), **variables}
        return _Ranks(command, environment, path, self._ended, self._lost)

    def _lost(self, ranks: _Ranks, how: str) -> None:
        self._inbox.put(lambda: self._replace(ranks, how))

    def _replace(self, ranks: _Ranks, how: str) -> None:
        if ranks is not self._ranks:
            return
        ranks.end()
        self._ranks = None
        for number in list(self._out):
            self._fail(number, WorkerLost(f"a rank of MPI died, and so they all did: {how}"))

    def _send(self, parcel: Parcel) -> None:
        if self._ranks is None:
            self._ranks = self._start()
        self._ranks.send(parcel.number, parcel.blob)

    def _shut(self) -> None:
        ranks, self._ranks = self._ranks, None
        if ranks is not None:
            ranks.end()
        self._guard.dismiss()
        shutil.rmtree(self._folder, ignore_errors=True)


class _Ranks:
    """One start of the MPI program: its process, and the socket to its rank 0. One thread hears from it."""

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        path: str,
        ended: Callable[[int, bytes], None],
        lost: Callable[[_Ranks, str], None],
    ) -> None:
        self._told, self._lost = ended, lost
        with socket.socket(socket.AF_UNIX) as door, tempfile.TemporaryFile() as said:
            door.bind(path)
            door.listen(1)
            door.settimeout(0.1)
            self._process = subprocess.Popen(  # noqa: S603  the launcher, and our own program
                command, stdin=subprocess.DEVNULL, stdout=said, stderr=said, env=environment, start_new_session=True
            )
            try:
                self._socket = self._accept(door, said)
            except BaseException:
                self._kill()
                raise
        self._thread = threading.Thread(target=self._listen, name="harmony-mpi-answers", daemon=True)
        self._thread.start()

    def _accept(self, door: socket.socket, said: IO[bytes]) -> socket.socket:
        deadline = time.monotonic() + _PATIENCE
        while True:
            try:
                connected = door.accept()[0]
            except TimeoutError:
                status = self._process.poll()
                if status is None and time.monotonic() < deadline:
                    continue
                how = "did not begin" if status is None else f"ended with {status}"
                said.seek(0)
                text = said.read()[-2000:].decode(errors="replace").strip()
                raise EngineFailed(f"the MPI program of engine 'mpi' {how}: {text}") from None
            connected.settimeout(None)
            return connected

    def send(self, number: int, blob: bytes) -> None:
        """Hand over a parcel. Where the program is gone, that is told by its end."""
        with contextlib.suppress(OSError):
            self._socket.sendall(HEAD.pack(number, len(blob)) + blob)

    def end(self) -> None:
        """End the program, and whatever it runs."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._kill()
        self._thread.join()
        self._socket.close()

    def _kill(self) -> None:
        signal_group(self._process.pid, signal.SIGTERM)
        try:
            self._process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            signal_group(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def _listen(self) -> None:
        try:
            while True:
                number, size = HEAD.unpack(read(self._socket, HEAD.size))
                self._told(number, read(self._socket, size))
        except (EOFError, OSError):
            self._lost(self, f"the program ended{_status(self._process)}")


def _status(process: subprocess.Popen[bytes]) -> str:
    try:
        return f" with {process.wait(1.0)}"
    except subprocess.TimeoutExpired:
        return ""
