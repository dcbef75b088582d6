"""Emulated Slurm, as 22.05 speaks: sbatch, squeue, sacct, scancel, srun within jobs, scontrol."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import ClassVar

from harmony.conformance.emulators import slurm_accounting
from harmony.conformance.emulators import slurm_tables as tables
from harmony.conformance.emulators.dialect import Dialect, read_script
from harmony.conformance.emulators.engine import Machine
from harmony.conformance.emulators.model import Call, Job, NeedsInput, Refused, Reply, Streams
from harmony.conformance.emulators.options import long_options, words
from harmony.conformance.emulators.processes import copies
from harmony.conformance.emulators.slurm_control import scancel, scontrol
from harmony.conformance.emulators.slurm_request import (
    ALIASES,
    SBATCH,
    SBATCH_SHORT,
    SRUN,
    SRUN_SHORT,
    directives,
    number,
    request_of,
)


class Slurm(Dialect):
    """Slurm with accounting, a default partition ``debug``, and nodes n1, n2 and so on."""

    name = "slurm"
    programs = ("sbatch", "squeue", "sacct", "scancel", "srun", "scontrol")
    submitting = ("sbatch",)
    telling = ("squeue", "sacct", "scontrol")
    numbers_tasks = True
    unreachable: ClassVar[tuple[str, int]] = (
        "{program}: error: Unable to contact slurm controller (connect failure)", 1,
    )  # fmt: skip
    refusals: ClassVar[tuple[str, str]] = (
        "sbatch: error: Batch job submission failed: Invalid account or account/partition combination specified",
        "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation",
    )

    def answer(self, call: Call, machine: Machine) -> Reply:
        """Do what a command asks."""
        if "-V" in call.argv[:1] or "--version" in call.argv[:1]:
            return Reply("slurm 22.05.8\n")
        if call.program == "squeue":
            return tables.squeue(call, machine)
        if call.program == "sacct":
            return slurm_accounting.sacct(call, machine)
        return {"sbatch": self._sbatch, "scancel": scancel, "srun": self._srun, "scontrol": scontrol}[call.program](
            call, machine
        )

    def job_id(self, number: int, index: int | None) -> str:
        """``12``, or ``12_3`` for a task."""
        return str(number) if index is None else f"{number}_{index}"

    def streams(self, job: Job) -> Streams:
        """Where a job's standard streams go."""
        request = job.request
        default = "slurm-%A_%a.out" if job.index is not None else "slurm-%j.out"
        out = _path(request.stdout or default, job)
        err = "" if request.stderr is None else _path(request.stderr, job)
        return Streams(
            request.stdin and _path(request.stdin, job), out, err, request.extra.get("open-mode") == "append"
        )

    def job_environment(self, job: Job, machine: Machine) -> Mapping[str, str]:
        """The ``SLURM_`` variables of a job."""
        request, tasks = job.request, int(job.request.extra.get("tasks", job.request.nodes))
        nodes = tables.compact(job.nodes)
        shape = _repeated([_on_node(tasks, len(job.nodes), place) for place in range(len(job.nodes))])
        found = {
            "SLURM_JOB_ID": tables.raw_id(job, machine), "SLURM_JOBID": tables.raw_id(job, machine),
            "SLURM_JOB_NAME": request.name, "SLURM_JOB_NODELIST": nodes, "SLURM_NODELIST": nodes,
            "SLURM_JOB_NUM_NODES": str(len(job.nodes)), "SLURM_NNODES": str(len(job.nodes)),
            "SLURM_JOB_PARTITION": request.queue,
            "SLURM_JOB_CPUS_PER_NODE": _repeated([request.cores] * len(job.nodes)),
            "SLURM_CPUS_ON_NODE": str(request.cores), "SLURM_TASKS_PER_NODE": shape, "SLURM_NODEID": "0",
            "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_SUBMIT_DIR": request.extra.get("submit", "/"),
            "SLURM_SUBMIT_HOST": self.server, "SLURMD_NODENAME": job.nodes[0], "SLURM_CLUSTER_NAME": "emulated",
            "SLURM_JOB_USER": request.user, "SLURM_JOB_UID": str(os.getuid()), "TMPDIR": "/tmp",  # noqa: S108
        }  # fmt: skip
        if request.extra.get("ntasks"):
            found |= {"SLURM_NTASKS": str(tasks), "SLURM_NPROCS": str(tasks)}
        if request.extra.get("cpus-per-task"):
            found["SLURM_CPUS_PER_TASK"] = request.extra["cpus-per-task"]
        if request.extra.get("export", "ALL") != "ALL":
            found["SLURM_EXPORT_ENV"] = request.extra["export"]
        if job.restarts:
            found["SLURM_RESTART_COUNT"] = str(job.restarts)
        if job.index is not None and request.tasks:
            found |= {
                "SLURM_ARRAY_JOB_ID": str(job.number), "SLURM_ARRAY_TASK_ID": str(job.index),
                "SLURM_ARRAY_TASK_COUNT": str(len(request.tasks)), "SLURM_ARRAY_TASK_MIN": str(min(request.tasks)),
                "SLURM_ARRAY_TASK_MAX": str(max(request.tasks)),
            }  # fmt: skip
        return found

    def _sbatch(self, call: Call, machine: Machine) -> Reply:
        options, rest = long_options(call.argv, SBATCH_SHORT, SBATCH, "sbatch", ALIASES)
        given = dict(options)
        if given.get("wrap") is not None:
            script, rest = f"#!/bin/sh\n# This script was created by sbatch by --wrap.\n\n{given['wrap']}\n", []
        elif rest:
            script = read_script(rest[0], call, lambda path, _: f"sbatch: error: Unable to open file {path}")
        elif call.stdin is None:
            raise NeedsInput
        else:
            script = call.stdin.decode("utf-8", "surrogateescape")
        if not script.startswith("#!"):
            raise Refused(
                "sbatch: error: This does not look like a batch script.  The first\n"
                "sbatch: error: line must start with #! followed by the path to an interpreter.\n"
                "sbatch: error: For instance: #!/bin/sh"
            )
        if "wrap" not in given:
            lines = [
                word
                for line in directives(script)
                for word in words(line, "sbatch: error", escapes="\"' ", comment="#")
            ]
            options = [*long_options(lines, SBATCH_SHORT, SBATCH, "sbatch", ALIASES)[0], *options]
        for name in ("wait", "test-only"):
            if name in dict(options):
                raise Refused(f"sbatch: error: this emulated Slurm has no --{name}")
        made = machine.submit(request_of(script, rest, options, call, machine))
        number = made[0].number
        return Reply(f"{number}\n" if "parsable" in dict(options) else f"Submitted batch job {number}\n")

    def _srun(self, call: Call, machine: Machine) -> Reply:
        options, rest = long_options(call.argv, SRUN_SHORT, SRUN, "srun", ALIASES)
        given, inside = dict(options), call.environment
        if "SLURM_JOB_ID" not in inside:
            raise Refused("srun: error: this emulated Slurm runs srun within jobs only")
        if not rest:
            raise Refused("srun: fatal: No command given to execute.")
        nodes = number(given, "nodes", int(inside["SLURM_NNODES"]), "node count")
        each = number(given, "ntasks-per-node", 0, "ntasks per node")
        inherited = int(inside.get("SLURM_NTASKS", 0))
        tasks = number(given, "ntasks", each * nodes or inherited or nodes, "number of tasks")
        if nodes > int(inside["SLURM_NNODES"]):
            raise Refused("srun: error: Only allocated " + inside["SLURM_NNODES"] + f" nodes asked for {nodes}")
        export = given.get("export") or inside.get("SLURM_EXPORT_ENV") or "ALL"
        shared = {"SLURM_STEP_ID": "0", "SLURM_NTASKS": str(tasks), "SLURM_STEP_NUM_TASKS": str(tasks)}
        text = copies(tasks, rest, ("SLURM_PROCID", "SLURM_LOCALID"), shared)
        return Reply(execute=("bash", "-c", text), environment=_without(inside, export))


def _without(environment: Mapping[str, str], export: str) -> dict[str, str | None]:
    """What ``--export`` takes away and adds: all but SLURM_ variables go, unless ALL is in it."""
    names = export.split(",")
    added: dict[str, str | None] = {item.partition("=")[0]: item.partition("=")[2] for item in names if "=" in item}
    if "ALL" in names:
        return added
    kept = {"PATH", *names} if "NONE" not in names else {"PATH"}
    gone = {name: None for name in environment if not name.startswith("SLURM") and name not in kept}
    return {**gone, **added}


def _path(pattern: str, job: Job) -> str:
    """Return the path for a file name pattern; a backslash in it turns patterns off, as in Slurm."""
    request = job.request
    if "\\" in pattern:
        return os.path.join(request.directory, re.sub(r"\\(.)", r"\1", pattern))
    values = {
        "A": str(job.number), "a": "4294967294" if job.index is None else str(job.index), "j": str(job.number),
        "J": str(job.number), "N": job.nodes[0] if job.nodes else "", "n": "0", "t": "0", "s": "batch",
        "u": request.user, "x": request.name, "%": "%",
    }  # fmt: skip

    def one(match: re.Match[str]) -> str:
        value = values.get(match[2])
        return match[0] if value is None else value.zfill(min(10, int(match[1] or 0))) if match[1] else value

    return os.path.join(request.directory, re.sub(r"%(\d*)([A-Za-z%])", one, pattern))


def _on_node(tasks: int, nodes: int, place: int) -> int:
    return tasks // nodes + (place < tasks % nodes)


def _repeated(counts: list[int]) -> str:
    """As Slurm writes counts: ``2(x3),1``."""
    groups: list[list[int]] = []
    for count in counts:
        if groups and groups[-1][0] == count:
            groups[-1][1] += 1
        else:
            groups.append([count, 1])
    return ",".join(str(count) if times == 1 else f"{count}(x{times})" for count, times in groups)
