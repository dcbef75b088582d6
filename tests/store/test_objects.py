"""Large results: written once, whole or not at all, and refused when they are not what they were."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harmony.core.journal import StaleError
from harmony.core.travel import dump_parts
from harmony.store.objects import LARGE, Objects


def save(objects: Objects, value: Any) -> bytes:
    return objects.save(*dump_parts(value, LARGE))


@given(st.lists(st.binary(max_size=300_000), max_size=3), st.integers())
def test_what_is_saved_is_loaded(tmp_path_factory: pytest.TempPathFactory, blocks: list[bytes], number: int) -> None:
    objects = Objects(tmp_path_factory.mktemp("objects"))
    value = [number, *map(bytearray, blocks)]
    assert objects.load(save(objects, value)) == value


def test_it_is_named_by_its_content_and_written_once(tmp_path: Path) -> None:
    objects = Objects(tmp_path)
    first = save(objects, b"a" * 100_000)
    os.utime(objects.path(first), (0, 0))
    before = objects.path(first).stat()
    assert save(objects, b"a" * 100_000) == first
    assert objects.path(first).stat().st_ino == before.st_ino
    assert objects.path(first).stat().st_mtime > 0, "gc spares what is young"
    assert save(objects, b"b" * 100_000) != first
    assert before.st_mode & 0o077 == 0
    assert {path.parent.name + path.name for path in tmp_path.glob("*/*")} >= {first.hex()}


def test_a_disk_that_is_full_leaves_no_half_of_it(tmp_path: Path, file_limit: Any) -> None:
    objects = Objects(tmp_path)
    with file_limit(50_000), pytest.raises(OSError, match="too large"):
        save(objects, b"a" * 100_000)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_what_a_killed_driver_left_half_written_goes_when_the_next_begins(tmp_path: Path) -> None:
    child = os.fork()
    if child == 0:
        os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
        save(Objects(tmp_path, "run"), b"a" * 100_000)
    os.waitpid(child, 0)
    assert len(list(tmp_path.glob("*/*.part"))) == 1
    Objects(tmp_path, "another")
    assert len(list(tmp_path.glob("*/*.part"))) == 1
    Objects(tmp_path, "run")
    assert list(tmp_path.glob("*/*.part")) == []


def harmed(path: Path, how: str) -> None:
    data = path.read_bytes()
    if how == "gone":
        path.unlink()
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "short":
        path.write_bytes(data[:-1])
    elif how == "long":
        path.write_bytes(data + b"x")
    elif how == "another length":
        path.write_bytes(data[:24] + b"\xff" * 8 + data[32:])
    elif how == "another count":
        path.write_bytes(data[:16] + b"\xff" * 8 + data[24:])
    else:
        path.write_bytes(data[:-5] + bytes([data[-5] ^ 1]) + data[-4:])


@pytest.mark.parametrize("how", ["gone", "empty", "short", "long", "another length", "another count", "a bit"])
def test_one_that_is_not_what_it_was_is_refused(tmp_path: Path, how: str) -> None:
    objects = Objects(tmp_path)
    digest = save(objects, bytearray(100_000))
    harmed(objects.path(digest), how)
    with pytest.raises(StaleError):
        objects.load(digest)


class Gone:
    """A class that a later program no longer has."""


def test_a_class_that_is_gone_makes_it_stale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    objects = Objects(tmp_path)
    digest = save(objects, Gone())
    monkeypatch.delattr(f"{__name__}.Gone")
    with pytest.raises(StaleError, match="cannot be unpickled"):
        objects.load(digest)
