"""How LSF's commands print jobs."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from harmony.conformance.emulators.dialect import stamp
from harmony.conformance.emulators.model import How, Job, Refused, State

if TYPE_CHECKING:
    from harmony.conformance.emulators.engine import Machine

_REASONS = {
    How.CANCELLED: "TERM_OWNER: job killed by owner",
    How.TIMEOUT: "TERM_RUNLIMIT: job killed after reaching LSF run time limit",
    How.OUT_OF_MEMORY: "TERM_MEMLIMIT: job killed after reaching LSF memory usage limit",
    How.NODE_FAILED: "TERM_UNKNOWN: unknown reason",
    How.PREEMPTED: "TERM_PREEMPT: job killed after preemption",
    How.REQUEUED: "TERM_REQUEUE_OWNER: job killed and requeued by owner",
    How.DEPENDENCY: "TERM_ORPHAN_SYSTEM: orphaned job terminated automatically by LSF",
    How.LAUNCH_FAILED: "TERM_CWD_NOTEXIST: current working directory is not accessible or does not exist",
}
_PENDING = {
    "": "New job is waiting for scheduling;",
    "resources": "Job slot limit reached: 4 hosts;",
    "dependency": "Job dependency condition not satisfied;",
    "never": "Dependency condition invalid or never satisfied;",
    "delay": "New job is waiting for scheduling;",
    "hold": "The job was suspended by the user while pending;",
}


def stat(job: Job) -> str:
    """Its state, as LSF calls it."""
    if job.state is State.ENDED:
        return "DONE" if job.well else "EXIT"
    return {State.HELD: "PSUSP", State.WAITING: "PEND", State.RUNNING: "RUN"}[job.state]


def exit_code(job: Job) -> str:
    """Its exit status, 128 + n for signal n; empty for one that ended well or never ran."""
    if job.state is not State.ENDED or job.status in (None, 0):
        return ""
    return str(job.exit_code or 128 + job.signal)


def exit_reason(job: Job) -> str:
    """What LSF says of its end, where it says anything."""
    if job.state is not State.ENDED or job.how is None:
        return ""
    if job.how is How.EXITED:
        return "TERM_EXTERNAL_SIGNAL: job killed by a signal external to LSF" if job.signal else ""
    return _REASONS.get(job.how, "")


def absolute(path: str, base: str) -> str:
    """A path, where a job was submitted."""
    return os.path.join(base, path)


def full_name(job: Job) -> str:
    """The name, with the index of an array's job; a job without a name has its command for one."""
    name = job.request.name or job.request.extra.get("command", "")
    return name if job.index is None else f"{name}[{job.index}]"


def _when(moment: float | None) -> str:
    return stamp(moment, "%b %e %H:%M")


def _hosts(job: Job) -> str:
    count = job.request.extra.get("slots", "1")
    each = -(-int(count) // max(1, len(job.nodes)))
    return ":".join(node if each == 1 else f"{each}*{node}" for node in job.nodes)


_FIELDS: dict[str, Callable[[Job, Machine], str]] = {
    "JOBID": lambda job, _: str(job.number),
    "JOBINDEX": lambda job, _: str(job.index or 0),
    "STAT": lambda job, _: stat(job),
    "USER": lambda job, _: job.request.user,
    "QUEUE": lambda job, _: job.request.queue,
    "JOB_NAME": lambda job, _: full_name(job),
    "JOB_DESCRIPTION": lambda job, _: "",
    "PROJ_NAME": lambda job, _: job.request.account,
    "APPLICATION": lambda job, _: "",
    "USER_GROUP": lambda job, _: "",
    "JOB_GROUP": lambda job, _: "",
    "COMMAND": lambda job, _: job.request.extra.get("command", ""),
    "EXIT_CODE": lambda job, _: exit_code(job),
    "EXIT_REASON": lambda job, _: exit_reason(job),
    "KILL_REASON": lambda job, _: "",
    "SUSPEND_REASON": lambda job, _: "",
    "RESUME_REASON": lambda job, _: "",
    "PEND_REASON": lambda job, _: job.note if job.foreign else pending(job),
    "FROM_HOST": lambda job, machine: machine.dialect.server,
    "FIRST_HOST": lambda job, _: job.nodes[0] if job.nodes else "",
    "EXEC_HOST": lambda job, _: _hosts(job),
    "NEXEC_HOST": lambda job, _: str(len(job.nodes) or ""),
    "SUBMIT_TIME": lambda job, _: _when(job.submitted),
    "START_TIME": lambda job, _: _when(job.started),
    "FINISH_TIME": lambda job, _: _when(job.ended) and f"{_when(job.ended)} L",
    "RUN_TIME": lambda job, machine: f"{job.elapsed(machine.now()):.0f} second(s)",
    "CPU_USED": lambda job, _: "0.0 second(s)",
    "MEM": lambda job, _: "",
    "MAX_MEM": lambda job, _: "",
    "AVG_MEM": lambda job, _: "",
    "RUNTIMELIMIT": lambda job, _: "" if job.request.limit is None else f"{job.request.limit / 60:.1f}",
    "SLOTS": lambda job, _: job.request.extra.get("slots", "1") if job.nodes else "-",
    "NREQ_SLOT": lambda job, _: job.request.extra.get("slots", "1"),
    "PIDS": lambda job, _: str(job.pid or ""),
    "SUB_CWD": lambda job, _: job.request.directory,
    "EXEC_CWD": lambda job, machine: machine.dialect.directory(job) if job.nodes else "",
    "OUTPUT_FILE": lambda job, _: job.request.stdout or "",
    "ERROR_FILE": lambda job, _: job.request.stderr or "",
    "INPUT_FILE": lambda job, _: job.request.stdin or "",
}
_ALIASES = {
    "ID": "JOBID", "NAME": "JOB_NAME", "DESCRIPTION": "JOB_DESCRIPTION", "PROJ": "PROJ_NAME", "PROJECT": "PROJ_NAME",
    "CMD": "COMMAND", "UGROUP": "USER_GROUP", "APP": "APPLICATION", "GROUP": "JOB_GROUP", "STATUS": "STAT",
}  # fmt: skip
_RECOMMENDED = {"JOBID": 7, "JOBINDEX": 8, "STAT": 5, "USER": 7, "QUEUE": 10, "JOB_NAME": 10, "EXIT_CODE": 10}


def pending(job: Job) -> str:
    """Why a job waits."""
    return _PENDING.get(job.reason, "") if job.state in (State.WAITING, State.HELD) else ""


def _columns(form: str) -> tuple[list[tuple[str, int]], str]:
    """The fields that ``-o`` asks for, each with its width (0: any; negative: to the right), and the delimiter."""
    match = re.search(r"\bdelimiter\s*=\s*(['\"])(.*?)\1", form)
    delimiter = match[2] if match else " "
    found = []
    for word in (form[: match.start()] + form[match.end() :] if match else form).split():
        name, colon, width = word.partition(":")
        field = _ALIASES.get(name.upper(), name.upper())
        if field not in _FIELDS:
            raise Refused(f"{name}: Illegal field name.", 255)
        digits = width.partition(":")[0].lstrip("-")
        size = int(digits) if digits.isdigit() else _RECOMMENDED.get(field, 15) if colon else 0
        found.append((field, 0 if match else -size if width.startswith("-") else size))
    if not found:
        raise Refused("bjobs: The -o option needs at least one field.", 255)
    return found, delimiter


def _cell(text: str, field: str, width: int) -> str:
    size = abs(width)
    if not size:
        return text
    if len(text) > size:
        text = f"*{text[len(text) - size + 1 :]}" if field == "JOB_NAME" else text[:size]
    return text.rjust(size) if width < 0 else text.ljust(size)


def table(form: str, jobs: Sequence[Job], machine: Machine, *, header: bool) -> str:
    """What ``bjobs -o`` prints."""
    columns, delimiter = _columns(form)
    rows = [[field for field, _ in columns]] if header else []
    rows += [[_FIELDS[field](job, machine) or "-" for field, _ in columns] for job in jobs]
    cells = [[_cell(text, *columns[place]) for place, text in enumerate(row)] for row in rows]
    return "".join(f"{delimiter.join(row)}\n" for row in cells)


def as_json(form: str, jobs: Sequence[Job], missing: Sequence[str], machine: Machine) -> str:
    """What ``bjobs -json -o`` prints; slashes are escaped, as LSF does."""
    columns, _ = _columns(form)
    records = [{field: _FIELDS[field](job, machine) for field, _ in columns} for job in jobs]
    records += [{"JOBID": each.partition("[")[0], "ERROR": f"Job <{each}> is not found"} for each in missing]
    text = json.dumps({"COMMAND": "bjobs", "JOBS": len(records), "RECORDS": records}, indent=2, separators=(",", ":"))
    return text.replace("/", "\\/") + "\n"


def default_table(jobs: Sequence[Job], machine: Machine, *, wide: bool, header: bool) -> str:
    """What bjobs prints by itself."""
    lines = []
    if header:
        lines.append("JOBID      USER    STAT  QUEUE      FROM_HOST   EXEC_HOST   JOB_NAME   SUBMIT_TIME")
    for job in jobs:
        name = _cell(full_name(job), "JOB_NAME", 0 if wide else 10)
        hosts = _hosts(job) or "-"
        user = job.request.user if wide else job.request.user[:7]
        lines.append(
            f"{job.number:<10} {user:<7} {stat(job):<5} {job.request.queue:<10} {machine.dialect.server:<11.11} "
            f"{hosts if wide else hosts[:11]:<11} {name} {_when(job.submitted)}"
        )
    return "".join(f"{line}\n" for line in lines)


# -- the history of a job


def _moment(seconds: float | None) -> str:
    return stamp(seconds, "%a %b %e %H:%M:%S")


def _events(job: Job, machine: Machine) -> list[str]:
    request = job.request
    host = machine.dialect.server
    where = f"Submitted from host <{host}>, to Queue <{request.queue}>, CWD <{request.directory}>"
    lines = [f"{_moment(job.submitted)}: {where};"]
    if job.started is not None and job.nodes:
        slots = request.extra["slots"]
        hosts = " ".join(f"<{each}>" for each in job.nodes)
        place = f"on Host(s) {hosts}"
        inside = f"execution home </>, Execution CWD <{machine.dialect.directory(job)}>, Execution Pid <{job.pid}>"
        needs = "Effective RES_REQ <select[type == local] order[r15s:pg] >"
        events = (
            f"Dispatched {slots} Task(s) {place}, Allocated {slots} Slot(s) {place}, {needs};",
            f"Starting (Pid {job.pid});",
            f"Running with {inside};",
        )
        lines += [f"{_moment(job.started)}: {event}" for event in events]
    if job.state is State.ENDED:
        lines += [f"{_moment(job.ended)}: {_ending(job)}", f"{_moment(job.ended)}: {_completed(job)};"]
    return lines


def _ending(job: Job) -> str:
    used = " The CPU time used is 0.0 seconds;"
    if job.well:
        return f"Done successfully.{used}"
    if job.how is How.TIMEOUT:
        return f"Exited by LSF signal RUNLIMIT.{used}"
    if job.exit_code:
        return f"Exited with exit code {job.exit_code}.{used}"
    if job.signal:
        return f"Exited by signal {job.signal}.{used}"
    return "Exited;"


def _completed(job: Job) -> str:
    reason = exit_reason(job)
    return "Completed <done>" if job.well else f"Completed <exit>{f'; {reason}' if reason else ''}"


def _wrapped(lines: Sequence[str], flat: bool) -> str:
    """Lines of a long form, broken at 80 characters in the middle of whatever is there."""
    if flat:
        return "".join(f"{line}\n" for line in lines)
    pieces = []
    for line in lines:
        pieces.append(line[:80])
        pieces += [f"{'':21}{line[at : at + 59]}" for at in range(80, len(line), 59)]
    return "".join(f"{piece}\n" for piece in pieces)


def long_form(job: Job, machine: Machine, *, flat: bool) -> str:
    """What ``bjobs -l`` prints of a job, or ``bjobs -UF``."""
    head = (
        f"Job <{job.id}>, Job Name <{full_name(job)}>, User <{job.request.user}>, Project <{job.request.account}>, "
        f"Status <{stat(job)}>, Queue <{job.request.queue}>, Command <{job.request.extra.get('command', '')}>"
    )
    lines = [head] if job.foreign else [head, *_events(job, machine)]
    if pending(job):
        lines += ["PENDING REASONS:", pending(job)]
    return "\n" + _wrapped(lines, flat)


def history(jobs: Sequence[Job], machine: Machine, program: str, *, long: bool) -> str:
    """What bhist and bacct print."""
    if long:
        return "".join(_history(job, machine, program) for job in jobs)
    lines = [
        "Summary of time in seconds spent in various states:",
        "JOBID   USER    JOB_NAME  PEND    PSUSP   RUN     USUSP   SSUSP   UNKWN   TOTAL",
    ]
    for job in jobs:
        times = "".join(f"{seconds:<8.0f}" for seconds in _times(job, machine.now()))
        name = _cell(full_name(job), "JOB_NAME", 9)
        lines.append(f"{job.id:<7.7} {job.request.user:<7.7} {name:<9.9} {times}")
    return "".join(f"{line}\n" for line in lines)


def _times(job: Job, now: float) -> list[float]:
    waited = (job.started or job.ended or now) - job.submitted
    ran = job.elapsed(now)
    return [waited, 0, ran, 0, 0, 0, waited + ran]


def _history(job: Job, machine: Machine, program: str) -> str:
    request = job.request
    head = f"Job <{job.id}>, Job Name <{full_name(job)}>, User <{request.user}>, Project <{request.account}>, "
    if program == "bacct":
        head += f"Status <{stat(job)}>, Queue <{request.queue}>, "
    lines = [f"{head}Command <{request.extra.get('command', '')}>", *_events(job, machine)]
    times = "".join(f"{seconds:<9.0f}" for seconds in _times(job, machine.now()))
    summary = (
        f"\nSummary of time in seconds spent in various states by  {_moment(job.ended or machine.now())}\n"
        f"  PEND     PSUSP    RUN      USUSP    SSUSP    UNKWN    TOTAL\n  {times}\n"
    )
    return "\n" + _wrapped(lines, flat=False) + (summary if program == "bhist" else "") + "-" * 78 + "\n"
