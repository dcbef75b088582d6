"""The port to launchers: what starts a job's processes on its nodes."""

from __future__ import annotations

import shlex
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from harmony import plugins
from harmony.errors import InvalidJobException, PluginError
from harmony.jobs.spec import JobSpec

LAUNCHERS = "harmony.launchers"
DEFAULT_LAUNCHER_NAME = "single"


class Launcher(ABC):
    """Makes the command that starts the processes of a job, within its allocation.

    To add one, register a subclass under the entry point group ``harmony.launchers``.
    """

    name: ClassVar[str]
    #: True when the program is started by the job script's own shell, on the job's first node.
    starts_here: ClassVar[bool] = False
    #: The variable that is set within an allocation, where the launcher, without one, would ask for another job.
    allocation: ClassVar[str] = ""
    DEFAULT_LAUNCHER_NAME: ClassVar[str] = DEFAULT_LAUNCHER_NAME

    @abstractmethod
    def prefix(self, spec: JobSpec) -> list[str]:
        """The words before the executable: the launcher, and what it must know of the job's resources.

        ``spec.launcher_options`` are put behind them by `shell_command`. Raises `InvalidJobException` for resources
        that it cannot start.
        """

    def shell_command(self, spec: JobSpec, program: str) -> str:
        """Shell text that runs `program` (shell text itself, every word quoted) on the job's processes.

        It must end when all of them have, with 0 only if all have ended well.
        """
        words = [*self.prefix(spec), *(spec.launcher_options or [])]
        return " ".join([*map(shlex.quote, words), program])

    def get_launch_command(self, job: object) -> list[str]:
        """The whole command as a list, as psij-python's launchers give it."""
        spec = getattr(job, "spec", job)
        assert isinstance(spec, JobSpec)
        words: Sequence[str] = [*self.prefix(spec), *(spec.launcher_options or [])]
        return [*words, spec.executable or "", *(spec.arguments or [])]

    @staticmethod
    def get_instance(name: str) -> Launcher:
        """Return a launcher by its name. Raises `PluginError` for one that nobody registered."""
        launcher: Launcher = plugins.load(LAUNCHERS, name)()
        return launcher

    @staticmethod
    def get_launcher_names() -> set[str]:
        """The names that `get_instance` knows here."""
        return set(plugins.names(LAUNCHERS))


class Launchers:
    """The launchers that an executor has met, so that each is looked up once."""

    def __init__(self) -> None:
        self._known: dict[str, Launcher] = {}

    def of(self, spec: JobSpec) -> Launcher:
        """Return the launcher of a specification. Raises `InvalidJobException` for one that nobody registered."""
        name = spec.launcher or DEFAULT_LAUNCHER_NAME
        found = self._known.get(name)
        if found is None:
            try:
                found = self._known[name] = Launcher.get_instance(name)
            except PluginError as error:
                raise InvalidJobException(f"launcher={name!r}: {error}", error) from error
        return found
