"""A gate at which work waits, in whatever process it runs, until the test lets it go on. Nothing is polled."""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing_extensions import Self

#: Seconds after which either side gives up; nothing here ever takes so long.
PATIENCE = 30.0


class Gate:
    """The test's side. Workers call ``pass_through(gate.port, …)``; use it as a context manager."""

    def __init__(self) -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        self._server.settimeout(PATIENCE)
        self._inside: dict[str, socket.socket] = {}
        self.port: int = self._server.getsockname()[1]

    def arrival(self) -> str:
        """Wait until a worker stands at the gate; return what it calls itself."""
        connection, _ = self._server.accept()
        connection.settimeout(PATIENCE)
        name = connection.recv(100).decode()
        self._inside[name] = connection
        return name

    def open(self, *names: str) -> None:
        """Let those workers go on; without names, all that stand here."""
        for name in names or list(self._inside):
            with self._inside.pop(name) as connection, contextlib.suppress(OSError):
                connection.sendall(b"+")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.open()
        self._server.close()  # who comes later is refused, and fails rather than waits


def pass_through(port: int, name: str = "it", result: Any = None) -> Any:
    """The worker's side: say that it is here, wait for the gate to open, return `result`."""
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as connection:
        connection.sendall(name.encode())
        connection.settimeout(2 * PATIENCE)
        connection.recv(1)
    return result
