"""What values are the same, and which are not."""

from __future__ import annotations

import array
import collections
import dataclasses
import datetime as dt
import decimal
import enum
import fractions
import functools
import io
import os
import pathlib
import random
import threading
import time
import uuid
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd  # type: ignore[import-untyped]
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.core import functions

from harmony.core.data import File
from harmony.core.identity import FileDigests, Identifier, TooMuch, Unidentified, content_of, register_content
from harmony.core.task import Call, Command, Options

NUMBERS = st.one_of(st.booleans(), st.integers(), st.floats(allow_nan=False), st.complex_numbers(allow_nan=False))
ATOMS = st.one_of(st.none(), NUMBERS, st.text(), st.binary())
KEYS = st.one_of(st.integers(), st.text(), st.binary(), st.tuples(st.text(), st.integers()))
NESTED = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.lists(inner), st.tuples(inner, inner), st.dictionaries(KEYS, inner), st.sets(KEYS), st.frozensets(KEYS)
    ),
    max_leaves=12,
)


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


class Pair(NamedTuple):
    left: Any
    right: Any


@dataclasses.dataclass
class Point:
    x: Any
    y: Any = 0

    @functools.cached_property
    def total(self) -> Any:
        return self.x + self.y


@dataclasses.dataclass(frozen=True, slots=True)
class Slotted:
    x: Any


class Plain:
    def __init__(self, x: Any) -> None:
        self.x = x

    def method(self) -> Any:
        return self.x


class Other(Plain):
    pass


class Described:
    def __init__(self, told: Any) -> None:
        self.told = told
        self.lock = threading.Lock()

    def __harmony_content__(self) -> Any:
        return self.told


class Registered:
    def __init__(self, told: Any) -> None:
        self.told = told
        self.lock = threading.Lock()


def tree(value: Any) -> Any:
    """Return what tells two values apart, types and signs and the order of what is ordered included."""
    if isinstance(value, (list, tuple)):
        return type(value).__name__, [tree(item) for item in value]
    if isinstance(value, dict):
        return "dict", sorted(((repr(tree(key)), tree(item)) for key, item in value.items()), key=repr)
    if isinstance(value, (set, frozenset)):
        return type(value).__name__, sorted(repr(tree(item)) for item in value)
    return type(value).__name__, repr(value)


def again(value: Any) -> Any:
    """Return an equal value that shares nothing, dicts and sets filled the other way round."""
    if isinstance(value, (list, tuple)):
        return type(value)(again(item) for item in value)
    if isinstance(value, dict):
        return {again(key): again(item) for key, item in reversed(value.items())}
    if isinstance(value, (set, frozenset)):
        return type(value)(again(item) for item in reversed(list(value)))
    if isinstance(value, str):
        return "".join(value)
    return bytes(bytearray(value)) if isinstance(value, bytes) else value


@given(NESTED)
@settings(max_examples=150, deadline=None)
def test_equal_values_are_the_same(value: Any) -> None:
    assert content_of(value) == content_of(again(value))


@given(NESTED, NESTED)
@settings(max_examples=150, deadline=None)
def test_values_are_the_same_only_if_they_are_equal(one: Any, other: Any) -> None:
    assert (content_of(one) == content_of(other)) == (repr(tree(one)) == repr(tree(other)))


DIFFERENT: list[Any] = [
    0, 1, -1, True, False, None, ..., 0.0, -0.0, 1.0, 1j, float("inf"), "", "1", b"", b"1", "x" * 70_000,
    "x" * 70_001, b"x" * 70_000, 2**31, 2**63, 2**200, (), [], {}, set(), frozenset(), bytearray(), bytearray(b"1"),
    (1,), [1], [[1]], [(1,)], {1: 2}, {"1": 2}, {2: 1}, {1}, frozenset({1}), {1: {2: 3}}, {1: [2, 3]}, [1, [2]],
    [[1], 2], ["ab", "c"], ["a", "bc"], range(3), range(4, 5), slice(3), slice(0, 3), Colour.RED, Colour.BLUE,
    Pair(1, 2), (1, 2), [1, 2], Point(1), Point(1, 2), Slotted(1), Slotted(2), Plain(1), Plain(2), Other(1), Plain,
    Other, Plain(1).method, Plain(2).method, Plain.method, functools.partial(max, 1), functools.partial(max, 2),
    functools.partial(min, 1), max, [].append, [1].append, len, collections.OrderedDict(a=1, b=2),
    collections.OrderedDict(b=2, a=1), {"a": 1, "b": 2}, collections.Counter(a=1, b=2),
    collections.defaultdict(int, a=1), collections.defaultdict(list, a=1), collections.deque([1]),
    collections.deque([1], 3), decimal.Decimal("2.0"), decimal.Decimal("2.00"), fractions.Fraction(1),
    dt.date(2020, 1, 1), dt.datetime.fromisoformat("2020-01-01"),
    dt.datetime(2020, 1, 1, tzinfo=dt.timezone.utc), dt.timedelta(1), uuid.UUID(int=1),
    uuid.UUID(int=2), array.array("i", [1]), array.array("l", [1]), memoryview(b"1"), io.BytesIO(b"1"),
    io.StringIO("1"), random.Random(1), random.Random(2), ValueError("1"), ValueError("2"), TypeError("1"), os,
    os.path, int, str, pathlib.PurePosixPath("a"), pathlib.PurePosixPath("b"), pathlib.Path("a"), np.int32(1),
    np.int64(1), np.float64(1), np.array(1), np.array([1]), np.array([[1]]), np.array([1.0]), np.array(["1"]),
    np.array([1, 2, 3, 4]), np.array([[1, 2], [3, 4]]), np.array([[1, 3], [2, 4]]), np.array([1], "i4"),
    np.array([1], ">i4"), np.array([1, "a", None], object), np.array([], "i8"), np.array([], "f8"), np.dtype("i4"),
    np.dtype("i8"), np.array(["2020-01-01"], "M8[D]"), np.array(["2020-01-01"], "M8[s]"),
    np.array([(1, 2.0)], "i4,f8"), np.ma.masked_array([1, 2], [False, True]), np.ma.masked_array([1, 2], [True, False]),
    np.random.default_rng(1), np.random.default_rng(2), np.random.RandomState(1), np.random.SeedSequence(1),
    pd.DataFrame({"a": [1, 2]}), pd.DataFrame({"b": [1, 2]}), pd.DataFrame({"a": [1.0, 2.0]}),
    pd.DataFrame({"a": [2, 1]}), pd.DataFrame({"a": [1, 2]}, index=[1, 2]), pd.DataFrame({"a": ["x", None]}),
    pd.DataFrame({"a": pd.Categorical(["x", "y"])}), pd.Series([1, 2]), pd.Series([1, 2], name="a"),
    pd.Series([1, None], dtype="Int64"), pd.Index([1, 2]), pd.Index(["1"]), pd.Timestamp("2020"),
    pd.date_range("2020", periods=2), pd.date_range("2020", periods=2, tz="UTC"), pd.MultiIndex.from_tuples([(1, 2)]),
    pd.NA, pd.NaT,
]  # fmt: skip


def test_different_values_differ() -> None:
    found: dict[bytes, Any] = {}
    for value in DIFFERENT:
        content = content_of(value)
        assert len(content) == 16
        assert content not in found, f"{value!r} has the content of {found[content]!r}"
        found[content] = value


def test_each_counts_the_same_when_asked_again() -> None:
    for value in DIFFERENT:
        assert content_of(value) == content_of(value)
        assert content_of([value, value]) == content_of([value, value])


def same() -> Iterator[tuple[Any, Any]]:
    base = np.arange(24.0).reshape(4, 6)
    yield np.asfortranarray(base), base
    yield base.T.copy(), base.T
    yield base[::2, ::-1].copy(), base[::2, ::-1]
    yield np.broadcast_to(np.arange(3), (2, 3)).copy(), np.broadcast_to(np.arange(3), (2, 3))
    big = np.arange(400_000.0).reshape(500, 800)
    yield np.ascontiguousarray(big.T), big.T
    yield np.ma.masked_array([1, 2], [False, True]), np.ma.masked_array([1, 3], [False, True])
    yield np.frombuffer(base.tobytes()), base.reshape(-1)
    yield np.random.default_rng(1), np.random.default_rng(1)
    yield random.Random(1), random.Random(1)
    frame = pd.DataFrame({"a": [1, 2, 3], "b": list("xyz"), "c": [1.0, None, 3.0]})
    yield frame, frame.copy()
    yield frame[["a"]], pd.DataFrame({"a": [1, 2, 3]})
    yield frame.iloc[1:].reset_index(drop=True), frame.iloc[[1, 2]].reset_index(drop=True)
    yield float("nan"), float("nan")
    yield Point(1), Point(1)
    yield Slotted(1), Slotted(1)
    yield functools.partial(max, 1, key=abs), functools.partial(max, 1, key=abs)
    yield Plain(1).method, Plain(1).method
    yield {"a": 1, "b": 2}, {"b": 2, "a": 1}
    yield collections.Counter("ab"), collections.Counter("ba")
    yield {Colour.RED, Colour.BLUE}, {Colour.BLUE, Colour.RED}
    yield {Colour.RED: 1, "a": 2}, {"a": 2, Colour.RED: 1}
    yield memoryview(b"abcd")[::2], memoryview(b"ac")
    yield [base, base], [base, base.copy()]


@pytest.mark.parametrize(("one", "other"), list(same()))
def test_the_same_whichever_way_it_lies(one: Any, other: Any) -> None:
    assert content_of(one) == content_of(other)


def test_one_element_of_an_array_counts() -> None:
    array = np.zeros((300, 700)).T
    before = content_of(array)
    array[699, 299] = 1
    assert content_of(array) != before


def test_what_was_only_computed_does_not_count() -> None:
    point = Point(1, 2)
    before = content_of(point)
    assert point.total == 3
    assert content_of(point) == before


def test_a_generator_counts_as_it_stands() -> None:
    for make in (random.Random, np.random.default_rng):
        one, other = make(1), make(1)
        one.random()
        assert content_of(one) != content_of(other)
        other.random()
        assert content_of(one) == content_of(other)


def circle(size: int) -> list[Any]:
    first: list[Any] = [0]
    last = first
    for number in range(1, size):
        last.append([number])
        last = last[-1]
    last.append(first)
    return first


def test_circles_end() -> None:
    assert content_of(circle(1)) == content_of(circle(1))
    assert len({content_of(circle(size)) for size in (1, 2, 3)}) == 3
    plain = Plain(None)
    plain.x = {"self": plain, "list": [plain]}
    other = Plain(None)
    other.x = {"self": other, "list": [other]}
    assert content_of(plain) == content_of(other)
    assert content_of([plain, plain.x]) == content_of([other, other.x])


def test_nested_too_deeply() -> None:
    value: Any = []
    for _ in range(100_000):
        value = [value]
    with pytest.raises(Unidentified, match="nested too deeply"):
        content_of(value)


@pytest.mark.parametrize(
    ("value", "place"),
    [
        (threading.Lock(), "lock"),
        ([1, {"a": threading.Lock()}], "in a dict in a list"),
        (Plain(threading.Lock()), "Plain"),
        ((item for item in "a"), "generator"),
        (pd.DataFrame({"a": [threading.Lock()]}), "in column 'a' of a frame"),
        (Point(threading.current_thread()), "Thread in a tests.core.test_identity.Point"),
    ],
)
def test_what_has_no_content_names_the_place(value: Any, place: str) -> None:
    with pytest.raises(Unidentified) as caught:
        content_of(value)
    assert place in str(caught.value)
    with pytest.raises(Unidentified, match="argument 2, "):
        Identifier().identify(Call(functions.add, (1, value)), Options())


def test_hooks() -> None:
    assert content_of(Described(1)) == content_of(Described(1))
    assert content_of(Described(1)) != content_of(Described(2))
    with pytest.raises(Unidentified):
        content_of(Registered(1))
    register_content(Registered, lambda value: value.told)
    assert content_of(Registered([1])) == content_of(Registered([1]))
    assert content_of(Registered([1])) != content_of(Registered([2]))
    with pytest.raises(TypeError, match="register_content"):
        register_content(int, str)


def test_a_limit() -> None:
    array = np.zeros(1000)
    with pytest.raises(TooMuch):
        content_of(array, limit=7000)
    assert content_of(array, limit=9000) == content_of(array)
    with pytest.raises(TooMuch):
        content_of(["x"] * 1000, limit=1000)
    with pytest.raises(TooMuch):
        content_of(File("/nowhere"), limit=1 << 30)


def key(identifier: Identifier, *args: Any, inputs: Any = (), outputs: Any = (), **options: Any) -> bytes:
    return identifier.identify(Call(functions.add, args), Options(**options), inputs, outputs)[0]


def test_files_by_content(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "file"
    path.write_text("a")
    one = key(Identifier(), File(path))
    assert key(Identifier(), File(path)) == one != key(Identifier(), path)
    assert key(Identifier(), path) != key(Identifier(), str(path))
    path.write_text("b")
    assert key(Identifier(), File(path)) != one
    os.utime(path, ns=(0, 0))
    two = key(Identifier(), File(path))
    path.unlink()
    assert key(Identifier(), File(path)) not in (one, two)


def test_a_file_that_is_written_counts_by_its_path(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "file"
    one = key(Identifier(), File(path), outputs=[str(path)])
    path.write_text("a")
    assert key(Identifier(), File(path), outputs=[str(path)]) == one
    assert key(Identifier(), File(path), outputs=[str(tmp_path / "other")]) != one


def test_paths_below_the_root_move_with_it(tmp_path: pathlib.Path) -> None:
    keys = []
    roots = [tmp_path / "here", tmp_path / "there"]
    for root in roots:
        root.mkdir()
        (root / "file").write_text("a")
        keys.append(key(Identifier(str(root)), File(root / "file"), root / "file", outputs=[str(root / "out")]))
    assert keys[0] == keys[1]
    assert key(Identifier(str(tmp_path)), *(File(root / "file") for root in roots)) != keys[0]


def test_paths_are_told(tmp_path: pathlib.Path) -> None:
    (tmp_path / "file").write_text("abc")
    call = Call(functions.add, (tmp_path / "file", [tmp_path / "none", tmp_path]))
    _, paths = Identifier().identify(call, Options())
    assert [(state.path, state.size) for state in paths] == [(f"{tmp_path}/file", 3), (f"{tmp_path}/none", -1)]


def test_all_of_a_task_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEED", "1")
    calls = [Call(functions.add, (1, 2)), Call(functions.add, (1,), {"b": 2}), Call(functions.add, (1, "2"))]
    commands = [
        Command("a b"),
        Command(("a", "b")),
        Command(("a b",)),
        Command("a b", stdout="/x"),
        Command("a b", stderr="/x"),
    ]
    works: list[Call | Command] = [*calls, *commands]
    options = [Options(), Options(environment=(("A", "1"),)), Options(directory="/tmp"), Options(relevant=("SEED",))]
    keys = [Identifier().identify(work, option)[0] for work in works for option in options]
    assert len(set(keys)) == len(keys)
    quick = Identifier()
    assert [quick.identify(calls[0], options[0])[0] for _ in range(3)] == [keys[0]] * 3
    before = quick.identify(calls[0], options[3])[0]
    monkeypatch.setenv("SEED", "2")
    assert quick.identify(calls[0], options[3])[0] != before


def test_files_are_read_once(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"abc")
    past = time.time() - 10
    os.utime(path, (past, past))
    files, read = FileDigests(), list[int]()
    first = files.digest(str(path), read.append)
    assert files.digest(str(path), read.append) == first
    assert read == [3]
    rows = files.new()
    assert [row.path for row in rows] == [str(path)]
    assert files.new() == []
    later = FileDigests()
    later.load(rows)
    assert later.digest(str(path), read.append) == first
    assert read == [3]
    path.write_bytes(b"abd")
    assert later.digest(str(path)) != first
    assert later.new() == []
