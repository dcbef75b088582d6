"""Executor.map, as the standard library documents it: order, laziness, errors, timeouts and chunks."""

from __future__ import annotations

import concurrent.futures
import itertools
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from tests.core import functions
from tests.core.gate import PATIENCE, Gate, pass_through

from harmony import Workflow


def test_results_come_in_the_order_of_the_arguments(executor: Executor) -> None:
    assert list(executor.map(functions.square, range(100), timeout=PATIENCE)) == [n * n for n in range(100)]


def test_several_iterables_to_the_end_of_the_shortest(executor: Executor) -> None:
    assert list(executor.map(functions.add, [1, 2, 3], itertools.count(10))) == [11, 13, 15]


@pytest.mark.parametrize("chunksize", [1, 3])
def test_nothing_to_do(executor: Executor, chunksize: int) -> None:
    assert list(executor.map(functions.square, [], chunksize=chunksize)) == []


def test_it_returns_an_iterator_before_anything_has_ended(executor: Executor, gate: Gate) -> None:
    results = executor.map(pass_through, [gate.port] * 2, ["a", "b"], [1, 2], timeout=PATIENCE)
    assert isinstance(results, Iterator)
    names = {gate.arrival(), gate.arrival()}
    assert names == {"a", "b"}
    gate.open()
    assert list(results) == [1, 2]


def test_the_iterables_are_read_at_once(executor: Executor, gate: Gate) -> None:
    read: list[int] = []

    def ports() -> Iterator[int]:
        for index in range(10):
            read.append(index)
            yield gate.port

    results = executor.map(pass_through, ports(), map(str, range(10)), timeout=PATIENCE)
    assert read == list(range(10))
    for _ in range(10):
        gate.open(gate.arrival())
    assert list(results) == [None] * 10


def test_results_are_handed_out_while_later_ones_are_missing(executor: Executor, gate: Gate) -> None:
    results = executor.map(pass_through, [gate.port] * 2, ["first", "second"], [1, 2], timeout=PATIENCE)
    gate.arrival()
    gate.arrival()
    gate.open("first")
    assert next(results) == 1
    gate.open("second")
    assert next(results) == 2


@pytest.mark.parametrize("chunksize", [1, 4])
def test_an_error_is_raised_where_its_value_would_be(executor: Executor, chunksize: int) -> None:
    results = executor.map(functions.fail_on, range(8), [4] * 8, chunksize=chunksize)
    assert [next(results) for _ in range(4)] == [0, 1, 2, 3]
    with pytest.raises(ValueError, match="4 is bad"):
        next(results)
    with pytest.raises(StopIteration):
        next(results)


@pytest.mark.parametrize("timeout", [0, 0.01])
def test_timeout(executor: Executor, gate: Gate, timeout: float) -> None:
    results = executor.map(pass_through, [gate.port], timeout=timeout)
    gate.arrival()
    with pytest.raises(concurrent.futures.TimeoutError):
        next(results)
    gate.open()


def test_an_iterator_that_is_closed_cancels_what_has_not_begun(executor: Executor, gate: Gate, tmp_path: Path) -> None:
    paths = [str(tmp_path / str(index)) for index in range(20)]
    results: Any = executor.map(functions.touch_behind, [gate.port] * 3 + [0] * 17, paths, timeout=PATIENCE)
    assert {gate.arrival(), gate.arrival()} == set(paths[:2])
    gate.open(paths[0])
    assert next(results) == paths[0]
    assert gate.arrival() == paths[2]
    results.close()
    gate.open()
    executor.shutdown()
    assert 3 <= len(list(tmp_path.iterdir())) < 20


@pytest.mark.parametrize("chunksize", [2, 7, 100, 1_000])
def test_chunks_change_nothing(executor: Executor, chunksize: int) -> None:
    expected = [n * n for n in range(100)]
    assert list(executor.map(functions.square, range(100), chunksize=chunksize, timeout=PATIENCE)) == expected


def test_chunks_over_several_iterables(executor: Executor) -> None:
    assert list(executor.map(functions.add, range(10), range(10), chunksize=3)) == [2 * n for n in range(10)]


@pytest.mark.parametrize("chunksize", [0, -1])
def test_chunks_of_nothing(executor: Executor, chunksize: int) -> None:
    if isinstance(executor, ThreadPoolExecutor):
        pytest.skip("it takes no notice of chunksize")
    with pytest.raises(ValueError, match="chunksize must be >= 1"):
        executor.map(functions.square, [1], chunksize=chunksize)


def test_after_shutdown(executor: Executor) -> None:
    executor.shutdown()
    with pytest.raises(RuntimeError):
        executor.map(functions.square, [1])


def test_a_chunk_travels_as_one_task(workflow: Workflow) -> None:
    with workflow.executor() as executor:
        assert sum(executor.map(functions.square, range(100), chunksize=10)) == sum(n * n for n in range(100))
    assert workflow.counts.total == 10
