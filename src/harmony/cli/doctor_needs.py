"""What an engine or a scheduler needs on this machine, what of it is here, and how the rest is installed.

Nothing of theirs is imported for it, but the schedulers' own files of Harmony.
"""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, PackageNotFoundError, entry_points, version
from importlib.util import find_spec
from typing import TYPE_CHECKING, NamedTuple

from harmony import plugins, system
from harmony.errors import PluginError
from harmony.jobs.executor import EXECUTORS, satisfies

if TYPE_CHECKING:
    from harmony.jobs import Scheduler

GROUPS = {"engine": plugins.ENGINES, "scheduler": EXECUTORS}


class Foreign(NamedTuple):
    """What pip does not install: modules and programs, and the command that does."""

    install: str
    modules: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()


_FOREIGN = {
    "taskvine": Foreign("conda install -c conda-forge ndcctools", ("ndcctools.taskvine",), ("vine_worker",)),
    "workqueue": Foreign("apt install coop-computing-tools", (), ("work_queue_worker",)),
}


@dataclass
class Subject:
    """An engine or a scheduler that is registered, and what is here of what it needs.

    `versions` are those of the systems behind it; `missing` is what is not here, and `install` the command that changes
    this. `modules` and `programs` are what it needs besides Python packages.
    """

    kind: str
    name: str
    distribution: str
    versions: dict[str, str] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    install: str | None = None
    packages: list[str] = field(default_factory=list)
    modules: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()


def registered(names: Sequence[str] = ()) -> list[Subject]:
    """Return all engines and schedulers that are registered, or those of these names.

    Raises `PluginError` for a name that is neither.
    """
    points = [(kind, point) for kind, group in GROUPS.items() for point in sorted(entry_points(group=group))]
    known = sorted({point.name for _, point in points})
    for name in names:
        if name not in known:
            raise PluginError(f"there is no engine or scheduler {name!r}. Known here: {', '.join(known)}")
    once = {(kind, point.name): point for kind, point in reversed(points) if not names or point.name in names}
    return [_subject(kind, point) for (kind, _), point in reversed(once.items())]


def _subject(kind: str, point: EntryPoint) -> Subject:
    distribution = point.dist.name if point.dist else ""
    subject = Subject(kind, point.name, distribution)
    if kind == "engine":
        _look_at_packages(subject)
        _look_at_foreign(subject)
        if not (subject.versions or subject.missing or subject.programs):
            _take_own_version(subject, point)
    elif distribution == system.DISTRIBUTION:
        _look_at_commands(subject, point)
    return subject


def _look_at_packages(subject: Subject) -> None:
    """The extra of the engine's name is what it needs."""
    try:
        asked = [item for item in system.requirements(subject.distribution) if item.extra == subject.name]
    except PackageNotFoundError:
        return
    for item in asked:
        try:
            found = version(item.name)
        except PackageNotFoundError:
            if not item.is_conditional:
                subject.missing.append(f"{item.name}{item.constraint}")
            continue
        subject.packages.append(item.name)
        subject.versions[item.name] = found
        if not _fits(found, item.constraint):
            subject.missing.append(f"{item.name}{item.constraint} (here is {found})")
    if subject.missing:
        subject.install = f"pip install '{subject.distribution}[{subject.name}]'"


def _fits(found: str, constraint: str) -> bool:
    try:
        return not constraint or satisfies(found, constraint)
    except PluginError:  # more than `satisfies` knows
        return True


def _look_at_foreign(subject: Subject) -> None:
    needs = _FOREIGN.get(subject.name) if subject.distribution == system.DISTRIBUTION else None
    if needs is None:
        return
    absent = [name for name in needs.modules if not _is_there(name)]
    absent += [name for name in needs.programs if shutil.which(name) is None]
    subject.modules, subject.programs = needs.modules, needs.programs
    subject.missing += absent
    if absent:
        subject.install = needs.install


def _is_there(module: str) -> bool:
    try:
        return find_spec(module.partition(".")[0]) is not None
    except (ImportError, ValueError):
        return False


def _look_at_commands(subject: Subject, point: EntryPoint) -> None:
    from harmony.jobs import Scheduler

    scheduler = point.load()
    if issubclass(scheduler, Scheduler):
        subject.missing = absent_commands(scheduler())
    else:
        _take_own_version(subject, point)


def _take_own_version(subject: Subject, point: EntryPoint) -> None:
    if point.dist:
        subject.versions = {point.dist.name: point.dist.version}


def absent_commands(scheduler: Scheduler) -> list[str]:
    """Return the programs that are not on the PATH, of those for submitting, asking and cancelling."""
    lines = (
        scheduler.submit_command("script"),
        scheduler.status_command(["1"]),
        scheduler.list_command(),
        scheduler.cancel_command(["1"]),
    )
    return [name for name in dict.fromkeys(map(_program, lines)) if shutil.which(name) is None]


def _program(command: Sequence[str]) -> str:
    """The program behind a command, which may be a line for the shell."""
    if command[0] != "sh":
        return command[0]
    if len(command) > 3:  # what the shell is told to call itself
        return command[3]
    found = re.search(r"\bexec\s+(\S+)", command[2])
    return found[1] if found else shlex.split(command[2])[0]
