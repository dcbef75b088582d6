"""PBS Professional and OpenPBS."""

from __future__ import annotations

import re
from collections.abc import Sequence

from harmony.jobs.scheduler import Order
from harmony.jobs.schedulers._pbs import PBSFamily, whole_arrays
from harmony.jobs.state import Reason

_START = (Reason.LAUNCH, "could not be started")
_HOOK = (Reason.LAUNCH, "a hook of the site has refused it")
_NODE = (Reason.NODE_FAILURE, "the node or its daemon went away")
_RERUN = (Reason.PREEMPTED, "was ended to be run again, and was not")
_VERDICTS = {
    -1: _START, -2: _START, -3: _START, -4: _NODE, -5: _NODE, -6: _NODE, -7: _START,
    -10: (Reason.LAUNCH, "the user has no account on the node"), -11: _RERUN, -12: _RERUN,
    -13: (Reason.LAUNCH, "the password was refused"), -14: _NODE, -15: _RERUN, -16: _HOOK, -17: _HOOK,
    -18: _HOOK, -19: _HOOK, -20: _NODE, -21: (Reason.LAUNCH, "the node's PBS directory is not safe"),
    -22: _HOOK, -23: (Reason.LAUNCH, "there were no Kerberos credentials"),
    -24: (Reason.SIGNAL, "used more cores than it had asked for"),
    -25: (Reason.SIGNAL, "used more cores than it had asked for"),
    -26: (Reason.OUT_OF_MEMORY, "used more virtual memory than it had asked for"),
    -27: (Reason.OUT_OF_MEMORY, "used more memory than it had asked for"),
    -28: (Reason.WALLTIME, "used more CPU time than it was allowed"),
    -29: (Reason.WALLTIME, "ran longer than its walltime"),
    -30: (Reason.NODE_FAILURE, "its nodes could not be joined"),
}  # fmt: skip
_KINDS = {"after": "after", "after_ok": "afterok", "after_any": "afterany"}


class PBS(PBSFamily):
    """PBS Professional 13 or later, OpenPBS.

    Each node is one chunk (``select``) on a host of its own. A reservation is a queue there. Custom attributes
    ``pbs.X`` are options of ``qsub``: ``{"pbs.l": "filesystems=home"}``, ``{"pbs.P": "project"}``, ``{"pbs.r": "n"}``.
    An array job has at least two tasks.
    """

    name = "pbs"
    aliases = ("pbspro", "openpbs")
    array_index = "$PBS_ARRAY_INDEX"
    final_states = ("F", "X")
    name_limit = 230
    not_in_names = re.compile(r"[^A-Za-z0-9_+.-]")
    verdicts = _VERDICTS

    def request(self, order: Order) -> list[str]:
        """``select`` and ``place``; the reservation as a queue; the array's range."""
        resources, attributes = order.resources, order.attributes
        nodes = resources.computed_node_count
        chunk = [
            f"select={nodes}",
            f"ncpus={resources.cores_per_node}",
            f"mpiprocs={resources.computed_processes_per_node}",
        ]
        if resources.cpu_cores_per_process is not None:
            chunk.append(f"ompthreads={resources.cpu_cores_per_process}")
        if resources.gpus_per_node:
            chunk.append(f"ngpus={resources.gpus_per_node}")
        if resources.memory_per_node is not None:
            chunk.append(f"mem={-(-resources.memory_per_node // 1024)}kb")
        asked = [f"-l {':'.join(chunk)}"]
        place = ["scatter"] if nodes > 1 else []
        place += ["excl"] if resources.exclusive_node_use else []
        if place:
            asked.append(f"-l place={':'.join(place)}")
        if attributes.reservation_id is not None:
            asked.append(f"-q {self._reservation(attributes.reservation_id, attributes.queue_name)}")
        if order.size is not None:
            if order.size < 2:
                raise self.refuse("array size", order.size, "an array job has at least two tasks")
            asked.append(f"-J 0-{order.size - 1}")
        return asked

    def _reservation(self, reservation: str, queue: str | None) -> str:
        name = reservation.partition(".")[0]
        if not re.fullmatch(r"[\w-]+", name):
            raise self.refuse("reservation_id", reservation, "the id of a reservation is as R123 or R123.server")
        if queue is not None and queue != name:
            raise self.refuse(
                "queue_name", queue, f"the reservation {name} is itself the queue; give only one of the two"
            )
        return name

    def dependency(self, kind: str, ids: Sequence[str]) -> str:
        """``afterok:1:2``; PBS knows no dependency on one task of an array job."""
        for native_id in ids:
            if "[" in native_id and "[]" not in native_id:
                raise self.refuse(kind, native_id, "a job can follow a whole array job there, not one of its tasks")
        return ":".join([_KINDS[kind], *ids])

    def status_command(self, ids: Sequence[str]) -> list[str]:
        """``qstat -x -f``, which tells of jobs that have ended too, as long as the site keeps their history."""
        return [
            "qstat",
            "-x",
            "-f",
            *(["-t"] if any("[" in native_id for native_id in ids) else []),
            *whole_arrays(ids),
        ]
