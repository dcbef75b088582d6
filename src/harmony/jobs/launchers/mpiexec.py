"""MPI's own launcher under the name that the MPI standard gives it."""

from __future__ import annotations

from typing import ClassVar

from harmony.jobs.launchers.mpirun import Mpirun


class Mpiexec(Mpirun):
    """Does what `Mpirun` does; for systems that have only ``mpiexec``."""

    name: ClassVar[str] = "mpiexec"
