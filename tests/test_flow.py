"""Flow: @task, @command and @join; their options, the files they read and write, and what they say when misused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Optional

import pytest
from tests.core.gate import PATIENCE

from harmony import (
    ConfigError,
    CycleError,
    File,
    MissingFileError,
    NoWorkflowError,
    Output,
    Resources,
    Retry,
    TaskFuture,
    Workflow,
    WorkflowError,
    command,
    join,
    task,
)


@pytest.fixture(params=["inline", "threads", "local"])
def wf(request: pytest.FixtureRequest) -> Iterator[Workflow]:
    with Workflow("test", engine=request.param, workers=2) as made:
        yield made


@pytest.fixture(autouse=True)
def _in_an_empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@task
def add(a: int, b: int = 0) -> int:
    """Add two numbers."""
    return a + b


@task(retries=2, name="sum")
def named_add(a: int, b: int = 0) -> int:
    return a + b


class Lattice:
    def __init__(self, constant: float) -> None:
        self.constant = constant

    @task
    def scaled(self, factor: float) -> float:
        return self.constant * factor

    @task
    @staticmethod
    def inside(a: int) -> int:
        return a + 1

    @staticmethod
    @task
    def outside(a: int) -> int:
        return a + 2

    @task(retries=1)
    def made_by(self, factor: float) -> Lattice:
        return Lattice(self.constant * factor)


# -- decorators ---------------------------------------------------------------------------------------


def test_with_and_without_parentheses(wf: Workflow) -> None:
    assert add(1, b=2).result(PATIENCE) == 3
    future = named_add(1, 2)
    assert future.result(PATIENCE) == 3
    assert (future.name, add(1).name) == ("sum", "add")

    @task()
    def empty() -> str:
        return "empty parentheses"

    assert empty().result(PATIENCE) == "empty parentheses"


def test_the_plain_function_stays_within_reach() -> None:
    assert add.fn(1, 2) == 3
    seen: Any = add
    assert (seen.__name__, seen.__doc__, seen.__wrapped__) == ("add", "Add two numbers.", add.fn)


def test_methods(wf: Workflow) -> None:
    lattice = Lattice(2.0)
    assert lattice.scaled(3.0).result(PATIENCE) == 6.0
    assert wf.submit(lattice.scaled, 4.0).result(PATIENCE) == 8.0
    assert lattice.scaled.with_options(retries=3)(5.0).result(PATIENCE) == 10.0
    assert lattice.scaled.fn(6.0) == 12.0
    assert Lattice.scaled(lattice, 7.0).result(PATIENCE) == 14.0
    assert Lattice.inside(1).result(PATIENCE) == 2
    assert Lattice.outside(1).result(PATIENCE) == 3
    assert lattice.made_by(2.0).result(PATIENCE).constant == 4.0


def test_outside_a_workflow() -> None:
    with pytest.raises(NoWorkflowError) as caught:
        add(1, 2)
    assert str(caught.value) == (
        "add() is a task and no workflow is open here; call it inside `with Workflow(...) as wf:`, "
        "use wf.submit(add, ...) from other threads, or add.fn(...) for the plain function"
    )


@pytest.mark.parametrize("decorate", [task, command, join])
def test_what_is_no_function(decorate: Any) -> None:
    with pytest.raises(ConfigError, match="decorates a function, not 5; options go by keyword"):
        decorate(5)

    async def coroutine() -> None: ...

    with pytest.raises(ConfigError, match="coroutine is async; a task is a plain function"):
        decorate(coroutine)


def test_with_options_makes_another_and_leaves_the_first() -> None:
    other = add.with_options(cores=2, retries=Retry(5), name="other")
    assert (other.options.resources.cores, other.options.retry.times, other.name) == (2, 5, "other")
    assert (add.options.resources.cores, add.options.retry.times, add.name) == (1, 0, "add")
    again = other.with_options(cores=3)
    assert (again.options.resources.cores, again.options.retry.times) == (3, 5)
    with pytest.raises(ConfigError, match="has no option 'coers'"):
        add.with_options(coers=3)


def test_options_become_resources(tmp_path: Path) -> None:
    made = task(
        cores=2, gpus=1, ranks=4, nodes=2, memory="4GB", exclusive=True, walltime=60, retries=3,
        environment={"A": 1}, directory="runs", on="cluster",
    )(add.fn)  # fmt: skip
    options = made.options
    assert options.resources == Resources(
        node_count=2, process_count=4, cpu_cores_per_process=2, gpu_cores_per_process=1,
        memory=4 * 10**9, exclusive=True,
    )  # fmt: skip
    assert (options.walltime, options.retry, options.engine) == (60, Retry(3), "cluster")
    assert (options.environment, options.directory) == ((("A", "1"),), str(tmp_path / "runs"))
    assert repr(made) == "<@task add, 8 cores, 4 ranks, 2 nodes, 4 GPUs, 4 GB, exclusive>"


@pytest.mark.parametrize("decorate", [task, command])
@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("cores", 0),
        ("cores", "2"),
        ("gpus", -1),
        ("ranks", 0),
        ("nodes", 0),
        ("memory", "lots"),
        ("memory", -1),
        ("walltime", 0),
        ("walltime", "1h"),
        ("retries", -1),
        ("retries", "3"),
        ("environment", ["A=1"]),
        ("environment", {"A=B": 1}),
        ("directory", 5),
        ("outputs", ["nowhere"]),
        ("outputs", 5),
        ("on", 5),
        ("name", 5),
        ("exclusive", "yes"),
    ],
)
def test_an_option_that_makes_no_sense_is_named(decorate: Any, option: str, value: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        decorate(**{option: value})(lambda log: log)
    assert option.removesuffix("s") in str(caught.value)


@pytest.mark.parametrize(("decorate", "word"), [(task, "@task"), (command, "@command"), (join, "@join")])
def test_an_option_that_does_not_exist(decorate: Any, word: str) -> None:
    with pytest.raises(ConfigError, match=f"{word} has no option 'core'.*it has: .*name, .*retries"):
        decorate(core=2)(add.fn)


def test_the_streams_are_options_of_commands_only() -> None:
    with pytest.raises(ConfigError, match="@task has no option 'stdout'"):
        task(stdout="a.log")(add.fn)
    with pytest.raises(ConfigError) as caught:
        command(coers=2)(add.fn)
    assert "stdout" in str(caught.value)


def test_wrong_arguments_are_the_tasks_error(wf: Workflow) -> None:
    assert isinstance(add(1, 2, 3).exception(PATIENCE), TypeError)


def test_a_task_inside_a_task_is_told_where_it_is() -> None:
    def nested() -> TaskFuture[int]:
        return add(1, 2)

    with Workflow(engine="threads", workers=1) as wf:
        error = wf.submit(nested).exception(PATIENCE)
    assert isinstance(error, NoWorkflowError)
    assert "add.fn(...) for the plain function" in str(error)


# -- files --------------------------------------------------------------------------------------------


@task
def write(text: str, path: Output) -> int:
    assert isinstance(path, File)
    return path.write_text(text)


@task
def copy(source: File, copies: list[Output]) -> list[str]:
    for target in copies:
        target.write_text(source.read_text())
    return [target.name for target in copies]


@task(outputs="log")
def write_log(log: Any, text: str = "logged") -> None:
    File(log).write_text(text)


def variants() -> dict[str, Any]:
    def annotated(log: Annotated[File, "before", Output]) -> None: ...
    def optional(log: Optional[Output] = None) -> None: ...  # noqa: UP045
    def union(log: Output | None = None) -> None: ...
    def listed(log: list[Output]) -> None: ...
    def mapped(log: dict[str, Output]) -> None: ...
    def many(*log: Output) -> None: ...
    def by_keyword(*, log: Output) -> None: ...
    def only_for_type_checkers(log: Output, other: NoSuchName) -> None: ...  # type: ignore[name-defined]  # noqa: F821

    return {name: fn for name, fn in locals().items() if callable(fn)}


@pytest.mark.parametrize("name", ["annotated", "optional", "union", "only_for_type_checkers", "by_keyword", "many"])
def test_outputs_by_annotation(name: str) -> None:
    made = task(variants()[name])
    for given in ("a.log", Path("a.log"), File("a.log")):
        kwargs = {"other": 1} if name == "only_for_type_checkers" else {}
        if name == "by_keyword":
            made_task = made.make_task((), {"log": given})
        else:
            made_task = made.make_task((given,), kwargs)
        assert made_task.outputs == (File("a.log"),)
        assert made_task.inputs == ()


def test_outputs_inside_lists_and_dicts() -> None:
    listed, mapped = task(variants()["listed"]), task(variants()["mapped"])
    assert listed.make_task((["a", File("b"), Path("c")],), {}).outputs == (File("a"), File("b"), File("c"))
    assert mapped.make_task(({"x": "a", "y": File("b")},), {}).outputs == (File("a"), File("b"))
    assert task(variants()["many"]).make_task(("a", "b"), {}).outputs == (File("a"), File("b"))
    assert task(variants()["optional"]).make_task((), {}).outputs == ()


def test_outputs_by_name() -> None:
    assert write_log.make_task(("a.log",), {}).outputs == (File("a.log"),)
    with pytest.raises(ConfigError, match="outputs='lgo' is not a parameter of fn; it has: log"):
        task(outputs=["lgo"])(_fn())


def _fn() -> Any:
    def fn(log: str) -> None: ...

    return fn


def test_an_output_that_is_not_known_yet(wf: Workflow) -> None:
    future: Any = add(1)
    with pytest.raises(ConfigError, match="write: output 'path' is a future; the path of an output must be known"):
        write("x", future)


def test_files_order_the_tasks_that_read_and_write_them(wf: Workflow) -> None:
    copied = copy(File("b"), [File("c"), "d"])
    assert isinstance(copied.exception(PATIENCE), MissingFileError), "its writer has to be called before"
    write("hello", File("a"))
    names = copy(File("a"), [File("c1"), "d1"])
    last = copy(File("d1"), [File("e")])
    assert names.result(PATIENCE) == ["c1", "d1"]
    assert last.result(PATIENCE) == ["e"]
    assert File("e").read_text() == "hello"


def test_an_output_that_is_not_written(wf: Workflow) -> None:
    @task
    def forget(log: Output) -> None: ...

    error = forget(File("a.log")).exception(PATIENCE)
    assert isinstance(error, MissingFileError)
    assert "a.log" in str(error)


def test_two_writers_and_a_reader_of_its_own_output(wf: Workflow) -> None:
    write("x", File("a"))
    with pytest.raises(WorkflowError, match=r"write and write \(task 1\) both write a, in no defined order"):
        write("y", File("a"))

    @task
    def twist(source: File, target: Output) -> None: ...

    made = twist.make_task((File("b"), File("b")), {})
    assert made.outputs == (File("b"),)
    with pytest.raises(CycleError, match="twist writes b, which twist reads"):
        wf.submit_task(made._replace(inputs=(File("b"),)))
