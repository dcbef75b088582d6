"""Ranks: a function that runs on several MPI ranks, as a command that a launcher starts, and what came of it.

Driver and ranks meet in a private folder. The driver writes ``path`` and ``call``; each rank writes what it prints
and, once its function has returned, its result; the first that fails writes ``error``. Each of these appears whole
or not at all, so that whatever is there can be trusted, however the ranks ended.

    driver  RankCall(…) ── path, call ──▶ folder ◀── 0.prints, 0-of-3.result, …, error ── rank_program, on each rank
            collect()   ◀──────────────────┘
"""

from __future__ import annotations

import importlib.util
import mmap
import os
import pickle
import re
import shutil
import struct
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

import harmony
from harmony.core.task import Call
from harmony.core.travel import cannot_pickle, dump_exception, dump_function, dump_parts, load_exception, load_function
from harmony.core.work import ERROR_TAIL, read_captured
from harmony.errors import PluginError, RemoteTraceback, SerializationError, WorkerLost

_ROOT = os.path.dirname(os.path.dirname(os.path.abspath(harmony.__file__)))
#: Imports nothing before the path is the driver's, and finds Harmony wherever the driver found it.
_PROGRAM = (
    "import sys; sys.path[:] = open(sys.argv[1] + '/path').read().split(chr(0)); "
    "from harmony.core.rank_program import main; main(sys.argv[1])"
)
_COUNT = struct.Struct("<Q")
_ALIGN = 64
_RESULT = re.compile(r"(\d+)-of-(\d+)\.result")


class RankCall:
    """One call that is to run on ranks: `argv` is what each of them runs; `collect` after all have ended.

    Raises `PluginError` where there is no mpi4py, and `SerializationError` for what cannot be pickled. The caller
    must `close` it, which removes its folder.
    """

    def __init__(self, call: Call, name: str) -> None:
        if importlib.util.find_spec("mpi4py") is None:
            raise PluginError(
                f"{name} runs on ranks, which needs mpi4py and an MPI: pip install 'harmony-workflows[mpi]', and where "
                "the machine has no MPICH or Open MPI of its own: pip install mpich"
            )
        self._name = name
        function = dump_function(call.fn)
        self._folder = tempfile.mkdtemp(prefix="harmony-ranks-")
        try:
            path = [os.path.abspath(entry) for entry in (*sys.path, _ROOT)]
            with _appearing(os.path.join(self._folder, "path")) as stream:
                stream.write(os.fsencode("\0".join(dict.fromkeys(path))))
            try:
                _write(os.path.join(self._folder, "call"), (function, tuple(call.args), dict(call.kwargs)))
            except OSError:
                raise
            except Exception as error:
                raise cannot_pickle(f"an argument of {name}", error) from error
        except BaseException:
            self.close()
            raise

    @property
    def argv(self) -> tuple[str, ...]:
        """What each rank runs."""
        return sys.executable, "-c", _PROGRAM, self._folder

    def collect(self, stderr: str = "") -> list[Any]:
        """Return the results in the order of the ranks, after the launcher has ended.

        Raises the exception of the rank that failed first, with the rank in its remote traceback; `WorkerLost`
        when a rank ended otherwise, with the end of the launcher's `stderr`; `SerializationError` for a result
        that cannot be had here.
        """
        failure = os.path.join(self._folder, "error")
        if os.path.exists(failure):
            raise _read_failure(failure)
        found = {int(m[1]): int(m[2]) for m in map(_RESULT.fullmatch, os.listdir(self._folder)) if m}
        size = max(found.values(), default=0)
        missing = [rank for rank in range(size) if rank not in found]
        if missing or not size:
            raise WorkerLost(self._obituary(missing, size) + _tail(stderr))
        return [self._read_result(rank, size) for rank in range(size)]

    def prints(self) -> str:
        """Return what the ranks have printed, one rank after another."""
        texts = []
        names = [name for name in os.listdir(self._folder) if name.endswith(".prints")]
        for name in sorted(names, key=lambda name: int(name.partition(".")[0])):
            descriptor = os.open(os.path.join(self._folder, name), os.O_RDONLY)
            try:
                texts.append(read_captured(descriptor))
            finally:
                os.close(descriptor)
        return "".join(texts)

    def close(self) -> None:
        """Remove the folder. Idempotent."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _read_result(self, rank: int, size: int) -> Any:
        try:
            return _read(_result_path(self._folder, rank, size))
        except Exception as error:
            raise SerializationError(
                f"the result of rank {rank} of {self._name} cannot be unpickled here: {error!r}"
            ) from error

    def _obituary(self, missing: list[int], size: int) -> str:
        if not size:
            return (
                f"{self._name}: its ranks ended and none returned: killed, by os._exit, or MPI could not start, "
                "as when mpi4py uses another MPI than the launcher"
            )
        ranks = f"rank{'s' * (len(missing) > 1)} {', '.join(map(str, missing))} of {size}"
        return f"{self._name}: {ranks} ended without returning: killed, by os._exit, or by the launcher after another"


def _tail(stderr: str) -> str:
    return f"; the end of the launcher's stderr:\n{stderr.rstrip()[-ERROR_TAIL:]}" if stderr.strip() else ""


# -- on a rank ----------------------------------------------------------------------------------------


def load_call(folder: str) -> Call:
    """Return the call to run; buffers among its arguments are shared with the other ranks until written to."""
    function, args, kwargs = _read(os.path.join(folder, "call"))
    return Call(load_function(function), args, kwargs)


def prints_path(folder: str, rank: int) -> str:
    """Return the path of the file for what a rank prints."""
    return os.path.join(folder, f"{rank}.prints")


def save_result(folder: str, rank: int, size: int, result: Any) -> None:
    """Write what a rank's function has returned; raises `SerializationError` when it cannot be pickled."""
    try:
        _write(_result_path(folder, rank, size), result)
    except OSError:
        raise
    except Exception as error:
        raise cannot_pickle(f"the result of rank {rank}, a {type(result).__name__},", error) from error


def save_failure(folder: str, rank: int | None, size: int, error: BaseException) -> None:
    """Write the error of a rank, unless another has failed before: what comes later is mostly its consequence.

    `rank` is None for an error that is not of one rank, but of how all were started.
    """
    where = f"on rank {rank} of {size}:\n" if rank is not None else ""
    draft = os.path.join(folder, f"error.{os.getpid()}")
    with open(draft, "wb") as stream:
        pickle.dump((where, dump_exception(error)), stream, 5)
    try:
        os.link(draft, os.path.join(folder, "error"))
    except FileExistsError:
        pass
    except OSError:  # a file system without links
        os.replace(draft, os.path.join(folder, "error"))


def _read_failure(path: str) -> BaseException:
    with open(path, "rb") as stream:
        where, data = pickle.load(stream)  # noqa: S301  written by our own rank
    error = load_exception(data)
    error.__cause__ = RemoteTraceback(f"{where}{error.__cause__.args[0]}") if where and error.__cause__ else None
    return error


# -- values in files ----------------------------------------------------------------------------------


def _result_path(folder: str, rank: int, size: int) -> str:
    return os.path.join(folder, f"{rank}-of-{size}.result")


@contextmanager
def _appearing(path: str) -> Iterator[IO[bytes]]:
    """Open a new file for writing; it gets its name once all is written."""
    draft = f"{path}.{os.getpid()}"
    with open(draft, "wb") as stream:
        yield stream
    os.replace(draft, path)


def _write(path: str, value: Any) -> None:
    """Pickle to a file: the number of parts, their sizes, the pickle, and the buffers it refers to, not copied."""
    payload, buffers = dump_parts(value, 0)
    parts = [memoryview(payload), *buffers]
    with _appearing(path) as stream:
        stream.write(b"".join(_COUNT.pack(number) for number in (len(parts), *(part.nbytes for part in parts))))
        for part in parts:
            stream.write(bytes(-stream.tell() % _ALIGN))
            stream.write(part)


def _read(path: str) -> Any:
    """Undo `_write`. Buffers stay in the file's memory, which is private to whoever writes to them."""
    with open(path, "rb") as stream:
        memory = memoryview(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_COPY))
    (count,) = _COUNT.unpack_from(memory)
    parts, at = [], _COUNT.size * (count + 1)
    for index in range(count):
        (size,) = _COUNT.unpack_from(memory, _COUNT.size * (index + 1))
        at += -at % _ALIGN
        parts.append(memory[at : at + size])
        at += size
    return pickle.loads(parts[0], buffers=parts[1:])  # noqa: S301  only driver and ranks can write there
