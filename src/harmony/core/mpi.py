"""MPI: which launcher this machine has, and the command line that starts a program on several ranks with it."""

from __future__ import annotations

import functools
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from harmony.resources import Resources

Flavour = Literal["openmpi", "mpich", "other"]

#: Set for every rank, for `rank_program`: how many were asked for, by which launcher, with how many GPUs each.
RANKS, LAUNCHER, GPUS_PER_RANK = "HARMONY_RANKS", "HARMONY_LAUNCHER", "HARMONY_GPUS_PER_RANK"

_NAMES = ("mpiexec", "mpirun", "mpiexec.hydra", "mpiexec.openmpi", "mpiexec.mpich", "orterun")
#: What the launchers of each flavour call themselves. Intel MPI and MVAPICH have MPICH's.
_SIGNS: Mapping[Flavour, re.Pattern[str]] = {
    "openmpi": re.compile(r"Open MPI|OpenRTE|PRRTE"),
    "mpich": re.compile(r"HYDRA|MPICH|MVAPICH|Intel\(R\) MPI"),
}
#: What an outer launcher leaves in the environment of its ranks: with it, one that is started there refuses to, or
#: starts ranks that take themselves for the outer one's. Open MPI's settings (OMPI_MCA_…) are the user's, but for some.
_OUTER_RANK = re.compile(
    r"PMI_|PMIX_(?!MCA_)|HYDI_|MPI_LOCAL(NRANKS|RANKID)|MV2_COMM_WORLD_|PALS_|PRTE_LAUNCHED|OPAL_USER_PARAMS_GIVEN|"
    r"OMPI_(?!MCA_)|OMPI_MCA_(ess|orte_|initial_wdir|num_procs|pmix|PREFIXES|cpu_type)"
)
#: What makes a launcher use the hosts of a whole batch allocation, where this machine alone is meant.
_ALLOCATION = re.compile(
    r"SLURM_(JOB_?ID|(JOB_|STEP_)?(NODELIST|NUM_NODES|TASKS_PER_NODE)|STEP_?ID|STEP_|SRUN_|NNODES|NODEID|NTASKS|NPROCS|"
    r"PROCID|LOCALID|GTIDS|TASK_PID|LAUNCH_NODE|DISTRIBUTION|CPU_BIND|MPI_TYPE|PMI)|"
    r"PBS_(JOBID|NODEFILE|ENVIRONMENT)|LSB_(JOBID|HOSTS|MCPU_HOSTS|DJOB_HOSTFILE|AFFINITY_HOSTFILE)|PE_HOSTFILE|"
    r"COBALT_NODEFILE|OAR_NODEFILE|LOADL_HOSTFILE"
)


@dataclass(frozen=True, slots=True)
class Launcher:
    """A program that starts ranks, such as ``mpiexec``. `version` is empty where it does not tell."""

    path: str
    flavour: Flavour
    version: str

    def wrap(self, argv: Sequence[str], resources: Resources) -> tuple[tuple[str, ...], dict[str, str]]:
        """Return the command line that runs `argv` on the ranks, and the environment variables to add for it.

        Ranks are not bound to cores, so that several launches do not pile up on the first; all are on this
        machine unless `resources` ask for several nodes. What stems from an outer MPI launch, and on one machine
        from a batch allocation, is taken out of the environment. What the user has set in it is kept.
        """
        is_here = (resources.node_count or 1) == 1
        environment = {RANKS: str(resources.ranks), LAUNCHER: self.path}
        if resources.gpu_cores_per_process:
            environment[GPUS_PER_RANK] = str(resources.gpu_cores_per_process)
        environment.update(_unless_set(OMP_NUM_THREADS=str(resources.cpu_cores_per_process)))
        if is_here:
            environment.update(self._stay_here())
        command = (self.path, *self._options(resources, is_here), "-n", str(resources.ranks), *self._shield(argv))
        return (*_without(_inherited(is_here)), *command), environment

    def _options(self, resources: Resources, is_here: bool) -> list[str]:
        per_node = resources.processes_per_node or -(-resources.ranks // (resources.node_count or 1))
        if self.flavour == "mpich":
            return [] if is_here else ["-ppn", str(per_node)]
        if self.flavour == "other":
            return []
        as_root = ["--allow-run-as-root"] if os.geteuid() == 0 else []
        mapping = ":OVERSUBSCRIBE" if is_here else f"ppr:{per_node}:node:OVERSUBSCRIBE"
        return [*as_root, "--bind-to", "none", "--map-by", mapping]

    def _stay_here(self) -> dict[str, str]:
        environment: dict[str, str] = {}
        if self.flavour == "mpich":
            environment.update(_unless_set(HYDRA_LAUNCHER="fork", HYDRA_RMK="user", I_MPI_HYDRA_BOOTSTRAP="fork"))
        if sys.platform == "linux":  # ranks that share a machine need no other network than its own
            if "UCX_TLS" not in os.environ:
                environment.update(_unless_set(UCX_NET_DEVICES="lo"))
            if self.flavour == "openmpi" and "OMPI_MCA_btl_tcp_if_exclude" not in os.environ:
                environment.update(_unless_set(OMPI_MCA_btl_tcp_if_include="lo"))
        return environment

    def _shield(self, argv: Sequence[str]) -> tuple[str, ...]:
        """Hide what the launcher takes for its own: each a lone colon, Open MPI 5 some of the program's options."""
        risky = any(part == ":" or (self.flavour == "openmpi" and part.startswith("--")) for part in argv[1:])
        return ("/bin/sh", "-c", f"exec {shlex.join(argv)}") if risky else tuple(argv)


def find_launcher(search: str | None = None) -> Launcher | None:
    """Return the launcher to use, or None where there is none that works.

    `search` is a list of directories as in PATH; without it, the directory of this Python comes first, where
    the wheels of MPICH and Open MPI put theirs, and then PATH.
    """
    if search is None:
        search = os.pathsep.join((os.path.dirname(sys.executable), os.environ.get("PATH", os.defpath)))
    for directory in dict.fromkeys(search.split(os.pathsep)):
        for name in _NAMES:
            path = shutil.which(name, path=directory) if directory else None
            launcher = _inspect(os.path.abspath(path)) if path else None
            if launcher is not None:
                return launcher
    return None


@functools.lru_cache(maxsize=64)
def _inspect(path: str) -> Launcher | None:
    try:
        told = subprocess.run(  # noqa: S603  a launcher found on the user's PATH
            [path, "--version"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=30,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    if told.returncode:
        return None
    return _recognise(path, told.stdout + told.stderr)


def _recognise(path: str, text: str) -> Launcher:
    version = re.search(r"\d+(\.\d+)+\w*", text)
    flavour: Flavour = next((flavour for flavour, sign in _SIGNS.items() if sign.search(text)), "other")
    return Launcher(path, flavour, version[0] if version else "")


def _unless_set(**variables: str) -> dict[str, str]:
    return {name: value for name, value in variables.items() if name not in os.environ}


def _inherited(is_here: bool) -> list[str]:
    return sorted(name for name in os.environ if _OUTER_RANK.match(name) or (is_here and _ALLOCATION.match(name)))


def _without(names: Sequence[str]) -> list[str]:
    """The front of a command line that runs the rest without these environment variables."""
    return ["/usr/bin/env", *(part for name in names for part in ("-u", name))] if names else []
