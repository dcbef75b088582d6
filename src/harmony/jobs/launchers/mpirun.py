"""MPI's own launcher, of whichever MPI stands first on the PATH."""

from __future__ import annotations

from typing import ClassVar

from harmony.jobs.launcher import Launcher
from harmony.jobs.spec import JobSpec

#: Open MPI 4 and 5 read these, all others ignore them. It would refuse more processes than it sees cores, which are
#: not its to count here: the job was granted them.
_OVERSUBSCRIBE = {
    "OMPI_MCA_rmaps_base_oversubscribe": "1",
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
}
#: It would bind each process to one core: that keeps threads from the other cores of their process, and puts the jobs
#: that share a node all on its first cores.
_UNBOUND = {"OMPI_MCA_hwloc_base_binding_policy": "none", "PRTE_MCA_hwloc_default_binding_policy": "none"}


class Mpirun(Launcher):
    """Starts the processes of an MPI program, with the options that Open MPI, MPICH and their kin all understand.

    Those are the number of processes and, on several nodes, the nodefile, where the batch system does not tell MPI
    itself (Slurm does). Nodes are filled one after the other, `processes_per_node` on each. Processes are not bound to
    cores when each has several or the node is shared; ``launcher_options`` can say otherwise. What else Open MPI asks
    for, such as ``OMPI_ALLOW_RUN_AS_ROOT``, is for the job's environment.
    """

    name: ClassVar[str] = "mpirun"

    def prefix(self, spec: JobSpec) -> list[str]:
        """The launcher and the number of processes."""
        return [self.name, "-n", str(spec.resources_v1.computed_process_count)]

    def shell_command(self, spec: JobSpec, program: str) -> str:
        """Add what depends on the machine that the job script runs on."""
        resources = spec.resources_v1
        several = resources.computed_node_count > 1
        settings = {} if several else dict(_OVERSUBSCRIBE)
        if (resources.cpu_cores_per_process or 1) > 1 or not (several or resources.exclusive_node_use):
            settings |= _UNBOUND
        words = [f"{name}=${{{name}-{value}}}" for name, value in settings.items()]
        if several:  # Open MPI carries no variables to other nodes unless it is told each by name
            names = ["PSIJ_JOB_ID", "PSIJ_NODEFILE", *(spec.environment or {})]
            program = " ".join(["env", *(f'{name}="${name}"' for name in names), program])
            words.append("psij_mpirun")
        return " ".join([*words, super().shell_command(spec, program)])
