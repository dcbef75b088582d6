"""Which store a reader means."""

from __future__ import annotations

from pathlib import Path

import pytest

from harmony.errors import StoreError
from harmony.store.locate import find


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the current directory, two below the test's, with no store named."""
    directory = tmp_path / "project" / "below"
    directory.mkdir(parents=True)
    monkeypatch.chdir(directory)
    monkeypatch.delenv("HARMONY_STORE", raising=False)
    return directory


def make(directory: Path) -> str:
    directory.mkdir(parents=True)
    (directory / "store.db").touch()
    return str(directory)


def test_the_nearest_that_has_a_database(here: Path) -> None:
    far = make(here.parent.parent / ".harmony")
    (here / ".harmony").mkdir()  # as ~/.harmony, where jobs keep their scripts
    assert find(None) == far
    assert find(None) != make(here.parent / ".harmony") == find(None)


def test_none_is_there(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StoreError, match=r"there is no \.harmony/store\.db in .*/below or above.*; run this beside"):
        find(None)
    (here.parent / ".harmony").mkdir()
    monkeypatch.setenv("HARMONY_STORE", "none")
    with pytest.raises(StoreError, match=r"above \(.*/project/\.harmony is there, but has no store\.db\); run this"):
        find(None)


def test_one_that_is_named(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = make(here / "mine")
    assert find("mine") == find(store) == find("mine/store.db") == store
    monkeypatch.setenv("HARMONY_STORE", "mine")
    assert find(None) == store
    assert find(make(here / "other")) == str(here / "other")


def test_one_that_is_named_and_is_none(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StoreError, match=r"--store=mine: .*/below/mine is not there, so no run was recorded"):
        find("mine")
    (here / "mine").mkdir()
    monkeypatch.setenv("HARMONY_STORE", "mine")
    with pytest.raises(StoreError, match=r"HARMONY_STORE=mine: .*/mine is there, but has no store\.db, so no run"):
        find(None)
