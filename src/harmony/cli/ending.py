"""How the process ends: by a status, or by the signal that interrupted the run."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from types import FrameType


class Terminated(SystemExit):
    """SIGTERM has come: a batch system wants the job to end. Unwinds the program as Ctrl-C does."""


class Ending:
    """Has the last word: threads and workflows of a program may outlast its main part, and change how it ends.

    `finish` is called at the end of all and says whether a program that gave status 0 has failed nevertheless.
    `signal` is the one that interrupted the run: the process then dies of it. A shell that sees a signal stops its
    loop or script, one that sees status 130 goes on with the next line; as the status it shows 130 either way.
    """

    def __init__(self) -> None:
        self.status = 0
        self.signal: int | None = None
        self.finish: Callable[[], bool] = lambda: False
        self._pid = os.getpid()

    def conclude(self) -> None:
        """End the process another way than it is about to, if need be; call as the last thing at the exit."""
        if os.getpid() != self._pid:
            return
        has_failed = self.finish()
        if self.signal is not None:
            _flush()
            signal.signal(self.signal, signal.SIG_DFL)
            os.kill(os.getpid(), self.signal)
        elif not self.status and has_failed:
            _flush()
            os._exit(1)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            pass  # closed, or a pipe that nobody reads any more


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
