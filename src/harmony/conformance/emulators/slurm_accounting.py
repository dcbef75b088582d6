"""What emulated Slurm has on record: sacct."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence

from harmony.conformance.emulators.dialect import clock, stamp
from harmony.conformance.emulators.engine import Machine
from harmony.conformance.emulators.model import Call, Job, Refused, Reply
from harmony.conformance.emulators.options import NONE, ONE, long_options
from harmony.conformance.emulators.slurm_tables import compact, matches, raw_id, reason_of, words_of

_TIME = "%Y-%m-%dT%H:%M:%S"
_OPTIONS = {
    **dict.fromkeys(("allusers", "allclusters", "array", "brief", "completion", "duplicates", "helpformat", "long",
                     "noheader", "noconvert", "parsable", "parsable2", "allocations", "truncate",
                     "verbose", "version"), NONE),
    **dict.fromkeys(("accounts", "delimiter", "endtime", "format", "gid", "jobs", "name", "nnodes", "nodelist",
                     "partition", "qos", "starttime", "state", "timelimit-min", "uid", "user", "clusters"), ONE),
}  # fmt: skip
_ALIASES = {
    "a": "allusers", "A": "accounts", "b": "brief", "c": "completion", "D": "duplicates", "e": "helpformat",
    "E": "endtime", "g": "gid", "j": "jobs", "l": "long", "L": "allclusters", "M": "clusters", "n": "noheader",
    "N": "nodelist", "o": "format", "p": "parsable", "P": "parsable2", "q": "qos", "r": "partition", "s": "state",
    "S": "starttime", "T": "truncate", "u": "user", "v": "verbose", "V": "version", "X": "allocations",
}  # fmt: skip


def _accounted(job: Job) -> str:
    state = words_of(job, accounting=True)[0]
    return f"CANCELLED by {os.getuid()}" if state == "CANCELLED" else state


_FIELDS: dict[str, tuple[str, int, Callable[[Job, Machine], str]]] = {
    "jobid": ("JobID", 12, lambda job, _: job.id),
    "jobidraw": ("JobIDRaw", 12, raw_id),
    "jobname": ("JobName", 10, lambda job, _: job.request.name),
    "partition": ("Partition", 10, lambda job, _: job.request.queue),
    "account": ("Account", 10, lambda job, _: job.request.account),
    "user": ("User", 9, lambda job, _: job.request.user),
    "alloccpus": ("AllocCPUS", 10, lambda job, _: str(job.request.nodes * job.request.cores)),
    "state": ("State", 10, lambda job, _: _accounted(job)),
    "exitcode": ("ExitCode", 8, lambda job, _: f"{job.exit_code}:{job.signal}"),
    "derivedexitcode": ("DerivedExitCode", 15, lambda job, _: "0:0"),
    "submit": ("Submit", 19, lambda job, _: stamp(job.submitted, _TIME)),
    "start": ("Start", 19, lambda job, _: stamp(job.started, _TIME, "None" if job.ended else "Unknown")),
    "end": ("End", 19, lambda job, _: stamp(job.ended, _TIME, "Unknown")),
    "elapsed": ("Elapsed", 10, lambda job, machine: clock(job.elapsed(machine.now()))),
    "timelimit": (
        "Timelimit",
        10,
        lambda job, _: "UNLIMITED" if job.request.limit is None else clock(job.request.limit),
    ),
    "nodelist": ("NodeList", 15, lambda job, _: compact(job.nodes) or "None assigned"),
    "nnodes": ("NNodes", 8, lambda job, _: str(job.request.nodes)),
    "reason": ("Reason", 22, lambda job, _: reason_of(job)),
    "comment": ("Comment", 14, lambda job, _: job.request.extra.get("comment", "")),
    "workdir": ("WorkDir", 20, lambda job, _: job.request.directory),
    "qos": ("QOS", 10, lambda job, _: job.request.extra.get("qos", "")),
}


def sacct(call: Call, machine: Machine) -> Reply:
    """Answer ``sacct``."""
    options, _ = long_options(call.argv, "aA:bcDeE:g:hj:lLM:nN:o:pPq:r:s:S:Tu:vVX", _OPTIONS, "sacct", _ALIASES)
    given = dict(options)
    if "helpformat" in given:
        return Reply("".join(f"{heading}\n" for heading, _, _ in _FIELDS.values()))
    if not machine.settings.accounting:
        raise Refused("Slurm accounting storage is disabled")
    names = (given.get("format") or "jobid,jobname,partition,account,alloccpus,state,exitcode").split(",")
    columns = []
    for part in names:
        name, _, width = part.partition("%")
        if name.lower() not in _FIELDS:
            raise Refused(f'sacct: fatal: Invalid field requested: "{name}"')
        heading, usual, value = _FIELDS[name.lower()]
        columns.append((heading, int(width or usual), value))
    lines = [] if "noheader" in given else [[heading for heading, _, _ in columns]]
    if not {"parsable", "parsable2", "noheader"} & set(given):
        lines.append(["-" * abs(width) for _, width, _ in columns])
    for job in _accounts(given, machine):
        lines.append([value(job, machine) for _, _, value in columns])
        if "allocations" not in given and job.started is not None:
            lines.append(_batch_step(lines[-1], [heading for heading, _, _ in columns]))
    return Reply("".join(_line(line, columns, given) for line in lines))


def _accounts(given: Mapping[str, str | None], machine: Machine) -> list[Job]:
    ended = machine.records()
    known = {record.id: record for record in ended}  # the last of a job's attempts
    now = [job for job in machine.jobs.values() if job.id not in known and job.ended is None and not job.foreign]
    records = (ended if "duplicates" in given else list(known.values())) + now
    if given.get("jobs"):
        ids = {each.partition(".")[0] for each in (given["jobs"] or "").split(",")}
        return [job for job in records if {job.id, str(job.number), raw_id(job, machine)} & ids]
    return [job for job in records if matches(job, {"user": given.get("user"), "name": given.get("name")})]


def _batch_step(line: list[str], headings: list[str]) -> list[str]:
    """The line of the step that every batch job has."""
    changed = {"JobID": line[headings.index("JobID")] + ".batch" if "JobID" in headings else "", "JobName": "batch",
               "User": "", "Partition": ""}  # fmt: skip
    return [changed.get(heading, text.partition(" by ")[0]) for heading, text in zip(headings, line, strict=True)]


def _line(line: list[str], columns: Sequence[tuple[str, int, object]], given: Mapping[str, str | None]) -> str:
    if "parsable" in given or "parsable2" in given:
        mark = given.get("delimiter") or "|"
        return mark.join(line) + (mark if "parsable" in given else "") + "\n"
    cells = []
    for text, (_, width, _value) in zip(line, columns, strict=True):
        short = text if len(text) <= abs(width) else text[: abs(width) - 1] + "+"
        cells.append(short.ljust(-width) if width < 0 else short.rjust(width))
    return " ".join(cells) + " \n"
