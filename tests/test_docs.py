"""The documentation is true: its programs run and print what it says, and its links lead somewhere.

A ``python`` block is a whole program, run alone in an empty directory. An ``output`` block after it is what the
program prints. A block that cannot run everywhere says so behind its language: ``python no-run``.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
FENCE = re.compile(r"^```(\S*) ?(.*?)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")


class Sample(NamedTuple):
    """A program of a page, and what it prints if the page says so."""

    name: str
    program: str
    output: str | None
    needs_mpi: bool


def samples(page: Path) -> list[Sample]:
    """The programs of a page, in their order."""
    found: list[Sample] = []
    previous = ""
    for match in FENCE.finditer(page.read_text(encoding="utf-8")):
        language, more, body = match.groups()
        line = page.read_text(encoding="utf-8").count("\n", 0, match.start()) + 1
        if language == "python" and "no-run" not in more:
            found.append(Sample(f"{page.relative_to(ROOT)}:{line}", body, None, "ranks=" in body))
        elif language == "output" and previous == "python":
            found[-1] = found[-1]._replace(output=body)
        previous = language
    return found


ALL = [sample for page in PAGES for sample in samples(page)]
INDEXED = [page for page in PAGES if page.parent.name in ("howto", "reference", "explain", "decisions")]
MARKED = [pytest.param(s, id=s.name, marks=[pytest.mark.mpi] if s.needs_mpi else []) for s in ALL]


@pytest.mark.parametrize("sample", MARKED)
def test_a_sample_runs_and_prints_what_the_page_says(sample: Sample, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(sample.program, encoding="utf-8")
    command = [sys.executable, "-W", "error", str(program)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, stdin=subprocess.DEVNULL, check=False)
    assert done.returncode == 0, done.stderr
    if sample.output is not None:
        assert done.stdout == sample.output, done.stderr


def test_the_pages_have_samples() -> None:
    assert {sample.name.partition(":")[0] for sample in ALL} >= {"docs/start.md", "docs/howto/files.md"}


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_links_lead_somewhere(page: Path) -> None:
    links = LINK.findall(FENCE.sub("", page.read_text(encoding="utf-8")))
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", INDEXED)
def test_every_page_is_linked_from_the_index(page: Path) -> None:
    index = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    assert f"({page.relative_to(ROOT / 'docs')})" in index
