"""Every error Harmony raises, in one tree.

    HarmonyError
    ├── ConfigError              a setting is wrong: nothing was started
    │   ├── ResourceError        resources that make no sense, or that no engine here has
    │   ├── PluginError          no such engine, or its package is not installed
    │   └── StoreError           the store cannot be read or written, or another driver holds the run
    ├── WorkflowError            the program uses a workflow in a way it does not allow
    │   ├── NoWorkflowError      a task was called and no workflow is open
    │   ├── WorkflowClosedError  a task was submitted to a workflow that has ended
    │   └── CycleError           tasks that wait for each other
    ├── TaskError                the work failed: the user's policy decides about another try
    │   ├── CommandError         a command ended with a status other than 0, or by a signal
    │   ├── DependencyError      a task it needs failed; ``__cause__`` is the root
    │   ├── MissingFileError     an input is not there, or an output was not written
    │   ├── SerializationError   a function, an argument or a result cannot be pickled
    │   └── RemoteError          stands for an exception that cannot be rebuilt here
    ├── JobError                 a batch job: PSI/J's three exceptions, under the specification's names
    │   ├── InvalidJobException    the job can never be submitted as it is
    │   │   └── InvalidStateException  the job is not in a state that allows this
    │   └── SubmitException        the scheduler refused, or could not be asked; ``transient``: try again
    └── EngineError              the machinery failed: tried again on our account
        ├── WorkerLost           the process that ran the task died under it
        ├── WalltimeExceeded     the task ran longer than its walltime (counts as the work's fault)
        └── EngineFailed         the engine as a whole is gone

An exception raised by the user's own function is none of these: it arrives as its own type,
with the traceback of the place where it was raised as its ``__cause__`` (`RemoteTraceback`).
"""

from __future__ import annotations

import shlex
import signal
from collections.abc import Sequence
from typing import Any


def text_of(error: BaseException) -> str:
    """Return an exception's text, also when its own ``__str__`` fails."""
    try:
        return str(error)
    except BaseException as failure:  # noqa: BLE001  a user's __str__
        return f"<its text cannot be had: {type(failure).__name__}>"


def shown(value: object, limit: int = 200) -> str:
    """Return a value as an error shows it: its ``repr``, without the middle if that is long."""
    text = repr(value)
    return text if len(text) <= limit else f"{text[: limit // 2]} … {text[-limit // 4 :]} ({len(text)} characters)"


class HarmonyError(Exception):
    """Base of all errors raised by Harmony itself."""


class ConfigError(HarmonyError, ValueError):
    """A setting is wrong; the message names the setting, its value and what to do."""


class ResourceError(ConfigError):
    """Resources that contradict each other, or that no engine of the workflow has."""


class PluginError(ConfigError):
    """An engine that is not known, or whose package is not installed."""


class StoreError(ConfigError):
    """The store cannot be read or written as it is, or another driver holds the run; the message says what to do."""


class WorkflowError(HarmonyError, RuntimeError):
    """A workflow is used in a way it does not allow."""


class NoWorkflowError(WorkflowError):
    """A task was called while no workflow was open."""


class WorkflowClosedError(WorkflowError):
    """A task was submitted to a workflow that has ended."""


class CycleError(WorkflowError):
    """Tasks that wait for each other, so that none of them can start."""


class TaskError(HarmonyError):
    """The work itself failed."""


class CommandError(TaskError):
    """A command ended with a status other than 0, was killed by a signal, or could not be started.

    `exit_code` is None when it was killed or never started; `signal` is the number of the signal;
    `stderr` holds the end of what it wrote there.
    """

    def __init__(
        self,
        args: Sequence[str] | str,
        *,
        exit_code: int | None = None,
        signal: int | None = None,
        stderr: str = "",
        reason: str = "",
    ) -> None:
        self.command = args if isinstance(args, str) else shlex.join(args)
        self.exit_code = exit_code
        self.signal = signal
        self.stderr = stderr
        self.reason = reason
        super().__init__(self._sentence())

    def _sentence(self) -> str:
        if self.reason:
            how = self.reason
        elif self.signal is not None:
            how = f"was killed by {_signal_name(self.signal)}"
        else:
            how = f"ended with exit code {self.exit_code}"
        tail = f"; the end of its stderr:\n{self.stderr.rstrip()}" if self.stderr.strip() else ""
        return f"command {self.command} {how}{tail}"

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild_command_error, (
            self.command,
            self.exit_code,
            self.signal,
            self.stderr,
            self.reason,
        )


def _rebuild_command_error(
    command: str, exit_code: int | None, signal: int | None, stderr: str, reason: str
) -> CommandError:
    return CommandError(command, exit_code=exit_code, signal=signal, stderr=stderr, reason=reason)


def _signal_name(number: int) -> str:
    try:
        return f"signal {signal.Signals(number).name} ({number})"
    except ValueError:
        return f"signal {number}"


class DependencyError(TaskError):
    """A task was not run because one it needs failed or was cancelled; `__cause__` is the root."""


class MissingFileError(TaskError, FileNotFoundError):
    """A declared input file is not there, or a declared output was not written."""


class SerializationError(TaskError):
    """A function, an argument or a result cannot be sent between processes."""


class RemoteError(TaskError):
    """Stands for an exception that could not be rebuilt here.

    `type_name` is the full name of the original type; the message and `traceback` are the original's.
    """

    def __init__(self, type_name: str, message: str, traceback: str = "") -> None:
        self.type_name = type_name
        self.traceback = traceback
        super().__init__(f"{type_name}: {message}")
        self._message = message

    def __reduce__(self) -> tuple[Any, ...]:
        return RemoteError, (self.type_name, self._message, self.traceback)


class RemoteTraceback(Exception):
    """The traceback of the place where a task's exception was raised, as text.

    Set as the ``__cause__`` of the exception that reaches the user, so that Python prints both.
    """

    def __str__(self) -> str:
        return f'\n"""\n{self.args[0]}"""'


class JobError(HarmonyError):
    """Base of what goes wrong with a batch job, before it runs."""

    def __init__(self, message: str, exception: BaseException | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.exception = exception


class InvalidJobException(JobError):
    """The job cannot be submitted as it is, now or later; the message names the field and its value.

    `exception` is the error behind it, if there was one (PSI/J layer 0).
    """


class InvalidStateException(InvalidJobException):
    """The job is not in a state that allows this: submitted twice, cancelled before it was submitted."""


class SubmitException(JobError):
    """The scheduler did not take the job, or a command about it failed; the job itself may be sound.

    `transient` says that the same call may succeed later (a busy controller, a full queue), and is False when it
    cannot (no such queue, no such command). After a failed `submit` the job is NEW and may be submitted again.
    """

    def __init__(self, message: str, exception: BaseException | None = None, transient: bool = False) -> None:
        super().__init__(message, exception)
        self.transient = transient


class EngineError(HarmonyError):
    """The machinery failed, not the work."""


class WorkerLost(EngineError):
    """The process that ran a task died under it."""


class WalltimeExceeded(EngineError, TimeoutError):
    """A task ran longer than its walltime and was ended."""


class EngineFailed(EngineError):
    """The engine as a whole is gone."""
