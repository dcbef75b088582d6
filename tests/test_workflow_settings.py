"""Workflow: its settings, what `harmony run` may override, and what becomes of prints."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from tests.core import functions
from tests.core.fake_engine import FakeEngine
from tests.core.gate import PATIENCE

from harmony import (
    Capability,
    Command,
    ConfigError,
    PluginError,
    ResourceError,
    Resources,
    Task,
    Workflow,
    task,
)
from harmony.core.task import Call, Options
from harmony.engines.threads import ThreadEngine
from harmony.workflow import Overrides, override

squared = task(functions.square)


@pytest.mark.parametrize(
    ("settings", "kind", "text"),
    [
        ({"engine": "thread"}, PluginError, "there is no engine 'thread'; did you mean 'threads'?"),
        ({"engine": 5}, ConfigError, "engine=5 is not an engine"),
        ({"engine": ThreadEngine}, ConfigError, "is not an engine; give a name such as 'local', or an Engine object"),
        ({"engine": ThreadEngine(1), "workers": 2}, ConfigError, "workers=2 goes to an engine that is named"),
        ({"engine": "local", "workers": 0}, ConfigError, "workers=0"),
        ({"engine": "threads", "workers": 0}, ConfigError, "workers=0"),
        ({"engine": "threads", "workers": -1}, ConfigError, "workers=-1"),
        ({"engine": "threads", "workers": "2"}, ConfigError, "workers='2'"),
        ({"engines": {}}, ConfigError, "names no engine"),
        ({"engine": "local", "engines": {"a": "local"}}, ConfigError, "give one"),
    ],
)
def test_settings_that_make_no_sense(settings: dict[str, Any], kind: type[Exception], text: str) -> None:
    with pytest.raises(kind) as caught:
        Workflow(**settings)
    assert text in str(caught.value)


def test_several_engines() -> None:
    shell = FakeEngine(frozenset({Capability.COMMANDS}))
    with Workflow(engines={"shell": shell, "a": ThreadEngine(2), "b": "threads"}) as wf:
        anywhere, on_b = wf.submit(squared, 2), wf.submit(squared.with_options(on="b"), 3)
        command = wf.submit_task(Task(Command("true")))
        shell.done(shell.take(), "by the shell engine")
        assert command.result(PATIENCE) == "by the shell engine"
        assert anywhere.result(PATIENCE) == 4
        assert on_b.result(PATIENCE) == 9
        with pytest.raises(ConfigError, match="square asks for engine 'c'; this workflow has: shell, a, b"):
            wf.submit(squared.with_options(on="c"), 3)
        with pytest.raises(ResourceError, match="engine 'shell' has no support for GPUs, Python functions"):
            wf.submit_task(Task(Call(print), "big", Options(resources=Resources(gpu_cores_per_process=1))))
        assert wf.counts.total == 3, "what is refused leaves nothing behind"


# -- what the one who runs the program decides ---------------------------------------------------------


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    yield
    override(Overrides())


def test_another_engine_and_other_workers() -> None:
    override(Overrides(engine="threads", workers=3))
    with Workflow(engine="inline", workers=1) as wf:
        assert wf.submit(squared, 3).result(PATIENCE) == 9
        assert wf.cores == 3
    assert "on threads" in repr(wf)


def test_it_holds_in_the_programs_threads() -> None:
    override(Overrides(engine="threads"))
    made: list[Workflow] = []
    thread = threading.Thread(target=lambda: made.append(Workflow(engine="inline")))
    thread.start()
    thread.join(PATIENCE)
    assert "on threads" in repr(made[0])


def test_an_engine_cannot_replace_several() -> None:
    override(Overrides(engine="threads"))
    with pytest.raises(ConfigError, match="engines= names several engines, so engine='threads' cannot replace them"):
        Workflow(engines={"a": "inline", "b": "inline"})


def test_who_runs_the_program_is_told(caplog: pytest.LogCaptureFixture) -> None:
    told: list[str] = []

    def opened(wf: Workflow) -> None:
        told.append(f"opened {wf.name}, {wf.counts.total}")

    def closed(wf: Workflow) -> None:
        told.append(f"closed {wf.name}, {wf.counts.total}")

    override(Overrides(opened=opened, closed=closed))
    with Workflow("w", engine="inline") as wf:
        assert told == ["opened w, 0"]
        wf.submit(functions.fail)
    assert told == ["opened w, 0", "closed w, 1"]
    wf.close()
    assert len(told) == 2
    assert caplog.records == [], "then the report is theirs to give"


# -- prints -----------------------------------------------------------------------------------------


def test_prints_are_kept_with_their_task() -> None:
    with Workflow(engine="local", workers=1) as wf:
        futures = [wf.submit(functions.say, text) for text in ("one", "two")]
        assert [wf.gather(future) for future in futures] == ["one", "two"]
    assert [future.stdout for future in futures] == ["one\n", "two\n"]


def test_prints_are_not_shown_where_they_are_not_wanted(capsys: pytest.CaptureFixture[str]) -> None:
    with Workflow(engine="local", workers=1, show_prints=False) as wf:
        future = wf.submit(functions.say, "hidden")
    assert capsys.readouterr().out == ""
    assert future.stdout == "hidden\n"


def test_prints_of_a_task_that_fails(capsys: pytest.CaptureFixture[str]) -> None:
    with Workflow(engine="local", workers=1) as wf:
        future = wf.submit(functions.say_and_fail, "before the error")
        assert isinstance(future.exception(PATIENCE), ValueError)
    assert capsys.readouterr().out == future.stdout == "before the error\n"
