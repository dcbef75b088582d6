"""The options that describe a job, and the specification they make."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from harmony.errors import HarmonyError
from harmony.jobs import JobAttributes, JobSpec, ResourceSpecV1, StageIn, StageOut, spec_from_dict
from harmony.resources import parse_memory

Command = TypeVar("Command", bound=Callable[..., Any])

_OPTIONS = (
    click.option("-x", "--executor", envvar="HARMONY_EXECUTOR", default="local", show_default=True, metavar="NAME",
                 help="The batch system: local, slurm, pbs, lsf, sge, …; or set HARMONY_EXECUTOR."),
    click.option("--spec", "spec_file", type=click.Path(exists=True, dir_okay=False), metavar="FILE",
                 help="Read the specification from FILE.json or FILE.toml; options change it."),
    click.option("--name", metavar="TEXT", help="The job's name."),
    click.option("-d", "--directory", metavar="PATH", help="Run in this directory; made if missing."),
    click.option("-e", "--env", "environment", multiple=True, metavar="NAME=VALUE", help="Set a variable (repeatable)."),
    click.option("--clean-env", is_flag=True, help="Do not inherit the environment."),
    click.option("--stdin", "stdin_path", metavar="PATH", help="Read standard input from here."),
    click.option("-o", "--stdout", "stdout_path", metavar="PATH", help="Write standard output here."),
    click.option("--stderr", "stderr_path", metavar="PATH", help="Write standard error here."),
    click.option("-N", "--nodes", "node_count", type=int, metavar="N", help="Nodes."),
    click.option("-n", "--processes", "process_count", type=int, metavar="N", help="Processes in all."),
    click.option("--processes-per-node", type=int, metavar="N", help="Processes on each node."),
    click.option("-c", "--cores", "cpu_cores_per_process", type=int, metavar="N", help="CPU cores for each process."),
    click.option("-g", "--gpus", "gpu_cores_per_process", type=int, metavar="N", help="GPUs for each process."),
    click.option("-m", "--memory", metavar="SIZE", help="Memory of the whole job: 4GB, 512MiB."),
    click.option("--exclusive", is_flag=True, help="Share the nodes with no other job."),
    click.option("-t", "--walltime", metavar="TIME", help="hh:mm:ss, minutes, or 90s, 2h, 1d; 10 minutes if not given."),
    click.option("-q", "--queue", metavar="NAME", help="The queue (partition)."),
    click.option("-A", "--account", metavar="NAME", help="The account (project) that pays."),
    click.option("--reservation", metavar="ID", help="A reservation to run in."),
    click.option("-a", "--attribute", "attributes", multiple=True, metavar="SCHEDULER.OPTION[=VALUE]",
                 help="An option that only one batch system has (repeatable): slurm.constraint=gpu."),
    click.option("-l", "--launcher", metavar="NAME", help="What starts the processes: single, multiple, mpirun, srun, …"),
    click.option("--launcher-option", "launcher_options", multiple=True, metavar="WORD",
                 help="A word for the launcher's command (repeatable)."),
    click.option("--pre-launch", metavar="PATH", help="A shell script that is sourced before the program."),
    click.option("--post-launch", metavar="PATH", help="A shell script that is sourced after it."),
    click.option("--stage-in", multiple=True, metavar="FROM:TO", help="Bring a file before the program (repeatable)."),
    click.option("--stage-out", multiple=True, metavar="FROM:TO", help="Take a file away after it (repeatable)."),
    click.argument("command", metavar="[--] PROGRAM [ARGUMENTS]...", nargs=-1, type=click.UNPROCESSED),
)  # fmt: skip

_PLAIN = (
    "name", "directory", "stdin_path", "stdout_path", "stderr_path", "launcher", "pre_launch", "post_launch",
)  # fmt: skip
_COUNTS = ("node_count", "process_count", "processes_per_node", "cpu_cores_per_process", "gpu_cores_per_process")


def describes_a_job(command: Command) -> Command:
    """Give a click command the options that describe a job."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def make_spec(options: Mapping[str, Any]) -> JobSpec:
    """Return the specification that the options describe. Raises `click.UsageError` naming what is wrong."""
    try:
        spec = _read(options["spec_file"]) if options["spec_file"] else JobSpec()
        _apply(spec, options)
        spec.check()
    except (HarmonyError, ValueError, TypeError) as error:
        raise click.UsageError(str(error)) from error
    return spec


def _read(path: str) -> JobSpec:
    text = Path(path).read_text()
    if path.endswith(".toml"):
        try:
            import tomllib
        except ModuleNotFoundError:  # Python 3.10
            import tomli as tomllib
        return spec_from_dict(tomllib.loads(text))
    return spec_from_dict(json.loads(text))


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
    given: dict[str, Any] = {name: options[name] for name in _COUNTS if options[name] is not None}
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


def _pairs(option: str, texts: Sequence[str]) -> dict[str, str]:
    pairs = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise click.UsageError(f"{option} {text!r} must be NAME=VALUE")
        pairs[name] = value
    return pairs


def _ends(option: str, text: str) -> tuple[str, str]:
    source, colon, target = text.rpartition(":")
    if not colon or not source or not target:
        raise click.UsageError(f"{option} {text!r} must be FROM:TO")
    return source, target
