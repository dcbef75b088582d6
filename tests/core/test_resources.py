"""Resources: one vocabulary, sizes with units, and contradictions refused by name."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from harmony.errors import ConfigError, ResourceError
from harmony.resources import Resources, format_bytes, parse_memory, resources


@pytest.mark.parametrize(
    ("text", "size"),
    [
        (None, None),
        (1024, 1024),
        ("17", 17),
        ("17 B", 17),
        ("4GB", 4 * 10**9),
        ("4 gb", 4 * 10**9),
        ("1.5kB", 1500),
        ("512MiB", 512 * 2**20),
        (" 2 TiB ", 2**41),
        ("0.5K", 500),
        ("3m", 3_000_000),
    ],
)
def test_sizes(text: Any, size: int | None) -> None:
    assert parse_memory(text) == size


@pytest.mark.parametrize("text", ["", "lots", "GB", "-4GB", "4 GBs", "1e9", "4,5GB", 1.5, True, [], b"4GB"])
def test_what_is_not_a_size(text: Any) -> None:
    with pytest.raises(ResourceError) as caught:
        parse_memory(text)
    assert str(caught.value).startswith(f"memory={text!r} is not a size; write bytes or a text such as '4GB'")


def test_the_default_is_one_process_on_one_core() -> None:
    default = Resources()
    assert (default.ranks, default.cores, default.gpus, default.memory) == (1, 1, 0, None)
    assert not default.is_parallel
    assert str(default) == "1 core"


def test_products() -> None:
    asked = Resources(node_count=2, processes_per_node=4, cpu_cores_per_process=3, gpu_cores_per_process=1)
    assert (asked.ranks, asked.cores, asked.gpus) == (8, 24, 8)
    assert asked.is_parallel
    assert Resources(node_count=2, processes_per_node=4, process_count=8).ranks == 8
    assert Resources(process_count=1).is_parallel
    assert not Resources(node_count=2).is_parallel


def test_a_contradiction_is_explained() -> None:
    with pytest.raises(ResourceError) as caught:
        Resources(node_count=2, processes_per_node=4, process_count=9)
    assert "process_count=9 contradicts node_count=2 × processes_per_node=4 = 8" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("node_count", 0),
        ("process_count", -1),
        ("processes_per_node", 0),
        ("cpu_cores_per_process", 0),
        ("cpu_cores_per_process", 1.5),
        ("cpu_cores_per_process", True),
        ("gpu_cores_per_process", -1),
        ("memory", 0),
        ("memory", "4GB"),
    ],
)
def test_numbers_that_make_no_sense(name: str, value: Any) -> None:
    with pytest.raises(ResourceError) as caught:
        Resources(**{name: value})
    assert f"{name}={value!r} must be a whole number" in str(caught.value)
    assert isinstance(caught.value, ConfigError)


@pytest.mark.parametrize(("name", "value"), [("cores", 0), ("gpus", -1), ("ranks", 0), ("nodes", 0), ("cores", "2")])
def test_the_short_words_are_named_as_the_user_wrote_them(name: str, value: Any) -> None:
    with pytest.raises(ResourceError) as caught:
        resources(**{name: value})
    assert f"{name}={value!r}" in str(caught.value)


def test_the_short_words() -> None:
    asked = resources(cores=2, gpus=1, ranks=4, nodes=2, memory="8GB", exclusive=True)
    assert asked == Resources(
        node_count=2,
        process_count=4,
        cpu_cores_per_process=2,
        gpu_cores_per_process=1,
        memory=8 * 10**9,
        exclusive=True,
    )
    assert str(asked) == "8 cores, 4 ranks, 2 nodes, 4 GPUs, 8 GB, exclusive"


def test_it_is_a_value() -> None:
    assert resources(cores=2) == resources(cores=2)
    assert len({resources(), resources(), resources(cores=2)}) == 2
    assert pickle.loads(pickle.dumps(resources(memory=5))) == resources(memory=5)


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (999, "999 B"), (2_500_000, "2.5 MB"), (10**9, "1 GB"), (10**16, "1e+04 TB")]
)
def test_sizes_for_people(count: int, text: str) -> None:
    assert format_bytes(count) == text
