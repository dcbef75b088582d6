"""asyncio over an executor: run_in_executor, wrap_future; and, for ours, await as it stands."""

from __future__ import annotations

import asyncio
from concurrent.futures import Executor, Future
from typing import Any

import pytest
from tests.core import functions
from tests.core.gate import PATIENCE, Gate, pass_through

from harmony import TaskFuture, Workflow


def test_run_in_executor(executor: Executor) -> None:
    async def program() -> list[int]:
        loop = asyncio.get_running_loop()
        return await asyncio.gather(*(loop.run_in_executor(executor, functions.square, n) for n in range(20)))

    assert asyncio.run(program()) == [n * n for n in range(20)]


def test_an_error_in_run_in_executor(executor: Executor) -> None:
    async def program() -> None:
        await asyncio.get_running_loop().run_in_executor(executor, functions.fail, "why")

    with pytest.raises(ValueError, match="why"):
        asyncio.run(program())


def test_the_loop_goes_on_meanwhile(executor: Executor, gate: Gate) -> None:
    async def program() -> str:
        loop = asyncio.get_running_loop()
        held = loop.run_in_executor(executor, pass_through, gate.port, "a", "through")
        await loop.run_in_executor(None, gate.arrival)
        turns = 0
        while turns < 10:
            await asyncio.sleep(0)
            turns += 1
        assert not held.done()
        gate.open()
        return str(await held)

    assert asyncio.run(program()) == "through"


def test_cancelling_what_has_not_begun(executor: Executor, gate: Gate) -> None:
    queued: list[Future[Any]] = []

    async def program() -> None:
        loop = asyncio.get_running_loop()
        held = [loop.run_in_executor(executor, pass_through, gate.port, name) for name in ("a", "b")]
        for _ in held:
            await loop.run_in_executor(None, gate.arrival)
        queued.extend(executor.submit(functions.square, index) for index in range(10))
        waiting = asyncio.wrap_future(queued[-1])
        waiting.cancel()
        await asyncio.sleep(0)  # the loop hands it on
        with pytest.raises(asyncio.CancelledError):
            await waiting
        gate.open()
        await asyncio.gather(*held)

    asyncio.run(program())
    assert queued[-1].cancelled()
    assert queued[0].result(PATIENCE) == 0


# -- ours ---------------------------------------------------------------------------------------------


def test_futures_are_awaitable(workflow: Workflow) -> None:
    with workflow.executor() as executor:

        async def program() -> list[Any]:
            futures = [executor.submit(functions.square, n) for n in range(20)]
            assert all(isinstance(future, TaskFuture) for future in futures)
            return [await future for future in futures]  # type: ignore[misc]

        assert asyncio.run(program()) == [n * n for n in range(20)]


def test_awaiting_an_error(workflow: Workflow) -> None:
    async def program() -> None:
        await workflow.submit(functions.fail, "why")

    with pytest.raises(ValueError, match="why"):
        asyncio.run(program())


def test_awaiting_with_gather_and_as_completed(workflow: Workflow) -> None:
    async def value(future: TaskFuture[int]) -> int:
        return await future

    async def program() -> tuple[list[int], set[int]]:
        futures = workflow.map(functions.square, range(20))
        gathered = await asyncio.gather(*map(value, futures))
        return gathered, {await ended for ended in asyncio.as_completed([*map(value, futures)])}

    gathered, ended = asyncio.run(program())
    assert gathered == [n * n for n in range(20)]
    assert ended == set(gathered)
