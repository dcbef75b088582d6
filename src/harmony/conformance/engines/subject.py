"""What is held to the suite: an engine by its name, and how it is made; and the fixtures that all tests share."""

from __future__ import annotations

import importlib
import inspect
import os
import pickle
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import cloudpickle
import pytest

from harmony import plugins
from harmony.conformance.engines import processes
from harmony.conformance.engines.driver import Driver
from harmony.conformance.engines.gates import PATIENCE, Gate, News
from harmony.conformance.engines.processes import Program
from harmony.core.engine import Engine
from harmony.errors import ConfigError

Start = Callable[..., AbstractContextManager[Program]]


@dataclass(frozen=True)
class Subject:
    """An engine under test: `engine` is a name that is registered, or "module:Class" (or "module:function").

    It is called with the `options`, and with ``workers=2`` where it takes workers and the options have none. With
    `shares` one engine is started for all tests that do it no harm. `patience`, in seconds, is for how long a test
    waits for anything. With `full` data and numbers have their full size.
    """

    engine: str
    options: Mapping[str, Any] = field(default_factory=dict)
    shares: bool = False
    patience: float = PATIENCE
    full: bool = False

    def make(self) -> Engine:
        """Return a new engine, not started."""
        maker = self._maker()
        options = dict(self.options)
        if "workers" not in options and "workers" in inspect.signature(maker).parameters:
            options["workers"] = 2
        made = maker(**options)
        if not isinstance(made, Engine):
            raise ConfigError(f"engine={self.engine!r} makes {made!r}, which lacks some of the methods of an Engine")
        return made

    def _maker(self) -> Callable[..., Any]:
        module, _, name = self.engine.partition(":")
        if not name:
            loaded: Callable[..., Any] = plugins.load(plugins.ENGINES, self.engine)
            return loaded
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
        return found  # type: ignore[no-any-return]

    def drive(self) -> Driver:
        """Start a new engine."""
        return Driver(self.make(), self.patience)

    def save(self, path: Path) -> str:
        """Write this to a file, for a driver in another process."""
        path.write_bytes(cloudpickle.dumps(self))
        return str(path)

    @staticmethod
    def load(path: str) -> Subject:
        """Read what `save` has written."""
        subject = pickle.loads(Path(path).read_bytes())  # noqa: S301  we have written it
        assert isinstance(subject, Subject)
        return subject

    @property
    def title(self) -> str:
        """What a table calls it."""
        return self.engine.rpartition(":")[2]


class Kept:
    """The one engine that the tests of a class share, from the first that asks for it on."""

    def __init__(self) -> None:
        self._driver: Driver | None = None
        self._subject: Subject | None = None
        self._before: set[int] = set()

    def lend(self, subject: Subject) -> Driver:
        """Return the driver of it."""
        if self._driver is None or self._subject != subject:
            self.close()
            self._before = processes.children(os.getpid())
            self._driver, self._subject = subject.drive(), subject
        return self._driver

    def take_back(self) -> None:
        """Have all end that a test has left; an engine that cannot is not used again."""
        if self._driver is not None and not self._driver.settle():
            self.close()
            pytest.fail("what the test has left in the engine did not end when it was cancelled", pytrace=False)

    def close(self) -> None:
        """Close it, and see that it leaves no process."""
        driver, self._driver = self._driver, None
        if driver is not None:
            driver.close()
            nothing_new(self._before, driver.patience)


def nothing_new(before: set[int], patience: float) -> None:
    """Wait until this process has no other children than before."""
    for process in processes.children(os.getpid()) - before:
        if not processes.is_pythons(process):
            processes.wait_gone(process, patience)


class EngineTests:
    """The fixtures. A subclass says which engine it is about, or has a fixture ``subject``, which returns a `Subject`.

    `limit` is for how many seconds one test may run, where pytest-timeout is installed; None leaves it as it is.
    """

    conformance: ClassVar[str] = "engines"
    level: ClassVar[str] = ""
    engine: ClassVar[str] = ""
    options: ClassVar[Mapping[str, Any]] = {}
    shares: ClassVar[bool] = False
    patience: ClassVar[float] = PATIENCE
    limit: ClassVar[float | None] = None

    @pytest.fixture
    def subject(self, request: pytest.FixtureRequest) -> Subject:
        """What is held to the suite."""
        return Subject(self.engine, self.options, self.shares, self.patience, is_full(request.config))

    @pytest.fixture
    def driver(self, subject: Subject, kept_engine: Kept) -> Iterator[Driver]:
        """An engine that works; the test does it no harm."""
        if subject.shares:
            yield kept_engine.lend(subject)
            kept_engine.take_back()
        else:
            made = subject.drive()
            yield made
            made.close()

    @pytest.fixture
    def fresh(self, subject: Subject, kept_engine: Kept) -> Iterator[Callable[[], Driver]]:
        """Starts engines that are the test's own; they are closed in the end."""
        kept_engine.close()
        with ExitStack() as made:

            def start() -> Driver:
                driver = subject.drive()
                made.callback(driver.close)
                return driver

            yield start

    @pytest.fixture
    def gate(self, tmp_path: Path) -> Iterator[Gate]:
        """A gate that is closed until the test opens it, or ends."""
        gate = Gate(tmp_path / "gate")
        yield gate
        gate.open()

    @pytest.fixture
    def news(self, tmp_path: Path, subject: Subject) -> Iterator[News]:
        """What the tasks of a test tell."""
        news = News(tmp_path / "news", subject.patience)
        yield news
        news.close()

    @pytest.fixture
    def start(self, subject: Subject, kept_engine: Kept, tmp_path: Path) -> Start:
        """What starts a driver in a process of its own, and has it act out one of `scenarios`."""
        kept_engine.close()
        saved = subject.save(tmp_path / "subject")

        def program(scenario: str, *words: object) -> AbstractContextManager[Program]:
            argv = ["-m", "harmony.conformance.engines.scenarios", saved, scenario, *map(str, words)]
            return processes.started(argv, tmp_path, subject.patience)

        return program


def is_full(config: pytest.Config) -> bool:
    """True if the suite is asked for at its full size."""
    return bool(config.getoption("--conformance-full", False) or config.getoption("--slow", False))


def settled_threads(before: set[threading.Thread], patience: float) -> int:
    """Wait for the threads that are not in `before`; return how many live on."""
    new = [thread for thread in threading.enumerate() if thread not in before]
    for thread in new:
        thread.join(patience / 10)
    return sum(thread.is_alive() for thread in new)
