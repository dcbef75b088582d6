"""A driver's lock: held while it lives, let go by its death, and looked at without harm."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.store.making import WHAT, Beginning, Run

from harmony.errors import StoreError
from harmony.store.locks import DriverLock, holder, is_held

HOLDER = """
import os, sys
from pathlib import Path
from harmony.store.locks import DriverLock
lock = DriverLock(Path(sys.argv[1]), "workflow 'w'")
lock.tell(run=7)
print("held", flush=True)
if sys.argv[2:] == ["fork"] and os.fork() == 0:
    sys.stdin.read()
    os._exit(0)
sys.stdin.read()
"""


@contextmanager
def another(path: Path, *argv: str) -> Iterator[subprocess.Popen[str]]:
    """Another process holds the lock, until it is killed or the block ends."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path), *argv], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process


def test_it_is_held_until_it_is_released(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    assert not is_held(path)
    lock = DriverLock(path, "w")
    assert is_held(path)
    assert holder(path)["pid"] == os.getpid()
    lock.release()
    lock.release()
    assert not is_held(path)
    assert holder(path) == {}
    DriverLock(path, "w").release()


def test_one_process_takes_it_once(tmp_path: Path) -> None:
    lock = DriverLock(tmp_path / "lock", "w")
    with pytest.raises(StoreError, match="w is being run by process"):
        DriverLock(tmp_path / "lock", "w")
    assert is_held(tmp_path / "lock")
    lock.release()


def test_another_process_is_named(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with another(path) as process:
        assert is_held(path)
        with pytest.raises(StoreError) as refused:
            DriverLock(path, "workflow 'w'")
        assert f"workflow 'w' is being run as run 7 by process {process.pid} on " in str(refused.value)
        assert is_held(path)  # looking, and trying, took nothing from it
    assert not is_held(path)


def test_death_lets_go(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with another(path) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not is_held(path)
        assert holder(path)["pid"] == process.pid  # who it was is still told
        DriverLock(path, "w").release()


def test_those_it_forked_do_not_hold_it(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with another(path, "fork") as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not is_held(path)
        assert process.stdin is not None
        process.stdin.close()  # which ends the child


def test_another_process_sees_ours(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    lock = DriverLock(path, "w")
    code = "import sys; from pathlib import Path; from harmony.store.locks import *; print(is_held(Path(sys.argv[1])))"
    ask = [sys.executable, "-c", code, str(path)]
    assert subprocess.run(ask, capture_output=True, text=True, check=True).stdout == "True\n"
    for _ in range(3):
        is_held(path)  # the file of a lock of our own must not be opened and closed: that would let go of it
    assert subprocess.run(ask, capture_output=True, text=True, check=True).stdout == "True\n"
    lock.release()
    assert subprocess.run(ask, capture_output=True, text=True, check=True).stdout == "False\n"


def test_a_number_that_is_used_again_is_not_taken_for_ourselves(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    (tmp_path / "lock.driver").write_text(f'{{"pid": {os.getpid()}, "process": "of another life"}}')
    path.touch()
    assert not is_held(path)
    DriverLock(path, "w").release()


def test_a_run_has_one_driver(tmp_path: Path) -> None:
    with Run(tmp_path):
        with pytest.raises(StoreError, match=r"workflow 'screen' of campaign.py is being run as run 1 by process"):
            Run(tmp_path)
        Run(tmp_path, Beginning(program="campaign.py", workflow="screen", argv=["campaign.py", "-y"])).end()
    Run(tmp_path, WHAT).end()


def test_sessions_at_a_prompt_do_not_exclude_each_other(tmp_path: Path) -> None:
    what = Beginning(program="<interactive>", workflow="w")
    with Run(tmp_path, what) as run:
        [(name,)] = run.rows("SELECT lock FROM run")
        assert is_held(tmp_path / "locks" / name)
    code = f"import sys; from tests.store.making import *; Run(__import__('pathlib').Path(sys.argv[1]), {what!r}).end()"
    with Run(tmp_path, what):
        subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
