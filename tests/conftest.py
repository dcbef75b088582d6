"""What holds for every test: it leaves no thread and no process behind, and finds the environment's programs."""

from __future__ import annotations

import gc
import os
import select
import signal
import sysconfig
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import pytest
from tests.labs.sge import sge_lab
from tests.labs.slurm import slurm_lab

T = TypeVar("T")

#: How long the fixtures may take to end after a test that took too long itself.
TEARDOWN_SECONDS = 30.0
#: Until a real batch system runs, when its packages come first; the scripts in tests/labs limit each of their steps.
INSTALLATION = 360

#: Every descendant inherits this, so that one whose parent has died is recognised too.
TAG = f"HARMONY_TEST_RUN={os.getpid()}"

#: The standard library starts these once, for as long as the program lives.
SERVERS = ("multiprocessing.resource_tracker", "multiprocessing.forkserver")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="run fault and scale tests at their full size as well")
    parser.addoption(
        "--patience", type=float, default=5.0, help="seconds that a test's threads and processes may linger"
    )


def pytest_configure() -> None:
    name, _, value = TAG.partition("=")
    os.environ[name] = value
    # Tests that want a store name one; with HARMONY_TEST_STORE=DIRECTORY all the others have one too.
    os.environ["HARMONY_STORE"] = os.environ.get("HARMONY_TEST_STORE", "none")
    scripts = sysconfig.get_path("scripts")  # mpiexec and harmony, also when the environment is not activated
    if scripts not in os.environ["PATH"].split(os.pathsep):
        os.environ["PATH"] = scripts + os.pathsep + os.environ["PATH"]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--slow"):
        skip = pytest.mark.skip(reason="needs --slow")
        for item in items:
            if item.get_closest_marker("slow"):
                item.add_marker(skip)
    for lab in ("slurm_environment", "sge_environment"):
        users = (item for item in items if lab in getattr(item, "fixturenames", ()))
        first = next((item for item in users if not item.get_closest_marker("skip")), None)
        if first is not None:
            first.add_marker(pytest.mark.timeout(INSTALLATION), append=False)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown() -> Iterator[None]:
    """Limit the fixtures too: the one alarm of pytest-timeout is spent when it has failed the test itself."""
    if signal.getitimer(signal.ITIMER_REAL)[0]:
        return (yield)
    before = signal.signal(signal.SIGALRM, lambda *_: pytest.fail("the fixtures took too long to end"))
    signal.setitimer(signal.ITIMER_REAL, TEARDOWN_SECONDS, TEARDOWN_SECONDS)
    try:
        return (yield)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="session")
def slurm_environment() -> Iterator[dict[str, str]]:
    """The environment variables by which a command finds a real Slurm, started when the first test wants it."""
    with slurm_lab() as environment:
        yield environment


@pytest.fixture(scope="session")
def sge_environment() -> Iterator[dict[str, str]]:
    """The environment variables by which a command finds a real Grid Engine."""
    with sge_lab() as environment:
        yield environment


@pytest.fixture
def scale(request: pytest.FixtureRequest) -> Callable[[T, T], T]:
    """``scale(2_000, 100_000)`` is the first in the short form of a test and the second with ``--slow``."""
    slow = bool(request.config.getoption("--slow"))
    return lambda short, full: full if slow else short


@pytest.fixture(autouse=True)
def _leaves_nothing_behind(request: pytest.FixtureRequest) -> Iterator[None]:
    threads, processes = set(threading.enumerate()), ours()
    yield
    deadline = time.monotonic() + request.config.getoption("--patience")
    left: list[str] = []
    if not request.node.get_closest_marker("leaves_threads"):
        left += [f"thread {thread.name}" for thread in wait_for_threads(threads, deadline)]
    if not request.node.get_closest_marker("leaves_processes"):
        left += [f"process {describe(process)}" for process in wait_for_processes(processes, deadline)]
    if left:
        pytest.fail(f"the test left behind: {', '.join(left)}", pytrace=False)


def wait_for_threads(before: set[threading.Thread], deadline: float) -> list[threading.Thread]:
    """Join the threads that are not in `before`; return those that live on."""
    new = [thread for thread in threading.enumerate() if thread not in before]
    for thread in new:
        thread.join(max(0.0, deadline - time.monotonic()))
    return [thread for thread in new if thread.is_alive()]


def wait_for_processes(before: set[int], deadline: float) -> set[int]:
    """Wait until the processes of ours that are not in `before` end; return those that live on or lie unreaped."""
    left = ours() - before
    if not left:
        return left
    gc.collect()  # a pool that was dropped rather than closed reaps its processes when it is collected
    for process in left:
        with suppress(ProcessLookupError):
            ended = os.pidfd_open(process)
            try:
                select.select([ended], [], [], max(0.0, deadline - time.monotonic()))
            finally:
                os.close(ended)
    return left & ours()


def ours() -> set[int]:
    """This process's children, and every process that carries its tag."""
    found = set()
    tag = os.fsencode(TAG)
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it ended meanwhile, or is another user's
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == os.getpid() or tag in (entry / "environ").read_bytes().split(b"\0"):
                found.add(int(entry.name))
    return {process for process in found - {os.getpid()} if not any(name in command_line(process) for name in SERVERS)}


def command_line(process: int) -> str:
    """The program and arguments of a process, or "" when it is gone or unreaped."""
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""


def describe(process: int) -> str:
    """A process, for a person."""
    return f"{process} ({command_line(process) or 'ended, but nobody waited for it'})"
