"""The public names: sorted, there, documented, and the same for programs and for type checkers."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path
from typing import Any

import pytest

import harmony

SOURCE = Path(harmony.__file__).read_text(encoding="utf-8")


def names_for_type_checkers() -> dict[str, str]:
    """name → module, from the imports under TYPE_CHECKING."""
    found = {}
    for node in ast.parse(SOURCE).body:
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            for statement in node.body:
                assert isinstance(statement, ast.ImportFrom)
                found.update({name.asname or name.name: str(statement.module) for name in statement.names})
    return found


def test_names_are_sorted_and_given_once() -> None:
    assert harmony.__all__ == sorted(set(harmony.__all__))
    assert dir(harmony) == harmony.__all__


def test_programs_and_type_checkers_see_the_same() -> None:
    assert names_for_type_checkers() == harmony._HOME_OF
    assert {*harmony._HOME_OF, "__version__"} == set(harmony.__all__)


def test_every_error_is_public() -> None:
    from harmony import errors, jobs

    classes = {name: value for name, value in vars(errors).items() if inspect.isclass(value)}
    defined = {name for name, value in classes.items() if value.__module__ == errors.__name__}
    assert defined <= {*harmony.__all__, *jobs.__all__}  # those of batch jobs are had where the jobs are


@pytest.mark.parametrize("name", harmony.__all__)
def test_a_public_name_resolves_and_is_documented(name: str) -> None:
    value: Any = getattr(harmony, name)
    if name not in ("Output", "__version__"):  # an annotation and a text; their module documents them
        assert inspect.getdoc(value), f"harmony.{name} does not say what it is for"
        assert value.__module__.startswith("harmony."), f"harmony.{name} is not ours"


@pytest.mark.parametrize("name", [name for name in harmony.__all__ if name[0].isupper() and name != "Output"])
def test_public_methods_are_documented(name: str) -> None:
    members = vars(getattr(harmony, name)).items()
    public = {key: member for key, member in members if not key.startswith("_") and is_method(member)}
    assert [key for key, member in public.items() if not inspect.getdoc(member)] == []


def is_method(member: object) -> bool:
    return inspect.isfunction(member) or isinstance(member, (property, classmethod, staticmethod))


def test_a_name_is_looked_up_once() -> None:
    first = harmony.Workflow
    assert vars(harmony)["Workflow"] is first


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'harmony' has no attribute 'Worklfow'"):
        harmony.Worklfow  # type: ignore[attr-defined]  # noqa: B018


def test_star_gives_the_public_names() -> None:
    namespace: dict[str, object] = {}
    exec("from harmony import *", namespace)
    assert set(harmony.__all__) <= set(namespace)


def test_the_version_is_a_release() -> None:
    assert [part.isdigit() for part in harmony.__version__.split(".")[:3]] == [True, True, True]


def test_the_installed_metadata_says_the_same_version() -> None:
    from importlib.metadata import entry_points, version

    assert version("harmony-workflows") == harmony.__version__
    assert {"inline", "local", "threads"} <= entry_points(group="harmony.engines").names
