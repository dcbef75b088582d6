"""Exchange: a HighThroughputExecutor without Parsl's own kernel, and the thread that watches over it.

Parsl itself asks nobody whether its interchange lives, and waits for ever when it does not; nor does it tell who has
connected. So it is looked at: often while workers are expected, and else at the pace of their heartbeats.
"""

from __future__ import annotations

import os
import shlex
import sys
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from harmony.errors import ConfigError, EngineFailed, text_of

if TYPE_CHECKING:
    from concurrent.futures import Future

#: What a worker calls, and what starts the two kinds of Parsl's processes.
_RUN = "harmony.engines._parcel.run"
_POOL = "harmony.engines.parsl.pool"
_INTERCHANGE = "harmony.engines.parsl.interchange"
#: The name of the executor, which is that of its folder too.
_LABEL = "htex"
#: What the engine says itself.
_OURS = frozenset(
    {
        "label", "provider", "address", "launch_cmd", "interchange_launch_cmd", "max_workers_per_node",
        "cores_per_worker", "loopback_address", "remote_monitoring_radio", "block_error_handler", "encrypted",
        "worker_logdir_root",
    }
)  # fmt: skip
#: Seconds between two looks for workers that are expected: at first, and at most.
_FIRST, _LONGEST = 0.02, 1.0
#: Seconds that the interchange may take to answer, and to take what it is sent.
_ANSWER, _SENDING = 60.0, 60.0
#: Seconds it may take to end.
_ENDING = 5.0


class Manager(NamedTuple):
    """One node's workers: the manager that has connected, whether it is given tasks, and how many it has."""

    id: str
    block: str
    workers: int
    tasks: int
    is_active: bool


class Exchange:
    """See the module. `heartbeat` is every how many seconds managers tell that they live, and when they count as lost.

    `addresses` are this host's, of which a node takes the first that answers; the interchange listens on it if it is
    one, and everywhere if there are several. `arguments` are more of `HighThroughputExecutor`'s.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        workers: int,
        addresses: Sequence[str],
        heartbeat: tuple[int, int],
        arguments: Mapping[str, Any],
    ) -> None:
        ours = sorted(_OURS & set(arguments))
        if ours:
            raise ConfigError(f"htex: {ours[0]!r} is for the engine to say; leave it out")
        self._folder = Path(folder)
        self._addresses = addresses
        self._arguments: dict[str, Any] = {
            "heartbeat_period": heartbeat[0],
            "heartbeat_threshold": heartbeat[1],
            "poll_period": 100,  # of what wakes up at once for a message in any case
            "max_workers_per_node": workers,
            "cores_per_worker": 1e-3,  # there are as many as was said, whatever the node has
            **arguments,
        }
        self._pace = float(self._arguments["heartbeat_period"])
        self._htex: Any = None
        self._expected = 0
        self._ended: set[str] = set()
        self._stopping = False
        self._wake = threading.Event()
        self._watcher: threading.Thread | None = None

    def start(self, seen: Callable[[list[Manager]], None], died: Callable[[EngineFailed], None]) -> None:
        """Start the interchange. `seen` is told who is connected, after each look; `died` that it is gone."""
        self._htex = htex = self._made()
        try:
            htex.start()
            htex.outgoing_q.zmq_socket.sndtimeo = int(1000 * _SENDING)
            htex.command_client.zmq_socket.rcvtimeo = int(1000 * _ANSWER)
        except BaseException as error:
            self.stop()
            if not isinstance(error, Exception):
                raise
            raise EngineFailed(f"Parsl's interchange does not start: {text_of(error)}{self._said()}") from error
        self._watcher = threading.Thread(target=self._watch, args=(seen, died), name="harmony-parsl-watch", daemon=True)
        self._watcher.start()

    def command(self, block: str) -> list[str]:
        """Return the program that is started on each node of a block."""
        words = shlex.split(str(self._htex.launch_cmd).format(block_id=block))
        paths = {
            "@logs@": str(self._folder / _LABEL),
            "@certificates@": str(self._htex.cert_dir),
            "@logging@": str(getattr(self._htex, "logconf_path", None)),
        }
        for mark, path in paths.items():
            words = [word.replace(mark, path) for word in words]
        return [sys.executable, "-m", _POOL, *words[1:]]

    def call(self, blob: bytes) -> Future[bytes]:
        """Send a parcel; its future never says that it runs, and cannot be cancelled."""
        if self._htex.interchange_proc.poll() is not None:
            raise self._gone()
        future: Future[bytes] = self._htex.submit_payload({"task_executor": {"f": _RUN}}, blob)
        return future

    @property
    def outstanding(self) -> int:
        """How many parcels it has."""
        return int(self._htex.outstanding())

    def expect(self, managers: int) -> None:
        """So many are to be connected; until they are they are looked for often."""
        self._expected = managers
        self._wake.set()

    def forget(self, block: str) -> None:
        """A block has ended: its managers are given no more tasks, though Parsl takes them to be there for a while."""
        self._ended.add(block)
        self._wake.set()

    def stop(self) -> None:
        """End the interchange and the threads."""
        self._stopping = True
        self._wake.set()
        if self._watcher is not None:
            self._watcher.join()
        htex, self._htex = self._htex, None
        if htex is None:
            return
        outgoing = getattr(htex, "outgoing_q", None)
        if outgoing is not None:
            outgoing.zmq_socket.linger = 0  # or closing it waits until a dead interchange has read it
        htex.shutdown(timeout=_ENDING)
        if htex.interchange_proc is not None:
            htex.interchange_proc.wait()

    def _made(self) -> Any:
        from parsl.executors.high_throughput import executor as parsl_htex

        from harmony.engines.parsl.logs import Few  # which imports Parsl

        launch = parsl_htex.DEFAULT_LAUNCH_CMD  # paths may hold blanks and braces: they are put in afterwards
        for name, mark in {"logdir": "@logs@", "cert_dir": "@certificates@", "logconf": "@logging@"}.items():
            launch = launch.replace(f"{{{name}}}", mark)
        try:
            htex: Any = parsl_htex.HighThroughputExecutor(
                label=_LABEL,
                address=self._addresses[0],  # without one it asks an outside service for this host's
                launch_cmd=launch,
                interchange_launch_cmd=[sys.executable, "-m", _INTERCHANGE, str(os.getpid())],
                **self._arguments,
            )
        except Exception as error:
            raise ConfigError(f"htex: Parsl refuses an argument: {text_of(error)}") from error
        if len(self._addresses) > 1:
            htex.address, htex.all_addresses = None, set(self._addresses)
        htex.run_dir = str(self._folder)
        htex.run_id = str(uuid.uuid4())
        htex.log_config = Few()
        return htex

    # -- the watch -------------------------------------------------------------------------------------

    def _watch(self, seen: Callable[[list[Manager]], None], died: Callable[[EngineFailed], None]) -> None:
        expected, pause = 0, self._pace
        while True:
            self._wake.wait(pause)
            self._wake.clear()
            if self._stopping:
                return
            try:
                managers = self._managers()
            except Exception as error:  # noqa: BLE001  of ZeroMQ, of Parsl
                if not self._stopping:
                    died(self._gone(error))
                return
            seen(managers)
            if self._expected != expected:
                expected, pause = self._expected, _FIRST
            elif sum(manager.is_active for manager in managers) >= expected:
                pause = self._pace
            else:
                pause = min(1.2 * pause, _LONGEST, self._pace)

    def _managers(self) -> list[Manager]:
        htex = self._htex
        if htex.interchange_proc.poll() is not None:
            raise ChildProcessError(_ending(htex.interchange_proc.returncode))
        if htex.bad_state_is_set:
            raise htex.executor_exception
        thread = htex._result_queue_thread
        if not thread.is_alive():
            raise RuntimeError("Parsl's thread that receives results has ended")
        found = htex.command_client.run("MANAGERS", timeout_s=_ANSWER)
        managers = [
            Manager(each["manager"], each["block_id"], each["worker_count"], each["tasks"], each["active"])
            for each in found
        ]
        for block in {manager.block for manager in managers if manager.is_active and manager.block in self._ended}:
            htex._hold_block(block)  # how it is asked differs between Parsl's versions
        return managers

    def _gone(self, error: BaseException | None = None) -> EngineFailed:
        code = self._htex.interchange_proc.poll()
        why = _ending(code) if code is not None else f"{type(error).__name__}: {text_of(error)}" if error else "unknown"
        return EngineFailed(f"Parsl's interchange is gone: {why}{self._said()}")

    def _said(self) -> str:
        try:
            said = (self._folder / _LABEL / "interchange.log").read_text(errors="replace")[-2000:].strip()
        except OSError:
            return ""
        return f"; the end of its log:\n{said}" if said else ""


def _ending(code: int) -> str:
    return f"it ended by signal {-code}" if code < 0 else f"it ended with exit code {code}"
