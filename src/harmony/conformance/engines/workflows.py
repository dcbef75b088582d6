"""Level core: what a workflow makes of the engine: results that flow, callbacks, failures, cancelled futures."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import CancelledError
from pathlib import Path

import pytest

from harmony import TaskFuture, Workflow
from harmony.conformance.engines import work
from harmony.conformance.engines.driver import Driver
from harmony.conformance.engines.gates import Gate, News
from harmony.conformance.engines.subject import EngineTests
from harmony.core.data import File
from harmony.core.engine import Capability
from harmony.core.task import Call, Command, Task
from harmony.errors import CommandError, DependencyError


class Workflows(EngineTests):
    """Tests of workflows on the engine."""

    level = "core"

    @pytest.fixture
    def workflow(self, driver: Driver) -> Iterator[Workflow]:
        """A workflow on the engine, open."""
        with Workflow(engine=driver.lend(), show_prints=False, store=False) as workflow:
            yield workflow

    def test_results_flow(self, workflow: Workflow, driver: Driver) -> None:
        driver.needs(Capability.CALLS)
        squares = workflow.map(work.square, range(10))
        total = workflow.submit(work.add, *squares)
        assert workflow.submit(work.identity, [total, {"last": squares[-1]}]).result(driver.patience) == [
            285,
            {"last": 81},
        ]

    def test_callbacks_are_called_once_each(self, workflow: Workflow, driver: Driver) -> None:
        driver.needs(Capability.CALLS)
        called: Counter[int] = Counter()
        all_called = threading.Event()

        def note(future: TaskFuture[int]) -> None:
            called[future.result()] += 1
            if len(called) == 50:
                all_called.set()

        futures = workflow.map(work.identity, range(50))
        for future in futures:
            future.add_done_callback(note)  # type: ignore[arg-type]
        assert all_called.wait(driver.patience)
        assert set(called.values()) == {1}

    def test_a_callback_may_submit_more(self, workflow: Workflow, driver: Driver) -> None:
        driver.needs(Capability.CALLS)
        second: list[TaskFuture[int]] = []
        submitted = threading.Event()

        def go_on(future: TaskFuture[int]) -> None:
            second.append(workflow.submit(work.square, future.result()))
            submitted.set()

        workflow.submit(work.square, 3).add_done_callback(go_on)  # type: ignore[arg-type]
        assert submitted.wait(driver.patience)
        assert second[0].result(driver.patience) == 81

    def test_what_needs_a_task_that_failed_is_not_run(self, workflow: Workflow, driver: Driver, tmp_path: Path) -> None:
        driver.needs(Capability.CALLS)
        failed = workflow.submit(work.fail_on, 1, 1)
        after = workflow.submit(work.touch, workflow.submit(work.touch, failed))
        assert isinstance(failed.exception(driver.patience), ValueError)
        assert isinstance(after.exception(driver.patience), DependencyError)

    def test_a_future_that_runs_is_cancelled(self, workflow: Workflow, driver: Driver, gate: Gate, news: News) -> None:
        driver.needs(Capability.CALLS, Capability.CANCEL_RUNNING)
        future = workflow.submit(work.hold, gate.path, news.path)
        news.hear()
        assert future.cancel()
        with pytest.raises(CancelledError):
            future.result(driver.patience)
        assert workflow.submit(work.square, 2).result(driver.patience) == 4

    def test_functions_and_commands_pass_files_on(self, workflow: Workflow, driver: Driver, tmp_path: Path) -> None:
        driver.needs(Capability.CALLS, Capability.COMMANDS)
        first, second, third = (File(tmp_path / name) for name in ("first", "second", "third"))
        tasks = [
            Task(Call(work.copy_upper, (second, third)), "read", inputs=(second,), outputs=(third,)),
            Task(Command(("cp", str(first), str(second))), "copy", inputs=(first,), outputs=(second,)),
            Task(Command(f"printf abc > {first}"), "write", outputs=(first,)),
        ]
        futures = workflow.submit_tasks(tasks)
        assert futures[0].result(driver.patience) == 3
        assert (tmp_path / "third").read_text() == "ABC"

    def test_a_command_that_fails(self, workflow: Workflow, driver: Driver) -> None:
        driver.needs(Capability.COMMANDS)
        error = workflow.submit_task(Task(Command("exit 5"), "five")).exception(driver.patience)
        assert isinstance(error, CommandError)
        assert error.exit_code == 5
