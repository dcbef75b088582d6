"""The engines of IPyParallel on one node: ``python -m harmony.engines._ipengines COUNT CONNECTION_FILE OPTION…``.

IPyParallel does not replace an engine that has died; this does, for as long as the controller is there.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from typing import NoReturn


def main(count: int, connection: str, options: Sequence[str]) -> None:
    """Keep so many engines running until the controller is gone, or this process is told to end."""
    command = [sys.executable, "-m", "ipyparallel.engine", f"--file={connection}", *options]
    engines: dict[int, subprocess.Popen[bytes]] = {}
    signal.signal(signal.SIGTERM, _leave)
    try:
        while True:
            while len(engines) < count and _is_there(connection):
                engine = subprocess.Popen(command)  # noqa: S603  IPyParallel's own program
                engines[engine.pid] = engine
            if not engines:
                return
            process, status = os.wait()
            ended = engines.pop(process, None)
            if ended is not None:
                ended.returncode = os.waitstatus_to_exitcode(status)
    finally:
        for engine in engines.values():
            engine.terminate()
        for engine in engines.values():
            engine.wait()


def _is_there(connection: str) -> bool:
    try:
        with open(connection, encoding="utf-8") as stream:
            told = json.load(stream)
        host = str(told["interface"]).rpartition("/")[2]
        with socket.create_connection((host, int(told["registration"])), timeout=10):
            return True
    except (OSError, ValueError, KeyError):
        return False


def _leave(number: int, frame: object) -> NoReturn:
    raise SystemExit(0)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3:])
