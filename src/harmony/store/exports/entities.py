"""Entities: what an RO-Crate says about a run, as JSON-LD objects. Pure: values in, values out.

A task is a `ControlAction` (Harmony brought a step about) and a `CreateAction` for each attempt (a tool ran). Tasks of
one name are one step of the workflow and one tool.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import quote

from harmony.store.exports.story import Story, end_of, iso, remark
from harmony.store.rows import FailureRow, Run, TaskRow

PROFILES = {
    "https://w3id.org/ro/wfrun/process/0.5": "Process Run Crate",
    "https://w3id.org/ro/wfrun/workflow/0.5": "Workflow Run Crate",
    "https://w3id.org/ro/wfrun/provenance/0.5": "Provenance Run Crate",
    "https://w3id.org/workflowhub/workflow-ro-crate/1.0": "Workflow RO-Crate",
}
COMPLETED = "http://schema.org/CompletedActionStatus"
FAILED = "http://schema.org/FailedActionStatus"
ACTIVE = "http://schema.org/ActiveActionStatus"
ENGINE, USER, WORKFLOW_LANGUAGE, LICENSE = "#harmony", "#user", "#language", "#license"
_UNITS = "https://qudt.org/vocab/unit/"
_RUSAGE = "https://man7.org/linux/man-pages/man2/getrusage.2.html"
_IO = "https://man7.org/linux/man-pages/man5/proc_pid_io.5.html"
#: Field of a task → what it is called, what it is (a URL that defines it), and its unit.
USAGE = {
    "cpu": ("CPU time", f"{_RUSAGE}#ru_utime+ru_stime", "SEC"),
    "memory": ("peak memory", f"{_RUSAGE}#ru_maxrss", "BYTE"),
    "read": ("read from devices", f"{_IO}#read_bytes", "BYTE"),
    "written": ("written to devices", f"{_IO}#write_bytes", "BYTE"),
}

Json = dict[str, Any]


def refs(ids: Iterable[str]) -> Any:
    """Refer to entities: a list, but for a single one its reference alone, as RO-Crate wants it."""
    found = [{"@id": id} for id in dict.fromkeys(ids)]
    return found[0] if len(found) == 1 else found


def compact(entity: Mapping[str, Any]) -> Json:
    """Leave out what is not known."""
    return {key: value for key, value in entity.items() if value is not None and value != []}


def task_id(run: int, task: int) -> str:
    """Name the action that was a task."""
    return f"#run/{run}/task/{task}"


def tool_id(row: TaskRow) -> str:
    """Name the tool that a task ran."""
    return f"#tool/{row.kind}/{quote(row.name, safe='')}"


def step_id(row: TaskRow) -> str:
    """Name the step of the workflow that a task was."""
    return f"#step/{row.kind}/{quote(row.name, safe='')}"


# -- the crate ---------------------------------------------------------------------------------------------------


def descriptor() -> Json:
    """Describe the file of metadata itself."""
    versions = ["https://w3id.org/ro/crate/1.1", "https://w3id.org/workflowhub/workflow-ro-crate/1.0"]
    return {
        "@id": "ro-crate-metadata.json",
        "@type": "CreativeWork",
        "about": {"@id": "./"},
        "conformsTo": refs(versions),
    }


def profiles() -> Iterator[Json]:
    """Describe the profiles that the crate holds to."""
    for url, name in PROFILES.items():
        yield {"@id": url, "@type": "CreativeWork", "name": name, "version": url.rpartition("/")[2]}


def license_of(given: str | None) -> Json:
    """Describe the licence; where none was given, say so."""
    if given is None:
        text = "Nobody has said yet under which terms this may be used. Ask its author."
        return {"@id": LICENSE, "@type": "CreativeWork", "name": "No licence given", "description": text}
    if "://" in given:
        return {"@id": given, "@type": "CreativeWork", "name": given, "description": f"The licence at {given}."}
    text = f"The licence of that name in the SPDX list of licences: {given}."
    url = f"https://spdx.org/licenses/{quote(given)}"
    return {"@id": url, "@type": "CreativeWork", "name": given, "description": text}


def readme(id: str) -> Json:
    """Describe the file that tells people about the crate."""
    return {
        "@id": id,
        "@type": "File",
        "name": "About this crate",
        "about": {"@id": "./"},
        "encodingFormat": "text/markdown",
    }


def surroundings(run: Run) -> Iterator[Json]:
    """Describe the user, Harmony, and the packages that the program ran with."""
    environment = run.environment
    version = str(environment.get("harmony", "unknown"))
    yield {"@id": USER, "@type": "Person", "name": run.user}
    yield {
        "@id": ENGINE,
        "@type": "SoftwareApplication",
        "name": "Harmony",
        "softwareVersion": version,
        "description": f"The workflow engine; its tasks ran on: {', '.join(run.engines)}.",
    }
    for name, version in packages(run).items():
        yield {
            "@id": f"#package/{quote(name)}",
            "@type": "SoftwareApplication",
            "name": name,
            "softwareVersion": version,
        }


def packages(run: Run) -> dict[str, str]:
    """Return the versions of packages that the run was captured with."""
    found = run.environment.get("packages") or {}
    return {str(name): str(version) for name, version in found.items()} if isinstance(found, Mapping) else {}


# -- the workflow ------------------------------------------------------------------------------------------------


def tool(row: TaskRow, command: str | None) -> Json:
    """Describe what the tasks of one name run."""
    what = {
        "call": "A Python function, run by Harmony as a task.",
        "join": "A Python function, run by Harmony in the program itself, that waits for tasks of its own.",
    }.get(row.kind, "A command, run by Harmony as a task.")
    if command is not None:
        what += f" One of its command lines: {command[:500]}"
    return {"@id": tool_id(row), "@type": "SoftwareApplication", "name": row.name, "description": what}


def step(row: TaskRow, position: int) -> Json:
    """Describe a step of the workflow."""
    return {
        "@id": step_id(row),
        "@type": "HowToStep",
        "name": row.name,
        "position": str(position),
        "workExample": {"@id": tool_id(row)},
    }


def workflow_action(run: Run, workflow: str, objects: Iterable[str], results: Iterable[str]) -> Json:
    """Describe the run as a whole."""
    counts = run.counts
    about = [f"{counts.done} tasks done, of these {run.recalled} by an earlier run", f"{counts.failed} failed"]
    about += [f"{counts.cancelled} cancelled", f"on {run.cores} cores of {run.host}"]
    special = remark(run)
    action: Json = {
        "@id": f"#run/{run.id}",
        "@type": "CreateAction",
        "name": f"Run {run.id} of {run.workflow}",
        "description": "; ".join([*about, special] if special else about) + ".",
        "identifier": run.uuid,
        "instrument": {"@id": workflow},
        "agent": {"@id": USER},
        "startTime": iso(run.began),
        "endTime": None if run.status == "running" else iso(run.wall(end_of(run))),
        "object": refs(objects),
        "result": refs(results),
    }
    return compact({**action, **_run_status(run)})


def organize_action(run: Run, controls: list[str]) -> Json:
    """Describe what Harmony did: bring the steps about."""
    return compact(
        {
            "@id": f"#run/{run.id}/engine",
            "@type": "OrganizeAction",
            "name": f"Harmony ran {run.workflow}",
            "instrument": {"@id": ENGINE},
            "agent": {"@id": USER},
            "object": refs(controls),
            "result": {"@id": f"#run/{run.id}"},
            "startTime": iso(run.began),
            "endTime": None if run.status == "running" else iso(run.wall(end_of(run))),
            **_run_status(run),
        }
    )


def _run_status(run: Run) -> Json:
    errors = {
        "failed": f"{run.counts.failed} of its tasks failed",
        "stopped": "it was stopped before its end",
        "interrupted": "it was interrupted: its driver ended without saying how",
    }
    if run.status == "running":
        return {"actionStatus": ACTIVE}
    if run.status in errors:
        return {"actionStatus": FAILED, "error": errors[run.status]}
    return {"actionStatus": COMPLETED}


# -- tasks -------------------------------------------------------------------------------------------------------


def result_id(run: int, task: int) -> str:
    """Name what a task gave back: a function's value, a command's output."""
    return f"{task_id(run, task)}/result"


def task_result(row: TaskRow, printed: str | None) -> Json:
    """Describe what a task gave back."""
    if row.kind == "command":
        about, value = "What the command printed, or the end of it", printed or ""
    else:
        about = "The value that the function returned; it is kept in Harmony's store, as bytes that Python can read"
        value = f"result of task {row.id} of run {row.run}"
    name = f"result of {row.name}, task {row.id}"
    id = result_id(row.run, row.id)
    return {"@id": id, "@type": "PropertyValue", "name": name, "description": f"{about}.", "value": value}


def task_action(owner: Run, story: Story, host: str, status: Json) -> Json:
    """Describe the attempt with which a task's work ended, or which is going on."""
    work = story.work or story.row
    about = [f"Task {work.id} of run {owner.id}"]
    if work.place or work.engine:
        about.append(f"run by {work.place or 'a worker'} of the engine {work.engine} on {host}")
    if work.attempts > 1:
        about.append(f"in its attempt {work.attempts}")
    if story.work is None:
        origin = f"task {story.row.origin_task} of run {story.row.origin_run}"
        about.append(f"recalled from {origin}, which the store no longer has")
    elif story.row.origin_run is not None:
        about.append(f"recalled by run {story.row.run}, which did not run it again")
    return compact(
        {
            "@id": task_id(work.run, work.id),
            "@type": "CreateAction",
            "name": f"Run of {work.name}, task {work.id}",
            "description": ", ".join(about) + ".",
            "instrument": {"@id": tool_id(story.row)},
            "agent": {"@id": USER},
            "startTime": None if work.started is None else iso(owner.wall(work.started)),
            "endTime": None if work.ended is None or story.work is None else iso(owner.wall(work.ended)),
            "environment": refs(value["@id"] for value in task_environment(work)),
            "resourceUsage": refs(value["@id"] for value in task_usage(work)),
            **status,
        }
    )


def task_status(run: Run, story: Story) -> Json:
    """Tell how a task ended, or that it has not."""
    row = story.row
    if row.state.name == "DONE":
        return {"actionStatus": COMPLETED}
    if row.state.name == "RUNNING" and run.status == "running":
        return {"actionStatus": ACTIVE}
    if row.state.name == "RUNNING":
        return {"actionStatus": FAILED, "error": "it was still running when the run ended without it"}
    if row.state.name == "CANCELLED" or not story.failures:
        return {"actionStatus": FAILED, "error": "it was cancelled"}
    return {"actionStatus": FAILED, "error": failure_text(story.failures[-1])}


def failure_text(failure: FailureRow) -> str:
    """Say why an attempt failed."""
    return f"{failure.type}: {failure.message}"


def attempt_action(run: Run, story: Story, values: tuple[Any, ...]) -> Json:
    """Describe an attempt that failed and was followed by another."""
    number, engine, place, started, ended = values
    row = story.row
    found = [failure_text(failure) for failure in story.failures if failure.attempt == number]
    return compact(
        {
            "@id": f"{task_id(row.run, row.id)}/attempt/{number}",
            "@type": "CreateAction",
            "name": f"Run of {row.name}, task {row.id}, attempt {number}",
            "description": f"An attempt by {place} of the engine {engine} that failed; another followed.",
            "instrument": {"@id": tool_id(row)},
            "agent": {"@id": USER},
            "startTime": None if started is None else iso(run.wall(started)),
            "endTime": None if ended is None else iso(run.wall(ended)),
            "actionStatus": FAILED,
            "error": found[0] if found else None,
        }
    )


def control_action(story: Story, actions: list[str], status: Json) -> Json:
    """Describe that a step was brought about, by which attempts."""
    row = story.row
    return {
        "@id": f"{task_id(row.run, row.id)}/control",
        "@type": "ControlAction",
        "name": f"Task {row.id}: {row.name}",
        "instrument": {"@id": step_id(row)},
        "object": refs(actions),
        **status,
    }


def task_usage(row: TaskRow) -> Iterator[Json]:
    """Describe what a task used."""
    for field, (name, property_id, unit) in USAGE.items():
        value = getattr(row, field)
        if value is not None:
            yield {
                "@id": f"{task_id(row.run, row.id)}/usage/{field}",
                "@type": "PropertyValue",
                "name": name,
                "propertyID": property_id,
                "unitCode": _UNITS + unit,
                "value": str(value),
            }


def task_environment(row: TaskRow) -> Iterator[Json]:
    """Describe the variables that a task was given; alike ones are one entity."""
    try:
        given = json.loads(row.shape).get("environment") or {}
    except (ValueError, AttributeError):
        given = {}
    for name, value in given.items() if isinstance(given, Mapping) else given:
        id = f"#environment/{quote(str(name), safe='')}/{quote(str(value), safe='')}"
        yield {"@id": id, "@type": "PropertyValue", "name": str(name), "value": str(value)}
