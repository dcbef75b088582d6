"""What emulated batch systems speak of: calls of their commands, jobs and how they end, faults."""

from __future__ import annotations

import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum


class State(Enum):
    """Where a job is."""

    HELD = "held"
    WAITING = "waiting"
    RUNNING = "running"
    ENDED = "ended"


class How(Enum):
    """What has ended a job, or is about to."""

    EXITED = "exited"
    CANCELLED = "cancelled"
    TIMEOUT = "timeout"
    NODE_FAILED = "node failed"
    PREEMPTED = "preempted"
    OUT_OF_MEMORY = "out of memory"
    LAUNCH_FAILED = "launch failed"
    DEPENDENCY = "dependency"
    REQUEUED = "requeued"


@dataclass(frozen=True)
class Call:
    """One command that a user has typed. `stdin` is None until `NeedsInput` has asked for it."""

    program: str
    argv: tuple[str, ...]
    directory: str
    environment: Mapping[str, str]
    stdin: bytes | None = None


class NeedsInput(Exception):
    """Raised by a dialect whose command reads its standard input: it is called again with ``call.stdin``."""


class Refused(Exception):
    """Raised by a dialect: the command prints this complaint on stderr and ends with `code`."""

    def __init__(self, complaint: str, code: int = 1) -> None:
        super().__init__(complaint)
        self.complaint, self.code = complaint, code


@dataclass(frozen=True)
class Reply:
    """What a command prints and its exit status; with `execute` it becomes that program instead.

    `environment` is added to that program's; one with None is taken out.
    """

    out: str = ""
    err: str = ""
    code: int = 0
    execute: tuple[str, ...] = ()
    environment: Mapping[str, str | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Dependency:
    """What a job waits for: that others have started ("after"), ended well ("ok"), badly ("notok"), or ended ("any").

    `alternatives` is True where one of several dependencies is enough.
    """

    kind: str
    ids: tuple[str, ...]
    alternatives: bool = False


@dataclass(frozen=True)
class Streams:
    """Where a job's standard streams go: absolute paths, or None for /dev/null; stderr "" is the same as stdout.

    `late` has what it prints appear at the end of the job only, as systems do that copy it from the node.
    """

    stdin: str | None = None
    stdout: str | None = None
    stderr: str | None = ""
    append: bool = False
    late: bool = False


@dataclass(frozen=True)
class Request:
    """What a submission has asked for: what every system knows by some name; the rest is in `extra`."""

    script: str
    arguments: tuple[str, ...] = ()
    name: str = "job"
    user: str = "user"
    queue: str = ""
    account: str = ""
    directory: str = "/"
    environment: Mapping[str, str] = field(default_factory=dict)
    nodes: int = 1
    cores: int = 1  # on each node
    gpus: int = 0  # on each node
    exclusive: bool = False
    limit: float | None = None  # seconds
    stdin: str | None = None
    stdout: str | None = None  # as written: the dialect's `streams` expands it
    stderr: str | None = None
    held: bool = False
    requeue: bool = True
    tasks: tuple[int, ...] | None = None  # the indices of an array job
    tasks_at_once: int = 0  # 0: all
    dependencies: tuple[Dependency, ...] = ()
    end_if_never: bool = False  # a dependency that cannot be met ends the job
    start_after: float = 0.0  # seconds since the epoch
    extra: Mapping[str, str] = field(default_factory=dict)


@dataclass(eq=False)
class Job:
    """One job, or one task of an array job (`index` is not None then)."""

    id: str
    number: int
    request: Request
    submitted: float
    index: int | None = None
    state: State = State.WAITING
    reason: str = ""  # why it waits, in the words of the engine: "" "resources" "dependency" "never" "hold" "launch"
    how: How | None = None  # while it runs: what is ending it
    eligible: float = 0.0
    started: float | None = None
    ended: float | None = None
    nodes: tuple[str, ...] = ()
    restarts: int = 0
    status: int | None = None  # as Popen.returncode has it: negative for a signal
    pid: int = 0
    visible: bool = True  # False once the queue has forgotten it
    foreign: bool = False  # another user's: nothing runs
    note: str = ""  # any words that a dialect wants to show

    @property
    def exit_code(self) -> int:
        """Its exit status, 0 if a signal has ended it."""
        return self.status if self.status is not None and self.status > 0 else 0

    @property
    def signal(self) -> int:
        """The number of the signal that has ended it, or 0."""
        return -self.status if self.status is not None and self.status < 0 else 0

    @property
    def well(self) -> bool:
        """Whether it has ended with status 0."""
        return self.state is State.ENDED and self.how is How.EXITED and self.status == 0

    def elapsed(self, now: float) -> float:
        """How long it has run, in seconds."""
        return 0.0 if self.started is None else (self.ended if self.ended is not None else now) - self.started


@dataclass(eq=False)
class Node:
    """A node: part of this machine under a name."""

    name: str
    cores: int
    free: int = 0
    up: bool = True
    gpus: int = 0

    def __post_init__(self) -> None:
        self.free = self.cores


@dataclass
class Fault:
    """What goes wrong with the next `times` calls of a command (-1: with all).

    `delay` seconds pass first; with `hang` no answer comes until the emulator is closed or the fault is cleared. With
    `complaint` the command prints it on stderr, ends with `code` and has no effect. Otherwise it does its work, and of
    what it prints `lines` are put among the lines of the answer, and only the first `cut` characters come.
    """

    times: int = 1
    delay: float = 0.0
    hang: bool = False
    complaint: str | None = None
    code: int = 1
    lines: Sequence[str] = ()
    cut: int | None = None


@dataclass
class Settings:
    """How an emulated batch system behaves.

    All but `nodes`, `cores`, `gpus` and `foreign` may be changed while it runs. `speed` has the time limits of jobs
    pass faster: with 60 a minute lasts a second. `keep` is how many seconds a job that has ended stays in the queue's
    memory; None: as this system does by default. `accounting` is whether ends are recorded there, `accounting_delay`
    how many seconds later. `failing_starts` is how many of the next starts fail. `refusal` has every submission
    refused with these words.
    """

    nodes: int = 4
    cores: int = 8
    gpus: int = 0
    foreign: int = 0
    queue_delay: float = 0.0
    requeue_delay: float = 0.0
    speed: float = 1.0
    kill_wait: float = 2.0
    keep: float | None = None
    accounting: bool = True
    accounting_delay: float = 0.0
    failing_starts: int = 0
    refusal: str = ""
    status_delay: float = 0.0
    held: bool = False  # nothing starts


#: Signals in a row, `Settings.kill_wait` seconds apart, before SIGKILL.
GENTLE = (signal.SIGTERM,)
