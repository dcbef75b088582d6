"""Kernel: cancelling a task in each state reaches the engine when it must, and never starts what was cancelled."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError

import pytest
from tests.core.fake_engine import ANYTHING, PATIENCE, FakeEngine, call, opened, wait_for

from harmony.core.engine import Capability, Update
from harmony.core.kernel import Kernel
from harmony.core.retry import Retry
from harmony.core.task import Join, Options, Task, TaskState, Template
from harmony.errors import DependencyError

S = TaskState


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


def test_while_it_waits_for_another(kernel: Kernel, engine: FakeEngine) -> None:
    parent = kernel.submit(call(name="parent"))
    child = kernel.submit(call(parent, name="child"))
    assert child.cancel()
    assert child.cancelled()
    engine.done(engine.take())
    assert wait_for(parent) is None
    engine.barrier(kernel)
    assert engine.is_empty
    assert child.id not in engine.cancelled, "the engine has never heard of it"


def test_after_it_was_handed_over(kernel: Kernel, engine: FakeEngine) -> None:
    future = kernel.submit(call())
    taken = engine.take()
    assert future.cancel()
    engine.barrier(kernel)
    assert engine.cancelled == [taken.id]
    engine.report(Update(taken.id, S.CANCELLED))
    engine.barrier(kernel)
    assert future.state is S.CANCELLED
    assert kernel.tally.counts.cancelled == 1


def test_while_it_runs_where_running_work_can_be_ended(kernel: Kernel, engine: FakeEngine) -> None:
    future = kernel.submit(call())
    taken = engine.take()
    engine.running(taken)
    engine.barrier(kernel)
    assert future.cancel()
    assert future.cancelled()
    assert not future.running()
    engine.barrier(kernel)
    assert engine.cancelled == [taken.id]


def test_while_it_runs_where_it_cannot_be_ended() -> None:
    engine = FakeEngine(ANYTHING - {Capability.CANCEL_RUNNING})
    with opened(engine) as kernel:
        future = kernel.submit(call())
        taken = engine.take()
        engine.running(taken)
        engine.barrier(kernel)
        assert not future.cancel()
        assert future.running()
        engine.done(taken, "went on")
        assert future.result(PATIENCE) == "went on"
    assert engine.cancelled == []


def test_while_it_runs_and_was_submitted_as_the_standard_library_has_it(kernel: Kernel, engine: FakeEngine) -> None:
    future = kernel.submit(call(), stoppable=False)
    taken = engine.take()
    engine.running(taken)
    engine.barrier(kernel)
    assert not future.cancel()
    engine.done(taken, 1)
    assert future.result(PATIENCE) == 1


def test_the_standard_answer_is_sure(kernel: Kernel, engine: FakeEngine) -> None:
    """Where the standard library says that a task is cancelled, it has not begun and never will."""
    future = kernel.submit(call(), stoppable=False)
    taken = engine.take()
    assert future.cancel()
    assert set(engine.cancelled) == {taken.id}, "the engine has been told before the answer is given"
    assert future.cancelled()
    assert future.cancel()


@pytest.mark.parametrize("meanwhile", ["running", "done", "fail"])
def test_the_standard_answer_waits_for_what_the_engine_knows(
    kernel: Kernel, engine: FakeEngine, meanwhile: str
) -> None:
    future = kernel.submit(call(), stoppable=False)
    taken = engine.take()
    news: dict[str, Callable[[], None]] = {
        "running": lambda: engine.running(taken),
        "done": lambda: engine.done(taken, "result"),
        "fail": lambda: engine.fail(taken, ValueError()),
    }
    engine.while_cancelling = news[meanwhile]
    assert not future.cancel()
    assert not future.cancelled()
    if meanwhile == "running":
        engine.done(taken, "result")
    assert (wait_for(future) is None) is (meanwhile != "fail")


def test_the_standard_answer_of_what_waits(kernel: Kernel, engine: FakeEngine) -> None:
    parent = kernel.submit(call(name="parent"))
    child = kernel.submit(call(parent, name="child"), stoppable=False)
    assert child.cancel()
    assert engine.cancelled == []
    with engine.one_turn(kernel):
        unsent = kernel.submit(call(name="unsent"), stoppable=False)
        answers: list[bool] = []
        thread = threading.Thread(target=lambda: answers.append(unsent.cancel()))
        thread.start()
    thread.join(PATIENCE)
    assert answers == [True]
    assert unsent.cancelled()


def test_the_standard_answer_from_an_engine_that_breaks(
    kernel: Kernel, engine: FakeEngine, caplog: pytest.LogCaptureFixture
) -> None:
    future = kernel.submit(call(), stoppable=False)
    engine.take()
    engine.cancel_errors = [OSError("connection lost")]
    future.cancel()
    other = kernel.submit(call())
    engine.done(engine.take(), "fine")
    assert other.result(PATIENCE) == "fine"
    assert "connection lost" in caplog.text


def test_the_standard_answer_while_the_kernel_closes(kernel: Kernel, engine: FakeEngine) -> None:
    futures = [kernel.submit(call(), stoppable=False) for _ in range(200)]
    answers: list[bool] = []
    begun = threading.Event()

    def cancel() -> None:
        for future in futures:
            answers.append(future.cancel())
            begun.set()

    thread = threading.Thread(target=cancel)
    thread.start()
    assert begun.wait(PATIENCE)
    kernel.close()
    thread.join(PATIENCE)
    assert answers == [True] * 200
    assert all(future.cancelled() for future in futures)


def test_after_the_end(kernel: Kernel, engine: FakeEngine) -> None:
    future = kernel.submit(call())
    engine.done(engine.take(), 1)
    wait_for(future)
    assert not future.cancel()
    assert future.result(0) == 1
    assert engine.cancelled == []


def test_while_it_waits_for_another_try(kernel: Kernel, engine: FakeEngine) -> None:
    future = kernel.submit(call(options=Options(retry=Retry(1, delay=0.01))))
    other = kernel.submit(call(options=Options(retry=Retry(1, delay=0.02)), name="other"))
    with engine.one_turn(kernel):
        for _ in range(2):
            engine.fail(engine.take(), ValueError())
        assert future.cancel()
    assert engine.take().id == other.id
    engine.barrier(kernel)
    assert engine.is_empty
    assert future.cancelled()


def test_a_task_cancelled_in_the_turn_it_was_submitted_is_never_started(kernel: Kernel, engine: FakeEngine) -> None:
    with engine.one_turn(kernel):
        kept = kernel.submit(call(name="kept"))
        dropped = kernel.submit(call(name="dropped"))
        assert dropped.cancel()
    assert engine.take().id == kept.id
    engine.barrier(kernel)
    assert engine.is_empty
    assert dropped.cancelled()


@pytest.mark.parametrize("kind", ["join", "template"])
def test_nor_is_the_drivers_part_of_it(kernel: Kernel, engine: FakeEngine, driver: FakeEngine, kind: str) -> None:
    work = Join(list, (), {}) if kind == "join" else Template(list, (), {})  # type: ignore[arg-type]
    with engine.one_turn(kernel):
        future = kernel.submit(Task(work, kind))
        assert future.cancel()
    engine.barrier(kernel)
    assert driver.is_empty
    assert future.cancelled()


def test_ten_thousand_at_once(kernel: Kernel, engine: FakeEngine) -> None:
    with engine.one_turn(kernel):
        futures = [kernel.submit(call()) for _ in range(10_000)]
        assert all(future.cancel() for future in futures)
    assert kernel.wait(PATIENCE)
    assert kernel.tally.counts.cancelled == 10_000
    engine.barrier(kernel)
    while not engine.is_empty:  # some were handed over before the first cancellation was read
        assert engine.take().id in engine.cancelled


def test_ten_thousand_that_were_handed_over(kernel: Kernel, engine: FakeEngine) -> None:
    futures = [kernel.submit(call()) for _ in range(10_000)]
    for _ in futures:
        engine.take()
    assert all(future.cancel() for future in futures)
    assert kernel.wait(PATIENCE)
    assert sorted(engine.cancelled) == [future.id for future in futures]
    engine.report(*(Update(future.id, S.CANCELLED) for future in futures))
    engine.barrier(kernel)
    assert kernel.tally.counts.cancelled == 10_000


def test_successors_fail_and_name_who_was_cancelled(kernel: Kernel, engine: FakeEngine) -> None:
    parent = kernel.submit(call(name="parent"))
    child = kernel.submit(call(parent, name="child"))
    grandchild = kernel.submit(call(child, name="grandchild"))
    assert parent.cancel()
    for heir in (child, grandchild):
        error = wait_for(heir)
        assert isinstance(error, DependencyError)
        assert isinstance(error.__cause__, CancelledError)
        assert "parent (task 1) was cancelled" in str(error)
        assert heir.state is S.FAILED
    assert kernel.tally.counts.cancelled == 1
    assert kernel.tally.failures == ()


@pytest.mark.parametrize("cancelled_first", [True, False])
def test_cancelled_while_its_result_is_under_way(kernel: Kernel, engine: FakeEngine, cancelled_first: bool) -> None:
    parent = kernel.submit(call(name="parent"))
    child = kernel.submit(call(parent, name="child"))
    taken = engine.take()
    with engine.one_turn(kernel):
        if not cancelled_first:
            engine.done(taken, "late")
        assert parent.cancel()
        if cancelled_first:
            engine.done(taken, "late")
    assert parent.cancelled()
    error = wait_for(child)
    assert isinstance(error, DependencyError)
    assert isinstance(error.__cause__, CancelledError)
    engine.barrier(kernel)
    counts = kernel.tally.counts
    assert (counts.cancelled, counts.failed, counts.done) == (1, 1, 2)  # two barriers


def test_waiters_are_told(kernel: Kernel, engine: FakeEngine) -> None:
    future = kernel.submit(call())
    called = threading.Event()
    future.add_done_callback(lambda done: called.set())
    engine.take()
    assert future.cancel()
    assert called.wait(PATIENCE)
    with pytest.raises(CancelledError):
        future.result(PATIENCE)


def test_an_engine_may_cancel_by_itself(kernel: Kernel, engine: FakeEngine) -> None:
    future = kernel.submit(call())
    taken = engine.take()
    engine.running(taken)
    engine.report(Update(taken.id, S.CANCELLED))
    with pytest.raises(CancelledError):
        future.result(PATIENCE)
    assert future.cancelled()
    assert future.state is S.CANCELLED


@pytest.mark.parametrize("error", [CancelledError(), CancelledError("by hand")])
def test_a_function_that_raises_cancelled_error_has_failed(
    kernel: Kernel, engine: FakeEngine, error: CancelledError
) -> None:
    future = kernel.submit(call(name="odd"))
    child = kernel.submit(call(future, name="child"))
    engine.fail(engine.take(), error)
    caught = wait_for(child)
    assert isinstance(caught, DependencyError)
    assert "odd (task 1) failed with CancelledError" in str(caught)
    assert future.state is S.FAILED
    assert not future.cancelled()
    counts = kernel.tally.counts
    assert (counts.failed, counts.cancelled) == (2, 0)


def test_a_cancelled_task_may_not_come_back_by_a_late_failure(kernel: Kernel, engine: FakeEngine) -> None:
    future = kernel.submit(call(options=Options(retry=Retry(5))))
    taken = engine.take()
    future.cancel()
    engine.fail(taken, ValueError())
    engine.barrier(kernel)
    assert engine.is_empty
    assert future.cancelled()


def test_from_many_threads(kernel: Kernel, engine: FakeEngine) -> None:
    futures = [kernel.submit(call()) for _ in range(200)]
    answers: list[bool] = []
    threads = [
        threading.Thread(target=lambda: answers.extend([future.cancel() for future in futures])) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert answers == [True] * 800
    assert kernel.wait(PATIENCE)
    assert kernel.tally.counts.cancelled == 200


def test_cancel_a_join_that_waits_for_its_parts() -> None:
    engine, driver = FakeEngine(ANYTHING - {Capability.CANCEL_RUNNING}), FakeEngine()
    with opened(engine, driver=driver) as kernel:
        part = kernel.submit(call(name="part"))
        joined = kernel.submit(Task(Join(lambda: part, (), {}), "joined"))
        taken = driver.take()
        driver.running(taken)
        driver.run(taken)
        engine.barrier(kernel)
        assert joined.state is S.WAITING
        assert not joined.running()
        assert joined.cancel()
        assert joined.cancelled()
        engine.done(engine.take(), "the part goes on")
        assert part.result(PATIENCE) == "the part goes on"
