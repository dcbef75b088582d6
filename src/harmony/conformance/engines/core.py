"""Level core: the port itself, and the news of tasks."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

from harmony.conformance.engines import processes, work
from harmony.conformance.engines.driver import Driver, answer, plain, submit_at_once
from harmony.conformance.engines.gates import Gate, News
from harmony.conformance.engines.subject import EngineTests, Subject, nothing_new, settled_threads
from harmony.core.engine import Capability, Capacity, Engine
from harmony.core.task import Command, TaskState


class Port(EngineTests):
    """Tests of starting, submitting and closing."""

    level = "core"

    def test_it_is_an_engine(self, subject: Subject) -> None:
        engine = subject.make()
        assert isinstance(engine, Engine)
        assert engine.capabilities & {Capability.CALLS, Capability.COMMANDS}
        assert all(isinstance(capability, Capability) for capability in engine.capabilities)
        assert isinstance(engine.capacity, Capacity)

    def test_making_one_starts_nothing(self, subject: Subject) -> None:
        threads, before = threading.active_count(), processes.children(os.getpid())
        subject.make()
        assert threading.active_count() == threads
        assert processes.children(os.getpid()) == before

    def test_close_is_idempotent(self, fresh: Callable[[], Driver]) -> None:
        driver = fresh()
        driver.close()
        driver.close()
        assert driver.updates == []

    def test_it_leaves_no_process_and_piles_up_no_threads(self, fresh: Callable[[], Driver], subject: Subject) -> None:
        before = processes.children(os.getpid())
        left = []
        for _ in range(3):
            threads = set(threading.enumerate())
            driver = fresh()
            task = plain(driver)
            driver.submit(task)
            assert answer(driver, task) == "x"
            driver.close()
            nothing_new(before, subject.patience)
            left.append(settled_threads(threads, subject.patience))
        assert left[1:] == [0, 0], "threads that the second and the third have left behind"

    def test_an_empty_batch(self, driver: Driver) -> None:
        driver.submit()
        driver.engine.cancel([])
        assert driver.updates == []

    def test_news_of_a_task_in_their_order(self, driver: Driver) -> None:
        task = plain(driver)
        end = driver.run(task)
        news = [update for update in driver.updates if update.id == task.id]
        assert [update.state for update in news] in (
            [TaskState.DONE],
            [TaskState.RUNNING, TaskState.DONE],
            [TaskState.SUBMITTED, TaskState.RUNNING, TaskState.DONE],
        )
        assert end.error is None
        assert end.seconds >= 0.0
        assert any(update.place for update in news), "it says where"

    def test_each_of_many_ends_once(self, driver: Driver) -> None:
        if Capability.CALLS in driver.can:
            batches = [[driver.call(work.square, number) for number in range(300)] for _ in range(5)]
        else:
            batches = [[plain(driver, str(number)) for number in range(10)] for _ in range(2)]
        for batch in batches:
            driver.submit(*batch)
        for batch in batches:
            ends = driver.ends_of(batch)
            assert [end.state for end in ends] == [TaskState.DONE] * len(batch)
            if Capability.CALLS in driver.can:
                assert [end.result for end in ends] == [number * number for number in range(300)]

    def test_submit_does_not_wait_for_the_work(self, driver: Driver, gate: Gate) -> None:
        driver.needs_to_run_elsewhere()
        command = Command(f"flock -s {gate.path} printf x")
        is_able = Capability.CALLS in driver.can
        batch = [driver.call(work.pass_gate, gate.path, "x") if is_able else driver.task(command) for _ in range(10)]
        more = [plain(driver) for _ in range(10)]
        submit_at_once(driver, *batch)
        submit_at_once(driver, *more)
        gate.open()
        assert [answer(driver, task) for task in (*batch, *more)] == ["x"] * 20

    def test_one_failure_in_a_batch_harms_no_other(self, driver: Driver) -> None:
        if Capability.CALLS in driver.can:
            batch = [driver.call(work.fail_on, number, 3) for number in range(6)]
        else:
            batch = [driver.task(Command(f"exit {int(number == 3)}")) for number in range(6)]
        driver.submit(*batch)
        states = [end.state for end in driver.ends_of(batch)]
        assert states == [TaskState.FAILED if number == 3 else TaskState.DONE for number in range(6)]

    def test_what_cannot_be_called_is_reported_not_raised(self, driver: Driver) -> None:
        driver.needs(Capability.CALLS)
        assert isinstance(driver.error(driver.call(5)), TypeError)
        assert driver.result(driver.call(work.square, 2)) == 4

    def test_silence_after_the_close(self, fresh: Callable[[], Driver], news: News) -> None:
        driver = fresh()
        driver.needs(Capability.CALLS, Capability.CANCEL_RUNNING)
        batch = [driver.call(work.hold_for_ever, news.path) for _ in range(10)]
        driver.submit(*batch)
        news.hear()
        driver.close()
        told = len(driver.updates)
        driver.engine.close()
        assert len(driver.updates) == told

    def test_commands_end_with_the_engine(self, fresh: Callable[[], Driver], news: News) -> None:
        driver = fresh()
        driver.needs(Capability.COMMANDS, Capability.CANCEL_RUNNING)
        driver.submit(driver.task(Command(f"sleep 600 & echo $! > {news.path}; wait")))
        (grandchild,) = news.numbers()
        driver.close()
        processes.wait_gone(grandchild, driver.patience)
