"""Task: a unit of work, as a value; and the states it goes through."""

from __future__ import annotations

import enum
import os
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from harmony.core.data import File
from harmony.core.retry import Retry
from harmony.errors import ConfigError
from harmony.resources import Resources


class TaskState(enum.IntEnum):
    """Where a task is. `NEXT` says where it can go from there."""

    WAITING = 0
    SUBMITTED = 1
    RUNNING = 2
    DONE = 3
    FAILED = 4
    CANCELLED = 5

    @property
    def is_final(self) -> bool:
        """True for a state that no task leaves."""
        return self >= TaskState.DONE


_S = TaskState
#: state → the states that may follow. Back to WAITING is another try, or a join that waits for its parts.
NEXT: Mapping[TaskState, frozenset[TaskState]] = {
    _S.WAITING: frozenset({_S.SUBMITTED, _S.FAILED, _S.CANCELLED, _S.DONE}),
    _S.SUBMITTED: frozenset({_S.RUNNING, _S.DONE, _S.FAILED, _S.CANCELLED, _S.WAITING}),
    _S.RUNNING: frozenset({_S.DONE, _S.FAILED, _S.CANCELLED, _S.WAITING}),
    _S.DONE: frozenset(),
    _S.FAILED: frozenset(),
    _S.CANCELLED: frozenset(),
}


class Call(NamedTuple):
    """A Python function with its arguments. With ranks it runs on each, given `comm` if it has that parameter."""

    fn: Callable[..., Any]
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = {}


@dataclass(frozen=True, slots=True)
class Command:
    """A program to start: a tuple of texts and paths runs as it is, a text goes to ``/bin/sh -c``.

    `stdout` and `stderr` are files to write, or None to capture the end of the stream;
    `stdin` is a file to read, or None for no input.
    """

    args: tuple[str, ...] | str
    stdin: str | None = None
    stdout: str | None = None
    stderr: str | None = None

    def __post_init__(self) -> None:
        if isinstance(self.args, str):
            empty = not self.args.strip()
        else:
            object.__setattr__(self, "args", tuple(os.fspath(part) for part in self.args))
            empty = not self.args or not self.args[0]
        for stream in ("stdin", "stdout", "stderr"):
            path = getattr(self, stream)
            object.__setattr__(self, stream, None if path is None else os.fspath(path))
        if empty:
            raise ConfigError(f"a command is empty: {self.args!r}; give a program and its arguments")
        if "\0" in (self.args if isinstance(self.args, str) else "".join(self.args)):
            raise ConfigError(f"a command has a NUL character, which no program can be given: {self.args!r}")

    @property
    def argv(self) -> tuple[str, ...]:
        """What is handed to the operating system."""
        return ("/bin/sh", "-c", self.args) if isinstance(self.args, str) else self.args

    def __str__(self) -> str:
        return self.args if isinstance(self.args, str) else shlex.join(self.args)


class Template(NamedTuple):
    """A command that is not known yet: `build` makes it, in the driver, once its arguments are."""

    build: Callable[..., Command]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]


class Join(NamedTuple):
    """A function that runs in the driver and returns futures; the task ends when they have."""

    fn: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]


Work = Call | Command | Template | Join


@dataclass(frozen=True, slots=True)
class CommandResult:
    """How a command that ended with status 0 went.

    `stdout` and `stderr` hold what was captured (at most the last 8 MiB), or "" when the stream went
    to a file; `outputs` are its declared output files, in the order of the parameters.
    """

    command: str
    stdout: str = ""
    stderr: str = ""
    seconds: float = 0.0
    outputs: tuple[File, ...] = ()


#: When the result of a task may be used again; see `Options`.
CACHES = ("never", "run", "always")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How a task is to be run; one value shared by all calls of a decorated function.

    `walltime` is in seconds; `environment` is added to the worker's; `directory` is made if it is
    missing; `engine` names one of the workflow's engines, None leaves the choice to placement.

    `cache` says when a result may stand for another: "run", for the same call in an earlier run of the same
    program; "always", for any call with the same content, also in other programs of the store and at the same
    time; "never". `relevant` names variables of the driver's environment that are part of the content.
    """

    resources: Resources = field(default_factory=Resources)
    walltime: float | None = None
    retry: Retry = field(default_factory=Retry)
    environment: tuple[tuple[str, str], ...] = ()
    directory: str | None = None
    engine: str | None = None
    cache: str = "run"
    relevant: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.cache not in CACHES:
            raise ConfigError(f"cache={self.cache!r} must be one of {', '.join(map(repr, CACHES))}")
        walltime: object = self.walltime
        if walltime is not None and (not isinstance(walltime, (int, float)) or not walltime > 0):
            raise ConfigError(f"walltime={walltime!r} must be a number of seconds, more than 0")
        for key, value in self.environment:
            if not key or "=" in key or "\0" in key + value:
                raise ConfigError(f"environment has {key!r}={value!r}, which no process can be given")


DEFAULT = Options()


class Task(NamedTuple):
    """A unit of work: what to do, how, and which files it reads and writes."""

    work: Work
    name: str = "task"
    options: Options = DEFAULT
    inputs: tuple[File, ...] = ()
    outputs: tuple[File, ...] = ()
