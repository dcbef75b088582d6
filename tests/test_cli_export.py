"""``harmony export``: each format, to a file and to stdout, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.cli_commands import harmony
from tests.store.sample import make_sample


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_sample(tmp_path_factory.mktemp("sample") / "store", 45)


@pytest.mark.parametrize(
    ("format_", "begins"),
    [
        ("csv", "run,id,name,kind,state,"),
        ("jsonl", '{"version":1,'),
        ("trace", '{"displayTimeUnit":"ms",'),
        ("wfformat", '{"name": "relaxations",'),
    ],
)
def test_text_goes_to_a_file_or_to_stdout(store: Path, tmp_path: Path, format_: str, begins: str) -> None:
    shown = harmony("export", "last", "--format", format_, "-o", "-", "--store", store)
    written = harmony("export", "2", "-f", format_, "-o", tmp_path / "out", "--store", store)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert (written.returncode, written.stdout, written.stderr) == (0, "", "")
    assert shown.stdout.startswith(begins)
    assert (tmp_path / "out").read_text(encoding="utf-8") == shown.stdout


@pytest.mark.parametrize("name", ["crate", "crate.zip"])
def test_a_crate_is_a_directory_or_an_archive(store: Path, tmp_path: Path, name: str) -> None:
    words = ["relaxations", "-f", "rocrate", "-o", str(tmp_path / name), "--license", "MIT", "--store", str(store)]
    done = harmony("export", *words)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / name).is_dir() == (name == "crate")
    if name == "crate":
        document = json.loads((tmp_path / name / "ro-crate-metadata.json").read_text())
        assert {"@id": "https://spdx.org/licenses/MIT"} in [entity.get("license") for entity in document["@graph"]]


def test_what_is_there_is_replaced_with_force_only(store: Path, tmp_path: Path) -> None:
    words = ["export", "2", "-f", "csv", "-o", str(tmp_path / "out"), "--store", str(store)]
    assert harmony(*words).returncode == 0
    again = harmony(*words)
    assert (again.returncode, again.stdout) == (1, "")
    assert "out is there already" in again.stderr
    assert "--force" in again.stderr
    assert harmony(*words, "--force").returncode == 0


def test_an_interrupted_run_is_exported_with_a_remark(tmp_path: Path) -> None:
    store = make_sample(tmp_path / "store", 45, unfinished=True)
    done = harmony("export", "2", "-f", "csv", "-o", "-", "--store", store)
    assert done.returncode == 0
    assert done.stderr == "run 2 was interrupted, its driver is gone: exported as far as it came\n"
    assert done.stdout.count("\n") > 10


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (["2", "-f", "rocrate", "-o", "-"], 2, "an RO-Crate is files, not text"),
        (["2", "-f", "csv", "-o", "-", "--license", "MIT"], 2, "--license is for --format rocrate"),
        (["2", "-f", "xml", "-o", "-"], 2, "'xml' is not one of 'rocrate', 'wfformat', 'trace', 'jsonl', 'csv'"),
        (["2", "-f", "csv"], 2, "Missing option '-o'"),
        (["7", "-f", "csv", "-o", "-"], 1, "has no run 7"),
        (["relaxation", "-f", "csv", "-o", "-"], 1, "did you mean 'relaxations'?"),
        (["2", "-f", "csv", "-o", "none/out"], 1, "none/out cannot be written: No such file or directory"),
    ],
)
def test_what_cannot_be_is_refused(store: Path, words: list[str], status: int, message: str) -> None:
    done = harmony("export", *words, "--store", store)
    assert (done.returncode, done.stdout) == (status, "")
    assert message in done.stderr
