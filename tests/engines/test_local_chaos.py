"""Local engine: everything at once, at random; each task ends as it must, and all that was taken is given back."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from concurrent.futures import CancelledError
from typing import Any

import pytest
from tests.engines.rig import PATIENCE, identity, workers

from harmony import Workflow, command, task
from harmony.conformance.engines import odd
from harmony.core.future import TaskFuture
from harmony.engines.local import LocalEngine
from harmony.errors import CommandError, DependencyError, WalltimeExceeded, WorkerLost


def slow(value: Any, seconds: float) -> Any:
    time.sleep(seconds)
    return value


def loop(_: Any) -> None:
    while True:
        pass


def first(value: Any, *_: Any) -> Any:
    return value


class Chaos:
    """Submits tasks of every kind, and knows how each may end."""

    def __init__(self, wf: Workflow, seed: int) -> None:
        self.wf = wf
        self.chance = random.Random(seed)
        self.expected: list[tuple[TaskFuture[Any], Any, tuple[type[BaseException], ...]]] = []

    def add(self, number: int) -> None:
        """Submit one task."""
        kinds: dict[Callable[[int, dict[str, Any]], None], float] = {
            self._value: 50, self._large: 3, self._error: 3, self._death: 1, self._too_long: 1,
            self._command: 5, self._bad_command: 2, self._long_command: 1, self._child: 5,
        }  # fmt: skip
        (kind,) = self.chance.choices(list(kinds), list(kinds.values()))
        kind(number, self._options())

    def _options(self) -> dict[str, Any]:
        choices: dict[str, list[Any]] = {
            "cores": [2, 3], "gpus": [1, 2], "memory": ["100MB", "600MB"], "environment": [{"A": "1"}],
        }  # fmt: skip
        return {key: self.chance.choice(values) for key, values in choices.items() if self.chance.random() < 0.1}

    def _expect(self, future: TaskFuture[Any], value: Any, *errors: type[BaseException]) -> None:
        self.expected.append((future, value, (*errors, WorkerLost)))

    def _value(self, number: int, options: dict[str, Any]) -> None:
        if self.chance.random() < 0.2:
            self._expect(task(**options)(slow)(number, self.chance.random() * 0.02), number)
        else:
            self._expect(task(**options)(identity)(number) if options else self.wf.submit(lambda: number), number)

    def _large(self, number: int, options: dict[str, Any]) -> None:
        value = bytearray(number.to_bytes(4, "big")) * self.chance.randint(1, 500_000)
        self._expect(task(**options)(identity)(value), value)

    def _error(self, number: int, options: dict[str, Any]) -> None:
        self._expect(task(retries=1, **options)(odd.throw)(odd.WantsMore, number, where="x"), odd, odd.WantsMore)

    def _death(self, number: int, options: dict[str, Any]) -> None:
        self._expect(task(**options)(self.chance.choice([os._exit, signal.raise_signal]))(signal.SIGKILL), odd)

    def _too_long(self, number: int, options: dict[str, Any]) -> None:
        self._expect(task(walltime=0.1, **options)(loop)(number), odd, WalltimeExceeded)

    def _command(self, number: int, options: dict[str, Any]) -> None:
        self._expect(command(**options)(lambda: ["echo", number])(), f"{number}\n")

    def _bad_command(self, number: int, options: dict[str, Any]) -> None:
        self._expect(command(**options)(lambda: "exit 4")(), odd, CommandError)

    def _long_command(self, number: int, options: dict[str, Any]) -> None:
        self._expect(command(walltime=0.1, **options)(lambda: "sleep 99 & sleep 99")(), odd, WalltimeExceeded)

    def _child(self, number: int, options: dict[str, Any]) -> None:
        parents = [future for future, _, _ in self.chance.sample(self.expected, min(2, len(self.expected)))]
        self._expect(task(**options)(first)(number, *parents), number, DependencyError)

    def disturb(self) -> None:
        """Now and then cancel some, or kill a worker."""
        if self.chance.random() < 0.05:
            for future, _, _ in self.chance.sample(self.expected, min(3, len(self.expected))):
                future.cancel()
        if self.chance.random() < 0.01 and (alive := sorted(self._ready & workers())):
            os.kill(self.chance.choice(alive), signal.SIGKILL)

    @property
    def _ready(self) -> set[int]:
        return {self.wf.submit(os.getpid).result(PATIENCE)}

    def check(self) -> None:
        """Each task has ended in one of its ways."""
        for future, value, errors in self.expected:
            try:
                error = future.exception(PATIENCE)
            except CancelledError:
                continue
            if error is not None:
                assert isinstance(error, errors), (future, error)
            else:
                assert getattr(future.result(), "stdout", future.result()) == value


@pytest.mark.parametrize("workers_there", [1, 2, 3])
def test_everything_at_once(workers_there: int, scale: Callable[[int, int], int]) -> None:
    wf = Workflow(engine=LocalEngine(workers=workers_there, cores=4, gpus=2, memory="1GB"), show_prints=False).start()
    try:
        chaos = Chaos(wf, workers_there)
        for number in range(scale(300, 1500)):
            chaos.add(number)
            chaos.disturb()
        chaos.check()
        whole = task(cores=4, gpus=2, memory="1GB")(identity)(1)
        assert whole.result(PATIENCE) == 1  # so nothing is taken any more
    finally:
        wf.close()
