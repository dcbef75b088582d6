"""Executor.submit, as the standard library documents it."""

from __future__ import annotations

from concurrent.futures import Executor, Future
from typing import Any

import pytest
from tests.core import functions
from tests.core.gate import PATIENCE


def test_it_is_an_executor(executor: Executor) -> None:
    assert isinstance(executor, Executor)
    future = executor.submit(functions.square, 3)
    assert isinstance(future, Future)
    assert future.result(PATIENCE) == 9
    assert future.done()
    assert not future.running()
    assert not future.cancelled()
    assert future.exception() is None


def test_arguments_go_through_whatever_they_are_called(executor: Executor) -> None:
    kwargs: dict[str, Any] = {"self": 1, "fn": 2, "args": 3, "kwargs": 4, "task": 5, "name": 6}
    future = executor.submit(functions.echo, "a", None, **kwargs)
    assert future.result(PATIENCE) == (("a", None), kwargs)


@pytest.mark.parametrize(
    ("fn", "args", "result"),
    [
        (len, ([1, 2],), 2),
        (functions.Callable(10), (5,), 15),
        (functions.Callable(10).method, (5,), 50),
        (functions.Callable, (1,), None),
        (str.upper, ("a",), "A"),
        ("abc".upper, (), "ABC"),
    ],
    ids=["builtin", "callable object", "bound method", "class", "method of a type", "bound builtin"],
)
def test_anything_that_can_be_called(executor: Executor, fn: Any, args: tuple[Any, ...], result: Any) -> None:
    value = executor.submit(fn, *args).result(PATIENCE)
    assert value == result or isinstance(value, functions.Callable)


def test_what_cannot_be_called_is_the_futures_error(executor: Executor) -> None:
    not_a_function: Any = 5
    assert isinstance(executor.submit(not_a_function).exception(PATIENCE), TypeError)


def test_an_exception_arrives_as_its_own_type(executor: Executor) -> None:
    future = executor.submit(functions.fail, "a reason")
    error = future.exception(PATIENCE)
    assert type(error) is ValueError
    assert error.args == ("a reason",)
    with pytest.raises(ValueError, match="a reason"):
        future.result()
    assert future.done()
    assert not future.cancelled()


def test_wrong_arguments_are_the_futures_error(executor: Executor) -> None:
    wanting: Any = functions.square
    assert isinstance(executor.submit(wanting).exception(PATIENCE), TypeError)


def test_a_function_that_exits(executor: Executor) -> None:
    error = executor.submit(functions.leave).exception(PATIENCE)
    assert isinstance(error, SystemExit)
    assert error.code == 3
    assert executor.submit(functions.square, 2).result(PATIENCE) == 4


def test_large_arguments_and_results(executor: Executor) -> None:
    data = bytes(range(256)) * 40_000
    assert executor.submit(functions.add, data, b"end").result(PATIENCE) == data + b"end"


def test_many(executor: Executor) -> None:
    futures = [executor.submit(functions.square, number) for number in range(2_000)]
    assert [future.result(PATIENCE) for future in futures] == [number * number for number in range(2_000)]


def test_after_shutdown(executor: Executor) -> None:
    executor.submit(functions.square, 1).result(PATIENCE)
    executor.shutdown()
    with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
        executor.submit(functions.square, 1)


def test_as_a_context_manager(executor: Executor) -> None:
    with executor as entered:
        assert entered is executor
        futures = [entered.submit(functions.square, number) for number in range(10)]
    assert all(future.done() for future in futures)
    with pytest.raises(RuntimeError):
        executor.submit(functions.square, 1)


def test_an_error_in_the_block_goes_through_and_the_work_is_done(executor: Executor) -> None:
    futures: list[Future[int]] = []

    def block() -> None:
        with executor:
            futures.append(executor.submit(functions.square, 3))
            raise KeyError("in the block")

    with pytest.raises(KeyError, match="in the block"):
        block()
    assert futures[0].result(0) == 9
