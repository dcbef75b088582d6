"""The ranks of the mpi engine: ``mpiexec -n N python -m mpi4py.futures -m harmony.engines._mpi_pool SOCKET``.

Rank 0 passes parcels on from the driver to the other ranks, and their answers back.
"""

from __future__ import annotations

import socket
import struct
import sys
import threading
from concurrent.futures import Future
from functools import partial
from typing import Any

from harmony.engines._parcel import run

#: Before each parcel, and each answer: its number, and its size.
HEAD = struct.Struct("!QQ")


def read(stream: socket.socket, size: int) -> bytes:
    """Return so many bytes; raise `EOFError` when the other end is gone."""
    data = bytearray()
    while len(data) < size:
        part = stream.recv(min(size - len(data), 1 << 20))
        if not part:
            raise EOFError
        data += part
    return bytes(data)


def main(path: str) -> None:
    """Serve until the driver closes the socket."""
    from mpi4py.futures import MPIPoolExecutor

    with socket.socket(socket.AF_UNIX) as driver, MPIPoolExecutor() as pool:
        driver.connect(path)
        writing = threading.Lock()
        try:
            while True:
                number, size = HEAD.unpack(read(driver, HEAD.size))
                answer = pool.submit(run, read(driver, size))
                answer.add_done_callback(partial(_answer, driver, writing, number))
        except (EOFError, OSError):
            pool.shutdown(wait=False, cancel_futures=True)


def _answer(driver: socket.socket, writing: Any, number: int, answer: Future[bytes]) -> None:
    blob = answer.result()
    with writing:
        driver.sendall(HEAD.pack(number, len(blob)) + blob)


if __name__ == "__main__":
    main(sys.argv[1])
