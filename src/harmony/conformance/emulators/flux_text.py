"""How Flux's commands write ids, and print jobs."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from harmony.conformance.emulators.model import How, Job, Refused, State

if TYPE_CHECKING:
    from harmony.conformance.emulators.engine import Machine

_ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_FORMATS = {
    "default": "{id.f58:>12} ?:{queue:<8.8} +:{username:<8} {name:<10.10+} {status_abbrev:>2.2} {ntasks:>6} "
    "{nnodes:>6h} {contextual_time!F:>8h} {contextual_info}",
    "long": "{id.f58:>12} ?:{queue:<8.8} +:{username:<8} {name:<10.10+} {status:>9.9} {ntasks:>6} {nnodes:>6h} "
    "{t_submit!d:%b%d %R::>12} {t_remaining!F:>12h} {contextual_time!F:>8h} {contextual_info}",
    "deps": "{id.f58:>12} ?:{queue:<8.8} {name:<10.10+} {urgency:<3} {priority:<12} {state:<8.8} {dependencies}",
    "endreason": "{id.f58:>12} ?:{queue:<8.8} +:{username:<8} {name:<10.10+} {status_abbrev:>2.2} "
    "{t_inactive!d:%b%d %R::>12h} {inactive_reason}",
}
_FIELD = re.compile(r"(?:[?+]:)?\{([a-z_0-9.]+)(?:!([a-zA-Z]))?(?::([^{}]*))?\}")
_HEADINGS = {
    "id": "JOBID", "id.dec": "JOBID", "id.f58": "JOBID", "id.f58plain": "JOBID", "id.hex": "JOBID", "userid": "UID",
    "username": "USER", "urgency": "URG", "priority": "PRI", "state_single": "S", "result_abbrev": "RS",
    "status_abbrev": "ST", "waitstatus": "WSTATUS", "returncode": "RC", "contextual_info": "INFO",
    "contextual_time": "TIME", "inactive_reason": "INACTIVE-REASON", "exception.occurred": "EXCEPTION-OCCURRED",
    "exception.severity": "EXCEPTION-SEVERITY", "exception.type": "EXCEPTION-TYPE", "exception.note": "EXCEPTION-NOTE",
}  # fmt: skip
_PLAIN = (
    "state name cwd queue project bank ntasks ncores duration nnodes expiration t_remaining ranks nodelist success "
    "result t_submit t_depend t_priority t_sched t_run t_cleanup t_inactive runtime status annotations dependencies uri"
)
_HEADINGS.update({name: name.upper() for name in _PLAIN.split()})
_EXCEPTIONS = {
    How.CANCELLED: ("cancel", ""),
    How.TIMEOUT: ("timeout", "resource allocation expired"),
    How.NODE_FAILED: ("node-failure", "lost contact with job shell"),
    How.PREEMPTED: ("preempt", "preempted"),
    How.DEPENDENCY: ("dependency", "dependency can never be satisfied"),
    How.LAUNCH_FAILED: ("exec", "job shell failed to start"),
}
_RESULTS = {How.CANCELLED: "CANCELED", How.TIMEOUT: "TIMEOUT"}
_ABBREVIATED = {"COMPLETED": "CD", "FAILED": "F", "CANCELED": "CA", "TIMEOUT": "TO"}


def fluid(number: int) -> int:
    """The id of a job as Flux has it: a time in milliseconds, and a counter."""
    return (1_000_000 + number * 977) << 24


def f58(number: int, prefix: str) -> str:
    """An id in base 58."""
    text = ""
    while number:
        number, digit = divmod(number, 58)
        text = _ALPHABET[digit] + text
    return prefix + (text or "1")


def parsed(text: str) -> int | None:
    """Read an id in any of its forms; None for what is none."""
    text = text.strip()
    if re.fullmatch(r"0x[0-9a-fA-F]+|\d+", text):
        return int(text, 0 if text.startswith("0x") else 10)
    if re.fullmatch(r"[ƒf][1-9A-HJ-NP-Za-km-z]+", text):
        number = 0
        for letter in text[1:]:
            number = number * 58 + _ALPHABET.index(letter)
        return number
    return None


def local(job_id: str, environment: Mapping[str, str]) -> str:
    """An id as it is printed in a locale: with a ƒ, or with an f."""
    settings = next((environment[name] for name in ("LC_ALL", "LC_CTYPE", "LANG") if environment.get(name)), "")
    plain = environment.get("LC_ALL") in ("C", "POSIX") or (
        settings not in ("", "C", "POSIX") and "utf" not in settings.lower()
    )
    return job_id if plain or "FLUX_F58_FORCE_ASCII" in environment else "ƒ" + job_id[1:]


def absolute(path: str, base: str) -> str:
    """A path, where a command was typed."""
    return os.path.normpath(os.path.join(base, path))


def filled(path: str, job: Job) -> str:
    """A path of a stream, with what stands in ``{{ }}`` filled in."""
    number = fluid(job.number)
    names = {
        "id": job.id, "id.f58": job.id, "id.f58plain": job.id, "id.dec": str(number), "jobid": job.id,
        "id.hex": hex(number), "name": job.request.name, "node.id": "0", "node.name": (*job.nodes, "")[0],
        "nnodes": str(job.request.nodes), "size": job.request.extra["ntasks"],
    }  # fmt: skip
    text = re.sub(r"\{\{([\w.]+)\}\}", lambda match: names.get(match[1], match[0]), path)
    return os.path.join(job.request.directory, text)


def _state(job: Job) -> str:
    if job.state is State.ENDED:
        return "INACTIVE"
    if job.state is State.RUNNING:
        return "CLEANUP" if job.how is not None else "RUN"
    return "DEPEND" if job.reason in ("dependency", "delay", "never") else "SCHED"


def _result(job: Job) -> str:
    if job.state is not State.ENDED:
        return ""
    return _RESULTS.get(job.how or How.EXITED, "COMPLETED" if job.well else "FAILED")


def words(job: Job) -> set[str]:
    """What ``flux jobs --filter`` knows a job by."""
    state = _state(job)
    kind = "inactive" if job.state is State.ENDED else "running" if job.state is State.RUNNING else "pending"
    return {state.lower(), kind, _result(job).lower(), *(["active"] if kind != "inactive" else [])}


def _waitstatus(job: Job) -> int | str:
    if job.status is None or job.state is not State.ENDED or job.started is None:
        return ""
    return (job.exit_code or (128 + job.signal if job.signal else 0)) << 8


def _returncode(job: Job) -> int | str:
    status = _waitstatus(job)
    if isinstance(status, int):
        return status >> 8
    return {"CANCELED": -128, "FAILED": 1}.get(_result(job), "")


def _exception(job: Job) -> dict[str, Any]:
    found = _EXCEPTIONS.get(job.how) if job.how is not None else None
    if found:
        kind, note = found
        return {"occurred": True, "severity": 0, "type": kind, "note": job.note or note}
    if "deprecated" in job.request.extra:
        note = "dependency scheme 'after' is deprecated, use 'afterstart'"
        return {"occurred": True, "severity": 3, "type": "dependency", "note": note}
    return {"occurred": "" if job.state is State.WAITING else False, "severity": "", "type": "", "note": ""}


def _facts(job: Job, now: float) -> dict[str, Any]:
    request, state, result = job.request, _state(job), _result(job)
    facts: dict[str, Any] = {
        "t_depend": job.submitted, "t_priority": job.submitted,
        "t_sched": 0.0 if state == "DEPEND" else job.submitted, "t_run": job.started or 0.0,
        "t_cleanup": job.ended or 0.0, "t_inactive": job.ended or 0.0, "duration": request.limit or 0.0,
        "expiration": job.started + request.limit if job.started and request.limit else 0.0, "name": request.name,
        "cwd": request.directory, "queue": request.queue, "project": "", "bank": request.account,
        "ntasks": int(request.extra.get("ntasks", "1")), "ncores": int(request.extra.get("cores", "1")),
        "nnodes": len(job.nodes) or request.nodes, "priority": 0 if job.state is State.HELD else 16,
        "ranks": ",".join(node.lstrip("nm") for node in job.nodes), "nodelist": ",".join(job.nodes),
        "success": job.well if result else "", "result": result, "waitstatus": _waitstatus(job),
        "id": fluid(job.number), "t_submit": job.submitted, "t_remaining": 0.0, "state": state,
        "username": request.user, "userid": os.getuid(), "urgency": 0 if job.state is State.HELD else 16,
        "runtime": job.elapsed(now), "status": result or state, "returncode": _returncode(job),
        "dependencies": "", "jobid": "ƒ" + job.id[1:], "annotations": {}, "exception": _exception(job),
    }  # fmt: skip
    if state == "DEPEND":
        waits = [f"after{item.kind}={each}" for item in request.dependencies for each in item.ids]
        facts["dependencies"] = ",".join(waits)
    if state == "RUN" and facts["expiration"]:
        facts["t_remaining"] = max(0.0, facts["expiration"] - now)
    return facts


def as_json(jobs: Sequence[Job], machine: Machine, *, one: bool) -> str:
    """What ``flux jobs --json`` prints: what is not known is left out."""
    found = []
    for job in jobs:
        facts = _facts(job, machine.now())
        facts["dependencies"] = [each for each in facts["dependencies"].split(",") if each]
        for name in list(facts):
            zero = (name.startswith("t_") or name in ("runtime", "expiration")) and facts[name] == 0
            if facts[name] == "" or zero:
                del facts[name]
        if not facts["exception"]["occurred"]:
            facts["exception"] = {"occurred": False}
        found.append(facts)
    return json.dumps(found[0] if one and found else {"jobs": found}) + "\n"


def _reason(job: Job, facts: Mapping[str, Any]) -> str:
    if facts["result"] == "CANCELED":
        return f"Canceled: {job.note}" if job.note else "Canceled"
    if facts["result"] == "TIMEOUT":
        return "Timeout"
    exception = facts["exception"]
    if facts["result"] == "FAILED" and exception["severity"] == 0 and exception["type"] != "exec":
        return f"Exception: type={exception['type']} note={exception['note']}"
    return f"Exit {facts['returncode']}" if facts["result"] else ""


def _id(part: str, job: Job, environment: Mapping[str, str]) -> str:
    if part in ("", "f58"):
        return local(job.id, environment)
    number = fluid(job.number)
    return {"dec": str(number), "f58plain": job.id, "hex": hex(number)}[part]


def _value(name: str, job: Job, machine: Machine, environment: Mapping[str, str]) -> Any:
    facts = _facts(job, machine.now())
    base, _, part = name.partition(".")
    if base == "id":
        return _id(part, job, environment)
    if base == "exception":
        return facts["exception"][part]
    if name.endswith("_abbrev"):
        return _ABBREVIATED.get(facts[name[:-7]] or "", facts[name[:-7]][:1])
    waits = f"depends:{facts['dependencies']}" if facts["state"] == "DEPEND" else ""
    special = {
        "state_single": facts["state"][:1],
        "contextual_time": facts["runtime"] if job.nodes else facts["duration"],
        "contextual_info": facts["nodelist"] or ("held" if job.state is State.HELD else waits),
        "inactive_reason": _reason(job, facts),
        "annotations": "",
        "uri": "",
    }
    return special[name] if name in special else facts[name]


def _duration(seconds: float) -> str:
    for limit, unit in ((86400, "d"), (3600, "h"), (60, "m"), (1, "s")):
        if seconds >= limit:
            return f"{seconds / limit:.4g}{unit}"
    return f"{seconds * 1000:.4g}ms" if seconds else "0s"


def _shown(value: Any, conversion: str | None, spec: str) -> str:
    """One field, formatted as Flux does: with its own conversions, and a dash for nothing where ``h`` asks for it."""
    if conversion in ("d", "D"):
        form, _, spec = spec.partition("::") if conversion == "d" else ("", "", spec)
        moment = time.localtime(value) if value else None
        value = time.strftime(form or "%b%d %R" if conversion == "d" else "%Y-%m-%dT%T", moment) if moment else ""
    elif conversion in ("F", "H"):
        value = _duration(value) if value else ""
    spec = spec.rstrip("+")
    if spec.endswith("h"):
        spec, value = spec[:-1], value if value not in ("", 0, 0.0) else "-"
    if value == "" or isinstance(value, (bool, dict)):
        value, spec = str(value) if value else "", spec.rstrip("bcdoxXeEfFgGn%")
    elif not spec.rstrip().endswith(("f", "d", "x", "g", "e")):
        value = str(value)
    return format(value, spec)


def table(form: str, jobs: Sequence[Job], machine: Machine, *, header: bool, environment: Mapping[str, str]) -> str:
    """What ``flux jobs -o`` prints."""
    form = _FORMATS.get(form, form)
    if form == "{}" or not _FIELD.search(form):
        raise Refused(f"flux-jobs: ERROR: Error in user format: {form}")
    unknown = [match[1] for match in _FIELD.finditer(form) if match[1] not in _HEADINGS]
    if unknown:
        raise Refused(f"flux-jobs: ERROR: Error in user format: Unknown format field: {unknown[0]}")
    lines = []
    if header:
        lines.append(_FIELD.sub(lambda match: _heading(match[1], match[3] or ""), form))

    def row(job: Job) -> str:
        return _FIELD.sub(
            lambda match: _shown(_value(match[1], job, machine, environment), match[2], match[3] or ""), form
        )

    lines += [row(job) for job in jobs]
    return "".join(f"{line}\n" for line in lines)


def _heading(name: str, spec: str) -> str:
    text = spec.rpartition("::")[2] if "::" in spec else spec
    match = re.search(r"[<>^]?\d+", text)
    return format(_HEADINGS[name], match[0] if match else "")


def eventlog(job: Job) -> str:
    """What ``flux job eventlog`` prints."""
    events = [(job.submitted, f"submit userid={os.getuid()} urgency=16 flags=0 version=1"), (job.submitted, "validate")]
    if job.started is not None and job.nodes:
        events += [(job.started, "alloc"), (job.started, "start")]
    if job.state is State.ENDED and job.ended is not None:
        exception = _exception(job)
        if exception["occurred"] and exception["severity"] == 0:
            kind, note = exception["type"], exception["note"]
            events.append((job.ended, f'exception type="{kind}" severity=0 note="{note}" userid={os.getuid()}'))
        if job.status is not None:
            events.append((job.ended, f"finish status={_waitstatus(job)}"))
        events.append((job.ended, "clean"))
    return "".join(f"{moment:.6f} {text}\n" for moment, text in events)
