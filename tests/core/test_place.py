"""Place: the first engine that can, refusals that say what there is, and the memory of the placer."""

from __future__ import annotations

import dataclasses

import pytest
from tests.core.fake_engine import FakeEngine

from harmony.core.engine import Capability, Capacity, Engine
from harmony.core.place import Placer, needs, place
from harmony.core.task import Call, Command, Join, Options, Task, Template
from harmony.errors import ConfigError, ResourceError
from harmony.resources import Resources

CALLS = frozenset({Capability.CALLS})
COMMANDS = frozenset({Capability.COMMANDS})
BOTH = CALLS | COMMANDS


def engines(**made: FakeEngine) -> dict[str, Engine]:
    return dict(made)


def calling(**options: object) -> Task:
    return Task(Call(print), "job", Options(**options))  # type: ignore[arg-type]


def asking(**resources: object) -> Task:
    return calling(resources=Resources(**resources))  # type: ignore[arg-type]


def test_the_first_engine_that_can() -> None:
    here = engines(shell=FakeEngine(COMMANDS), first=FakeEngine(CALLS), second=FakeEngine(BOTH))
    assert place(calling(), here)[0] == "first"
    assert place(Task(Command(("true",))), here)[0] == "shell"


def test_the_engine_that_is_asked_for() -> None:
    here = engines(first=FakeEngine(BOTH), second=FakeEngine(BOTH))
    assert place(calling(engine="second"), here)[0] == "second"


def test_an_engine_that_is_not_there() -> None:
    with pytest.raises(ConfigError, match="job asks for engine 'slurm'; this workflow has: a, b") as caught:
        place(calling(engine="slurm"), engines(a=FakeEngine(), b=FakeEngine()))
    assert not isinstance(caught.value, ResourceError)


def test_the_engine_that_is_asked_for_must_be_able() -> None:
    here = engines(able=FakeEngine(BOTH), unable=FakeEngine(COMMANDS))
    with pytest.raises(ResourceError, match="engine 'unable' has no support for Python functions"):
        place(calling(engine="unable"), here)


@pytest.mark.parametrize(
    ("task", "capability"),
    [
        (asking(process_count=1), Capability.RANKS),
        (asking(gpu_cores_per_process=1), Capability.GPUS),
        (asking(memory=1), Capability.MEMORY),
        (asking(node_count=2), Capability.MULTI_NODE),
        (calling(walltime=1.0), Capability.WALLTIME),
        (calling(environment=(("A", "b"),)), Capability.ENVIRONMENT),
        (calling(directory="/x"), Capability.DIRECTORY),
        (calling(), Capability.CALLS),
        (Task(Command("true"), "job"), Capability.COMMANDS),
        (Task(Template(lambda: Command("true"), (), {}), "job"), Capability.COMMANDS),
    ],
    ids=lambda item: item.value if isinstance(item, Capability) else "",
)
def test_what_an_engine_lacks_is_refused_by_name(task: Task, capability: Capability) -> None:
    assert capability in needs(task)
    assert place(task, engines(able=FakeEngine(BOTH | {capability})))[0] == "able"
    with pytest.raises(ResourceError, match=f"engine 'lame' has no support for {capability.value}"):
        place(task, engines(lame=FakeEngine(frozenset(Capability) - {capability})))


def test_a_join_asks_nothing_of_the_engine() -> None:
    assert not needs(Task(Join(list, (), {})))


@pytest.mark.parametrize(
    ("task", "capacity", "limit"),
    [
        (asking(cpu_cores_per_process=5), Capacity(cores=4), "at most 4 cores"),
        (asking(gpu_cores_per_process=3), Capacity(gpus=2), "2 GPUs"),
        (asking(memory=9 * 10**9), Capacity(memory=8 * 10**9), "8 GB memory"),
        (asking(node_count=3), Capacity(nodes=2), "at most"),
        (asking(process_count=3, cpu_cores_per_process=2), Capacity(cores=5), "at most 5 cores"),
    ],
)
def test_more_than_an_engine_has(task: Task, capacity: Capacity, limit: str) -> None:
    with pytest.raises(ResourceError) as caught:
        place(task, engines(small=FakeEngine(capacity=capacity)))
    assert str(caught.value).startswith(f"job needs {task.options.resources} and cannot run here: engine 'small' has ")
    assert limit in str(caught.value)
    larger = dataclasses.replace(capacity, cores=None, gpus=None, memory=None, nodes=None)
    assert place(task, engines(small=FakeEngine(capacity=capacity), large=FakeEngine(capacity=larger)))[0] == "large"


def test_exactly_what_an_engine_has() -> None:
    whole = Capacity(cores=4, gpus=2, memory=100, nodes=1)
    task = asking(node_count=1, cpu_cores_per_process=4, gpu_cores_per_process=2, memory=100)
    assert place(task, engines(small=FakeEngine(capacity=whole)))[0] == "small"


def test_a_refusal_names_every_engine() -> None:
    here = engines(shell=FakeEngine(COMMANDS), small=FakeEngine(BOTH, Capacity(cores=1)))
    with pytest.raises(ResourceError) as caught:
        place(asking(cpu_cores_per_process=2), here)
    assert "engine 'shell' has no support for Python functions; engine 'small' has at most 1 cores" in str(caught.value)


def test_a_refusal_says_who_could() -> None:
    here = engines(shell=FakeEngine(COMMANDS), both=FakeEngine(BOTH))
    with pytest.raises(ResourceError, match=r"; engine 'both' could: leave out on='shell'$"):
        place(calling(engine="shell"), here)


def test_the_placer_answers_as_place_does() -> None:
    here = engines(shell=FakeEngine(COMMANDS), calls=FakeEngine(CALLS | {Capability.CANCEL_RUNNING}))
    placer = Placer(here)
    four = Options(resources=Resources(cpu_cores_per_process=4))
    for _ in range(3):
        assert placer(Task(Call(print), options=four)) == (("calls",), 4, True)
        assert placer(Task(Command("true"), options=four)) == (("shell",), 4, False)
        assert placer(Task(Call(print))) == (("calls",), 1, True)


def test_the_placer_does_not_mix_up_options_that_live_one_after_another() -> None:
    placer = Placer(engines(first=FakeEngine(CALLS), second=FakeEngine(CALLS)))
    for index in range(3_000):  # far more than it remembers, at addresses that are used again
        cores = index % 7 + 1
        options = Options(resources=Resources(cpu_cores_per_process=cores), engine=("first", "second")[index % 2])
        assert placer(Task(Call(print), options=options))[:2] == ((options.engine,), cores)


def test_all_that_can_in_their_order_but_only_those_that_stop_as_the_first_does() -> None:
    stops = BOTH | {Capability.CANCEL_RUNNING}
    here = engines(first=FakeEngine(CALLS), other=FakeEngine(stops), shell=FakeEngine(COMMANDS), third=FakeEngine(BOTH))
    assert place(calling(), here) == ("first", "other", "third")
    assert Placer(here)(calling())[0] == ("first", "third")


def test_the_placer_refuses_each_time() -> None:
    placer = Placer(engines(shell=FakeEngine(COMMANDS)))
    for _ in range(2):
        with pytest.raises(ResourceError):
            placer(calling())
