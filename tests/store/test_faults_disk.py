"""Programs whose disk is full, or cannot be written, come to the same results, and say what is wrong."""

from __future__ import annotations

import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.projects import Project, own

DISK = """
@task
def fill(x):
    if os.access(HERE, os.W_OK):
        note(f"fill {x}")
    return bytes([x]) * (2000 if x % 50 else 30_000)

def use_up(path):
    with open(path, "wb", buffering=0) as stream:
        for size in (65536, 512, 1):
            try:
                while True:
                    stream.write(bytes(size))
            except OSError as error:
                print(error.strerror)

if __name__ == "__main__":
    store, *words = sys.argv[1:]
    with Workflow(store=True if store == "default" else store) as wf:
        first = gather(wf.map(fill, range(20)))
        if "full" in words:
            use_up(f"{store}/../filler")
        second = gather(wf.map(fill, range(20, 220)))
        if "emptied" in words:
            os.unlink(f"{store}/../filler")
        print(sum(map(len, first + second)), wf.report().counts.recalled)
"""
CHECK = "import sqlite3; print(*sqlite3.connect('disk/store/store.db').execute('PRAGMA integrity_check'))"
#: Mounts a small disk for the rest of a script, and for nobody else.
UNSHARE = ["unshare", "--map-root-user", "--mount", "sh", "-c"]
MOUNT = "mount -t tmpfs -o size=6m none disk"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Return an empty project."""
    return Project(tmp_path)


@pytest.fixture
def disk(project: Project) -> Project:
    """Return a project whose scripts have a small disk."""
    (project.directory / "disk").mkdir()
    if shutil.which("unshare") is None or on_disk(project, "true").returncode:
        pytest.skip("no disk can be mounted here")
    project.write(DISK)
    return project


def on_disk(project: Project, *steps: str) -> subprocess.CompletedProcess[str]:
    """Run a script with the disk, until a step fails; `campaign WORD…` runs the program, with its store there."""
    script = " && ".join([MOUNT, *steps]).replace("campaign ", "python campaign.py disk/store ")
    script = script.replace("python ", f"{shlex.quote(sys.executable)} ")
    return subprocess.run(
        [*UNSHARE, script], env=own(), cwd=project.directory, capture_output=True, text=True, timeout=50, check=False
    )


def test_a_disk_that_is_full_for_a_while(disk: Project) -> None:
    done = on_disk(disk, "campaign full emptied", "campaign ", "python -m harmony status --store disk/store")
    assert done.returncode == 0, done.stderr
    assert "580000 0" in done.stdout
    assert "580000 216" in done.stdout
    assert len(disk.ran()) == 224, "large results, which are files of their own, are written at once or not at all"
    assert done.stderr.count("the store cannot be written (") == 1
    assert done.stderr.count("4 tasks that have ended are not in the store") == 1


def test_a_disk_that_stays_full(disk: Project) -> None:
    (disk.directory / "check.py").write_text(CHECK)
    done = on_disk(disk, "campaign full", "rm disk/filler", "campaign ", "python check.py")
    assert done.returncode == 0, done.stderr
    lost = int(re.findall(r"(\d+) tasks that have ended are not in the store", done.stderr)[0])
    assert 0 < lost <= 200
    assert f"580000 {220 - lost}" in done.stdout
    assert len(disk.ran()) == 220 + lost
    assert done.stdout.endswith("('ok',)\n")


def test_a_disk_that_is_full_at_the_start(disk: Project) -> None:
    done = on_disk(disk, "cat /dev/zero > disk/filler 2>/dev/null; campaign ")
    assert done.returncode == 1
    assert "there is room, or name a store elsewhere" in done.stderr
    assert disk.ran() == []


def test_a_disk_that_cannot_be_written(disk: Project) -> None:
    """Who has chosen the store is told; who has not only wants the program to run."""
    done = on_disk(
        disk, "campaign ", "mount -o remount,ro disk", "python -m harmony runs --store disk/store", "campaign "
    )
    assert "done\t220" in done.stdout
    assert done.returncode == 1
    assert "StoreError" in done.stderr
    assert "name a store elsewhere with --store or HARMONY_STORE, or use none" in done.stderr
    assert len(disk.ran()) == 220
    done = on_disk(disk, "cp campaign.py disk", "mount -o remount,ro disk", "python disk/campaign.py default")
    assert done.returncode == 0
    assert "580000 0" in done.stdout
    assert done.stderr.count("is not recorded and cannot be resumed") == 1


HALF = """
import signal

@task
def large():
    note("large")
    return bytes(1_000_000)

def die(half, whole):
    assert half.stat().st_size > 1_000_000
    os.kill(os.getpid(), signal.SIGKILL)

if __name__ == "__main__":
    with Workflow() as wf:
        if "DIE" in os.environ:
            os.replace = lambda half, whole: die(half, whole) if str(half).endswith(".part") else os.rename(half, whole)
        print(len(large().result()))
"""


def test_a_large_result_that_was_being_written_when_the_driver_died(project: Project) -> None:
    project.write(HALF)
    for _ in range(3):
        project.run(status=-signal.SIGKILL, DIE="now")
    assert project.run() == "1000000\n"
    assert project.ran() == ["large"] * 4
    assert project.run() == "1000000\n"
    assert project.ran() == []
    assert len([path for path in (project.store / "objects").rglob("*") if path.is_file()]) == 1
