"""Level scale: many tasks, large batches, and what is left in memory of tasks that have ended."""

from __future__ import annotations

import gc
import sys

import pytest

from harmony import Workflow
from harmony.conformance.engines import work
from harmony.conformance.engines.calls import FunctionTests
from harmony.conformance.engines.driver import Driver, submit_at_once
from harmony.conformance.engines.gates import Gate, News

MANY = 10_000


class Scale(FunctionTests):
    """Tests with thousands of tasks."""

    level = "scale"

    def test_many_tasks(self, caller: Driver) -> None:
        batch = [caller.call(work.square, number) for number in range(MANY)]
        for first in range(0, MANY, 500):
            caller.submit(*batch[first : first + 500])
        assert [end.result for end in caller.ends_of(batch)] == [number * number for number in range(MANY)]

    def test_many_tasks_through_a_workflow(self, caller: Driver) -> None:
        with Workflow(engine=caller.lend(), show_prints=False, store=False) as workflow:
            futures = workflow.map(work.square, range(MANY))
            total = workflow.submit(work.add, *futures[:100])
            assert [future.result(caller.patience) for future in futures] == [n * n for n in range(MANY)]
            assert total.result(caller.patience) == sum(n * n for n in range(100))

    def test_a_batch_is_taken_while_nothing_can_end(self, caller: Driver, gate: Gate, news: News) -> None:
        caller.needs_to_run_elsewhere()
        batch = [caller.call(work.hold, gate.path, news.path, number) for number in range(1_000)]
        submit_at_once(caller, *batch)
        news.hear()
        assert not any(update.state.is_final for update in caller.updates)
        gate.open()
        assert [end.result for end in caller.ends_of(batch)] == list(range(1_000))

    def test_a_thousand_that_wait_are_cancelled(self, caller: Driver, gate: Gate, news: News) -> None:
        caller.needs_to_run_elsewhere()
        cores = caller.needs_cores()
        held = [caller.call(work.hold, gate.path, news.path) for _ in range(cores)]
        caller.submit(*held)
        news.hear(cores)
        batch = [caller.call(work.square, number) for number in range(1_000)]
        caller.submit(*batch)
        caller.cancel(*batch)
        gate.open()
        assert {end.state.name for end in caller.ends_of(batch)} == {"CANCELLED"}
        assert {end.state.name for end in caller.ends_of(held)} == {"DONE"}

    def test_what_has_ended_leaves_nothing_in_memory(self, caller: Driver) -> None:
        count = 1_000

        def blocks() -> int:
            batch = [caller.call(work.identity, number) for number in range(count)]
            caller.submit(*batch)
            caller.ends_of(batch)
            batch.clear()
            caller.forget()
            gc.collect()
            return sys.getallocatedblocks()

        warm = [blocks() for _ in range(2)][-1]
        growth = min(blocks() - warm for _ in range(3))
        if growth >= count:
            pytest.fail(f"each round of {count} tasks leaves {growth} and more blocks of memory behind")
