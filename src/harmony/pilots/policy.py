"""How many blocks there are to be: pure decisions. No clock, no thread, no job; `now` is given.

what there is to do, which blocks there are ──▶ decide() ──▶ start so many, stop these, ask again then
a block has failed ──▶ Past.failed() ──▶ how long to pause, and when to give up
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from harmony.sites.model import Blocks

#: Seconds that a block with workers must have lasted for the failures before it to be forgotten.
STEADY = 30.0
#: Seconds of pause after the first failure, twice as long after each further one, and never longer than this: after
#: submissions that were refused for the moment, and after blocks that failed.
FIRST_PAUSE, LONGEST_PAUSE, LONGEST_AFTER_FAILURES = 1.0, 60.0, 600.0
#: So many times in a row a scheduler may ask to be tried again later: five minutes and a half.
SUBMISSIONS = 10


class Need(NamedTuple):
    """What there is to do, in cores; `longest` is the longest walltime, in seconds, among the tasks that wait."""

    waiting: int = 0
    running: int = 0
    longest: float | None = None

    def __bool__(self) -> bool:
        return self.waiting > 0 or self.running > 0


class View(NamedTuple):
    """A block as a decision sees it.

    `idle_since` is when there was nothing for it to do any more, None while there is. `ending`: it has been told to
    end. `left` is how many seconds it can still give a task, None for one that has not started or has no limit.
    `is_empty`: nothing runs in it.
    """

    id: str
    workers: int = 0
    idle_since: float | None = None
    ending: bool = False
    left: float | None = None
    is_empty: bool = False


class Actions(NamedTuple):
    """What is to be done; `again` is when to decide anew if nothing happens before."""

    start: int = 0
    stop: tuple[str, ...] = ()
    again: float | None = None


@dataclass(frozen=True, slots=True)
class Past:
    """What became of the blocks so far.

    `failures` counts those in a row of which no worker was seen, `short` also those that ended soon after, `refusals`
    the submissions in a row that the scheduler could not take for the moment. `is_hopeless`: it has refused one for
    good. Nothing is started before `resume`.
    """

    begun: bool = False
    failures: int = 0
    short: int = 0
    refusals: int = 0
    is_hopeless: bool = False
    resume: float = 0.0
    counted: float = -math.inf

    def failed(self, now: float, submitted: float, seen: bool) -> Past:
        """Return the past after a block that was lost early; `seen`: a worker of it had connected.

        Blocks that were submitted together and fail together are one failure.
        """
        if submitted < self.counted:
            return self
        short = self.short + 1
        failures = 0 if seen else self.failures + 1
        return replace(
            self, failures=failures, short=short, resume=now + pause(short, LONGEST_AFTER_FAILURES), counted=now
        )

    def refused(self, now: float) -> Past:
        """Return the past after a submission that may succeed later."""
        refusals = self.refusals + 1
        return replace(self, refusals=refusals, resume=now + pause(refusals))

    def hopeless(self) -> Past:
        """Return the past after a submission that cannot ever succeed."""
        return replace(self, is_hopeless=True)

    def submitted(self) -> Past:
        """Return the past after a submission that succeeded."""
        return replace(self, begun=True, refusals=0)

    def steady(self) -> Past:
        """Return the past after a block has lasted: what failed before it does not count any more."""
        return replace(self, failures=0, short=0)

    def freed(self) -> Past:
        """Return the past after a block has ended, which may be what a scheduler was waiting for."""
        return replace(self, refusals=0)

    def is_exhausted(self, policy: Blocks) -> bool:
        """Whether it makes no sense to try again."""
        return self.is_hopeless or self.failures >= policy.failures or self.refusals >= SUBMISSIONS


def pause(count: int, longest: float | None = None) -> float:
    """Seconds to wait after so many failures in a row."""
    return min(LONGEST_PAUSE if longest is None else longest, FIRST_PAUSE * 2.0 ** min(count - 1, 10))


def decide(now: float, need: Need, blocks: Sequence[View], past: Past, policy: Blocks, cores: int | None) -> Actions:
    """Return what to do. `cores` is what one block has, None while that is not known.

    Blocks that are ending still count against the most there may be. After a failure blocks are started one at a time,
    until one of them has workers. Where no block has time enough left for a task that waits, one more is started, or an
    empty one makes room for it. `longest` must not be more than a fresh block can give.
    """
    alive = [block for block in blocks if not block.ending]
    wanted = _wanted(need, alive, past, policy, cores)
    in_time = _in_time(now, need, alive)
    if in_time == now and alive:
        wanted = max(wanted, min(len(alive) + 1, policy.max))
        empty = [block for block in alive if block.is_empty]
        all_is_well = not (past.short or past.refusals)
        if len(blocks) == policy.max == len(alive) and empty and all_is_well:
            return Actions(stop=(min(empty, key=lambda block: block.left or 0.0).id,))
    actions = _grow_or_shrink(now, alive, wanted, policy.max - len(blocks), past, policy)
    if in_time is None or in_time == now:
        return actions
    return actions._replace(again=in_time if actions.again is None else min(in_time, actions.again))


def _in_time(now: float, need: Need, alive: Sequence[View]) -> float | None:
    """Until when some block can still take the longest task; `now` if none can, None if nothing limits it."""
    if need.longest is None or not need.waiting:
        return None
    lefts = [block.left for block in alive]
    if any(left is None for left in lefts):
        return None
    return now + max((left - need.longest for left in lefts if left is not None and left >= need.longest), default=0.0)


def _grow_or_shrink(now: float, alive: Sequence[View], wanted: int, room: int, past: Past, policy: Blocks) -> Actions:
    if len(alive) < wanted:
        count = min(wanted - len(alive), room)
        if past.short or past.refusals:
            count = min(count, 1 - sum(block.workers == 0 for block in alive))
        if count <= 0:
            return Actions()
        return Actions(start=count) if now >= past.resume else Actions(again=past.resume)
    return _surplus(now, alive, len(alive) - wanted, policy)


def _wanted(need: Need, alive: Sequence[View], past: Past, policy: Blocks, cores: int | None) -> int:
    if not past.begun:
        return max(policy.init, policy.min, int(bool(need)))
    if not need:
        return policy.min
    if cores is None:  # grow by one when all that there are have workers, and these do not suffice
        grows = need.waiting > 0 and all(block.workers for block in alive)
        wanted = len(alive) + grows
    else:
        wanted = needed(need, policy, cores)
    return min(max(wanted, policy.min, 1), policy.max)


def needed(need: Need, policy: Blocks, cores: int) -> int:
    """How many blocks of so many cores the work makes use of, at most as many as there may be."""
    return min(math.ceil((need.waiting + need.running) * policy.parallelism / cores), policy.max)


def _surplus(now: float, alive: Sequence[View], count: int, policy: Blocks) -> Actions:
    """Stop what has been idle for long enough, those without workers first."""
    idle = [(block.idle_since + policy.idle, block) for block in alive if block.idle_since is not None]
    due = sorted((block.workers > 0, at, block.id) for at, block in idle if at <= now)
    stop = tuple(block_id for _, _, block_id in due[:count])
    later = sorted(at for at, _ in idle if at > now)
    return Actions(stop=stop, again=later[0] if later and len(stop) < count else None)
