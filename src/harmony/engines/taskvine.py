"""The TaskVine engine: tasks through a manager of cctools' TaskVine (`ndcctools.taskvine`, from conda-forge).

Plain parcels are calls of a function in a library, which TaskVine keeps running on its workers and forks for each;
those that ask for more are Python tasks, with their resources. Both run `_parcel.run` and answer bytes, never an
exception: TaskVine would return a traceback as the result of the one, and nothing of the other.

One thread owns the manager, and it can be waited for in whole seconds only, with nothing to wake it: what is submitted
while something runs may wait for up to a second.
"""

from __future__ import annotations

import os
import queue
import secrets
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from harmony.core.engine import Capability
from harmony.engines._blocks import BlockEngine
from harmony.engines._dispatch import PARCEL, Parcel
from harmony.errors import ConfigError, EngineError, WorkerLost
from harmony.pilots import BlockEnded, BlockRunning
from harmony.resources import check_whole
from harmony.sites import Site

_LIBRARY = "harmony"
#: Megabytes that a task is given of a worker's disk and memory where it does not say: TaskVine would take a good part.
_DISK, _MEMORY = 100, 100
#: Seconds that a worker stays without a manager, and that the manager is left alone while it has nothing.
_TIMEOUT, _IDLE = 300, 0.25
_MEGABYTE = 1 << 20


class _Sent(NamedTuple):
    parcel: Parcel
    task: Any
    is_call: bool


def run_parcel(blob: bytes) -> bytes:
    """Run a parcel: what the library holds."""
    from harmony.engines._parcel import run

    return run(blob)


class TaskVineEngine(BlockEngine):
    """Runs tasks on workers of TaskVine.

    `workers` is how many tasks a node runs at once: as many as it has cores, by default. Without a `site`, one
    ``vine_worker`` is started on this machine, else one on each node of the site's blocks; others may be started by
    hand, for `port`. Without a `library`, or when it has not answered for `patience` seconds, each parcel is a Python
    task, which starts an interpreter. Raises `ConfigError` when TaskVine is not installed.
    """

    name = "taskvine"
    capabilities = PARCEL | {Capability.CANCEL_RUNNING, Capability.GPUS, Capability.MEMORY}

    def __init__(
        self,
        workers: int | None = None,
        *,
        site: str | Site | None = None,
        address: str | None = None,
        port: int = 0,
        library: bool = True,
        patience: float = 120.0,
    ) -> None:
        super().__init__(workers, site=site, address=address)
        check_whole("port", port, 0)
        if not patience > 0:
            raise ConfigError(f"patience={patience!r} must be a number of seconds, more than 0")
        self._port = port
        self._library = library
        self._patience = patience
        self._unanswered: float | None = None
        self._sent: dict[int, _Sent] = {}
        self._ids: dict[int, int] = {}
        self._blocks: list[str] = []
        self._seen = 0

    # -- for the base -----------------------------------------------------------------------------------

    def _serve(self) -> None:
        os.environ.setdefault("CATALOG_HOST", "127.0.0.1")  # no news of this manager for the public catalogue
        try:
            from ndcctools import taskvine
        except ImportError as error:
            raise ConfigError(
                "engine 'taskvine' needs TaskVine, which pip cannot install: conda install -c conda-forge ndcctools; "
                "engine 'workqueue' runs on workers that Debian has"
            ) from error
        self._vine = taskvine
        path = self.folder / "password"
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
            stream.write(secrets.token_hex(32))
        try:
            self._manager = taskvine.Manager(port=self._port, run_info_path=str(self.folder / "run-info"))
        except Exception as error:
            raise EngineError(f"TaskVine cannot be a manager at port={self._port}: {error}") from error
        self._manager.set_password_file(str(path))
        if self._library:
            self._install()

    def _command(self, block: str) -> Sequence[str]:
        return [
            "vine_worker",
            "--single-shot",
            *("--password", str(self.folder / "password")),
            *("--cores", str(self._per_node)),
            *("--gpus", str(self.site.gpus_per_node or 0)),
            *("-t", str(_TIMEOUT)),
            self.address,
            str(self._manager.port),
        ]

    def _send(self, parcel: Parcel) -> None:
        only = parcel.only
        resources = None if only is None else only.options.resources
        is_plain = resources is None or (resources.cores == 1 and not resources.gpus and not resources.memory)
        is_call = self._library and is_plain
        if is_call:
            task = self._vine.FunctionCall(_LIBRARY, run_parcel.__name__, parcel.blob)
            if self._unanswered is None:
                self._unanswered = time.monotonic()
        else:
            task = self._vine.PythonTask(run_parcel, parcel.blob)
        task.set_cores(1 if resources is None else resources.cores)
        task.set_memory(_MEMORY if resources is None or not resources.memory else -(-resources.memory // _MEGABYTE))
        task.set_disk(_DISK)
        if resources is not None and resources.gpus:
            task.set_gpus(resources.gpus)
        task.set_retries(1)
        number = self._manager.submit(task)
        self._sent[number] = _Sent(parcel, task, is_call)
        self._ids[parcel.number] = number

    def _withdraw(self, parcel: Parcel) -> None:
        number = self._ids.get(parcel.number)
        if number is not None:
            self._manager.cancel_by_task_id(number)  # it comes back from wait, as cancelled

    def _shut(self) -> None:
        try:
            self._manager.cancel_all()
            self._manager.workers_shutdown(0)
        finally:
            super()._shut()

    def _stop_serving(self) -> None:
        self._sent.clear()
        del self._manager  # closes the port

    # -- the thread -------------------------------------------------------------------------------------

    def _wait(self) -> Callable[[], None] | None:
        while True:
            try:
                return self._inbox.get_nowait() if self._sent else self._inbox.get(timeout=_IDLE)
            except queue.Empty:
                self._poll()

    def _poll(self) -> None:
        """Let TaskVine work for a second at the most, or until a task has ended."""
        task = self._manager.wait(1)
        while task is not None:
            self._take_task(task)
            task = self._manager.wait(0)  # only those that are here already
        self._count_workers()
        if self._unanswered is not None and time.monotonic() - self._unanswered > self._patience and self._seen:
            self._do_without_library()

    def _take_task(self, task: Any) -> None:
        """Take what has come back from the manager."""
        sent = self._sent.pop(task.id, None)
        if sent is None:
            return
        number = sent.parcel.number
        self._ids.pop(number, None)
        result, code = task.result, task.exit_code
        if result == "cancelled":
            self._back(number)
        elif result != "success" or code != 0:
            self._broke(number, _failure(task, result, code))
        else:
            answer = task.output
            if isinstance(answer, bytes):
                if sent.is_call:
                    self._unanswered = None
                self._ended(number, answer)
            else:  # the traceback of a call, the exception of a Python task
                self._broke(number, EngineError(f"a worker of TaskVine could not run a parcel: {answer}"))
        _forget_output(task)

    def _install(self) -> None:
        """Have a library with `run_parcel` on every worker, with a slot for each core, and no more: it would die."""
        try:
            library = self._manager.create_library_from_functions(_LIBRARY, run_parcel, add_env=False, exec_mode="fork")
        except ImportError as error:
            raise ConfigError(
                f"a library of TaskVine needs {error.name}: conda install -c conda-forge conda-pack cloudpickle "
                "threadpoolctl; or give library=False"
            ) from error
        library.set_cores(self._per_node)
        library.set_function_slots(self._per_node)
        self._manager.install_library(library)

    def _do_without_library(self) -> None:
        """A library that died keeps its calls waiting for ever: send them again, as Python tasks."""
        self._library, self._unanswered = False, None
        calls = [(number, sent) for number, sent in self._sent.items() if sent.is_call]
        self._manager.remove_library(_LIBRARY)
        for number, sent in calls:
            del self._sent[number]
            self._manager.cancel_by_task_id(number)
            self._send(sent.parcel)

    # -- workers ----------------------------------------------------------------------------------------

    def _note(self, fact: Any) -> None:
        if isinstance(fact, BlockRunning):
            self._blocks.append(fact.block)
            self._seen = 0  # whose they are is counted anew
        elif isinstance(fact, BlockEnded) and fact.block in self._blocks:
            self._blocks.remove(fact.block)
            self._seen = 0
        super()._note(fact)

    def _count_workers(self) -> None:
        """Tell of workers; TaskVine does not say to which block one belongs, so the first blocks have them."""
        seen = left = int(self._manager.stats.workers_connected)
        if seen == self._seen:
            return
        self._seen = seen
        for place, block in enumerate(self._blocks):
            last = place == len(self._blocks) - 1
            nodes = left if last else min(left, self.site.nodes)
            left -= nodes
            self._connected(block, nodes * self._per_node)


def _failure(task: Any, result: str, code: int) -> Exception:
    """Return what it means that TaskVine, rather than what a task did, ended it."""
    said = (task.std_output or "").strip()[-2000:]
    tail = f"; it said: {said}" if said else ""
    if result == "success":  # also when it was killed by a signal, whose number is there then
        return WorkerLost(f"the process of TaskVine that ran the parcel ended with status {code}{tail}")
    if result in ("forsaken", "max retries"):
        return WorkerLost(f"TaskVine has lost the worker that ran the parcel ({result}){tail}")
    return EngineError(f"TaskVine could not run the parcel: {result}{tail}")


def _forget_output(task: Any) -> None:
    """Remove the file with the answer, which TaskVine leaves until the end."""
    try:
        os.unlink(task.output_file.source())
    except (OSError, AttributeError):
        pass
