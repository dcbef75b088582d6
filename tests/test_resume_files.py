"""A program that is run again notices files that changed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.projects import Project


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Return an empty project."""
    return Project(tmp_path)


FILES = """
@task
def write(text, to: Output):
    note("write")
    to.write_text(text)

@command
def copy(source: File, to: Output):
    return ["sh", "-c", f"echo copy >>{HERE}/ran; cp {source} {to}"]

@task
def read(path: File):
    note("read")
    return path.read_text()

if __name__ == "__main__":
    with Workflow() as wf:
        a, b = File(f"{HERE}/a"), File(f"{HERE}/b")
        write(sys.argv[1], a)
        copy(a, b)
        print(read(b).result(), read(File(f"{HERE}/input")).result())
"""


def test_files_by_content(project: Project) -> None:
    project.write(FILES)
    (project.directory / "input").write_text("in")
    assert project.run("x") == "x in\n"
    assert project.ran() == ["copy", "read", "read", "write"]
    project.run("x")
    assert project.ran() == []
    (project.directory / "input").write_text("other")
    assert project.run("x") == "x other\n"
    assert project.ran() == ["read"]
    assert project.run("y") == "y other\n"
    assert project.ran() == ["copy", "read", "write"]


@pytest.mark.parametrize("harm", ["gone", "changed"])
def test_outputs_that_were_lost(project: Project, harm: str) -> None:
    project.write(FILES)
    (project.directory / "input").write_text("in")
    project.run("x")
    project.ran()
    lost = project.directory / "b"
    lost.unlink() if harm == "gone" else lost.write_text("something else")
    assert project.run("x") == "x in\n"
    assert project.ran() == ["copy"]


def test_outputs_that_were_touched_are_still_the_same(project: Project) -> None:
    project.write(FILES)
    (project.directory / "input").write_text("in")
    project.run("x")
    project.ran()
    os.utime(project.directory / "b")
    os.utime(project.directory / "input")
    project.run("x")
    assert project.ran() == []


def test_a_project_that_was_moved(project: Project, tmp_path_factory: pytest.TempPathFactory) -> None:
    project.write(FILES)
    (project.directory / "input").write_text("in")
    project.run("x")
    project.ran()
    moved = tmp_path_factory.mktemp("moved") / "project"
    project.directory.rename(moved)
    there = Project(moved)
    assert there.run("x") == "x in\n"
    assert there.ran() == []
