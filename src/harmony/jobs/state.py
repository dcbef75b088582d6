"""What is known of a job: its state, and the circumstances of its end."""

from __future__ import annotations

import time as clock
from collections.abc import Mapping
from enum import Enum
from typing import Any


class JobState(Enum):
    """The state of a job, as in PSI/J. States only move forward, and a final one stays.

    ``bool(state)`` is always true. `STAGE_IN`, `STAGE_OUT` and `CLEANUP` are passed through by every job, also by one
    that stages nothing.
    """

    NEW = (0, 0)
    QUEUED = (1, 1)
    STAGE_IN = (2, 2)
    ACTIVE = (3, 3)
    STAGE_OUT = (4, 4)
    CLEANUP = (5, 5)
    COMPLETED = (6, 6)
    FAILED = (7, 6)
    CANCELED = (8, 6)

    def __init__(self, number: int, order: int) -> None:
        self.order = order
        self.final = order == 6

    def is_greater_than(self, other: JobState) -> bool | None:
        """Whether this state comes after the other; None for two different final states, which no order relates."""
        if self.final and other.final and self is not other:
            return None
        return self.order > other.order

    @property
    def predecessor(self) -> JobState | None:
        """The state that must have been reported before this one; None for NEW, FAILED and CANCELED."""
        return _PREDECESSORS.get(self)

    @staticmethod
    def from_name(name: str) -> JobState:
        """Return the state of that name. Raises `ValueError` for a name that is none."""
        try:
            return JobState[name]
        except (KeyError, TypeError):
            raise ValueError(f"there is no job state {name!r}; they are {', '.join(JobState.__members__)}") from None

    def __str__(self) -> str:
        return self.name

    def __bool__(self) -> bool:
        return True

    def __hash__(self) -> int:
        return hash(self.name)


_PREDECESSORS = {
    JobState.QUEUED: JobState.NEW,
    JobState.STAGE_IN: JobState.QUEUED,
    JobState.ACTIVE: JobState.STAGE_IN,
    JobState.STAGE_OUT: JobState.ACTIVE,
    JobState.CLEANUP: JobState.STAGE_OUT,
    JobState.COMPLETED: JobState.CLEANUP,
}


class Reason(str, Enum):
    """Why a job is where it is: the value of ``JobStatus.metadata["reason"]``, the same words on every scheduler."""

    EXIT = "exit"  # the program ended with a status other than 0
    SIGNAL = "signal"  # a signal ended it; metadata["signal"] is its number
    OUT_OF_MEMORY = "out_of_memory"
    WALLTIME = "walltime"
    NODE_FAILURE = "node_failure"
    PREEMPTED = "preempted"
    CANCELED = "canceled"
    DEPENDENCY = "dependency"  # a job it was to follow did not end as needed
    LAUNCH = "launch"  # the scheduler could not start it
    STAGING = "staging"
    HELD = "held"
    UNKNOWN = "unknown"  # it is gone, and no evidence says how it ended

    def __str__(self) -> str:
        return self.value


class JobStatus:
    """A job's state, with the time it was reached and what is known about it.

    `time` is in seconds since the epoch, the scheduler's own where it says. `exit_code` is the program's. `metadata`
    may hold ``reason`` (a `Reason`), ``signal``, ``native_state`` (the scheduler's own word), ``restarts`` (how often
    the scheduler started the job anew) and ``phase`` (which part of the job script failed).
    """

    __slots__ = ("exit_code", "message", "metadata", "state", "time")

    def __init__(
        self,
        state: JobState,
        time: float | None = None,
        message: str | None = None,
        exit_code: int | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        if not isinstance(state, JobState):
            raise TypeError(f"state={state!r} must be a JobState")
        self.state = state
        self.time = clock.time() if time is None else time
        self.message = message
        self.exit_code = exit_code
        self.metadata: dict[str, Any] = dict(metadata or {})

    @property
    def final(self) -> bool:
        """True when nothing more will be reported."""
        return self.state.final

    @property
    def reason(self) -> str | None:
        """``metadata["reason"]`` as a plain text, one of the values of `Reason`."""
        found = self.metadata.get("reason")
        return None if found is None else str(found)

    def to_dict(self) -> dict[str, Any]:
        """Return what JSON can hold; `from_dict` takes it back."""
        metadata = {key: str(value) if isinstance(value, Enum) else value for key, value in self.metadata.items()}
        return {
            "state": self.state.name,
            "time": self.time,
            "message": self.message,
            "exit_code": self.exit_code,
            "metadata": metadata,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> JobStatus:
        """Return the status that `to_dict` described."""
        state = JobState.from_name(data["state"])
        return cls(state, data["time"], data.get("message"), data.get("exit_code"), data.get("metadata"))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, JobStatus):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in self.__slots__)

    __hash__ = None  # type: ignore[assignment]  # its metadata can be changed

    def __repr__(self) -> str:
        parts = [self.state.name]
        parts += [f"exit_code={self.exit_code}"] if self.exit_code is not None else []
        parts += [f"message={self.message!r}"] if self.message else []
        parts += [f"metadata={self.metadata}"] if self.metadata else []
        return f"JobStatus({', '.join(parts)})"
