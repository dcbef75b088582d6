"""Jobs in the JSON of the IRI Facility API, the interface that DOE's computing facilities offer over HTTPS.

Its job specification is PSI/J's with small differences. They are settled here, and what one side cannot say is
refused by name: nothing is lost.
"""

from __future__ import annotations

import hashlib
import os
import shlex
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from harmony.errors import InvalidJobException
from harmony.jobs.attributes import JobAttributes
from harmony.jobs.fields import BOOL, NUMBER, PATH, TEXT, Kind, list_of, mapping, read_fields, write_fields
from harmony.jobs.resource_spec import ResourceSpecV1
from harmony.jobs.script import path_text
from harmony.jobs.spec import JobSpec
from harmony.jobs.state import JobState, JobStatus, Reason

_TEXTS = Kind(mapping(TEXT.write), mapping(TEXT.read))
_SCRIPTS = ("pre_launch", "post_launch")
#: What is the same in both, but that an empty list or object says there what None says here.
_SPEC: dict[str, Kind] = {
    "executable": TEXT,
    "arguments": list_of(TEXT).or_else([]),
    "directory": PATH,
    "name": TEXT,
    "inherit_environment": BOOL.or_else(True),
    "environment": _TEXTS.or_else({}),
    "stdin_path": PATH,
    "stdout_path": PATH,
    "stderr_path": PATH,
    "launcher": TEXT,
}
_RESOURCES = {
    "node_count": NUMBER,
    "process_count": NUMBER,
    "processes_per_node": NUMBER,
    "cpu_cores_per_process": NUMBER,
    "gpu_cores_per_process": NUMBER.or_else(0),  # 0 is refused there, and None says the same
    "exclusive_node_use": BOOL.or_else(True),  # their default is the opposite of PSI/J's
    "memory": NUMBER,
}
_ATTRIBUTES = {"queue_name": TEXT, "account": TEXT, "reservation_id": TEXT}
#: What PSI/J and Harmony have and IRI has not, and what can be done.
_OURS = {
    "stage_in": "bring the files with the facility's transfer interface before the job is submitted",
    "stage_out": "fetch the files with the facility's transfer interface after the job has ended",
    "cleanup": "delete the files in post_launch",
    "launcher_options": "start the launcher as the executable, with its options in arguments",
}


def spec_to_iri(spec: JobSpec, scheduler: str | None = None) -> dict[str, Any]:
    """Return a specification as the body of a request to an IRI facility.

    - `scheduler`: the facility's; the custom attributes of that name are sent, without the prefix, and no others. It
      must be given when there are custom attributes.
    - `pre_launch` and `post_launch`, which are shell code there, become the line that sources the script here named;
      the script must be at the facility.
    - The duration is rounded up to whole seconds.

    Raises `InvalidJobException` naming a field that IRI does not have.
    """
    for name, instead in _OURS.items():
        if getattr(spec, name):
            raise InvalidJobException(f"{name}={getattr(spec, name)!r} cannot be said in the IRI API: {instead}")
    tree = write_fields("", _SPEC, spec)
    if spec.name == spec.executable:
        tree.pop("name", None)
    if spec.resources is not None:
        tree["resources"] = write_fields("resources", _RESOURCES, spec.resources_v1)
    tree["attributes"] = _attributes_tree(spec.attributes, scheduler)
    for name in _SCRIPTS:
        path = getattr(spec, name)
        if path is not None:
            tree[name] = _sourcing(path)
    return tree


def spec_from_iri(
    data: Mapping[str, Any], scheduler: str | None = None, script_directory: str | os.PathLike[str] | None = None
) -> JobSpec:
    """Return the specification in the body of a request to an IRI facility.

    - `scheduler`: whose options the custom attributes are; it must be given when there are any.
    - `script_directory`: where shell code in `pre_launch` and `post_launch` is written to, each in a file of its own,
      for here they are paths. The nodes must see it. It is not needed for a line that only sources a file.
    - Without a duration it is PSI/J's, 10 minutes; resources that do not say otherwise are whole nodes, as IRI has it.

    Raises `InvalidJobException` naming a key that is not known or cannot be honoured, like ``container``.
    """
    others = ("resources", "attributes", "container", *_SCRIPTS)
    found = read_fields("", _SPEC, data, *others)
    if data.get("container") is not None:
        raise InvalidJobException(
            f"container={data['container']!r}: a job here has no container of its own; start one as the executable, "
            "e.g. executable='apptainer', arguments=['exec', IMAGE, PROGRAM, …]"
        )
    for name in ("arguments", "environment"):
        found[name] = found.get(name) or None
    if data.get("resources") is not None:
        resources = read_fields("resources", _RESOURCES, data["resources"])
        found["resources"] = ResourceSpecV1(**{"exclusive_node_use": True, **resources})
    found["attributes"] = _attributes(data.get("attributes") or {}, scheduler)
    for name in _SCRIPTS:
        if data.get(name) is not None:
            found[name] = _script(name, TEXT.read(name, data[name]), script_directory)
    return JobSpec(**found)


def _attributes_tree(attributes: JobAttributes, scheduler: str | None) -> dict[str, Any]:
    attributes.check()
    seconds = -(-attributes.duration // timedelta(seconds=1))
    tree = {"duration": seconds, **write_fields("attributes", _ATTRIBUTES, attributes)}
    if attributes.custom_attributes:
        if scheduler is None:
            raise InvalidJobException(
                f"custom_attributes={attributes.custom_attributes!r} have no scheduler's name in the IRI API: say with "
                "scheduler= which scheduler's are meant"
            )
        options = {name: value or "" for name, value in attributes.options(scheduler.lower()).items()}
        tree |= {"custom_attributes": options} if options else {}
    return tree


def _attributes(tree: object, scheduler: str | None) -> JobAttributes:
    fields = {**_ATTRIBUTES, "duration": NUMBER, "custom_attributes": _TEXTS}
    found = read_fields("attributes", fields, tree)
    if "duration" in found:
        found["duration"] = timedelta(seconds=found["duration"])
    options = found.pop("custom_attributes", None)
    if options:
        if scheduler is None:
            raise InvalidJobException(
                f"attributes.custom_attributes={options!r} do not say which scheduler they are for: give its name, "
                "scheduler="
            )
        found["custom_attributes"] = {f"{scheduler}.{name}": value for name, value in options.items()}
    return JobAttributes(**found)


def _sourcing(path: Path) -> str:
    return f". {path_text(path if '/' in str(path) else f'./{path}')}"


def _script(name: str, code: str, directory: str | os.PathLike[str] | None) -> Path:
    path = _sourced(code)
    if path is not None:
        return path
    if directory is None:
        raise InvalidJobException(
            f"{name}={code!r} is shell code, and PSI/J has the path of a script there: give a directory for it, "
            "script_directory="
        )
    text = code if code.endswith("\n") else f"{code}\n"
    file = Path(directory).absolute() / f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:16]}.sh"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    return file


def _sourced(code: str) -> Path | None:
    """The path that the code sources, if that is all it does."""
    try:
        words = shlex.split(code)
    except ValueError:
        return None
    if len(words) != 2 or words[0] != ".":
        return None
    home, path = words[1].startswith("$HOME/"), words[1]
    found = Path("~" + path[len("$HOME") :]) if home else Path(path)
    return found if _sourcing(found) == code else None


_TO_IRI = {
    JobState.NEW: "new",
    JobState.QUEUED: "queued",
    JobState.STAGE_IN: "queued",
    JobState.ACTIVE: "active",
    JobState.STAGE_OUT: "active",
    JobState.CLEANUP: "active",
    JobState.COMPLETED: "completed",
    JobState.FAILED: "failed",
    JobState.CANCELED: "canceled",
}
_STAGES = {JobState.STAGE_IN.name, JobState.STAGE_OUT.name, JobState.CLEANUP.name}
_STAGE = "psij_state"


def status_to_iri(status: JobStatus) -> dict[str, Any]:
    """Return a status as an IRI facility reports it.

    A job that is queued and held is ``held``. The stages that IRI does not have are ``queued`` before the program
    runs and ``active`` after it, with their own name in the metadata.
    """
    tree = status.to_dict()
    metadata: dict[str, Any] = tree.pop("metadata")
    held = status.state is JobState.QUEUED and status.reason == Reason.HELD.value
    if status.state.name in _STAGES:
        metadata[_STAGE] = status.state.name
    return {**tree, "state": "held" if held else _TO_IRI[status.state], "meta_data": metadata}


def status_from_iri(data: Mapping[str, Any]) -> JobStatus:
    """Return the status that an IRI facility has reported; without a time it is of now.

    Raises `ValueError` for a state that is none. What a facility adds of its own is ignored.
    """
    name = str(data.get("state")).lower()  # older servers write the states in capitals
    metadata = dict(data.get("meta_data") or {})
    if name == "held":
        state = JobState.QUEUED
        metadata.setdefault("reason", Reason.HELD.value)
    elif name in _TO_IRI.values():
        stage = metadata.get(_STAGE)
        known = stage in _STAGES and _TO_IRI[JobState[stage]] == name
        state = JobState[metadata.pop(_STAGE) if known else name.upper()]
    else:
        states = ", ".join([*dict.fromkeys(_TO_IRI.values()), "held"])
        raise ValueError(f"state={data.get('state')!r} is none of IRI's: {states}")
    return JobStatus(state, data.get("time"), data.get("message"), data.get("exit_code"), metadata)
