"""Specifications as JSON: the text that psij-python's serializer writes, and all that it cannot write as well."""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from datetime import timedelta
from io import StringIO
from typing import IO, Any

from harmony.errors import InvalidJobException
from harmony.jobs.attributes import JobAttributes
from harmony.jobs.fields import (
    BOOL,
    NUMBER,
    PATH,
    TEXT,
    Kind,
    list_of,
    mapping,
    object_of,
    plain,
    read_fields,
    text_or_number,
    write_fields,
    wrong,
)
from harmony.jobs.resource_spec import ResourceSpec, ResourceSpecV1
from harmony.jobs.spec import JobSpec
from harmony.jobs.staging import URI, StageIn, StageOut, StageOutFlags, StagingMode

_FLAGS = ("IF_PRESENT", "ON_SUCCESS", "ON_ERROR", "ON_CANCEL")
_SECONDS = re.compile(r"(\d+)(?:\.(\d{1,6}))? s")


class Serializer(ABC):
    """Turns a specification into a text and back.

    A subclass says how a tree of dictionaries, lists, texts, numbers, booleans and None is written to a stream.
    """

    def dump(self, spec: JobSpec, stream: IO[Any]) -> None:
        """Write a specification to a stream. Raises `InvalidJobException` naming what has no place in it."""
        self._dump_dict(spec_to_dict(spec), stream)

    def load(self, stream: IO[Any]) -> JobSpec:
        """Read a specification from a stream. Raises `InvalidJobException` for what is none."""
        return spec_from_dict(self._load_dict(stream))

    def dumps(self, spec: JobSpec) -> str:
        """Return a specification as a text."""
        stream = StringIO()
        self.dump(spec, stream)
        return stream.getvalue()

    def loads(self, s: str) -> JobSpec:
        """Return the specification that a text holds."""
        return self.load(StringIO(s))

    @abstractmethod
    def _dump_dict(self, tree: dict[str, Any], stream: IO[Any]) -> None:
        """Write the tree to the stream."""

    @abstractmethod
    def _load_dict(self, stream: IO[Any]) -> dict[str, Any]:
        """Read the tree from the stream."""


class JSONSerializer(Serializer):
    """Writes and reads JSON; streams are text streams."""

    def _dump_dict(self, tree: dict[str, Any], stream: IO[str]) -> None:
        stream.write(json.dumps(tree))

    def _load_dict(self, stream: IO[str]) -> dict[str, Any]:
        try:
            tree: dict[str, Any] = json.load(stream)
        except ValueError as error:
            raise InvalidJobException(f"this is not JSON: {error}", error) from error
        return tree


def spec_to_dict(spec: JobSpec) -> dict[str, Any]:
    """Return a specification as a tree that JSON can hold, without what has its default value.

    Raises `InvalidJobException` naming a field whose value cannot be written.
    """
    return write_fields("", _SPEC, spec)


def spec_from_dict(data: Mapping[str, Any]) -> JobSpec:
    """Return the specification that a tree describes: one from `spec_to_dict`, from psij-python, or written by hand.

    It may be incomplete; `JobSpec.check` tells. Raises `InvalidJobException` naming a key that is not known, or whose
    value is of the wrong type.
    """
    found = read_fields("", _SPEC, data)
    if found.get("name") == found.get("executable"):
        found.pop("name", None)  # psij-python writes the executable as the name of a job without one
    return JobSpec(**found)


_ENVIRONMENT = Kind(mapping(TEXT.write), mapping(text_or_number))
_CUSTOM = Kind(mapping(plain), mapping(plain))


def _duration_text(name: str, value: object) -> str:
    """As psij-python writes it, ``"1200.0 s"``; in whole numbers, for a float loses microseconds of long times."""
    if not isinstance(value, timedelta):
        raise wrong(name, value, "a timedelta")
    seconds, rest = divmod(value, timedelta(seconds=1))
    fraction = f"{rest.microseconds:06}".rstrip("0") or "0"
    return f"{seconds}.{fraction} s"


def _duration(name: str, value: object) -> timedelta:
    text = TEXT.read(name, value)
    try:
        if match := _SECONDS.fullmatch(text):
            return timedelta(seconds=int(match[1]), microseconds=int((match[2] or "").ljust(6, "0")))
        return JobAttributes.parse_walltime(text)
    except (ValueError, OverflowError) as error:
        raise InvalidJobException(f"{name}: {error}", error) from error


def _flag_names(name: str, value: object) -> list[str]:
    if not isinstance(value, StageOutFlags):
        raise wrong(name, value, "StageOutFlags")
    return [flag for flag in _FLAGS if value & StageOutFlags[flag]]


def _flags(name: str, value: object) -> StageOutFlags:
    found = StageOutFlags.NONE
    for flag in list_of(TEXT).read(name, value):
        if flag not in (*_FLAGS, "ALWAYS"):
            raise wrong(name, flag, f"one of {', '.join(_FLAGS)}")
        found |= StageOutFlags[flag]
    return found


def _mode_name(name: str, value: object) -> str:
    if not isinstance(value, StagingMode):
        raise wrong(name, value, "a StagingMode")
    return value.name


def _mode(name: str, value: object) -> StagingMode:
    if value not in StagingMode.__members__:
        raise wrong(name, value, f"one of {', '.join(StagingMode.__members__)}")
    return StagingMode[str(value)]


def _uri(name: str, value: object) -> URI:
    try:
        return URI(TEXT.read(name, value))
    except ValueError as error:
        raise InvalidJobException(f"{name}={value!r}: {error}", error) from error


_MODE = Kind(_mode_name, _mode, StagingMode.COPY)
_URI = Kind(lambda name, value: TEXT.write(name, str(value)), _uri)
_WHEN = Kind(_flag_names, _flags, StageOutFlags.ALWAYS)
_STAGE_IN = {"source": _URI, "target": PATH, "mode": _MODE}
_STAGE_OUT = {"source": PATH, "target": _URI, "flags": _WHEN, "mode": _MODE}


_COUNTS = ("node_count", "process_count", "processes_per_node", "cpu_cores_per_process", "gpu_cores_per_process")
_RESOURCES = {**dict.fromkeys(_COUNTS, NUMBER), "exclusive_node_use": BOOL.or_else(False), "memory": NUMBER}


def _resources_tree(name: str, value: object) -> dict[str, Any]:
    tree: dict[str, Any] = object_of(ResourceSpecV1, _RESOURCES).write(name, value)
    return {**tree, "__version": 1}


def _resources(name: str, tree: object) -> ResourceSpec:
    found = read_fields(name, _RESOURCES, tree, "__version")
    if isinstance(tree, Mapping) and tree.get("__version", 1) != 1:
        raise wrong(f"{name}.__version", tree["__version"], "1, the only version of ResourceSpec")
    return ResourceSpecV1(**found)


_ATTRIBUTES = {
    "duration": Kind(_duration_text, _duration, timedelta(minutes=10)),
    "queue_name": TEXT,
    "account": TEXT,
    "reservation_id": TEXT,
    "custom_attributes": _CUSTOM,
}


def _attributes(name: str, tree: object) -> JobAttributes:
    found = read_fields(name, {**_ATTRIBUTES, "project_name": TEXT}, tree)
    if found.get("account") not in (None, found.get("project_name", found.get("account"))):
        raise InvalidJobException(
            f"{name}: account={found['account']!r} and project_name={found['project_name']!r} are two words for one "
            "thing; give one of them"
        )
    return JobAttributes(**found)


#: In the order in which psij-python writes them.
_SPEC: dict[str, Kind] = {
    "executable": TEXT,
    "arguments": list_of(TEXT),
    "directory": PATH,
    "name": TEXT,
    "inherit_environment": BOOL.or_else(True),
    "environment": _ENVIRONMENT,
    "stdin_path": PATH,
    "stdout_path": PATH,
    "stderr_path": PATH,
    "resources": Kind(_resources_tree, _resources),
    "attributes": object_of(JobAttributes, _ATTRIBUTES)._replace(read=_attributes),
    "pre_launch": PATH,
    "post_launch": PATH,
    "launcher": TEXT,
    "stage_in": list_of(object_of(StageIn, _STAGE_IN, ("source", "target"))),
    "stage_out": list_of(object_of(StageOut, _STAGE_OUT, ("source", "target"))),
    "cleanup": list_of(PATH),
    "cleanup_flags": _WHEN,
    "launcher_options": list_of(TEXT),
}
