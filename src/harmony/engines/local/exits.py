"""Exits: knowing when a child process has ended, without SIGCHLD, which belongs to the user's program."""

from __future__ import annotations

import os
import selectors
import threading
from collections import deque
from collections.abc import Callable


class Exits:
    """Calls back when a process ends: through a pidfd in the selector, or where there is none, through a thread.

    `watch` and `collect` are used under the engine's lock; what is called back runs in the engine's thread.
    """

    def __init__(self, selector: selectors.BaseSelector, wake_up: Callable[[], object]) -> None:
        self._selector = selector
        self._wake_up = wake_up
        self._ended: deque[Callable[[], object]] = deque()

    def watch(self, pid: int, ended: Callable[[], object]) -> None:
        """Call `ended` once when the process, which must be a child not yet waited for, has ended."""
        if hasattr(os, "pidfd_open"):
            try:
                descriptor = os.pidfd_open(pid)
            except OSError:
                pass  # an old kernel
            else:
                self._selector.register(descriptor, selectors.EVENT_READ, lambda _: self._on_end(descriptor, ended))
                return
        threading.Thread(target=self._wait, args=(pid, ended), name=f"harmony-wait-{pid}", daemon=True).start()

    def collect(self) -> None:
        """Call back what the waiting threads have found."""
        while self._ended:
            self._ended.popleft()()

    def _on_end(self, descriptor: int, ended: Callable[[], object]) -> None:
        self._selector.unregister(descriptor)
        os.close(descriptor)
        ended()

    def _wait(self, pid: int, ended: Callable[[], object]) -> None:
        try:
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        except ChildProcessError:
            pass  # someone else has waited for it; it has ended all the same
        self._ended.append(ended)
        self._wake_up()
