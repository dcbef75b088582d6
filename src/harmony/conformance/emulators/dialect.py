"""The port to emulated batch systems: one dialect is one file, text in, text out."""

from __future__ import annotations

import importlib
import os
import pwd
import signal
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from harmony.conformance.emulators.model import GENTLE, Call, How, Job, Refused, Reply, Streams

if TYPE_CHECKING:
    from harmony.conformance.emulators.engine import Machine

#: Name of the executor → where its dialect is.
DIALECTS = {
    "cobalt": "harmony.conformance.emulators.cobalt:Cobalt",
    "flux": "harmony.conformance.emulators.flux:Flux",
    "htcondor": "harmony.conformance.emulators.htcondor:HTCondor",
    "lsf": "harmony.conformance.emulators.lsf:LSF",
    "nqsv": "harmony.conformance.emulators.nqsv:NQSV",
    "oar": "harmony.conformance.emulators.oar:OAR",
    "pbs": "harmony.conformance.emulators.pbs:PBS",
    "pbs_classic": "harmony.conformance.emulators.pbs_classic:PBSClassic",
    "sge": "harmony.conformance.emulators.sge:GridEngine",
    "slurm": "harmony.conformance.emulators.slurm:Slurm",
}


def dialect(name: str) -> Dialect:
    """Return a dialect by the name of its executor. Raises `ValueError` for one that there is not."""
    if name not in DIALECTS:
        raise ValueError(f"there is no emulator of {name!r}; there are {', '.join(sorted(DIALECTS))}")
    module, _, attribute = DIALECTS[name].partition(":")
    made: Dialect = getattr(importlib.import_module(module), attribute)()
    return made


class Dialect(ABC):
    """What is particular to an emulated batch system: its commands, their options, what they print.

    It holds no jobs, starts nothing and writes no file: `Machine` does, for all of them. Its methods are called one at
    a time.
    """

    name: ClassVar[str]
    #: The commands that it has: each is a program of that name on the PATH.
    programs: ClassVar[tuple[str, ...]]
    #: Those among them that submit, and those that tell about jobs: `Settings.refusal` and `status_delay` mean them.
    submitting: ClassVar[tuple[str, ...]]
    telling: ClassVar[tuple[str, ...]]
    #: What a job is sent, `Settings.kill_wait` seconds apart, before SIGKILL, when it is cancelled or its time is up.
    cancel_signals: ClassVar[Sequence[signal.Signals]] = GENTLE
    timeout_signals: ClassVar[Sequence[signal.Signals]] = GENTLE
    #: How many seconds the queue remembers a job that has ended.
    keep: ClassVar[float] = 300.0
    #: Whether a job that cannot be started waits in an error state (reason "launch"), rather than ends.
    stuck: ClassVar[bool] = False
    #: Exit statuses of a job's script that are orders to the system.
    orders: ClassVar[Mapping[int, How]] = {}
    #: The number of the first job, and the host's name in ids.
    first_number: ClassVar[int] = 1
    server: ClassVar[str] = "emulator"
    #: Whether each task of an array job takes a number of its own.
    numbers_tasks: ClassVar[bool] = False
    #: What a command says when the system cannot be reached: complaint and exit status, `{program}` is the command.
    unreachable: ClassVar[tuple[str, int]] = ("{program}: cannot connect to server", 1)
    #: What a submission says that is refused for good, and for now.
    refusals: ClassVar[tuple[str, str]] = ("{program}: invalid account", "{program}: timed out, try again")

    @abstractmethod
    def answer(self, call: Call, machine: Machine) -> Reply:
        """Do what a command asks, and return what it prints.

        Raises `Refused` for what the real command refuses, `NeedsInput` when it must have its standard input.
        """

    @abstractmethod
    def job_id(self, number: int, index: int | None) -> str:
        """The id of a job, or of the task `index` of an array job, as this system's commands print it."""

    @abstractmethod
    def job_environment(self, job: Job, machine: Machine) -> Mapping[str, str]:
        """The variables that the system sets in a job, beyond those of its request."""

    @abstractmethod
    def streams(self, job: Job) -> Streams:
        """Where a job's standard streams go."""

    def node_files(self, job: Job) -> Mapping[str, str]:
        """Files that the system writes for a job: the variable that names each, and its text."""
        return {}

    def directory(self, job: Job) -> str:
        """Where a job's script starts."""
        return job.request.directory

    def status_environment(self) -> Mapping[str, str]:
        """What users of this system have in their environment (as ``SGE_ROOT``)."""
        return {}


# -- what dialects share


def plain_environment(bin_directory: str) -> dict[str, str]:
    """The environment of a fresh log-in: what a job has that inherits nothing."""
    me = pwd.getpwuid(os.getuid())
    path = f"{bin_directory}:/usr/local/bin:/usr/bin:/bin"
    return {"HOME": me.pw_dir, "LOGNAME": me.pw_name, "PATH": path, "SHELL": me.pw_shell, "USER": me.pw_name}


def user_name() -> str:
    """The name of the user who runs this."""
    return pwd.getpwuid(os.getuid()).pw_name


def read_script(path: str, call: Call, complain: Callable[[str, str], str]) -> str:
    """Return the text of a script file; `complain` makes the complaint of its name and the system's words."""
    full = os.path.join(call.directory, path)
    try:
        with open(full, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except OSError as error:
        raise Refused(complain(path, error.strerror or str(error))) from error


def stamp(seconds: float | None, form: str, missing: str = "") -> str:
    """A moment in local time, as `time.strftime` has it."""
    return missing if seconds is None else time.strftime(form, time.localtime(seconds))


def clock(seconds: float) -> str:
    """A duration as ``HH:MM:SS``."""
    whole = int(seconds)
    return f"{whole // 3600:02d}:{whole % 3600 // 60:02d}:{whole % 60:02d}"
