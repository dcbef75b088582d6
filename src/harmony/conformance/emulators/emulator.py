"""An emulated batch system, as a test uses it."""

from __future__ import annotations

import os
import pkgutil
import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from harmony.conformance.emulators.dialect import dialect
from harmony.conformance.emulators.engine import Machine
from harmony.conformance.emulators.model import Fault, How, Job, Settings, State
from harmony.conformance.emulators.server import Server

if TYPE_CHECKING:
    from typing_extensions import Self


class View:
    """What can be seen of an emulated batch system."""

    _machine: Machine
    _server: Server

    def calls(self, program: str | None = None) -> list[tuple[str, ...]]:
        """The arguments of each call of a command so far, or of all commands."""
        with self._machine.lock:
            return [call.argv for call in self._server.calls if program in (None, call.program)]

    def jobs(self) -> list[Job]:
        """Every job that was submitted, in that order; foreign ones are not among them."""
        with self._machine.lock:
            return [job for job in self._machine.jobs.values() if not job.foreign]

    def job(self, job_id: str) -> Job:
        """A job by its id, also one that the queue has forgotten. Raises `KeyError`."""
        with self._machine.lock:
            return self._machine.jobs[job_id]

    def wait_until(self, condition: Callable[[], object], timeout: float = 20.0) -> None:
        """Wait until something is true of the emulator. Raises `TimeoutError`."""
        deadline = time.monotonic() + timeout
        with self._machine.lock:
            while not condition():
                left = deadline - time.monotonic()
                if left <= 0:
                    states = {job.id: job.state.value for job in self.jobs()}
                    raise TimeoutError(f"it has not come true within {timeout:g} s; jobs: {states}")
                self._machine.changed.wait(left)

    def wait_for(self, job_id: str, state: State = State.ENDED, timeout: float = 20.0) -> Job:
        """Wait until a job is in a state, and return it. Raises `TimeoutError`."""
        self.wait_until(lambda: self.job(job_id).state is state, timeout)
        return self.job(job_id)


class Emulator(View):
    """A batch system on this machine: its commands, its queue, its nodes; jobs really run, as processes here.

    ::

        with Emulator("slurm", tmp_path, queue_delay=1) as lab:
            executor = JobExecutor.get_instance("slurm")   # finds lab's sbatch, squeue, … first on the PATH
            ...
            lab.kill_node("n1")

    As a context manager it puts its commands first on the PATH of this process, and takes them away at the end, when
    it also kills what jobs have left. `environment` is for processes that are started in another way. Options are
    those of `Settings`; `set` changes them later. It may be used from any thread.
    """

    def __init__(self, name: str, directory: str | Path, **settings: Any) -> None:
        self.name = name
        self.directory = Path(directory).absolute()
        self._dialect = dialect(name)
        (self.directory / "bin").mkdir(parents=True, exist_ok=True)
        self._socket = tempfile.mkdtemp(prefix="harmony-", dir="/tmp")
        path = os.path.join(self._socket, "s")
        made = Settings(**settings)
        self._server = Server(path, lambda wake: Machine(self._dialect, made, str(self.directory), wake))
        self._machine = self._server.machine
        self._write_programs(path)
        self._before: dict[str, str | None] = {}

    @property
    def environment(self) -> dict[str, str]:
        """What to add to a process's environment, so that it uses this batch system."""
        path = f"{self.directory / 'bin'}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
        return {**self._dialect.status_environment(), "PATH": path}

    def __enter__(self) -> Self:
        additions = self.environment
        self._before = {name: os.environ.get(name) for name in additions}
        os.environ.update(additions)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for name, value in self._before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        self._before = {}
        self.close()

    def close(self) -> None:
        """End it, with every job; may be called again."""
        if os.path.isdir(self._socket):
            self._server.close()
            shutil.rmtree(self._socket, ignore_errors=True)

    # -- changing how it behaves

    def set(self, **settings: Any) -> None:
        """Change settings: fields of `Settings`."""
        with self._machine.lock:
            for name, value in settings.items():
                if name not in Settings.__dataclass_fields__:
                    raise TypeError(f"{name!r} is no setting of an emulator")
                setattr(self._machine.settings, name, value)
            self._server.wake()

    def fault(self, program: str, times: int = 1, **fault: Any) -> Fault:
        """Have the next calls of a command go wrong: fields of `Fault`, or ``unreachable=True``."""
        if program not in self._dialect.programs:
            raise ValueError(f"{self.name} has no command {program!r}")
        if fault.pop("unreachable", False):
            complaint, code = self._dialect.unreachable
            fault = {"complaint": complaint.format(program=program), "code": code, **fault}
        made = Fault(times=times, **fault)
        with self._machine.lock:
            self._server.faults.setdefault(program, []).append(made)
        return made

    def clear_faults(self) -> None:
        """Have every command work again."""
        with self._machine.lock:
            self._server.faults.clear()

    def refuse(self, times: int = 1, *, transient: bool = False) -> None:
        """Have the next submissions refused in the system's own words, for good or for now."""
        for program in self._dialect.submitting:
            self.fault(program, times, complaint=self._dialect.refusals[transient].format(program=program))

    # -- what befalls jobs and nodes

    def kill_node(self, name: str) -> None:
        """Have a node fail, with the jobs on it; their scripts are killed at once."""
        with self._machine.lock:
            self._machine.kill_node(name)

    def revive_node(self, name: str) -> None:
        """Bring a node back."""
        with self._machine.lock:
            self._machine.nodes[name].up = True
            self._server.wake()

    def befall(self, job_id: str, how: How) -> None:
        """End a job now by something: its time limit, preemption, too much memory, a cancel.

        A job that is preempted or requeued starts anew if its submission allows it.
        """
        signals = {How.TIMEOUT: self._dialect.timeout_signals, How.CANCELLED: self._dialect.cancel_signals}
        with self._machine.lock:
            self._machine.stop(self._machine.jobs[job_id], how, signals.get(how, ()))

    def forget(self, job_id: str) -> None:
        """Have the queue forget a job that has ended."""
        with self._machine.lock:
            self._machine.forget(self._machine.jobs[job_id])

    def hold(self) -> None:
        """Start no more jobs until `start_all`."""
        self.set(held=True)

    def start_all(self) -> None:
        """Start jobs as they come, and those that wait as soon as there is room."""
        with self._machine.lock:
            for job in self.jobs():
                job.eligible = 0.0
            self.set(held=False, queue_delay=0.0)

    # -- inside

    def _write_programs(self, path: str) -> None:
        client = self.directory / "client.py"
        client.write_bytes(pkgutil.get_data(__package__, "client.py") or b"")
        for program in self._dialect.programs:
            file = self.directory / "bin" / program
            words = [sys.executable, "-SI", str(client), path, program]
            file.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n', encoding="utf-8")
            file.chmod(0o755)
