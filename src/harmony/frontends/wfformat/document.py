"""Document: WfFormat 1.5 as JSON, to and from an `Instance`.

Reading tolerates keys it does not know and what 1.6 adds; it does not carry them over. Writing holds to 1.5.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from harmony.errors import ConfigError
from harmony.frontends.wfformat.instance import (
    FILES,
    TASKS,
    Author,
    Execution,
    Instance,
    Machine,
    RuntimeSystem,
    TaskRun,
    TraceCommand,
    TraceFile,
    TraceTask,
    validate,
)
from harmony.frontends.wfformat.located import Located, load

VERSION = "1.5"
_READABLE = re.compile(r"1\.([4-9]|\d\d)")
_TASK_ID = re.compile(r"[0-9a-zA-Z\-_.#]+")
_FILE_ID = re.compile(r"[0-9a-zA-Z\-_./:#]+")
_SYSTEMS = ("linux", "macos", "windows")

#: JSON key → field of `TaskRun`, for the plain numbers.
_RUN_NUMBERS = {
    "avgCPU": "average_cpu",
    "readBytes": "bytes_read",
    "writtenBytes": "bytes_written",
    "memoryInBytes": "memory",
    "energyInKWh": "energy",
    "avgPowerInW": "power",
    "priority": "priority",
}


# -- reading -----------------------------------------------------------------------------------------


def read(path: str | os.PathLike[str]) -> Instance:
    """Read and check a WfFormat file.

    Raises `ConfigError` with the file, the JSON path, what is wrong and what to do; `CycleError` for tasks that
    wait for each other; `OSError` when the file cannot be read.
    """
    root = load(path)
    version = root.need("schemaVersion").text()
    workflow = root.need("workflow")
    if workflow.get("specification") is None and workflow.get("tasks") is not None:
        workflow.fail(
            f"this is the flat layout of WfFormat 1.4 and before (schemaVersion {version!r})",
            "convert the file to 1.5, which has workflow.specification and workflow.execution",
        )
    if not _READABLE.fullmatch(version):
        root.need("schemaVersion").fail(f"{version!r} cannot be read", f"convert the file to {VERSION!r}")
    specification = workflow.need("specification")
    execution = workflow.get("execution")
    files = specification.get("files")
    instance = Instance(
        name=root.need("name").text(),
        tasks=tuple(_read_task(item) for item in specification.need("tasks").items()),
        files=() if files is None else tuple(_read_file(item) for item in files.items()),
        execution=None if execution is None else _read_execution(execution),
        description=_text(root, "description"),
        created_at=_text(root, "createdAt"),
        schema_version=version,
        runtime_system=_read_system(root.get("runtimeSystem")),
        author=_read_author(root.get("author")),
    )
    validate(instance, root.source)
    return instance if execution is None else replace(instance, tasks=_with_runs(instance.tasks, execution))


def _read_task(item: Located) -> TraceTask:
    item.need("parents")
    item.need("children")
    return TraceTask(
        id=item.need("id").text(),
        name=item.need("name").text(),
        parents=item.ids("parents"),
        children=item.ids("children"),
        inputs=item.ids("inputFiles"),
        outputs=item.ids("outputFiles"),
    )


def _read_file(item: Located) -> TraceFile:
    return TraceFile(item.need("id").text(), item.need("sizeInBytes").whole())


def _with_runs(tasks: tuple[TraceTask, ...], execution: Located) -> tuple[TraceTask, ...]:
    known = {task.id for task in tasks}
    runs: dict[str, TaskRun] = {}
    for item in execution.need("tasks").items():
        id = item.need("id").text()
        if id not in known:
            item.need("id").fail(f"{id!r} is not the id of a task in {TASKS}", "correct it, or add that task there")
        if id in runs:
            item.need("id").fail(f"{id!r} has been executed twice", "keep one of the two entries")
        runs[id] = _read_run(item)
    return tuple(replace(task, run=runs.get(task.id)) for task in tasks)


def _read_run(item: Located) -> TaskRun:
    numbers = {field: _number(item, key) for key, field in _RUN_NUMBERS.items()}
    return TaskRun(
        runtime=item.need("runtimeInSeconds").number(0),
        executed_at=_text(item, "executedAt"),
        command=_read_command(item.get("command")),
        cores=_number(item, "coreCount", 1),
        machines=item.texts("machines"),
        **numbers,
    )


def _read_command(item: Located | None) -> TraceCommand | None:
    return None if item is None else TraceCommand(_text(item, "program"), item.texts("arguments"))


def _read_execution(item: Located) -> Execution:
    machines = item.get("machines")
    return Execution(
        item.need("makespanInSeconds").number(0),
        item.need("executedAt").text(),
        () if machines is None else tuple(_read_machine(machine) for machine in machines.items()),
    )


def _read_machine(item: Located) -> Machine:
    cpu = item.get("cpu")
    return Machine(
        name=item.need("nodeName").text(),
        system=_text(item, "system"),
        architecture=_text(item, "architecture"),
        release=_text(item, "release"),
        memory=_whole(item, "memoryInBytes"),
        cores=None if cpu is None else _whole(cpu, "coreCount"),
        speed=None if cpu is None else _whole(cpu, "speedInMHz"),
        vendor=None if cpu is None else _text(cpu, "vendor"),
    )


def _read_system(item: Located | None) -> RuntimeSystem | None:
    if item is None:
        return None
    return RuntimeSystem(item.need("name").text(), item.need("version").text(), _text(item, "url"))


def _read_author(item: Located | None) -> Author | None:
    if item is None:
        return None
    name, email = item.need("name").text(), item.need("email").text()
    return Author(name, email, _text(item, "institution"), _text(item, "country"))


def _text(item: Located, key: str) -> str | None:
    member = item.get(key)
    return None if member is None else member.text()


def _number(item: Located, key: str, least: float = -math.inf) -> float | None:
    member = item.get(key)
    return None if member is None else member.number(least)


def _whole(item: Located, key: str) -> int | None:
    member = item.get(key)
    return None if member is None else member.whole(1)


# -- writing -----------------------------------------------------------------------------------------


def write(instance: Instance, path: str | os.PathLike[str]) -> None:
    """Write the instance as WfFormat 1.5; the same instance gives the same bytes.

    The file appears whole or not at all. Raises `ConfigError`, and writes nothing, when the instance is not
    valid or has ids that 1.5 does not allow.
    """
    text = dumps(instance)
    partial = f"{os.fspath(path)}.partial-{os.getpid()}"
    try:
        with open(partial, "x", encoding="utf-8") as stream:
            stream.write(text)
        os.replace(partial, path)
    except OSError:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(partial)
        raise


def dumps(instance: Instance) -> str:
    """The text that `write` writes."""
    validate(instance, instance.name)
    _check_writable(instance)
    specification: dict[str, Any] = {"tasks": [_task(task) for task in instance.tasks]}
    if instance.files:
        specification["files"] = [{"id": file.id, "sizeInBytes": file.size} for file in instance.files]
    workflow: dict[str, Any] = {"specification": specification}
    if instance.execution is not None:
        workflow["execution"] = _execution(instance, instance.execution)
    document = _present(
        {
            "name": instance.name,
            "description": instance.description,
            "createdAt": instance.created_at,
            "schemaVersion": VERSION,
            "runtimeSystem": _system(instance.runtime_system),
            "author": _author(instance.author),
            "workflow": workflow,
        }
    )
    return json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _check_writable(instance: Instance) -> None:
    for where, pattern, ids in (
        (TASKS, _TASK_ID, [task.id for task in instance.tasks]),
        (FILES, _FILE_ID, [file.id for file in instance.files]),
    ):
        for index, id in enumerate(ids):
            if not pattern.fullmatch(id):
                raise ConfigError(
                    f"{instance.name}: {where}[{index}].id: WfFormat does not allow {id!r}; "
                    f"rename it to match {pattern.pattern}"
                )
    run = [task.id for task in instance.tasks if task.run is not None]
    if bool(run) != (instance.execution is not None):
        problem = "no task has a run, so there is no execution" if not run else f"{run[0]!r} ran, but no execution"
        raise ConfigError(f"{instance.name}: workflow.execution: {problem}; give both or neither")
    for machine in instance.execution.machines if instance.execution else ():
        if machine.system not in (None, *_SYSTEMS):
            raise ConfigError(
                f"{instance.name}: machine {machine.name}: system={machine.system!r} is none of {_SYSTEMS}"
            )


def _present(members: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in members.items() if value is not None}


def _task(task: TraceTask) -> dict[str, Any]:
    return {
        "name": task.name,
        "id": task.id,
        "parents": list(task.parents),
        "children": list(task.children),
        "inputFiles": list(task.inputs),
        "outputFiles": list(task.outputs),
    }


def _execution(instance: Instance, execution: Execution) -> dict[str, Any]:
    members: dict[str, Any] = {
        "makespanInSeconds": execution.makespan,
        "executedAt": execution.executed_at,
        "tasks": [_run(task.id, task.run) for task in instance.tasks if task.run is not None],
    }
    if execution.machines:
        members["machines"] = [_machine(machine) for machine in execution.machines]
    return members


def _run(id: str, run: TaskRun) -> dict[str, Any]:
    command = run.command
    members = {
        "id": id,
        "runtimeInSeconds": run.runtime,
        "executedAt": run.executed_at,
        "command": command and _present({"program": command.program, "arguments": list(command.arguments)}),
        "coreCount": run.cores,
        **{key: getattr(run, field) for key, field in _RUN_NUMBERS.items()},
        "machines": list(run.machines) or None,
    }
    return _present(members)


def _machine(machine: Machine) -> dict[str, Any]:
    cpu = _present({"coreCount": machine.cores, "speedInMHz": machine.speed, "vendor": machine.vendor})
    return _present(
        {
            "nodeName": machine.name,
            "system": machine.system,
            "architecture": machine.architecture,
            "release": machine.release,
            "memoryInBytes": machine.memory,
            "cpu": cpu or None,
        }
    )


def _system(system: RuntimeSystem | None) -> dict[str, Any] | None:
    if system is None:
        return None
    return _present({"name": system.name, "version": system.version, "url": system.url})


def _author(author: Author | None) -> dict[str, Any] | None:
    if author is None:
        return None
    place = {"institution": author.institution, "country": author.country}
    return _present({"name": author.name, "email": author.email, **place})
