"""Local engine: large arguments and results arrive whole, writable where they were, and shared by no one."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.engines.rig import PATIENCE, identity, run

from harmony import Workflow

LARGE = 100_000_000
Array = np.ndarray[Any, Any]


def describe(value: Array) -> tuple[Any, ...]:
    return value.shape, str(value.dtype), value.flags["F_CONTIGUOUS"], value.flags["C_CONTIGUOUS"]


def fill(value: Array) -> Array:
    value[...] = 7
    return value


def arrays() -> dict[str, Array]:
    square = np.arange(1_000_000, dtype=np.float64).reshape(1000, 1000)
    return {
        "C order": square,
        "Fortran order": np.asfortranarray(square),
        "strided": square[::2, ::3],
        "transposed": square.T,
        "reversed": square[::-1],
        "broadcast": np.broadcast_to(square[0], (300, 1000)),
        "read-only": np.frombuffer(bytes(1_000_000), dtype=np.uint8),
        "bools": square > 500,
        "records": np.zeros(100_000, dtype=[("a", "i4"), ("b", "f8")]),
        "texts": np.full(50_000, "text"),
        "objects": np.array([{"a": 1}, [2], None] * 1000, dtype=object),
        "zero-dimensional": np.array(3.0),
        "empty": np.zeros((0, 5)),
        "big-endian": np.arange(100_000, dtype=">i8"),
    }


@pytest.mark.parametrize("name", arrays())
def test_arrays_of_every_kind(wf: Workflow, name: str) -> None:
    value = arrays()[name]
    result = wf.submit(identity, value).result(PATIENCE)
    assert result.dtype == value.dtype
    assert np.array_equal(result, value)
    shape, dtype, fortran, _ = wf.submit(describe, value).result(PATIENCE)
    assert (shape, dtype) == (value.shape, str(value.dtype))
    if name == "Fortran order":
        assert fortran
        assert result.flags["F_CONTIGUOUS"]


def test_hundred_megabytes_there_and_back(wf: Workflow) -> None:
    value = np.arange(LARGE // 8, dtype=np.float64)
    before = value[:10].copy()
    result = wf.submit(fill, value).result(PATIENCE)
    assert result.nbytes == LARGE
    assert (result == 7).all()
    assert np.array_equal(value[:10], before)  # the task had its own
    result[:] = 8  # and so have we
    assert (wf.submit(identity, result).result(PATIENCE) == 8).all()


@pytest.mark.parametrize("size", [10, 100_000, 1_000_000])
def test_arrays_are_writable_on_both_sides(wf: Workflow, size: int) -> None:
    value = np.zeros(size)
    first, second = wf.submit(fill, value), wf.submit(fill, value)
    for future in (first, second):
        result = future.result(PATIENCE)
        result += 1
        assert (result == 8).all()
    assert not value.any()


def test_buffers_keep_their_places(wf: Workflow) -> None:
    """What plain pickle begins and cannot end must not be sent twice."""
    a, b, c = (np.full(100_000, float(i)) for i in range(3))
    for odd in (lambda: None, Local, Local(), None):
        result = wf.submit(identity, [a, odd, b, {"c": c}]).result(PATIENCE)
        assert [result[0][0], result[2][0], result[3]["c"][0]] == [0, 1, 2]
        result = wf.submit(lambda odd=odd: [np.full(100_000, 3.0), odd, np.full(100_000, 4.0)]).result(PATIENCE)
        assert [result[0][0], result[2][0]] == [3, 4]


class Local:
    pass


def test_main_classes_among_arrays(tmp_path: Path) -> None:
    program = """
        import numpy as np
        from harmony import Workflow
        class Mine: pass
        def back(value): return value
        if __name__ == "__main__":
            with Workflow(workers=1) as wf:
                a, mine, b = wf.submit(back, (np.full(10**6, 1.0), Mine(), np.full(10**6, 2.0))).result()
                assert (a == 1).all() and (b == 2).all() and type(mine) is Mine
            print("well")
    """
    assert run(tmp_path, program) == "well\n"


WRAPS: dict[str, Callable[[Any], Any]] = {
    "bare": identity,
    "in a list": lambda value: [value],
    "in a closure": lambda value: lambda: value,
}


@pytest.mark.parametrize("wrap", WRAPS.values(), ids=WRAPS)
@pytest.mark.parametrize("make", [bytes, bytearray, lambda size: "ä" * (size // 2)], ids=["bytes", "bytearray", "str"])
def test_large_bytes_and_texts(wf: Workflow, make: Callable[[int], Any], wrap: Callable[[Any], Any]) -> None:
    value = make(LARGE // 4)
    wrapped = wrap(value)
    if callable(wrapped):
        assert wf.submit(lambda: len(wrapped())).result(PATIENCE) == len(value)
        assert wf.submit(wrapped).result(PATIENCE) == value
    else:
        assert wf.submit(identity, wrapped).result(PATIENCE) == wrapped


def test_large_prints(wf: Workflow) -> None:
    future = wf.submit(lambda: print("x" * 20_000_000))
    assert future.result(PATIENCE) is None
    assert len(future.stdout) == 20_000_001


def test_many_medium_arrays(wf: Workflow, scale: Callable[[int, int], int]) -> None:
    count = scale(1500, 10_000)
    sent = [np.full(20_000, float(i)) for i in range(count)]
    futures = wf.map(identity, sent)
    for i, future in enumerate(futures):
        result = future.result(PATIENCE)
        assert result.shape == (20_000,)
        assert result[0] == result[-1] == i


def test_sizes_around_the_limits(wf: Workflow) -> None:
    sizes = [2**power + more for power in (0, 12, 16, 17, 18, 20, 22) for more in (-1, 0, 1)]
    values = [bytes([size % 251]) * size for size in sizes]
    for kept, future in [(value, wf.submit(identity, value)) for value in values]:
        assert future.result(PATIENCE) == kept
    for kept, future in [(value, wf.submit(identity, {"a": bytearray(value)})) for value in values]:
        assert future.result(PATIENCE) == {"a": kept}
    texts = [(size, wf.submit(lambda size: print("y" * size), size)) for size in sizes]
    for size, printed in texts:
        printed.result(PATIENCE)
        assert len(printed.stdout) == size + 1


def digest(*parts: Any) -> str:
    total = hashlib.sha256()
    for part in parts:
        total.update(part)
    return total.hexdigest()


def test_contents_are_the_same(wf: Workflow) -> None:
    chance = np.random.default_rng(11)
    parts = [chance.integers(0, 256, size, dtype=np.uint8) for size in (1, 1000, 131_072, 131_073, 5_000_000, 64)]
    assert wf.submit(digest, *parts).result(PATIENCE) == digest(*parts)
    for part, back in zip(parts, wf.submit(lambda *parts: parts, *parts).result(PATIENCE), strict=True):
        assert np.array_equal(part, back)


def test_result_outlives_its_worker_and_workflow(wf: Workflow) -> None:
    result = wf.submit(np.ones, 1_000_000).result(PATIENCE)
    wf.close()
    result += 1
    assert result.sum() == 2_000_000
