"""Nodes, processes and what follows from them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harmony.jobs import InvalidJobException, ResourceSpec, ResourceSpecV1


def counts(spec: ResourceSpecV1) -> tuple[int, int, int]:
    return spec.computed_node_count, spec.computed_process_count, spec.computed_processes_per_node


@pytest.mark.parametrize(
    ("nodes", "processes", "per_node", "expected"),
    [
        (None, None, None, (1, 1, 1)),
        (None, 6, None, (1, 6, 6)),
        (3, None, None, (3, 3, 1)),
        (None, None, 4, (1, 4, 4)),
        (3, 6, None, (3, 6, 2)),
        (None, 6, 2, (3, 6, 2)),
        (3, None, 2, (3, 6, 2)),
        (3, 6, 2, (3, 6, 2)),
    ],
)
def test_what_is_not_given_follows(
    nodes: int | None, processes: int | None, per_node: int | None, expected: tuple[int, int, int]
) -> None:
    assert counts(ResourceSpecV1(nodes, processes, per_node)) == expected


def test_defect_computed_counts_are_frozen_in_the_constructor() -> None:
    spec = ResourceSpecV1()
    spec.node_count = 4
    spec.processes_per_node = 2
    assert counts(spec) == (4, 8, 2)


def test_defect_equality_ignores_memory() -> None:
    assert ResourceSpecV1(memory=1) != ResourceSpecV1(memory=2)
    assert ResourceSpecV1(node_count=1, memory=1) == ResourceSpecV1(node_count=1, memory=1)
    assert hash(ResourceSpecV1(memory=1)) == hash(ResourceSpecV1(memory=1))
    assert ResourceSpecV1() != "a text"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"node_count": 2, "process_count": 3}, "process_count=3 must be a multiple of node_count=2"),
        ({"process_count": 3, "processes_per_node": 2}, "process_count=3 must be a multiple of processes_per_node=2"),
        ({"node_count": 2, "process_count": 3, "processes_per_node": 1}, "give two of the three"),
        ({"node_count": 0}, "node_count=0 must be a whole number, at least 1"),
        ({"process_count": -1}, "process_count=-1"),
        ({"memory": 0}, "memory=0"),
        ({"memory": 1.5}, "memory=1.5"),
        ({"node_count": True}, "node_count=True"),
        ({"node_count": "2"}, "node_count='2'"),
        ({"gpu_cores_per_process": -1}, "gpu_cores_per_process=-1 must be a whole number, at least 0"),
        ({"exclusive_node_use": 1}, "exclusive_node_use=1 must be True or False"),
    ],
)
def test_numbers_that_cannot_be_are_named(given: dict[str, object], words: str) -> None:
    with pytest.raises(InvalidJobException) as raised:
        ResourceSpecV1(**given)  # type: ignore[arg-type]
    assert words in str(raised.value)


def test_a_contradiction_made_later_is_found_when_it_is_used() -> None:
    spec = ResourceSpecV1(node_count=2)
    spec.process_count = 3
    with pytest.raises(InvalidJobException, match="multiple of node_count=2"):
        spec.check()
    with pytest.raises(InvalidJobException, match="multiple of node_count=2"):
        counts(spec)


def test_memory_is_the_jobs_and_rounded_up() -> None:
    assert ResourceSpecV1(memory=1025).memory_kb == 2
    assert ResourceSpecV1(node_count=3, memory=1000).memory_per_node == 334
    assert ResourceSpecV1().memory_kb is None
    assert ResourceSpecV1().memory_per_node is None


def test_cores_and_gpus_of_a_node() -> None:
    spec = ResourceSpecV1(node_count=2, process_count=8, cpu_cores_per_process=3, gpu_cores_per_process=2)
    assert (spec.cores_per_node, spec.gpus_per_node) == (12, 8)
    assert (ResourceSpecV1().cores_per_node, ResourceSpecV1().gpus_per_node) == (1, 0)


def test_version_and_factory() -> None:
    assert ResourceSpec.get_instance(1) == ResourceSpecV1()
    assert ResourceSpecV1().version == 1
    with pytest.raises(ValueError, match="version=2: there is only version 1"):
        ResourceSpec.get_instance(2)


def test_repr_shows_what_is_given() -> None:
    assert repr(ResourceSpecV1(node_count=2, exclusive_node_use=True)) == (
        "ResourceSpecV1(node_count=2, exclusive_node_use=True)"
    )


@given(nodes=st.integers(1, 50), per_node=st.integers(1, 50), given_pair=st.sampled_from([(0, 1), (0, 2), (1, 2)]))
def test_any_two_of_the_three_give_the_third(nodes: int, per_node: int, given_pair: tuple[int, int]) -> None:
    whole = (nodes, nodes * per_node, per_node)
    nodes_given, processes_given, per_node_given = (n if at in given_pair else None for at, n in enumerate(whole))
    assert counts(ResourceSpecV1(nodes_given, processes_given, per_node_given)) == whole
