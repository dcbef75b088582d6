"""The specification of a job: what its fields take, and what `check` says of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harmony.jobs import (
    InvalidJobException,
    InvalidTypeException,
    JobAttributes,
    JobSpec,
    ResourceSpecV1,
    StageIn,
    StageOut,
    StageOutFlags,
)

PATHS = ("directory", "stdin_path", "stdout_path", "stderr_path", "pre_launch", "post_launch")


@pytest.mark.parametrize("name", PATHS)
def test_texts_become_paths(name: str) -> None:
    spec = JobSpec(**{name: "a/b"})  # type: ignore[arg-type]
    assert getattr(spec, name) == Path("a/b")
    setattr(spec, name, Path("c"))
    assert getattr(spec, name) == Path("c")
    setattr(spec, name, None)
    assert getattr(spec, name) is None
    with pytest.raises(InvalidTypeException, match=f"{name}=1 must be a path"):
        setattr(spec, name, 1)


def test_the_name_is_the_executables_unless_given() -> None:
    spec = JobSpec("/bin/date")
    assert spec.name == "/bin/date"
    assert spec == JobSpec("/bin/date", name="/bin/date")
    spec.name = "today"
    assert spec.name == "today"
    assert spec != JobSpec("/bin/date")


def test_numbers_in_the_environment_become_texts() -> None:
    spec = JobSpec(environment={"N": 1, "T": "x"})
    assert spec.environment == {"N": "1", "T": "x"}
    spec.environment = {"M": 42}
    assert spec.environment == {"M": "42"}


def test_the_environment_given_is_not_kept() -> None:
    given: dict[str, str | int] = {"N": 1}
    JobSpec(environment=given)
    assert given == {"N": 1}


def test_a_path_as_the_executable() -> None:
    assert JobSpec(Path("/bin/date")).executable == "/bin/date"


def test_defect_the_callers_spec_is_given_shared_resources() -> None:
    spec = JobSpec("x")
    first = spec.resources_v1
    assert spec.resources is None
    assert spec.resources_v1 is not first
    assert first == ResourceSpecV1()


def test_cleanup_and_staging_are_ordered() -> None:
    spec = JobSpec(
        "x",
        cleanup=["b", Path("a")],
        stage_in=(StageIn("b", "b"), StageIn("a", "a")),
        stage_out=iter([StageOut("o", "p")]),
    )
    assert spec.cleanup == [Path("b"), Path("a")]
    assert [str(item.source) for item in spec.stage_in or ()] == ["b", "a"]
    assert spec.stage_out == [StageOut("o", "p")]


@pytest.mark.parametrize(
    ("given", "kind", "words"),
    [
        ({}, InvalidJobException, "executable is not set"),
        ({"executable": ""}, InvalidJobException, "executable is not set"),
        ({"executable": 7}, TypeError, "executable=7 must be a text"),
        ({"executable": "a\0b"}, InvalidJobException, "NUL"),
        ({"arguments": [1]}, TypeError, "arguments[0]=1 must be a text"),
        ({"arguments": ["a", None]}, TypeError, "arguments[1]=None"),
        ({"arguments": ["a\0"]}, InvalidJobException, "arguments[0]='a\\x00' must not hold a NUL"),
        ({"launcher_options": [2]}, TypeError, "launcher_options[0]=2"),
        ({"name": 1}, TypeError, "name=1"),
        ({"launcher": 1}, TypeError, "launcher=1"),
        ({"inherit_environment": "no"}, TypeError, "inherit_environment='no' must be True or False"),
        ({"environment": {1: "x"}}, TypeError, "the name 1 must be a text"),
        ({"environment": {"a b": "x"}}, InvalidJobException, "'a b' cannot be the name of a variable"),
        ({"environment": {"A": [2]}}, TypeError, "environment['A']=[2]"),
        ({"environment": {"A": True}}, TypeError, "environment['A']=True"),
        ({"environment": {"A": "\0"}}, InvalidJobException, "NUL"),
        ({"attributes": {}}, TypeError, "attributes={} must be JobAttributes"),
        ({"attributes": JobAttributes(queue_name="")}, InvalidJobException, "queue_name=''"),
        ({"resources": 4}, InvalidJobException, "resources=4 must be a ResourceSpecV1"),
        ({"stage_in": [StageOut("a", "b")]}, TypeError, "must be a StageIn"),
        ({"stage_out": ["a"]}, TypeError, "'a' must be a StageOut"),
        ({"stage_in": [StageIn("sftp://h/x", "x")]}, InvalidJobException, "the source 'sftp://h/x' is not a file"),
        ({"stage_out": [StageOut("x", "s3://b/x")]}, InvalidJobException, "the target 's3://b/x' is not a file"),
        ({"cleanup": ["../x"]}, InvalidJobException, "cleanup: '../x' must be a path inside"),
        ({"cleanup": ["/etc"]}, InvalidJobException, "cleanup: '/etc'"),
        ({"cleanup": ["~/x"]}, InvalidJobException, "cleanup: '~/x'"),
        ({"cleanup": ["."]}, InvalidJobException, "cleanup: '.'"),
        ({"directory": "a\0"}, InvalidJobException, "directory="),
    ],
)
def test_what_cannot_be_is_named(given: dict[str, Any], kind: type[Exception], words: str) -> None:
    spec = JobSpec(**{"executable": "true", **given}) if given else JobSpec()
    with pytest.raises(InvalidJobException) as raised:
        spec.check()
    assert isinstance(raised.value, kind)
    assert words in str(raised.value)


def test_one_text_is_no_list_of_arguments() -> None:
    with pytest.raises(TypeError, match="arguments='-n 3' must be a list"):
        JobSpec("x", arguments="-n 3")
    with pytest.raises(TypeError, match="must be a mapping"):
        JobSpec("x", environment=["A=1"])  # type: ignore[arg-type]


def test_what_is_changed_later_is_checked_as_well() -> None:
    spec = JobSpec("true")
    spec.check()
    spec.executable = True  # type: ignore[assignment]
    with pytest.raises(InvalidTypeException, match="executable=True must be a text"):
        spec.check()


def test_whatever_is_allowed_passes() -> None:
    JobSpec(
        "~/bin/a b", ["", "é", "$(x)", "a\nb"], "~/d", "n\nm", False, {"A_1": "'\"$x\n"}, "~/i", "o", "e",
        ResourceSpecV1(2, 4), JobAttributes(), "p", "q", "multiple", [StageIn("file:///a", "b")],
        [StageOut("a", "b")], ["x/y"], StageOutFlags.ON_ERROR, ["--x"],
    ).check()  # fmt: skip


def test_repr_shows_what_is_given() -> None:
    assert repr(JobSpec("x", name="n")).startswith("JobSpec(executable='x', name='n', inherit_environment=True")


def test_a_spec_is_no_key() -> None:
    with pytest.raises(TypeError):
        hash(JobSpec("x"))
    assert JobSpec("x") != "x"
