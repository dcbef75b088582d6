"""When a function is still the same."""

from __future__ import annotations

import functools
import os
import pathlib
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from typing import Any

import pytest

from harmony.core.code import Codes, function_content
from harmony.core.files import FileDigests
from harmony.core.identity import Unidentified

BASE = """
    import json
    import math

    LIMIT = 3
    NAMES = {"a": 1}

    def helper(x):
        return x + 1

    def deeper(x):
        return helper(x) * 2

    class Thing:
        size = 1

        def method(self):
            return self.size

    def task(x, y=2, *, z=3):
        total = sum(item for item in range(x))
        return deeper(total) + LIMIT + NAMES["a"] + Thing().method() + math.pi + y + z
"""


def content(text: str, name: str = "task") -> bytes:
    """Return the content of a function in a program of this text, in a module of its own each time."""
    names: dict[str, Any] = {"__name__": "program"}
    exec(compile(textwrap.dedent(text), "/nowhere/program.py", "exec", dont_inherit=True), names)
    return Codes(FileDigests()).content(names[name])


def changed(old: str, new: str) -> bytes:
    assert BASE.count(old) == 1
    return content(BASE.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("return x + 1", "return x + 1  # a comment"),
        ("return x + 1", "# a comment\n        return (x +\n            1)"),
        ("def task(x, y=2, *, z=3):", 'def task(x, y=2, *, z=3):\n        """Say what."""'),
        ("def helper(x):", 'def helper(x):\n        """Say what."""'),
        ("class Thing:", 'class Thing:\n        """Say what."""'),
        ("LIMIT = 3", "OTHER = 4\n    LIMIT = 3"),
        ("LIMIT = 3", "LIMIT = 2 + 1"),
        ("def helper(x):", "def unused(x):\n        return 0\n\n    def helper(x):"),
        ("def task(x, ", "def task(x: int, "),
    ],
)
def test_what_does_not_count(old: str, new: str) -> None:
    assert changed(old, new) == content(BASE)


CHANGES = [
    ("* 2", "* 3"), ("* 2", "* 2.0"), ("y=2", "y=4"), ("z=3", "z=4"), ("x + 1", "x - 1"), ("LIMIT = 3", "LIMIT = 4"),
    ("LIMIT = 3", "LIMIT = 3.0"), ('{"a": 1}', '{"a": 2}'), ("range(x)", "range(x, 9)"), ("size = 1", "size = 2"),
    ("return self.size", "return -self.size"), ("math.pi", "math.e"), ("sum(", "max("), ("y + z", "z + y"),
    ("item for item in", "-item for item in"), ("class Thing:", "class Thing(dict):"),
    ("deeper(total)", "helper(total)"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new"), CHANGES)
def test_what_counts(old: str, new: str) -> None:
    assert changed(old, new) != content(BASE)


def test_changes_differ_from_each_other() -> None:
    assert len({changed(old, new) for old, new in CHANGES}) == len(CHANGES)


def test_having_been_called_changes_nothing() -> None:
    names: dict[str, Any] = {"__name__": "program"}
    exec(compile(textwrap.dedent(BASE), "/nowhere/program.py", "exec", dont_inherit=True), names)
    before = Codes(FileDigests()).content(names["task"])
    for _ in range(200):
        names["task"](5)
    assert Codes(FileDigests()).content(names["task"]) == before == content(BASE)


def test_calls_in_circles_end() -> None:
    even = """
        def even(n):
            return n == 0 or odd(n - 1)

        def odd(n):
            return n != 0 and even(n - 1)
    """
    assert content(even, "even") == content(even, "even")
    assert content(even, "even") != content(even, "odd")
    assert content(even.replace("n != 0", "n > 0"), "even") != content(even, "even")
    itself = "class A:\n    def f(self):\n        return A()\n\ndef task():\n    return A().f()\n"
    assert content(itself) == content(itself) != content(itself.replace("A().f()", "A.f"))


def closing(value: Any) -> Callable[[], Any]:
    def inner() -> Any:
        return value

    return inner


def test_closures() -> None:
    assert function_content(closing([1])) == function_content(closing([1]))
    assert function_content(closing([1])) != function_content(closing([2]))
    assert function_content(closing(closing(1))) != function_content(closing(closing(2)))
    with pytest.raises(Unidentified, match=r"in 'value', over which .*inner closes"):
        function_content(closing(threading.current_thread()))
    assert function_content(closing(threading.Lock())) == function_content(closing(threading.Lock()))


def remembered(size: int) -> Callable[..., Any]:
    @functools.lru_cache
    def inner(x: int) -> int:
        return x + size

    return inner


def wrapped(size: int) -> Callable[..., Any]:
    @functools.wraps(closing)
    def inner(x: int) -> Any:
        return closing(x * size)

    return inner


class Scaled:
    def __init__(self, fn: Callable[..., Any], size: int) -> None:
        functools.update_wrapper(self, fn)
        self.fn = fn
        self.size = size

    def __call__(self, x: int) -> Any:
        return self.fn(x * self.size)


@pytest.mark.parametrize(
    "make", [remembered, wrapped, lambda size: Scaled(closing, size), lambda size: functools.partial(closing(size))]
)
def test_decorated(make: Callable[[int], Callable[..., Any]]) -> None:
    assert function_content(make(1)) == function_content(make(1))
    assert function_content(make(1)) != function_content(make(2))


def test_built_in() -> None:
    assert len({function_content(fn) for fn in (len, max, os.path.join, str.upper, dict, dict.fromkeys)}) == 6


def test_a_default_that_has_no_content() -> None:
    def task(x: Any = threading.current_thread()) -> Any:  # noqa: B008
        return x

    with pytest.raises(Unidentified, match=r"in a default of .*task"):
        function_content(task)


PROGRAM = """
    import sys
    import local
    from local import used
    from harmony.core.identity import content_of, function_content

    class First: pass
    class Second: pass
    def one(): return First
    def two(): return Second
    CHOSEN = {First, Second, one, two, "text", 3}
    TABLE = {First: 1, Second: 2, one: [two], two: [one]}
    TEXTS = {"alpha", "beta", "gamma", "delta"}

    def by_name(x):
        return used(x)

    def by_module(x):
        return local.used(x)

    def inside(x):
        from local import used
        return used(x)

    def chosen(x):
        return x in CHOSEN, x in TABLE, x in TEXTS, x in {"p", "q", "r"}

    for value in (by_name, by_module, inside, chosen, TEXTS, {"one": TEXTS, "two": frozenset(TEXTS)}):
        print(content_of(value).hex())
"""
LOCAL = """
    FACTOR = 2

    def used(x):
        return x * FACTOR

    def unused(x):
        return x
"""


@pytest.fixture
def run(tmp_path: pathlib.Path) -> Callable[..., list[str]]:
    """Run the program beside the module, and return the contents that it prints."""

    def start(local: str = LOCAL, seed: str = "0") -> list[str]:
        (tmp_path / "program.py").write_text(textwrap.dedent(PROGRAM))
        (tmp_path / "local.py").write_text(textwrap.dedent(local))
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(
            [sys.executable, "program.py"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert not done.stderr
        return done.stdout.split()

    return start


def test_the_same_in_another_process(run: Callable[..., list[str]]) -> None:
    found = run()
    assert len(set(found)) == 6
    for seed in ("1", "2", "3"):
        assert run(seed=seed) == found


def test_own_modules_count(run: Callable[..., list[str]]) -> None:
    before = run()
    for old, new in (("FACTOR = 2", "FACTOR = 3"), ("x * FACTOR", "FACTOR / x")):
        after = run(LOCAL.replace(old, new))
        assert [a != b for a, b in zip(before, after, strict=True)] == [True, True, True, False, False, False]
    commented = run(LOCAL.replace("FACTOR = 2", "# why\n    FACTOR = 2"))
    assert commented == before
    beside = run(LOCAL.replace("return x\n", "return -x\n"))
    assert [a != b for a, b in zip(before, beside, strict=True)] == [False, False, True, False, False, False]


def test_a_function_made_anew_is_known_again() -> None:
    codes = Codes(FileDigests())
    assert codes.content(closing(1)) == codes.content(closing(1))
    fn = closing([])
    before = codes.content(fn)
    fn.__closure__[0].cell_contents.append(1)  # type: ignore[index]
    assert codes.content(fn) == before  # as it was when first asked for
    assert Codes(FileDigests()).content(fn) != before


class Alike(type):
    def __eq__(cls, other: object) -> bool:
        return isinstance(other, Alike)

    __hash__ = None  # type: ignore[assignment]


def test_classes_that_claim_to_be_equal() -> None:
    codes = Codes(FileDigests())
    one, two = Alike("One", (), {"size": 1}), Alike("One", (), {"size": 2})
    assert codes.content(one) == codes.content(one) != codes.content(two)
    assert function_content(closing(one)) != function_content(closing(two))
