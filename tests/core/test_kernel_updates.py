"""Kernel: news from an engine. Each task ends once; what comes late or twice is dropped; failures are tried again."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from tests.core.fake_engine import PATIENCE, FakeEngine, call, opened, wait_for

from harmony.core.engine import Submission, Update
from harmony.core.kernel import Kernel
from harmony.core.retry import MACHINERY_RETRIES, Retry
from harmony.core.task import Options, TaskState
from harmony.errors import EngineFailed, SerializationError, WalltimeExceeded, WorkerLost

S = TaskState


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def kernel(engine: FakeEngine) -> Iterator[Kernel]:
    with opened(engine) as kernel:
        yield kernel


def retrying(times: int, **more: Any) -> Options:
    return Options(retry=Retry(times, **more))


def test_the_life_of_a_task(kernel: Kernel, engine: FakeEngine) -> None:
    future = kernel.submit(call(1, "a", name="work", k=2))
    taken = engine.take()
    assert (taken.id, taken.name, taken.outputs) == (future.id, "work", ())
    assert taken.work[1:] == ((1, "a"), {"k": 2})  # type: ignore[index]
    states = [future.state]
    engine.running(taken, "w1")
    engine.barrier(kernel)
    states.append(future.state)
    assert states == [S.SUBMITTED, S.RUNNING]
    assert future.running()
    engine.report(Update(taken.id, S.DONE, "result", seconds=2.5, place="w2", stdout="printed\n"))
    assert future.result(PATIENCE) == "result"
    assert (future.state, future.place, future.seconds, future.stdout) == (S.DONE, "w2", 2.5, "printed\n")


def test_ids_are_unique_and_count_from_one(kernel: Kernel) -> None:
    assert [kernel.submit(call()).id for _ in range(3)] == [1, 2, 3]


def test_what_is_submitted_in_one_turn_arrives_in_one_batch_in_order(kernel: Kernel, engine: FakeEngine) -> None:
    with engine.one_turn(kernel):
        before = engine.calls.count("submit")
        futures = [kernel.submit(call()) for _ in range(100)]
    assert [engine.take().id for _ in range(100)] == [future.id for future in futures]
    assert engine.calls.count("submit") == before + 1


def test_a_task_may_end_without_having_been_seen_running(kernel: Kernel, engine: FakeEngine) -> None:
    future = kernel.submit(call())
    engine.done(engine.take(), 1)
    assert future.result(PATIENCE) == 1


@pytest.mark.parametrize("first", ["DONE", "FAILED", "CANCELLED"])
@pytest.mark.parametrize("late", ["RUNNING", "DONE", "FAILED", "CANCELLED"])
@pytest.mark.parametrize("together", [True, False])
def test_what_comes_after_the_end_is_dropped(
    kernel: Kernel, engine: FakeEngine, first: str, late: str, together: bool
) -> None:
    def update(state: str, text: str) -> Update:
        return Update(taken.id, TaskState[state], text, ValueError(text) if state == "FAILED" else None, stdout=text)

    future = kernel.submit(call(options=retrying(0)))
    taken = engine.take()
    if together:
        engine.report(update(first, "first"), update(late, "late"))
    else:
        engine.report(update(first, "first"))
        engine.barrier(kernel)
        engine.report(update(late, "late"))
    engine.barrier(kernel)
    assert future.state is TaskState[first]
    assert future.stdout == "first"
    if first == "DONE":
        assert future.result(0) == "first"
    elif first == "FAILED":
        assert str(future.exception(0)) == "first"
    plugs = 1 if together else 2
    counts = kernel.tally.counts
    ended = {"DONE": counts.done - plugs, "FAILED": counts.failed, "CANCELLED": counts.cancelled}
    assert ended == {state: int(state == first) for state in ended}
    assert counts.total == counts.ended


def test_running_twice_counts_once(kernel: Kernel, engine: FakeEngine) -> None:
    kernel.submit(call())
    taken = engine.take()
    engine.running(taken)
    engine.running(taken)
    engine.barrier(kernel)
    assert kernel.tally.counts.running == 1


def test_news_of_unknown_tasks_is_dropped(kernel: Kernel, engine: FakeEngine) -> None:
    for state in (S.RUNNING, S.DONE, S.CANCELLED):
        engine.report(Update(4711, state))
    engine.report(Update(4711, S.FAILED, error=ValueError()))
    future = kernel.submit(call())
    engine.done(engine.take(), "fine")
    assert future.result(PATIENCE) == "fine"
    assert kernel.tally.counts.total == 1


def test_an_empty_report(kernel: Kernel, engine: FakeEngine) -> None:
    engine.report()
    future = kernel.submit(call())
    engine.done(engine.take(), "fine")
    assert future.result(PATIENCE) == "fine"


def test_an_engine_may_report_before_submit_returns() -> None:
    class Prompt(FakeEngine):
        def submit(self, batch: Sequence[Submission]) -> None:
            for submission in batch:
                self.running(submission)
                self.done(submission, submission.id)

    with opened(Prompt()) as kernel:
        first = kernel.submit(call())
        futures = [kernel.submit(call([first])) for _ in range(100)]
        assert [future.result(PATIENCE) for future in futures] == list(range(2, 102))


def test_reports_from_many_threads(kernel: Kernel, engine: FakeEngine) -> None:
    futures = [kernel.submit(call()) for _ in range(400)]
    taken = [engine.take() for _ in futures]

    def end(part: Sequence[Submission]) -> None:
        for submission in part:
            engine.running(submission)
            engine.done(submission, submission.id)

    threads = [threading.Thread(target=end, args=(taken[first::4],)) for first in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert [future.result(PATIENCE) for future in futures] == [future.id for future in futures]


# -- another try -------------------------------------------------------------------------------------


def test_the_users_failures_by_the_users_policy(kernel: Kernel, engine: FakeEngine) -> None:
    future = kernel.submit(call(options=retrying(2)))
    for attempt in range(3):
        taken = engine.take()
        engine.running(taken)
        engine.fail(taken, ValueError(f"attempt {attempt}"))
    assert str(wait_for(future)) == "attempt 2"
    engine.barrier(kernel)
    assert engine.is_empty
    assert kernel.tally.counts.failed == 1
    assert [(failure.count, failure.error) for failure in kernel.tally.failures] == [(1, "ValueError: attempt 2")]


def test_a_second_try_that_works(kernel: Kernel, engine: FakeEngine) -> None:
    future = kernel.submit(call(1, options=retrying(1)))
    first = engine.take()
    engine.fail(first, ValueError())
    second = engine.take()
    assert (second.id, second.work) == (first.id, first.work)
    engine.done(second, "worked")
    assert future.result(PATIENCE) == "worked"
    assert kernel.tally.failures == ()
    assert kernel.tally.counts.failed == 0


def test_each_try_gets_the_results_of_its_parents(kernel: Kernel, engine: FakeEngine) -> None:
    parent = kernel.submit(call(name="parent"))
    future = kernel.submit(call([parent], options=retrying(2), name="child"))
    engine.done(engine.take(), "value")
    for _ in range(2):
        taken = engine.take()
        assert taken.work[1] == (["value"],)  # type: ignore[index]
        engine.fail(taken, OSError())
    engine.done(engine.take(), "worked")
    assert future.result(PATIENCE) == "worked"


def test_a_try_after_a_delay(kernel: Kernel, engine: FakeEngine) -> None:
    future = kernel.submit(call(options=retrying(1, delay=0.01)))
    taken = engine.take()
    engine.running(taken)
    engine.fail(taken, ValueError())
    engine.done(engine.take(), "worked")
    assert future.result(PATIENCE) == "worked"


def test_while_it_waits_for_its_delay_a_task_is_waiting(kernel: Kernel, engine: FakeEngine) -> None:
    future = kernel.submit(call(options=retrying(1, delay=3600)))
    taken = engine.take()
    engine.running(taken)
    engine.fail(taken, ValueError())
    engine.barrier(kernel)
    assert future.state is S.WAITING
    assert not future.running()
    assert kernel.tally.counts.waiting == 1
    assert not kernel.wait(0)
    assert engine.is_empty


@pytest.mark.parametrize("state", ["RUNNING", "DONE", "FAILED", "CANCELLED"])
def test_news_of_the_try_before_is_dropped_while_it_waits(kernel: Kernel, engine: FakeEngine, state: str) -> None:
    future = kernel.submit(call(options=retrying(2, delay=3600)))
    taken = engine.take()
    error = ValueError() if state == "FAILED" else None
    engine.report(Update(taken.id, S.FAILED, error=ValueError()), Update(taken.id, TaskState[state], "late", error))
    engine.barrier(kernel)
    assert future.state is S.WAITING
    assert engine.is_empty


def test_delays_end_in_their_own_order(kernel: Kernel, engine: FakeEngine) -> None:
    slow = kernel.submit(call(options=retrying(1, delay=3600), name="slow"))
    quick = kernel.submit(call(options=retrying(1, delay=0.01), name="quick"))
    for _ in range(2):
        engine.fail(engine.take(), ValueError())
    taken = engine.take()
    assert taken.id == quick.id
    engine.done(taken)
    assert wait_for(quick) is None
    assert not slow.done()


def test_a_thousand_tries_and_more(kernel: Kernel, engine: FakeEngine) -> None:
    future = kernel.submit(call(options=retrying(1_500)))
    bystander = kernel.submit(call(name="bystander"))
    tries = 0
    while tries < 1_501:
        taken = engine.take()
        if taken.id == future.id:
            engine.fail(taken, ValueError(f"{tries}"))
            tries += 1
    assert str(wait_for(future)) == "1500"
    assert not bystander.done()


@pytest.mark.parametrize("kind", [WorkerLost, EngineFailed])
def test_the_machinerys_failures_by_ours(kernel: Kernel, engine: FakeEngine, kind: type[Exception]) -> None:
    future = kernel.submit(call())
    for attempt in range(MACHINERY_RETRIES + 1):
        assert not future.done()
        engine.fail(engine.take(), kind(f"attempt {attempt}"))
    error = wait_for(future)
    assert type(error) is kind
    assert str(error) == f"attempt {MACHINERY_RETRIES}"


def test_losses_do_not_use_up_the_users_tries(kernel: Kernel, engine: FakeEngine) -> None:
    future = kernel.submit(call(options=retrying(1)))
    for error in (WorkerLost("x"), ValueError("first"), WorkerLost("x"), ValueError("second")):
        assert not future.done()
        engine.fail(engine.take(), error)
    assert str(wait_for(future)) == "second"


@pytest.mark.parametrize(
    ("error", "tries"), [(WalltimeExceeded("x"), 1), (SerializationError("x"), 1), (KeyboardInterrupt(), 1)]
)
def test_errors_that_are_not_the_machinerys(
    kernel: Kernel, engine: FakeEngine, error: BaseException, tries: int
) -> None:
    future = kernel.submit(call())
    for _ in range(tries):
        engine.fail(engine.take(), error)
    assert wait_for(future) is error


# -- numbers ------------------------------------------------------------------------------------------


def test_counts(kernel: Kernel, engine: FakeEngine) -> None:
    names = ("submitted", "running", "done", "failed", "cancelled", "parent")
    futures = {name: kernel.submit(call(name=name)) for name in names}
    futures["waiting"] = kernel.submit(call(futures["parent"], name="waiting"))
    taken = {submission.name: submission for submission in (engine.take() for _ in names)}
    engine.running(taken["running"])
    engine.done(taken["done"])
    engine.fail(taken["failed"], ValueError("why"))
    futures["cancelled"].cancel()
    engine.barrier(kernel)
    counts = kernel.tally.counts
    plugs = 1
    assert (counts.waiting, counts.submitted, counts.running) == (1, 2, 1)
    assert (counts.done, counts.failed, counts.cancelled) == (1 + plugs, 1, 1)
    assert (counts.total, counts.ended) == (7 + plugs, 3 + plugs)


def test_distinct_failures_most_frequent_first(kernel: Kernel, engine: FakeEngine) -> None:
    errors = [ValueError("rare"), OSError("often"), OSError("often")]
    futures = [kernel.submit(call(name=f"t{index}")) for index in range(3)]
    heir = kernel.submit(call(futures[0]))
    for error in errors:
        engine.fail(engine.take(), error)
    for future in (*futures, heir):
        wait_for(future)
    told = [(failure.count, failure.task, failure.error) for failure in kernel.tally.failures]
    assert told == [(2, "t1", "OSError: often"), (1, "t0", "ValueError: rare")]


def test_work_and_critical_path(kernel: Kernel, engine: FakeEngine) -> None:
    #  a 1 s ─┬─ b 2 s ─── d 4 s        the longest chain is a, b, d
    #         └─ c 3 s
    a = kernel.submit(call(name="a"))
    b, c = kernel.submit(call(a, name="b")), kernel.submit(call(a, name="c"))
    d = kernel.submit(call(b, name="d"))
    seconds = {"a": 1.0, "b": 2.0, "c": 3.0, "d": 4.0}
    for _ in seconds:
        taken = engine.take()
        engine.done(taken, seconds=seconds[taken.name])
    for future in (a, b, c, d):
        wait_for(future)
    assert kernel.tally.work == 10.0
    assert kernel.tally.critical_path == 7.0


def test_work_counts_cores_and_failed_tries(kernel: Kernel, engine: FakeEngine) -> None:
    from harmony.resources import Resources

    options = Options(resources=Resources(cpu_cores_per_process=4), retry=Retry(1))
    future = kernel.submit(call(options=options))
    engine.report(Update(engine.take().id, S.FAILED, error=ValueError(), seconds=2.0))
    engine.done(engine.take(), seconds=3.0)
    wait_for(future)
    assert kernel.tally.work == 20.0
    assert future.seconds == 5.0


def test_two_kernels_do_not_mix() -> None:
    engines = [FakeEngine(), FakeEngine()]
    with opened(engines[0]) as first, opened(engines[1]) as second:
        futures = [kernel.submit(call()) for kernel in (first, second)]
        for engine, result in zip(engines, itertools.count(), strict=False):
            engine.done(engine.take(), result)
        assert [future.result(PATIENCE) for future in futures] == [0, 1]
        assert [future.id for future in futures] == [1, 1]
