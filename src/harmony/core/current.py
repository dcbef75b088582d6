"""Which workflow a called task goes to: the one whose ``with`` block is open around the call."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Protocol

from harmony.core.future import TaskFuture
from harmony.core.task import Task
from harmony.errors import NoWorkflowError


class Submitter(Protocol):
    """What a front end needs of a workflow."""

    def submit_task(self, task: Task) -> TaskFuture[object]:
        """Accept a task, or raise at once if it cannot be run."""
        ...


#: Set by ``with Workflow(...)``. A thread started inside the block does not inherit it: use ``workflow.submit``.
current: ContextVar[Submitter | None] = ContextVar("harmony_workflow", default=None)


def submitter(name: str) -> Submitter:
    """Return the open workflow, or raise `NoWorkflowError` for the task `name`."""
    found = current.get()
    if found is None:
        raise NoWorkflowError(
            f"{name}() is a task and no workflow is open here; call it inside `with Workflow(...) as wf:`, "
            f"use wf.submit({name}, ...) from other threads, or {name}.fn(...) for the plain function"
        )
    return found
