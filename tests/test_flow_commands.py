"""Flow: @command, whose function returns the command; and @join, whose function calls tasks."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.core.gate import PATIENCE

from harmony import (
    Command,
    CommandError,
    CommandResult,
    ConfigError,
    CycleError,
    DependencyError,
    File,
    NoWorkflowError,
    Output,
    ResourceError,
    TaskFuture,
    Workflow,
    command,
    join,
    task,
)
from harmony.core.task import Join, Template


@pytest.fixture(params=["inline", "threads", "local"])
def wf(request: pytest.FixtureRequest) -> Iterator[Workflow]:
    with Workflow("test", engine=request.param, workers=2) as made:
        yield made


@pytest.fixture(autouse=True)
def _in_an_empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@task
def add(a: int, b: int = 0) -> int:
    return a + b


@command
def say(*words: Any) -> list[Any]:
    return ["echo", *words]


@command
def concatenate(sources: list[File], target: Output) -> str:
    return f"cat {' '.join(map(str, sources))} > {target}"


@command(retries=1, name="flaky")
def fail(code: int) -> str:
    return f"echo failing >&2; echo x >> tries; exit {code}"


# -- commands -----------------------------------------------------------------------------------------


def test_a_list_runs_as_it_is(wf: Workflow) -> None:
    result = say("$HOME", 1, 2.5, Path("p"), "a b;").result(PATIENCE)
    assert isinstance(result, CommandResult)
    assert result.stdout == "$HOME 1 2.5 p a b;\n"
    assert result.command == "echo '$HOME' 1 2.5 p 'a b;'"
    assert result.seconds > 0


def test_a_text_goes_to_the_shell(wf: Workflow) -> None:
    File("a").write_text("A")
    File("b").write_text("B")
    result = concatenate([File("a"), File("b")], "c").result(PATIENCE)
    assert File("c").read_text() == "AB"
    assert result.outputs == (File("c"),)


def test_a_command_may_set_its_streams(wf: Workflow) -> None:
    @command
    def sort(data: File) -> Command:
        return Command(("sort",), stdin=str(data), stdout="sorted")

    File("data").write_text("b\na\n")
    assert sort(File("data")).result(PATIENCE).stdout == ""
    assert File("sorted").read_text() == "a\nb\n"


def test_streams_as_options(wf: Workflow) -> None:
    source, target = File("source"), File("target")

    @command(stdin=source, stdout=target, stderr="err")
    def upper() -> str:
        return "tr a-z A-Z; echo err >&2"

    @task
    def write(path: Output) -> None:
        path.write_text("text")

    write(source)
    upper()
    assert wf.submit(Path.read_text, target).result(PATIENCE) == "TEXT"
    assert File("err").read_text() == "err\n"


def test_a_command_that_fails(wf: Workflow) -> None:
    future = fail(3)
    error = future.exception(PATIENCE)
    assert isinstance(error, CommandError)
    assert (error.exit_code, error.stderr.strip()) == (3, "failing")
    assert future.name == "flaky"
    assert File("tries").read_text() == "x\nx\n", "it was tried again"


def test_a_command_made_of_results(wf: Workflow) -> None:
    future = say(add(1, 2), [add(3, 4)][0], "x")
    assert future.result(PATIENCE).stdout == "3 7 x\n"
    assert isinstance(say.make_task((add(1),), {}).work, Template)
    assert isinstance(say.make_task((1,), {}).work, Command)


def test_files_between_commands_and_functions(wf: Workflow) -> None:
    @command
    def generate(target: Output) -> str:
        return f"printf 5 > {target}"

    @task
    def double(source: File, target: Output) -> int:
        value = 2 * int(source.read_text())
        target.write_text(str(value))
        return value

    generate(File("a"))
    doubled = double(File("a"), File("b"))
    last = concatenate([File("a"), File("b")], File("c"))
    assert last.result(PATIENCE).outputs == (File("c"),)
    assert doubled.result(PATIENCE) == 10
    assert File("c").read_text() == "510"


@pytest.mark.parametrize("built", [None, 5, b"echo", 1.5])
def test_what_is_no_command(wf: Workflow, built: Any) -> None:
    @command
    def odd() -> Any:
        return built

    with pytest.raises(ConfigError, match="odd must return a list, a text or a Command, not"):
        odd()


@pytest.mark.parametrize("part", [None, b"x", ["x"], True, {"a": 1}])
def test_what_is_no_argument(wf: Workflow, part: Any) -> None:
    with pytest.raises(ConfigError, match="a command's argument must be a text, a path or a number, not"):
        say(part)


@pytest.mark.parametrize("built", [[], "", "  ", [""]])
def test_an_empty_command(wf: Workflow, built: Any) -> None:
    @command
    def empty() -> Any:
        return built

    with pytest.raises(ConfigError, match="a command is empty"):
        empty()


def test_an_error_while_the_command_is_made(wf: Workflow) -> None:
    @command
    def odd(number: int) -> list[str]:
        return ["echo", str(1 // number)]

    with pytest.raises(ZeroDivisionError):
        odd(0)
    late = odd(add(0))
    assert isinstance(late.exception(PATIENCE), ZeroDivisionError)


def test_a_refusal_at_the_call(wf: Workflow) -> None:
    with pytest.raises(ResourceError, match="say needs 1 core, 900 GPUs and cannot run here"):
        say.with_options(gpus=900)("x")
    assert wf.counts.total == 0


# -- joins --------------------------------------------------------------------------------------------


@join
def fibonacci(n: int) -> Any:
    if n < 2:
        return n
    return sum_of(fibonacci(n - 1), fibonacci(n - 2))


@task
def sum_of(*numbers: int) -> int:
    return sum(numbers)


@join(retries=1)
def fan_out(width: int) -> list[TaskFuture[int]]:
    return [add(number, 1) for number in range(width)]


def test_a_join_decides_from_results_which_tasks_there_are(wf: Workflow) -> None:
    assert fan_out(add(2, 3)).result(PATIENCE) == [1, 2, 3, 4, 5]
    assert sum_of(add(1), fan_out(0)).exception(PATIENCE) is not None
    assert wf.submit(fan_out, 2).result(PATIENCE) == [1, 2]
    assert isinstance(fan_out.make_task((1,), {}).work, Join)


def test_joins_in_joins(wf: Workflow) -> None:
    assert fibonacci(10).result(PATIENCE) == 55


def test_a_join_that_fails_and_one_whose_parts_fail(wf: Workflow) -> None:
    @join
    def bad() -> None:
        raise KeyError("in the join")

    @join
    def parts() -> list[TaskFuture[int]]:
        return [add(1), add("one", 1)]

    assert isinstance(bad().exception(PATIENCE), KeyError)
    error = parts().exception(PATIENCE)
    assert isinstance(error, DependencyError)
    assert isinstance(error.__cause__, TypeError)


def test_a_join_that_returns_itself() -> None:
    own: list[TaskFuture[Any]] = []
    called = threading.Event()

    @join
    def snake() -> list[TaskFuture[Any]]:
        assert called.wait(PATIENCE)
        return own

    with Workflow(engine="threads", workers=1):
        own.append(snake())
        called.set()
        assert isinstance(own[0].exception(PATIENCE), CycleError)


def test_a_join_submits_to_the_workflow_it_was_called_in() -> None:
    with (
        Workflow("outer", engine="threads", workers=1) as outer,
        Workflow("inner", engine="threads", workers=1) as inner,
    ):
        assert outer.submit(fan_out, 3).result(PATIENCE) == [1, 2, 3]
        assert (outer.counts.total, inner.counts.total) == (4, 0)


def test_a_join_outside_a_workflow() -> None:
    with pytest.raises(NoWorkflowError, match=r"fan_out\(\) is a task and no workflow is open here"):
        fan_out(3)


@pytest.mark.parametrize("option", ["cores", "walltime", "environment", "directory", "outputs", "on"])
def test_options_that_a_join_cannot_keep_are_refused(option: str) -> None:
    with pytest.raises(ConfigError, match=f"@join has no option '{option}': it runs in the driver"):
        join(**{option: 1})(fan_out.fn)
