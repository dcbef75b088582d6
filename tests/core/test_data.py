"""File: a path that knows who it is from wherever it is looked at."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import pytest

from harmony.core.data import File


def test_it_is_a_path(tmp_path: Path) -> None:
    file = File(tmp_path / "a" / ".." / "a.txt")
    assert os.fspath(file) == str(file) == file.absolute == str(tmp_path / "a.txt")
    assert file.name == "a.txt"
    assert Path(file) == tmp_path / "a.txt"


def test_reading_and_writing(tmp_path: Path) -> None:
    file = File(str(tmp_path / "a.txt"))
    assert not file.exists()
    file.write_text("α")
    assert file.exists()
    assert (tmp_path / "a.txt").read_bytes() == "α".encode()
    file.write_text("β")
    assert file.read_text() == "β"


def test_equal_by_absolute_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert File("a") == File(tmp_path / "a") == File("b/../a")
    assert len({File("a"), File("./a"), File(tmp_path / "a")}) == 1
    assert File("a") != File("b")
    assert File("a") != "a"


def test_the_path_is_kept_as_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert File("x/../a").path == "x/../a"
    assert repr(File("a.log")) == "File('a.log')"
    assert eval(repr(File("a.log"))) == File("a.log")


def test_it_means_the_place_where_it_was_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path)
    file = File("a.txt")
    sent = pickle.dumps(file)
    monkeypatch.chdir(tmp_path / "other")
    for same in (file, pickle.loads(sent)):
        assert same.absolute == str(tmp_path / "a.txt")
        assert same.path == "a.txt"
        same.write_text("x")
    assert (tmp_path / "a.txt").exists()
    assert pickle.loads(sent) != File("a.txt")


@pytest.mark.parametrize("path", ["", "a\0b"])
def test_what_is_not_a_path(path: str) -> None:
    with pytest.raises(ValueError, match="is not a path"):
        File(path)


@pytest.mark.parametrize("path", [1, None, ["a"]])
def test_what_is_not_even_a_text(path: Any) -> None:
    with pytest.raises(TypeError):
        File(path)
