"""Kernel: who waits for whom, by futures and by files; and what a failure does to those who waited."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError, Future
from pathlib import Path
from typing import Any

import pytest
from tests.core.fake_engine import PATIENCE, FakeEngine, call, opened, wait_for

from harmony.core.data import File
from harmony.core.kernel import Kernel
from harmony.core.record import Record
from harmony.core.task import Call, Command, Task, TaskState
from harmony.errors import CycleError, DependencyError, MissingFileError, WorkflowError


@dataclasses.dataclass(frozen=True)
class Pair:
    first: Any
    second: Any


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def kernel(engine: FakeEngine) -> Iterator[Kernel]:
    with opened(engine) as kernel:
        yield kernel


@pytest.fixture(autouse=True)
def _in_an_empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def arguments(engine: FakeEngine) -> tuple[Any, ...]:
    work = engine.take().work
    assert isinstance(work, Call)
    return (*work.args, dict(work.kwargs))


def reading(*names: str, name: str = "reader") -> Task:
    return call(*(File(path) for path in names), name=name)


def writing(*names: str, reads: tuple[str, ...] = (), name: str = "writer") -> Task:
    return Task(Command("true"), name, inputs=tuple(map(File, reads)), outputs=tuple(map(File, names)))


# -- futures ------------------------------------------------------------------------------------------


def test_a_task_waits_for_the_futures_anywhere_in_its_arguments(kernel: Kernel, engine: FakeEngine) -> None:
    parents = [kernel.submit(call(name=f"p{i}")) for i in range(4)]
    child = kernel.submit(call([parents[0]], {"k": (parents[1],)}, pair=Pair(parents[2], {parents[3]}), name="child"))
    taken = [engine.take() for _ in parents]
    assert child.state is TaskState.WAITING
    for submission in reversed(taken):
        assert engine.is_empty
        engine.done(submission, submission.name)
        engine.barrier(kernel)
    assert arguments(engine) == (["p0"], {"k": ("p1",)}, {"pair": Pair("p2", {"p3"})})


def test_a_future_given_twice_is_waited_for_once(kernel: Kernel, engine: FakeEngine) -> None:
    parent = kernel.submit(call())
    kernel.submit(call(parent, [parent, parent], name="child"))
    engine.done(engine.take(), "r")
    assert arguments(engine) == ("r", ["r", "r"], {})


def test_a_parent_that_has_ended(kernel: Kernel, engine: FakeEngine) -> None:
    parent = kernel.submit(call())
    engine.done(engine.take(), "r")
    wait_for(parent)
    kernel.submit(call(parent))
    assert arguments(engine) == ("r", {})


@pytest.mark.parametrize("ended", ["done", "failed", "cancelled"])
def test_a_parent_that_ends_in_the_turn_in_which_its_child_comes(
    kernel: Kernel, engine: FakeEngine, ended: str
) -> None:
    parent = kernel.submit(call(name="parent"))
    taken = engine.take()
    with engine.one_turn(kernel):
        if ended == "done":
            engine.done(taken, "r")
        elif ended == "failed":
            engine.fail(taken, ValueError("x"))
        else:
            parent.cancel()
        child = kernel.submit(call(parent, name="child"))
    if ended == "done":
        assert arguments(engine) == ("r", {})
    else:
        assert isinstance(wait_for(child), DependencyError)


def test_a_failure_ends_the_successors_at_once(kernel: Kernel, engine: FakeEngine) -> None:
    bad, slow = kernel.submit(call(name="bad")), kernel.submit(call(name="slow"))
    child = kernel.submit(call(slow, bad, name="child"))
    grandchild = kernel.submit(call([child], name="grandchild"))
    taken = {submission.name: submission for submission in (engine.take(), engine.take())}
    root = ValueError("the root")
    engine.fail(taken["bad"], root)
    for heir in (child, grandchild):
        error = wait_for(heir)
        assert isinstance(error, DependencyError)
        assert error.__cause__ is root
        assert str(error) == f"{heir.name} was not run: bad (task 1) failed with ValueError: the root"
    assert not slow.done()
    engine.done(taken["slow"])
    wait_for(slow)
    engine.barrier(kernel)
    assert engine.is_empty


def test_a_name_with_a_colon(kernel: Kernel, engine: FakeEngine) -> None:
    bad = kernel.submit(call(name="step 1: load"))
    child = kernel.submit(call(bad, name="step 2: relax"))
    grandchild = kernel.submit(call(child, name="step 3: plot"))
    engine.fail(engine.take(), ValueError("x"))
    assert str(wait_for(grandchild)) == "step 3: plot was not run: step 1: load (task 1) failed with ValueError: x"


def test_the_first_of_several_roots_is_told(kernel: Kernel, engine: FakeEngine) -> None:
    parents = [kernel.submit(call(name=f"p{i}")) for i in range(3)]
    child = kernel.submit(call(parents, name="child"))
    taken = [engine.take() for _ in parents]
    for index in (1, 0, 2):
        engine.fail(taken[index], ValueError(f"of {index}"))
    error = wait_for(child)
    assert error is not None
    assert str(error.__cause__) == "of 1"


def test_a_failure_reaches_ten_thousand_successors(kernel: Kernel, engine: FakeEngine) -> None:
    root = kernel.submit(call(name="root"))
    chain = [root]
    for _ in range(10_000):
        chain.append(kernel.submit(call(chain[-1], name="link")))
    engine.fail(engine.take(), OSError("the root"))
    error = wait_for(chain[-1])
    assert isinstance(error, DependencyError)
    assert str(error) == "link was not run: root (task 1) failed with OSError: the root"
    assert isinstance(error.__cause__, OSError)


def test_an_error_whose_text_cannot_be_had_ends_its_own_task_only(kernel: Kernel, engine: FakeEngine) -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no text")

    bad, other = kernel.submit(call(name="bad")), kernel.submit(call(name="other"))
    child = kernel.submit(call(bad, name="child"))
    taken = {submission.name: submission for submission in (engine.take(), engine.take())}
    engine.fail(taken["bad"], Mute())
    assert isinstance(wait_for(bad), Mute)
    assert isinstance(wait_for(child), DependencyError)
    engine.done(taken["other"], "fine")
    assert other.result(PATIENCE) == "fine"


def test_arguments_that_cannot_be_put_together_fail_the_task(kernel: Kernel, engine: FakeEngine) -> None:
    parent = kernel.submit(call(name="parent"))
    child = kernel.submit(call({parent}, name="child"))
    engine.done(engine.take(), ["not hashable"])
    assert isinstance(wait_for(child), TypeError)


def test_a_list_that_contains_itself(kernel: Kernel, engine: FakeEngine) -> None:
    loop: list[Any] = [1]
    loop.append(loop)
    parent = kernel.submit(call(name="parent"))
    kernel.submit(call(loop, parent))
    engine.done(engine.take(), 5)
    given = arguments(engine)
    assert given[0] is loop
    assert given[1] == 5


def test_a_wide_fan_in(kernel: Kernel, engine: FakeEngine) -> None:
    parents = [kernel.submit(call()) for _ in range(5_000)]
    child = kernel.submit(call(parents, name="child"))
    for index in range(5_000):
        engine.done(engine.take(), index)
    taken = engine.take()
    assert taken.id == child.id
    assert taken.work[1] == (list(range(5_000)),)  # type: ignore[index]


# -- futures that are not ours ------------------------------------------------------------------------


def test_a_standard_future(kernel: Kernel, engine: FakeEngine) -> None:
    foreign: Future[Any] = Future()
    child = kernel.submit(call([foreign]))
    engine.barrier(kernel)
    assert engine.is_empty
    assert not child.done()
    foreign.set_result("from afar")
    assert arguments(engine) == (["from afar"], {})


@pytest.mark.parametrize("before", [True, False])
def test_a_standard_future_that_fails(kernel: Kernel, engine: FakeEngine, before: bool) -> None:
    foreign: Future[Any] = Future()
    if before:
        foreign.set_exception(OSError("afar"))
    child = kernel.submit(call(foreign, name="child"))
    if not before:
        foreign.set_exception(OSError("afar"))
    error = wait_for(child)
    assert isinstance(error, DependencyError)
    assert isinstance(error.__cause__, OSError)
    assert str(error) == "child was not run: a future it needs failed with OSError: afar"


@pytest.mark.parametrize("before", [True, False])
def test_a_standard_future_that_is_cancelled(kernel: Kernel, before: bool) -> None:
    foreign: Future[Any] = Future()
    if before:
        foreign.cancel()
    child = kernel.submit(call(foreign, name="child"))
    if not before:
        foreign.cancel()
    error = wait_for(child)
    assert isinstance(error, DependencyError)
    assert isinstance(error.__cause__, CancelledError)


def test_a_future_of_another_workflow(kernel: Kernel, engine: FakeEngine) -> None:
    there = FakeEngine()
    with opened(there) as other:
        good, bad = other.submit(call(name="good")), other.submit(call(name="bad"))
        assert good.id == 1
        child = kernel.submit(call(good))
        assert child.id == 1, "the same number, in another workflow"
        heir = kernel.submit(call(bad, name="heir"))
        there.done(there.take(), "r")
        assert arguments(engine) == ("r", {})
        there.fail(there.take(), ValueError("x"))
        error = wait_for(heir)
    assert str(error) == "heir was not run: bad (task 2) failed with ValueError: x"


def test_closing_while_a_task_waits_for_a_future_that_never_ends(engine: FakeEngine) -> None:
    foreign: Future[Any] = Future()
    with opened(engine) as kernel:
        child = kernel.submit(call(foreign))
    assert child.cancelled()
    foreign.set_result(1)
    assert child.cancelled()


# -- files --------------------------------------------------------------------------------------------


def test_a_reader_waits_for_the_writer(kernel: Kernel, engine: FakeEngine) -> None:
    kernel.submit(writing("a.dat"))
    reader = kernel.submit(reading("a.dat"))
    taken = engine.take()
    assert taken.outputs == (str(File("a.dat")),)
    engine.barrier(kernel)
    assert engine.is_empty
    File("a.dat").write_text("x")
    engine.done(taken)
    assert engine.take().id == reader.id


def test_however_the_path_is_written(kernel: Kernel, engine: FakeEngine, tmp_path: Path) -> None:
    kernel.submit(writing("a.dat"))
    kernel.submit(reading(str(tmp_path / "b" / ".." / "a.dat")))
    engine.take()
    engine.barrier(kernel)
    assert engine.is_empty


def test_a_failed_writer_fails_its_readers(kernel: Kernel, engine: FakeEngine) -> None:
    kernel.submit(writing("a.dat"))
    waiting = kernel.submit(reading("a.dat"))
    root = OSError("disk full")
    engine.fail(engine.take(), root)
    for reader in (waiting, kernel.submit(reading("a.dat"))):
        error = wait_for(reader)
        assert isinstance(error, DependencyError)
        assert error.__cause__ is root


def test_a_file_that_is_there_needs_no_writer(kernel: Kernel, engine: FakeEngine) -> None:
    File("a.dat").write_text("x")
    kernel.submit(reading("a.dat"))
    assert arguments(engine) == (File("a.dat"), {})


def test_a_missing_input(kernel: Kernel, engine: FakeEngine) -> None:
    reader = kernel.submit(reading("data/a.dat"))
    error = wait_for(reader)
    assert isinstance(error, MissingFileError)
    assert str(error).startswith("reader reads data/a.dat, which is not there")
    engine.barrier(kernel)
    assert engine.is_empty


def test_a_missing_input_is_looked_for_when_the_parents_have_ended(kernel: Kernel, engine: FakeEngine) -> None:
    parent = kernel.submit(call(name="parent"))
    reader = kernel.submit(call(parent, File("made.dat"), name="reader"))
    taken = engine.take()
    File("made.dat").write_text("by the parent, on the side")
    engine.done(taken)
    assert engine.take().id == reader.id


def test_two_writers_of_one_file_are_refused_at_once(kernel: Kernel, engine: FakeEngine) -> None:
    kernel.submit(writing("a.dat", name="first"))
    with pytest.raises(WorkflowError, match=r"second and first \(task 1\) both write a\.dat, in no defined order"):
        kernel.submit(writing("b.dat", "a.dat", name="second"))
    assert kernel.submit(writing("b.dat", name="third")).name == "third", "what was refused holds no file"


def test_who_waits_for_the_first_writer_may_be_the_second(kernel: Kernel, engine: FakeEngine) -> None:
    first = kernel.submit(writing("a.dat", name="first"))
    kernel.submit(call(first, File("a.dat"), name="reader"))
    second = kernel.submit(Task(Call(print, (first,)), "second", outputs=(File("a.dat"),)))
    File("a.dat").write_text("x")
    engine.done(engine.take())
    engine.barrier(kernel)
    last = kernel.submit(reading("a.dat", name="last"))
    taken = {submission.id: submission for submission in (engine.take(), engine.take())}
    assert last.id not in taken
    engine.done(taken[second.id])
    assert engine.take().id == last.id


def test_a_failed_call_may_be_made_again(kernel: Kernel, engine: FakeEngine) -> None:
    first = kernel.submit(writing("a.dat"))
    engine.fail(engine.take(), OSError())
    wait_for(first)
    kernel.submit(writing("a.dat"))
    reader = kernel.submit(reading("a.dat"))
    File("a.dat").write_text("x")
    engine.done(engine.take())
    assert engine.take().id == reader.id


def test_a_task_that_reads_what_it_writes(kernel: Kernel) -> None:
    with pytest.raises(CycleError, match="twist writes knot, which twist reads"):
        kernel.submit(writing("knot", reads=("knot",), name="twist"))


def test_an_output_named_twice_and_one_that_is_taken(kernel: Kernel) -> None:
    kernel.submit(writing("b.dat", name="first"))
    with pytest.raises(WorkflowError, match="both write"):
        kernel.submit(writing("a.dat", "a.dat", "b.dat"))


def test_reader_and_writer_submitted_by_two_threads(
    kernel: Kernel, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reader's message overtakes the writer's: the loop must neither block nor forget the reader."""
    writer_is_under_way, reader_is_in = threading.Event(), threading.Event()

    class Slow(Record):
        __slots__ = ()

        def __init__(self, future: Any, task: Task, *more: Any) -> None:
            if task.name == "writer":
                writer_is_under_way.set()
                assert reader_is_in.wait(PATIENCE)
            super().__init__(future, task, *more)

    monkeypatch.setattr("harmony.core.kernel.Record", Slow)
    thread = threading.Thread(target=lambda: kernel.submit(writing("a.dat")))
    thread.start()
    try:
        assert writer_is_under_way.wait(PATIENCE)
        reader = kernel.submit(reading("a.dat"))
        engine.barrier(kernel)
        assert not reader.done()
    finally:
        reader_is_in.set()
        thread.join(PATIENCE)
    File("a.dat").write_text("x")
    engine.done(engine.take())
    assert engine.take().id == reader.id
