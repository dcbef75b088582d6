"""What a submission to emulated Slurm asks for: the options of sbatch and srun, and their values."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from harmony.conformance.emulators.dialect import plain_environment, user_name
from harmony.conformance.emulators.engine import Machine
from harmony.conformance.emulators.model import Call, Dependency, Refused, Request
from harmony.conformance.emulators.options import MAYBE, NONE, ONE, Options, directive_lines

ALIASES = {
    "a": "array", "A": "account", "b": "begin", "c": "cpus-per-task", "d": "dependency", "D": "chdir", "e": "error",
    "H": "hold", "i": "input", "J": "job-name", "k": "no-kill", "L": "licenses", "M": "clusters", "m": "distribution",
    "n": "ntasks", "N": "nodes", "o": "output", "O": "overcommit", "p": "partition", "q": "qos", "Q": "quiet",
    "s": "oversubscribe", "S": "core-spec", "t": "time", "v": "verbose", "W": "wait", "C": "constraint",
    "F": "nodefile", "w": "nodelist", "x": "exclude", "G": "gpus", "h": "help", "V": "version", "l": "label",
    "K": "kill-on-bad-exit", "u": "unbuffered", "X": "disable-status", "I": "immediate", "B": "extra-node-info",
}  # fmt: skip
_NONE = (
    "contiguous", "hold", "ignore-pbs", "no-requeue", "overcommit", "oversubscribe", "parsable", "quiet", "reboot",
    "requeue", "spread-job", "use-min-nodes", "verbose", "version", "help", "usage", "wait", "test-only",
)  # fmt: skip
_ONE = (
    "array", "account", "bb", "bbf", "begin", "cluster-constraint", "clusters", "comment", "constraint", "container",
    "core-spec", "cores-per-socket", "cpu-freq", "cpus-per-gpu", "cpus-per-task", "deadline", "delay-boot",
    "dependency",
    "chdir", "distribution", "error", "exclude", "export", "export-file", "gid", "gpu-bind", "gpu-freq", "gpus",
    "gpus-per-node", "gpus-per-socket", "gpus-per-task", "gres", "gres-flags", "hint", "input", "job-name",
    "kill-on-invalid-dep", "licenses", "mail-type", "mail-user", "mcs-label", "mem", "mem-bind", "mem-per-cpu",
    "mem-per-gpu", "mincpus", "network", "nodefile", "nodelist", "nodes", "ntasks", "ntasks-per-core", "ntasks-per-gpu",
    "ntasks-per-node", "ntasks-per-socket", "open-mode", "output", "partition", "power", "prefer", "priority",
    "profile",
    "qos", "reservation", "signal", "sockets-per-node", "switches", "thread-spec", "threads-per-core", "time",
    "time-min", "tmp", "uid", "wckey", "wrap", "extra-node-info",
)  # fmt: skip
_MAYBE = ("exclusive", "get-user-env", "nice", "no-kill", "propagate")
SBATCH = {**dict.fromkeys(_NONE, NONE), **dict.fromkeys(_ONE, ONE), **dict.fromkeys(_MAYBE, MAYBE)}
SBATCH_SHORT = "a:A:b:B:c:C:d:D:e:F:G:hHi:J:k::L:m:M:n:N:o:Op:q:QsS:t:uvVw:Wx:"
SRUN = {
    **{name: kind for name, kind in SBATCH.items() if name not in ("array", "wrap", "parsable", "test-only", "wait")},
    **dict.fromkeys(("exact", "label", "overlap", "pty", "unbuffered", "whole", "disable-status", "interactive"), NONE),
    **dict.fromkeys(("cpu-bind", "epilog", "jobid", "mpi", "multi-prog", "prolog", "relative", "task-prolog"), ONE),
    **dict.fromkeys(("kill-on-bad-exit", "immediate", "accel-bind", "wait"), MAYBE),
}
SRUN_SHORT = SBATCH_SHORT.replace("a:", "").replace("O", "OlXI::K::r:T:")
_PARTITIONS = {"debug": 1800.0, "short": 60.0, "low": 3600.0, "high": 3600.0, "gpu": 3600.0}
_TIME = re.compile(
    r"(?:(?P<d>\d+)-(?P<dh>\d+)(?::(?P<dm>\d+))?(?::(?P<ds>\d+))?|(?P<a>\d+)(?::(?P<b>\d+))?(?::(?P<c>\d+))?)"
)
_KINDS = {"after": "after", "afterok": "ok", "afternotok": "notok", "afterany": "any", "aftercorr": "ok"}


def directives(script: str) -> list[str]:
    """What stands behind ``#SBATCH`` in a script."""
    return directive_lines(script, "#SBATCH")


def request_of(script: str, rest: list[str], options: Options, call: Call, machine: Machine) -> Request:
    """What a submission asks for. Raises `Refused` as sbatch refuses."""
    given = {name: value or "" for name, value in options}
    nodes = number(given, "nodes", 0, "node count")
    tasks = number(given, "ntasks", 0, "number of tasks")
    each = number(given, "ntasks-per-node", 0, "ntasks per node")
    width = number(given, "cpus-per-task", 1, "number of cpus per task")
    nodes = nodes or (-(-tasks // each) if tasks and each else 1)
    tasks = tasks or each * nodes or nodes
    cores = max(1, -(-tasks // nodes)) * width
    partition = given.get("partition", "debug")
    _check_partition(partition)
    if nodes > len(machine.nodes) or cores > machine.settings.cores:
        raise Refused(_failed("Requested node configuration is not available"))
    export = given.get("export", "ALL")
    environment = _job_environment(call, export, machine)
    tasks_of_array, at_once = _array(given["array"]) if "array" in given else (None, 0)
    command = os.path.join(call.directory, rest[0]) if rest else ""
    extra = {**given, "tasks": str(tasks), "submit": call.directory, "export": export, "command": command}
    return Request(
        script=script,
        arguments=tuple(rest[1:]),
        name=given.get("job-name") or (os.path.basename(rest[0]) if rest else "wrap" if "wrap" in given else "sbatch"),
        user=user_name(),
        queue=partition,
        account=given.get("account", ""),
        directory=os.path.join(call.directory, given.get("chdir", "")).rstrip("/") or "/",
        environment=environment,
        nodes=nodes,
        cores=cores,
        gpus=_gpus(given, -(-tasks // nodes)),
        exclusive="exclusive" in given,
        limit=_seconds(given["time"]) if "time" in given else _PARTITIONS[partition.split(",")[0]],
        stdin=given.get("input"),
        stdout=given.get("output"),
        stderr=given.get("error"),
        held="hold" in given,
        requeue=_last(options, ("requeue", "no-requeue"), "requeue") == "requeue",
        tasks=tasks_of_array,
        tasks_at_once=at_once,
        dependencies=_dependencies(given.get("dependency", "")),
        end_if_never=given.get("kill-on-invalid-dep", "").lower() in ("yes", "y"),
        extra=extra,
    )


def _check_partition(partition: str) -> None:
    if partition.split(",", maxsplit=1)[0] not in _PARTITIONS:
        raise Refused(
            f"sbatch: error: invalid partition specified: {partition}\n"
            "sbatch: error: Batch job submission failed: Invalid partition name specified"
        )


def _failed(why: str) -> str:
    return f"sbatch: error: Batch job submission failed: {why}"


def _last(options: Options, names: tuple[str, ...], default: str) -> str:
    return next((name for name, _ in reversed(options) if name in names), default)


def number(given: Mapping[str, str | None], name: str, default: int, what: str) -> int:
    """The value of an option that counts something; of a range its beginning."""
    value = given.get(name)
    if value is None:
        return default
    if not re.fullmatch(r"\d+(-\d+)?", value) or not int(value.split("-")[0]):
        raise Refused(f'sbatch: error: "{value}" is not a valid {what}', 255)
    return int(value.split("-")[0])


def _gpus(given: Mapping[str, str], tasks_on_node: int) -> int:
    if digits := re.search(r"(\d+)$", given.get("gpus-per-task", "")):
        return int(digits[1]) * tasks_on_node
    for name in ("gpus-per-node", "gres", "gpus"):
        digits = re.search(r"(\d+)$", given.get(name, ""))
        if digits and (name != "gres" or "gpu" in given[name]):
            return int(digits[1])
    return 0


def _seconds(text: str) -> float | None:
    """Read a time limit; Slurm counts in minutes, so seconds round up."""
    if text.lower() in ("0", "unlimited", "infinite", "-1"):
        return None
    match = _TIME.fullmatch(text)
    if match is None:
        raise Refused("sbatch: error: Invalid --time specification", 255)
    if match["d"]:
        total = int(match["d"]) * 86400 + int(match["dh"]) * 3600 + int(match["dm"] or 0) * 60 + int(match["ds"] or 0)
    elif match["c"]:
        total = int(match["a"]) * 3600 + int(match["b"]) * 60 + int(match["c"])
    else:
        total = int(match["a"]) * 60 + int(match["b"] or 0)
    return float(-(-total // 60) * 60)


def _array(text: str) -> tuple[tuple[int, ...], int]:
    listed, percent, at_once = text.partition("%")
    found: list[int] = []
    for part in listed.split(","):
        match = re.fullmatch(r"(\d+)(?:-(\d+)(?::(\d+))?)?", part)
        if match is None or (match[2] and int(match[2]) < int(match[1])):
            raise Refused(_failed("Invalid job array specification"))
        found += range(int(match[1]), int(match[2] or match[1]) + 1, int(match[3] or 1))
    if max(found) >= 1001 or (percent and not at_once.isdigit()):
        raise Refused(_failed("Invalid job array specification"))
    return tuple(sorted(set(found))), int(at_once or 0)


def _dependencies(text: str) -> tuple[Dependency, ...]:
    found = []
    for part in filter(None, re.split(r"[,?]", text)):
        kind, *ids = part.split(":")
        if kind == "singleton":
            continue
        plain = [job_id.partition("+")[0] for job_id in ids]
        if kind not in _KINDS or not ids or not all(re.fullmatch(r"\d+(_\d+)?", job_id) for job_id in plain):
            raise Refused(_failed("Job dependency problem"))
        found.append(Dependency(_KINDS[kind], tuple(plain), "?" in text))
    return tuple(found)


def _job_environment(call: Call, export: str, machine: Machine) -> dict[str, str]:
    names = export.split(",")
    added = dict(item.split("=", 1) for item in names if "=" in item)
    if "ALL" in names:
        return {**call.environment, **added}
    kept = {name: value for name, value in call.environment.items() if name in names or name.startswith("SLURM_")}
    return {**plain_environment(machine.bin), **kept, **added}
