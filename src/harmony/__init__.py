"""Harmony: workflows of Python functions and commands, on any engine.

The public names and nothing else. Each is imported when it is first used, for two reasons: every worker
process imports this package, and a program that only asks for `harmony.__version__` should not pay.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harmony.core.data import File, Output
    from harmony.core.engine import Capability, Engine
    from harmony.core.future import TaskFuture
    from harmony.core.identity import register_content
    from harmony.core.report import Report
    from harmony.core.retry import Retry
    from harmony.core.task import Call, Command, CommandResult, Options, Task, TaskState
    from harmony.errors import (
        CommandError,
        ConfigError,
        CycleError,
        DependencyError,
        EngineError,
        EngineFailed,
        HarmonyError,
        MissingFileError,
        NoWorkflowError,
        PluginError,
        RemoteError,
        RemoteTraceback,
        ResourceError,
        SerializationError,
        StoreError,
        TaskError,
        WalltimeExceeded,
        WorkerLost,
        WorkflowClosedError,
        WorkflowError,
    )
    from harmony.events import Event
    from harmony.frontends.flow import command, join, task
    from harmony.resources import Resources
    from harmony.workflow import Workflow, as_completed, gather, wait

__version__ = "0.1.0"

__all__ = [
    "Call",
    "Capability",
    "Command",
    "CommandError",
    "CommandResult",
    "ConfigError",
    "CycleError",
    "DependencyError",
    "Engine",
    "EngineError",
    "EngineFailed",
    "Event",
    "File",
    "HarmonyError",
    "MissingFileError",
    "NoWorkflowError",
    "Options",
    "Output",
    "PluginError",
    "RemoteError",
    "RemoteTraceback",
    "Report",
    "ResourceError",
    "Resources",
    "Retry",
    "SerializationError",
    "StoreError",
    "Task",
    "TaskError",
    "TaskFuture",
    "TaskState",
    "WalltimeExceeded",
    "WorkerLost",
    "Workflow",
    "WorkflowClosedError",
    "WorkflowError",
    "__version__",
    "as_completed",
    "command",
    "gather",
    "join",
    "register_content",
    "task",
    "wait",
]

_HOMES = {
    "harmony.core.data": "File Output",
    "harmony.core.engine": "Capability Engine",
    "harmony.core.future": "TaskFuture",
    "harmony.core.identity": "register_content",
    "harmony.core.report": "Report",
    "harmony.core.retry": "Retry",
    "harmony.core.task": "Call Command CommandResult Options Task TaskState",
    "harmony.errors": (
        "CommandError ConfigError CycleError DependencyError EngineError EngineFailed HarmonyError MissingFileError "
        "NoWorkflowError PluginError RemoteError RemoteTraceback ResourceError SerializationError StoreError TaskError "
        "WalltimeExceeded WorkerLost WorkflowClosedError WorkflowError"
    ),
    "harmony.events": "Event",
    "harmony.frontends.flow": "command join task",
    "harmony.resources": "Resources",
    "harmony.workflow": "Workflow as_completed gather wait",
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names.split()}


if not TYPE_CHECKING:  # a type checker that saw this would believe every misspelt name

    def __getattr__(name: str) -> object:
        home = _HOME_OF.get(name)
        if home is None:
            raise AttributeError(f"module 'harmony' has no attribute {name!r}")
        value = globals()[name] = getattr(importlib.import_module(home), name)
        return value


def __dir__() -> list[str]:
    return __all__
