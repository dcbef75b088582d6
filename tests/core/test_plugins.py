"""Plug-ins: found by name, imported when asked for, and what is said when there is none."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from harmony import plugins
from harmony.errors import PluginError


@pytest.fixture
def group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A third party's package, installed: one plug-in that works and some that do not."""
    (tmp_path / "third_party_plugin.py").write_text("class Good: ...\n")
    (tmp_path / "third_party_needy.py").write_text("import a_package_that_nobody_has\n")
    (tmp_path / "third_party_broken.py").write_text("1 / 0\n")
    info = tmp_path / "third_party-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: third-party\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[test.engines]\n"
        "good = third_party_plugin:Good\nneedy = third_party_needy:Needy\n"
        "broken = third_party_broken:Broken\nempty = third_party_plugin:Missing\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    return "test.engines"


def test_our_own_engines_are_registered_like_anyones() -> None:
    assert {"inline", "local", "threads"} <= set(plugins.names(plugins.ENGINES))


def test_a_third_partys(group: str) -> None:
    assert plugins.names(group) == ["broken", "empty", "good", "needy"]
    assert "third_party_plugin" not in sys.modules
    assert plugins.load(group, "good").__name__ == "Good"
    assert "third_party_needy" not in sys.modules


def test_a_name_that_nobody_registered() -> None:
    with pytest.raises(PluginError) as caught:
        plugins.load(plugins.ENGINES, "thread")
    text = str(caught.value)
    assert text.startswith("there is no engine 'thread'; did you mean 'threads'?")
    assert {"inline", "jobs", "local", "threads"} <= set(text.partition("Known here: ")[2].split(", "))


def test_a_name_like_no_other() -> None:
    with pytest.raises(PluginError, match="there is no engine 'xyzzy'") as caught:
        plugins.load(plugins.ENGINES, "xyzzy")
    assert "did you mean" not in str(caught.value)


def test_an_empty_group() -> None:
    with pytest.raises(PluginError, match="Known here: none"):
        plugins.load("no.such.group", "x")


def test_a_missing_package_is_named(group: str) -> None:
    with pytest.raises(PluginError) as caught:
        plugins.load(group, "needy")
    assert "'needy' needs the package 'a_package_that_nobody_has', which is not installed" in str(caught.value)
    assert "pip install" in str(caught.value)


@pytest.mark.parametrize(("name", "kind"), [("broken", ZeroDivisionError), ("empty", AttributeError)])
def test_a_broken_plug_in_is_not_called_missing(group: str, name: str, kind: type[Exception]) -> None:
    with pytest.raises(kind):
        plugins.load(group, name)
