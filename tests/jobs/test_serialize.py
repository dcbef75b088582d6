"""Specifications as JSON: everything survives, and psij-python's texts are read and written."""

from __future__ import annotations

import io
import json
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
    JSONSerializer,
    ResourceSpecV1,
    Serializer,
    StageIn,
    StageOut,
    StageOutFlags,
    StagingMode,
    spec_from_dict,
    spec_to_dict,
)

SERIALIZER = JSONSerializer()

#: What psij-python's JSONSerializer has written (main of January 2026), and the specification it was given.
RECORDED = {
    '{"executable": "/bin/date", "name": "/bin/date", "attributes": {}}': JobSpec("/bin/date"),
    '{"attributes": {}}': JobSpec(),
    '{"executable": "/bin/date", "arguments": ["-u"], "directory": "/tmp/x", "name": "today", '
    '"inherit_environment": false, "environment": {"A": "b", "N": "1"}, "stdin_path": "i", "stdout_path": "o", '
    '"stderr_path": "e", "attributes": {}}': JobSpec(
        "/bin/date", ["-u"], "/tmp/x", "today", False, {"A": "b", "N": 1}, "i", "o", "e"
    ),
    '{"executable": "x", "name": "x", "resources": {"node_count": 2, "processes_per_node": 4, '
    '"cpu_cores_per_process": 2, "gpu_cores_per_process": 1, "exclusive_node_use": true, "memory": 1000, '
    '"__version": 1}, "attributes": {}}': JobSpec(
        "x",
        resources=ResourceSpecV1(
            node_count=2, processes_per_node=4, cpu_cores_per_process=2, gpu_cores_per_process=1,
            exclusive_node_use=True, memory=1000,
        ),
    ),
    '{"executable": "x", "name": "x", "resources": {"__version": 1}, "attributes": {}}': JobSpec(
        "x", resources=ResourceSpecV1()
    ),
    '{"executable": "x", "arguments": [], "name": "x", "environment": {}, "attributes": {}}': JobSpec(
        "x", arguments=[], environment={}
    ),
    '{"executable": "x", "name": "x", "attributes": {"duration": "1.5 s"}, "pre_launch": "/p", "post_launch": "/q", '
    '"launcher": "srun"}': JobSpec(
        "x", attributes=JobAttributes(timedelta(seconds=1.5)), pre_launch="/p", post_launch="/q", launcher="srun"
    ),
}  # fmt: skip
#: psij-python writes the account twice; it has read neither this duration nor floats back.
ATTRIBUTES = (
    '{"executable": "x", "name": "x", "attributes": {"duration": "1200.0 s", "queue_name": "q", "account": "acc", '
    '"reservation_id": "r", "custom_attributes": {"slurm.constraint": "gpu", "slurm.n": 3, "slurm.b": true}, '
    '"project_name": "acc"}}'
)


@pytest.mark.parametrize("text", RECORDED)
def test_the_same_json_as_psij_python(text: str) -> None:
    assert SERIALIZER.dumps(RECORDED[text]) == text
    assert SERIALIZER.loads(text) == RECORDED[text]


def test_psij_pythons_attributes_are_read() -> None:
    spec = SERIALIZER.loads(ATTRIBUTES)
    options: dict[str, object] = {"slurm.constraint": "gpu", "slurm.n": 3, "slurm.b": True}
    assert spec.attributes == JobAttributes(timedelta(minutes=20), "q", "acc", "r", options)
    assert json.loads(SERIALIZER.dumps(spec)) == {
        "executable": "x",
        "name": "x",
        "attributes": {
            "duration": "1200.0 s", "queue_name": "q", "account": "acc", "reservation_id": "r",
            "custom_attributes": options,
        },
    }  # fmt: skip


def test_defect_10_the_walltime_is_lost() -> None:
    spec = JobSpec("x", attributes=JobAttributes(timedelta(minutes=20)))
    assert SERIALIZER.loads(SERIALIZER.dumps(spec)).attributes.duration == timedelta(minutes=20)


def test_defect_10_reading_prints(capsys: pytest.CaptureFixture[str]) -> None:
    SERIALIZER.loads(ATTRIBUTES)
    assert capsys.readouterr() == ("", "")


def test_defect_10_counts_are_not_computed() -> None:
    spec = SERIALIZER.loads('{"executable": "x", "resources": {"node_count": 2, "process_count": 8, "__version": 1}}')
    assert spec.resources_v1.computed_processes_per_node == 4


def test_defect_10_staging_cannot_be_written() -> None:
    spec = JobSpec(
        "x",
        attributes=JobAttributes(custom_attributes={"slurm.f": 1.5, "slurm.requeue": None}),
        stage_in=[StageIn("file:///a b", "in", StagingMode.LINK)],
        stage_out=[StageOut("out", "b#c", StageOutFlags.IF_PRESENT | StageOutFlags.ON_ERROR, StagingMode.MOVE)],
        cleanup=["tmp"],
        cleanup_flags=StageOutFlags.ON_SUCCESS,
        launcher_options=["--bind-to", "core"],
    )
    assert spec_to_dict(spec) == {
        "executable": "x",
        "name": "x",
        "attributes": {"custom_attributes": {"slurm.f": 1.5, "slurm.requeue": None}},
        "stage_in": [{"source": "file:///a b", "target": "in", "mode": "LINK"}],
        "stage_out": [{"source": "out", "target": "b#c", "flags": ["IF_PRESENT", "ON_ERROR"], "mode": "MOVE"}],
        "cleanup": ["tmp"],
        "cleanup_flags": ["ON_SUCCESS"],
        "launcher_options": ["--bind-to", "core"],
    }
    assert SERIALIZER.loads(SERIALIZER.dumps(spec)) == spec


TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"))
PATHS = st.one_of(st.none(), TEXTS, TEXTS.map(Path))
COUNTS = st.one_of(st.none(), st.integers(1, 1000))
OPTIONS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), TEXTS)
FLAGS = st.sampled_from(list(map(StageOutFlags, range(16))))
MODES = st.sampled_from(StagingMode)
URIS = st.one_of(TEXTS.filter(lambda text: "://" not in text), TEXTS.map("file:///{}".format))
ATTRIBUTE_VALUES = st.builds(
    JobAttributes,
    duration=st.timedeltas(min_value=timedelta(microseconds=1)),
    queue_name=st.none() | TEXTS,
    account=st.none() | TEXTS,
    reservation_id=st.none() | TEXTS,
    custom_attributes=st.none() | st.dictionaries(TEXTS.map("slurm.{}".format), OPTIONS),
)
RESOURCES = st.builds(
    ResourceSpecV1,
    node_count=COUNTS,
    processes_per_node=COUNTS,
    cpu_cores_per_process=COUNTS,
    gpu_cores_per_process=COUNTS,
    exclusive_node_use=st.booleans(),
    memory=COUNTS,
)
SPECS = st.builds(
    JobSpec,
    executable=st.none() | TEXTS,
    arguments=st.none() | st.lists(TEXTS),
    directory=PATHS,
    name=st.none() | TEXTS,
    inherit_environment=st.booleans(),
    environment=st.none() | st.dictionaries(TEXTS, st.one_of(TEXTS, st.integers())),
    stdin_path=PATHS,
    stdout_path=PATHS,
    stderr_path=PATHS,
    resources=st.none() | RESOURCES,
    attributes=ATTRIBUTE_VALUES,
    pre_launch=PATHS,
    post_launch=PATHS,
    launcher=st.none() | TEXTS,
    stage_in=st.none() | st.lists(st.builds(StageIn, URIS, TEXTS, MODES), max_size=3),
    stage_out=st.none() | st.lists(st.builds(StageOut, TEXTS, URIS, FLAGS, MODES), max_size=3),
    cleanup=st.none() | st.lists(TEXTS, max_size=3),
    cleanup_flags=FLAGS,
    launcher_options=st.none() | st.lists(TEXTS, max_size=3),
)


@given(SPECS)
def test_everything_survives(spec: JobSpec) -> None:
    text = SERIALIZER.dumps(spec)
    again = SERIALIZER.loads(text)
    assert again == spec
    assert SERIALIZER.dumps(again) == text


def test_streams() -> None:
    stream = io.StringIO()
    SERIALIZER.dump(JobSpec("x"), stream)
    assert stream.getvalue() == SERIALIZER.dumps(JobSpec("x"))
    stream.seek(0)
    assert SERIALIZER.load(stream) == JobSpec("x")


def test_another_format_is_two_methods() -> None:
    class Lines(Serializer):
        def _dump_dict(self, tree: dict[str, Any], stream: Any) -> None:
            stream.write(repr(tree))

        def _load_dict(self, stream: Any) -> dict[str, Any]:
            return dict(json.loads(stream.read().replace("'", '"')))

    assert Lines().loads(Lines().dumps(JobSpec("x", ["y"]))) == JobSpec("x", ["y"])


@pytest.mark.parametrize(
    ("text", "seconds"), [("90 s", 90), ("1.25 s", 1.25), ("20m", 1200), ("1:00", 3600), ("00:01:30", 90)]
)
def test_durations_a_person_would_write(text: str, seconds: float) -> None:
    assert spec_from_dict({"attributes": {"duration": text}}).attributes.duration == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("tree", "words"),
    [
        ([], "the specification=[] must be an object"),
        ({"executible": "x"}, "there is no field 'executible' in a job's specification; it has executable, arguments"),
        ({"attributes": {"walltime": "1h"}}, "there is no field 'attributes.walltime'"),
        ({"resources": {"nodes": 1}}, "there is no field 'resources.nodes'"),
        ({"stage_in": [{"source": "a", "target": "b", "to": "c"}]}, "there is no field 'stage_in[0].to'"),
        ({"stage_in": [{"source": "a"}]}, "stage_in[0].target is not given"),
        ({"stage_in": [{"source": "a", "target": "b", "mode": "copy"}]}, "stage_in[0].mode='copy' must be one of COPY"),
        ({"stage_out": [{"source": "a", "target": "x://["}]}, "stage_out[0].target='x://['"),
        ({"cleanup_flags": ["SOMETIMES"]}, "cleanup_flags='SOMETIMES' must be one of IF_PRESENT"),
        ({"executable": 1}, "executable=1 must be a text"),
        ({"arguments": "a"}, "arguments='a' must be a list"),
        ({"arguments": ["a", 1]}, "arguments[1]=1 must be a text"),
        ({"environment": {"A": 1.5}}, "environment['A']=1.5 must be a text"),
        ({"environment": []}, "environment=[] must be an object"),
        ({"inherit_environment": 0}, "inherit_environment=0 must be true or false"),
        ({"resources": {"node_count": True}}, "resources.node_count=True must be a whole number"),
        ({"resources": {"node_count": 2, "process_count": 3}}, "process_count=3 must be a multiple"),
        ({"resources": {"__version": 2}}, "resources.__version=2 must be 1"),
        ({"attributes": {"duration": 600}}, "attributes.duration=600 must be a text"),
        ({"attributes": {"duration": "long"}}, "attributes.duration: walltime='long'"),
        ({"attributes": {"duration": "9" * 30 + " s"}}, "attributes.duration: "),
        ({"attributes": {"account": "a", "project_name": "b"}}, "two words for one thing"),
    ],
)
def test_what_is_no_specification_is_named(tree: Any, words: str) -> None:
    with pytest.raises(InvalidJobException) as raised:
        spec_from_dict(tree)
    assert words in str(raised.value)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (JobSpec(1), "executable=1 must be a text"),  # type: ignore[arg-type]
        (JobSpec("x", attributes=JobAttributes(custom_attributes={"a.b": Path("c")})), "custom_attributes['a.b']="),
        (JobSpec("x", attributes=JobAttributes(custom_attributes={"a.b": float("nan")})), "=nan must be what JSON"),
        (JobSpec("x", resources=3), "resources=3 must be a ResourceSpecV1"),  # type: ignore[arg-type]
        (JobSpec("x", attributes=JobAttributes(5)), "attributes.duration=5 must be a timedelta"),  # type: ignore[arg-type]
    ],
)
def test_what_cannot_be_written_is_named(spec: JobSpec, words: str) -> None:
    with pytest.raises(InvalidJobException) as raised:
        spec_to_dict(spec)
    assert words in str(raised.value)


def test_what_is_no_json_is_said() -> None:
    with pytest.raises(InvalidJobException, match="this is not JSON: Expecting"):
        SERIALIZER.loads("{")


def test_null_is_not_given_and_nested_options_are_kept() -> None:
    assert spec_from_dict({"executable": "x", "arguments": None, "resources": None}) == JobSpec("x")
    nested: dict[str, object] = {"flux.attributes": {"a": [1, None, {"b": "c"}]}}
    tree = {"attributes": {"custom_attributes": nested}}
    assert spec_from_dict(tree).attributes.custom_attributes == nested
