"""The pytest plug-in: fixtures for emulated batch systems and for the suites.

It is loaded by every pytest of an environment that has Harmony, so it imports next to nothing until it is used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from harmony.conformance.emulators import Emulator

pytest.register_assert_rewrite("harmony.conformance.executors")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add our one option."""
    parser.getgroup("harmony").addoption(
        "--conformance-table", metavar="FILE", help="write what the conformance suites have found, as a Markdown table"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Keep the table, if it is asked for."""
    path = config.getoption("--conformance-table")
    if path:
        from harmony.conformance.table import Table

        config.pluginmanager.register(Table(path), "harmony-conformance-table")


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
