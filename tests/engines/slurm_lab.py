"""What tests of engines on a real Slurm share: an engine whose fleet asks often, and who tells what."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.jobs import systems

from harmony.conformance.engines import Driver
from harmony.core.engine import Notice
from harmony.engines._blocks import BlockEngine


class Lab(Driver):
    """Drives an engine on a site of which `folder` is the work directory, and waits for its notices."""

    def __init__(self, engine: BlockEngine, folder: Path, patience: float) -> None:
        engine._fleet._config = systems.config(folder)
        super().__init__(engine, patience)

    def hear(self, kind: str, count: int = 1) -> list[Notice]:
        """Wait for so many notices of a kind."""

        def found() -> list[Notice]:
            return [notice for notice in self.notices if notice.kind == kind]

        with self._changed:
            assert self._changed.wait_for(lambda: len(found()) >= count, self.patience), self.notices
        return found()


def command(*words: str) -> str:
    """Run a command of Slurm's, which must end well; return what it printed."""
    return subprocess.run(words, check=True, capture_output=True, text=True, timeout=30).stdout
