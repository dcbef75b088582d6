"""The port to batch systems: text in, text out. A scheduler is one file here or in a package of yours."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from harmony.errors import InvalidJobException
from harmony.jobs.attributes import JobAttributes
from harmony.jobs.executor import Dependencies
from harmony.jobs.resource_spec import ResourceSpecV1
from harmony.jobs.shell import Completed
from harmony.jobs.spec import JobSpec
from harmony.jobs.state import JobState, JobStatus, Reason


class NoAnswer(Exception):
    """The scheduler's answer cannot be relied on: the command failed, or says something else than what was asked.

    It only delays news; no job's state depends on it.
    """


class NoAccounting(NoAnswer):
    """There is no accounting here, and asking again will not change that."""


@dataclass(frozen=True)
class Order:
    """One submission: what a scheduler's directives are made of.

    `log` is the absolute path that takes what the job script itself prints, both streams. `size` is the number of
    tasks of an array job, None for a job that is none; all of its tasks share these directives.
    """

    spec: JobSpec
    log: str
    size: int | None = None
    dependencies: Dependencies = field(default_factory=Dependencies)

    @property
    def resources(self) -> ResourceSpecV1:
        """What the job asks for."""
        return self.spec.resources_v1

    @property
    def attributes(self) -> JobAttributes:
        """Walltime, queue and the like."""
        return self.spec.attributes

    @property
    def seconds(self) -> int:
        """The walltime in whole seconds, rounded up, at least 1."""
        return max(1, -(-int(self.attributes.duration.total_seconds() * 1000) // 1000))

    @property
    def minutes(self) -> int:
        """The walltime in whole minutes, rounded up, at least 1."""
        return -(-self.seconds // 60)

    @property
    def name(self) -> str:
        """The job's name in one line, without control characters."""
        name = self.spec.name or "job"
        return "".join(letter if ord(letter) >= 32 else " " for letter in name.rpartition("/")[2] or name)


class Scheduler(ABC):
    """What is particular to a batch system: its directives, its commands, and how their output is read.

    It holds no state, starts nothing and touches no file: `BatchJobExecutor` does, for all of them.

    To add one, register a subclass under the entry point group ``harmony.executors``. A field of the job that the
    system cannot honour is refused with `refuse`, never dropped.
    """

    #: Its name, and prefix of its custom attributes (with `aliases`).
    name: ClassVar[str]
    aliases: ClassVar[tuple[str, ...]] = ()
    #: A regular expression that every id matches as a whole.
    id_form: ClassVar[str] = r"\w[\w.,:@\[\]+-]*"
    #: Shell text of the 0-based index of an array job's task, e.g. ``$SLURM_ARRAY_TASK_ID``; empty: no array jobs.
    array_index: ClassVar[str] = ""
    #: The most tasks that one array job is given.
    array_limit: ClassVar[int] = 1000
    #: Shell text of how often this job was started anew, where the system says so.
    attempt: ClassVar[str] = "0"
    #: The signals that `signal_command` can send by name; without, a cancel's grace is the system's own.
    can_signal: ClassVar[bool] = False

    # -- submitting

    @abstractmethod
    def directives(self, order: Order) -> list[str]:
        """The lines at the head of the job script (``#SBATCH …``), each value quoted as this system wants it.

        Raises `InvalidJobException` through `refuse` for a field that it cannot honour.
        """

    def preamble(self, order: Order) -> list[str]:
        """Shell lines at the start of the script's body. Each job's working directory is set by the body itself.

        They may define the shell function ``psij_nodes``, which prints the names of the job's nodes, one a line; the
        nodefile is made of it. Without, the nodefile names this host.
        """
        return []

    @abstractmethod
    def submit_command(self, script: str) -> list[str]:
        """The command that submits the job script of that path."""

    def submit_command_in(self, environment: Mapping[str, str] | None, script: str) -> list[str]:
        """The same where the environment is known; a shorter command may do there."""
        return self.submit_command(script)

    @abstractmethod
    def native_id(self, out: str) -> str:
        """The id in what the submission printed. Raises `ValueError` if there is none."""

    def array_ids(self, native_id: str, size: int) -> list[str]:
        """The ids of an array job's tasks, as `statuses` and `outcomes` will name them."""
        raise NotImplementedError

    def refusal_is_transient(self, done: Completed) -> bool:
        """Whether a submission that failed may succeed when it is tried again."""
        return is_transient(done.complaint)

    # -- knowing

    @abstractmethod
    def status_command(self, ids: Sequence[str]) -> list[str]:
        """One command that tells about all these jobs; it may tell about others too."""

    @abstractmethod
    def statuses(self, done: Completed) -> dict[str, JobStatus]:
        """What the status command has told, by native id. A job that is not in it is not in the queue (any more).

        A line that cannot be read is left out, and spoils no other. Raises `NoAnswer` when the absence of a job means
        nothing, because the command has failed as a whole. A state that this file does not know is given as ACTIVE or
        QUEUED with the native state in the metadata, never as a final one. A final state without an exit code and
        without a reason means: it has ended, evidence of how is elsewhere.
        """

    def accounting_command(self, ids: Sequence[str]) -> list[str] | None:
        """One command that tells how jobs have ended that the queue knows nothing of any more; None: no such."""
        return None

    def outcomes(self, done: Completed) -> dict[str, JobStatus]:
        """What the accounting command has told, by native id: final states with exit code and reason; others too.

        Raises `NoAccounting` when it is switched off here, `NoAnswer` when it has failed as a whole.
        """
        raise NoAccounting(f"{self.name} has no accounting")

    # -- acting

    @abstractmethod
    def cancel_command(self, ids: Sequence[str]) -> list[str]:
        """The command that ends these jobs. Ids may be those of an array job's tasks."""

    def cancel_failed(self, done: Completed) -> bool:
        """Whether the jobs may not have been cancelled; False when they have ended or are gone already."""
        return done.code != 0

    def signal_command(self, ids: Sequence[str], signal: str) -> list[str]:
        """The command that sends a signal (``"TERM"``) to the programs of these jobs, if `can_signal`."""
        raise NotImplementedError

    @abstractmethod
    def list_command(self) -> list[str]:
        """The command that shows this user's jobs."""

    @abstractmethod
    def listed(self, done: Completed) -> list[str]:
        """The ids in what it printed. Raises `NoAnswer`."""

    # -- what their files share

    def options(self, order: Order) -> dict[str, str | None]:
        """The job's custom attributes for this system; None stands for an option without a value."""
        return order.attributes.options(self.name, *self.aliases)

    def refuse(self, field: str, value: object, why: str) -> InvalidJobException:
        """Return the error for a field that this system cannot honour."""
        return InvalidJobException(f"{field}={value!r} cannot be had from {self.name}: {why}")


_TRANSIENT_SIGNS = (
    "timed out", "timeout", "try again", "temporarily", "unable to contact", "cannot connect", "unable to connect",
    "failed to connect", "connection error", "can't find address", "connection refused",
    "connection reset", "communication", "busy", "not responding", "unavailable", "socket", "too many requests",
    "cannot contact", "can't contact", "no route to host", "resource temporarily", "retry",
)  # fmt: skip


def is_transient(complaint: str) -> bool:
    """Whether a scheduler's complaint speaks of a passing trouble, in the words that they all use."""
    text = complaint.lower()
    return any(sign in text for sign in _TRANSIENT_SIGNS)


def one_line(field: str, value: str) -> str:
    """Return a value that may stand in a directive. Raises `InvalidJobException` for one with control characters."""
    if any(ord(letter) < 32 or letter == "\x7f" for letter in value):
        raise InvalidJobException(f"{field}={value!r} cannot stand in a job script's directive: it must be one line")
    return value


def ended(
    exit_code: int | None = None, signal: int | None = None, native_state: str = "", **metadata: object
) -> JobStatus:
    """Return the status of a job that ended by itself with this exit code or by this signal (None: not known)."""
    facts: dict[str, object] = {"native_state": native_state} if native_state else {}
    facts.update(metadata)
    if signal:
        facts.update(reason=Reason.SIGNAL, signal=signal)
        return JobStatus(JobState.FAILED, message=f"ended by signal {signal}", exit_code=128 + signal, metadata=facts)
    if exit_code:
        facts.update(reason=Reason.EXIT)
        return JobStatus(
            JobState.FAILED, message=f"ended with exit status {exit_code}", exit_code=exit_code, metadata=facts
        )
    return JobStatus(JobState.COMPLETED, exit_code=exit_code, metadata=facts)


def failed(reason: Reason, native_state: str, message: str, exit_code: int | None = None) -> JobStatus:
    """Return the status of a job that something else than its program has ended."""
    state = JobState.CANCELED if reason is Reason.CANCELED else JobState.FAILED
    facts: Mapping[str, object] = {"reason": reason, "native_state": native_state}
    return JobStatus(state, message=message, exit_code=exit_code, metadata=facts)
