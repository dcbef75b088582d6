"""Launchers: their command lines as text, and the real ones that are installed here."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.jobs.running import Bench, command

from harmony.errors import InvalidJobException, PluginError
from harmony.jobs.launcher import Launcher
from harmony.jobs.resource_spec import ResourceSpecV1
from harmony.jobs.spec import JobSpec

SHAPE = ResourceSpecV1(node_count=2, processes_per_node=3, cpu_cores_per_process=4, gpu_cores_per_process=1)
ONE = ResourceSpecV1()

COMMANDS = {
    "srun": (
        "srun --nodes=2 --ntasks=6 --ntasks-per-node=3 --cpus-per-task=4 --gpus-per-task=1",
        "srun --nodes=1 --ntasks=1 --ntasks-per-node=1",
    ),
    "mpirun": ("mpirun -n 6", "mpirun -n 1"),
    "mpiexec": ("mpiexec -n 6", "mpiexec -n 1"),
    "aprun": ("aprun -n 6 -N 3 -d 4", "aprun -n 1 -N 1"),
    "jsrun": (
        "jsrun --nrs=6 --tasks_per_rs=1 --cpu_per_rs=4 --gpu_per_rs=1 --rs_per_host=3 --bind=packed:4",
        "jsrun --nrs=1 --tasks_per_rs=1 --cpu_per_rs=1 --gpu_per_rs=0 --rs_per_host=1 --bind=packed:1",
    ),
    "ibrun": ("ibrun -n 6 -o 0", "ibrun -n 1 -o 0"),
    "pals": ("mpiexec -n 6 --ppn 3 --depth 4 --cpu-bind depth", "mpiexec -n 1 --ppn 1"),
    "flux": ("flux run --nodes=2 --ntasks=6 --cores-per-task=4 --gpus-per-task=1", "flux run --nodes=1 --ntasks=1"),
}


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def text(name: str, spec: JobSpec) -> str:
    return Launcher.get_instance(name).shell_command(spec, "prog 'a b'")


def test_all_that_are_promised_are_there() -> None:
    assert {*COMMANDS, "single", "multiple"} <= Launcher.get_launcher_names()


def test_unknown_launcher_is_said() -> None:
    with pytest.raises(PluginError, match="there is no launcher 'jrun'; did you mean 'jsrun'"):
        Launcher.get_instance("jrun")


@pytest.mark.parametrize("name", COMMANDS)
def test_shape_becomes_options(name: str) -> None:
    for resources, expected in zip((SHAPE, ONE), COMMANDS[name], strict=True):
        said = text(name, JobSpec("prog", ["a b"], resources=resources, launcher=name))
        assert f"{expected} " in said
        assert said.endswith("prog 'a b'")


@pytest.mark.parametrize("name", COMMANDS)
def test_defect_options_cannot_be_passed_to_a_launcher(name: str) -> None:
    options = ["--label", "x y", "$(z)"]
    spec = JobSpec("prog", ["a b"], resources=SHAPE, launcher=name, launcher_options=options)
    assert f"{COMMANDS[name][0]} --label 'x y' '$(z)' " in text(name, spec)
    words = Launcher.get_instance(name).get_launch_command(spec)
    assert words == [*COMMANDS[name][0].split(), *options, "prog", "a b"]


@pytest.mark.parametrize("name", ["single", "multiple"])
def test_launcher_without_options_refuses_them(name: str) -> None:
    with pytest.raises(InvalidJobException, match=rf"launcher_options=\['-x'\]: the launcher '{name}' has no options"):
        text(name, JobSpec("prog", launcher=name, launcher_options=["-x"]))


def test_multiple_starts_every_copy_on_the_first_node() -> None:
    assert "psij_multiple 6 prog" in text("multiple", JobSpec("prog", resources=SHAPE, launcher="multiple"))


def test_mpirun_carries_the_jobs_variables_to_other_nodes() -> None:
    spec = JobSpec("prog", resources=SHAPE, environment={"A": "1"})
    expected = 'psij_mpirun mpirun -n 6 env PSIJ_JOB_ID="$PSIJ_JOB_ID" PSIJ_NODEFILE="$PSIJ_NODEFILE" A="$A" prog'
    assert expected in text("mpirun", spec)


def test_mpirun_leaves_binding_to_mpi_on_whole_nodes() -> None:
    whole = JobSpec("prog", resources=ResourceSpecV1(process_count=2, exclusive_node_use=True))
    assert "binding" not in text("mpirun", whole)
    assert "binding" in text("mpirun", JobSpec("prog", resources=ResourceSpecV1(process_count=2)))


def test_mpirun_tells_mpi_the_nodes_unless_slurm_does(bench: Bench, tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "mpirun").write_text("#!/bin/sh\nprintf '%s\\n' \"$@\"\n")
    (tools / "mpirun").chmod(0o755)
    environment = {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}"}
    environment.pop("SLURM_JOB_ID", None)
    spec = JobSpec("prog", ["a b"], resources=SHAPE, launcher="mpirun", stdout_path="out")
    nodes = {"preamble": ["psij_nodes() { echo n1; echo n2; }"]}
    assert bench.run(spec, environment, **nodes).end == (0, "done")
    said = (bench.home / "out").read_text().splitlines()
    assert said[:5] == ["-machinefile", f"{bench.place.directory}/job-1.nodes", "-n", "6", "env"]
    assert said[-2:] == ["prog", "a b"]
    assert bench.run(spec, {**environment, "SLURM_JOB_ID": "1"}, **nodes).end == (0, "done")
    assert (bench.home / "out").read_text().splitlines()[:3] == ["-n", "6", "env"]


# -- real MPI


def _installed() -> list[str]:
    """The directories on the PATH that have an MPI."""
    folders = [folder for folder in os.get_exec_path() if os.access(os.path.join(folder, "mpiexec"), os.X_OK)]
    return list(dict.fromkeys(os.path.realpath(folder) for folder in folders))


@pytest.fixture(params=_installed() or [""], ids=lambda folder: Path(folder).parent.name)
def mpi(request: pytest.FixtureRequest) -> dict[str, str]:
    """An environment in which this MPI stands first on the PATH."""
    if not request.param:
        pytest.skip("no MPI is installed")
    environment = {**os.environ, "PATH": f"{request.param}:{os.environ['PATH']}"}
    if os.geteuid() == 0:  # Open MPI's own condition, which a user meets in the same way
        environment |= {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    return environment


RANK = 'echo "rank ${OMPI_COMM_WORLD_RANK-$PMI_RANK} of ${OMPI_COMM_WORLD_SIZE-$PMI_SIZE}, A=$A"; '


@pytest.mark.parametrize("name", ["mpirun", "mpiexec"])
def test_mpi_starts_more_processes_than_there_are_cores(bench: Bench, mpi: dict[str, str], name: str) -> None:
    count = (os.cpu_count() or 1) + 2
    spec = JobSpec("sh", ["-c", RANK], launcher=name, stdout_path="out", stderr_path="err", environment={"A": "1 2"})
    spec.resources = ResourceSpecV1(process_count=count)
    ran = bench.run(spec, mpi)
    assert ran.end == (0, "done"), (bench.home / "err").read_text()
    said = sorted((bench.home / "out").read_text().splitlines())
    assert said == sorted(f"rank {rank} of {count}, A=1 2" for rank in range(count))


def test_mpi_exit_status_is_the_jobs(bench: Bench, mpi: dict[str, str]) -> None:
    spec = JobSpec("sh", ["-c", "exit 3"], launcher="mpirun", resources=ResourceSpecV1(process_count=2))
    assert bench.run(spec, mpi).end == (3, "done")


def test_mpi_processes_may_use_all_cores_of_a_shared_node(bench: Bench, mpi: dict[str, str]) -> None:
    program = "grep Cpus_allowed_list /proc/self/status"
    spec = JobSpec("sh", ["-c", program], launcher="mpirun", stdout_path="out", resources=ResourceSpecV1())
    assert bench.run(spec, mpi).end == (0, "done")
    ours = next(line for line in Path("/proc/self/status").read_text().splitlines() if "Cpus_allowed_list" in line)
    assert (bench.home / "out").read_text().splitlines() == [ours]


def test_mpi_takes_the_nodefile_of_this_host(bench: Bench, mpi: dict[str, str]) -> None:
    mpi.pop("SLURM_JOB_ID", None)
    spec = JobSpec("sh", ["-c", RANK], launcher="mpirun", stdout_path="out", stderr_path="err", environment={"A": "x"})
    spec.resources = ResourceSpecV1(node_count=2, processes_per_node=2)
    ran = bench.run(spec, mpi, preamble=["psij_nodes() { echo localhost; echo localhost; }"])
    assert ran.end == (0, "done"), (bench.home / "err").read_text()
    assert len((bench.home / "out").read_text().splitlines()) == 4


# -- real Slurm


@pytest.fixture
def sbatch(bench: Bench, slurm_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Run a job under a real Slurm, and wait for its end."""
    for name, value in slurm_environment.items():
        monkeypatch.setenv(name, value)

    def run(spec: JobSpec, *directives: str) -> None:
        log = bench.place.log
        lines = [f"#SBATCH {line}" for line in ("--time=1", f"--output={log}", *directives)]
        script = bench.write(spec, directives=lines)
        done = command("sbatch", "--wait", script)
        assert done.returncode == 0, (done.stderr, Path(log).read_text())

    return run


def test_srun_starts_the_shape_that_was_asked_for(bench: Bench, sbatch: Callable[..., None]) -> None:
    program = 'echo "$SLURM_PROCID $SLURM_NODEID $SLURM_CPUS_PER_TASK $1"'
    spec = JobSpec("sh", ["-c", program, "sh", "a 'b' $(c)"], launcher="srun", stdout_path="out", stderr_path="err")
    spec.resources = ResourceSpecV1(node_count=2, processes_per_node=2, cpu_cores_per_process=2)
    sbatch(spec, "--nodes=2", "--ntasks-per-node=2", "--cpus-per-task=2")
    said = sorted((bench.home / "out").read_text().splitlines())
    assert said == [f"{rank} {rank // 2} 2 a 'b' $(c)" for rank in range(4)]


def test_srun_gives_each_process_its_gpus(bench: Bench, sbatch: Callable[..., None]) -> None:
    nodes = command("sinfo", "-h", "-o", "%G").stdout
    if "gpu" not in nodes:
        pytest.skip("this Slurm has no GPUs")
    spec = JobSpec("sh", ["-c", 'echo "$CUDA_VISIBLE_DEVICES"'], launcher="srun", stdout_path="out", stderr_path="err")
    spec.resources = ResourceSpecV1(process_count=2, gpu_cores_per_process=1)
    sbatch(spec, "--nodes=1", "--ntasks=2", "--gpus-per-task=1")
    said = (bench.home / "out").read_text().split()
    assert (len(said), all(len(each.split(",")) == 1 for each in said)) == (2, True)


def test_mpirun_in_slurm_uses_its_nodes(bench: Bench, sbatch: Callable[..., None], mpi: dict[str, str]) -> None:
    names = [name for name in mpi if name.startswith("OMPI_") or name == "PATH"]
    spec = JobSpec("sh", ["-c", 'echo "$SLURMD_NODENAME $A"'], launcher="mpirun", stdout_path="out", stderr_path="err")
    spec.resources = ResourceSpecV1(node_count=1, processes_per_node=2)
    spec.environment = {**{name: mpi[name] for name in names}, "A": "x y"}
    sbatch(spec, "--nodes=1", "--ntasks-per-node=2")
    said = (bench.home / "out").read_text().splitlines()
    assert len(said) == 2
    assert len(set(said)) == 1
    assert said[0].endswith(" x y")
