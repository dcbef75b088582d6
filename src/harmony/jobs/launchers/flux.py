"""Flux's launcher."""

from __future__ import annotations

from typing import ClassVar

from harmony.jobs.launcher import Launcher
from harmony.jobs.spec import JobSpec


class FluxRun(Launcher):
    """Runs the processes as one job of the Flux instance that the job script runs in, each with its cores and GPUs."""

    name: ClassVar[str] = "flux"

    def prefix(self, spec: JobSpec) -> list[str]:
        """Flux spreads the processes evenly over the nodes, so that their number on each follows."""
        resources = spec.resources_v1
        words = ["flux", "run", f"--nodes={resources.computed_node_count}"]
        words.append(f"--ntasks={resources.computed_process_count}")
        if resources.cpu_cores_per_process is not None:
            words.append(f"--cores-per-task={resources.cpu_cores_per_process}")
        if resources.gpu_cores_per_process:
            words.append(f"--gpus-per-task={resources.gpu_cores_per_process}")
        return words
