"""The launcher of the Texas Advanced Computing Center."""

from __future__ import annotations

from typing import ClassVar

from harmony.jobs.launcher import Launcher
from harmony.jobs.spec import JobSpec


class Ibrun(Launcher):
    """Starts the processes on the slots of the job; how many a node has, ibrun reads from the job itself."""

    name: ClassVar[str] = "ibrun"

    def prefix(self, spec: JobSpec) -> list[str]:
        """The number of processes (-n), from the job's first slot (-o): ibrun wants the two together."""
        return ["ibrun", "-n", str(spec.resources_v1.computed_process_count), "-o", "0"]
