"""What the tasks of the suite do. Workers import this module, so it imports little."""

from __future__ import annotations

import fcntl
import hashlib
import os
import signal
import socket
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# -- gates and news -------------------------------------------------------------------------------


def pass_gate(path: str, value: Any = None) -> Any:
    """Wait until the gate is open."""
    with open(path, "rb") as stream:
        fcntl.flock(stream, fcntl.LOCK_SH)
    return value


def tell(news: str, text: object) -> None:
    """Write a line, at once."""
    descriptor = os.open(news, os.O_WRONLY)
    os.write(descriptor, f"{text}\n".encode())
    os.close(descriptor)


def hold(gate: str, news: str, value: Any = None) -> Any:
    """Tell this process's id, then wait at the gate."""
    tell(news, os.getpid())
    return pass_gate(gate, value)


def hold_for_ever(news: str) -> None:
    """Tell this process's id, and do not return."""
    tell(news, os.getpid())
    threading.Event().wait()


def ignore_all() -> None:
    """Do not return, and catch all that can be caught."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        try:
            threading.Event().wait()
        except BaseException:  # noqa: BLE001  that is the point
            continue


def hold_from(gate: str, news: str, text: str) -> str:
    """Tell this machine's name, this process's id and what was given, then wait at the gate."""
    tell(news, f"{socket.gethostname()} {os.getpid()} {text}")
    return str(pass_gate(gate, text))


def visible_gpus() -> str:
    """Return the GPUs that this task may see."""
    names = ("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "ZE_AFFINITY_MASK")
    return next(filter(None, map(os.environ.get, names)), "")


def hold_gpus(gate: str, news: str) -> str:
    """Tell which GPUs this task may see, then wait at the gate."""
    seen = visible_gpus()
    tell(news, seen)
    return str(pass_gate(gate, seen))


def note(path: str, text: object) -> None:
    """Append a line to a file, at once."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(descriptor, f"{text}\n".encode())
    os.close(descriptor)


def enter_and_leave(log: str, name: object) -> None:
    """Note "in NAME" and "out NAME", with enough between for another to come in, if it could."""
    note(log, f"in {name}")
    hashlib.sha256(bytes(6_000_000))
    note(log, f"out {name}")


# -- values ---------------------------------------------------------------------------------------


class Counter:
    """An object with methods, whose instances can be called."""

    def __init__(self, base: int) -> None:
        self.base = base

    def __call__(self, number: int) -> int:
        return self.base + number

    def times(self, number: int) -> int:
        """Return the product."""
        return self.base * number


def identity(value: Any) -> Any:
    """Return what was given."""
    return value


def square(number: int) -> int:
    """Return the square."""
    return number * number


def add(*numbers: int) -> int:
    """Return the sum."""
    return sum(numbers)


def echo(*args: Any, **kwargs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return all that was given."""
    return args, kwargs


def add_arrays(one: Any, other: Any) -> Any:
    """Return the sum of two arrays."""
    return one + other


def digest(data: Any) -> tuple[int, str]:
    """Return the size of bytes, and a hash of them."""
    return len(data), hashlib.sha256(data).hexdigest()


def pattern(size: int) -> bytes:
    """Return so many bytes that are not all alike."""
    block = bytes(range(256)) * 4096
    return (block * (size // len(block) + 1))[:size]


def say(text: str) -> str:
    """Print, and return what was printed."""
    print(text)  # noqa: T201  prints of tasks are what is tested
    return text


def say_and_fail(text: str) -> None:
    """Print, on both streams, and fail."""
    print(text, flush=True)  # noqa: T201  as above
    print("to stderr", file=sys.stderr)  # noqa: T201  as above
    raise ValueError(text)


def variables(*names: str) -> list[str | None]:
    """Return the values of environment variables."""
    return [os.environ.get(name) for name in names]


def touch(path: str) -> str:
    """Make an empty file."""
    Path(path).touch()
    return path


def copy_upper(source: str, target: str) -> int:
    """Write a file's text in capitals into another; return its length."""
    text = Path(source).read_text()
    Path(target).write_text(text.upper())
    return len(text)


# -- failures -------------------------------------------------------------------------------------


def fail_on(number: int, bad: int) -> int:
    """Fail for one number."""
    if number == bad:
        raise ValueError(f"{number} is bad")
    return number


def leave(code: int) -> None:
    """Call sys.exit, as programs do."""
    sys.exit(code)


def kill_myself(unless: Sequence[int] = ()) -> None:
    """Kill this process with SIGKILL, unless it is one of these."""
    if os.getpid() in unless:
        raise RuntimeError("the task runs in the driver's own process, which it would have killed")
    os.kill(os.getpid(), signal.SIGKILL)


def kill_once(marker: str, value: Any = None) -> Any:
    """Kill this process with SIGKILL, but only the first time."""
    try:
        os.close(os.open(marker, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return value
    os.kill(os.getpid(), signal.SIGKILL)
    return None


# -- ranks ----------------------------------------------------------------------------------------


def on_each_rank(comm: Any, base: int) -> tuple[int, int, int]:
    """Print and return what a rank knows of itself and of the others."""
    print("rank", comm.rank)  # noqa: T201  as above
    return comm.size, comm.rank, comm.allreduce(base + comm.rank)


def fail_on_rank(comm: Any, bad: int) -> None:
    """Raise on one rank, while the others wait for it."""
    if comm.rank == bad:
        raise LookupError(f"on rank {bad}")
    comm.Barrier()


def die_on_rank(comm: Any, bad: int) -> None:
    """End one rank without a word, while the others wait for it."""
    if comm.rank == bad:
        os._exit(9)
    comm.Barrier()


def hold_ranks(comm: Any, gate: str, news: str) -> None:
    """Tell the process id of each rank, then wait at the gate."""
    hold(gate, news)
    comm.Barrier()


def where_on_rank(comm: Any, name: str) -> tuple[int, str | None, str]:
    """Return the rank, a variable of its environment and its directory."""
    return comm.rank, os.environ.get(name), os.getcwd()


def gpus_on_rank(comm: Any) -> tuple[int, str]:
    """Return the rank, and the GPUs that it may see."""
    return comm.rank, visible_gpus()
