"""Random graphs with random failures come to what evaluating them one after another comes to."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.core import functions
from tests.core.gate import PATIENCE

from harmony import DependencyError, TaskFuture, Workflow, join, task

#: How a node holds its parents.
SHAPES: Sequence[Callable[[list[Any]], Any]] = (
    list,
    tuple,
    lambda parents: {str(index): parent for index, parent in enumerate(parents)},
    lambda parents: [[parents[:1]], {"rest": tuple(parents[1:])}],
)

PLAIN = settings(deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))

node = task(functions.node)


@join
def late(index: int, fails: bool, parents: Any) -> TaskFuture[int]:
    """The same value by a task that is only made when the parents have ended."""
    return node(index, fails, parents)


class Node(NamedTuple):
    parents: tuple[int, ...]
    fails: bool = False
    shape: int = 0
    is_late: bool = False


class Expected(NamedTuple):
    """What a node comes to: a value, or the nodes whose failure may be told as the reason."""

    value: int = 0
    roots: frozenset[int] = frozenset()


def evaluate(graph: Sequence[Node]) -> list[Expected]:
    """The plain evaluation: one node after another, in this thread."""
    found: list[Expected] = []
    for index, (parents, fails, shape, _) in enumerate(graph):
        roots = frozenset[int]().union(*(found[parent].roots for parent in parents))
        if not roots and fails:
            roots = frozenset({index})
        if roots:
            found.append(Expected(roots=roots))
        else:
            found.append(Expected(functions.node(index, False, SHAPES[shape]([found[p].value for p in parents]))))
    return found


def submit(graph: Sequence[Node]) -> list[TaskFuture[int]]:
    futures: list[TaskFuture[int]] = []
    for index, (parents, fails, shape, is_late) in enumerate(graph):
        make = late if is_late else node
        futures.append(make(index, fails, SHAPES[shape]([futures[parent] for parent in parents])))
    return futures


def check(graph: Sequence[Node], futures: Sequence[TaskFuture[int]]) -> int:
    """Compare each future with the plain evaluation; return how many failed."""
    failed = 0
    for index, (future, expected) in enumerate(zip(futures, evaluate(graph), strict=True)):
        error = future.exception(PATIENCE)
        if not expected.roots:
            assert error is None, f"node {index}: {error!r}"
            assert future.result() == expected.value
            continue
        failed += 1
        if expected.roots == {index} and not graph[index].is_late:
            assert type(error) is ValueError
            assert str(error) == f"node {index}"
        else:
            assert type(error) is DependencyError
            assert type(error.__cause__) is ValueError
            assert int(str(error.__cause__).removeprefix("node ")) in expected.roots
    return failed


def small_graphs() -> st.SearchStrategy[list[Node]]:
    """Graphs of up to 30 nodes, in which about one in eight fails and one in four is made late."""

    def finish(drawn: list[tuple[list[int], int, int]]) -> list[Node]:
        return [
            Node(tuple(number % index for number in numbers) if index else (), kind % 8 == 7, shape, kind % 4 == 1)
            for index, (numbers, kind, shape) in enumerate(drawn)
        ]

    parents = st.lists(st.integers(0, 10**6), max_size=4)
    return st.lists(st.tuples(parents, st.integers(0, 63), st.integers(0, len(SHAPES) - 1)), max_size=30).map(finish)


def large_graph(size: int, seed: int) -> Iterator[Node]:
    """Mostly near parents, some far ones, and few failures, which reach about half of the graph."""
    chance = random.Random(seed)
    for index in range(size):
        near, far = range(max(0, index - 50), index), range(index)
        parents = {
            chance.choice(near if chance.random() < 0.9 else far) for _ in range(chance.randrange(3) if index else 0)
        }
        yield Node(tuple(parents), chance.random() < 0.03, chance.randrange(len(SHAPES)))


@pytest.mark.parametrize("engine", ["inline", "threads", "local"])
def test_small_graphs(engine: str) -> None:
    with Workflow(engine=engine, workers=2):

        @settings(
            max_examples=150, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
        )
        @given(small_graphs())
        def equals_plain_evaluation(graph: list[Node]) -> None:
            check(graph, submit(graph))

        equals_plain_evaluation()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("engine", ["threads", "local"])
def test_a_large_graph(engine: str, scale: Callable[[int, int], int]) -> None:
    size = scale(5_000, 100_000)
    graph = list(large_graph(size, seed=7))
    with Workflow(engine=engine, workers=2) as wf:
        futures = submit(graph)
        wf.wait()
        failed = check(graph, futures)
        counts = wf.counts
    assert 0.1 * size < failed < 0.9 * size, "the graph should put both to the test"
    assert (counts.done, counts.failed, counts.total) == (size - failed, failed, size)
