"""Retry: when a failed task is tried again. Pure: a decision from a value, an attempt and an error."""

from __future__ import annotations

from dataclasses import dataclass

from harmony.errors import ConfigError, DependencyError, EngineError, SerializationError, WalltimeExceeded

#: No try waits longer, in seconds.
LONGEST_DELAY = 3600.0
#: How often work is repeated at no cost to the user's policy when the machinery failed under it.
MACHINERY_RETRIES = 2


@dataclass(frozen=True, slots=True)
class Retry:
    """The user's policy for work that fails: `times` more tries, for errors of these types.

    The first new try waits `delay` seconds, each further one `backoff` times as long.
    """

    times: int = 0
    delay: float = 0.0
    backoff: float = 2.0
    on: tuple[type[BaseException], ...] = (Exception,)

    def __post_init__(self) -> None:
        times: object = self.times
        if isinstance(times, bool) or not isinstance(times, int) or times < 0:
            raise ConfigError(f"retries={times!r} must be a whole number, at least 0, or a Retry")
        for name, least in (("delay", 0), ("backoff", 1)):
            value: object = getattr(self, name)
            if not isinstance(value, (int, float)) or not value >= least:
                raise ConfigError(f"a retry's {name}={value!r} must be a number, at least {least}")


def is_machinery(error: BaseException) -> bool:
    """True when the machinery failed rather than the work; a walltime is the work's own limit."""
    return isinstance(error, EngineError) and not isinstance(error, WalltimeExceeded)


def next_delay(policy: Retry, error: BaseException, failures: int, losses: int) -> float | None:
    """Return the seconds to wait before another try, or None when there is none.

    `failures` and `losses` count how often the work and the machinery have failed, this time included.
    """
    if is_machinery(error):
        return 0.0 if losses <= MACHINERY_RETRIES else None
    if isinstance(error, (DependencyError, SerializationError)):
        return None
    if failures > policy.times or not isinstance(error, policy.on):
        return None
    if not policy.delay:
        return 0.0
    growth = policy.backoff ** min(failures - 1, 64)
    return min(float(policy.delay * growth), LONGEST_DELAY)
