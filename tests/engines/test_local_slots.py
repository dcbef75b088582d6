"""Local engine: what tasks are given of the machine: never more than there is, and each has its turn."""

from __future__ import annotations

import os
import random
import shlex
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from tests.engines.rig import PATIENCE, Gate, News, hold, identity, pass_gate, tell

from harmony import Workflow, command, task
from harmony.core.future import TaskFuture
from harmony.core.task import Options, TaskState
from harmony.engines.local import LocalEngine
from harmony.errors import ConfigError, ResourceError

VARIABLES = ("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "ZE_AFFINITY_MASK")


@pytest.fixture
def no_gpus_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)


def open_on(**settings: Any) -> Workflow:
    """A workflow on an engine with these settings; its tasks are cancelled by an error."""
    return Workflow(engine=LocalEngine(**settings))


@command
def wait_at(gate: str, news: str) -> str:
    return f"echo $$ > {shlex.quote(news)}; flock -s {shlex.quote(gate)} true"


def tell_gpus(gate: str, news: str) -> None:
    tell(news, "|".join(os.environ.get(variable, "none") for variable in VARIABLES))
    pass_gate(gate)


@pytest.mark.usefixtures("no_gpus_shown")
def test_tasks_at_once_have_different_gpus(gate: Gate, news: News) -> None:
    with open_on(workers=3, gpus=2) as wf:
        *_, third = [task(gpus=1)(tell_gpus)(gate.path, news.path) for _ in range(3)]
        first = news.hear(2)
        assert wf.submit(tell_gpus, os.devnull, news.path).result(PATIENCE) is None  # a worker and a core are free …
        assert news.hear() == ["none|none|none"]
        assert third.state is TaskState.SUBMITTED  # … but no GPU
        gate.open()
        assert sorted(first) == ["0|0|0", "1|1|1"]
        assert news.hear()[0] in first


@pytest.mark.usefixtures("no_gpus_shown")
def test_commands_have_gpus(gate: Gate, news: News) -> None:
    @command(gpus=1)
    def show() -> str:
        return f"echo $CUDA_VISIBLE_DEVICES > {shlex.quote(news.path)}; flock -s {shlex.quote(gate.path)} true"

    with open_on(workers=1, cores=3, gpus=2):
        show(), show()
        assert sorted(news.hear(2)) == ["0", "1"]
        gate.open()


def own_gpus() -> tuple[int, str]:
    return os.getpid(), os.environ["CUDA_VISIBLE_DEVICES"]


@pytest.mark.usefixtures("no_gpus_shown")
def test_worker_never_changes_its_gpus() -> None:
    chance = random.Random(3)
    with open_on(workers=2, gpus=3) as wf:
        wanted = [chance.randint(1, 3) for _ in range(40)]
        futures = [task(gpus=count)(own_gpus)() for count in wanted]
        plain = [wf.submit(identity, i) for i in range(40)]
        found = [future.result(PATIENCE) for future in futures]
        assert [future.result(PATIENCE) for future in plain] == list(range(40))
    assert [len(shown.split(",")) for _, shown in found] == wanted
    assert all(set(shown.split(",")) <= {"0", "1", "2"} for _, shown in found)
    assert len(set(found)) == len({worker for worker, _ in found})


def test_gpus_are_those_the_driver_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,GPU-8932")
    with open_on(workers=1) as wf:
        assert task(gpus=2)(own_gpus)().result(PATIENCE)[1] == "3,GPU-8932"
        with pytest.raises(ResourceError, match="2 GPUs"):
            task(gpus=3)(own_gpus)()
        assert wf.submit(own_gpus).result(PATIENCE)[1] == "3,GPU-8932"  # who asks for none sees what we see
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with open_on(workers=1), pytest.raises(ResourceError):
        task(gpus=1)(own_gpus)()


@pytest.mark.parametrize("second", ["function", "command"])
def test_memory(gate: Gate, news: News, second: str) -> None:
    with open_on(workers=3, cores=4, memory="1GB") as wf:
        first = task(memory="600MB")(hold)(gate.path, news.path)
        news.hear()
        fits = task(memory="400MB")(identity)(1)
        other = task(memory="600MB")(identity)(2) if second == "function" else None
        waits: TaskFuture[Any] = other or wait_at.with_options(memory="600MB")(gate.path, news.path)
        assert fits.result(PATIENCE) == 1
        assert wf.submit(identity, 3).result(PATIENCE) == 3
        assert waits.state is TaskState.SUBMITTED
        assert not first.done()
        gate.open()
        waits.result(PATIENCE)


def count_cores(news: str, cores: int) -> None:
    tell(news, cores)
    tell(news, -cores)


def test_never_more_cores_than_there_are(news: News, scale: Callable[[int, int], int]) -> None:
    chance, count, taken = random.Random(5), scale(150, 3000), 0
    path = shlex.quote(news.path)
    with open_on(workers=4, cores=4):
        for _ in range(count):
            cores = chance.randint(1, 4)
            if chance.random() < 0.3:
                command(cores=cores)(lambda cores=cores: f"echo {cores} > {path}; echo -{cores} > {path}")()
            else:
                task(cores=cores)(count_cores)(news.path, cores)
        for _ in range(2 * count):
            taken += news.numbers()[0]
            assert 0 <= taken <= 4
    assert taken == 0


@pytest.mark.parametrize("narrow", [task(identity), task(memory=1)(identity), command(lambda number: ["true"])])
def test_wide_task_is_not_starved(narrow: Callable[[int], TaskFuture[Any]]) -> None:
    with open_on(workers=2, cores=2):
        running = [narrow(i) for i in range(4)]
        wide = task(cores=2)(identity)("wide")
        for i in range(20_000):
            running.pop(0).result(PATIENCE)
            if wide.done():
                break
            running.append(narrow(i))
        assert wide.result(PATIENCE) == "wide"


def _append(ended: list[str], name: str, _: object) -> None:
    ended.append(name)


def test_wide_task_has_its_turn_though_many_narrow_ones_are_there() -> None:
    ended: list[str] = []
    with open_on(workers=2, cores=2) as wf:
        futures = [wf.submit(time.sleep, 0.001) for _ in range(500)]
        futures.append(task(name="wide", cores=2)(identity)(1))
        futures += [wf.submit(time.sleep, 0.001) for _ in range(2500)]
        for future in futures:
            future.add_done_callback(partial(_append, ended, future.name))
    assert ended.index("wide") < 2500


def test_narrow_ones_go_on_while_a_wide_task_waits_for_what_they_do_not_take(gate: Gate, news: News) -> None:
    """A task that waits for a GPU, or for a worker, must not stop those that need neither."""
    with open_on(workers=2, cores=8, gpus=1) as wf:
        first, second = (wait_at.with_options(gpus=1)(gate.path, news.path) for _ in range(2))
        news.hear()
        for i in range(200):
            assert wf.submit(identity, i).result(PATIENCE) == i
        held = [wf.submit(hold, gate.path, news.path) for _ in range(3)]
        news.hear(2)
        for _ in range(200):
            command(lambda: ["true"])().result(PATIENCE)
        assert not any(future.done() for future in (first, second, *held))
        gate.open()


def test_each_task_with_a_size_of_its_own(scale: Callable[[int, int], int]) -> None:
    count = scale(500, 20_000)
    with open_on(workers=2) as wf:
        futures = [task(memory=1000 + i)(identity)(i) for i in range(count)]
        assert wf.gather(futures) == list(range(count))


@pytest.fixture(params=["alone", "others wait"])
def busy(request: pytest.FixtureRequest, gate: Gate, news: News) -> Iterator[Workflow]:
    """An engine that has found its tasks to be quick; perhaps with a task that waits for a GPU."""
    wf = open_on(workers=2, cores=4, gpus=1).start()
    for future in [wf.submit(identity, i) for i in range(3000)]:
        future.result(PATIENCE)
    if request.param == "others wait":
        for _ in range(2):
            wait_at.with_options(gpus=1)(gate.path, news.path)
        news.hear()
    yield wf
    wf.close()


def test_long_task_holds_nobody_back(busy: Workflow, gate: Gate, news: News) -> None:
    long = busy.submit(hold, gate.path, news.path)
    others = [busy.submit(identity, i) for i in range(500)]
    assert [future.result(PATIENCE) for future in others] == list(range(500))
    news.hear()
    for i in range(50):
        assert busy.submit(identity, i).result(PATIENCE) == i
    assert not long.done()
    gate.open()


def test_long_task_in_the_midst_of_others(busy: Workflow, gate: Gate, news: News) -> None:
    futures = [busy.submit(identity, i) for i in range(300)]
    long = busy.submit(hold, gate.path, news.path)
    futures += [busy.submit(identity, i) for i in range(300)]
    for future in futures:
        future.result(PATIENCE)
    assert not long.done()
    gate.open()


# -- per task ---------------------------------------------------------------------------------------------


def surroundings() -> tuple[str, str | None, str | None]:
    return os.getcwd(), os.environ.get("MINE"), os.environ.get("HOME")


def test_environment_and_directory_are_put_back(wf: Workflow) -> None:
    here, home = os.getcwd(), os.environ.get("HOME")
    special = task(environment={"MINE": "1", "HOME": "/x"}, directory="somewhere/new")
    assert special(surroundings)().result(PATIENCE) == (os.path.join(here, "somewhere/new"), "1", "/x")
    assert wf.submit(surroundings).result(PATIENCE) == (here, None, home)
    assert isinstance(special(lambda: 1 // 0)().exception(PATIENCE), ZeroDivisionError)
    assert wf.submit(surroundings).result(PATIENCE) == (here, None, home)
    shown = command(environment={"MINE": "2"}, directory="else")(lambda: "pwd; echo $MINE")().result(PATIENCE)
    assert shown.stdout == f"{here}/else\n2\n"


def test_settings_that_make_no_sense() -> None:
    wrong: list[dict[str, Any]] = [
        {"workers": 0}, {"workers": -1}, {"workers": 1.5}, {"workers": True}, {"workers": "2"}, {"cores": 0},
        {"gpus": -1}, {"gpus": True}, {"gpus": 1.5}, {"gpus": ["0", "0"]}, {"memory": "lots"}, {"memory": -5},
        {"memory": 0}, {"initializer": 5},
    ]  # fmt: skip
    for settings in wrong:
        with pytest.raises(ConfigError, match=next(iter(settings))):
            LocalEngine(**settings)
    with pytest.raises(TypeError, match="cpus"):
        LocalEngine(cpus=2)  # type: ignore[call-arg]
    with pytest.raises(ConfigError, match="cpus"):
        task(cpus=2)(identity)
    with pytest.raises(ConfigError, match="walltime"):
        Options(walltime=0)
