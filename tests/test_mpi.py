"""MPI: the launcher that is found, its command line, and the arguments that a rank is given. Nothing runs here."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from harmony.core.mpi import Launcher, find_launcher
from harmony.core.rank_program import _given
from harmony.core.task import Call
from harmony.resources import Resources, resources

HYDRA = Launcher("/opt/mpich/bin/mpiexec", "mpich", "4.3.0")
OPENMPI = Launcher("/opt/ompi/bin/mpirun", "openmpi", "5.0.11")
OTHER = Launcher("/opt/x/bin/mpiexec", "other", "")
FOUR = resources(ranks=4)


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment with nothing of MPI or a scheduler in it."""
    monkeypatch.setattr(os, "environ", {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")})
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    return monkeypatch


# -- the launcher ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("told", "flavour", "version"),
    [
        ("HYDRA build details:\n    Version:                                 5.0.2\n", "mpich", "5.0.2"),
        ("Intel(R) MPI Library for Linux* OS, Version 2021.10 Build 20230619\n", "mpich", "2021.10"),
        ("mpiexec (Open MPI) 5.0.11\n\nReport bugs to https://www.open-mpi.org/\n", "openmpi", "5.0.11"),
        ("mpiexec (OpenRTE) 4.1.4\n\nReport bugs to http://www.open-mpi.org/\n", "openmpi", "4.1.4"),
        ("some launcher\n", "other", ""),
    ],
)
def test_what_a_launcher_says_tells_its_flavour(told: str, flavour: str, version: str, tmp_path: Path) -> None:
    program(tmp_path / "mpiexec", f"cat <<'END'\n{told}END\n")
    assert find_launcher(str(tmp_path)) == Launcher(str(tmp_path / "mpiexec"), flavour, version)  # type: ignore[arg-type]


def test_one_that_does_not_work_is_passed_over(tmp_path: Path) -> None:
    program(tmp_path / "a" / "mpiexec", "echo 'cannot open shared object file' >&2; exit 127\n")
    program(tmp_path / "b" / "mpirun", "echo 'mpirun (Open MPI) 4.1.4'\n")
    program(tmp_path / "c" / "mpiexec", "echo 'mpiexec (Open MPI) 5.0.0'\n")
    found = find_launcher(os.pathsep.join(str(tmp_path / name) for name in ("none", "a", "b", "c")))
    assert found == Launcher(str(tmp_path / "b" / "mpirun"), "openmpi", "4.1.4")


def test_no_launcher_is_none(tmp_path: Path) -> None:
    assert find_launcher(str(tmp_path)) is None


def program(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}")
    path.chmod(0o755)


@pytest.mark.usefixtures("bare")
@pytest.mark.parametrize(
    ("launcher", "asked", "options"),
    [
        (HYDRA, FOUR, []),
        (HYDRA, Resources(node_count=2, processes_per_node=3), ["-ppn", "3"]),
        (HYDRA, resources(ranks=5, nodes=2), ["-ppn", "3"]),
        (OPENMPI, FOUR, ["--bind-to", "none", "--map-by", ":OVERSUBSCRIBE"]),
        (OPENMPI, resources(ranks=4, nodes=2), ["--bind-to", "none", "--map-by", "ppr:2:node:OVERSUBSCRIBE"]),
        (OTHER, FOUR, []),
    ],
)
def test_command_lines(launcher: Launcher, asked: Resources, options: list[str]) -> None:
    argv, _ = launcher.wrap(["lmp", "input file"], asked)
    assert argv == (launcher.path, *options, "-n", str(asked.ranks), "lmp", "input file")


def test_open_mpi_is_told_when_it_runs_as_root(bare: pytest.MonkeyPatch) -> None:
    bare.setattr(os, "geteuid", lambda: 0)
    assert OPENMPI.wrap(["lmp"], FOUR)[0][1] == "--allow-run-as-root"
    assert "--allow-run-as-root" not in HYDRA.wrap(["lmp"], FOUR)[0]


@pytest.mark.usefixtures("bare")
def test_arguments_that_a_launcher_would_take_for_its_own_are_hidden() -> None:
    hidden = ("/bin/sh", "-c", "exec lmp --bind-to 'a b' :")
    assert OPENMPI.wrap(["lmp", "--bind-to", "a b", ":"], FOUR)[0][-3:] == hidden
    assert HYDRA.wrap(["lmp", "--bind-to", "a b", ":"], FOUR)[0][-3:] == hidden
    assert HYDRA.wrap(["lmp", "--bind-to", "a b"], FOUR)[0][-3:] == ("lmp", "--bind-to", "a b")


@pytest.mark.usefixtures("bare")
def test_the_environment_that_is_added() -> None:
    added = HYDRA.wrap(["lmp"], resources(ranks=4, cores=2, gpus=1))[1]
    assert (added["HARMONY_RANKS"], added["HARMONY_GPUS_PER_RANK"], added["OMP_NUM_THREADS"]) == ("4", "1", "2")
    assert (added["HYDRA_LAUNCHER"], added["HARMONY_LAUNCHER"]) == ("fork", HYDRA.path)
    across = HYDRA.wrap(["lmp"], resources(ranks=4, nodes=2))[1]
    assert "HYDRA_LAUNCHER" not in across
    assert "UCX_NET_DEVICES" not in across


def test_what_the_user_has_set_is_kept(bare: pytest.MonkeyPatch) -> None:
    for name in ("OMP_NUM_THREADS", "HYDRA_LAUNCHER", "UCX_TLS", "OMPI_MCA_btl_tcp_if_exclude", "OMPI_MCA_pml"):
        bare.setitem(os.environ, name, "mine")
    argv, added = OPENMPI.wrap(["lmp"], FOUR)
    assert argv[0] == OPENMPI.path
    assert not {"OMP_NUM_THREADS", "UCX_NET_DEVICES", "OMPI_MCA_btl_tcp_if_include"} & set(added)
    assert "HYDRA_LAUNCHER" not in HYDRA.wrap(["lmp"], FOUR)[1]


@pytest.mark.parametrize("nodes", [1, 2])
def test_what_an_outer_launch_or_an_allocation_has_set_is_taken_out(bare: pytest.MonkeyPatch, nodes: int) -> None:
    outer = ["OMPI_COMM_WORLD_RANK", "OMPI_MCA_ess_base_jobid", "PMIX_RANK", "PMI_FD", "MPI_LOCALRANKID"]
    allocation = ["SLURM_JOB_ID", "SLURM_NTASKS", "SLURM_STEP_NODELIST", "PBS_NODEFILE"]
    kept = ["SLURM_ARRAY_TASK_ID", "SLURM_SUBMIT_DIR", "PBS_O_WORKDIR", "OMPI_MCA_pml", "MPICH_GPU_SUPPORT_ENABLED"]
    for name in (*outer, *allocation, *kept):
        bare.setitem(os.environ, name, "1")
    argv, _ = HYDRA.wrap(["lmp"], resources(ranks=4, nodes=nodes))
    front = argv[: argv.index(HYDRA.path)]
    assert front[0] == "/usr/bin/env"
    assert set(front[1::2]) == {"-u"}
    assert front[2::2] == tuple(sorted(outer + (allocation if nodes == 1 else [])))


# -- the communicator -----------------------------------------------------------------------------------


def first(comm: Any, x: int) -> Any:
    return comm, x


def last(x: int, comm: Any = None) -> Any:
    return comm, x


def only_by_name(*x: int, comm: Any) -> Any:
    return comm, *x


def without(x: int) -> Any:
    return "none", x


@pytest.mark.parametrize(
    ("call", "result"),
    [
        (Call(first, (5,)), ("world", 5)),
        (Call(first, (), {"x": 5}), ("world", 5)),
        (Call(last, (5,)), ("world", 5)),
        (Call(only_by_name, (5,)), ("world", 5)),
        (Call(without, (5,)), ("none", 5)),
        (Call(divmod, (7, 2)), (3, 1)),
        (Call(last, (5,), {"comm": None}), (None, 5)),
        (Call(last, (5, "mine")), ("mine", 5)),
        (Call(first, ("mine", 5)), ("mine", 5)),
    ],
)
def test_the_communicator_goes_where_the_caller_left_it_out(call: Call, result: Any) -> None:
    fn, args, kwargs = _given(call, "world")
    assert fn(*args, **kwargs) == result
