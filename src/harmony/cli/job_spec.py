"""The specification that a command line describes: what its file says, changed by its options."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from harmony.errors import HarmonyError
from harmony.jobs import JobAttributes, JobExecutorConfig, JobSpec, ResourceSpecV1, StageIn, StageOut
from harmony.resources import parse_memory
from harmony.sites.reading import toml_reader

_PLAIN = (
    "name", "directory", "stdin_path", "stdout_path", "stderr_path", "launcher", "pre_launch", "post_launch",
)  # fmt: skip
_COUNTS = ("node_count", "process_count", "processes_per_node", "cpu_cores_per_process", "gpu_cores_per_process")

Tree = dict[str, Any]


def make_spec(options: Mapping[str, Any]) -> JobSpec:
    """Return the specification that the options describe. Raises `click.UsageError` naming what is wrong."""
    file = options["spec_file"]
    if options["iri"] and not file:
        raise click.UsageError("--iri says how a specification is written: give its file, --spec FILE")
    spec = _from_file(file, options) if file else JobSpec()
    try:
        _apply(spec, options)
        spec.check()
    except (HarmonyError, ValueError, TypeError, OverflowError) as error:
        hint = "" if spec.executable else "; write it last on the command line: -- PROGRAM ARGUMENTS"
        raise click.UsageError(f"{error}{hint}") from error
    return spec


# -- the file ----------------------------------------------------------------------------------------------


def _from_file(path: str, options: Mapping[str, Any]) -> JobSpec:
    name = "the specification on stdin" if path == "-" else path
    try:
        tree = _parse(path, sys.stdin.read() if path == "-" else Path(path).read_text(encoding="utf-8"))
        if options["iri"]:
            from harmony.jobs import spec_from_iri

            work = JobExecutorConfig(work_directory=options["work_directory"]).work_directory
            return spec_from_iri(tree, options["executor"], work / "iri")
        from harmony.jobs import spec_from_dict

        return spec_from_dict(_by_hand(tree))
    except UnicodeDecodeError as error:
        raise click.UsageError(f"{name} is not a text in UTF-8") from error
    except (HarmonyError, ValueError, TypeError) as error:
        raise click.UsageError(f"{name}: {error}") from error
    except OSError as error:
        raise click.UsageError(f"{name} cannot be read: {error.strerror}") from error


def _parse(path: str, text: str) -> Tree:
    is_toml = not path.endswith(".json") and (path.endswith(".toml") or not text.lstrip().startswith("{"))
    kind, loads = ("TOML", toml_reader()) if is_toml else ("JSON", json.loads)
    try:
        tree = loads(text)
    except ValueError as error:
        raise ValueError(f"this is not {kind}: {error}") from error
    if not isinstance(tree, dict):
        raise ValueError("this must be one object, with the fields of a job's specification")
    return tree


def _by_hand(tree: Tree) -> Tree:
    """Turn what people write into what programs do: sizes with units, FROM:TO, options grouped by batch system."""
    tree = dict(tree)
    resources, attributes = tree.get("resources"), tree.get("attributes")
    if isinstance(resources, dict) and isinstance(resources.get("memory"), str):
        memory = resources["memory"]
        try:
            tree["resources"] = {**resources, "memory": parse_memory(memory)}
        except HarmonyError as error:
            raise ValueError(f"resources.{error}") from error
    duration = attributes.get("duration") if isinstance(attributes, dict) else None
    if isinstance(duration, int | float):
        raise ValueError(f"attributes.duration={duration!r} has no unit: write '20m' or '00:20:00' (--iri: seconds)")
    if isinstance(attributes, dict) and isinstance(attributes.get("custom_attributes"), dict):
        tree["attributes"] = {**attributes, "custom_attributes": _flat(attributes["custom_attributes"])}
    for name in ("stage_in", "stage_out"):
        if isinstance(tree.get(name), list):
            tree[name] = [_item(f"{name}[{index}]", item) for index, item in enumerate(tree[name])]
    return tree


def _flat(groups: Tree) -> Tree:
    found: Tree = {}
    for name, value in groups.items():
        group = value if isinstance(value, dict) else None
        found.update({name: value} if group is None else {f"{name}.{key}": item for key, item in group.items()})
    return found


def _item(name: str, item: object) -> object:
    if not isinstance(item, str):
        return item
    source, target = _ends(name, item)
    return {"source": source, "target": target}


# -- the options -------------------------------------------------------------------------------------------


def _apply(spec: JobSpec, options: Mapping[str, Any]) -> None:
    if options["command"]:
        spec.executable, *spec.arguments = options["command"]
    for name in _PLAIN:
        if options[name] is not None:
            setattr(spec, name, options[name])
    if options["environment"]:
        spec.environment = {**(spec.environment or {}), **_pairs("--env", options["environment"])}
    if options["clean_env"]:
        spec.inherit_environment = False
    if options["launcher_options"]:
        spec.launcher_options = list(options["launcher_options"])
    if options["stage_in"]:
        spec.stage_in = [StageIn(*_ends("--stage-in", text)) for text in options["stage_in"]]
    if options["stage_out"]:
        spec.stage_out = [StageOut(*_ends("--stage-out", text)) for text in options["stage_out"]]
    _apply_resources(spec, options)
    _apply_attributes(spec.attributes, options)


def _apply_resources(spec: JobSpec, options: Mapping[str, Any]) -> None:
    given: Tree = {name: options[name] for name in _COUNTS if options[name] is not None}
    if options["memory"] is not None:
        given["memory"] = parse_memory(options["memory"])
    if options["exclusive"]:
        given["exclusive_node_use"] = True
    if given:
        before = {name: value for name, value in vars(spec.resources_v1).items() if value is not None}
        spec.resources = ResourceSpecV1(**{**before, **given})


def _apply_attributes(attributes: JobAttributes, options: Mapping[str, Any]) -> None:
    if options["walltime"] is not None:
        attributes.duration = JobAttributes.parse_walltime(options["walltime"])
    for option, name in (("queue", "queue_name"), ("account", "account"), ("reservation", "reservation_id")):
        if options[option] is not None:
            setattr(attributes, name, options[option])
    for text in options["attributes"]:
        name, equals, value = text.partition("=")
        attributes.set_custom_attribute(name, value if equals else None)


def _pairs(option: str, texts: list[str]) -> dict[str, str]:
    pairs = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise ValueError(f"{option} {text!r} must be NAME=VALUE")
        pairs[name] = value
    return pairs


def _ends(name: str, text: str) -> tuple[str, str]:
    source, colon, target = text.rpartition(":")
    if not colon or not source or not target:
        raise ValueError(f"{name} {text!r} must be FROM:TO")
    return source, target
