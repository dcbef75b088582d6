"""NEC NQSV: qsub, qstat, qdel, qhold, qrls."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from harmony.conformance.emulators.dialect import Dialect, plain_environment, read_script, stamp, user_name
from harmony.conformance.emulators.model import Call, How, Job, NeedsInput, Refused, Reply, Request, State, Streams
from harmony.conformance.emulators.options import MAYBE, NONE, ONE, Options, directive_lines, long_options, words

if TYPE_CHECKING:
    from harmony.conformance.emulators.engine import Machine

_QUEUES = ("batch", "gen_S", "gpu", "debug")
_SHORT = "a:A:b:B:c:C:D:e:hi:j:J:k:l:m:M:N:o:O:p:q:r:R:S:t:T:U:v:Vx:y:Y:zfI"
_PLAIN = ("accept-sigterm", "exclusive", "adjust", "version")
_VALUED = (
    "cpunum-lhost", "gpunum-lhost", "memsz-lhost", "venum-lhost", "ve-lhost", "custom", "warning-signal", "template",
    "submit-user", "use-hca", "after", "parallel", "job-topology", "vememsz-prc",
)  # fmt: skip
_LONG = {**dict.fromkeys(_PLAIN, NONE), **dict.fromkeys(_VALUED, ONE)}
_RESOURCES = ("elapstim_req", "cputim_prc", "cputim_job", "cpunum_job", "filenum_prc", "memsz_job", "datasz_prc",
              "stacksz_prc", "coresz_prc", "filesz_prc", "vmemsz_prc", "vmemsz_job", "socknum_job", "gpunum_job",
              "vecputim_prc", "vememsz_prc")  # fmt: skip
_ITEMS = {
    "rid": ("RequestID", 15), "reqname": ("ReqName", 8), "user": ("UserName", 8), "quename": ("Queue", 8),
    "pri": ("Pri", 4), "stt": ("STT", 3), "s": ("S", 1), "memory": ("Memory", 8), "cpu": ("CPU", 8),
    "elapse": ("Elapse", 8), "r": ("R", 1), "h": ("H", 1), "m": ("M", 1), "jobs": ("Jobs", 4),
}  # fmt: skip
_RIGHT = ("pri", "memory", "cpu", "elapse", "jobs")
_STATES = {
    "QUE": "Queued", "RUN": "Running", "HLD": "Held", "EXT": "Exiting", "POR": "Post-running", "WAT": "Waiting",
}  # fmt: skip


class NQSV(Dialect):
    """NQSV on a cluster. A request that has ended is known to nobody, and its fate is in its standard error alone."""

    name = "nqsv"
    programs = ("qsub", "qstat", "qdel", "qhold", "qrls")
    submitting = ("qsub",)
    telling = ("qstat",)
    cancel_signals = ()  # SIGKILL at once, unless --accept-sigterm was given
    timeout_signals = ()
    keep = 0.0
    server = "nqsv"
    unreachable = ("{program}: Cannot connect to Batch Server.", 153)
    refusals = (
        "Account code is not permitted.\nRequest not queued.",
        "Cannot connect to Batch Server.\nRequest not queued.",
    )

    def answer(self, call: Call, machine: Machine) -> Reply:
        """Do what a command asks, and return what it prints."""
        if call.program == "qsub":
            return self._qsub(call, machine)
        if call.program == "qstat":
            return self._qstat(call, machine)
        return self._act(call, machine)

    def job_id(self, number: int, index: int | None) -> str:
        """The id of a request: ``12.nqsv``, or ``12[3].nqsv`` of a parametric one."""
        return f"{number}.{self.server}" if index is None else f"{number}[{index}].{self.server}"

    def job_environment(self, job: Job, machine: Machine) -> Mapping[str, str]:
        """What the job server sets; the script runs as the request's job number 0."""
        request = job.request
        settings = {
            "PBS_ENVIRONMENT": "PBS_BATCH",
            "PBS_JOBID": f"0:{job.id}",
            "PBS_JOBNAME": request.name,
            "PBS_NODEFILE": machine.file(f"{job.id}.nodes", "".join(f"{node}\n" for node in job.nodes)),
            "PBS_O_HOST": self.server,
            "PBS_O_WORKDIR": request.directory,
            "PBS_O_HOME": plain_environment(machine.bin)["HOME"],
            "PBS_QUEUE": request.queue,
            "PBS_RANK": "0",
            "PBS_NODENUM": "0",
        }
        if job.index is not None:
            settings["PBS_SUBREQNO"] = str(job.index)
        return settings

    def directory(self, job: Job) -> str:
        """A request starts in the home directory."""
        return plain_environment("")["HOME"]

    def streams(self, job: Job) -> Streams:
        """``NAME.o123``, or what ``-o`` and ``-e`` say; the files come into being at the end."""
        request = job.request
        number = str(job.number) if job.index is None else f"{job.number}-{job.index}"
        out, error = (
            os.path.join(request.directory, _filled(path or f"{request.name}.{letter}{number}", job))
            for path, letter in ((request.stdout, "o"), (request.stderr, "e"))
        )
        joined = request.extra.get("join", "n")
        return Streams(None, error if joined == "e" else out, "" if joined in "oe" else error, late=True)

    # -- submitting

    def _qsub(self, call: Call, machine: Machine) -> Reply:
        found, rest = _options(call.argv, "qsub")
        if rest:
            script = read_script(rest[0], call, lambda path, why: f"{path}: {why}.\nRequest not queued.")
        elif call.stdin is None:
            raise NeedsInput
        else:
            script = call.stdin.decode("utf-8", "surrogateescape")
        embedded: Options = []
        for line in directive_lines(script, "#PBS"):
            more, left = _options(words(line, "qsub", comment="#"), "qsub")
            if left:
                raise Refused(f"Invalid option: {left[0]}\nRequest not queued.")
            embedded += more
        # the options of the command line count more, and so come last
        request = self._request([*embedded, *found], script, rest, call, machine)
        made = machine.submit(request)
        shown = self.job_id(made[0].number, None) if request.tasks is None else f"{made[0].number}[].{self.server}"
        return Reply(f"Request {shown} submitted to queue: {request.queue}.\n")

    def _request(self, found: Options, script: str, rest: Sequence[str], call: Call, machine: Machine) -> Request:
        given = {option: value or "" for option, value in found}
        queue = given.get("q", _QUEUES[0]).partition("@")[0]
        if queue not in _QUEUES:
            raise Refused(f"No such queue: {queue}.\nRequest not queued.")
        limits = _limits([value or "" for option, value in found if option == "l"])
        environment = dict(call.environment) if "V" in given else plain_environment(machine.bin)
        for option, value in found:
            if option == "v":
                for each in (value or "").split(","):
                    name, equals, text = each.partition("=")
                    environment[name] = text if equals else call.environment.get(name, "")
        nodes = _number(given.get("b", "1"))
        cores = _number(given.get("cpunum-lhost", limits.get("cpunum_job", "1")))
        if nodes > len(machine.nodes) or cores > max(node.cores for node in machine.nodes.values()):
            raise Refused("Resource limit exceeds the queue's limit.\nRequest not queued.")
        return Request(
            script=script,
            name=given.get("N", os.path.basename(rest[0])[:63] if rest else "STDIN"),
            user=user_name(),
            queue=queue,
            account=given.get("A", ""),
            directory=call.directory,
            environment=environment,
            nodes=nodes,
            cores=cores,
            gpus=int(given.get("gpunum-lhost", limits.get("gpunum_job", "0"))),
            exclusive="exclusive" in given,
            limit=_seconds(limits["elapstim_req"]) if "elapstim_req" in limits else None,
            stdout=given.get("o"),
            stderr=given.get("e"),
            held="h" in given,
            requeue=given.get("r", "n") == "y",
            tasks=_tasks(given["t"]) if "t" in given else None,
            extra={"join": given.get("j", "n")},
        )

    # -- telling

    def _qstat(self, call: Call, machine: Machine) -> Reply:
        long = {"adjust-column": NONE, "planned-start-time": NONE, "group": MAYBE}
        try:
            found, ids = long_options(call.argv, "P:VfnldmsaJTQu:q:c:F:o:O:t", long, "qstat")
        except Refused as refused:
            raise Refused(f"{refused.complaint}\nusage: \nqstat    [-P privilege] [-V] [-f] [-n] [-l]") from None
        given = {option: value or "" for option, value in found}
        jobs = [job for job in machine.queue() if job.state is not State.ENDED]
        if ids:
            complaints = []
            asked = [(each, [job for job in _found(each, machine) if job in jobs]) for each in ids]
            for each, known in asked:
                if not known:
                    full = each if "." in each else f"{each}.{self.server}"
                    complaints.append(_unknown(full, given, self.server))
            jobs = [job for _, known in asked for job in known]
            out = "".join(f"{line}\n" for line in complaints)
        else:
            user = given.get("u", user_name())
            jobs, out = [job for job in jobs if job.request.user in user.split(",")], ""
        if "f" in given:
            return Reply(out + "".join(_full(job, machine, self) for job in jobs))
        return Reply(out + (_table(jobs, machine, given) if jobs else ""))

    # -- acting

    def _act(self, call: Call, machine: Machine) -> Reply:
        _, ids = long_options(call.argv, "P:g:kfa", {}, call.program)
        if not ids:
            raise Refused(f"usage: {call.program} [-P privilege] request-identifier ...")
        out, err = "", ""
        for each in ids:
            full = each if "." in each else f"{each}.{self.server}"
            jobs = [job for job in _found(each, machine) if job.state is not State.ENDED]
            if not jobs:
                err += f"No such request: {full}.\n"
            elif jobs[0].foreign:
                err += f"Not owner: {full}.\n"
            for job in jobs if jobs and not jobs[0].foreign else []:
                if call.program == "qdel":
                    machine.cancel(job)
                elif call.program == "qhold":
                    machine.hold(job)
                else:
                    machine.release(job)
                verb = {"qdel": "deleted", "qhold": "held", "qrls": "released"}[call.program]
                out += f"Request {job.id} was {verb}.\n"
        return Reply(out, err, 1 if err else 0)


def _options(argv: Sequence[str], program: str) -> tuple[Options, list[str]]:
    try:
        return long_options(argv, _SHORT, _LONG, program)
    except Refused as refused:
        raise Refused(f"{refused.complaint}\nRequest not queued.") from None


def _limits(values: Sequence[str]) -> dict[str, str]:
    limits: dict[str, str] = {}
    for value in values:
        for item in re.findall(r'(?:[^,"]|"[^"]*")+', value):
            name, equals, text = item.partition("=")
            if not equals or name.strip() not in _RESOURCES:
                listed = " ".join(_RESOURCES)
                raise Refused(
                    "Invalid syntax following -l flag.\nSyntax: -l resource_list[,resource_list,...]\n"
                    f'resource_list: resource_name=["]max_limit[,warning_limit"]\nresource_name: {listed}\n'
                    "Request not queued."
                )
            limits[name.strip()] = text.strip('"').partition(",")[0]
    return limits


def _seconds(text: str) -> float:
    parts = text.split(":")
    if not all(re.fullmatch(r"\d+(\.\d+)?", part) for part in parts) or len(parts) > 3:
        raise Refused("Invalid syntax following -l flag.\nRequest not queued.")
    total = 0.0
    for part in parts:
        total = total * 60 + float(part)
    return total


def _number(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise Refused(f"Invalid number: {text}\nRequest not queued.")
    return int(text)


def _tasks(text: str) -> tuple[int, ...]:
    found: list[int] = []
    for piece in text.split(","):
        match = re.fullmatch(r"(\d+)(?:-(\d+)(?::(\d+))?)?", piece)
        if not match:
            raise Refused("Invalid syntax following -t flag.\nRequest not queued.")
        found += range(int(match[1]), int(match[2] or match[1]) + 1, int(match[3] or 1))
    return tuple(found)


def _found(text: str, machine: Machine) -> list[Job]:
    match = re.fullmatch(r"(\d+)(\[\d*\])?(?:\.\w+)?", text)
    if not match:
        return []
    if match[2] and match[2] != "[]":
        return machine.find(machine.dialect.job_id(int(match[1]), int(match[2][1:-1])))
    return machine.find(machine.dialect.job_id(int(match[1]), None))


def _filled(path: str, job: Job) -> str:
    text = path.rpartition(":")[2] if re.match(r"[\w.-]+:", path) else path
    index = "" if job.index is None else str(job.index)
    names = {"%r": str(job.number), "%s": str(job.number), "%j": "0", "%%": "%"}
    text = re.sub(r"%[rsj%]", lambda match: names[match[0]], text)
    return text.replace("${PBS_SUBREQNO}", index).replace("$PBS_SUBREQNO", index)


def _state(job: Job) -> str:
    if job.state is State.RUNNING:
        return "EXT" if job.how not in (None, How.EXITED) else "RUN"
    return "HLD" if job.state is State.HELD else "WAT" if job.reason == "delay" else "QUE"


def _unknown(full: str, given: Mapping[str, str], server: str) -> str:
    if "J" in given:
        return f"Batch Job: {full} does not exist."
    return f"No such request: {full}." if "T" in given else f"Batch Request: {full} does not exist on {server}."


def _table(jobs: Sequence[Job], machine: Machine, given: Mapping[str, str]) -> str:
    names = [name.strip().lower() for name in given["F"].split(",")] if given.get("F") else list(_ITEMS)
    unknown = [name for name in names if name not in _ITEMS]
    if unknown:
        raise Refused(f"qstat: Invalid item name: {unknown[0]}")
    wide = "l" in given
    lines = []
    if "n" not in given:
        lines.append(" ".join(_fitted(name, _ITEMS[name][0], wide=False) for name in names).rstrip())
        lines.append(" ".join("-" * _ITEMS[name][1] for name in names))
    for job in jobs:
        request = job.request
        cells = {
            "rid": job.id, "reqname": request.name, "user": request.user, "quename": request.queue, "pri": "0",
            "stt": _state(job), "s": "-", "memory": "0.00B", "cpu": "0.00",
            "elapse": f"{job.elapsed(machine.now()):.0f}", "r": "Y" if request.requeue else "N", "h": "Y", "m": "Y",
            "jobs": str(request.nodes),
        }  # fmt: skip
        lines.append(" ".join(_fitted(name, cells[name], wide=wide) for name in names).rstrip())
    return "".join(f"{line}\n" for line in lines)


def _fitted(name: str, text: str, *, wide: bool) -> str:
    size = _ITEMS[name][1]
    text = text if wide else text[:size]
    return text.rjust(size) if name in _RIGHT else text.ljust(size)


def _full(job: Job, machine: Machine, dialect: NQSV) -> str:
    request, streams = job.request, dialect.streams(job)
    now = machine.now()

    def when(moment: float | None) -> str:
        return stamp(moment, "%a %b %d %H:%M:%S %Y", "(none)")

    limit = "UNLIMITED" if request.limit is None else f"{request.limit:.0f}S"
    pairs = {
        "Request Name": request.name, "User  Name": request.user, "Current State          ": _STATES[_state(job)],
        "State Transition Time  ": when(job.started or job.submitted),
        "State Transition Reason": "PRERUN_SUCCESS" if job.started else "STAGEIN_SUCCESS",
        "Queue": f"{request.queue}@{dialect.server} (Execution Queue)", "Job Topology": "Distribute Job",
        "Request Priority ": "0", "Rerunable   ": "Yes" if request.requeue else "No", "Holdable    ": "Yes",
        "Hold Type   ": "USER" if job.state is State.HELD else "(none)", "Account Code": request.account or "(none)",
        "Stdout": f"{dialect.server}:{streams.stdout}",
        "Stderr": f"{dialect.server}:{streams.stderr or streams.stdout}",
        "Number of Jobs": str(request.nodes), "Created Request Time": when(job.submitted),
        "Entered Queue Time  ": when(job.submitted), "Started Request Time": when(job.started),
        "Ended Request Time  ": when(job.ended), "Reservation ID     ": "(none)",
    }  # fmt: skip
    lines = [f"Request ID: {job.id}", *(f"    {name} = {value}" for name, value in pairs.items())]
    if job.nodes:
        lines += ["  Execution Hosts(JSVNO):", *(f"    {node}({node.strip('nm')})" for node in job.nodes)]
    lines += ["  Resources Information:", f"    Elapse    = {job.elapsed(now):.0f}S", "  Resources Limits:"]
    lines.append(f"    (Per-Req) Elapse Time Limit       = Max: {limit:>9} Warn: UNLIMITED ")
    return "".join(f"{line}\n" for line in lines)
