"""Graph: what is found inside arguments, what it is replaced by, and the order that files give."""

from __future__ import annotations

import collections
import dataclasses
import threading
from concurrent.futures import Future
from typing import Any, NamedTuple

import pytest

from harmony.core import graph
from harmony.core.data import File
from harmony.core.task import Call, Task
from harmony.errors import CycleError, WorkflowError


def ended(result: Any) -> Future[Any]:
    future: Future[Any] = Future()
    future.set_result(result)
    return future


class Point(NamedTuple):
    x: Any
    y: Any = 0


@dataclasses.dataclass
class Plain:
    a: Any
    b: Any = dataclasses.field(default_factory=int)


@dataclasses.dataclass(frozen=True)
class Frozen:
    a: Any
    b: Any = 0


@dataclasses.dataclass(frozen=True, slots=True)
class Slotted:
    a: Any
    b: Any = 0


@dataclasses.dataclass
class Checked:
    a: Any
    seen: list[Any] = dataclasses.field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        self.seen.append(self.a)


class Unhashed(dict[str, Any]):
    """A dict of another type, whose type must survive."""


class Opaque:
    def __init__(self, inside: Any) -> None:
        self.inside = inside


def found(value: Any) -> tuple[list[Future[Any]], list[File]]:
    futures: list[Future[Any]] = []
    files: list[File] = []
    graph.find(value, futures, files)
    return futures, files


#: how to put one thing inside another → how to see the result
WRAPPERS = {
    "bare": lambda x: x,
    "list": lambda x: [1, x, "a"],
    "tuple": lambda x: (1, x, "a"),
    "nested list": lambda x: [[[], [x]], 2],
    "set": lambda x: {x, 1},
    "frozenset": lambda x: frozenset({x, 1}),
    "dict value": lambda x: {"k": x, "l": 2},
    "dict key": lambda x: {x: "v", "l": 2},
    "tuple as dict key": lambda x: {(x, 1): "v"},
    "named tuple": lambda x: Point(1, x),
    "dataclass": Plain,
    "frozen dataclass": lambda x: Frozen(1, x),
    "frozen dataclass with slots": lambda x: Slotted(x, 2),
    "ordered dict": lambda x: collections.OrderedDict(b=x, a=1),
    "default dict": lambda x: collections.defaultdict(list, k=x),
    "dict subclass": lambda x: Unhashed(k=x),
    "counter": lambda x: collections.Counter({x: 3, "l": 1}),
    "all of them": lambda x: [{"k": (Point(Slotted([x]), {x}),)}, Plain(x, [x])],
}


@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS)
def test_futures_are_found_and_replaced(wrap: Any) -> None:
    future = ended("result")
    given = wrap(future)
    assert set(found(given)[0]) == {future}
    resolved = graph.resolve(given)
    assert resolved == wrap("result")
    assert type(resolved) is type(wrap("result"))


@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS)
def test_files_are_found_and_stay(wrap: Any) -> None:
    given = wrap(File("a.dat"))
    assert set(found(given)[1]) == {File("a.dat")}
    assert graph.resolve(given) is given


@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS)
def test_what_holds_no_future_is_returned_as_it_is(wrap: Any) -> None:
    given = wrap("plain")
    assert found(given) == ([], [])
    assert graph.resolve(given) is given


def test_what_the_user_holds_is_not_changed() -> None:
    future = ended(1)
    given = {"list": [future], "point": Plain(future)}
    graph.resolve(given)
    assert given == {"list": [future], "point": Plain(future)}


def test_parts_without_futures_are_shared_not_copied() -> None:
    untouched = [1, 2]
    resolved = graph.resolve([untouched, ended(0)])
    assert resolved[0] is untouched


def test_order_of_found_futures_is_that_of_the_arguments() -> None:
    futures = [ended(i) for i in range(5)]
    nested = [futures[0], {"a": futures[1], "b": (futures[2], [futures[3]])}, Plain(futures[4])]
    assert found(nested)[0] == futures


def test_a_default_dict_keeps_its_factory() -> None:
    resolved = graph.resolve(collections.defaultdict(list, k=ended(1)))
    assert resolved["missing"] == []


def test_a_dataclass_is_not_initialised_again() -> None:
    resolved = graph.resolve(Checked(ended(7)))
    assert resolved.a == 7
    assert [type(item) for item in resolved.seen] == [int], "the field is resolved, and __post_init__ has not run again"


def test_a_dataclass_with_a_field_never_set() -> None:
    half = object.__new__(Plain)
    half.a = ended(5)
    assert len(found(half)[0]) == 1
    assert graph.resolve(half).a == 5


def test_a_dataclass_type_is_a_plain_value() -> None:
    assert found([Plain, Point]) == ([], [])
    assert graph.resolve([Plain, ended(1)]) == [Plain, 1]


def test_other_objects_are_not_looked_into() -> None:
    given = Opaque(ended(1))
    assert found(given) == ([], [])
    assert graph.resolve(given) is given


def test_a_list_that_contains_itself() -> None:
    loop: list[Any] = [1]
    loop.append(loop)
    assert found(loop) == ([], [])
    assert graph.resolve(loop) is loop
    beside = graph.resolve([loop, ended(2)])
    assert beside[0] is loop
    assert beside[1] == 2


def test_a_list_that_contains_itself_and_a_future() -> None:
    future = ended(3)
    loop: list[Any] = [future]
    loop.append({"again": loop})
    assert found(loop)[0] == [future]
    assert graph.resolve(loop)[0] == 3


def test_the_same_list_twice_is_no_loop() -> None:
    shared = [ended(4)]
    assert graph.resolve([shared, shared, {"k": shared}]) == [[4], [4], {"k": [4]}]


def test_a_failed_future_raises_its_own_error() -> None:
    failed: Future[Any] = Future()
    failed.set_exception(KeyError("gone"))
    with pytest.raises(KeyError, match="gone"):
        graph.resolve([failed])


def test_an_unhashable_result_in_a_set() -> None:
    with pytest.raises(TypeError, match="unhashable"):
        graph.resolve({ended([1])})


def test_objects_that_compare_by_value_are_told_apart_by_identity() -> None:
    class Equal:
        def __eq__(self, other: object) -> bool:
            raise AssertionError("arguments must not be compared: arrays answer with arrays")

        __hash__ = None  # type: ignore[assignment]

    given = [Equal(), Equal()]
    assert graph.resolve(given) is given


def test_is_plain() -> None:
    assert graph.is_plain((1, "a", 2.0, None, b"", True, 1j), {"k": 1})
    assert graph.is_plain((), {})
    others: list[Any] = [[], (), {}, Plain(1), ended(1), File("a")]
    for value in others:
        assert not graph.is_plain((value,), {})
        assert not graph.is_plain((), {"k": value})


# -- order ----------------------------------------------------------------------------------------


def task(name: str, reads: str = "", writes: str = "") -> Task:
    return Task(Call(threading.active_count), name, inputs=files(reads), outputs=files(writes))


def files(names: str) -> tuple[File, ...]:
    return tuple(File(name) for name in names.split())


def test_writers_come_before_readers() -> None:
    tasks = [task("last", reads="b"), task("middle", reads="a", writes="b"), task("first", writes="a")]
    assert graph.order(tasks) == [2, 1, 0]


def test_ties_keep_the_given_order() -> None:
    tasks = [task("d", reads="x"), task("a"), task("b"), task("w", writes="x"), task("c")]
    assert graph.order(tasks) == [1, 2, 3, 4, 0]


def test_a_diamond_through_files() -> None:
    tasks = [task("join", "l r", "out"), task("l", "s", "l"), task("r", "s", "r"), task("s", "", "s")]
    assert graph.order(tasks) == [3, 1, 2, 0]


def test_no_tasks() -> None:
    assert graph.order([]) == []


def test_a_file_nobody_writes_is_no_dependency() -> None:
    assert graph.order([task("a", reads="given.dat")]) == [0]


def test_a_cycle_is_told_with_its_tasks_and_files() -> None:
    tasks = [task("free"), task("grow", "seed", "tree"), task("harvest", "tree", "fruit"), task("sow", "fruit", "seed")]
    with pytest.raises(CycleError) as caught:
        graph.order(tasks)
    text = str(caught.value)
    assert "grow writes tree, which harvest reads" in text
    assert "harvest writes fruit, which sow reads" in text
    assert "sow writes seed, which grow reads" in text
    assert "free" not in text
    assert text.endswith("Give one of them another output path")


def test_a_task_that_only_waits_for_a_cycle_is_not_blamed() -> None:
    tasks = [task("onlooker", reads="a"), task("x", "b", "a"), task("y", "a", "b")]
    with pytest.raises(CycleError) as caught:
        graph.order(tasks)
    assert "onlooker" not in str(caught.value)
    assert "x writes a, which y reads" in str(caught.value)


def test_a_task_that_reads_what_it_writes() -> None:
    with pytest.raises(CycleError, match="twist writes knot, which twist reads"):
        graph.order([task("twist", "knot", "knot")])


def test_two_writers_of_one_file() -> None:
    with pytest.raises(WorkflowError, match=r"second and first both write a\.log, in no defined order"):
        graph.order([task("first", writes="a.log"), task("second", writes="out/../a.log")])


def test_one_task_may_name_its_output_twice() -> None:
    assert graph.order([task("twice", writes="a a")]) == [0]


def test_a_chain_of_ten_thousand() -> None:
    tasks = [task(f"t{i}", reads=f"f{i}", writes=f"f{i + 1}") for i in reversed(range(10_000))]
    assert graph.order(tasks) == list(reversed(range(10_000)))


def test_find_in_a_structure_deeper_than_the_recursion_limit() -> None:
    future = ended(1)
    deep: list[Any] = [future]
    for _ in range(5_000):
        deep = [deep]
    assert found(deep)[0] == [future]
