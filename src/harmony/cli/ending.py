"""How a run ends: by a status, or by the signal that interrupted it."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType


class Terminated(SystemExit):
    """SIGTERM has come: a batch system wants the job to end. Unwinds the program as Ctrl-C does."""


class Ending:
    """Remembers the signal that interrupted a run, so that the process can die of it when all is in order.

    A shell that sees a signal stops its loop or script; one that sees status 130 goes on with the next line. It
    shows 128 + the signal's number, 130 for Ctrl-C, as the status either way.
    """

    def __init__(self) -> None:
        self.signal: int | None = None

    def die(self) -> None:
        """Die of the signal, if there was one."""
        if self.signal is None:
            return
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (OSError, ValueError):
                pass  # closed, or a pipe that nobody reads any more
        signal.signal(self.signal, signal.SIG_DFL)
        os.kill(os.getpid(), self.signal)


def catch_sigterm() -> None:
    """Turn SIGTERM into `Terminated`, in this process and not in its forks, unless the program has its own way."""
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _terminate)
        os.register_at_fork(after_in_child=_let_go_of_sigterm)


def _terminate(number: int, frame: FrameType | None) -> None:
    raise Terminated(128 + number)


def _let_go_of_sigterm() -> None:
    if signal.getsignal(signal.SIGTERM) is _terminate:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
