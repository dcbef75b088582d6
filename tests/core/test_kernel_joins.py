"""Kernel: what runs in the driver. Joins, whose value is that of the tasks they start; and commands made late."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future
from pathlib import Path
from typing import Any

import pytest
from tests.core.fake_engine import PATIENCE, FakeEngine, call, opened, wait_for

from harmony.core.data import File
from harmony.core.future import TaskFuture
from harmony.core.kernel import Kernel
from harmony.core.retry import Retry
from harmony.core.task import Command, Join, Options, Task, TaskState, Template
from harmony.errors import CycleError, DependencyError, MissingFileError, WorkerLost


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def driver() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def kernel(engine: FakeEngine, driver: FakeEngine) -> Iterator[Kernel]:
    with opened(engine, driver=driver) as kernel:
        yield kernel


def join(fn: Callable[..., Any], *args: Any, name: str = "join", options: Options | None = None) -> Task:
    return Task(Join(fn, args, {}), name, options or Options())


def template(build: Callable[..., Command], *args: Any, retries: int = 0) -> Task:
    return Task(Template(build, args, {}), "late", Options(retry=Retry(retries)))


# -- joins --------------------------------------------------------------------------------------------


def test_the_value_is_that_of_the_futures_it_returns(kernel: Kernel, engine: FakeEngine, driver: FakeEngine) -> None:
    def parts() -> Any:
        return {"a": kernel.submit(call(name="a")), "rest": [1, (kernel.submit(call(name="b")),)]}

    joined = kernel.submit(join(parts))
    taken = driver.take()
    assert engine.is_empty
    driver.running(taken)
    driver.run(taken)
    for _ in range(2):
        submission = engine.take()
        assert joined.state is TaskState.WAITING
        engine.done(submission, submission.name.upper())
    assert joined.result(PATIENCE) == {"a": "A", "rest": [1, ("B",)]}


@pytest.mark.parametrize("value", [5, None, [], {"a": (1,)}])
def test_a_join_that_returns_no_future(kernel: Kernel, driver: FakeEngine, value: Any) -> None:
    joined = kernel.submit(join(lambda: value))
    driver.run(driver.take())
    assert joined.result(PATIENCE) == value


def test_its_arguments_are_results(kernel: Kernel, engine: FakeEngine, driver: FakeEngine) -> None:
    parent = kernel.submit(call(name="parent"))
    joined = kernel.submit(join(lambda values: [kernel.submit(call(name="part")) for _ in range(values[0])], [parent]))
    assert driver.is_empty
    engine.done(engine.take(), 3)
    driver.run(driver.take())
    for index in range(3):
        engine.done(engine.take(), index)
    assert joined.result(PATIENCE) == [0, 1, 2]


def test_whoever_waits_for_a_join_waits_for_its_parts(kernel: Kernel, engine: FakeEngine, driver: FakeEngine) -> None:
    joined = kernel.submit(join(lambda: kernel.submit(call(name="part"))))
    kernel.submit(call(joined, name="child"))
    driver.run(driver.take())
    part = engine.take()
    engine.barrier(kernel)
    assert engine.is_empty
    engine.done(part, "r")
    child = engine.take()
    assert child.name == "child"
    assert child.work[1] == ("r",)  # type: ignore[index]


def test_joins_in_joins(kernel: Kernel, engine: FakeEngine, driver: FakeEngine) -> None:
    def down(depth: int) -> TaskFuture[Any]:
        return kernel.submit(call(name="leaf") if depth == 0 else join(down, depth - 1))

    joined = kernel.submit(join(down, 50))
    for _ in range(51):
        driver.run(driver.take())
    assert not joined.done()
    engine.done(engine.take(), "leaf")
    assert joined.result(PATIENCE) == "leaf"


def test_a_join_may_return_what_others_started(kernel: Kernel, engine: FakeEngine, driver: FakeEngine) -> None:
    ended = kernel.submit(call(name="ended"))
    engine.done(engine.take(), 1)
    wait_for(ended)
    foreign: Future[Any] = Future()
    joined = kernel.submit(join(lambda: [ended, foreign, ended]))
    driver.run(driver.take())
    foreign.set_result(2)
    assert joined.result(PATIENCE) == [1, 2, 1]


def test_a_future_of_another_workflow_with_the_same_number(kernel: Kernel, driver: FakeEngine) -> None:
    there = FakeEngine()
    with opened(there) as other:
        theirs = other.submit(call())
        joined = kernel.submit(join(lambda: theirs))
        assert joined.id == theirs.id
        driver.run(driver.take())
        there.done(there.take(), "theirs")
        assert joined.result(PATIENCE) == "theirs"


def test_a_join_that_raises(kernel: Kernel, driver: FakeEngine) -> None:
    joined = kernel.submit(join(lambda: 1 / 0))
    driver.run(driver.take())
    assert isinstance(wait_for(joined), ZeroDivisionError)


def test_a_join_that_raises_is_tried_again(kernel: Kernel, engine: FakeEngine, driver: FakeEngine) -> None:
    tries: list[int] = []

    def parts() -> TaskFuture[Any]:
        tries.append(len(tries))
        if len(tries) < 3:
            raise OSError("not yet")
        return kernel.submit(call())

    joined = kernel.submit(join(parts, options=Options(retry=Retry(2))))
    for _ in range(3):
        driver.run(driver.take())
    engine.done(engine.take(), "r")
    assert joined.result(PATIENCE) == "r"
    assert tries == [0, 1, 2]


def test_a_part_that_fails(kernel: Kernel, engine: FakeEngine, driver: FakeEngine) -> None:
    joined = kernel.submit(
        join(
            lambda: [kernel.submit(call(name="good")), kernel.submit(call(name="bad"))], options=Options(retry=Retry(3))
        )
    )
    heir = kernel.submit(call(joined, name="heir"))
    driver.run(driver.take())
    taken = {submission.name: submission for submission in (engine.take(), engine.take())}
    root = ValueError("x")
    engine.fail(taken["bad"], root)
    for future in (joined, heir):
        error = wait_for(future)
        assert isinstance(error, DependencyError)
        assert error.__cause__ is root
    engine.barrier(kernel)
    assert driver.is_empty, "the function has worked; its parts have their own retries"


def test_a_part_that_is_cancelled(kernel: Kernel, driver: FakeEngine) -> None:
    part = kernel.submit(call(name="part"))
    joined = kernel.submit(join(lambda: part))
    driver.run(driver.take())
    part.cancel()
    error = wait_for(joined)
    assert isinstance(error, DependencyError)
    assert isinstance(error.__cause__, CancelledError)


def test_a_join_that_returns_itself(kernel: Kernel, driver: FakeEngine) -> None:
    mine: list[TaskFuture[Any]] = []
    mine.append(kernel.submit(join(lambda: mine, name="snake")))
    driver.run(driver.take())
    error = wait_for(mine[0])
    assert isinstance(error, CycleError)
    assert "join snake returned a future that waits for itself" in str(error)


def test_a_join_that_returns_who_waits_for_it(kernel: Kernel, engine: FakeEngine, driver: FakeEngine) -> None:
    waiting: list[TaskFuture[Any]] = []
    joined = kernel.submit(join(lambda: waiting))
    middle = kernel.submit(call(joined, name="middle"))
    waiting.append(kernel.submit(call(middle, name="last")))
    driver.run(driver.take())
    assert isinstance(wait_for(joined), CycleError)
    error = wait_for(waiting[0])
    assert isinstance(error, DependencyError)
    assert isinstance(error.__cause__, CycleError)
    engine.barrier(kernel)
    assert engine.is_empty


def test_two_joins_that_return_each_other(kernel: Kernel, driver: FakeEngine) -> None:
    both: list[TaskFuture[Any]] = []
    for other in (1, 0):
        both.append(kernel.submit(join(lambda other=other: both[other], name=f"j{other}")))
    for _ in both:
        driver.run(driver.take())
    kinds = {type(wait_for(future)) for future in both}
    assert kinds == {CycleError, DependencyError}


def test_its_input_is_looked_for_before_it_runs_and_never_again(
    kernel: Kernel, engine: FakeEngine, driver: FakeEngine, tmp_path: Path
) -> None:
    missing = kernel.submit(join(list, File(tmp_path / "missing")))
    assert isinstance(wait_for(missing), MissingFileError)
    once = File(tmp_path / "once")
    once.write_text("x")

    def consume(file: File) -> TaskFuture[Any]:
        (tmp_path / "once").unlink()
        return kernel.submit(call(name=file.name))

    joined = kernel.submit(join(consume, once))
    driver.run(driver.take())
    engine.done(engine.take(), "r")
    assert joined.result(PATIENCE) == "r"


def test_a_value_that_cannot_be_looked_into_fails_its_own_task_only(
    kernel: Kernel, engine: FakeEngine, driver: FakeEngine
) -> None:
    class Guarded:
        def __get__(self, instance: object, owner: type) -> int:
            if instance is not None:
                raise PermissionError("not for you")
            return 0

    @dataclasses.dataclass(init=False)
    class Value:
        field: int = Guarded()  # type: ignore[assignment]

    other = kernel.submit(call(name="other"))
    joined = kernel.submit(join(Value))
    driver.run(driver.take())
    assert isinstance(wait_for(joined), PermissionError)
    engine.done(engine.take(), "fine")
    assert other.result(PATIENCE) == "fine"


def test_closing_while_a_join_waits(engine: FakeEngine, driver: FakeEngine) -> None:
    with opened(engine, driver=driver) as kernel:
        joined = kernel.submit(join(lambda: kernel.submit(call())))
        driver.run(driver.take())
        engine.take()
    assert joined.cancelled()
    assert kernel.tally.counts.ended == kernel.tally.counts.total


# -- commands that are made late ----------------------------------------------------------------------


def test_a_command_is_made_when_its_arguments_are_known(kernel: Kernel, engine: FakeEngine, driver: FakeEngine) -> None:
    parent = kernel.submit(call(name="parent"))
    future = kernel.submit(template(lambda size: Command(("run", str(size))), parent))
    engine.done(engine.take(), 7)
    making = driver.take()
    driver.running(making)
    driver.run(making)
    taken = engine.take()
    assert taken.id == future.id
    assert taken.work == Command(("run", "7"))
    assert not future.running()
    engine.running(taken)
    engine.done(taken, "result")
    assert future.result(PATIENCE) == "result"


def test_a_command_that_cannot_be_made(kernel: Kernel, engine: FakeEngine, driver: FakeEngine) -> None:
    future = kernel.submit(template(lambda: Command(())))
    heir = kernel.submit(call(future, name="heir"))
    driver.run(driver.take())
    assert "a command is empty" in str(wait_for(future))
    assert isinstance(wait_for(heir), DependencyError)
    engine.barrier(kernel)
    assert engine.is_empty


def test_only_the_command_is_tried_again(kernel: Kernel, engine: FakeEngine, driver: FakeEngine) -> None:
    future = kernel.submit(template(lambda: Command("flaky"), retries=1))
    driver.run(driver.take())
    for error in (WorkerLost("x"), ValueError("x")):
        taken = engine.take()
        assert taken.work == Command("flaky")
        engine.fail(taken, error)
    engine.done(engine.take(), "worked")
    assert future.result(PATIENCE) == "worked"
    engine.barrier(kernel)
    assert driver.is_empty


def test_a_template_goes_to_its_engine_under_its_own_options(driver: FakeEngine) -> None:
    engines = {"first": FakeEngine(), "second": FakeEngine()}
    options = Options(engine="second", directory="/somewhere")
    with opened(engines=engines, driver=driver) as kernel:
        kernel.submit(Task(Template(lambda: Command("true"), (), {}), "t", options, outputs=(File("a.log"),)))
        making = driver.take()
        assert making.options == Options()
        assert making.outputs == ()
        driver.run(making)
        taken = engines["second"].take()
        assert taken.options == options
        assert taken.outputs == (str(File("a.log")),)
        assert engines["first"].is_empty
