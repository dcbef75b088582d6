"""Task, Command and Options: values that refuse nonsense; and the table of states."""

from __future__ import annotations

import dataclasses
import pickle
from pathlib import Path
from typing import Any

import pytest

from harmony.core.data import File
from harmony.core.task import NEXT, Call, Command, CommandResult, Options, Task, TaskState
from harmony.errors import ConfigError


def test_no_task_leaves_a_final_state() -> None:
    assert {state for state in TaskState if state.is_final} == {TaskState.DONE, TaskState.FAILED, TaskState.CANCELLED}
    for state in TaskState:
        assert state.is_final == (not NEXT[state])
        assert state not in NEXT[state], "a state that follows itself would count a repeated report twice"


def test_every_state_can_be_reached_and_left() -> None:
    reached, todo = {TaskState.WAITING}, [TaskState.WAITING]
    while todo:
        for state in NEXT[todo.pop()] - reached:
            reached.add(state)
            todo.append(state)
    assert reached == set(TaskState)


@pytest.mark.parametrize("args", ["", "   ", (), ("",), ("", "x")])
def test_an_empty_command(args: Any) -> None:
    with pytest.raises(ConfigError, match="a command is empty"):
        Command(args)


@pytest.mark.parametrize("args", ["echo a\0b", ("echo", "a\0b")])
def test_a_command_with_a_nul(args: Any) -> None:
    with pytest.raises(ConfigError, match="NUL character"):
        Command(args)


def test_a_list_runs_as_it_is_and_a_text_goes_to_the_shell() -> None:
    assert Command(("echo", "$HOME; rm x")).argv == ("echo", "$HOME; rm x")
    assert Command("echo $HOME").argv == ("/bin/sh", "-c", "echo $HOME")


def test_a_command_reads_as_one_would_type_it() -> None:
    assert str(Command(("echo", "two words", "it's"))) == "echo 'two words' 'it'\"'\"'s'"
    assert str(Command("a | b")) == "a | b"


def test_paths_among_the_arguments() -> None:
    args: Any = ("cat", File("in.txt"), Path("out.txt"))
    command = Command(args, stdin=File("x"), stdout=Path("y"))  # type: ignore[arg-type]
    assert command.args == ("cat", str(File("in.txt")), "out.txt")
    assert (command.stdin, command.stdout, command.stderr) == (str(File("x")), "y", None)


@pytest.mark.parametrize("args", [("sleep", 1), ("echo", None), ("echo", b"x")])
def test_an_argument_that_is_neither_text_nor_path(args: Any) -> None:
    with pytest.raises((ConfigError, TypeError), match=r"bytes|int|NoneType"):
        Command(args)


def test_a_command_is_a_value() -> None:
    assert pickle.loads(pickle.dumps(Command(("a", "b"), stdout="c"))) == Command(("a", "b"), stdout="c")
    with pytest.raises(dataclasses.FrozenInstanceError):
        Command("a").args = "b"  # type: ignore[misc]


@pytest.mark.parametrize("walltime", [0, -1, float("nan"), "1h"])
def test_a_walltime_that_makes_no_sense(walltime: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        Options(walltime=walltime)
    assert f"walltime={walltime!r}" in str(caught.value)


@pytest.mark.parametrize("pair", [("", "x"), ("A=B", "x"), ("A", "x\0"), ("A\0", "x")])
def test_an_environment_that_no_process_can_be_given(pair: tuple[str, str]) -> None:
    with pytest.raises(ConfigError, match="which no process can be given"):
        Options(environment=(("FINE", "1"), pair))


def test_defaults() -> None:
    task = Task(Call(print))
    assert (task.name, task.inputs, task.outputs) == ("task", (), ())
    assert task.options == Options()
    assert task.options.resources.cores == 1
    assert task.options.retry.times == 0


def test_values_travel_between_processes() -> None:
    task = Task(Call(len, ([1],), {}), "count", Options(walltime=5.0), (File("a"),), (File("b"),))
    assert pickle.loads(pickle.dumps(task)) == task
    result = CommandResult("true", "out", "err", 0.5, (File("b"),))
    assert pickle.loads(pickle.dumps(result)) == result
