"""Sites: what a file says, what it takes from another, and how mistakes are named."""

from __future__ import annotations

import os
from dataclasses import FrozenInstanceError, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from harmony.errors import ConfigError
from harmony.jobs import Job, JobExecutor
from harmony.pilots.block import Files, specification
from harmony.sites import Blocks, Site, everything, here, site

PROFILES = [found for found in everything() if found.origin.startswith("profile ")]
MACHINES = {"perlmutter", "frontier", "aurora", "polaris", "summit", "expanse", "delta", "frontera", "lumi"}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The root of a project, in a subdirectory of which we are, with a home of its own."""
    root = tmp_path / "project"
    (root / "src" / "deep").mkdir(parents=True)
    (root / "pyproject.toml").touch()
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    (tmp_path / "config" / "harmony").mkdir(parents=True)
    monkeypatch.chdir(root / "src" / "deep")
    return root


def write(directory: Path, text: str) -> Path:
    path = directory / "sites.toml"
    path.write_text(text, encoding="utf-8")
    return path


WHOLE = """
[cluster]
description = "all there is to say"
scheduler = "slurm"
queue = "regular"
account = "physics"
reservation = "r1"
walltime = "1h 30m"
nodes = 2
cores_per_node = 64
gpus_per_node = 4
memory_per_node = "256GB"
launcher = "srun"
launcher_options = ["--cpu-bind=none"]
setup = ["module load python", "source env/bin/activate"]
engine = "parsl"
work_directory = "/scratch/me"
options.workers = 4
attributes.slurm.constraint = "cpu"
attributes."slurm.qos" = "regular"
[cluster.blocks]
min = 1
init = 2
max = 4
parallelism = 0.5
idle = "5m"
failures = 2
patience = "10m"
"""


def test_all_that_can_be_said(project: Path) -> None:
    write(project, WHOLE)
    assert site("cluster") == Site(
        "cluster",
        description="all there is to say",
        scheduler="slurm",
        queue="regular",
        account="physics",
        reservation="r1",
        walltime=5400.0,
        nodes=2,
        cores_per_node=64,
        gpus_per_node=4,
        memory_per_node=256 * 10**9,
        launcher="srun",
        launcher_options=("--cpu-bind=none",),
        setup=("module load python", "source env/bin/activate"),
        engine="parsl",
        work_directory="/scratch/me",
        options={"workers": 4},
        attributes={"slurm.constraint": "cpu", "slurm.qos": "regular"},
        blocks=Blocks(min=1, init=2, max=4, parallelism=0.5, idle=300.0, failures=2, patience=600.0),
    )


def test_the_nearest_file_comes_first_and_what_is_above_the_project_does_not_count(
    project: Path, tmp_path: Path
) -> None:
    write(tmp_path, "[strange]\n")
    write(tmp_path / "config" / "harmony", '[mine]\nqueue = "user"\n[both]\nqueue = "user"\n')
    write(project, '[both]\nqueue = "project"\n[root]\nqueue = "project"\n')
    write(project / "src" / "deep", '[root]\nqueue = "deep"\n')
    assert {name: site(name).queue for name in ("mine", "both", "root")} == {
        "mine": "user", "both": "project", "root": "deep",
    }  # fmt: skip
    with pytest.raises(ConfigError, match="there is no site 'strange'"):
        site("strange")


def test_without_a_project_only_the_current_directory_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    if any((above / name).exists() for above in tmp_path.parents for name in (".git", "pyproject.toml")):
        pytest.skip("the temporary directory is in a project")
    write(tmp_path, "[above]\n")
    write(tmp_path / "here", "[beside]\n")
    assert site("beside").name == "beside"
    with pytest.raises(ConfigError, match="there is no site 'above'"):
        site("above")


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a file away")
def test_a_file_that_somebody_else_has_put_there_is_not_read(project: Path) -> None:
    os.chown(write(project, "[a]\n"), 12345, -1)
    with pytest.raises(ConfigError, match=r"sites.toml is another user's \(number 12345\), so it is not read"):
        site("a")


def test_a_base_gives_what_is_not_said(project: Path) -> None:
    write(
        project,
        """
        [machine]
        scheduler = "slurm"
        setup = ["module load a"]
        walltime = "2h"
        attributes.slurm = {constraint = "cpu", qos = "regular"}
        blocks = {max = 3, idle = "1m"}
        options = {workers = 2}
        [mine]
        base = "machine"
        walltime = "10m"
        setup = []
        attributes.slurm.qos = "debug"
        blocks.max = 1
        """,
    )
    assert site("mine") == Site(
        "mine",
        scheduler="slurm",
        walltime=600.0,
        attributes={"slurm.constraint": "cpu", "slurm.qos": "debug"},
        blocks=Blocks(max=1, idle=60.0),
        options={"workers": 2},
    )


def test_a_base_of_the_same_name_is_the_one_further_out(project: Path, tmp_path: Path) -> None:
    write(project, '[frontier]\nbase = "frontier"\naccount = "abc123"\n')
    write(tmp_path / "config" / "harmony", '[frontier]\nbase = "frontier"\nqueue = "mine"\n')
    profile = next(found.site for found in PROFILES if found.name == "frontier")
    assert profile is not None
    assert site("frontier") == replace(profile, account="abc123", queue="mine")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "[a]\nquue = 'x'",
            r"sites.toml: \[a\]: there is no key 'quue'; did you mean 'queue'\? The keys are account, ",
        ),
        ("[a.blocks]\nmaxx = 1", r"\[a\]: blocks: there is no key 'maxx'; did you mean 'max'"),
        ("[a]\nzzz = 1", r"there is no key 'zzz'\. The keys are"),
        ("[a]\nname = 'b'", "there is no key 'name'"),
        ("queue = 'x'", "queue = 'x' is in no site; write it under the line"),
        ("[a", "sites.toml is not TOML"),
        ("[a]\nblocks = 3", "blocks=3 must be a table"),
        ("[a]\nwalltime = 30", "walltime=30 has no unit; write '90s', '30m'"),
        ("[a]\nblocks.idle = 30", "blocks.idle=30 has no unit"),
        ("[a]\nwalltime = 'soon'", "sites.toml: site 'a': walltime='soon' is not a time"),
        ("[a]\nnodes = 0", "nodes=0 must be a whole number, at least 1"),
        ("[a]\nnodes = 1.5", "nodes=1.5 must be a whole number"),
        ("[a]\nmemory_per_node = '2 sheep'", "memory_per_node: memory='2 sheep' is not a size"),
        ("[a]\nsetup = [1]", r"setup=\[1\] must be a list of texts"),
        ("[a]\nqueue = ''", "queue='' must be a text of one line that is not empty"),
        ("[a]\nattributes = {constraint = 'cpu'}", "attributes: 'constraint' must be 'SCHEDULER.OPTION'"),
        ("[a]\nblocks = {min = 2}", "blocks.min=2 is more than blocks.max=1; raise max"),
        ("[a]\nblocks.parallelism = 2", "blocks.parallelism=2 must be greater than 0, and at most 1"),
        ("[a]\nbase = 'frontie'", r"\[a\]: base='frontie' is no site; did you mean 'frontier'\?"),
        ("[a]\nbase = 'b'\n[b]\nbase = 'a'", r"\[a\] is its own base: a → b → a"),
        ("[a]\nbase = 'a'", r"base='a' is no site"),
        ("[a]\nbase = 3", "base=3 must be the name of a site"),
    ],
)
def test_what_is_wrong_is_named(project: Path, text: str, message: str) -> None:
    write(project, text)
    with pytest.raises(ConfigError, match=message):
        site("a")


def test_one_site_that_is_wrong_does_not_hide_the_others(project: Path) -> None:
    write(project, "[good]\n[bad]\nnodes = 0\n")
    found = {item.name: item for item in everything()}
    assert found["good"].site == Site("good")
    assert found["bad"].site is None
    assert "nodes=0" in str(found["bad"].error)
    assert site("good").name == "good"


def test_a_name_that_nobody_knows(project: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"there is no site 'perlmuter'; did you mean 'perlmutter' or .* Known here: "
    ):
        site("perlmuter")
    for wrong in ("", None, 3):
        with pytest.raises(ConfigError, match="must be the name of a site, or a Site"):
            site(wrong)  # type: ignore[arg-type]


def test_this_machine() -> None:
    assert site("here") == here()
    assert here(3).block_cores == 3
    assert here().block_cores == len(os.sched_getaffinity(0))
    assert (here().blocks.min, here().blocks.max, here().block_walltime) == (1, 1, None)
    with pytest.raises(ConfigError, match="workers=0"):
        here(0)


def test_what_is_not_said_follows() -> None:
    given: list[tuple[dict[str, Any], str, float | None, int | None]] = [
        ({}, "single", None, len(os.sched_getaffinity(0))),
        ({"nodes": 3, "cores_per_node": 2}, "multiple", None, 6),
        ({"scheduler": "slurm"}, "single", 3600.0, None),
        ({"scheduler": "slurm", "nodes": 2, "walltime": timedelta(minutes=5)}, "srun", 300.0, None),
        ({"scheduler": "pbs", "nodes": 2, "cores_per_node": 4}, "mpirun", 3600.0, 8),
        ({"scheduler": "pbs", "nodes": 2, "launcher": "pals", "walltime": "1:00:00"}, "pals", 3600.0, None),
    ]
    for words, launcher, walltime, cores in given:
        made = Site("s", **words)
        assert (made.launcher_name, made.block_walltime, made.block_cores) == (launcher, walltime, cores)


def test_a_site_is_a_value() -> None:
    made = Site("s", setup=["a"], attributes={"slurm.qos": "x"})  # type: ignore[arg-type]
    assert made == Site("s", setup=("a",), attributes={"slurm.qos": "x"})
    assert site(made) is made
    with pytest.raises(FrozenInstanceError):
        made.nodes = 2  # type: ignore[misc]


def test_the_machines_that_are_shipped() -> None:
    assert {found.name for found in PROFILES} >= MACHINES
    assert {found.origin.removeprefix("profile ") for found in PROFILES} == MACHINES


@pytest.mark.parametrize("found", PROFILES, ids=lambda found: str(found.name))
def test_a_profile_can_be_submitted_and_says_where_it_is_from(found: Any) -> None:
    profile = found.site
    assert profile is not None, found.error
    assert profile.source.startswith("https://")
    assert len(profile.checked.split("-")) == 3
    assert profile.account is None
    assert profile.block_cores
    with JobExecutor.get_instance(profile.scheduler) as executor:
        script = executor.script(Job(specification(profile, "harmony-test", Files("/work", "block-1"), None)))
    assert "/work/block-1.sh" in script
    assert profile.queue is None or profile.queue in script
    assert all(str(value) in script for value in profile.attributes.values())
