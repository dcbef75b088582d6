"""Programs whose clock, disk or database fails them: they come to the same results, and say what is wrong."""

from __future__ import annotations

import json
import os
import random
import re
import shlex
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from tests.cli_commands import harmony
from tests.engines.rig import News
from tests.projects import Project

from harmony.store.history import History


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Return an empty project."""
    return Project(tmp_path)


def store_of(project: Project) -> Path:
    return project.directory / ".harmony"


def attempt(project: Project) -> subprocess.CompletedProcess[str]:
    """Run the program, whatever comes of it."""
    return subprocess.run(
        [sys.executable, str(project.program)], env=own(), capture_output=True, text=True, timeout=50, check=False
    )


def own() -> dict[str, str]:
    """The environment of a user who names no store."""
    return {key: value for key, value in os.environ.items() if key != "HARMONY_STORE"}


def integrity(store: Path) -> list[tuple[str]]:
    with closing(sqlite3.connect(store / "store.db")) as database:
        return database.execute("PRAGMA integrity_check").fetchall()


# -- the clock ----------------------------------------------------------------------------------------

CLOCK = """
import time

real, ahead = time.time, [float(os.environ.get("AHEAD", 0))]
time.time = lambda: real() + ahead[0]

@task
def write(x, to: Output):
    note(f"write {x}")
    to.write_text(str(x))
    return x

@task(retries=1)
def read(source: File):
    note(f"read {source.name}")
    if not os.path.exists(f"{HERE}/tried"):
        open(f"{HERE}/tried", "w").close()
        raise ValueError("not yet")
    return source.read_text()

if __name__ == "__main__":
    with Workflow() as wf:
        for i in range(4):
            write(i, File(f"{HERE}/out{i}")).result()
            ahead[0] -= 3600  # it steps back by an hour, again and again
            print(read(File(f"{HERE}/out{i}")).result(), end=" ")
        print(read(File(f"{HERE}/input")).result())
    print(wf.report().wall >= 0)
"""


@pytest.fixture
def stepped(project: Project) -> Project:
    """Return a project that was run by a clock that stepped back, then by one that was a day behind."""
    project.write(CLOCK)
    (project.directory / "input").write_text("in")
    assert project.run(AHEAD="0") == "0 1 2 3 in\nTrue\n"
    assert len(project.ran()) == 10
    assert project.run(AHEAD="-86400") == "0 1 2 3 in\nTrue\n"
    assert project.ran() == []
    return project


def test_a_clock_that_steps_back_puts_nothing_out_of_order(stepped: Project) -> None:
    with History(store_of(stepped)) as history:
        last, first = history.runs()
        assert (last.id, last.resumes, last.recalled, last.status) == (2, first.id, 9, "done")
        assert history.run(None).id == last.id
        for run in (first, last):
            times = [event["monotonic"] for event in history.events(run.id)]
            assert times == sorted(times)
            for task in history.tasks(run.id):
                at = [at for at in (0.0, task.accepted, task.started, task.ended, run.ended) if at is not None]
                assert at == sorted(at)
                assert task.seconds is None or task.seconds >= 0
            for attempt in history.attempts(run.id):
                assert attempt.started is not None
                assert attempt.ended is not None
                assert 0 <= attempt.started <= attempt.ended


SHOWN = (
    "runs", "status", "show 1", "show 1 1", "report 1 -o report.html", "export 1 --format jsonl -o events",
    "export 1 --format wfformat -o instance", "export 1 --format rocrate -o crate", "export 1 --format trace -o trace",
)  # fmt: skip


def test_it_is_shown_all_the_same(stepped: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(stepped.directory)
    monkeypatch.delenv("HARMONY_STORE")
    for words in SHOWN:
        done = harmony(*words.split())
        assert done.returncode == 0, done.stderr
        assert "error" not in done.stderr.lower()
    trace = json.loads((stepped.directory / "trace").read_text())["traceEvents"]
    assert all(event.get("ts", 0) >= 0 and event.get("dur", 0) >= 0 for event in trace)


def test_files_from_the_future(project: Project) -> None:
    project.write(CLOCK)
    later = 4_000_000_000
    (project.directory / "input").write_text("in")
    os.utime(project.directory / "input", (later, later))
    project.run()
    project.ran()
    for path in project.directory.glob("out*"):
        os.utime(path, (later, later))
    assert project.run() == "0 1 2 3 in\nTrue\n"
    assert project.ran() == []
    (project.directory / "input").write_text("IN")  # as long as it was, and changed in the same moment
    os.utime(project.directory / "input", (later, later))
    assert project.run() == "0 1 2 3 IN\nTrue\n"
    assert project.ran() == ["read input"]


# -- a database that others hold ------------------------------------------------------------------------

HELD = """
@task
def square(x):
    note(f"square {x}")
    return x * x

def tell(text):
    with open(f"{HERE}/news", "w") as stream:
        stream.write(f"{text}\\n")

if __name__ == "__main__":
    with Workflow() as wf:
        print(gather(wf.map(square, range(3))))
        if os.path.exists(f"{HERE}/news"):
            tell("begun")
            open(f"{HERE}/go").close()
            print(gather(wf.map(square, range(3, 6))))
            tell("done")
            open(f"{HERE}/go").close()
        print(gather(wf.map(square, range(6, 9))))
"""


@contextmanager
def held(store: Path) -> Iterator[None]:
    """Another process writes, and does not come to the end."""
    with closing(sqlite3.connect(store / "store.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        yield
        other.execute("ROLLBACK")


def test_a_database_that_another_process_holds_while_tasks_run(project: Project) -> None:
    project.write(HELD)
    news = News(project.directory / "news")
    os.mkfifo(project.directory / "go")
    with subprocess.Popen(
        [sys.executable, str(project.program)], env=own(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as driver:
        news.hear()
        with held(store_of(project)):
            (project.directory / "go").write_text("")
            news.hear()  # futures are done although nothing can be written, after a while, and with a warning
        (project.directory / "go").write_text("")
        out, err = driver.communicate(timeout=60)
    news.close()
    os.unlink(news.path)
    assert (out.splitlines(), driver.returncode) == (["[0, 1, 4]", "[9, 16, 25]", "[36, 49, 64]"], 0)
    assert err.count("the store cannot be written") == err.count("the store can be written again") == 1
    assert len(project.ran()) == 9
    project.write(HELD.replace("range(3)", "range(6)"))
    assert project.run() == "[0, 1, 4, 9, 16, 25]\n[36, 49, 64]\n"
    assert project.ran() == []
    assert integrity(store_of(project)) == [("ok",)]


# -- the disk -------------------------------------------------------------------------------------------

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
    assert "not in the store" not in done.stderr


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


# -- a damaged database ---------------------------------------------------------------------------------

MANY = """
@task
def square(x):
    note(f"square {x}")
    return [x * x, str(x) * 50]

if __name__ == "__main__":
    with Workflow() as wf:
        print(sum(value for value, _ in gather(wf.map(square, range(300)))))
"""
RIGHT = "8955050\n"


@pytest.fixture
def many(project: Project) -> Project:
    """Return a project with a store that has a few hundred results."""
    project.write(MANY)
    assert project.run() == RIGHT
    project.ran()
    return project


def damage(path: Path, how: str, chance: random.Random) -> None:
    """Do something to a database that SQLite would not."""
    size = path.stat().st_size
    if how == "truncated":
        os.truncate(path, size // 2)
    elif how == "another file":
        path.write_text("something else\n" * 1000)
    elif how == "a journal of nothing":
        Path(f"{path}-wal").write_bytes(chance.randbytes(100_000))
    else:
        with open(path, "r+b") as file:
            for page in [0] if how == "the first page" else chance.sample(range(1, size // 4096), 3):
                file.seek(page * 4096)
                file.write(chance.choice([bytes(4096), chance.randbytes(4096)]))


@pytest.mark.parametrize(
    "how", ["truncated", "another file", "a journal of nothing", "the first page", *(f"pages {i}" for i in range(6))]
)
def test_a_damaged_database_is_refused_or_does_no_harm(many: Project, how: str) -> None:
    damage(store_of(many) / "store.db", how, random.Random(how))
    done = attempt(many)
    if done.returncode:
        assert "StoreError" in done.stderr
        assert "damaged; move" in done.stderr
        assert many.ran() == []
        store_of(many).rename(many.directory / "away")  # as it says
        assert many.run() == RIGHT
        assert len(many.ran()) == 300
    else:
        assert done.stdout == RIGHT
        assert "Traceback" not in done.stderr
        assert len(many.ran()) in {0, 300} or "the store cannot be read" in done.stderr


def test_results_that_are_damaged_are_made_again(many: Project) -> None:
    with closing(sqlite3.connect(store_of(many) / "store.db")) as database, database:
        for table in ("memo", "recent"):
            database.execute(f"UPDATE {table} SET value = x'80059500' WHERE task % 100 = 1")
    assert many.run() == RIGHT
    assert 0 < len(many.ran()) < 300
    assert many.run() == RIGHT
    assert many.ran() == []


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
    assert len([path for path in (store_of(project) / "objects").rglob("*") if path.is_file()]) == 1
