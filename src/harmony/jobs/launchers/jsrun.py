"""The launcher of IBM's Job Step Manager, on LSF systems."""

from __future__ import annotations

from typing import ClassVar

from harmony.jobs.launcher import Launcher
from harmony.jobs.spec import JobSpec


class Jsrun(Launcher):
    """Makes a resource set of each process: its cores and its GPUs, so many sets on each host."""

    name: ClassVar[str] = "jsrun"

    def prefix(self, spec: JobSpec) -> list[str]:
        """Without ``--bind``, all threads of a process would run on the first core of its set."""
        resources = spec.resources_v1
        cores = resources.cpu_cores_per_process or 1
        return [
            "jsrun",
            f"--nrs={resources.computed_process_count}",
            "--tasks_per_rs=1",
            f"--cpu_per_rs={cores}",
            f"--gpu_per_rs={resources.gpu_cores_per_process or 0}",
            f"--rs_per_host={resources.computed_processes_per_node}",
            f"--bind=packed:{cores}",
        ]
