"""The ipyparallel engine: tasks on IPyParallel's engines, with a controller of our own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import uuid
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from harmony.engines._blocks import BlockEngine
from harmony.engines._dispatch import Parcel
from harmony.engines._guard import Guard
from harmony.engines._parcel import run
from harmony.errors import EngineFailed, WorkerLost

if TYPE_CHECKING:
    from harmony.sites import Site

#: Seconds that the controller may take to be ready.
_PATIENCE = 60.0


class IPyParallelEngine(BlockEngine):
    """Runs IPyParallel's controller beside this process, and `workers` engines on each node of the site's blocks."""

    name = "ipyparallel"

    def __init__(
        self, workers: int | None = None, *, site: str | Site | None = None, address: str | None = None
    ) -> None:
        super().__init__(workers, site=site, address=address)
        self._guard = Guard(uuid.uuid4().hex)
        self._controller: subprocess.Popen[bytes] | None = None
        self._client: Any = None
        self._view: Any = None
        self._blocks: dict[int, str] = {}

    def _serve(self) -> None:
        import ipyparallel

        self._guard.start()
        try:
            with open(self.folder / "controller.log", "wb") as log:
                self._controller = subprocess.Popen(  # noqa: S603  IPyParallel's own program
                    [
                        sys.executable, "-m", "ipyparallel.controller", f"--ip={self.address}",
                        f"--profile-dir={self.folder / 'profile'}", "--nodb", "--HeartMonitor.period=1000",
                    ],
                    stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self._guard.environment(),
                    start_new_session=True,
                )  # fmt: skip
            self._await_controller(self._controller)
            self._client = ipyparallel.Client(self._file("client"), timeout=_PATIENCE)
            self._client._registration_callbacks.append(self._heard)  # there is no public way to hear of those that go
            self._view = self._client.load_balanced_view()
        except BaseException:
            self._stop_serving()
            raise

    def _await_controller(self, controller: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + _PATIENCE
        while not (os.path.exists(self._file("client")) and os.path.exists(self._file("engine"))):
            try:
                how = f"exit code {controller.wait(0.05)}"
            except subprocess.TimeoutExpired:
                if time.monotonic() < deadline:
                    continue
                how = "no sign of life"
            log = (self.folder / "controller.log").read_text(errors="replace")[-2000:]
            raise EngineFailed(f"IPyParallel's controller did not start ({how}): {log}")

    def _file(self, role: str) -> str:
        return str(self.folder / "profile" / "security" / f"ipcontroller-{role}.json")

    def _command(self, block: str) -> Sequence[str]:
        return [
            sys.executable, "-m", "harmony.engines._ipengines", str(self._per_node), self._file("engine"),
            f"--profile-dir={self.folder / 'profile'}", f"--timeout={int(_PATIENCE)}",
        ]  # fmt: skip

    # -- engines that come and go ----------------------------------------------------------------------------

    def _heard(self, event: dict[str, Any]) -> None:
        act = self._came if event["event"] == "register" else self._went
        self._inbox.put(partial(act, int(event["id"])))

    def _came(self, engine: int) -> None:
        asked = self._client.direct_view(engine).apply_async(os.getenv, "HARMONY_BLOCK", "")
        asked.add_done_callback(lambda answer: self._inbox.put(partial(self._placed, engine, answer)))

    def _placed(self, engine: int, answer: Any) -> None:
        if answer.exception() is None:
            self._blocks[engine] = answer.result()
            self._tell_count(self._blocks[engine])

    def _went(self, engine: int) -> None:
        block = self._blocks.pop(engine, None)
        if block is not None:
            self._tell_count(block)

    def _tell_count(self, block: str) -> None:
        self._count(block, sum(other == block for other in self._blocks.values()))

    # -- tasks -------------------------------------------------------------------------------------------------

    def _call(self, parcel: Parcel) -> Any:
        return self._view.apply_async(run, parcel.blob)

    def _withdraw(self, parcel: Parcel) -> None:
        """Nothing: the future would say that it is cancelled, and the task go on."""

    def _translated(self, error: BaseException) -> BaseException:
        from ipyparallel.error import RemoteError

        if isinstance(error, RemoteError) and error.ename == "EngineError":
            return WorkerLost(f"an engine of IPyParallel died: {error.evalue}")
        return error

    def _stop_serving(self) -> None:
        if self._client is not None:
            self._client.close()
        if self._controller is not None:
            self._controller.terminate()
            try:
                self._controller.wait(5)
            except subprocess.TimeoutExpired:
                self._controller.kill()
                self._controller.wait()
        self._guard.dismiss()
