"""File: an absolute path that means the same wherever it is looked at."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import pytest

from harmony.core.data import File


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_it_is_an_absolute_path(tmp_path: Path) -> None:
    file = File("a/../a.txt")
    assert isinstance(file, Path)
    assert os.fspath(file) == str(file) == f"{file}" == str(tmp_path / "a.txt")
    assert file.name == "a.txt"
    assert file.suffix == ".txt"
    assert file == tmp_path / "a.txt"


def test_it_is_made_of_parts_as_a_path_is(tmp_path: Path) -> None:
    assert File("a", "b.txt") == File(Path("a"), "b.txt") == File("a/b.txt") == tmp_path / "a" / "b.txt"
    assert File("a", "/b.txt") == Path("/b.txt")


def test_it_does_what_a_path_does(tmp_path: Path) -> None:
    file = File("a.txt")
    assert not file.exists()
    file.write_text("α", encoding="utf-8")
    assert file.exists()
    assert (tmp_path / "a.txt").read_bytes() == "α".encode()
    assert file.with_suffix(".log") == tmp_path / "a.log"
    assert file.parent / "b" == tmp_path / "b"
    assert os.path.basename(file) == "a.txt"
    with open(file, encoding="utf-8") as stream:
        assert stream.read() == "α"


def test_equal_by_absolute_path(tmp_path: Path) -> None:
    assert File("a") == File(tmp_path / "a") == File("b/../a")
    assert len({File("a"), File("./a"), File(tmp_path / "a")}) == 1
    assert File("a") != File("b")
    other: object = str(File("a"))
    assert File("a") != other


def test_it_means_the_place_where_it_was_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "other").mkdir()
    file = File("a.txt")
    sent = pickle.dumps(file)
    monkeypatch.chdir(tmp_path / "other")
    for same in (file, pickle.loads(sent)):
        assert type(same) is File
        assert str(same) == str(tmp_path / "a.txt")
        same.write_text("x")
    assert (tmp_path / "a.txt").exists()
    assert pickle.loads(sent) != File("a.txt")


def test_how_it_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    below, beside = File("data/a.log"), File(tmp_path.parent / "a.log")
    assert below.shown == "data/a.log"
    assert repr(below) == "File('data/a.log')"
    assert eval(repr(below)) == below
    assert beside.shown == str(tmp_path.parent / "a.log")
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    assert below.shown == str(tmp_path / "data" / "a.log")


@pytest.mark.parametrize("parts", [(), ("",), ("a\0b",), (b"a",)])
def test_what_is_not_a_path(parts: Any) -> None:
    with pytest.raises(ValueError, match="is not a path"):
        File(*parts)


@pytest.mark.parametrize("path", [1, None, ["a"]])
def test_what_is_not_even_a_text(path: Any) -> None:
    with pytest.raises(TypeError):
        File(path)
