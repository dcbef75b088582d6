"""Jobs in the JSON of the IRI Facility API."""

from __future__ import annotations

import subprocess
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harmony.jobs import (
    InvalidJobException,
    JobAttributes,
    JobSpec,
    JobState,
    JobStatus,
    Reason,
    ResourceSpecV1,
    StageIn,
    StageOut,
    spec_from_iri,
    spec_to_iri,
    status_from_iri,
    status_to_iri,
)

FULL = JobSpec(
    "/usr/bin/python", ["-n", "100"], "/home/user/work", "my-job", False, {"OMP_NUM_THREADS": "4"},
    "/in", "/out", "/err",
    ResourceSpecV1(2, 64, 32, 2, 1, False, 17179869184),
    JobAttributes(timedelta(seconds=60), "debug", "proj123", "resv-42", {"slurm.constraint": "gpu"}),
    "/opt/pre launch.sh", "~/post.sh", "srun",
)  # fmt: skip
FULL_TREE = {
    "executable": "/usr/bin/python", "arguments": ["-n", "100"], "directory": "/home/user/work", "name": "my-job",
    "inherit_environment": False, "environment": {"OMP_NUM_THREADS": "4"},
    "stdin_path": "/in", "stdout_path": "/out", "stderr_path": "/err",
    "resources": {
        "node_count": 2, "process_count": 64, "processes_per_node": 32, "cpu_cores_per_process": 2,
        "gpu_cores_per_process": 1, "exclusive_node_use": False, "memory": 17179869184,
    },
    "attributes": {
        "duration": 60, "queue_name": "debug", "account": "proj123", "reservation_id": "resv-42",
        "custom_attributes": {"constraint": "gpu"},
    },
    "pre_launch": ". '/opt/pre launch.sh'", "post_launch": '. "$HOME"/post.sh', "launcher": "srun",
}  # fmt: skip


def test_every_field_both_ways() -> None:
    assert spec_to_iri(FULL, scheduler="slurm") == FULL_TREE
    assert spec_from_iri(FULL_TREE, scheduler="slurm") == FULL


def test_the_defaults_are_psijs_whatever_theirs_are() -> None:
    """There, resources are whole nodes unless it is said otherwise, and the duration is the facility's."""
    tree = spec_to_iri(JobSpec("x", resources=ResourceSpecV1(gpu_cores_per_process=0)))
    assert tree == {"executable": "x", "resources": {"exclusive_node_use": False}, "attributes": {"duration": 600}}
    assert spec_from_iri({"resources": {"node_count": 2}}).resources == ResourceSpecV1(2, exclusive_node_use=True)
    assert spec_from_iri({"executable": "x"}) == JobSpec("x")


def test_what_a_server_sends_back_with_nulls_and_empty_lists() -> None:
    tree: dict[str, Any] = {
        **dict.fromkeys(FULL_TREE), "executable": "x", "arguments": [], "environment": {}, "inherit_environment": True,
        "container": None, "attributes": {"duration": None, "custom_attributes": {}},
    }  # fmt: skip
    assert spec_from_iri(tree) == JobSpec("x")


@pytest.mark.parametrize(("given", "sent"), [(0.2, 1), (60, 60), (60.000001, 61)])
def test_the_duration_is_rounded_up(given: float, sent: int) -> None:
    spec = JobSpec("x", attributes=JobAttributes(timedelta(seconds=given)))
    assert spec_to_iri(spec)["attributes"]["duration"] == sent


def test_custom_attributes_are_one_schedulers() -> None:
    attributes = JobAttributes(
        custom_attributes={"Slurm.requeue": None, "slurm.n": 3, "slurm.off": False, "pbs.l": "x"}
    )
    spec = JobSpec("x", attributes=attributes)
    assert spec_to_iri(spec, "slurm")["attributes"]["custom_attributes"] == {"requeue": "", "n": "3"}
    assert "custom_attributes" not in spec_to_iri(spec, "lsf")["attributes"]
    with pytest.raises(InvalidJobException, match="say with scheduler= which"):
        spec_to_iri(spec)
    with pytest.raises(InvalidJobException, match="do not say which scheduler they are for"):
        spec_from_iri({"attributes": {"custom_attributes": {"constraint": "gpu"}}})


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"stage_in": [StageIn("a", "b")]}, "stage_in="),
        ({"stage_out": [StageOut("a", "b")]}, "stage_out="),
        ({"cleanup": ["a"]}, "delete the files in post_launch"),
        ({"launcher_options": ["-n"]}, "launcher_options=['-n'] cannot be said in the IRI API"),
        ({"attributes": JobAttributes(timedelta(0))}, "duration="),
        ({"arguments": [1]}, "arguments[0]=1 must be a text"),
        ({"resources": 1}, "resources=1"),
    ],
)
def test_what_iri_cannot_say_is_refused_by_name(given: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidJobException) as raised:
        spec_to_iri(JobSpec("x", **given))
    assert words in str(raised.value)


@pytest.mark.parametrize(
    ("tree", "words"),
    [
        ({"container": {"image": "ubuntu"}}, "executable='apptainer'"),
        ({"steps": []}, "there is no field 'steps'"),
        ({"attributes": {"walltime": 3}}, "there is no field 'attributes.walltime'"),
        ({"attributes": {"duration": 1.5}}, "attributes.duration=1.5 must be a whole number"),
        ({"attributes": {"custom_attributes": {"a": 1}}}, "custom_attributes['a']=1 must be a text"),
        ({"environment": {"A": 1}}, "environment['A']=1 must be a text"),
        ({"resources": []}, "resources=[] must be an object"),
        ({"pre_launch": "module load cuda"}, "script_directory="),
        ({"pre_launch": 3}, "pre_launch=3 must be a text"),
        (["executable"], "must be an object"),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_name(tree: Any, words: str) -> None:
    with pytest.raises(InvalidJobException) as raised:
        spec_from_iri(tree, "slurm")
    assert words in str(raised.value)


def test_inline_code_becomes_a_script(tmp_path: Path) -> None:
    tree = {"executable": "x", "pre_launch": "export GREETING='é'", "post_launch": "echo done"}
    spec = spec_from_iri(tree, script_directory=tmp_path / "scripts")
    assert spec.pre_launch is not None
    assert spec.pre_launch.is_absolute()
    sourced = subprocess.run(
        ["sh", "-c", f'{spec_to_iri(spec)["pre_launch"]}; echo "$GREETING"'], capture_output=True, text=True, check=True
    )
    assert sourced.stdout == "é\n"
    assert spec.post_launch is not None
    assert spec.post_launch.read_text() == "echo done\n"
    assert spec_from_iri(tree, script_directory=tmp_path / "scripts") == spec  # the same code, the same file


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1))
def test_any_path_survives_the_line_that_sources_it(name: str) -> None:
    path = Path("/d") / name
    spec = JobSpec("x", pre_launch=path)
    assert spec_from_iri(spec_to_iri(spec)).pre_launch == path


@pytest.mark.parametrize("code", [". a b", ". 'a", "source a", ". $X/a", ". /a; date", ". /a\n", '. "$HOME"/../$x'])
def test_code_that_does_more_than_source_a_file_is_kept_as_code(code: str, tmp_path: Path) -> None:
    spec = spec_from_iri({"pre_launch": code}, script_directory=tmp_path)
    assert spec.pre_launch is not None
    assert spec.pre_launch.read_text() == code.rstrip("\n") + "\n"


@pytest.mark.parametrize("state", JobState)
def test_every_state_both_ways(state: JobState) -> None:
    status = JobStatus(state, 12.5, "m", 3, {"native_state": "R"})
    tree = status_to_iri(status)
    assert set(tree) == {"state", "time", "message", "exit_code", "meta_data"}
    assert tree["state"] in {"new", "queued", "active", "completed", "failed", "canceled"}
    assert status_from_iri(tree).to_dict() == status.to_dict()


def test_held() -> None:
    tree = status_to_iri(JobStatus(JobState.QUEUED, 1.0, metadata={"reason": Reason.HELD}))
    assert tree["state"] == "held"
    assert status_from_iri(tree).reason == Reason.HELD
    again = status_from_iri({"state": "held"})
    assert (again.state, again.reason) == (JobState.QUEUED, Reason.HELD)
    assert status_to_iri(JobStatus(JobState.ACTIVE, metadata={"reason": Reason.HELD}))["state"] == "active"


def test_statuses_of_older_and_richer_servers() -> None:
    assert status_from_iri({"state": "ACTIVE", "meta_data": None, "self_uri": "x"}).state is JobState.ACTIVE
    assert status_from_iri({"state": "completed", "exit_code": 0}).exit_code == 0
    assert status_from_iri({"state": "active", "meta_data": {"psij_state": "STAGE_IN"}}).state is JobState.ACTIVE
    with pytest.raises(ValueError, match="state='running' is none of IRI's: new, queued, active"):
        status_from_iri({"state": "running"})
    with pytest.raises(ValueError, match="state=None"):
        status_from_iri({})
