"""Retry: a table of decisions."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from harmony.core.retry import LONGEST_DELAY, MACHINERY_RETRIES, Retry, is_machinery, next_delay
from harmony.errors import (
    CommandError,
    ConfigError,
    DependencyError,
    EngineFailed,
    MissingFileError,
    SerializationError,
    WalltimeExceeded,
    WorkerLost,
)

COMMAND = CommandError("false", exit_code=1)


@pytest.mark.parametrize("times", [0, 1, 3])
def test_as_often_as_the_policy_says(times: int) -> None:
    policy = Retry(times)
    decisions = [next_delay(policy, ValueError(), failures, 0) for failures in range(1, times + 3)]
    assert decisions == [0.0] * times + [None, None]


def test_delays_grow() -> None:
    policy = Retry(4, delay=0.5, backoff=3)
    assert [next_delay(policy, OSError(), n, 0) for n in range(1, 6)] == [0.5, 1.5, 4.5, 13.5, None]


def test_constant_delays() -> None:
    policy = Retry(3, delay=2, backoff=1)
    assert [next_delay(policy, OSError(), n, 0) for n in range(1, 4)] == [2.0, 2.0, 2.0]


@pytest.mark.parametrize("delay", [0.0, 1e-9, 1.0, 1e300])
def test_very_many_tries_overflow_nothing(delay: float) -> None:
    policy = Retry(10**9, delay=delay, backoff=10.0)
    for failures in (1, 64, 1_100, 10**8):
        after = next_delay(policy, OSError(), failures, 0)
        assert after is not None
        assert 0 <= after <= LONGEST_DELAY


@pytest.mark.parametrize(
    ("error", "tried"),
    [
        (ValueError("x"), True),
        (COMMAND, True),
        (MissingFileError("x"), True),
        (WalltimeExceeded("x"), True),
        (DependencyError("x"), False),
        (SerializationError("x"), False),
        (KeyboardInterrupt(), False),
        (SystemExit(1), False),
    ],
    ids=lambda item: type(item).__name__ if isinstance(item, BaseException) else "",
)
def test_which_errors_are_tried_again(error: BaseException, tried: bool) -> None:
    assert (next_delay(Retry(1), error, 1, 0) is not None) is tried
    assert next_delay(Retry(0), error, 1, 0) is None


def test_only_the_errors_that_the_policy_names() -> None:
    policy = Retry(5, on=(OSError, CommandError))
    assert next_delay(policy, ConnectionResetError(), 1, 0) == 0.0
    assert next_delay(policy, COMMAND, 1, 0) == 0.0
    assert next_delay(policy, ValueError(), 1, 0) is None


def test_the_machinery_is_tried_again_on_our_account() -> None:
    for error, losses in itertools.product((WorkerLost("x"), EngineFailed("x")), range(1, MACHINERY_RETRIES + 1)):
        assert is_machinery(error)
        assert next_delay(Retry(0), error, 0, losses) == 0.0
    assert next_delay(Retry(99), WorkerLost("x"), 0, MACHINERY_RETRIES + 1) is None


def test_a_walltime_is_the_works_own_limit() -> None:
    assert not is_machinery(WalltimeExceeded("x"))
    assert not is_machinery(ValueError())


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"times": -1}, "retries=-1"),
        ({"times": True}, "retries=True"),
        ({"times": 1.5}, "retries=1.5"),
        ({"times": "3"}, "retries='3'"),
        ({"delay": -0.1}, "delay=-0.1"),
        ({"delay": "1"}, "delay='1'"),
        ({"delay": float("nan")}, "delay=nan"),
        ({"backoff": 0.5}, "backoff=0.5"),
        ({"backoff": None}, "backoff=None"),
    ],
)
def test_settings_that_make_no_sense(settings: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Retry(**settings)
    assert named in str(caught.value)


def test_a_policy_is_a_value() -> None:
    assert Retry(2, 1.0) == Retry(2, 1.0)
    assert len({Retry(2), Retry(2), Retry(3)}) == 2
