"""Cobalt: qsub, qstat, qdel, qhold, qrls."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from harmony.conformance.emulators.dialect import Dialect, clock, plain_environment, stamp, user_name
from harmony.conformance.emulators.model import Call, Dependency, Job, Refused, Reply, Request, State, Streams
from harmony.conformance.emulators.options import NONE, ONE, Options, long_options

if TYPE_CHECKING:
    from harmony.conformance.emulators.engine import Machine

_QUEUES = ("default", "debug", "backfill")
_VALUED = (
    "nodecount proccount project cwd queue notify env time umask outputprefix error output inputfile debuglog "
    "dependencies attrs user_list run_users jobname kernel kerneloptions ion_kernel ion_kerneloptions mode geometry"
)
_LONG = {
    **dict.fromkeys(_VALUED.split(), ONE),
    **dict.fromkeys(("debug", "verbose", "held", "preemptable", "run_project", "disable_preboot", "interactive"), NONE),
}
_SHORT = "n:A:q:M:t:u:O:e:o:i:K:dvhI"
_ALIASES = {
    "n": "nodecount", "A": "project", "q": "queue", "M": "notify", "t": "time", "u": "umask", "O": "outputprefix",
    "e": "error", "o": "output", "i": "inputfile", "K": "kerneloptions", "d": "debug", "v": "verbose", "h": "held",
    "I": "interactive",
}  # fmt: skip
_STAT_LONG = {"header": ONE, "sort": ONE, "user": ONE, "debug": NONE, "full": NONE, "long": NONE, "reverse": NONE}


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_DEFAULT = ("JobID", "User", "WallTime", "Nodes", "State", "Location")
_FULL = _words(
    "JobID JobName User WallTime QueuedTime RunTime TimeRemaining Nodes State Location Mode Procs Preemptable Queue "
    "StartTime Index"
)
_LONG_HEADER = _FULL + _words(
    "SubmitTime Path OutputDir ErrorPath OutputPath Envs Command Args Kernel KernelOptions Project Dependencies "
    "short_state Notify Score attrs user_list"
)


class Cobalt(Dialect):
    """Cobalt 1.0 on a cluster: every job is a script. A job that has ended is known to nobody."""

    name = "cobalt"
    programs = ("qsub", "qstat", "qdel", "qhold", "qrls")
    submitting = ("qsub",)
    telling = ("qstat",)
    keep = 0.0
    unreachable = ("component error: Failed to connect to queue-manager: \n", 1)
    refusals = (
        'component error: XMLRPC failure <Fault 1: "Not a member of project"> in queue-manager.add_jobs\n',
        "component error: Failed to connect to queue-manager: timed out\n",
    )

    def answer(self, call: Call, machine: Machine) -> Reply:
        """Do what a command asks, and return what it prints."""
        if call.program == "qsub":
            return self._qsub(call, machine)
        if call.program == "qstat":
            return self._qstat(call, machine)
        return self._act(call, machine)

    def job_id(self, number: int, index: int | None) -> str:
        """The id, a number."""
        return str(number)

    def job_environment(self, job: Job, machine: Machine) -> Mapping[str, str]:
        """What the script forker sets."""
        count, where = str(len(job.nodes)), ",".join(job.nodes)
        return {
            "COBALT_JOBID": job.id,
            "COBALT_NODEFILE": machine.file(f"cobalt.{job.id}", "".join(f"{node}\n" for node in job.nodes)),
            "COBALT_PARTNAME": where,
            "COBALT_BLOCKNAME": where,
            "COBALT_PARTSIZE": count,
            "COBALT_BLOCKSIZE": count,
            "COBALT_JOBSIZE": job.request.extra["procs"],
        }

    def streams(self, job: Job) -> Streams:
        """``-o`` and ``-e``, or files named after the job."""
        request, extra = job.request, job.request.extra
        prefix = extra.get("prefix", job.id)
        out, error = (
            os.path.join(request.directory, _filled(path or f"{prefix}.{word}", job.id))
            for path, word in ((request.stdout, "output"), (request.stderr, "error"))
        )
        return Streams(request.stdin, out, error, append=True)

    # -- submitting

    def _qsub(self, call: Call, machine: Machine) -> Reply:
        found, rest = _options(call.argv, _SHORT, _LONG, _ALIASES, "qsub")
        if not rest:
            raise _usage("qsub", "No executable or script specified")
        directory = os.path.join(call.directory, dict(found).get("cwd") or ".")
        path = os.path.join(directory, rest[0])
        if not os.path.isfile(path):
            raise Refused(f"command {path} not found, or is not a file")
        if not os.access(path, os.X_OK | os.R_OK):
            raise Refused(f"command {path} is not executable")
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            script = file.read()
        # the options of the command line count more, and so come last
        found = [*_options(_directives(script), _SHORT, _LONG, _ALIASES, "qsub")[0], *found]
        request = self._request(found, script, tuple(rest[1:]), os.path.normpath(directory), machine)
        made = machine.submit(request)[0]
        log = os.path.join(request.directory, _filled(request.extra.get("log", f"{made.id}.cobaltlog"), made.id))
        words = " ".join(call.argv)
        when = stamp(made.submitted, "%a %b %d %H:%M:%S %Y +0000 (UTC)")
        with open(log, "a", encoding="utf-8", errors="surrogateescape") as file:
            file.write(f"Jobid: {made.id}\nqsub {words}\n{when} submitted with cwd set to: {request.directory}\n")
        missing = [each for each in request.extra["depends"].split() if not machine.find(each)]
        warning = f"WARNING: dependencies {':'.join(missing)} do not match jobs currently in the queue\n"
        return Reply(f"{made.id}\n", warning if missing else "")

    def _request(
        self, found: Options, script: str, arguments: tuple[str, ...], directory: str, machine: Machine
    ) -> Request:
        given = {option: value or "" for option, value in found}
        nodes, queue = _checked(given)
        settings = ":".join(value or "" for option, value in found if option == "env")
        depends = [each for each in given.get("dependencies", "").split(":") if each]
        extra = {"procs": given.get("proccount", str(nodes)), "minutes": str(_minutes(given["time"])),
                 "args": " ".join(arguments), "depends": " ".join(depends)}  # fmt: skip
        if "outputprefix" in given:
            extra["prefix"], extra["log"] = given["outputprefix"], f"{given['outputprefix']}.cobaltlog"
        if "debuglog" in given:
            extra["log"] = given["debuglog"]
        return Request(
            script=script,
            arguments=arguments,
            name=given.get("jobname", ""),
            user=user_name(),
            queue=queue,
            account=given.get("project", ""),
            directory=directory,
            environment={**plain_environment(machine.bin), **_settings(settings)},
            nodes=nodes,
            cores=max(node.cores for node in machine.nodes.values()),
            exclusive=True,
            limit=60.0 * _minutes(given["time"]),
            stdin=given.get("inputfile"),
            stdout=given.get("output"),
            stderr=given.get("error"),
            held="held" in given,
            requeue=False,
            dependencies=tuple(Dependency("ok", (each,)) for each in depends),
            extra=extra,
        )

    # -- telling

    def _qstat(self, call: Call, machine: Machine) -> Reply:
        aliases = {"f": "full", "l": "long", "u": "user", "d": "debug"}
        found, names = _options(call.argv, "dflQu:", {**_STAT_LONG, "Q": NONE}, aliases, "qstat")
        given = {option: value or "" for option, value in found}
        jobs = [job for job in machine.queue() if job.state is not State.ENDED]
        if names:
            for name in names:
                if not name.isdigit() and name not in _QUEUES:
                    raise Refused(f"{name} is not a valid jobid or queue name")
            jobs = [job for job in jobs if job.id in names or job.request.queue in names]
        if "user" in given:
            jobs = [job for job in jobs if job.request.user == given["user"]]
        if names and not jobs:
            return Reply(code=1)
        custom = given.get("header") or call.environment.get("CQSTAT_HEADER") or call.environment.get("QSTAT_HEADER")
        header: Sequence[str] = tuple(custom.split(":")) if custom else _DEFAULT
        if "full" in given:
            header = _LONG_HEADER if "long" in given else _FULL
        rows = [[_cell(name.lower(), job, machine) for name in header] for job in jobs]
        header = ["S" if name.lower() == "short_state" else name for name in header]
        return Reply(_vertical(header, rows) if "long" in given else _tabular(header, rows))

    # -- acting

    def _act(self, call: Call, machine: Machine) -> Reply:
        _, words = _options(call.argv, "d", {"debug": NONE}, {}, call.program)
        if not words:
            raise _usage(call.program, "No Jobid(s) given")
        for word in words:
            if not re.fullmatch(r"-?\d+|\*", word):
                raise Refused(f"jobid must be an integer: {word}")
        jobs = [job for word in words for job in machine.find(word) if job.state is not State.ENDED and not job.foreign]
        acts: Mapping[str, Callable[[Job], None]] = {
            "qdel": machine.cancel, "qhold": machine.hold, "qrls": machine.release,
        }  # fmt: skip
        for job in jobs:
            acts[call.program](job)
        rows = [[job.id, job.request.user] for job in jobs]
        title = {"qdel": "      Deleted Jobs", "qhold": "   Held Jobs", "qrls": "   Released Jobs"}[call.program]
        return Reply(f"{title}\n" + _tabular(["JobID", "User"], rows) if jobs else "")


def _checked(given: Mapping[str, str]) -> tuple[int, str]:
    """The number of nodes, and the queue."""
    if not given:
        raise _usage("qsub", "No required options provided")
    for name in ("time", "nodecount"):
        if name not in given:
            raise Refused(f"'{name}' not provided")
    if not given["nodecount"].isdigit():
        raise _usage("qsub", f"error: option -n: invalid integer value: '{given['nodecount']}'", 2)
    nodes, queue = int(given["nodecount"]), given.get("queue", "default")
    if not 0 < nodes <= 1024:
        raise Refused("node count out of realistic range")
    if queue not in _QUEUES:
        raise Refused(f"trying to add job to non-existent queue '{queue}'")
    if _minutes(given["time"]) <= 0:
        complaint = f'No Max Walltime default or for queue "{queue}" defined. Please contact system administrator'
        raise Refused(complaint)
    return nodes, queue


def _options(
    argv: Sequence[str], short: str, long: Mapping[str, int], aliases: Mapping[str, str], program: str
) -> tuple[Options, list[str]]:
    """Read options in the words of optparse when something is wrong."""
    try:
        return long_options(argv, short, long, program, aliases)
    except Refused as refused:
        word = (re.findall(r"'(.*?)'", refused.complaint) or [""])[0]
        word = word if word.startswith("-") else f"-{word}"
        what = f"{word} option requires an argument" if "requires" in refused.complaint else f"no such option: {word}"
        raise _usage(program, f"{program}: error: {what}", 2) from None


def _usage(program: str, complaint: str, code: int = 1) -> Refused:
    return Refused(
        f"Usage: {program} --help\nUsage: {program} [options] <executable> [<excutable options>]\n\n{complaint}", code
    )


def _directives(script: str) -> list[str]:
    """The words of the ``#COBALT`` lines right behind a script's first line; quotes mean nothing."""
    lines = script.splitlines()
    words: list[str] = []
    if lines and lines[0].startswith("#!"):
        for line in lines[1:]:
            if not line.startswith("#COBALT "):
                break
            words += line[len("#COBALT ") :].split()
    return words


def _minutes(text: str) -> int:
    parts = text.split(":")
    if not all(re.fullmatch(r"-?\d+", part) for part in parts) or len(parts) > 4:
        names = {1: ["minutes"], 2: ["hours", "minutes"], 3: ["hours", "minutes", "seconds"]}.get(len(parts))
        if names is None:
            reason = "time may be specified as minutes, HH:MM, HH:MM:SS, or DD:HH:MM:SS"
        else:
            value, name = next((v, n) for v, n in zip(parts, names, strict=True) if not re.fullmatch(r"-?\d+", v))
            reason = f"illegal value '{value}' for {name}"
        raise Refused(f"invalid time specification: {reason}")
    numbers = [int(part) for part in parts]
    if len(numbers) == 1:
        return numbers[0]
    if len(numbers) > 2:
        numbers.pop()
    days = numbers.pop(0) if len(numbers) == 3 else 0
    return (days * 24 + numbers[0]) * 60 + numbers[1]  # seconds do not count


def _settings(text: str) -> dict[str, str]:
    """Read ``A=1:B=2``; colons and equal signs of a value stand behind a backslash."""
    hidden = text.replace("\\:", "\0").replace("\\=", "\1")
    pairs = [item.split("=", 1) for item in re.split(r":(?=\w+\b=)", hidden)] if text else []
    for pair in pairs:
        if len(pair) != 2:
            raise Refused(f"Improperly formatted argument to env : {pair!r}")
    return {name: value.replace("\0", ":").replace("\1", "=") for name, value in pairs}


def _filled(path: str, job_id: str) -> str:
    return re.sub(r"\$(?:\{(?:jobid|COBALT_JOBID)\}|(?:jobid|COBALT_JOBID)\b)", job_id, path)


def _state(job: Job) -> str:
    if job.state is State.RUNNING:
        return "killing" if job.how is not None else "running"
    if job.state is State.HELD:
        return "user_hold"
    return {"never": "dep_fail", "dependency": "dep_hold"}.get(job.reason, "queued")


def _cell(name: str, job: Job, machine: Machine) -> str:
    request, extra, now = job.request, job.request.extra, machine.now()
    minutes = int(extra.get("minutes", int((request.limit or 0) // 60)))
    started = job.started if job.nodes else None
    left = None if started is None else max(0.0, minutes * 60 - (now - started))
    state = _state(job)
    cells = {
        "jobid": job.id, "jobname": request.name or "N/A", "user": request.user, "nodes": str(request.nodes),
        "walltime": f"{minutes // 60:02d}:{minutes % 60:02d}:00", "state": state, "score": "  0.1  ",
        "location": _merged(job.nodes) or "None",
        "short_state": "H" if "hold" in state or "fail" in state else state[0].upper(), "queue": request.queue,
        "queuedtime": clock((started or now) - job.submitted),
        "runtime": "N/A" if started is None else clock(now - started),
        "timeremaining": "N/A" if left is None else clock(left), "mode": "script", "procs": extra.get("procs", "1"),
        "preemptable": "False", "index": "None", "project": request.account or "None",
        "starttime": stamp(started, "%a %b %d %H:%M:%S %Y +0000 (UTC)", "N/A"), "args": extra.get("args", ""),
        "submittime": stamp(job.submitted, "%a %b %d %H:%M:%S %Y +0000 (UTC)"), "outputdir": request.directory,
        "outputpath": request.stdout or "None", "errorpath": request.stderr or "None", "envs": "",
        "command": request.name, "dependencies": extra.get("depends", ""), "user_list": request.user,
    }  # fmt: skip
    return cells.get(name, "-")


def _merged(nodes: Sequence[str]) -> str:
    """A list of nodes, as Cobalt shortens it: ``n[1-3]``."""
    match = [re.fullmatch(r"(\D*)(\d+)", node) for node in nodes]
    if len(nodes) < 2 or not all(match):
        return ",".join(nodes)
    numbers = sorted(int(each[2]) for each in match if each)
    prefix = next(each[1] for each in match if each)
    runs: list[list[int]] = []
    for number in numbers:
        if runs and runs[-1][-1] == number - 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return f"{prefix}[{','.join(str(run[0]) if len(run) == 1 else f'{run[0]}-{run[-1]}' for run in runs)}]"


def _tabular(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    table = [header, *rows]
    widths = [max(len(row[place]) for row in table) for place in range(len(header))]
    lines = ["".join(f"{text:<{width}}  " for text, width in zip(row, widths, strict=True)) for row in table]
    lines.insert(1, "=" * (sum(widths) + 2 * len(widths)))
    return "".join(f"{line}\n" for line in lines)


def _vertical(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    width = max(map(len, header)) + 1
    text = ""
    for row in rows:
        text += f"{header[0]}: {row[0]}\n"
        text += (
            "".join(f"    {name:<{width}}: {value}\n" for name, value in zip(header[1:], row[1:], strict=True)) + "\n"
        )
    return text
