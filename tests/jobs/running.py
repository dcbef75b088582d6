"""Running job scripts with the shell itself, no batch system around them."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from harmony.jobs.launcher import Launcher
from harmony.jobs.script import Frame, Marker, Place, job_script
from harmony.jobs.spec import JobSpec

PATIENCE = 60.0


def command(*argv: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, whatever that is."""
    return subprocess.run(argv, check=False, env=environment, capture_output=True, text=True, timeout=2 * PATIENCE)


@dataclass
class Ran:
    """What is left of a job script that has run."""

    code: int
    markers: list[Marker]
    log: str

    @property
    def end(self) -> tuple[int | None, str]:
        """Code and phase of the one end that was reported."""
        (end,) = (marker for marker in self.markers if marker.code is not None)
        assert end.code is not None
        return end.code, end.phase

    @property
    def states(self) -> list[str]:
        """The states on the way, in the order of a job's life."""
        states = [marker.state for marker in self.markers if marker.state is not None]
        return [state.name for state in sorted(states, key=lambda state: state.order)]


class Bench:
    """A directory in which job scripts find all that they expect."""

    def __init__(self, root: Path) -> None:
        self.place = Place(str(root / "D"), "job-1")
        (root / "D" / "news").mkdir(parents=True, exist_ok=True)
        self.home = root / "home"

    def write(self, spec: JobSpec, **options: Any) -> str:
        """Write the job's script, with the launcher that it names, and return its path."""
        if spec.directory is None:
            spec.directory = self.home
        spec.check()
        launcher = Launcher.get_instance(spec.launcher or "single")
        framed = {field.name for field in fields(Frame)}
        frame = Frame(**{name: options.pop(name) for name in framed & options.keys()})
        Path(self.place.script).write_text(job_script(spec, self.place, launcher, frame, **options))
        return self.place.script

    def start(
        self, spec: JobSpec, environment: dict[str, str] | None = None, **options: Any
    ) -> subprocess.Popen[bytes]:
        """Write the job's script and start it as the leader of a session, as every batch system does."""
        self.write(spec, **options)
        return self.start_written(environment)

    def start_written(self, environment: dict[str, str] | None = None) -> subprocess.Popen[bytes]:
        """Start the script that was written last."""
        with open(self.place.log, "wb") as log:
            return subprocess.Popen(
                ["/bin/bash", self.place.script],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=os.environ if environment is None else environment,
                start_new_session=True,
            )

    def ended(self, process: subprocess.Popen[bytes]) -> Ran:
        """Wait for the script; return what it has left."""
        try:
            code = process.wait(PATIENCE)
        finally:
            process.kill()
            process.wait()
        news = Path(self.place.news)
        names = sorted(os.listdir(news)) if news.is_dir() else []
        markers = [marker for name in names if (marker := Marker.parse(name))]
        return Ran(code, markers, Path(self.place.log).read_text(errors="replace"))

    def run(self, spec: JobSpec, environment: dict[str, str] | None = None, **options: Any) -> Ran:
        """Run the job's script to its end."""
        for name in os.listdir(self.place.news) if os.path.isdir(self.place.news) else ():
            os.unlink(os.path.join(self.place.news, name))
        return self.ended(self.start(spec, environment, **options))
