"""What emulated Slurm prints about jobs: squeue, sacct, scontrol show job."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby

from harmony.conformance.emulators.dialect import clock, stamp, user_name
from harmony.conformance.emulators.engine import Machine
from harmony.conformance.emulators.model import Call, How, Job, Refused, Reply, State
from harmony.conformance.emulators.options import MAYBE, NONE, ONE, long_options

_TIME = "%Y-%m-%dT%H:%M:%S"
_ENDS = {
    How.CANCELLED: ("CANCELLED", "CA"), How.TIMEOUT: ("TIMEOUT", "TO"), How.NODE_FAILED: ("NODE_FAIL", "NF"),
    How.PREEMPTED: ("PREEMPTED", "PR"), How.OUT_OF_MEMORY: ("OUT_OF_MEMORY", "OOM"), How.LAUNCH_FAILED: ("FAILED", "F"),
    How.DEPENDENCY: ("CANCELLED", "CA"), How.REQUEUED: ("REQUEUED", "RQ"),
}  # fmt: skip
_REASONS = {How.TIMEOUT: "TimeLimit", How.NODE_FAILED: "NodeDown", How.OUT_OF_MEMORY: "OutOfMemory",
            How.LAUNCH_FAILED: "JobLaunchFailure", How.DEPENDENCY: "DependencyNeverSatisfied"}  # fmt: skip
_WAITS = {"": "None", "resources": "Resources", "dependency": "Dependency", "never": "DependencyNeverSatisfied",
          "delay": "BeginTime", "hold": "JobHeldUser", "launch": "launch_failed_requeued_held"}  # fmt: skip
_ALL_STATES = (
    "PENDING,RUNNING,SUSPENDED,COMPLETED,CANCELLED,FAILED,TIMEOUT,NODE_FAIL,PREEMPTED,BOOT_FAIL,DEADLINE,OUT_OF_MEMORY,"
    "COMPLETING,CONFIGURING,RESIZING,RESV_DEL_HOLD,REQUEUED,REQUEUE_FED,REQUEUE_HOLD,REVOKED,SIGNALING,SPECIAL_EXIT,"
    "STAGE_OUT,STOPPED"
)
_COMPACT = {"PD": "PENDING", "R": "RUNNING", "CG": "COMPLETING", "CD": "COMPLETED", "F": "FAILED", "S": "SUSPENDED",
            **{short: long for long, short in _ENDS.values() if long != "FAILED"}}  # fmt: skip
_SQUEUE = {
    **dict.fromkeys(("all", "array", "array-unique", "federation", "noheader", "hide", "json", "local", "long",
                     "noconvert",
                     "sibling", "start", "verbose", "version", "yaml", "help", "usage", "me"), NONE),
    **dict.fromkeys(("account", "iterate", "licenses", "clusters", "name", "format", "Format", "partition", "qos",
                     "reservation", "sort", "states", "user", "nodelist"), ONE),
    "jobs": MAYBE, "steps": MAYBE,
}  # fmt: skip
_SQUEUE_ALIASES = {
    "A": "account", "a": "all", "h": "noheader", "i": "iterate", "j": "jobs", "l": "long", "L": "licenses",
    "M": "clusters", "n": "name", "o": "format", "O": "Format", "p": "partition", "q": "qos", "R": "reservation",
    "r": "array", "s": "steps", "S": "sort", "t": "states", "u": "user", "v": "verbose", "V": "version",
    "w": "nodelist",
}  # fmt: skip


def words_of(job: Job, *, accounting: bool = False) -> tuple[str, str]:
    """A job's state, long and short."""
    if job.how is not None and (job.state is State.ENDED or accounting):
        return _ENDS.get(job.how) or (("FAILED", "F") if job.status else ("COMPLETED", "CD"))
    if job.state is State.RUNNING:
        return ("COMPLETING", "CG") if job.how is not None else ("RUNNING", "R")
    return "PENDING", "PD"


def reason_of(job: Job) -> str:
    """Why a job is where it is."""
    if job.foreign and job.state is not State.RUNNING:
        return job.note
    if job.state is State.ENDED:
        return _REASONS.get(job.how or How.EXITED) or (
            "NonZeroExitCode" if job.status and job.how is How.EXITED else "None"
        )
    return _WAITS[job.reason] if job.state is not State.RUNNING else "None"


def compact(names: Sequence[str]) -> str:
    """Node names as Slurm writes them: ``n[1-3,5]``."""
    found = []
    for prefix, group in groupby(names, lambda name: name.rstrip("0123456789")):
        numbers = [int(name[len(prefix) :] or -1) for name in group]
        spans: list[list[int]] = []
        for number in numbers:
            if spans and spans[-1][1] == number - 1:
                spans[-1][1] = number
            else:
                spans.append([number, number])
        text = ",".join(str(first) if first == last else f"{first}-{last}" for first, last in spans)
        found.append(f"{prefix}{text}" if len(numbers) == 1 else f"{prefix}[{text}]")
    return ",".join(found)


def expanded(text: str) -> list[str]:
    """The node names that Slurm has written as ``n[1-3,5]``."""
    found = []
    for part in re.findall(r"[^,\[]+(?:\[[^\]]*\])?", text):
        match = re.fullmatch(r"([^\[]+)\[([^\]]*)\]", part)
        for span in match[2].split(",") if match else []:
            first, _, last = span.partition("-")
            found += (
                [f"{match[1]}{number:0{len(first)}d}" for number in range(int(first), int(last or first) + 1)]
                if match
                else []
            )
        if not match:
            found.append(part)
    return found


def raw_id(job: Job, machine: Machine) -> str:
    """A task's own job id: the last task of an array has the array's, each other the next number."""
    tasks = job.request.tasks
    if job.index is None or not tasks or job.index == tasks[-1]:
        return str(job.number)
    return str(job.number + 1 + tasks.index(job.index))


def chosen(ids: Sequence[str], machine: Machine) -> list[Job]:
    """The jobs that ids on a command line mean; unknown ones are left out."""
    found: list[Job] = []
    for job_id in ids:
        plain = job_id.partition(".")[0]
        match = re.fullmatch(r"(\d+)_\[([\d,-]+)\]", plain)
        if match:
            for span in match[2].split(","):
                first, _, last = span.partition("-")
                for index in range(int(first), int(last or first) + 1):
                    found += machine.find(f"{match[1]}_{index}")
        else:
            found += machine.find(plain.removesuffix("_*"))
    return found


def matches(job: Job, given: Mapping[str, str | None]) -> bool:
    """Whether a job passes the filters of squeue and scancel."""
    request = job.request
    if "me" in given and request.user != user_name():
        return False
    values = {"name": request.name, "partition": request.queue, "account": request.account, "user": request.user,
              "qos": request.extra.get("qos", ""), "reservation": request.extra.get("reservation", "")}  # fmt: skip
    if any(
        given.get(name) is not None and value not in (given[name] or "").split(",") for name, value in values.items()
    ):
        return False
    state = given.get("state")
    return state is None or set(words_of(job)) & set(state.upper().split(",")) != set()


# -- squeue


def squeue(call: Call, machine: Machine) -> Reply:
    """Answer ``squeue``."""
    options, rest = long_options(
        call.argv, "A:ahi:j:lL:M:n:o:O:p:q:R:rs:S:t:u:vVw:", _SQUEUE, "squeue", _SQUEUE_ALIASES
    )
    given = dict(options)
    for unknown in ("json", "yaml", "start", "steps", "iterate"):
        if unknown in given:
            raise Refused(f"squeue: error: this emulated Slurm does not know --{unknown}")
    if rest:
        raise Refused(f"squeue: error: Unrecognized option: {rest[0]}")
    jobs = machine.queue()
    if given.get("jobs"):
        ids = (given["jobs"] or "").split(",")
        for job_id in ids:
            if not re.fullmatch(r"\d+(_\d+|_\[[\d,-]+\]|_\*)?", job_id):
                raise Refused(f"squeue: error: Invalid job id: {job_id}")
        jobs = chosen(ids, machine)
        if not jobs and len(ids) == 1 and not machine.find(re.split("[_.]", ids[0])[0]):
            raise Refused("slurm_load_jobs error: Invalid job id specified")
    jobs = [job for job in jobs if _in_states(job, given.get("states")) and matches(job, given)]
    rows = [[job] for job in jobs] if "array" in given else _merged(jobs)
    # pending ones first, as squeue sorts by state
    rows.sort(key=lambda row: words_of(row[0])[1] != "PD")
    return Reply(_formatted(rows, given, machine))


def _in_states(job: Job, states: str | None) -> bool:
    if states is None:
        return job.state is not State.ENDED
    wanted = [_COMPACT.get(state, state) for state in states.upper().split(",")]
    for state in wanted:
        if state != "ALL" and state not in _ALL_STATES.split(","):
            raise Refused(
                f"squeue: error: Invalid job state specified: {state}\n"
                f"squeue: error: Valid job states include: {_ALL_STATES}\n"
            )
    return "ALL" in wanted or words_of(job)[0] in wanted


def _merged(jobs: list[Job]) -> list[list[Job]]:
    """The tasks of an array that wait for the same share a line."""
    rows: dict[object, list[Job]] = {}
    for job in jobs:
        key = (job.number, job.reason) if job.index is not None and job.started is None and job.how is None else job
        rows.setdefault(key, []).append(job)
    return list(rows.values())


def _task_text(row: list[Job]) -> str:
    job = row[0]
    if job.index is None:
        return "N/A"
    if len(row) == 1:
        return str(job.index)
    spans = compact([str(each.index) for each in row]).strip("[]")
    return f"{spans}%{job.request.tasks_at_once}" if job.request.tasks_at_once else spans


def _job_id(row: list[Job]) -> str:
    return row[0].id if len(row) == 1 else f"{row[0].number}_[{_task_text(row)}]"


def _limit(job: Job) -> str:
    return "UNLIMITED" if job.request.limit is None else _duration(job.request.limit)


def _duration(seconds: float) -> str:
    whole = int(max(0.0, seconds))
    days, rest = divmod(whole, 86400)
    text = f"{rest // 3600:02d}:{rest % 3600 // 60:02d}:{rest % 60:02d}"
    return f"{days}-{text}" if days else text.removeprefix("00:").removeprefix("0") if rest < 36000 else text


def _nodes_or_reason(row: list[Job]) -> str:
    return compact(row[0].nodes) if row[0].started is not None else f"({reason_of(row[0])})"


_Column = tuple[str, str, Callable[[list[Job], Machine], str]]
#: Letter of ``-o`` → the heading, the name for ``-O``, the value.
_COLUMNS: dict[str, _Column] = {
    "i": ("JOBID", "jobarrayid", lambda row, _: _job_id(row)),
    "A": ("JOBID", "jobid", lambda row, machine: raw_id(row[0], machine) if len(row) == 1 else str(row[0].number)),
    "F": ("ARRAY_JOB_ID", "arrayjobid", lambda row, _: str(row[0].number)),
    "K": ("ARRAY_TASK_ID", "arraytaskid", lambda row, _: _task_text(row)),
    "T": ("STATE", "state", lambda row, _: words_of(row[0])[0]),
    "t": ("ST", "statecompact", lambda row, _: words_of(row[0])[1]),
    "r": ("REASON", "reason", lambda row, _: reason_of(row[0])),
    "R": ("NODELIST(REASON)", "reasonlist", lambda row, _: _nodes_or_reason(row)),
    "j": ("NAME", "name", lambda row, _: row[0].request.name),
    "u": ("USER", "username", lambda row, _: row[0].request.user),
    "P": ("PARTITION", "partition", lambda row, _: row[0].request.queue),
    "a": ("ACCOUNT", "account", lambda row, _: row[0].request.account or "(null)"),
    "q": ("QOS", "qos", lambda row, _: row[0].request.extra.get("qos", "(null)")),
    "N": ("NODELIST", "nodelist", lambda row, _: compact(row[0].nodes)),
    "B": ("EXEC_HOST", "batchhost", lambda row, _: row[0].nodes[0] if row[0].nodes else "n/a"),
    "D": ("NODES", "numnodes", lambda row, _: str(row[0].request.nodes)),
    "C": ("CPUS", "numcpus", lambda row, _: str(row[0].request.nodes * row[0].request.cores)),
    "M": ("TIME", "timeused", lambda row, machine: _duration(row[0].elapsed(machine.now()))),
    "l": ("TIME_LIMIT", "timelimit", lambda row, _: _limit(row[0])),
    "L": ("TIME_LEFT", "timeleft", lambda row, machine: _left(row[0], machine.now())),
    "S": ("START_TIME", "starttime", lambda row, _: stamp(row[0].started, _TIME, "N/A")),
    "e": ("END_TIME", "endtime", lambda row, _: stamp(_end(row[0]), _TIME, "N/A")),
    "V": ("SUBMIT_TIME", "submittime", lambda row, _: stamp(row[0].submitted, _TIME)),
    "k": ("COMMENT", "comment", lambda row, _: row[0].request.extra.get("comment", "(null)")),
    "o": ("COMMAND", "command", lambda row, _: row[0].request.extra.get("command") or "(null)"),
    "Z": ("WORK_DIR", "workdir", lambda row, _: row[0].request.directory),
    "E": ("DEPENDENCY", "dependency", lambda row, _: row[0].request.extra.get("dependency", "(null)")),
    "Q": ("PRIORITY", "prioritylong", lambda row, _: "4294901000"),
    "v": ("RESERVATION", "reservation", lambda row, _: row[0].request.extra.get("reservation", "(null)")),
    "\0": ("EXIT_CODE", "exit_code", lambda row, _: str(row[0].exit_code << 8 | row[0].signal)),
    "\1": ("RESTARTCNT", "restartcnt", lambda row, _: str(row[0].restarts)),
}
_NAMES = {name: letter for letter, (_, name, _value) in _COLUMNS.items()}


def _end(job: Job) -> float | None:
    if job.ended is not None or job.started is None:
        return job.ended
    return None if job.request.limit is None else job.started + job.request.limit


def _left(job: Job, now: float) -> str:
    return "UNLIMITED" if job.request.limit is None else _duration(job.request.limit - job.elapsed(now))


def _formatted(rows: list[list[Job]], given: Mapping[str, str | None], machine: Machine) -> str:
    columns = _long_format(given["Format"] or "") if given.get("Format") else _format(given, "format")
    lines = [] if "noheader" in given else [[heading for _, heading, _, _ in columns]]
    lines += [[value(row, machine) for _, _, value, _ in columns] for row in rows]
    return "".join(
        "".join(before + _fitted(text, width) for (before, _, _, width), text in zip(columns, line, strict=True)) + "\n"
        for line in lines
    )


_Format = list[tuple[str, str, Callable[[list[Job], Machine], str], str]]


def _format(given: Mapping[str, str | None], name: str) -> _Format:
    text = given.get(name) or "%.18i %.9P %.8j %.8u %.2t %.10M %.6D %R"
    columns: _Format = []
    position, before = 0, ""
    for match in re.finditer(r"%(\.?\d*)([A-Za-z])", text):
        before = text[position : match.start()]
        if match[2] not in _COLUMNS:
            raise Refused(f"squeue: error: Invalid job format specification: {match[2]}")
        heading, _, value = _COLUMNS[match[2]]
        columns.append((before, heading, value, match[1]))
        position = match.end()
    columns.append((text[position:], "", lambda *_: "", ""))
    return columns


def _long_format(text: str) -> _Format:
    columns: _Format = []
    for part in text.split(","):
        name, _, width = part.partition(":")
        if name.lower() not in _NAMES:
            raise Refused(f"squeue: error: Invalid job format specification: {name}")
        heading, _, value = _COLUMNS[_NAMES[name.lower()]]
        columns.append(("", heading, value, width or "20"))
    return columns


def _fitted(text: str, width: str) -> str:
    number = int(width.lstrip(".") or 0)
    if not number:
        return text
    return text[:number].rjust(number) if width.startswith(".") else text[:number].ljust(number)


# -- scontrol


def show_job(ids: Sequence[str], machine: Machine, *, one_line: bool) -> Reply:
    """Answer ``scontrol show job``."""
    jobs = chosen(ids, machine) if ids else machine.queue()
    if ids and not jobs:
        raise Refused("slurm_load_jobs error: Invalid job id specified")
    return Reply("".join(_described(job, machine, one_line) for job in jobs) or "No jobs in the system\n")


def _described(job: Job, machine: Machine, one_line: bool) -> str:
    request, streams = job.request, machine.dialect.streams(job)
    array = f" ArrayJobId={job.number} ArrayTaskId={job.index}" if job.index is not None else ""
    state = f"JobState={words_of(job)[0]} Reason={reason_of(job).replace(' ', '_')} "
    state += f"Dependency={request.extra.get('dependency', '(null)')}"
    code = f"ExitCode={job.exit_code}:{job.signal}"
    lines = [
        f"JobId={raw_id(job, machine)}{array} JobName={request.name}",
        f"UserId={request.user}({os.getuid()}) GroupId={request.user}({os.getuid()}) MCS_label=N/A",
        f"Priority=4294901000 Nice=0 Account={request.account or '(null)'} QOS={request.extra.get('qos', '(null)')}",
        state,
        f"Requeue={int(request.requeue)} Restarts={job.restarts} BatchFlag=1 Reboot=0 {code}",
        f"RunTime={clock(job.elapsed(machine.now()))} TimeLimit={_limit(job)} TimeMin=N/A",
        f"SubmitTime={stamp(job.submitted, _TIME)} EligibleTime={stamp(job.eligible, _TIME)}",
        f"StartTime={stamp(job.started, _TIME, 'Unknown')} EndTime={stamp(_end(job), _TIME, 'Unknown')} Deadline=N/A",
        f"Partition={request.queue} AllocNode:Sid=localhost:1",
        f"NodeList={compact(job.nodes) or '(null)'}",
        f"NumNodes={request.nodes} NumCPUs={request.nodes * request.cores} CPUs/Task=1 ReqB:S:C:T=0:0:*:*",
        f"Command={request.extra.get('command') or '(null)'}",
        f"WorkDir={request.directory}",
        f"Comment={request.extra.get('comment', '')} ",
        f"StdErr={streams.stderr or streams.stdout}",
        f"StdIn={streams.stdin or '/dev/null'}",
        f"StdOut={streams.stdout}",
    ]
    return " ".join(lines) + "\n" if one_line else "\n   ".join(lines) + "\n\n"
