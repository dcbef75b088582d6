"""One process on the job's first node, started by the job script itself."""

from __future__ import annotations

from typing import ClassVar

from harmony.errors import InvalidJobException
from harmony.jobs.launcher import Launcher
from harmony.jobs.spec import JobSpec


class Single(Launcher):
    """Starts one process, whatever number was asked for: the program does the rest itself."""

    name: ClassVar[str] = "single"
    starts_here: ClassVar[bool] = True

    def prefix(self, spec: JobSpec) -> list[str]:
        """Nothing stands before the program."""
        return []

    def shell_command(self, spec: JobSpec, program: str) -> str:
        """Have the job script become the program. Raises `InvalidJobException` for options, of which it has none."""
        if spec.launcher_options:
            raise InvalidJobException(
                f"launcher_options={spec.launcher_options!r}: the launcher 'single' has no options"
            )
        return f"psij_start {program}"
