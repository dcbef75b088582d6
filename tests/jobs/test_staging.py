"""What is staged: URIs, modes, flags."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harmony.jobs import URI, StageIn, StageOut, StageOutFlags, StagingMode


def test_the_parts_of_a_uri() -> None:
    uri = URI("https://me:secret@host.org:8080/a/b;p?q=1#f")
    assert (uri.scheme, uri.netloc, uri.hostname, uri.port) == (
        "https", "me:secret@host.org:8080", "host.org", 8080
    )  # fmt: skip
    assert (uri.username, uri.password) == ("me", "secret")
    assert (uri.path, uri.params, uri.query, uri.fragment) == ("/a/b", "p", "q=1", "f")
    assert uri.file_path is None


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("a#b?c;d", "a#b?c;d"),
        ("/with space", "/with space"),
        ("C:x", "C:x"),
        ("file:///a%20b", "/a b"),
        ("file://localhost/a", "/a"),
        ("file:/a", "/a"),
        ("//x/y", "//x/y"),
    ],
)
def test_files_that_every_node_opens_by_that_path(text: str, path: str) -> None:
    assert URI(text).file_path == path


@pytest.mark.parametrize("text", ["sftp://host/x", "file://other/x", "s3://bucket/key"])
def test_defect_remote_uris_are_read_as_local_files(text: str) -> None:
    assert URI(text).file_path is None


@given(st.text())
def test_the_text_of_a_uri_is_the_one_given(text: str) -> None:
    try:
        uri = URI(text)
    except ValueError:
        return  # such as an address in brackets that is none
    assert str(uri) == text
    assert uri == URI(text)
    assert hash(uri) == hash(URI(text))


def test_texts_and_paths_become_uris() -> None:
    assert StageIn(Path("a"), "b") == StageIn("a", Path("b")) == StageIn(URI("a"), "b", StagingMode.COPY)
    assert StageOut("a", Path("b")) == StageOut(Path("a"), URI("b"), StageOutFlags.ALWAYS, StagingMode.COPY)
    with pytest.raises(TypeError, match="source=1 must be a URI"):
        StageIn(1, "b")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="uri=1 must be a str"):
        URI(1)  # type: ignore[arg-type]


def test_without_a_condition_it_is_every_case() -> None:
    assert StageOut("a", "b", StageOutFlags.NONE).flags == StageOutFlags.ALWAYS
    assert StageOut("a", "b", StageOutFlags.IF_PRESENT).flags == StageOutFlags.ALWAYS | StageOutFlags.IF_PRESENT
    assert StageOut("a", "b", StageOutFlags.ON_ERROR).flags == StageOutFlags.ON_ERROR


def test_numbers_are_psijs() -> None:
    assert [(mode.name, mode.value) for mode in StagingMode] == [("COPY", 1), ("LINK", 2), ("MOVE", 3)]
    assert (StageOutFlags.NONE.value, StageOutFlags.IF_PRESENT.value, StageOutFlags.ALWAYS.value) == (0, 1, 14)
