"""One process on the job's first node, started by the job script itself."""

from __future__ import annotations

from typing import ClassVar

from harmony.jobs.launcher import Launcher
from harmony.jobs.spec import JobSpec


class Single(Launcher):
    """Starts one process, whatever number was asked for: the program does the rest itself."""

    name: ClassVar[str] = "single"
    starts_here: ClassVar[bool] = True

    def prefix(self, spec: JobSpec) -> list[str]:
        """Nothing stands before the program."""
        return []
