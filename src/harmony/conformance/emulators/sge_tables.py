"""What emulated Grid Engine prints about jobs: qstat, plain and as XML, and qacct."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence
from itertools import pairwise
from xml.sax.saxutils import escape

from harmony.conformance.emulators.dialect import stamp, user_name
from harmony.conformance.emulators.engine import Machine
from harmony.conformance.emulators.model import Call, How, Job, Refused, Reply, State

_XSD = "http://arc.liv.ac.uk/repos/darcs/sge/source/dist/util/resources/schemas/qstat"
_HEAD = (
    "job-ID  prior   name       user         state submit/start at     "
    "queue                          slots ja-task-ID \n" + "-" * 113 + "\n"
)
_FAILED = {
    How.TIMEOUT: (37, "qmaster enforced h_rt, h_cpu, or h_vmem limit"), How.CANCELLED: (100, "assumedly after job"),
    How.OUT_OF_MEMORY: (100, "assumedly after job"), How.NODE_FAILED: (25, "rescheduling"),
    How.PREEMPTED: (25, "rescheduling"), How.REQUEUED: (25, "rescheduling"),
}  # fmt: skip
_RULE = "=" * 62 + "\n"


def state_letters(job: Job) -> str:
    """A job's state as qstat has it."""
    again = "R" if job.restarts else ""
    if job.state is State.RUNNING:
        return "d" * (job.how is not None) + (again or "") + "r"
    if job.reason == "launch":
        return "Eqw"
    held = job.state is State.HELD or job.reason in ("dependency", "never")
    return f"{'h' if held else ''}{again}q{'' if again else 'w'}"


def _group(jobs: Sequence[Job]) -> list[list[Job]]:
    """The tasks of an array that wait alike share a line."""
    rows: dict[object, list[Job]] = {}
    for job in jobs:
        key = (job.number, state_letters(job)) if job.index is not None and job.state is not State.RUNNING else job
        rows.setdefault(key, []).append(job)
    return list(rows.values())


def _tasks(row: Sequence[Job]) -> str:
    if row[0].index is None:
        return ""
    if len(row) == 1:
        return str(row[0].index)
    numbers = [job.index or 0 for job in row]
    steps = {after - before for before, after in pairwise(numbers)}
    if len(steps) == 1:
        return f"{numbers[0]}-{numbers[-1]}:{steps.pop()}"
    return ",".join(map(str, numbers))


def qstat(call: Call, machine: Machine) -> Reply:
    """Answer ``qstat``."""
    given, rest = _read(
        call, {"xml", "f", "ext", "r", "g", "help", "ne", "pri", "urg", "t"}, {"u", "j", "s", "q", "l", "pe", "U", "F"}
    )
    if rest:
        raise Refused(f'qstat: Unknown option "{rest[0]}"')
    jobs = [job for job in machine.queue() if job.state is not State.ENDED]
    if "j" in given:
        return _details(given["j"].split(","), jobs, xml="xml" in given)
    users = given.get("u", user_name()).split(",")
    jobs = [job for job in jobs if any(fnmatch.fnmatchcase(job.request.user, user) for user in users)]
    wanted = given.get("s", "")
    if wanted and "a" not in wanted:
        jobs = [job for job in jobs if ("r" if job.state is State.RUNNING else "p") in wanted]
    rows = _group(jobs)
    rows.sort(key=lambda row: row[0].state is not State.RUNNING)
    if "xml" in given:
        return Reply(_xml(rows))
    return Reply(_HEAD + "".join(_line(row) for row in rows) if rows else "")


def _read(call: Call, flags: set[str], valued: set[str]) -> tuple[dict[str, str], list[str]]:
    given: dict[str, str] = {}
    words = list(call.argv)
    while words and words[0].startswith("-"):
        name = words.pop(0)[1:]
        if name not in flags | valued:
            raise Refused(f'{call.program}: Unknown option "-{name}"')
        given[name] = words.pop(0) if name in valued and words and not words[0].startswith("-") else ""
    return given, words


def _queue(job: Job) -> str:
    return f"{job.request.queue}@{job.nodes[0]}" if job.state is State.RUNNING and job.nodes else ""


def _slots(job: Job) -> int:
    return job.request.nodes * job.request.cores


def _line(row: list[Job]) -> str:
    job = row[0]
    when = stamp(job.started if job.state is State.RUNNING else job.submitted, "%m/%d/%Y %H:%M:%S")
    priority = "0.55500" if job.state is State.RUNNING else "0.00000"
    return (
        f"{job.number:>7} {priority} {job.request.name[:10]:<10} {job.request.user[:12]:<12} "
        f"{state_letters(job):<5} {when} "
        f"{_queue(job)[:30]:<30} {_slots(job):>5} {_tasks(row)} \n"
    )


def _xml(rows: list[list[Job]]) -> str:
    running = [_entry(row, "running", "JAT_start_time") for row in rows if row[0].state is State.RUNNING]
    pending = [_entry(row, "pending", "JB_submission_time") for row in rows if row[0].state is not State.RUNNING]
    return (
        f"<?xml version='1.0'?>\n<job_info  xmlns:xsd=\"{_XSD}/qstat.xsd\">\n"
        f"  <queue_info>\n{''.join(running)}  </queue_info>\n"
        f"  <job_info>\n{''.join(pending)}  </job_info>\n</job_info>\n"
    )


def _entry(row: list[Job], state: str, moment: str) -> str:
    job = row[0]
    when = job.started if state == "running" else job.submitted
    fields = {
        "JB_job_number": str(job.number), "JAT_prio": "0.55500" if state == "running" else "0.00000",
        "JB_name": job.request.name, "JB_owner": job.request.user, "state": state_letters(job),
        moment: stamp(when, "%Y-%m-%dT%H:%M:%S"), "queue_name": _queue(job), "slots": str(_slots(job)),
    }  # fmt: skip
    if job.index is not None:
        fields["tasks"] = _tasks(row)
    lines = [f"      <{name}>{escape(_printable(value))}</{name}>\n" for name, value in fields.items()]
    return f'    <job_list state="{state}">\n{"".join(lines)}    </job_list>\n'


def _printable(text: str) -> str:
    return "".join(letter if ord(letter) >= 32 else " " for letter in text)


def _details(ids: list[str], jobs: list[Job], *, xml: bool) -> Reply:
    known: list[Job] = []
    unknown: list[str] = []
    for job_id in ids:
        found = [job for job in jobs if job_id in (str(job.number), job.id, job.request.name)]
        known += found[:1]
        unknown += [] if found else [job_id]
    if xml:
        return Reply(_details_xml(known, unknown))
    if unknown and not known:
        raise Refused("Following jobs do not exist: \n" + "\n".join(unknown))
    return Reply("".join(_described(job) for job in known))


def _details_xml(known: list[Job], unknown: list[str]) -> str:
    if not known:
        # Not well-formed, and yet it is what Grid Engine prints.
        items = "".join(f"    <ST_name>{escape(each)}</ST_name>\n" for each in unknown)
        head = f"<?xml version='1.0'?>\n<unknown_jobs  xmlns:xsd=\"{_XSD}/detailed_job_info.xsd\">\n"
        return f"{head}  <>\n{items}  </>\n</unknown_jobs>\n"
    items = "".join(
        f"    <element>\n      <JB_job_number>{job.number}</JB_job_number>\n"
        f"      <JB_job_name>{escape(_printable(job.request.name))}"
        f"</JB_job_name>\n      <JB_owner>{escape(job.request.user)}</JB_owner>\n    </element>\n"
        for job in known
    )
    head = f"<?xml version='1.0'?>\n<detailed_job_info  xmlns:xsd=\"{_XSD}/detailed_job_info.xsd\">\n"
    return f"{head}  <djob_info>\n{items}  </djob_info>\n  <messages>\n  </messages>\n</detailed_job_info>\n"


def _described(job: Job) -> str:
    request = job.request
    facts = {
        "job_number": str(job.number), "submission_time": stamp(job.submitted, "%a %b %e %H:%M:%S %Y"),
        "owner": request.user, "account": request.account, "cwd": request.extra.get("directory", ""),
        "job_name": request.name, "hard_queue_list": request.queue, "hard resource_list": request.extra.get("l", ""),
        "parallel environment": f"{request.extra['pe']} range: {request.extra['slots']}"
        if "pe" in request.extra else "",
        "jid_predecessor_list (req)": request.extra.get("hold_jid", ""), "script_file": request.name,
        "error reason    1": job.note if job.reason == "launch" else "",
    }  # fmt: skip
    return _RULE + "".join(f"{name + ':':<27} {value}\n" for name, value in facts.items() if value)


# -- accounting


def qacct(call: Call, machine: Machine) -> Reply:
    """Answer ``qacct -j``."""
    given, _ = _read(call, {"help"}, {"j", "t", "o", "f", "d", "b", "e"})
    if "j" not in given:
        raise Refused("this emulated Grid Engine knows qacct -j only")
    records = [record for record in machine.records() if record.started is not None]
    wanted = given["j"]
    if wanted:
        number, _, task = wanted.partition(".")
        records = [
            record for record in records
            if (str(record.number) == number and task in ("", str(record.index)))
            or fnmatch.fnmatchcase(record.request.name, wanted)
        ]  # fmt: skip
        if not records:
            raise Refused(f"error: job {'id' if wanted.isdigit() else 'name'} {wanted} not found")
    return Reply("".join(_account(record) for record in records))


def _account(record: Job) -> str:
    request, long = record.request, "%a %b %e %H:%M:%S %Y"
    code, why = _FAILED.get(record.how or How.EXITED, (100, "assumedly after job") if record.signal else (0, ""))
    status = 128 + record.signal if record.signal else record.exit_code
    facts: Mapping[str, str] = {
        "qname": request.queue, "hostname": record.nodes[0] if record.nodes else "", "group": request.user,
        "owner": request.user, "project": request.extra.get("P", "NONE"), "department": "defaultdepartment",
        "jobname": request.name, "jobnumber": str(record.number),
        "taskid": "undefined" if record.index is None else str(record.index), "account": request.account,
        "priority": "0",
        "qsub_time": stamp(record.submitted, long), "start_time": stamp(record.started, long),
        "end_time": stamp(record.ended, long), "granted_pe": request.extra.get("pe", "NONE"),
        "slots": str(_slots(record)), "failed": f"{code:<3} : {why}" if code else "0", "exit_status": str(status),
        "ru_wallclock": f"{record.elapsed(0):.3f}s", "ru_utime": "0.010s", "ru_stime": "0.010s", "cpu": "0.020s",
        "mem": "0.000GBs", "io": "0.000GB", "iow": "0.000s", "maxvmem": "0.000B",
        "arid": "undefined", "ar_sub_time": "undefined", "category": "NONE",
    }  # fmt: skip
    return _RULE + "".join(f"{name:<12} {value:<20}\n" for name, value in facts.items())
