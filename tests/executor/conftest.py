"""The executors that one body of tests is run over: ours, and the standard library's own as the oracle."""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor

import pytest
from tests.core.gate import PATIENCE, Gate

from harmony import Event, TaskFuture, Workflow, events

ORACLES = ("ThreadPoolExecutor", "ProcessPoolExecutor")
OURS = ("threads", "local")
WORKERS = 2


class Starts:
    """Knows when a future says that it runs. The standard pools know it at once, a workflow when it is told."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._running: set[int | str] = set()

    def observe(self, happened: Sequence[Event]) -> None:
        with self._changed:
            self._running.update(event.subject for event in happened)
            self._changed.notify_all()

    def wait_for(self, future: Future[object]) -> None:
        if isinstance(future, TaskFuture):
            with self._changed:
                assert self._changed.wait_for(lambda: future.id in self._running, PATIENCE)


@pytest.fixture
def starts() -> Starts:
    return Starts()


@pytest.fixture(params=[*ORACLES, *OURS])
def executor(request: pytest.FixtureRequest, starts: Starts) -> Iterator[Executor]:
    """An executor of two workers."""
    if request.param == "ThreadPoolExecutor":
        with ThreadPoolExecutor(WORKERS) as pool:
            yield pool
    elif request.param == "ProcessPoolExecutor":
        with ProcessPoolExecutor(WORKERS, multiprocessing.get_context("forkserver")) as pool:
            yield pool
    else:
        workflow = Workflow(engine=request.param, workers=WORKERS)
        workflow.bus.observe(starts.observe, [events.RUNNING])
        with workflow, workflow.executor() as ours:
            yield ours


@pytest.fixture(params=OURS)
def workflow(request: pytest.FixtureRequest) -> Iterator[Workflow]:
    """A workflow of two workers, for what only our executors do."""
    with Workflow(engine=request.param, workers=WORKERS) as made:
        yield made


@pytest.fixture
def gate() -> Iterator[Gate]:
    with Gate() as made:
        yield made
