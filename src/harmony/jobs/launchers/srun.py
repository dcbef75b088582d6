"""Slurm's launcher."""

from __future__ import annotations

from typing import ClassVar

from harmony.jobs.launcher import Launcher
from harmony.jobs.spec import JobSpec


class Srun(Launcher):
    """Starts the processes as one Slurm step on all nodes of the job, each with its own cores and GPUs."""

    name: ClassVar[str] = "srun"
    allocation: ClassVar[str] = "SLURM_JOB_ID"

    def prefix(self, spec: JobSpec) -> list[str]:
        """The shape is said in full: a step takes its cores for each process from here, not from the job."""
        resources = spec.resources_v1
        words = [
            "srun",
            f"--nodes={resources.computed_node_count}",
            f"--ntasks={resources.computed_process_count}",
            f"--ntasks-per-node={resources.computed_processes_per_node}",
        ]
        if resources.cpu_cores_per_process is not None:
            words.append(f"--cpus-per-task={resources.cpu_cores_per_process}")
        if resources.gpu_cores_per_process:
            words.append(f"--gpus-per-task={resources.gpu_cores_per_process}")
        return words
