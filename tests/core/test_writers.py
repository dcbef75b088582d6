"""Writers: a file has one writer, whatever the timing; another only after a failure, or when it waits for the first."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.core.fake_engine import FakeEngine, call, opened, wait_for

from harmony.core.data import File
from harmony.core.kernel import Kernel
from harmony.core.task import Call, Task
from harmony.errors import WorkflowError


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def kernel(engine: FakeEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Kernel]:
    monkeypatch.chdir(tmp_path)
    with opened(engine) as kernel:
        yield kernel


def writing(*names: str, name: str = "writer", args: tuple[object, ...] = ()) -> Task:
    return Task(Call(print, args), name, outputs=tuple(map(File, names)))


@pytest.mark.parametrize("first_has_ended", [False, True])
def test_a_second_writer_is_refused(kernel: Kernel, engine: FakeEngine, first_has_ended: bool) -> None:
    first = kernel.submit(writing("a", name="first"))
    taken = engine.take()
    if first_has_ended:
        engine.done(taken)
        wait_for(first)
    with pytest.raises(WorkflowError, match=r"second and first \(task 1\) both write a, in no defined order"):
        kernel.submit(writing("a", name="second"))


@pytest.mark.parametrize("how", ["failed", "cancelled"])
def test_another_try_after_a_failure(kernel: Kernel, engine: FakeEngine, how: str) -> None:
    first = kernel.submit(writing("a"))
    taken = engine.take()
    if how == "failed":
        engine.fail(taken, OSError())
        wait_for(first)
    else:
        first.cancel()
    second = kernel.submit(writing("a"))
    reader = kernel.submit(call(File("a"), name="reader"))
    File("a").write_text("x")
    taken = engine.take()
    assert taken.id == second.id
    engine.done(taken)
    assert engine.take().id == reader.id


@pytest.mark.parametrize("wait", [lambda first: (first,), lambda first: (File("a"),)], ids=["by future", "by file"])
def test_one_that_waits_for_the_first(
    kernel: Kernel, engine: FakeEngine, wait: Callable[[object], tuple[object, ...]]
) -> None:
    first = kernel.submit(writing("a", "b"))
    inputs = tuple(item for item in wait(first) if isinstance(item, File))
    if inputs:
        middle = Task(Call(print), "second", inputs=(File("b"),), outputs=(File("a"),))
    else:
        middle = writing("a", name="second", args=wait(first))
    second = kernel.submit(middle)
    File("b").write_text("x")
    engine.done(engine.take())
    assert engine.take().id == second.id


def test_many_writers_are_remembered_but_their_results_are_not(kernel: Kernel, engine: FakeEngine) -> None:
    class Result:
        pass

    futures = [kernel.submit(writing(f"f{index}")) for index in range(5_000)]
    result = Result()
    seen = weakref.ref(result)
    while futures:
        futures.pop()
        engine.done(engine.take(), result)
    del result
    kernel.wait()
    for index in range(5_000, 10_000):
        kernel.submit(writing(f"f{index}"))
        engine.done(engine.take())
    kernel.wait()
    gc.collect()
    assert seen() is None
    with pytest.raises(WorkflowError, match=r"second and writer \(task 8\) both write f7"):
        kernel.submit(writing("f7", name="second"))
