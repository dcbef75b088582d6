"""concurrent.futures.wait and as_completed over an executor's futures, as the standard library documents them."""

from __future__ import annotations

import concurrent.futures
from concurrent.futures import ALL_COMPLETED, FIRST_COMPLETED, FIRST_EXCEPTION, Executor, Future, as_completed, wait
from typing import Any

import pytest
from tests.core import functions
from tests.core.gate import PATIENCE, Gate, pass_through


@pytest.fixture
def two(executor: Executor, gate: Gate) -> dict[str, Future[Any]]:
    """Two tasks that stand at the gate, under their names."""
    futures = {name: executor.submit(pass_through, gate.port, name, name) for name in ("a", "b")}
    assert {gate.arrival(), gate.arrival()} == set(futures)
    return futures


def test_all_completed(executor: Executor) -> None:
    futures: list[Future[Any]] = [executor.submit(functions.square, number) for number in range(100)]
    futures.append(executor.submit(functions.fail))
    done, not_done = wait(futures, PATIENCE, ALL_COMPLETED)
    assert done == set(futures)
    assert not_done == set()


def test_first_completed(two: dict[str, Future[Any]], gate: Gate) -> None:
    gate.open("b")
    done, not_done = wait(two.values(), PATIENCE, FIRST_COMPLETED)
    assert done == {two["b"]}
    assert not_done == {two["a"]}
    gate.open("a")
    assert wait(two.values(), PATIENCE).not_done == set()


def test_first_exception(executor: Executor, gate: Gate) -> None:
    good = executor.submit(functions.square, 3)
    held = executor.submit(pass_through, gate.port)
    gate.arrival()
    bad = executor.submit(functions.fail)
    done, not_done = wait([held, bad], PATIENCE, FIRST_EXCEPTION)
    assert done == {bad}
    assert not_done == {held}
    gate.open()
    assert wait([good, held], PATIENCE, FIRST_EXCEPTION).done == {good, held}, "without an error it waits for all"


def test_a_wait_that_times_out(two: dict[str, Future[Any]], gate: Gate) -> None:
    for when in (ALL_COMPLETED, FIRST_COMPLETED, FIRST_EXCEPTION):
        assert wait(two.values(), 0, when) == (set(), set(two.values()))
    gate.open()


def test_the_same_future_twice(executor: Executor) -> None:
    future = executor.submit(functions.square, 3)
    assert wait([future, future], PATIENCE) == ({future}, set())
    assert list(as_completed([future, future], PATIENCE)) == [future]


def test_nothing_to_wait_for() -> None:
    assert wait([], 0) == (set(), set())
    assert list(as_completed([], 0)) == []


def test_wait_counts_a_cancelled_future_as_done(executor: Executor, two: dict[str, Future[Any]], gate: Gate) -> None:
    queued = [executor.submit(functions.square, number) for number in range(10)]
    assert queued[-1].cancel()
    gate.open()
    assert wait([*two.values(), *queued], PATIENCE).not_done == set()


def test_as_completed_in_the_order_of_the_ends(two: dict[str, Future[Any]], gate: Gate) -> None:
    ending = as_completed(two.values(), PATIENCE)
    gate.open("b")
    assert next(ending) is two["b"]
    gate.open("a")
    assert next(ending) is two["a"]
    with pytest.raises(StopIteration):
        next(ending)


def test_as_completed_begins_with_those_that_have_ended(
    executor: Executor, two: dict[str, Future[Any]], gate: Gate
) -> None:
    gate.open("b")
    two["b"].result(PATIENCE)
    ending = as_completed(two.values(), PATIENCE)
    assert next(ending) is two["b"]
    gate.open("a")
    assert list(ending) == [two["a"]]


def test_as_completed_times_out(two: dict[str, Future[Any]], gate: Gate) -> None:
    with pytest.raises(concurrent.futures.TimeoutError, match=r"2 .*unfinished"):
        next(as_completed(two.values(), timeout=0))
    gate.open()


def test_as_completed_yields_errors_and_cancellations(
    executor: Executor, two: dict[str, Future[Any]], gate: Gate
) -> None:
    queued = [executor.submit(functions.fail, str(number)) for number in range(10)]
    assert queued[-1].cancel()
    gate.open()
    ended = list(as_completed([*two.values(), *queued], PATIENCE))
    assert set(ended) == {*two.values(), *queued}
    assert len(ended) == 12
    assert sum(future.cancelled() for future in ended) == 1


def test_over_several_executors_at_once(executor: Executor) -> None:
    with concurrent.futures.ThreadPoolExecutor(1) as other:
        futures = {executor.submit(functions.square, 3), other.submit(functions.square, 4)}
        assert {future.result() for future in as_completed(futures, PATIENCE)} == {9, 16}
        assert wait(futures, PATIENCE).done == futures
