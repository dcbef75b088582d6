"""The files that describe a job for ``harmony job submit --spec``, and the options that change them."""

from __future__ import annotations

import io
import json
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import click
import pytest
from tests.cli_jobs import here

from harmony.cli.job_options import describes_a_job
from harmony.cli.job_spec import make_spec
from harmony.jobs import (
    JobAttributes,
    JobSpec,
    JSONSerializer,
    ResourceSpecV1,
    StageIn,
    StageOut,
    StageOutFlags,
    spec_to_iri,
)

__all__ = ["here"]
pytestmark = pytest.mark.usefixtures("here")


@click.command(context_settings={"allow_interspersed_args": False})
@describes_a_job
def describe(**options: Any) -> JobSpec:
    return make_spec(options)


def described(*words: str | Path) -> JobSpec:
    """The specification that a command line describes."""
    spec = describe.main([str(word) for word in words], standalone_mode=False)
    assert isinstance(spec, JobSpec)
    return spec


def refused(*words: str | Path) -> str:
    """What is said of a command line that describes no job."""
    with pytest.raises(click.UsageError) as caught:
        described(*words)
    return caught.value.message


TOML = """
executable = "./simulate"
arguments = ["config.toml", "--fast"]
directory = "run 1"
stdout_path = "out.txt"
launcher = "mpirun"
stage_in = ["/data/config.toml:config.toml", { source = "b", target = "c" }]

[environment]
OMP_NUM_THREADS = 4

[resources]
node_count = 2
processes_per_node = 4
memory = "4GB"

[attributes]
duration = "1h 30m"
queue_name = "debug"

[attributes.custom_attributes]
slurm.constraint = "gpu"
"pbs.l" = "place=scatter"

[[stage_out]]
source = "result"
target = "/data/result"
flags = ["ON_SUCCESS"]
"""
SAME = JobSpec(
    "./simulate", ["config.toml", "--fast"], "run 1", stdout_path="out.txt", launcher="mpirun",
    environment={"OMP_NUM_THREADS": "4"},
    resources=ResourceSpecV1(node_count=2, processes_per_node=4, memory=4_000_000_000),
    attributes=JobAttributes(
        timedelta(minutes=90), "debug", custom_attributes={"slurm.constraint": "gpu", "pbs.l": "place=scatter"}
    ),
    stage_in=[StageIn("/data/config.toml", "config.toml"), StageIn("b", "c")],
    stage_out=[StageOut("result", "/data/result", StageOutFlags.ON_SUCCESS)],
)  # fmt: skip


def test_a_file_written_by_hand(here: Path) -> None:
    (here / "job.toml").write_text(TOML)
    assert described("--spec", "job.toml") == SAME


def test_the_file_in_the_documentation(here: Path) -> None:
    page = (Path(__file__).parent.parent / "docs" / "howto" / "batch_jobs.md").read_text()
    (text,) = re.findall(r"^```toml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    (here / "job.toml").write_text(text)
    found = described("--spec", "job.toml")
    assert (found.resources_v1.computed_process_count, found.attributes.duration) == (8, timedelta(minutes=90))


def test_the_same_in_json_as_programs_write_it(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = JSONSerializer().dumps(SAME)
    (here / "job.json").write_text(text)
    assert described("--spec", "job.json") == SAME
    for given in (text, TOML):
        monkeypatch.setattr("sys.stdin", io.StringIO(given))
        assert described("--spec", "-") == SAME


def test_the_json_of_the_iri_facility_api(here: Path) -> None:
    spec = JobSpec("date", ["-u"], attributes=JobAttributes(timedelta(minutes=3), custom_attributes={"slurm.x": "1"}))
    tree = spec_to_iri(spec, "slurm")
    assert tree["attributes"]["duration"] == 180
    (here / "job.json").write_text(json.dumps(tree))
    assert described("--iri", "-s", "job.json", "-x", "slurm") == spec
    (here / "job.json").write_text(json.dumps({**tree, "pre_launch": "module load x"}))
    script = described("--iri", "-s", "job.json", "-x", "slurm").pre_launch
    assert script is not None
    assert script.read_text() == "module load x\n"
    assert "container" in refused_file(here, json.dumps({"container": {"image": "x"}}), "job.json", "--iri")


def refused_file(here: Path, text: str, name: str, *words: str) -> str:
    (here / name).write_text(text)
    return refused(*words, "--spec", name)


def test_options_change_what_the_file_says(here: Path) -> None:
    (here / "job.toml").write_text(TOML)
    changed = described(
        "--spec", "job.toml", "--processes-per-node", "8", "-m", "1GiB", "-t", "20", "-q", "short", "-e", "X=a=b",
        "-a", "slurm.constraint=cpu", "-a", "slurm.requeue", "--name", "n", "--", "./other", "-n", "--spec",
    )  # fmt: skip
    assert (changed.executable, changed.arguments, changed.name) == ("./other", ["-n", "--spec"], "n")
    assert changed.resources == ResourceSpecV1(2, None, 8, memory=1 << 30)
    assert changed.environment == {"OMP_NUM_THREADS": "4", "X": "a=b"}
    attributes = {"slurm.constraint": "cpu", "slurm.requeue": None, "pbs.l": "place=scatter"}
    assert changed.attributes == JobAttributes(timedelta(minutes=20), "short", custom_attributes=attributes)
    assert changed.stage_in == SAME.stage_in


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("executable = date", "this is not TOML: "),
        ('executable = "date"\nresource = 1', "there is no field 'resource'"),
        ('executable = "date"\n[resources]\nnodes = 1', "there is no field 'resources.nodes'"),
        ('executable = "date"\n[resources]\nmemory = "4XB"', "resources.memory='4XB' is not a size"),
        ('executable = "date"\n[resources]\nnode_count = "2"', "resources.node_count='2' must be a whole number"),
        ('executable = "date"\n[attributes]\nduration = 20', "attributes.duration=20 has no unit"),
        ('executable = "date"\n[attributes]\nduration = "soon"', "attributes.duration: walltime='soon'"),
        ('executable = "date"\nstage_in = ["x"]', "stage_in[0] 'x' must be FROM:TO"),
        ('executable = "date"\n[[stage_in]]\nsource = "x"', "stage_in[0].target is not given"),
        ('executable = "date"\nenvironment = ["A=1"]', "environment=['A=1'] must be an object"),
        ('executable = "date"\n[environment]\nA = true', "environment['A']=True must be a text"),
        ("", "executable is not set"),
    ],
)
def test_what_is_wrong_in_a_file_is_named(here: Path, text: str, said: str) -> None:
    message = refused_file(here, text, "job.toml")
    assert said in message
    assert message.startswith("job.toml: ") == bool(text)


def test_what_is_no_specification_at_all(here: Path) -> None:
    assert "this is not JSON: Expecting value: line 1 column 16" in refused_file(here, '{"executable": }', "job.json")
    assert "must be one object" in refused_file(here, '["date"]', "job.json")
    (here / "job.json").write_bytes(b"\xd0\x00")
    assert refused("--spec", "job.json") == "job.json is not a text in UTF-8"
