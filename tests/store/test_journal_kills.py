"""What a future has reported as done survives the death of the driver; and several drivers use one store."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.store.making import Beginning, Run, look

ROOT = Path(__file__).parent.parent.parent

#: Writes without end, or so many tasks; says which are safe.
DRIVER = """
import itertools, os, sys
from pathlib import Path
from tests.store.making import *

def tell(self, ended):
    os.write(1, b"".join(b"%d\\n" % made.id for made in ended))

directory, program, count, size = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
Told.__call__ = tell
run = Run(directory, Beginning(program=program, workflow="w"))
ids = iter(range(1, count + 1)) if count else itertools.count(1)
while batch := list(itertools.islice(ids, size)):
    entries = []
    for id in batch:
        made = record(id, key=b"%s %d %d" % (program.encode(), run.journal.run_id, id))
        entries += [Started(made, made.started), done(made, bytes(20_000 + id) if id % 5 == 0 else id)]
    run.journal.write(entries)
    if id % 3 == 0 or not count:
        run.journal.flush()
run.end()
"""


def start(directory: Path, program: str = "p", count: int = 0, size: int = 7) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", DRIVER, str(directory), program, str(count), str(size)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT)


@pytest.mark.parametrize("size", [7, 700], ids=["by and by", "in floods"])
def test_what_was_reported_survives_a_kill(tmp_path: Path, scale: Callable[[int, int], int], size: int) -> None:
    chance = random.Random(4)
    for number in range(1, 2 * scale(5, 50), 2):  # the runs between are those of `check_found`
        with start(tmp_path, size=size) as driver:
            assert driver.stdout is not None
            seen = [int(driver.stdout.readline()) for _ in range(chance.randrange(1, 400 + 3 * size))]
            driver.send_signal(signal.SIGKILL)
            rest = driver.stdout.read()
            seen += [int(line) for line in rest.splitlines(keepends=True) if line.endswith(b"\n")]
        assert look(tmp_path, "PRAGMA integrity_check") == [("ok",)]
        rows = look(tmp_path, f"SELECT id FROM task WHERE run = {number} AND state = 3")
        assert {row[0] for row in rows} >= set(seen) == set(range(1, len(seen) + 1))
        check_found(tmp_path, number, seen)


def check_found(directory: Path, number: int, ids: list[int]) -> None:
    """Each result of a run is found, and whole."""
    with Run(directory, Beginning(program="reader", workflow="w")) as run:
        for id in ids:
            found = run.journal.find(b"p %d %d" % (number, id))
            assert found is not None, (number, id)
            assert run.journal.load(found) == (bytes(20_000 + id) if id % 5 == 0 else id)


def test_several_programs_write_one_store(tmp_path: Path, scale: Callable[[int, int], int]) -> None:
    count = scale(700, 20_000)
    drivers = [start(tmp_path, program, count) for program in "abc"]
    for driver in drivers:
        with driver:
            told, _ = driver.communicate()
            assert driver.returncode == 0
            assert len(told.splitlines()) == count
    rows = look(tmp_path, "SELECT run, count(*), sum(state) FROM task GROUP BY run ORDER BY run")
    assert rows == [(number, count, 3 * count) for number in (1, 2, 3)]
    assert look(tmp_path, "SELECT count(*) FROM run WHERE state = 'done'") == [(3,)]
    assert look(tmp_path, "SELECT count(*) FROM text WHERE value = 'work'") == [(1,)]
    assert look(tmp_path, "PRAGMA integrity_check") == [("ok",)]
