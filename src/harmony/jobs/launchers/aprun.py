"""The launcher of Cray systems with ALPS."""

from __future__ import annotations

from typing import ClassVar

from harmony.jobs.launcher import Launcher
from harmony.jobs.spec import JobSpec


class Aprun(Launcher):
    """Starts the processes on the compute nodes; it has no word for GPUs, each node's one is there for the asking."""

    name: ClassVar[str] = "aprun"

    def prefix(self, spec: JobSpec) -> list[str]:
        """Processes (-n), processes per node (-N), and cores between one process and the next (-d)."""
        resources = spec.resources_v1
        words = ["aprun", "-n", str(resources.computed_process_count)]
        words += ["-N", str(resources.computed_processes_per_node)]
        if resources.cpu_cores_per_process is not None:
            words += ["-d", str(resources.cpu_cores_per_process)]
        return words
