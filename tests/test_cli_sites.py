"""``harmony sites``: what is known, what it says, and whether it works."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.cli_commands import harmony

from harmony.conformance.emulators import Emulator
from harmony.sites import site

SITE = """
[mine]
description = "a test's own"
scheduler = "{scheduler}"
nodes = 2
cores_per_node = 2
walltime = "90s"
work_directory = "{work}"
setup = ["export WELL=1"]
engine = "parsl"
options = {{workers = 2, "a b" = [1.5, true, "x\\ny"]}}
blocks = {{max = 3, idle = "2m"}}
attributes.slurm.comment = 'a "test"'
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Write ``sites.toml`` into the current directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))

    def write(scheduler: str, more: str = "") -> Path:
        path = tmp_path / "sites.toml"
        path.write_text(SITE.format(scheduler=scheduler, work=tmp_path / "work") + more, encoding="utf-8")
        return path

    return write


def test_list(project: Callable[..., Path]) -> None:
    path = project("slurm")
    done = harmony("sites", "list")
    assert (done.returncode, done.stderr) == (0, "")
    rows = {line.split("\t")[0]: line.split("\t")[1:] for line in done.stdout.splitlines()}
    assert rows["mine"] == ["slurm", "2", "2", "", "parsl", str(path), "a test's own"]
    assert rows["lumi-g"][:5] == ["slurm", "1", "56", "8", ""]
    assert "here" in rows


def test_a_list_with_one_that_is_wrong(project: Callable[..., Path]) -> None:
    project("slurm", "[bad]\nnodes = 0\n")
    done = harmony("sites", "list", "--json")
    assert done.returncode == 1
    assert "nodes=0 must be a whole number" in done.stderr
    found = {item["name"]: item for item in json.loads(done.stdout)}
    assert found["bad"]["site"] is None
    assert found["mine"]["site"]["walltime"] == 90.0


def test_show_gives_what_can_be_read_again(project: Callable[..., Path], tmp_path: Path) -> None:
    path = project("slurm")
    before = site("mine")
    done = harmony("sites", "show", "mine")
    assert done.returncode == 0
    path.write_text(done.stdout, encoding="utf-8")
    assert site("mine") == before
    assert json.loads(harmony("sites", "show", "mine", "--json").stdout)["blocks"] == {"max": 3}


def test_the_script_of_a_block(project: Callable[..., Path]) -> None:
    project("slurm")
    script = harmony("sites", "show", "mine", "--script").stdout
    assert "#SBATCH --nodes=2\n" in script
    assert "#SBATCH --time=1:30\n" in script
    assert '#SBATCH --comment="a \\"test\\""\n' in script


def test_a_misspelt_name(project: Callable[..., Path]) -> None:
    project("slurm")
    for words in (["show", "mien"], ["check", "mien"], ["show", "--script", "mien"]):
        done = harmony("sites", *words)
        assert done.returncode == 2
        assert "there is no site 'mien'; did you mean 'mine'" in done.stderr


def test_check_of_this_machine(project: Callable[..., Path], tmp_path: Path) -> None:
    project("local")
    done = harmony("sites", "check", "mine")
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    lines = done.stdout.splitlines()
    assert [line.split(":")[0] for line in lines] == [
        "ok  submission", "ok  start", "ok  nodes", "ok  Python", "ok  cores", "ok  network",
    ]  # fmt: skip
    assert "has reached 2 of 2" in lines[2]
    assert list((tmp_path / "work" / "pilots").iterdir()) == []


def test_check_of_a_batch_system(
    project: Callable[..., Path], emulated_scheduler: Callable[..., Emulator], tmp_path: Path
) -> None:
    emulated_scheduler("slurm")
    project("slurm")
    done = harmony("sites", "check", "mine", "--json")
    found = json.loads(done.stdout)
    assert {item["what"] for item in found["findings"]} == {
        "submission",
        "start",
        "nodes",
        "Python",
        "cores",
        "network",
    }
    assert found["findings"][2]["detail"].startswith("the launcher 'srun' has reached 2 of 2")
    assert (done.returncode, found["all_well"]) == (0, True), found


def test_check_where_nothing_starts(project: Callable[..., Path], emulated_scheduler: Callable[..., Emulator]) -> None:
    slurm = emulated_scheduler("slurm")
    slurm.hold()
    project("slurm")
    done = harmony("sites", "check", "mine", "--wait", "1s")
    assert done.returncode == 1
    assert "NO  start: it still waits in the queue after 1 s" in done.stdout
    slurm.wait_until(lambda: all(job.state.value != "waiting" for job in slurm.jobs()))


def test_check_where_nothing_is_taken(
    project: Callable[..., Path], emulated_scheduler: Callable[..., Emulator]
) -> None:
    slurm = emulated_scheduler("slurm")
    slurm.refuse()
    project("slurm")
    done = harmony("sites", "check", "mine")
    assert (done.returncode, done.stdout.count("\n")) == (1, 1)
    assert done.stdout.startswith("NO  submission: slurm refused the job: ")


def test_check_where_the_set_up_fails(project: Callable[..., Path]) -> None:
    path = project("local")
    path.write_text(path.read_text().replace("export WELL=1", "echo no such module >&2; false"))
    done = harmony("sites", "check", "mine")
    assert done.returncode == 1
    assert "NO  workers' program: " in done.stdout
    assert "no such module" in done.stdout
    assert "has reached 0 of 2: none" in done.stdout


def test_check_of_a_real_slurm(
    project: Callable[..., Path], slurm_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in slurm_environment.items():
        monkeypatch.setenv(name, value)
    project("slurm")
    done = harmony("sites", "check", "mine")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "ok  nodes: the launcher 'srun' has reached 2 of 2" in done.stdout
    assert "ok  network: " in done.stdout
