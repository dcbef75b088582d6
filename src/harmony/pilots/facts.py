"""What a fleet tells its engine."""

from __future__ import annotations

from typing import NamedTuple

from harmony.errors import EngineError


class BlockQueued(NamedTuple):
    """A block was submitted; `native_id` is the batch system's."""

    block: str
    native_id: str


class BlockRunning(NamedTuple):
    """The job of a block has started; its workers will connect."""

    block: str


class BlockEnded(NamedTuple):
    """A block is gone, and with it its workers.

    `in_time` is true when it was due: its walltime was over, or the fleet has stopped it because there was nothing to
    do or the engine closes. It is false when the block was lost: it failed, was cancelled by somebody else, or its node
    went down. `reason` is one of the words of `harmony.jobs.Reason`, ``"completed"`` or ``"stopped"``; `message` a
    sentence with the end of what its job has printed. Work that it had is nobody's fault, whatever the reason.
    """

    block: str
    reason: str
    in_time: bool
    message: str = ""


class Exhausted(NamedTuple):
    """No block lives and none will be started any more; the error says why, with the last output of a job."""

    error: EngineError


Fact = BlockQueued | BlockRunning | BlockEnded | Exhausted
