"""Copies of the program on the job's first node, started by the job script itself."""

from __future__ import annotations

from typing import ClassVar

from harmony.errors import InvalidJobException
from harmony.jobs.launcher import Launcher
from harmony.jobs.spec import JobSpec


class Multiple(Launcher):
    """Starts `process_count` copies that know nothing of each other, all on the first node, as PSI/J says.

    Each finds its number, from 1, in ``_PSI_J_PROCESS_INDEX_`` and how many there are in ``_PSI_J_PROCESS_COUNT``, the
    names that psij-python uses. Each reads all of `stdin_path`; they share the output files. The job ends when the last
    has ended; its exit code is that of the first copy, in this order, that failed.
    """

    name: ClassVar[str] = "multiple"
    starts_here: ClassVar[bool] = True

    def prefix(self, spec: JobSpec) -> list[str]:
        """Nothing stands before the program. Raises `InvalidJobException` for options, of which it has none."""
        if spec.launcher_options:
            raise InvalidJobException(
                f"launcher_options={spec.launcher_options!r}: the launcher 'multiple' has no options"
            )
        return []

    def shell_command(self, spec: JobSpec, program: str) -> str:
        """Have the job script start the copies and wait for them."""
        self.prefix(spec)
        return f"psij_multiple {spec.resources_v1.computed_process_count} {program}"
