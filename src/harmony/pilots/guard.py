"""The guard: a small process that outlives its driver by as long as it takes to cancel the driver's blocks.

    driver ── a pipe: one JSON object a line ──▶ guard
      {"executor": …, "work_directory": …, "directory": …}   how to reach the batch system; where the blocks' files are
      {"block": ID}                                          it is about to be submitted
      {"block": ID, "job": Job.to_dict()}                    it was submitted
      {"gone": ID}                                           it has ended, or was never taken
      {"bye": true}                                          the driver has ended all

The pipe ends with the driver, however that ends; where a fork of the driver holds it open, the driver's pidfd tells.
Run as ``python -I -S guard.py DRIVER_PID``; it imports nothing of Harmony before it has to act.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harmony.jobs import Job, JobExecutor

#: Seconds for which cancelling is tried, and between two tries: at first, and at most.
_TRYING = 3600.0
_FIRST, _LONGEST = 0.5, 30.0
#: Seconds within which a job that was being submitted when the driver died may tell of itself.
_UNBORN = 60.0


class Ledger:
    """What the guard has been told."""

    def __init__(self) -> None:
        self.system: dict[str, Any] = {}
        self.jobs: dict[str, dict[str, Any]] = {}
        self.unborn: set[str] = set()
        self.dismissed = False

    def take(self, line: bytes) -> None:
        """Note one line."""
        try:
            told = json.loads(line)
        except ValueError:
            return  # the last one of a driver that died while it wrote
        if "executor" in told:
            self.system = told
        elif "bye" in told:
            self.dismissed = True
        elif "gone" in told:
            self.unborn.discard(told["gone"])
            self.jobs.pop(told["gone"], None)
        elif "job" in told:
            self.unborn.discard(told["block"])
            self.jobs[told["block"]] = told["job"]
        else:
            self.unborn.add(told["block"])


def listen(source: int, driver: int, ledger: Ledger) -> None:
    """Return when the driver has said goodbye, or is gone."""
    waiting = select.poll()
    waiting.register(source, select.POLLIN)
    watched = -1
    with contextlib.suppress(AttributeError, OSError):  # an old kernel: the pipe must do
        watched = os.pidfd_open(driver)
        waiting.register(watched, select.POLLIN)
    is_late = os.getppid() != driver  # it died before it could be watched, and the number may be another's by now
    rest = b""
    while not ledger.dismissed:
        ready = {descriptor for descriptor, _ in waiting.poll(0 if is_late else None)}
        if source in ready:
            received = os.read(source, 65536)
            if not received:
                return
            *lines, rest = (rest + received).split(b"\n")
            for line in lines:
                ledger.take(line)
        elif is_late or watched in ready:
            return


def cancel_all(ledger: Ledger) -> bool:
    """Cancel every block that is left; return whether they are gone, which is false after an hour."""
    told = ledger.system
    sys.path[:] = told["path"]
    from harmony.jobs import JobExecutor, JobExecutorConfig

    for block in {*ledger.unborn, *ledger.jobs}:
        with contextlib.suppress(OSError):
            os.unlink(os.path.join(told["directory"], f"{block}.sh"))
    config = JobExecutorConfig(work_directory=told["work_directory"])
    executor = JobExecutor.get_instance(told["executor"], url=told["url"], config=config)
    try:
        return _cancel_with(executor, ledger)
    finally:
        executor.close()


def _cancel_with(executor: JobExecutor, ledger: Ledger) -> bool:
    from harmony.jobs import Job

    begun, pause = time.monotonic(), _FIRST
    left: list[Job] = []
    known: list[tuple[Job, str | None]] = [(Job.from_dict(job), None) for job in ledger.jobs.values()]
    while True:
        known += [(Job(), native_id) for native_id in _born(ledger)]
        known = [(job, found) for job, found in known if not _attached(executor, job, found, left)]
        left = [job for job in left if not _ended(job)]
        waited = time.monotonic() - begun
        if waited > _UNBORN:
            ledger.unborn.clear()
        if not left and not known and not ledger.unborn:
            return True
        if waited > _TRYING:
            return False
        if left:
            left[0].wait(pause)
        else:
            time.sleep(pause)
        pause = min(2 * pause, _LONGEST if not ledger.unborn else _FIRST)


def _attached(executor: JobExecutor, job: Job, native_id: str | None, left: list[Job]) -> bool:
    from harmony.errors import HarmonyError

    try:
        executor.attach(job, native_id)
    except HarmonyError as error:
        _say(f"cannot follow {native_id or job!r} yet: {error}")
        return False
    left.append(job)
    return True


def _ended(job: Job) -> bool:
    """Ask for the end of a job, and tell whether it has come."""
    from harmony.errors import HarmonyError

    try:
        job.cancel()
    except HarmonyError as error:
        _say(f"{job!r} is not cancelled yet: {error}")
    return job.status.final


def _born(ledger: Ledger) -> list[str]:
    """The ids of jobs that were being submitted when the driver died, and have started since."""
    found = []
    for block in list(ledger.unborn):
        try:
            with open(os.path.join(ledger.system["directory"], f"{block}.id"), encoding="utf-8") as file:
                native_id = file.read().strip()
        except OSError:
            continue
        if native_id:
            found.append(native_id)
            ledger.unborn.discard(block)
    return found


def _say(sentence: str) -> None:
    print(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {sentence}", flush=True)  # noqa: T201  into its log


def main(driver: int) -> None:
    """Wait for the end of the driver, and then for that of its blocks."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    ledger = Ledger()
    listen(sys.stdin.fileno(), driver, ledger)
    if not ledger.dismissed and (ledger.jobs or ledger.unborn):
        _say(f"the driver {driver} is gone; cancelling its blocks")
        if cancel_all(ledger):
            shutil.rmtree(ledger.system["directory"], ignore_errors=True)
        else:
            _say("some of its blocks are not gone yet; giving up")


class Guard:
    """The driver's end: `start` it before the first block is submitted, `dismiss` it when the last is gone.

    One that was killed is replaced as soon as there is something to tell it.
    """

    def __init__(self, system: dict[str, Any]) -> None:
        home = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
        self._ledger = Ledger()
        self._ledger.system = {**system, "path": [*map(os.path.abspath, sys.path), home]}
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the process. Raises `OSError` when that cannot be done."""
        with open(os.path.join(self._ledger.system["directory"], "guard.log"), "ab") as log:
            self._process = subprocess.Popen(  # noqa: S603  our own program
                [sys.executable, "-I", "-S", os.path.abspath(__file__), str(os.getpid())],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._send(
            self._ledger.system,
            *({"block": block} for block in self._ledger.unborn),
            *({"block": block, "job": job} for block, job in self._ledger.jobs.items()),
        )

    def expects(self, block: str) -> None:
        """A block is about to be submitted."""
        self._tell({"block": block})

    def has(self, block: str, job: Job) -> None:
        """A block was submitted."""
        self._tell({"block": block, "job": job.to_dict()})

    def lost(self, block: str) -> None:
        """A block is gone, or was never taken."""
        self._tell({"gone": block})

    def _tell(self, told: dict[str, Any]) -> None:
        self._ledger.take(json.dumps(told).encode())
        try:
            self._send(told)
        except BrokenPipeError:
            process = self._hang_up()
            if process is not None and not self._ledger.dismissed:
                process.wait()
                with contextlib.suppress(OSError):  # then the next time
                    self.start()

    def _send(self, *several: dict[str, Any]) -> None:
        if self._process is not None:
            assert self._process.stdin is not None
            self._process.stdin.writelines(json.dumps(told).encode() + b"\n" for told in several)
            self._process.stdin.flush()

    def dismiss(self) -> None:
        """Have it end, and wait for that."""
        self._tell({"bye": True})
        process = self._hang_up()
        if process is not None:
            process.wait()

    def abandon(self) -> None:
        """Leave to it what has not ended, as if this process were gone."""
        process = self._hang_up()
        if process is not None:
            process.returncode = 0  # nobody here waits for it

    def _hang_up(self) -> subprocess.Popen[bytes] | None:
        process, self._process = self._process, None
        if process is not None and process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):  # it was killed
                process.stdin.close()
        return process


if __name__ == "__main__":
    main(int(sys.argv[1]))
