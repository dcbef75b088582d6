"""Torque, and PBS systems of its kind."""

from __future__ import annotations

import re
from collections.abc import Sequence

from harmony.jobs.scheduler import Order
from harmony.jobs.schedulers._pbs import PBSFamily, whole_arrays
from harmony.jobs.state import Reason

_START = (Reason.LAUNCH, "could not be started")
_NODE = (Reason.NODE_FAILURE, "the node or its daemon went away")
_VERDICTS = {
    -1: _START, -2: _START, -3: _START, -4: _NODE, -5: _NODE, -6: _NODE, -7: _START,
    -8: (Reason.LAUNCH, "its shell could not be started"),
    -9: (Reason.LAUNCH, "its output files could not be made"),
    -10: (Reason.OUT_OF_MEMORY, "used more memory than it had asked for"),
    -11: (Reason.WALLTIME, "ran longer than its walltime"),
    -12: (Reason.WALLTIME, "used more CPU time than it was allowed"),
    -13: (Reason.LAUNCH, "its cgroups could not be made"),
}  # fmt: skip
_KINDS = {"after": "after", "after_ok": "afterok", "after_any": "afterany"}
_ARRAY_KINDS = {"after": "afterstartarray", "after_ok": "afterokarray", "after_any": "afteranyarray"}


class PBSClassic(PBSFamily):
    """Torque 4 to 6, scheduled by its own scheduler, Maui or Moab.

    Custom attributes ``pbs_classic.X``, ``torque.X`` or ``pbs.X`` are options of ``qsub``. Torque remembers a job that
    has ended only for as long as the site's ``keep_completed`` says; it has no accounting that users may ask.
    """

    name = "pbs_classic"
    aliases = ("torque", "pbs")
    array_index = "$PBS_ARRAYID"
    final_states = ("C",)
    name_limit = 256
    not_in_names = re.compile(r"[^!-~]|[/'\"\\]")
    verdicts = _VERDICTS

    def request(self, order: Order) -> list[str]:
        """``nodes=N:ppn=P``, memory, exclusive use, reservation; the array's range."""
        resources, attributes = order.resources, order.attributes
        nodes = resources.computed_node_count
        gpus = f":gpus={resources.gpus_per_node}" if resources.gpus_per_node else ""
        asked = [f"-l nodes={nodes}:ppn={resources.cores_per_node}{gpus}"]
        if resources.memory is not None:
            # Torque ignores mem for a job of several nodes; pmem counts for each core that was asked for
            parts = 1 if nodes == 1 else nodes * resources.cores_per_node
            amount = -(-resources.memory // (1024 * parts))
            asked.append(f"-l {'mem' if nodes == 1 else 'pmem'}={amount}kb")
        if resources.exclusive_node_use:
            asked.append("-n")
        if attributes.reservation_id is not None:
            if not re.fullmatch(r"[\w.-]+", attributes.reservation_id):
                raise self.refuse("reservation_id", attributes.reservation_id, "it is no id of a reservation there")
            asked.append(f"-W x=FLAGS:ADVRES:{attributes.reservation_id}")
        if order.size is not None:
            asked.append(f"-t 0-{order.size - 1}")
        return asked

    def dependency(self, kind: str, ids: Sequence[str]) -> str:
        """``afterok:1:2``, and for whole array jobs ``afterokarray:3[]``."""
        arrays = [native_id for native_id in ids if "[]" in native_id]
        jobs = [native_id for native_id in ids if "[]" not in native_id]
        found = [":".join([_KINDS[kind], *jobs])] if jobs else []
        return ",".join(found + ([":".join([_ARRAY_KINDS[kind], *arrays])] if arrays else []))

    def status_command(self, ids: Sequence[str]) -> list[str]:
        """``qstat -f -1``, which does not fold long lines."""
        return [
            "qstat",
            "-f",
            "-1",
            *(["-t"] if any("[" in native_id for native_id in ids) else []),
            *whole_arrays(ids),
        ]
