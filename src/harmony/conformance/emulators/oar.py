"""OAR: oarsub, oarstat, oardel, oarhold, oarresume."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from harmony.conformance.emulators import oar_text
from harmony.conformance.emulators.dialect import Dialect, plain_environment, user_name
from harmony.conformance.emulators.model import Call, Dependency, How, Job, Refused, Reply, Request, State, Streams
from harmony.conformance.emulators.options import MAYBE, NONE, ONE, Options, long_options

if TYPE_CHECKING:
    from harmony.conformance.emulators.engine import Machine


def options_with(kind: int, names: str) -> dict[str, int]:
    """So many options of one kind."""
    return dict.fromkeys(names.split(), kind)


_QUEUES = ("default", "admin", "besteffort", "debug")
_LONG = {
    **options_with(ONE, "resource queue property reservation checkpoint notify type directory name project array"),
    **options_with(ONE, "anterior array-param-file signal stdout stderr resubmit import-job-key-from-file"),
    **options_with(ONE, "export-job-key-to-file import-job-key-inline-priv"),
    **options_with(NONE, "interactive help hold scanscript xml yaml json dumper use-job-key version"),
    "connect": MAYBE,
}
_ALIASES = {
    "l": "resource", "q": "queue", "p": "property", "r": "reservation", "t": "type", "d": "directory", "n": "name",
    "a": "anterior", "O": "stdout", "E": "stderr", "i": "import-job-key-from-file", "e": "export-job-key-to-file",
    "I": "interactive", "C": "connect", "h": "help", "S": "scanscript", "X": "xml", "Y": "yaml", "J": "json",
    "D": "dumper", "k": "use-job-key", "V": "version",
}  # fmt: skip
_SHORT = "l:q:p:r:t:d:n:a:O:E:i:e:IC::hSXYJDkVv"
_STAT_LONG = {
    **options_with(MAYBE, "job user array"),
    **options_with(ONE, "gantt accounting sql format"),
    **options_with(NONE, "help version full state compact events properties xml yaml json dumper"),
}
_STAT_ALIASES = {
    "j": "job", "u": "user", "f": "full", "s": "state", "c": "compact", "g": "gantt", "e": "events", "p": "properties",
    "X": "xml", "Y": "yaml", "J": "json", "D": "dumper", "h": "help", "V": "version",
}  # fmt: skip
_DIRECTIVE = re.compile(r"^#OAR\s+(--?[a-zA-Z-]+)(?:\s+|=)?(.*?)\s*$")
_NODES = ("nodes", "host", "network_address")
_FILE = re.compile(r"[a-zA-Z0-9_.\/\-\%\\ ]+")


class OAR(Dialect):
    """OAR 2.5 with its default admission rules."""

    name = "oar"
    programs = ("oarsub", "oarstat", "oardel", "oarhold", "oarresume")
    submitting = ("oarsub",)
    telling = ("oarstat",)
    cancel_signals = ()  # oarexec kills at once
    timeout_signals = ()
    keep = 7 * 86400.0  # its database forgets nothing
    unreachable = ("DB connection error, exiting.", 1)
    refusals = (
        "# ADMISSION RULE> You are not allowed to submit jobs\n# Error: please verify your job submission syntax.",
        "# Error: cannot connect to executor frontend:6666. Job is killed.",
    )

    def answer(self, call: Call, machine: Machine) -> Reply:
        """Do what a command asks, and return what it prints."""
        if call.program == "oarsub":
            return self._submit(call, machine)
        if call.program == "oarstat":
            return self._tell(call, machine)
        if call.program == "oardel":
            return self._delete(call, machine)
        for each in call.argv:
            for job in machine.find(each):
                machine.hold(job) if call.program == "oarhold" else machine.release(job)
        return Reply(
            "".join(
                f"[{each}] {call.program[3:].capitalize()} request was sent to the OAR server.\n" for each in call.argv
            )
        )

    def job_id(self, number: int, index: int | None) -> str:
        """The id: each job of an array has a number of its own."""
        return str(number)

    def job_environment(self, job: Job, machine: Machine) -> Mapping[str, str]:
        """What oarexec sets."""
        request, streams = job.request, self.streams(job)
        lines = [node for node in job.nodes for _ in range(request.cores)]
        nodes = machine.file(f"{job.id}.nodes", "".join(f"{line}\n" for line in lines))
        seconds = int(request.limit or 7200)
        pairs = {
            "JOBID": job.id, "JOB_ID": job.id, "ARRAYID": oar_text.array_id(job), "ARRAY_ID": oar_text.array_id(job),
            "ARRAYINDEX": request.extra["index"], "ARRAY_INDEX": request.extra["index"], "USER": request.user,
            "WORKDIR": request.directory, "O_WORKDIR": request.directory, "WORKING_DIRECTORY": request.directory,
            "FILE_NODES": nodes, "NODEFILE": nodes, "NODE_FILE": nodes, "RESOURCE_FILE": nodes,
            "RESOURCE_PROPERTIES_FILE": nodes, "STDOUT": streams.stdout or "", "STDERR": streams.stderr or "",
            "JOB_NAME": request.name, "PROJECT_NAME": request.account, "JOB_WALLTIME": oar_text.duration(seconds),
            "JOB_WALLTIME_SECONDS": str(seconds),
        }  # fmt: skip
        return {**{f"OAR_{name}": value for name, value in pairs.items()}, "SHLVL": "0", "SUDO_COMMAND": "OAR"}

    def streams(self, job: Job) -> Streams:
        """Files named after the job, where it starts."""
        request = job.request
        middle = f".{request.name}" if request.name else ""
        out, error = (
            os.path.join(request.directory, (path or f"OAR{middle}.%jobid%.{word}").replace("%jobid%", job.id))
            for path, word in ((request.stdout, "stdout"), (request.stderr, "stderr"))
        )
        return Streams(None, out, error, append=True)

    # -- submitting

    def _submit(self, call: Call, machine: Machine) -> Reply:
        found, rest = _options(call.argv, _SHORT, _LONG, _ALIASES, permute=True)
        given = {option: value or "" for option, value in found}
        if "version" in given:
            return Reply("OAR version: 2.5.9\n")
        if len(rest) != 1:
            raise Refused("Usage: oarsub [options] [-I|-C [<job id>]|-r <start date>[, <end date>]|<script>]", 5)
        if "scanscript" in given:
            found = [*_scanned(rest[0], call), *found]
            given = {option: value or "" for option, value in found}
        request = self._request(rest[0], given, found, call, machine)
        parameters = _parameters(given["array-param-file"], call) if "array-param-file" in given else None
        count = len(parameters) if parameters is not None else _number(given.get("array", "1"))
        made: list[Job] = []
        for index in range(count):
            words = f"{rest[0]} {parameters[index]}" if parameters else rest[0]
            extra = {**request.extra, "index": str(index + 1), "command": words}
            if made:
                extra["array"] = made[0].id
            script = f"#!/bin/bash\nexec bash -c {shlex.quote(words)}\n"
            made += machine.submit(replace(request, script=script, extra=extra))
        if "json" in given:
            return Reply("".join(json.dumps({"job_id": job.number}, indent=3) + "\n" for job in made))
        lines = [f"OAR_JOB_ID={job.id}" for job in made] + ([f"OAR_ARRAY_ID={made[0].id}"] if count > 1 else [])
        return Reply("".join(f"{line}\n" for line in lines))

    def _request(self, command: str, given: Mapping[str, str], found: Options, call: Call, machine: Machine) -> Request:
        wanted = given.get("resource", "/resource_id=1")
        nodes, cores, limit, gpus = _resources(wanted, machine)
        for name in ("stdout", "stderr"):
            if name in given and not _FILE.fullmatch(given[name]):
                raise Refused(f"# Error: invalid {name} file name (bad character)", 244 - (name == "stderr"))
        queue = given.get("queue", "default")
        if queue not in _QUEUES:
            raise Refused(f"# Error: queue '{queue}' does not exist", 248)
        before = [value or "" for option, value in found if option == "anterior"]
        types = [value or "" for option, value in found if option == "type"]
        return Request(
            script="",
            name=given.get("name", ""),
            user=user_name(),
            queue="besteffort" if "besteffort" in types else queue,
            account=given.get("project", "default"),
            directory=os.path.normpath(os.path.join(call.directory, given.get("directory", "."))),
            environment={**plain_environment(machine.bin), "TERM": "unknown"},
            nodes=nodes,
            cores=cores,
            gpus=gpus,
            limit=limit,
            stdout=given.get("stdout"),
            stderr=given.get("stderr"),
            held="hold" in given,
            requeue="besteffort" in types and "idempotent" in types,
            dependencies=tuple(Dependency("any", (each,)) for each in before),
            extra={"wanted": wanted, "types": ",".join(types), "properties": given.get("property", ""),
                   "before": " ".join(before), "initial": f"oarsub {' '.join(call.argv)}"},
        )  # fmt: skip

    # -- telling

    def _tell(self, call: Call, machine: Machine) -> Reply:
        found, _ = _options(_attached(call.argv), "j::u::fscg:epXYJDhV", _STAT_LONG, _STAT_ALIASES, permute=True)
        given = {option: value or "" for option, value in found}
        ids = [value for option, value in found if option == "job" and value]
        if "version" in given:
            return Reply("OAR version: 2.5.9\n")
        if "state" in given and not ids:
            raise Refused("--state can only be used with an id")
        jobs = [job for each in ids for job in machine.find(each)]
        if not ids:
            jobs = machine.queue()
            if given.get("array"):
                jobs = [job for job in jobs if oar_text.array_id(job) == given["array"]]
            else:
                user = (given["user"] or user_name()) if "user" in given else None
                jobs = [job for job in jobs if job.state is not State.ENDED and user in (None, job.request.user)]
        if "state" in given:
            states = {job.id: oar_text.state(job) for job in jobs}
            return Reply(
                oar_text.as_json(states) if "json" in given else "".join(f"{each}: {states[each]}\n" for each in states)
            )
        if "json" in given:
            return Reply(
                oar_text.as_json({job.id: oar_text.data(job, self.streams(job)) for job in jobs}) if jobs else ""
            )
        if "full" in given:
            return Reply("".join(oar_text.full(oar_text.data(job, self.streams(job))) for job in jobs))
        return Reply(oar_text.table(jobs) if jobs else "")

    # -- acting

    def _delete(self, call: Call, machine: Machine) -> Reply:
        long = {"signal": ONE, "sql": ONE, "array": NONE, "checkpoint": NONE, "besteffort": NONE, "help": NONE,
                "version": NONE, "force-terminate-finishing-job": NONE}  # fmt: skip
        found, ids = _options(call.argv, "s:cbhV", long, {"s": "signal"}, permute=True)
        given = {option: value or "" for option, value in found}
        if not ids:
            raise Refused("Usage: oardel [options] <job_id> [job_id [...] ] ")
        out, err, code, done = "", "", 0, []
        if "array" in given:
            ids = [job.id for job in machine.queue() if oar_text.array_id(job) in ids]
        for each in ids:
            if not each.isdigit():
                err, code = f'{err}[ERROR] "{each}" is not a valid job identifier\n', 4
                continue
            job = next(iter(machine.find(each)), None)
            mine = job is not None and not job.foreign
            if "signal" in given:
                text, complaint, failed = _signalled(each, job if mine else None, given["signal"], machine)
            else:
                text, complaint, failed = _deleted(each, job if mine else None, machine)
                done += [each] if not failed else []
            out, err, code = out + text, err + complaint, failed or code
        if done:
            out += f"The job(s) [ {' '.join(done)} ] will be deleted in the near future.\n"
        return Reply(out, err, code)


def _deleted(job_id: str, job: Job | None, machine: Machine) -> tuple[str, str, int]:
    start = f"Deleting the job = {job_id} ..."
    if job is None:
        return f"{start}ERROR.\n", f"Cannot frag {job_id} ; You are not the right user.\n", 1
    if job.how is How.CANCELLED or job.note == "frag":
        return f"{start}ERROR.\n", f"Cannot frag {job_id} ; This job was already killed.\n", 6
    if job.state is State.ENDED:
        job.note = "frag"
    machine.cancel(job)
    return f"{start}REGISTERED.\n", "", 0


def _signalled(job_id: str, job: Job | None, name: str, machine: Machine) -> tuple[str, str, int]:
    start = f"Signaling the job {job_id} with {name} signal.\n"
    if job is None:
        return f"{start}ERROR.\n", f"Cannot signal {job_id} ; You are not the right user.\n", 1
    if job.state is not State.RUNNING:
        return f"{start}ERROR.\n", f"Cannot signal {job_id} ; This job is not running.\n", 5
    number = int(name) if name.isdigit() else signal.Signals[f"SIG{name.upper().removeprefix('SIG')}"]
    machine.signal(job, number, leader_only=True)
    end = f"DONE.\nThe job {job_id} was notified to signal itself with {name} on {job.nodes[0]}.\n"
    return start + end, "", 0


def _options(
    argv: Sequence[str], short: str, long: Mapping[str, int], aliases: Mapping[str, str], *, permute: bool
) -> tuple[Options, list[str]]:
    """Read options in the manner of Perl's Getopt::Long: they may stand behind other words."""
    found: Options = []
    words, left = list(argv), []
    while words:
        try:
            more, words = long_options(words, short, long, "oar", aliases)
        except Refused as refused:
            name = (re.findall(r"'-*(.*?)'", refused.complaint) or [""])[0]
            lacking = "requires" in refused.complaint
            what = f"Option {name} requires an argument" if lacking else f"Unknown option: {name}"
            raise Refused(what) from None
        found += more
        if words:
            left.append(words.pop(0))
    return found, left


def _attached(argv: Sequence[str]) -> list[str]:
    """Oarstat takes the word behind -j and -u for their value, if it is none of its options."""
    words: list[str] = []
    for word in argv:
        if words and re.fullmatch(r"-\w*[ju]|--(?:job|user|array)", words[-1]) and not word.startswith("-"):
            words[-1] += f"={word}" if words[-1].startswith("--") else word
        else:
            words.append(word)
    return words


def _scanned(path: str, call: Call) -> Options:
    """The options in the ``#OAR`` lines of a script."""
    name = path.split(maxsplit=1)[0]
    try:
        with open(os.path.join(call.directory, name), encoding="utf-8", errors="surrogateescape") as file:
            lines = file.read().splitlines()
    except OSError:
        raise Refused(f"[ERROR] Cannot open the file {name}.", 12) from None
    found: Options = []
    complaints = []
    for line in lines[1:] if lines and lines[0].startswith("#") else []:
        if not re.match(r"#OAR\s+", line):
            continue
        match = _DIRECTIVE.match(line)
        option = match[1].lstrip("-") if match else ""
        option = _ALIASES.get(option, option)
        if not match or option not in _LONG:
            complaints.append(f"/!\\ Not able to scan file line: {line}")
        else:
            found.append((option, match[2]))
    if complaints:
        complaints.append(f"[ERROR] {len(complaints)} error(s) encountered while parsing the file {name}.")
        raise Refused("\n".join(complaints), 12)
    return found


def _resources(text: str, machine: Machine) -> tuple[int, int, float, int]:
    """Nodes, cores on each, seconds, and GPUs on each."""
    limit = 7200.0
    match = re.search(r"[\s,]*walltime\s*=\s*([\d:]+)\s*$", text)
    if match:
        hours, minutes, seconds = ([*map(int, match[1].split(":")), 0, 0])[:3]
        limit = hours * 3600.0 + minutes * 60 + seconds
        text = text[: match.start()]
    counts: dict[str, int] = {}
    text = re.sub(r"\{.*?\}", "", text)
    for piece in text.strip().strip("/,").split("/"):
        if not piece.strip():
            continue
        level = re.fullmatch(r"\s*(\w+)\s*=\s*(\d+|ALL|BEST|BESTHALF)\s*", piece)
        if not level:
            raise Refused(f"# Error: cannot recognize the resource description: {piece}", 18)
        counts[level[1]] = int(level[2]) if level[2].isdigit() else 1
    capacity = max(node.cores for node in machine.nodes.values())
    nodes = next((counts[name] for name in _NODES if name in counts), 0)
    each = counts.get("cpu", 1) * counts.get("core", counts.get("resource_id", 1)) * counts.get("gpu", 1)
    whole = nodes and not {"cpu", "core", "resource_id", "gpu", "thread"} & set(counts)
    if not nodes:
        nodes, each = -(-each // capacity), min(each, capacity)
    if nodes > len(machine.nodes) or each > capacity:
        hint = "# Error: please verify your job submission syntax."
        raise Refused(f"# There are not enough resources for your request\n{hint}", 8)
    return nodes, capacity if whole else each, limit, counts.get("gpu", 0)


def _number(text: str) -> int:
    if not re.fullmatch(r"-?\d+", text):
        raise Refused(f'Value "{text}" invalid for option array (number expected)')
    if int(text) <= 0:
        raise Refused("# Error: an array job must have a positive number of sub-jobs.", 6)
    return int(text)


def _parameters(path: str, call: Call) -> list[str]:
    try:
        with open(os.path.join(call.directory, path), encoding="utf-8") as file:
            lines = [line.partition("#")[0].rstrip("\n") for line in file]
    except OSError:
        raise Refused(f"[ERROR] Cannot open the parameter file {path}.", 12) from None
    return [line for line in lines if line.strip()]
