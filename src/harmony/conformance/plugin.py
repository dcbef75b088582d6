"""The pytest plug-in: fixtures for emulated batch systems and for the suites.

It is loaded by every pytest of an environment that has Harmony, so it imports next to nothing until it is used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from harmony.conformance.emulators import Emulator
    from harmony.conformance.engines.subject import Kept

pytest.register_assert_rewrite("harmony.conformance.engines", "harmony.conformance.executors")

#: Marks that the suites use, for a pytest that is strict and does not know them.
MARKS = (
    "mpi: starts ranks through a real mpiexec",
    "leaves_threads(reason): may leave threads behind",
    "leaves_processes(reason): may leave processes behind",
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add our options."""
    group = parser.getgroup("harmony")
    add = group.addoption
    add("--conformance-table", metavar="FILE", help="write what the conformance suites have found, as Markdown")
    add("--conformance-full", action="store_true", help="run the conformance suites with values of their full size")
    add("--engine", action="append", default=[], metavar="NAME", help=(
        "with --pyargs harmony.conformance: hold this engine to the suite, a registered name or 'module:Class'; "
        "may be given several times"
    ))  # fmt: skip
    add("--engine-option", action="append", default=[], type=option, metavar="KEY=VALUE", help=(
        "an argument for the engine's constructor: a Python value, or else a text; may be given several times"
    ))  # fmt: skip
    add("--engine-patience", type=float, default=60.0, metavar="SECONDS", help=(
        "how long its tests wait for anything; 60 by default"
    ))  # fmt: skip


def option(text: str) -> tuple[str, Any]:
    """Read ``KEY=VALUE``."""
    import argparse
    import ast

    key, is_given, value = text.partition("=")
    if not is_given or not key.isidentifier():
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE, such as workers=4")
    try:
        return key, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return key, value


def pytest_configure(config: pytest.Config) -> None:
    """Keep the table of what the suites have found."""
    import os
    import sys

    from harmony.conformance.table import Table

    if any(":" in name for name in config.getoption("--engine")) and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())  # where the module of an engine that is being written lies
    for mark in MARKS:
        config.addinivalue_line("markers", mark)
    if not config.pluginmanager.hasplugin("timeout"):
        config.addinivalue_line("markers", "timeout(seconds): needs pytest-timeout")
    config.pluginmanager.register(Table(config.getoption("--conformance-table")), "harmony-conformance-table")


@pytest.fixture(scope="class")
def kept_engine() -> Iterator[Kept]:
    """The engine that the tests of one class share, once one has asked for it; of the suite for engines."""
    from harmony.conformance.engines.subject import Kept

    kept = Kept()
    yield kept
    kept.close()


@pytest.fixture
def emulated_scheduler(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Emulator]]:
    """Start emulated batch systems: ``emulated_scheduler("slurm", queue_delay=1, nodes=2)``.

    From then on, and until the test ends, the commands of that system (``sbatch``, ``squeue``, …) are the first on the
    PATH, and jobs really run, as processes of this machine. Names are those of the executors:
    ``slurm``, ``pbs``, ``pbs_classic``, ``lsf``, ``sge``, ``cobalt``, ``flux``, ``htcondor``, ``oar``, ``nqsv``. The
    options and what can be done with the result (kill a node, preempt a job, have ``squeue`` fail, …) are those of
    `harmony.conformance.emulators.Emulator`::

        def test_my_workflow_survives_a_lost_node(emulated_scheduler):
            lab = emulated_scheduler("slurm", nodes=2)
            with harmony.jobs.JobExecutor.get_instance("slurm") as executor:
                job = harmony.jobs.Job(harmony.jobs.JobSpec("sleep", ["60"]))
                executor.submit(job)
                lab.wait_for(job.native_id, State.RUNNING)
                lab.kill_node("n1")
                ...
    """
    from contextlib import ExitStack

    from harmony.conformance.emulators import Emulator

    with ExitStack() as running:

        def start(name: str, **options: Any) -> Emulator:
            return running.enter_context(Emulator(name, tmp_path_factory.mktemp(name), **options))

        yield start
