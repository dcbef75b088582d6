"""The rank program: what each MPI rank of a function runs. `RankCall` starts it, through a launcher.

A rank that fails writes its error and then aborts all, so that none waits for it in a collective call. A rank that
has returned waits in MPI_Finalize, at the end of Python, for the others.
"""

from __future__ import annotations

import importlib
import inspect
import os
import re
import sys
import traceback
from typing import Any, NoReturn

from harmony.core.mpi import GPUS_PER_RANK, LAUNCHER, RANKS
from harmony.core.ranks import load_call, prints_path, save_failure, save_result
from harmony.core.task import Call
from harmony.errors import PluginError

_GPU_VARIABLES = ("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "ZE_AFFINITY_MASK")
#: Where the launchers say which rank of this machine a process is, before MPI is there to be asked.
_LOCAL_RANK = ("OMPI_COMM_WORLD_LOCAL_RANK", "MPI_LOCALRANKID", "PALS_LOCAL_RANKID", "SLURM_LOCALID")


def main(folder: str) -> None:
    """Run the call in the folder as one of its ranks; ends the process when it fails."""
    _take_own_gpus()
    mpi = _load_mpi(folder)
    comm = mpi.COMM_WORLD
    rank, size = comm.Get_rank(), comm.Get_size()
    process = os.getpid()
    try:
        _redirect_prints(folder, rank)
        call = _given(load_call(folder), comm)
        result = call.fn(*call.args, **call.kwargs)
        if os.getpid() != process:
            os._exit(0)  # the user's function forked and its child came back: there is one rank, the parent
        save_result(folder, rank, size, result)
    except BaseException as error:  # noqa: BLE001  whatever the user's code raises is its result
        if os.getpid() != process:
            os._exit(1)
        _fail(folder, (rank, size), error, comm)
    sys.stdout.flush()


def _given(call: Call, comm: Any) -> Call:
    """Add the communicator to the arguments, if the function has a parameter for it that the caller has left out."""
    try:
        parameters = inspect.signature(call.fn).parameters
    except (TypeError, ValueError):
        return call  # written in C
    if "comm" not in parameters or "comm" in call.kwargs:
        return call
    others = [parameter for name, parameter in parameters.items() if name != "comm"]
    try:
        inspect.Signature(others).bind(*call.args, **call.kwargs)
    except TypeError:
        return call  # it is among the positional arguments; or the call is wrong, which it says best itself
    index = list(parameters).index("comm")
    if parameters["comm"].kind is inspect.Parameter.KEYWORD_ONLY or index > len(call.args):
        return call._replace(kwargs={**call.kwargs, "comm": comm})
    return call._replace(args=(*call.args[:index], comm, *call.args[index:]))


def _load_mpi(folder: str) -> Any:
    """Start MPI; refuse one that does not belong to the launcher, under which each rank would be alone."""
    try:
        mpi = importlib.import_module("mpi4py.MPI")
    except Exception as error:  # noqa: BLE001  no library, or one that does not fit mpi4py
        refusal = PluginError(
            f"mpi4py of {sys.prefix} cannot load an MPI library ({error}); it needs MPICH or Open MPI, for example: "
            "pip install mpich"
        )
        _fail(folder, None, refusal)
    _unlink_shared_memory(mpi.COMM_WORLD)
    asked, size = os.environ.get(RANKS), mpi.COMM_WORLD.Get_size()
    if asked is not None and int(asked) != size:
        library = mpi.Get_library_version().strip("\0").strip().partition("\n")[0].partition(",")[0]
        _fail(
            folder,
            None,
            PluginError(
                f"{asked} ranks were started by {os.environ.get(LAUNCHER)} and mpi4py sees {size}: it uses another MPI "
                f"({library}); put that MPI's mpiexec first on the PATH, or install mpi4py for the MPI of this launcher"
            ),
        )
    return mpi


def _fail(folder: str, place: tuple[int, int] | None, error: BaseException, comm: Any = None) -> NoReturn:
    try:
        rank, size = place or (None, 0)
        save_failure(folder, rank, size, error)
        sys.stdout.flush()
    except BaseException:  # noqa: BLE001  a full disk, say; then the launcher's stderr has to tell
        traceback.print_exception(error)
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        if comm is not None:
            comm.Abort(1)
        os._exit(1)


def _unlink_shared_memory(comm: Any) -> None:
    """Take the name from the memory that MPICH's ranks share, which it does itself only in MPI_Finalize.

    An abort or a kill would leave those megabytes taken for as long as the machine is up.
    """
    comm.Barrier()  # now all have it open
    try:
        with open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as maps:
            for name in set(re.findall(r"/dev/shm/mpich_shm_\w+$", maps.read(), re.MULTILINE)):  # noqa: S108
                os.unlink(name)
    except OSError:
        pass  # another rank was first, or there is no such thing here


def _redirect_prints(folder: str, rank: int) -> None:
    """Let what this rank prints, and what it starts prints, go to its file."""
    descriptor = os.open(prints_path(folder, rank), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    sys.stdout.flush()
    os.dup2(descriptor, 1)
    os.close(descriptor)
    sys.stdout.reconfigure(encoding="utf-8", errors="replace", line_buffering=True)  # type: ignore[union-attr]


def _take_own_gpus() -> None:
    """Leave this rank its share of the GPUs that all ranks of this machine were given."""
    share = int(os.environ.get(GPUS_PER_RANK, "0"))
    local = next((int(os.environ[name]) for name in _LOCAL_RANK if name in os.environ), None)
    if not share or local is None:
        return
    for variable in _GPU_VARIABLES:
        shown = [part for part in os.environ.get(variable, "").split(",") if part]
        own = shown[local * share : (local + 1) * share]
        if len(own) == share:
            os.environ[variable] = ",".join(own)
