"""The Work Queue engine: runs tasks on the stock workers of cctools, which Debian installs with one command.

Work Queue starts nothing but one crew on each worker (see `crew`), through which all tasks go. What it gives is the
workers: programs without dependencies that any batch system can start and that come and go, their password, what
each has in cores, memory and GPUs, a sandbox that is cleared away, and the news of a worker that is lost.
"""

from __future__ import annotations

import os
import secrets
import shutil
import threading
from collections import Counter
from collections.abc import Sequence
from functools import partial

from harmony.core.engine import Capability, Capacity, Submission
from harmony.engines._blocks import BlockEngine
from harmony.engines._dispatch import PARCEL, Parcel
from harmony.engines.workqueue.crews import Crews
from harmony.engines.workqueue.hands import Load
from harmony.engines.workqueue.loop import Loop
from harmony.engines.workqueue.worker import Worker
from harmony.errors import ConfigError, EngineError
from harmony.resources import check_whole
from harmony.sites import Site

#: Seconds that a worker tries to reach its driver, or stays without one.
_TIMEOUT = 300
#: Seconds that crews may take to end what they run.
_PARTING = 5.0
_FEATURE = "harmony-block-"
_MEGABYTE = 1 << 20


class WorkQueueEngine(BlockEngine):
    """Runs tasks on workers of Work Queue.

    `workers` is how many tasks a node runs at once: as many as it has cores, by default; a task of several cores takes
    as many places. Without a `site`, one worker program is started on this machine, else one on each node of the
    site's blocks. Workers that others start are taken too, at `port`: ``work_queue_worker HOST PORT --password FILE``.

    `password` is the file of the password by which workers and driver know each other; a random one, which only this
    user can read, by default. `address` is this host's as the nodes know it. `program` is the worker program: that of
    cctools 9.9 or 8, ``apt install coop-computing-tools``. Workers need the same Python environment as the driver.
    Raises `ConfigError` when it is not installed here, `EngineError` when the port cannot be had.
    """

    name = "workqueue"
    capabilities = PARCEL | {Capability.CANCEL_RUNNING, Capability.GPUS, Capability.MEMORY}

    def __init__(
        self,
        workers: int | None = None,
        *,
        site: str | Site | None = None,
        address: str | None = None,
        port: int = 0,
        password: str | os.PathLike[str] | None = None,
        program: str = "work_queue_worker",
    ) -> None:
        super().__init__(workers, site=site, address=address)
        check_whole("port", port, 0)
        self._port = port
        self._password = None if password is None else os.path.abspath(password)
        self._program = program
        self._hands: dict[Worker, int] = {}

    @property
    def capacity(self) -> Capacity:
        """What one node has."""
        site = self.site
        most = max(1, site.blocks.max * site.nodes)
        cores, walltime = self._per_node, super().capacity.walltime
        return Capacity(cores, site.gpus_per_node, site.memory_per_node, workers=most, walltime=walltime)

    # -- for the base -----------------------------------------------------------------------------------

    def _serve(self) -> None:
        if self.is_here and shutil.which(self._program) is None:
            raise ConfigError(
                f"program={self._program!r} is not installed here: apt install coop-computing-tools (Debian, Ubuntu), "
                "or conda install -c conda-forge ndcctools"
            )
        if self._password is None:
            path = str(self.folder / "password")
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
                stream.write(secrets.token_hex(32))
        else:
            path = self._password
        try:
            with open(path, "rb") as stream:
                secret = stream.read()
        except OSError as error:
            raise ConfigError(f"password={path!r} cannot be read: {error.strerror}") from error
        if not secret.strip():
            raise ConfigError(f"password={path!r} is an empty file; write a long random text into it")
        self._password = path
        self._loop = Loop("harmony-workqueue-io", self._fail_all)
        memory = self.site.memory_per_node
        threads = os.environ.get("OMP_NUM_THREADS") or str(self._share)
        most = None if memory is None else memory // _MEGABYTE
        self._crews = Crews(self._loop, secret, self, most, threads)
        try:
            self._port = self._crews.manager.listen("127.0.0.1" if self.is_here else "", self._port)
        except OSError as error:
            self._loop.stop()
            raise EngineError(
                f"port={self._port} cannot be had on this host: {error.strerror}; give another"
            ) from error
        self._loop.start()

    def _command(self, block: str) -> Sequence[str]:
        assert self._password is not None
        sandboxes = ["-s", str(self.folder)] if self.is_here else []
        return [
            self._program,
            "--single-shot",
            *("--password", self._password),
            *("--cores", str(self._per_node)),
            *("--gpus", str(self.site.gpus_per_node or 0)),
            *("--feature", _FEATURE + block),
            *("-t", str(_TIMEOUT)),
            *sandboxes,
            self.address,
            str(self._port),
        ]

    def _send(self, parcel: Parcel) -> None:
        only = parcel.only
        load = Load(parcel.number, parcel.blob, is_short=only is None) if only is None else _load(parcel, only)
        self._loop.post(partial(self._crews.give, load))

    def _fed(self, waiting: int, running: int) -> None:
        if self.site.blocks.max > 1:
            busy: Counter[str] = Counter()
            for worker, hands in self._crews.busy():
                busy[_block_of(worker)] += hands * self._share
            self._busy = dict(busy)
        super()._fed(waiting, running)

    def _withdraw(self, parcel: Parcel) -> None:
        self._loop.post(partial(self._crews.withdraw, parcel.number))

    def _shut(self) -> None:
        disbanded = threading.Event()
        self._loop.post(partial(self._crews.disband, disbanded.set))
        disbanded.wait(_PARTING)  # what is not gone by then ends with its block
        super()._shut()

    def _stop_serving(self) -> None:
        self._loop.stop()

    # -- what crews tell, in the loop's thread ------------------------------------------------------------

    def ended(self, number: int, blob: bytes) -> None:
        """See `Employer`."""
        self._ended(number, blob)

    def broke(self, number: int, error: BaseException) -> None:
        """See `Employer`."""
        self._broke(number, error)

    def back(self, number: int) -> None:
        """See `Employer`."""
        self._back(number)

    def useless(self, error: EngineError) -> None:
        """See `Employer`."""
        self._fail_all(error)

    def counted(self, worker: Worker, hands: int) -> None:
        """See `Employer`."""
        if hands:
            self._hands[worker] = hands
        else:
            self._hands.pop(worker, None)
        block = _block_of(worker)
        count = sum(hands for other, hands in self._hands.items() if _block_of(other) == block)
        self._connected(block, count)


def _block_of(worker: Worker) -> str:
    """Return the block that a worker belongs to; "" for one that others have started."""
    marks = [feature for feature in worker.features if feature.startswith(_FEATURE)]
    return marks[0][len(_FEATURE) :] if marks else ""


def _load(parcel: Parcel, task: Submission) -> Load:
    resources = task.options.resources
    memory = -(-(resources.memory or 0) // _MEGABYTE)
    return Load(parcel.number, parcel.blob, cores=resources.cores, memory=memory, gpus=resources.gpus)
