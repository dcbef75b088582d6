"""IBM Spectrum LSF: bsub, bjobs, bkill, bstop, bresume, bhist, bacct."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from harmony.conformance.emulators import lsf_text
from harmony.conformance.emulators.dialect import Dialect, plain_environment, read_script, user_name
from harmony.conformance.emulators.lsf_options import Options, array, embedded, names, options
from harmony.conformance.emulators.lsf_text import stat
from harmony.conformance.emulators.model import (
    Call,
    Dependency,
    Job,
    NeedsInput,
    Refused,
    Reply,
    Request,
    State,
    Streams,
)

if TYPE_CHECKING:
    from harmony.conformance.emulators.engine import Machine

_QUEUES = ("normal", "batch", "short", "debug")
_DEPENDENCY = re.compile(r"(done|ended|exit|started|post_done|numdone)?\(?\s*\"?([^\s\"(),&|]+)\"?\s*(?:,[^)]*)?\)?")
_KINDS = {"done": "ok", "": "ok", "ended": "any", "exit": "notok", "started": "after", "post_done": "ok"}


class LSF(Dialect):
    """Spectrum LSF 10.1, as a site leaves it that has changed nothing."""

    name = "lsf"
    programs = ("bsub", "bjobs", "bkill", "bstop", "bresume", "bhist", "bacct")
    submitting = ("bsub",)
    telling = ("bjobs", "bhist", "bacct")
    cancel_signals = (signal.SIGINT, signal.SIGTERM)
    timeout_signals = (signal.SIGUSR2, signal.SIGINT, signal.SIGTERM)
    keep = 3600.0
    unreachable = ("LSF is down. Please wait ...\nCannot connect to LSF. Please wait ...", 255)
    refusals = (
        "User cannot use the queue. Job not submitted.",
        "Failed in an LSF library call: Communication time out. Job not submitted.",
    )

    def answer(self, call: Call, machine: Machine) -> Reply:
        """Do what a command asks, and return what it prints."""
        answers: dict[str, Callable[[Call, Machine], Reply]] = {
            "bsub": self._bsub, "bjobs": self._bjobs, "bkill": self._bkill, "bstop": self._bkill,
            "bresume": self._bkill, "bhist": self._history, "bacct": self._history,
        }  # fmt: skip
        return answers[call.program](call, machine)

    def job_id(self, number: int, index: int | None) -> str:
        """The id, as bkill takes it: ``12``, or ``12[3]`` of an array."""
        return str(number) if index is None else f"{number}[{index}]"

    def job_environment(self, job: Job, machine: Machine) -> Mapping[str, str]:
        """What the execution daemon sets."""
        request = job.request
        slots = int(request.extra["slots"])
        hosts = _spread(job.nodes, slots)
        lines = [host for host, count in hosts for _ in range(count)]
        indices = request.tasks or ()
        settings = {
            "LSB_JOBID": str(job.number),
            "LSB_JOBINDEX": str(job.index or 0),
            "LSB_BATCH_JID": job.id,
            "LSB_JOBNAME": lsf_text.full_name(job),
            "LSB_QUEUE": request.queue,
            "LSB_PROJECT_NAME": request.account,
            "LSB_HOSTS": " ".join(lines),
            "LSB_MCPU_HOSTS": "".join(f"{host} {count} " for host, count in hosts),
            "LSB_DJOB_HOSTFILE": machine.file(f"{job.id}.hostfile", "".join(f"{line}\n" for line in lines)),
            "LSB_DJOB_NUMPROC": str(slots),
            "LSB_MAX_NUM_PROCESSORS": str(slots),
            "LSB_SUB_HOST": self.server,
            "LSB_SUB_USER": request.user,
            "LS_SUBCWD": request.directory,
            "LS_EXECCWD": self.directory(job),
            "LSB_EXEC_CLUSTER": "emulated",
            "LSB_TRAPSIGS": "trap # 15 10 12 2 1",
            "LSB_RESTART": "Y" if job.restarts else "",
        }
        if indices:
            settings["LSB_JOBINDEX_STEP"] = str(indices[1] - indices[0] if len(indices) > 1 else 1)
            settings["LSB_JOBINDEX_END"] = str(indices[-1])
        for variable, path in (("LSB_OUTPUTFILE", request.stdout), ("LSB_ERRORFILE", request.stderr)):
            if path:
                settings[variable] = _filled(path, job)
        return {name: value for name, value in settings.items() if value}

    def directory(self, job: Job) -> str:
        """The working directory, with ``%J`` and ``%I`` filled in."""
        return _filled(job.request.extra.get("cwd", job.request.directory), job)

    def streams(self, job: Job) -> Streams:
        """``-o`` appends, ``-oo`` does not; without ``-o`` LSF sends mail, which ends nowhere here."""
        request = job.request
        base = request.directory
        out, error = (path and lsf_text.absolute(_filled(path, job), base) for path in (request.stdout, request.stderr))
        source = request.stdin and lsf_text.absolute(_filled(request.stdin, job), base)
        return Streams(source, out, error or "", append="overwrite" not in request.extra)

    # -- submitting

    def _bsub(self, call: Call, machine: Machine) -> Reply:
        found, rest = options(call.argv, "bsub")
        if ("V", "") in found:
            return Reply(err="IBM Spectrum LSF Standard 10.1.0.13, Apr 15 2022\n")
        if rest:
            script = read_script(rest[0], call, lambda *_: "") if _is_file(rest[0], call) else ""
            command = " ".join(rest)
            spooled = f"#!/bin/sh\n{command}\n"
        else:
            if call.stdin is None:
                raise NeedsInput
            script = spooled = call.stdin.decode("utf-8", "surrogateescape")
            command = script
        # the options of the command line count more, and so come last
        every = [*embedded(script if not rest else ""), *found]
        if not command.strip():
            raise Refused("Empty job. Job not submitted.", 255)
        request = self._request(dict(every), every, call, machine, spooled)
        made = machine.submit(request)
        default = "default " if "q" not in dict(every) else ""
        return Reply(f"Job <{made[0].number}> is submitted to {default}queue <{request.queue}>.\n")

    def _request(self, given: dict[str, str], all_given: Options, call: Call, machine: Machine, script: str) -> Request:
        name, tasks, at_once = array(given.get("J", ""))
        queue = given.get("q", _QUEUES[0]).split()[0] if given.get("q", "x").strip() else ""
        if queue not in _QUEUES:
            raise Refused(f"{queue}: No such queue. Job not submitted.", 255)
        requirements = " ".join(value for option, value in all_given if option == "R")
        nodes, cores, slots = _shape(given, requirements, machine)
        extra = {"slots": str(slots), "command": script.strip().replace("\n", ";")}
        if "cwd" in given:
            extra["cwd"] = lsf_text.absolute(given["cwd"], call.directory)
        if "oo" in given or "eo" in given:
            extra["overwrite"] = "y"
        return Request(
            script=script if script.startswith("#!") else f"#!/bin/sh\n{script}",
            name=name,
            user=user_name(),
            queue=queue,
            account=given.get("P", "default"),
            directory=call.directory,
            environment=_environment(given.get("env", "all"), call, machine),
            nodes=nodes,
            cores=cores,
            gpus=_gpus(given.get("gpu", ""), slots, nodes),
            exclusive="x" in given or "nnodes" in given,
            limit=_minutes(given["W"]) if "W" in given else None,
            stdin=given.get("i", given.get("is")),
            stdout=given.get("oo", given.get("o")),
            stderr=given.get("eo", given.get("e")),
            held="H" in given,
            requeue="r" in given,
            tasks=tasks,
            tasks_at_once=at_once,
            dependencies=_dependencies(given["w"], machine) if "w" in given else (),
            end_if_never="ti" in given,
            extra=extra,
        )

    # -- telling

    def _bjobs(self, call: Call, machine: Machine) -> Reply:
        valued = names("o u q m J P g G app sla Jd")
        plain = names("a noheader json w W l UF d p pe pi pei r s X x hms A WL WP WF sum")
        found, ids = options(call.argv, "bjobs", valued, plain)
        given = dict(found)
        jobs, missing = _selected(ids, given, machine)
        if "json" in given and "o" not in given:
            raise Refused("bjobs: The -json option must be used with the -o option.", 255)
        complaints = [f"Job <{each}> is not found" for each in missing]
        if not ids and not jobs:
            complaints = ["No job found" if "a" in given else "No unfinished job found"]
        if "json" in given:
            return Reply(lsf_text.as_json(given["o"], jobs, missing, machine), code=255 if missing else 0)
        if "l" in given or "UF" in given:
            out = "".join(lsf_text.long_form(job, machine, flat="UF" in given) for job in jobs)
        elif "o" in given:
            out = lsf_text.table(given["o"], jobs, machine, header="noheader" not in given)
        else:
            out = lsf_text.default_table(jobs, machine, wide="w" in given, header="noheader" not in given)
        return Reply(out if jobs else "", "".join(f"{line}\n" for line in complaints), 255 if missing else 0)

    def _history(self, call: Call, machine: Machine) -> Reply:
        valued = names("n u q m J P S C D f t T")
        found, ids = options(call.argv, call.program, valued, names("a l w d e p r s b UF cname x"))
        given = dict(found)
        wanted = {base for each in ids for base in (each, each.partition("[")[0])}
        known = [job for job in machine.jobs.values() if not job.foreign and machine.settings.accounting]
        ended = {(record.id, record.restarts): record for record in machine.records()}
        jobs = [
            ended.get((job.id, job.restarts), job)
            for job in known
            if not ids or {job.id, str(job.number)} & ({*ids} if job.id in ids else wanted - {job.id})
        ]
        if call.program == "bacct":
            jobs = [job for job in jobs if (job.id, job.restarts) in ended]
        elif not ids and "a" not in given:
            jobs = [job for job in jobs if job.state is not State.ENDED]
        if not jobs:
            return Reply("" if call.program == "bacct" else "No matching job found\n", code=255 if ids else 0)
        return Reply(lsf_text.history(jobs, machine, call.program, long="l" in given))

    # -- acting

    def _bkill(self, call: Call, machine: Machine) -> Reply:
        found, ids = options(call.argv, call.program, names("s J u q m g app C stat"), names("r b d h V"))
        given = dict(found)
        if not ids and not given:
            complaint = "Job ID or one of '-m', '-u' '-q' and '-J' must be specified."
            raise Refused(complaint, 255)
        number = _signal(given.get("s", {"bstop": "STOP", "bresume": "CONT"}.get(call.program, "KILL")))
        out, complaints = [], []
        if ids in ([], ["0"]):
            ids = [job.id for job in machine.queue() if not job.foreign and job.state is not State.ENDED]
        for each in ids:
            jobs = machine.find(each)
            alive = [job for job in jobs if job.state is not State.ENDED]
            if alive and all(job.foreign for job in alive):
                complaints.append(f"Job <{each}>: User permission denied")
            elif not alive:
                complaints.append(f"Job <{each}>: {'Job has already finished' if jobs else 'No matching job found'}")
            else:
                for job in alive:
                    _deliver(job, number, machine, plain="s" not in given)
                out.append(f"Job <{each}> is being {_DONE.get(number, 'signaled')}")
        text = "".join(f"{line}\n" for line in out)
        return Reply(text, "".join(f"{line}\n" for line in complaints), 255 if complaints else 0)


_DONE = {signal.SIGKILL: "terminated", signal.SIGSTOP: "stopped", signal.SIGCONT: "resumed"}


def _deliver(job: Job, number: signal.Signals, machine: Machine, *, plain: bool) -> None:
    if number is signal.SIGCONT and job.state is State.HELD:
        machine.release(job)
    elif number is signal.SIGSTOP and job.state is not State.RUNNING:
        machine.hold(job)
    elif job.state is not State.RUNNING:
        if number in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT):
            machine.cancel(job)
    elif number is signal.SIGKILL:
        machine.cancel(job, None if plain else ())
    else:
        machine.signal(job, number)


def _signal(text: str) -> signal.Signals:
    name = text.upper().removeprefix("SIG")
    try:
        return signal.Signals(int(text)) if text.isdigit() else signal.Signals[f"SIG{name}"]
    except (KeyError, ValueError):
        raise Refused(f"{text}: Illegal signal value", 255) from None


def _shape(given: Mapping[str, str], requirements: str, machine: Machine) -> tuple[int, int, int]:
    """Nodes, cores on each, and slots."""
    capacity = max(node.cores for node in machine.nodes.values())
    if "nnodes" in given:
        nodes = _count(given["nnodes"], "nnodes")
        return nodes, capacity, nodes
    slots = _count(given.get("n", "1").partition(",")[0], "n")
    per_task = int((re.search(r"affinity\[\s*(?:core|thread)\((\d+)", requirements) or ["", "1"])[1])
    tile = re.search(r"ptile=(\d+)", requirements)
    on_each = int(tile[1]) if tile else slots if "hosts=1" in requirements else max(1, capacity // per_task)
    on_each = min(on_each, slots)
    nodes = -(-slots // on_each)
    if nodes > len(machine.nodes) * 100:
        raise Refused("Too many processors requested. Job not submitted.", 255)
    return nodes, on_each * per_task, slots


def _count(text: str, option: str) -> int:
    if not text.isdigit() or text.strip("0") == "":
        raise Refused(f"Bad argument for option -{option}. Job not submitted.", 255)
    return int(text)


def _gpus(spec: str, slots: int, nodes: int) -> int:
    match = re.search(r"num=(\d+)(/task|/host)?", spec)
    if not match:
        return 0
    return int(match[1]) * (-(-slots // nodes) if match[2] == "/task" else 1)


def _minutes(spec: str) -> float:
    match = re.fullmatch(r"(?:(\d+):)?(\d+)(?:/.*)?", spec)
    if not match:
        raise Refused(f"{spec}: Bad run limit specification. Job not submitted.", 255)
    return 60.0 * (60 * int(match[1] or 0) + int(match[2]))


def _environment(spec: str, call: Call, machine: Machine) -> dict[str, str]:
    pieces = [piece.strip() for piece in spec.split(",")]
    environment = dict(call.environment) if pieces[0] == "all" else plain_environment(machine.bin)
    for piece in pieces:
        name, equals, value = piece.partition("=")
        if name.startswith("~"):
            environment.pop(name[1:], None)
        elif equals:
            environment[name] = value
        elif name not in ("all", "none") and name in call.environment:
            environment[name] = call.environment[name]
    return environment


def _dependencies(text: str, machine: Machine) -> tuple[Dependency, ...]:
    """Read ``done(12) && ended("name")``; with ``||`` one of them is enough."""
    found = []
    for piece in re.split(r"&&|\|\|", text.strip()):
        match = _DEPENDENCY.fullmatch(piece.strip())
        if not match or (match[1] or "") not in _KINDS:
            raise Refused(f"{text}: Dependency condition syntax error. Job not submitted.", 255)
        named = [job for job in machine.jobs.values() if job.request.name == match[2] and not job.foreign]
        ids = (str(named[-1].number),) if named else (match[2],)
        if not machine.find(ids[0]):
            raise Refused(f"{match[2]}: No matching job found. Job not submitted.", 255)
        found.append(Dependency(_KINDS[match[1] or ""], ids, alternatives="||" in text))
    return tuple(found)


def _selected(ids: list[str], given: Mapping[str, str], machine: Machine) -> tuple[list[Job], list[str]]:
    """The jobs that bjobs is asked about, and the ids of which it knows nothing."""
    if ids and ids != ["0"]:
        return [job for each in ids for job in machine.find(each)], [each for each in ids if not machine.find(each)]
    user = given.get("u", user_name())
    jobs = [job for job in machine.queue() if user in ("all", job.request.user)]
    if "a" not in given:
        ended = "d" in given
        jobs = [job for job in jobs if (job.state is State.ENDED) == ended]
    if "r" in given or "p" in given:
        wanted = {"RUN"} if "r" in given else {"PEND"}
        jobs = [job for job in jobs if stat(job) in wanted]
    for option, attribute in (("q", "queue"), ("J", "name"), ("P", "account")):
        if option in given:
            jobs = [job for job in jobs if getattr(job.request, attribute) == given[option]]
    return jobs, []


def _spread(nodes: Sequence[str], slots: int) -> list[tuple[str, int]]:
    each = -(-slots // max(1, len(nodes)))
    return [(node, min(each, slots - each * place)) for place, node in enumerate(nodes)]


def _filled(path: str, job: Job) -> str:
    return path.replace("%J", str(job.number)).replace("%I", str(job.index or 0))


def _is_file(path: str, call: Call) -> bool:
    try:
        read_script(path, call, lambda *_: "")
    except (Refused, UnicodeError):
        return False
    return True
