"""Ranks: functions and commands that really run on MPI ranks, by themselves and in a workflow on the local engine."""

from __future__ import annotations

import importlib.util
import os
import signal
import stat
import subprocess
import sys
import textwrap
from collections.abc import Callable
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any

import pytest

from harmony import (
    CommandError,
    PluginError,
    RemoteTraceback,
    SerializationError,
    WalltimeExceeded,
    WorkerLost,
    Workflow,
    command,
    task,
)
from harmony.core.mpi import find_launcher
from harmony.core.ranks import RankCall
from harmony.core.task import Call
from harmony.engines.local import LocalEngine
from harmony.resources import resources

needs_mpi4py = pytest.mark.skipif(importlib.util.find_spec("mpi4py") is None, reason="needs mpi4py")
needs_launcher = pytest.mark.skipif(find_launcher() is None, reason="needs an MPI launcher, such as mpiexec")


def on_ranks(test: Any) -> Any:
    """Mark a test that starts ranks."""
    return pytest.mark.mpi(needs_mpi4py(needs_launcher(test)))


class Outcome:
    """What became of a function on ranks: `results` or `error`, and `prints`."""

    def __init__(self, call: Call, ranks: int) -> None:
        launcher = find_launcher()
        assert launcher is not None
        ranked = RankCall(call, "work")
        try:
            argv, added = launcher.wrap(ranked.argv, resources(ranks=ranks))
            run = subprocess.run(
                argv,
                env={**os.environ, **added},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=50,
                check=False,
            )
            self.results: list[Any] = []
            self.error: Any = None
            try:
                self.results = ranked.collect(run.stderr)
            except Exception as error:
                self.error = error
            self.prints = ranked.prints()
        finally:
            ranked.close()


@on_ranks
def test_results_and_prints_come_in_the_order_of_the_ranks() -> None:
    def fn(comm: Any, base: int) -> tuple[int, int, int]:
        print("rank", comm.rank, flush=True)
        if comm.rank == 0:
            subprocess.run(["echo", "from a child"], check=True)
        return comm.size, comm.rank, comm.allreduce(base + comm.rank)

    outcome = Outcome(Call(fn, (10,)), 3)
    assert outcome.results == [(3, rank, 33) for rank in range(3)]
    assert outcome.prints == "rank 0\nfrom a child\nrank 1\nrank 2\n"


@on_ranks
def test_large_arrays_go_there_and_back_and_may_be_changed() -> None:
    numpy = pytest.importorskip("numpy")

    def fn(data: Any, comm: Any) -> Any:
        data += comm.rank
        return data, data[::2]

    sent = numpy.arange(1_000_000)
    outcome = Outcome(Call(fn, (sent,)), 2)
    assert outcome.error is None
    for rank, (whole, half) in enumerate(outcome.results):
        whole[0] = 7
        assert (whole[1:] == sent[1:] + rank).all()
        assert (half == sent[::2] + rank).all()


@on_ranks
def test_one_rank_that_raises_ends_those_that_wait_for_it() -> None:
    class OddError(Exception):
        def __init__(self, one: int, two: int) -> None:
            super().__init__(f"{one} and {two}")
            self.two = two

    def fn(comm: Any) -> None:
        print("about to", comm.rank)
        if comm.rank == 1:
            raise OddError(1, 2)
        comm.Barrier()

    outcome = Outcome(Call(fn), 3)
    assert type(outcome.error) is OddError
    assert (str(outcome.error), outcome.error.two) == ("1 and 2", 2)
    assert isinstance(outcome.error.__cause__, RemoteTraceback)
    assert "on rank 1 of 3:" in str(outcome.error.__cause__)
    assert "raise OddError(1, 2)" in str(outcome.error.__cause__)
    assert "about to 1\n" in outcome.prints


@on_ranks
@pytest.mark.parametrize("how", ["exit 0", "exit 3", "kill"])
def test_a_rank_that_dies_is_lost_and_the_others_do_not_wait_for_it(how: str) -> None:
    def fn(comm: Any) -> None:
        if comm.rank == 1:
            if how == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            os._exit(int(how[-1]))
        comm.Barrier()

    outcome = Outcome(Call(fn), 2)
    assert type(outcome.error) is WorkerLost
    assert "os._exit" in str(outcome.error)


@on_ranks
def test_the_rank_that_is_lost_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fn(comm: Any) -> None:
        if comm.rank == 1:
            while not list(tmp_path.glob("*/0-of-2.result")):
                pass
            print("the last words", file=sys.stderr, flush=True)
            os._exit(9)

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    error = Outcome(Call(fn), 2).error
    assert "rank 1 of 2 ended without returning" in str(error)
    assert "the last words" in str(error)
    assert list(tmp_path.iterdir()) == []


@on_ranks
def test_a_result_that_cannot_be_pickled_names_its_rank() -> None:
    def fn(comm: Any) -> Any:
        return (x for x in [comm.rank]) if comm.rank == 1 else None

    error = Outcome(Call(fn), 2).error
    assert type(error) is SerializationError
    assert "the result of rank 1, a generator, cannot be pickled" in str(error)


@on_ranks
def test_memory_that_mpich_shares_has_no_name_to_leave_behind() -> None:
    def fn() -> list[str]:
        return [line for line in Path("/proc/self/maps").read_text().splitlines() if "/mpich_shm_" in line]

    outcome = Outcome(Call(fn), 2)
    assert outcome.error is None
    assert all(line.endswith("(deleted)") for lines in outcome.results for line in lines)


@on_ranks
def test_ranks_that_do_not_see_each_other_are_refused() -> None:
    ranked = RankCall(Call(len, ("ab",)), "work")
    try:  # no launcher, so that MPI starts alone, as it does under the launcher of another MPI
        env = {**os.environ, "HARMONY_RANKS": "3", "HARMONY_LAUNCHER": "/opt/mpiexec"}
        assert subprocess.run(ranked.argv, env=env, capture_output=True, timeout=50, check=False).returncode == 1
        with pytest.raises(PluginError, match=r"3 ranks were started by /opt/mpiexec and mpi4py sees 1"):
            ranked.collect()
    finally:
        ranked.close()


@needs_mpi4py
def test_the_folder_is_private_and_goes_away() -> None:
    ranked = RankCall(Call(len, ("ab",)), "work")
    folder = Path(ranked.argv[-1])
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    with pytest.raises(WorkerLost, match=r"its ranks ended and none returned(?s:.)*why it ended"):
        ranked.collect("why it ended")
    ranked.close()
    ranked.close()
    assert not folder.exists()


@needs_mpi4py
def test_an_argument_that_cannot_be_pickled_is_refused_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(SerializationError, match="an argument of work cannot be pickled"):
        RankCall(Call(len, ((x for x in [1]),)), "work")
    assert list(tmp_path.iterdir()) == []


def test_without_mpi4py_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    with pytest.raises(PluginError, match=r"pip install 'harmony-workflows\[mpi\]'"):
        RankCall(Call(len, ("ab",)), "work")


# -- in a workflow --------------------------------------------------------------------------------------


@on_ranks
def test_functions_and_commands_on_ranks_are_tasks_like_others(tmp_path: Path) -> None:
    @task(ranks=3, directory=str(tmp_path), environment={"UNIT": "kg"})
    def weigh(comm: Any, weights: list[int]) -> Any:
        print("rank", comm.rank)
        return comm.allreduce(weights[comm.rank]), os.environ["UNIT"], os.path.basename(os.getcwd())

    @command(ranks=2)
    def show(text: str) -> list[str]:
        program = "import sys; from mpi4py import MPI; sys.stdout.write(f'{MPI.COMM_WORLD.size} {sys.argv[1:]}\\n')"
        return [sys.executable, "-c", program, text, "--bind-to", ":"]

    @task
    def total(parts: list[Any]) -> int:
        return sum(part[0] for part in parts)

    @task(ranks=1)
    def alone(comm: Any) -> Any:
        return comm.size

    with Workflow("ranks", engine=LocalEngine(cores=3), show_prints=False) as workflow:
        weighed = weigh(weights=[1, 2, 3])
        summed = total(weighed)
        shown = show("a b")
        single = alone()
        assert weighed.result() == [(6, "kg", tmp_path.name)] * 3
        assert weighed.stdout == "rank 0\nrank 1\nrank 2\n"
        assert summed.result() == 18
        assert shown.result().stdout.splitlines() == ["2 ['a b', '--bind-to', ':']"] * 2
        assert single.result() == [1]
        assert workflow.report().failures == ()


@on_ranks
def test_each_rank_sees_its_own_gpus() -> None:
    @task(ranks=2, gpus=2)
    def visible() -> Any:
        return os.environ["CUDA_VISIBLE_DEVICES"]

    with Workflow("gpus", engine=LocalEngine(cores=2, gpus=4)):
        assert visible().result() == ["0,1", "2,3"]


@on_ranks
def test_failures_of_ranks_are_those_of_tasks() -> None:
    @task(ranks=2)
    def wrong(comm: Any) -> None:
        if comm.rank == 1:
            raise LookupError("not there")
        comm.Barrier()

    @command(ranks=2)
    def fails() -> str:
        return "echo the reason >&2; exit 7"

    @task(ranks=2, walltime=1)
    def endless(comm: Any) -> None:
        while comm.rank == 0:
            pass
        comm.Barrier()

    with Workflow("failures", engine=LocalEngine(cores=2)):
        failures = [work().exception() for work in (wrong, fails, endless)]
    assert [type(failure) for failure in failures] == [LookupError, CommandError, WalltimeExceeded]
    assert isinstance(failures[1], CommandError)
    assert failures[1].exit_code == 7
    assert "the reason" in failures[1].stderr


@on_ranks
def test_cancelling_ends_ranks_also_those_that_ignore_sigterm(tmp_path: Path) -> None:
    @task(ranks=2)
    def stubborn(comm: Any) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        comm.Barrier()
        (tmp_path / str(comm.rank)).touch()
        while True:
            signal.pause()

    with Workflow("cancel", engine=LocalEngine(cores=2)):
        future = stubborn()
        wait_for(tmp_path / "0", tmp_path / "1", given_up=future.done)
        assert future.cancel()
        with pytest.raises(CancelledError):
            future.result()


@on_ranks
def test_ranks_end_with_their_driver(tmp_path: Path) -> None:
    program = tmp_path / "driver.py"
    program.write_text(
        textwrap.dedent(f"""
            import pathlib, signal
            from harmony import Workflow, task
            from harmony.engines.local import LocalEngine

            @task(ranks=2)
            def forever(comm):
                pathlib.Path({str(tmp_path)!r}, str(comm.rank)).touch()
                while True:
                    signal.pause()

            with Workflow("driver", engine=LocalEngine(cores=2)):
                forever().result()
        """),
        encoding="utf-8",
    )
    with subprocess.Popen([sys.executable, program], env={**os.environ, "TMPDIR": str(tmp_path)}) as driver:
        try:
            wait_for(tmp_path / "0", tmp_path / "1", given_up=lambda: driver.poll() is not None)
        finally:
            driver.kill()  # that nothing is left is what every test is held to


def wait_for(*paths: Path, given_up: Callable[[], bool]) -> None:
    """Wait until all of these are there."""
    while not all(path.exists() for path in paths):
        assert not given_up()
        os.sched_yield()
