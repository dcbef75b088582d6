"""What a process, as a parent, must share among its executors: which jobs it has started, and how they have ended."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Sequence

from harmony.jobs.job import Job
from harmony.jobs.local.tree import Member, look

#: The jobs that executors of this process have started, by process and native id. Only a process's parent can know how
#: it ended, so that a second executor here has to ask the first.
started_here: weakref.WeakValueDictionary[tuple[int, str], Job] = weakref.WeakValueDictionary()
#: How children have ended whose executor was closed while they ran: when they had started, and their exit status.
_left: dict[int, tuple[int, int]] = {}


def leave(pids: Sequence[int]) -> None:
    """Have children reaped whose executor is closed: by a thread that lasts as long as they do."""
    known = [(pid, member.started if (member := look(pid)) is not None else 0) for pid in pids]
    threading.Thread(target=_reap, args=(known,), name="harmony-local-left", daemon=True).start()


def _reap(known: Sequence[tuple[int, int]]) -> None:
    for pid, started in known:
        status = exit_status(pid, None, wait=True)
        if status is not None:
            _left[pid] = (started, status)
        _wait(pid)


def _wait(pid: int) -> None:
    try:
        os.waitpid(pid, 0)
    except ChildProcessError:
        pass  # someone else has waited for it


def exit_status(pid: int, member: Member | None, wait: bool = False) -> int | None:
    """Return how a child has ended that its executor here has left, or that is not ours to wait for; None: unknown."""
    try:
        found = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | (0 if wait else os.WNOHANG))
    except (ChildProcessError, OverflowError):
        started, status = _left.get(pid, (0, None))
        return status if member is None or member.started == started else None
    if found is None:
        return None
    return found.si_status if found.si_code == os.CLD_EXITED else -found.si_status
