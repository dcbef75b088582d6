"""A store filled by SQL with two runs of a plausible campaign: the first was killed, the second resumed it.

Tasks come in blocks of 41: ten chains of ``prepare`` → ``relax`` → ``simulate`` (a command) → ``analyse``, and a join
``collect`` over the ten. Some relaxations are retried, after an error or a lost worker; some commands fail, and what
needs them with them; some tasks are cancelled. Everything is the same each time, and a million tasks take seconds.
"""

from __future__ import annotations

import heapq
import json
import pickle
import sqlite3
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from harmony.store.database import open_database

BLOCK, CHAINS, SLOTS = 41, 10, 4
BEGAN, MONOTONIC = 1_750_000_000.0, 5_000.0
PROGRAM = "campaign.py"
HOST, PID = "node01", 4_000_000  # above any pid that Linux gives by default
RUNNING, DONE, FAILED, CANCELLED = 2, 3, 4, 5
NAMES = ("prepare", "relax", "simulate", "analyse", "collect")
KINDS = ("call", "call", "command", "call", "join")
SHAPES = (1, 2, 3, 1, 1)
PLACES = tuple(f"worker-{number + 1}" for number in range(SLOTS))
#: Ids of texts: engine, names, places, and the place where commands run.
TEXTS = {text: number for number, text in enumerate(("local", *NAMES, *PLACES), 1)}
TASK_COLUMNS, ATTEMPT_COLUMNS, FAILURE_COLUMNS = 21, 8, 10

#: A program that holds a lock until its stdin ends.
HOLDER = """\
import fcntl, os, sys
file = open(sys.argv[1], "a")
fcntl.lockf(file, fcntl.LOCK_EX)
print(os.getpid(), flush=True)
sys.stdin.read()
"""

Row = tuple[Any, ...]


class Task(NamedTuple):
    """What is decided of a task before any row is written."""

    id: int
    stage: int
    state: int
    tries: int  # attempts that failed before the last one
    started: float | None
    ended: float
    slot: int
    path: float

    @property
    def parents(self) -> range:
        """The ids of the tasks it waited for."""
        if self.stage == 4:
            return range(self.id - CHAINS, self.id)
        return range(self.id - CHAINS, self.id - CHAINS + 1) if self.stage else range(0)


def make_sample(directory: Path, tasks: int = 200, *, unfinished: bool = False) -> Path:
    """Fill a new store; return its directory. With `unfinished`, the last run ends in the middle, like a living one."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name in ("objects", "locks"):
        (directory / name).mkdir(mode=0o700, exist_ok=True)
    base = create(directory / "store.db")
    base.execute("PRAGMA cache_size = -300000")
    try:
        base.execute("BEGIN")
        fill(base, directory, tasks, unfinished)
        base.commit()
    finally:
        base.close()
    return directory


def create(path: Path) -> sqlite3.Connection:
    """Make an empty store, as the product does."""
    return open_database(path, write=True)


def fill(base: sqlite3.Connection, directory: Path, tasks: int, unfinished: bool) -> None:
    """Write the rows of both runs."""
    base.executemany("INSERT INTO text (id, value) VALUES (?, ?)", [(number, text) for text, number in TEXTS.items()])
    base.executemany("INSERT INTO shape (id, value) VALUES (?, ?)", enumerate(map(shape, range(3)), 1))
    base.execute("INSERT INTO campaign VALUES (1, ?, 'relaxations', 0)", (PROGRAM,))
    first = tasks // 4 // BLOCK * BLOCK
    earlier = list(plan(first, ()))
    told = max((task.ended for task in earlier), default=0.0) * 0.9
    recalled = {task.id for task in earlier if task.state == DONE and task.ended <= told}
    add_run(base, directory, 1, earlier, cut=told)
    later = list(plan(tasks, recalled))
    cut = later[int(len(later) * 0.6)].ended if unfinished and later else None
    add_run(base, directory, 2, later, cut=cut, recalled=recalled)


def shape(stage: int) -> str:
    """What the tasks of a stage ask for."""
    resources: dict[str, int] = ({}, {"cpu_cores_per_process": 2}, {"process_count": 4, "memory": 2 * 10**9})[stage]
    environment = {"OMP_NUM_THREADS": "2"} if stage == 1 else {}
    return json.dumps(
        {
            "resources": resources, "walltime": 3600.0 if stage == 2 else None, "retries": 2 if stage == 1 else 0,
            "environment": environment, "directory": "/home/ada/project/work" if stage == 2 else None, "cache": "run",
        }
    )  # fmt: skip


def plan(tasks: int, recalled: Iterable[int]) -> Iterator[Task]:
    """Place the tasks on four slots, each as soon as what it needs is there."""
    done = frozenset(recalled)
    free = [(0.01 * slot, slot) for slot in range(SLOTS)]
    heapq.heapify(free)
    recent: dict[int, Task] = {}
    for id in range(1, tasks + 1):
        block, position = divmod(id - 1, BLOCK)
        stage, number = min(position // CHAINS, 4), block * CHAINS + position % CHAINS
        task = Task(id, stage, DONE, 0, None, 0.0, 0, 0.0)
        before = [recent[parent] for parent in task.parents]
        ready = max((parent.ended for parent in before), default=0.0)
        path = max((parent.path for parent in before), default=0.0)
        if id in done:
            task = task._replace(ended=0.001 + id * 1e-6)
        elif any(parent.state != DONE for parent in before):
            task = task._replace(state=FAILED, ended=ready)
        elif stage == 3 and number % 41 == 11:
            task = task._replace(state=CANCELLED, ended=ready)
        else:
            start, slot = heapq.heappop(free)
            start = max(start, ready) + 0.002
            tries = 1 if stage == 1 and number % 7 == 3 else 0
            seconds = (0.05, 2.0, 5.0, 0.4, 0.01)[stage] * (1 + number * 7 % 11 / 10)
            state = FAILED if stage == 2 and number % 37 == 5 else DONE
            end = start + seconds * (1 + tries)
            task = task._replace(state=state, tries=tries, started=start, ended=end, slot=slot, path=path + seconds)
            heapq.heappush(free, (end, slot))
        recent[id] = task
        recent.pop(id - 2 * BLOCK, None)
        yield task


def add_run(
    base: sqlite3.Connection, directory: Path, run: int, plan: list[Task], *,
    cut: float | None = None, recalled: Iterable[int] = (),
) -> None:  # fmt: skip
    """Write a run. With `cut`, it was killed, or has only come, so many seconds after it began."""
    seen = plan if cut is None else [t for t in plan if t.ended <= cut or (t.started is not None and t.started < cut)]
    ended = max((task.ended for task in seen), default=0.0) + 0.1 if cut is None else None
    rows = Rows(run, cut, recalled)
    base.execute(f"INSERT INTO run VALUES ({marks(27)})", run_row(run, plan, seen, ended, cut, rows))
    insert = {
        "task": (TASK_COLUMNS, map(rows.task, seen)),
        "attempt": (ATTEMPT_COLUMNS, (rows.attempt(task) for task in seen if task.tries)),
        "failure": (FAILURE_COLUMNS, chain.from_iterable(map(rows.failures, seen))),
        "edge": (3, ((run, task.id, parent) for task in seen for parent in task.parents)),
        "file": (7, chain.from_iterable(map(rows.files, seen))),
        "command": (3, ((run, task.id, line(task.id)) for task in seen if task.stage == 2)),
        "output": (4, map(rows.output, (t for t in seen if t.stage in (0, 2) and t.started is not None))),
        "event": (7, rows.events(ended)),
    }
    for table, (columns, values) in insert.items():
        base.executemany(f"INSERT INTO {table} VALUES ({marks(columns)})", values)
    memos = (rows.memo(directory, task) for task in seen if rows.state(task) == DONE and task.id not in rows.recalled)
    base.executemany(f"INSERT INTO memo VALUES ({marks(7)})", memos)


def marks(number: int) -> str:
    return ", ".join("?" * number)


def line(task: int) -> str:
    """The command line of a task."""
    return f"lmp -in in.{task} -log log.{task}"


def run_row(
    run: int, plan: list[Task], seen: list[Task], ended: float | None, cut: float | None, rows: Rows
) -> Row:  # fmt: skip
    states = [rows.state(task) for task in seen]
    environment = {"python": "3.11.9", "platform": "Linux-6.1-x86_64", "harmony": "0.1.0", "packages": {"numpy": "2.1"}}
    work = sum(task.ended - task.started for task in seen if task.started is not None)
    return (
        run, f"00000000-0000-4000-8000-{run:012}", 1, run - 1 or None,
        json.dumps([f"/home/ada/project/{PROGRAM}", "--steps", "100"]),
        "/home/ada/project", "ada", HOST, PID + run, f"{HOST}-{PID + run}", '["local"]', 8, json.dumps(environment),
        BEGAN + run * 3600.0, MONOTONIC + run * 3600.0, cut if ended is None else ended, len(plan) - len(seen), 0,
        states.count(RUNNING), states.count(DONE), len(rows.recalled & {task.id for task in seen}),
        states.count(FAILED), states.count(CANCELLED), ended,
        None if ended is None else "failed" if FAILED in states else "done",
        None if ended is None else work, None if ended is None else max((t.path for t in seen), default=0.0),
    )  # fmt: skip


class Rows:
    """The rows of one run."""

    def __init__(self, run: int, cut: float | None, recalled: Iterable[int]) -> None:
        self._run = run
        self._cut = float("inf") if cut is None else cut
        self.recalled = frozenset(recalled)

    def state(self, task: Task) -> int:
        """The state at the end of the run, or where it was cut."""
        return task.state if task.ended <= self._cut else RUNNING

    def task(self, task: Task) -> Row:
        id, stage, ran, name = task.id, task.stage, task.started is not None, TEXTS[NAMES[task.stage]]
        state = self.state(task)
        recalled = id in self.recalled
        over = state != RUNNING
        start = task.started
        seconds = task.ended - start if start is not None and over else None if not over else 0.0
        used = seconds if ran else None
        if task.tries and start is not None and over:
            start += (task.ended - start) / 2 + 0.001  # the next attempt begins when the first has failed
        return (
            self._run, id, name, KINDS[stage], SHAPES[stage], state, key_of(id), id * 1e-6, start,
            task.ended if over else None, seconds,
            None if used is None else used * 0.9, None if used is None else (64 + id % 100) * 2**20,
            None if used is None else 4096 * stage, None if used is None else 8192 * stage,
            TEXTS["local"] if ran else None, None if not ran else self.place(task),
            1 + task.tries if ran else 0, task.path if over else None,
            1 if recalled else None, id if recalled else None,
        )  # fmt: skip

    def place(self, task: Task) -> int:
        return TEXTS["local"] if task.stage == 2 else TEXTS[PLACES[task.slot]]

    def attempt(self, task: Task) -> Row:
        assert task.started is not None
        half = (task.ended - task.started) / 2
        place = TEXTS[PLACES[(task.slot + 1) % SLOTS]]
        return (self._run, task.id, 1, TEXTS["local"], place, task.started, task.started + half, half)

    def failures(self, task: Task) -> Iterator[Row]:
        run, id = self._run, task.id
        trace = 'Traceback (most recent call last):\n  File "campaign.py", line {}, in {}\n'
        if task.tries and id % 3:
            error = f"no convergence after {100 + id % 2 * 50} steps"
            text = trace.format(12, "relax") + f"ValueError: {error}\n"
            yield (run, id, 1, "ValueError", error, text, f"(Structure({id}), steps=100)", None, None, 1)
        elif task.tries:
            error = "worker-2 (pid 4712) was killed by signal SIGKILL (9)"
            yield (run, id, 1, "harmony.errors.WorkerLost", error, "", f"(Structure({id}),)", None, 9, 1)
        if self.state(task) != FAILED:
            return
        if task.started is None:
            error = f"{NAMES[task.stage]} was not run: simulate (task {id - CHAINS * (task.stage - 2)}) failed"
            yield (run, id, 1, "harmony.errors.DependencyError", error, "", "", None, None, 0)
        else:
            error = f"command {line(id)} ended with exit code 3; the end of its stderr:\nERROR: lost atoms"
            text = trace.format(30, "simulate") + f"harmony.errors.CommandError: {error}\n"
            yield (run, id, 1 + task.tries, "harmony.errors.CommandError", error, text, "", 3, None, 1)

    def files(self, task: Task) -> Iterator[Row]:
        if task.started is None or self.state(task) == RUNNING:
            return
        folder, mtime = "/home/ada/project/work", int((BEGAN + task.ended) * 1e9)
        if task.stage == 2:
            yield (self._run, task.id, "input", f"{folder}/in.{task.id}", 512, int(BEGAN * 1e9), key_of(-task.id))
            if self.state(task) == DONE:
                yield (self._run, task.id, "output", f"{folder}/log.{task.id}", 10_000 + task.id, mtime, None)
        elif task.stage == 3:
            name = f"log.{task.id - CHAINS}"
            yield (self._run, task.id, "input", f"{folder}/{name}", 10_000 + task.id - CHAINS, mtime, None)

    def output(self, task: Task) -> Row:
        failed = self.state(task) == FAILED
        return (self._run, task.id, f"task {task.id}: step 100 of 100\n", "ERROR: lost atoms\n" if failed else "")

    def memo(self, directory: Path, task: Task) -> Row:
        data = pickle.dumps({"task": task.id, "energy": -1.5 * task.id}, protocol=5)
        if task.stage != 4:
            return (key_of(task.id), self._run, task.id, data, None, len(data), None)
        digest = key_of(task.id + 10**9)
        path = directory / "objects" / digest.hex()[:2] / digest.hex()[2:]
        path.parent.mkdir(mode=0o700, exist_ok=True)
        path.write_bytes(data)
        return (key_of(task.id), self._run, task.id, None, digest, len(data), None)

    def events(self, ended: float | None) -> Iterator[Row]:
        facts: list[tuple[str, str, float, dict[str, Any]]] = [
            ("engine.started", "local", 0.0, {"engine": "local", "kind": "local"})
        ]
        for number, name in enumerate(PLACES):
            facts.append(
                ("worker.started", name, 0.01 * number, {"engine": "local", "pid": 4711 + number, "host": HOST})
            )
        if ended is not None:
            facts += [("worker.ended", name, ended - 0.05, {"engine": "local", "how": "closed"}) for name in PLACES]
            facts.append(("engine.closed", "local", ended - 0.01, {"engine": "local"}))
        for number, (kind, subject, at, data) in enumerate(facts, 1):
            began = BEGAN + self._run * 3600.0
            yield (self._run, number, kind, subject, began + at, at, json.dumps(data))


def key_of(task: int) -> bytes:
    """The content of a task, or of a file."""
    return (task % 2**128).to_bytes(16, "big")[::-1]


@contextmanager
def held(store: Path, lock: str) -> Iterator[int]:
    """Hold the lock of a run in another process, as a living driver does; yields its pid."""
    words = [sys.executable, "-c", HOLDER, str(store / "locks" / lock)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield int(process.stdout.readline())
        process.communicate("")
