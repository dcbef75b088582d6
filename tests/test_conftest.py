"""The check for leftovers finds what it is for, and nothing else."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

PROGRAM = """
import subprocess, threading
import pytest

gate = threading.Event()

@pytest.fixture(scope="module", autouse=True)
def end_it_all():
    yield
    gate.set()

def test_thread():
    threading.Thread(target=gate.wait, daemon=True).start()

def test_child():
    global child
    child = subprocess.Popen(["sleep", "20"])

def test_unreaped():
    global unreaped
    child.kill()
    child.wait()
    unreaped = subprocess.Popen(["true"])

def test_orphan():
    unreaped.wait()
    subprocess.run(["sh", "-c", "sleep 20 >/dev/null 2>&1 & echo orphan $!"], check=True)

@pytest.mark.leaves_threads("to see that it may")
def test_excused_thread():
    threading.Thread(target=gate.wait, daemon=True).start()

@pytest.mark.leaves_processes("to see that it may")
def test_excused_orphan():
    subprocess.run(["sh", "-c", "sleep 20 >/dev/null 2>&1 & echo orphan $!"], check=True)

def test_tidy():
    thread = threading.Thread(target=int)
    thread.start()
    subprocess.run(["true"], check=True)

@pytest.mark.slow
def test_slow(): ...
"""


def test_leftovers_fail_the_test_that_left_them(tmp_path: Path) -> None:
    root = Path(__file__).parent.parent
    (tmp_path / "test_program.py").write_text(PROGRAM, encoding="utf-8")
    (tmp_path / "conftest.py").write_text((root / "tests" / "conftest.py").read_text(encoding="utf-8"))
    options = ["-c", str(root / "pyproject.toml"), "--rootdir", str(tmp_path), "-p", "no:cacheprovider"]
    command = [sys.executable, "-m", "pytest", *options, "--patience", "0.1", "-rEs", "-s", "-v", str(tmp_path)]
    text = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False).stdout
    orphans = re.findall(r"orphan (\d+)", text)
    for orphan in orphans:
        os.kill(int(orphan), signal.SIGKILL)
    assert len(orphans) == 2
    errors = re.findall(r"^ERROR \S+::(\w+)", text, re.MULTILINE)
    assert errors == ["test_thread", "test_child", "test_unreaped", "test_orphan"], text
    assert "7 passed, 1 skipped, 4 errors" in text, text
