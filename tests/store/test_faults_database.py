"""Programs whose database is held by others, or damaged, come to the same results, or say what to do."""

from __future__ import annotations

import os
import random
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from tests.engines.rig import News
from tests.projects import Project, own


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Return an empty project."""
    return Project(tmp_path)


# -- held by others -------------------------------------------------------------------------------------

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
        with held(project.store):
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
    assert project.integrity() == [("ok",)]


# -- damaged --------------------------------------------------------------------------------------------

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
    damage(many.store / "store.db", how, random.Random(how))
    done = subprocess.run(
        [sys.executable, str(many.program)], env=own(), capture_output=True, text=True, timeout=50, check=False
    )
    if done.returncode:
        assert "StoreError" in done.stderr
        assert "damaged; move" in done.stderr
        assert many.ran() == []
        many.store.rename(many.directory / "away")  # as it says
        assert many.run() == RIGHT
        assert len(many.ran()) == 300
    else:
        assert done.stdout == RIGHT
        assert "Traceback" not in done.stderr
        assert len(many.ran()) in {0, 300} or "the store cannot be read" in done.stderr


def test_results_that_are_damaged_are_made_again(many: Project) -> None:
    with closing(sqlite3.connect(many.store / "store.db")) as database, database:
        for table in ("memo", "recent"):
            database.execute(f"UPDATE {table} SET value = x'80059500' WHERE task % 100 = 1")
    assert many.run() == RIGHT
    assert 0 < len(many.ran()) < 300
    assert many.run() == RIGHT
    assert many.ran() == []
