"""What a process, as a parent, must share among its executors: which jobs it has started, whom it has yet to reap."""

from __future__ import annotations

import contextlib
import os
import weakref

from harmony.jobs.job import Job

#: The jobs that executors of this process have started, by process and native id. Only a process's parent can know how
#: it ended, so that a second executor here has to ask the first.
started_here: weakref.WeakValueDictionary[tuple[int, str], Job] = weakref.WeakValueDictionary()
#: Children whose executor was closed while they ran; reaped by whoever comes by.
orphans: list[int] = []


def reap_orphans() -> None:
    """Reap those that have ended meanwhile."""
    for pid in list(orphans):
        try:
            gone = os.waitpid(pid, os.WNOHANG)[0] != 0
        except ChildProcessError:
            gone = True
        if gone:
            with contextlib.suppress(ValueError):  # another thread was first
                orphans.remove(pid)
