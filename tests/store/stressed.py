"""A campaign of small tasks with files, that is killed and resumed: see test_stress.py.

It runs beside its store: ``stressed.py BLOCKS``. Each task appends to ``log`` when it starts and when it ends, and so
does the driver when a future has told it that a task is done; each line is ``WHAT TASK ROUND``, the round being the
driver's number. For each task that is done a byte follows on stdout: ``.``, or ``r`` if it was recalled. In the end
``results`` holds what all came to.
"""

from __future__ import annotations

import functools
import hashlib
import os
import shlex
import sys
from pathlib import Path
from typing import Any

from harmony import CommandResult, File, Output, TaskFuture, Workflow, command, gather, join, task

HERE = os.path.dirname(os.path.abspath(__file__))
#: Results of so many bytes are in the database, in a file of their own, in shared memory on their way.
SIZES = (32, 32, 32, 32, 40_000, 32, 32, 32, 32, 200_000)


def note(what: str, name: str) -> None:
    """Append a line to the log, whole or not at all."""
    descriptor = os.open(os.path.join(HERE, "log"), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(descriptor, f"{what} {name} {os.environ['STRESS_ROUND']}\n".encode())
    os.close(descriptor)


def noting(what: str, name: str) -> str:
    """The same in a command."""
    return f"echo {what} {name} $STRESS_ROUND >> {shlex.quote(os.path.join(HERE, 'log'))}"


def content(seed: str, size: int) -> bytes:
    """Take a moment, and return the same bytes each time."""
    return hashlib.shake_256(hashlib.pbkdf2_hmac("sha256", seed.encode(), b"", 8000)).digest(size)


def is_first(name: str) -> bool:
    """True once, whoever asks."""
    try:
        os.mkdir(os.path.join(HERE, "tried", name))
    except FileExistsError:
        return False
    return True


@task
def draw(name: str, size: int) -> bytes:
    note("start", name)
    value = content(name, size)
    note("end", name)
    return value


@task(cache="always")
def shared(name: str) -> list[str]:
    note("start", name)
    value = [content(name, 8).hex()]
    note("end", name)
    return value


@task
def write(name: str, value: bytes, to: Output) -> None:
    note("start", name)
    with to.open("w") as stream:
        for i in range(0, len(value), 16):
            stream.write(f"{value[i : i + 16].hex()}\n")
    note("end", name)


@command(retries=1)
def change(name: str, source: File, to: Output, is_shaky: bool) -> str:
    tried = shlex.quote(os.path.join(HERE, "tried", name))
    fails = f"mkdir {tried} 2>/dev/null && exit 1; " if is_shaky else ""
    steps = f"tr a-f A-F < {shlex.quote(str(source))} | sort > {shlex.quote(str(to))} && cksum < {shlex.quote(str(to))}"
    return f"{noting('start', name)}; {fails}{steps} && {noting('end', name)}"


@task
def read(name: str, source: File) -> tuple[int, str]:
    note("start", name)
    data = source.read_bytes()
    note("end", name)
    return len(data), hashlib.sha256(data).hexdigest()


@task(retries=2)
def shaky(name: str, value: tuple[int, str]) -> str:
    note("start", name)
    if is_first(name):
        raise ConnectionError("not yet")
    note("end", name)
    return f"{name} {value}"


@task
def fold(name: str, *values: Any) -> bytes:
    note("start", name)
    value = hashlib.sha256(repr(values).encode()).digest()
    note("end", name)
    return value


@task
def merge(name: str, sources: list[File], to: Output) -> int:
    note("start", name)
    to.write_bytes(b"".join(source.read_bytes() for source in sources))
    note("end", name)
    return to.stat().st_size


def seen(name: str, future: TaskFuture[Any]) -> TaskFuture[Any]:
    """Let the log say when the future has said that its task is done."""

    def tell(name: str, done: TaskFuture[Any]) -> None:
        if not done.cancelled() and done.exception() is None:
            note("done", name)
            os.write(1, b"." if done.place else b"r")

    future.add_done_callback(functools.partial(tell, name))
    return future


@join
def spread(number: int, parent: bytes) -> list[TaskFuture[Any]]:
    names = [f"leaf-{number}-{i}" for i in range(parent[0] % 2 + 1)]
    return [seen(name, fold(name, parent)) for name in names]


def block(number: int, changed: list[File]) -> list[TaskFuture[Any]]:
    """Submit ten tasks or so."""

    def named(kind: str) -> str:
        return f"{kind}-{number}"

    first, second = File(HERE, "files", named("first")), File(HERE, "files", named("second"))
    small = seen(named("small"), draw(named("small"), 64 + number))
    large = seen(named("large"), draw(named("large"), SIZES[number % len(SIZES)]))
    both = f"both-{number // 2}"
    found: list[TaskFuture[Any]] = [
        small,
        large,
        seen(named("write"), write(named("write"), small, first)),
        seen(named("change"), change(named("change"), first, second, number % 7 == 0)),
        seen(both, shared(both)),
        spread(number, large),
    ]
    size = seen(named("read"), read(named("read"), second))
    again = seen(named("shaky"), shaky(named("shaky"), size))
    found += [size, again, seen(named("fold"), fold(named("fold"), large, again, found[4]))]
    changed.append(second)
    if len(changed) == 8:
        to = File(HERE, "files", named("merge"))
        found.append(seen(named("merge"), merge(named("merge"), list(changed), to)))
        changed.clear()
    return found


def plain(value: Any) -> Any:
    """What a result says that does not depend on where and when it came to be."""
    if isinstance(value, CommandResult):
        return value.stdout, value.stderr, [os.path.relpath(path, HERE) for path in value.outputs]
    return value


def main(blocks: int) -> None:
    for folder in ("files", "tried"):
        os.makedirs(os.path.join(HERE, folder), exist_ok=True)
    changed: list[File] = []
    with Workflow("stressed", workers=3) as wf:
        futures = [future for number in range(blocks) for future in block(number, changed)]
        folds = [future for future in futures if future.name == "fold"]
        futures.append(seen("total", fold("total", *folds)))
        results = [plain(value) for value in gather(futures)]
    if wf.report().ok:
        Path(HERE, "results").write_text(
            "".join(f"{result!r}\n" for result in results)
        )  # a pickle tells of identity too


if __name__ == "__main__":
    main(int(sys.argv[1]))
