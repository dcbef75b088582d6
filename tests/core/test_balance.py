"""Of several engines that can run a task, the one that has room, else the one with the least to do."""

from __future__ import annotations

from concurrent.futures import wait

from tests.core.fake_engine import FakeEngine

from harmony import Workflow
from harmony.core.balance import Balance
from harmony.core.engine import Capability, Capacity, Engine
from harmony.core.future import TaskFuture
from harmony.core.record import Record
from harmony.core.task import Call, Options, Task, TaskState
from harmony.engines.threads import ThreadEngine

CALLS = frozenset({Capability.CALLS})


class Flow:
    """Tasks that go to engines, and end there."""

    def __init__(self, **capacities: Capacity) -> None:
        engines: dict[str, Engine] = {name: FakeEngine(CALLS, capacity) for name, capacity in capacities.items()}
        self._names = tuple(engines)
        self._balance = Balance(engines)
        self._next = 0

    def start(self, cores: int = 1) -> Record:
        self._next += 1
        future = TaskFuture[object](self._next, "task", object(), True)  # type: ignore[arg-type]
        record = Record(future, Task(Call(print)), self._names, cores, ())
        record.engine = self._balance.choose(record)
        self._enter(record, TaskState.SUBMITTED)
        return record

    def end(self, record: Record) -> None:
        self._enter(record, TaskState.DONE)

    def _enter(self, record: Record, state: TaskState) -> None:
        self._balance.moved(record, state)
        record.state = state


def test_the_first_that_has_room() -> None:
    flow = Flow(small=Capacity(cores=2), large=Capacity(cores=4))
    placed = [flow.start() for _ in range(4)]
    assert [record.engine for record in placed] == ["small", "small", "large", "large"]
    flow.end(placed[0])
    assert flow.start().engine == "small"


def test_all_are_full_and_share_by_their_cores() -> None:
    flow = Flow(small=Capacity(cores=1), large=Capacity(cores=1, workers=3))
    engines = [flow.start().engine for _ in range(400)]
    assert engines.count("small") == 100


def test_a_wide_task_goes_where_it_has_room() -> None:
    flow = Flow(small=Capacity(cores=2), large=Capacity(cores=8))
    flow.start()
    assert flow.start(cores=2).engine == "large"


def test_an_engine_that_knows_no_cores_has_room_for_all() -> None:
    flow = Flow(batch=Capacity(), here=Capacity(cores=2))
    assert {flow.start().engine for _ in range(50)} == {"batch"}


def test_two_engines_in_one_workflow_and_results_flow_between_them() -> None:
    engines: dict[str, str | Engine] = {"one": ThreadEngine(1, name="one"), "two": ThreadEngine(1, name="two")}
    with Workflow(engines=engines, store=False) as wf:
        first = [wf.submit(pow, number, 2) for number in range(40)]
        second = [wf.submit_task(Task(Call(sum, ([future, 1],)), options=Options(engine="two"))) for future in first]
        wait(second)
        assert [future.result() for future in second] == [number**2 + 1 for number in range(40)]
        assert {future.place.split("-")[1] for future in second} == {"two"}
