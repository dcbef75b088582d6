"""The attributes of jobs as the emulated PBS family shows them (``qstat -f``)."""

from __future__ import annotations

from collections.abc import Mapping

from harmony.conformance.emulators.dialect import clock, stamp
from harmony.conformance.emulators.engine import Machine
from harmony.conformance.emulators.model import How, Job, State
from harmony.conformance.emulators.pbs_base import PBSFamily

_DATE = "%a %b %e %H:%M:%S %Y"
_LINE = 79

Attributes = list[tuple[str, str]]


def attribute_lines(name: str, attributes: Attributes, *, one_line: bool = False) -> str:
    """A job as ``qstat -f`` shows it: long values go on, after a comma, in the next line behind a tab."""
    lines = [f"Job Id: {name}"]
    for attribute, value in attributes:
        lines.append(f"    {attribute} = {value}" if one_line else _folded(attribute, value))
    return "\n".join(lines) + "\n\n"


def _folded(name: str, value: str) -> str:
    text, used = f"    {name} = ", len(name) + 7
    for place, piece in enumerate(value.split(",")):
        text += "," if place else ""
        if len(piece) + used < _LINE:
            text, used = text + piece, used + len(piece)
            continue
        if place:
            text, used = text + "\n\t", 9
        for letter in piece:
            text, used = text + letter, used + 1
            if used > _LINE:
                text, used = text + "\n\t", 8
    return text


def shared_attributes(dialect: PBSFamily, job: Job, machine: Machine, letter: str) -> Attributes:
    """The attributes that every PBS shows, in their order."""
    request, now = job.request, machine.now()
    host = dialect.server
    found: Attributes = [("Job_Name", request.name), ("Job_Owner", f"{request.user}@{host}")]
    if job.started is not None:
        found += [("resources_used.cput", "00:00:00"), ("resources_used.mem", "1024kb"),
                  ("resources_used.walltime", clock(job.elapsed(now)))]  # fmt: skip
    found += [("job_state", letter), ("queue", request.queue), ("server", host)]
    if request.account:
        found.append(("Account_Name", request.account))
    found += [
        ("Checkpoint", "u"),
        ("ctime", stamp(job.submitted, _DATE)),
        ("Error_Path", f"{host}:{dialect.path(job, 'e')}"),
    ]
    if job.nodes:
        found.append(("exec_host", "+".join(f"{node}/0*{request.cores}" for node in job.nodes)))
    holds = "u" if job.state is State.HELD else "s" if job.reason in ("dependency", "never") else "n"
    found += [("Hold_Types", holds), ("Join_Path", request.extra.get("j", "n")),
              ("Keep_Files", request.extra.get("k", "n")),
              ("Mail_Points", "a"), ("mtime", stamp(job.ended or job.started or job.submitted, _DATE)),
              ("Output_Path", f"{host}:{dialect.path(job, 'o')}"), ("Priority", "0"),
              ("qtime", stamp(job.submitted, _DATE)), ("Rerunable", str(request.requeue))]  # fmt: skip
    found += [(f"Resource_List.{key[2:]}", value) for key, value in request.extra.items() if key.startswith("l.")]
    if job.started is not None:
        found.append(("stime", stamp(job.started, _DATE)))
        found.append(("session_id", str(job.pid)))
    carried = ("PBS_O_HOME", "PBS_O_LANG", "PBS_O_LOGNAME", "PBS_O_PATH", "PBS_O_SHELL", "PBS_O_WORKDIR", "PBS_O_HOST")
    values = [f"{key}={request.environment[key]}" for key in carried if key in request.environment]
    found.append(("Variable_List", ",".join(value.replace(",", "\\,") for value in values)))
    return found


def exit_status(job: Job, special: Mapping[How, int]) -> int | None:
    """The number that PBS gives the end of a job: 256 and the signal, or a negative one of its own."""
    if job.how is not None and job.how in special:
        return special[job.how]
    if job.status is None:
        return None
    return 256 + job.signal if job.signal else job.exit_code
