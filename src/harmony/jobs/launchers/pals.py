"""The launcher of HPE Cray EX systems without Slurm: the ``mpiexec`` of PALS."""

from __future__ import annotations

from typing import ClassVar

from harmony.jobs.launcher import Launcher
from harmony.jobs.spec import JobSpec


class Pals(Launcher):
    """Starts the processes and binds each to its own cores; choosing a GPU is the program's or a wrapper's."""

    name: ClassVar[str] = "pals"

    def prefix(self, spec: JobSpec) -> list[str]:
        """Processes, processes per node and, if they are given, the cores of each."""
        resources = spec.resources_v1
        words = ["mpiexec", "-n", str(resources.computed_process_count)]
        words += ["--ppn", str(resources.computed_processes_per_node)]
        if resources.cpu_cores_per_process is not None:
            words += ["--depth", str(resources.cpu_cores_per_process), "--cpu-bind", "depth"]
        return words
