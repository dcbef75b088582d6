"""Emulated Grid Engine, as Son of Grid Engine 8.1.9 speaks."""

from __future__ import annotations

import os
import re
import shlex
import signal
from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar

from harmony.conformance.emulators import sge_tables as tables
from harmony.conformance.emulators.dialect import Dialect, plain_environment, read_script, user_name
from harmony.conformance.emulators.engine import Machine
from harmony.conformance.emulators.model import (
    Call,
    Dependency,
    How,
    Job,
    NeedsInput,
    Refused,
    Reply,
    Request,
    State,
    Streams,
)
from harmony.conformance.emulators.options import directive_lines, words

_FLAGS = {"cwd", "V", "h", "notify", "terse", "clear", "hard", "soft", "verify", "nostdin", "help"}
_VALUES = {"N", "o", "e", "i", "j", "wd", "v", "l", "q", "P", "A", "t", "tc", "hold_jid", "hold_jid_ad", "S", "b",
           "sync",
           "r", "m", "M", "p", "R", "ar", "shell", "now", "a", "C", "w", "js", "binding", "masterq", "ckpt", "c", "dl",
           "sc", "ac", "dc", "display", "pty", "jsv", "@"}  # fmt: skip
_MORE_THAN_ONCE = ("l", "v", "hold_jid")
_RESOURCES = {"h_rt", "s_rt", "h_vmem", "s_vmem", "mem_free", "virtual_free", "h_cpu", "s_cpu", "h_data", "h_fsize",
              "hostname",
              "h", "arch", "gpu", "exclusive", "mem_total", "num_proc", "slots", "qname", "q", "h_stack", "h_core",
              "m_mem_free"}  # fmt: skip
_PES = ("smp", "mpi", "make", "orte")
_QUEUES = ("main.q", "short.q", "all.q")


class GridEngine(Dialect):
    """Grid Engine: a job that has ended is gone from qstat at once, and known to qacct; its queue is ``main.q``."""

    name = "sge"
    programs = ("qsub", "qstat", "qdel", "qacct", "qhold", "qrls", "qmod")
    submitting = ("qsub",)
    telling = ("qstat", "qacct")
    cancel_signals: ClassVar[Sequence[signal.Signals]] = ()
    timeout_signals: ClassVar[Sequence[signal.Signals]] = ()
    keep = 0.0
    stuck = True
    orders: ClassVar[Mapping[int, How]] = {99: How.REQUEUED, 100: How.LAUNCH_FAILED}
    unreachable: ClassVar[tuple[str, int]] = (
        (
            "error: commlib error: got select error (Connection refused)\n"
            'error: unable to contact qmaster using port 6444 on host "emulator"'
        ),
        1,
    )
    refusals: ClassVar[tuple[str, str]] = (
        'Unable to run job: job rejected: no access to project "none" for user.\nExiting.',
        "Unable to run job: got no response from qmaster: timeout.\nExiting.",
    )

    def answer(self, call: Call, machine: Machine) -> Reply:
        """Do what a command asks."""
        if call.argv[:1] == ("-help",):
            return Reply(f"SGE 8.1.9\nusage: {call.program} [options]\n")
        if call.program == "qsub":
            return self._qsub(call, machine)
        if call.program == "qstat":
            return tables.qstat(call, machine)
        if call.program == "qacct":
            return tables.qacct(call, machine)
        return _qdel(call, machine) if call.program == "qdel" else _change(call, machine)

    def status_environment(self) -> Mapping[str, str]:
        """What users of Grid Engine have in their environment."""
        return {"SGE_ROOT": "/opt/sge", "SGE_CELL": "default"}

    def job_id(self, number: int, index: int | None) -> str:
        """``12``, or ``12.3`` for a task."""
        return str(number) if index is None else f"{number}.{index}"

    def directory(self, job: Job) -> str:
        """The home directory, unless ``-cwd`` or ``-wd`` says otherwise."""
        return job.request.extra.get("directory") or job.request.environment.get("HOME", "/")

    def streams(self, job: Job) -> Streams:
        """Where a job's streams go; Grid Engine adds to files that are there."""
        request = job.request
        out = self._path(request.stdout, "o", job)
        err = "" if request.extra.get("j") in ("y", "yes") else self._path(request.stderr, "e", job)
        return Streams(request.stdin, out, err, append=True)

    def _path(self, given: str | None, letter: str, job: Job) -> str:
        default = f"{job.request.name}.{letter}{job.number}" + ("" if job.index is None else f".{job.index}")
        host, colon, rest = (given or "").partition(":")
        path = rest if colon and "/" not in host else given or ""
        values = {"HOME": job.request.environment.get("HOME", ""), "USER": job.request.user, "JOB_ID": str(job.number),
                  "JOB_NAME": job.request.name, "HOSTNAME": job.nodes[0] if job.nodes else "",
                  "TASK_ID": "undefined" if job.index is None else str(job.index)}  # fmt: skip
        for name, value in values.items():
            path = path.replace(f"${name}", value)
        full = os.path.join(self.directory(job), path or default)
        return os.path.join(full, default) if os.path.isdir(full) else full

    def job_environment(self, job: Job, machine: Machine) -> Mapping[str, str]:
        """What Grid Engine sets in a job."""
        request, streams = job.request, self.streams(job)
        slots = request.nodes * request.cores
        found = {
            "JOB_ID": str(job.number), "JOB_NAME": request.name, "REQUEST": request.name, "QUEUE": request.queue,
            "SGE_TASK_ID": "undefined" if job.index is None else str(job.index), "NSLOTS": str(slots),
            "NHOSTS": str(len(job.nodes)), "NQUEUES": str(len(job.nodes)), "ENVIRONMENT": "BATCH", "ARC": "lx-amd64",
            "RESTARTED": str(int(job.restarts > 0)), "SGE_STDOUT_PATH": streams.stdout or "/dev/null",
            "SGE_STDERR_PATH": streams.stderr or streams.stdout or "/dev/null", "SGE_CWD_PATH": self.directory(job),
            "TMPDIR": "/tmp", "TMP": "/tmp", "HOSTNAME": job.nodes[0], **self.status_environment(),  # noqa: S108
        }  # fmt: skip
        tasks = request.tasks
        first, last, step = (
            ("undefined",) * 3 if not tasks else (str(tasks[0]), str(tasks[-1]), request.extra.get("step", "1"))
        )
        found |= {"SGE_TASK_FIRST": first, "SGE_TASK_LAST": last, "SGE_TASK_STEPSIZE": step}
        if request.extra.get("pe"):
            found["PE"] = request.extra["pe"]
        return found

    def node_files(self, job: Job) -> Mapping[str, str]:
        """``PE_HOSTFILE``, in a parallel environment."""
        if not job.request.extra.get("pe"):
            return {}
        lines = [f"{node} {job.request.cores} {job.request.queue}@{node} UNDEFINED\n" for node in job.nodes]
        return {"PE_HOSTFILE": "".join(lines)}

    def _qsub(self, call: Call, machine: Machine) -> Reply:
        given, rest = _options(call.argv)
        for name in ("sync", "now", "verify", "pty"):
            if given.get(name, "n") not in ("n", "no"):
                raise Refused(f"qsub: this emulated Grid Engine has no -{name}")
        binary = given.get("b") in ("y", "yes")
        if binary:
            if not rest:
                raise Refused("qsub: command required for a binary job")
            script = f"#!/bin/sh\nexec {shlex.join(rest)}\n"
        elif rest:
            script = read_script(
                rest[0],
                call,
                lambda path, why: f"Unable to read script file because of error: error opening {path}: {why}",
            )
        elif call.stdin is None:
            raise NeedsInput
        else:
            script = call.stdin.decode("utf-8", "surrogateescape")
        if not binary:
            inner: list[str] = []
            for line in directive_lines(script, given.get("C", "#$"), everywhere=True):
                inner += words(line, "qsub", escapes="")
            embedded, more = _options(inner)
            if more:
                raise Refused(f'qsub: Unknown option "{more[0]}"')
            for name, value in embedded.items():
                given[name] = (
                    f"{value},{given[name]}" if name in _MORE_THAN_ONCE and name in given else given.get(name, value)
                )
        made = machine.submit(_request(script, [] if binary else rest[1:], rest, given, call, machine))
        return Reply(_taken(made, given))


def _taken(made: list[Job], given: Mapping[str, str]) -> str:
    job = made[0]
    array = (
        f".{made[0].index}-{made[-1].index}:{given.get('t', '').partition(':')[2] or 1}"
        if job.index is not None
        else ""
    )
    if "terse" in given:
        return f"{job.number}{array}\n"
    return f'Your job{"-array" if array else ""} {job.number}{array} ("{job.request.name}") has been submitted\n'


def _options(argv: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """Read Grid Engine's options up to the first word that is none; later ones win, resource requests add up."""
    given: dict[str, str] = {}
    rest = list(argv)
    while rest and rest[0].startswith("-") and rest[0] != "-":
        name = rest.pop(0)[1:]
        if name in _FLAGS:
            given[name] = ""
        elif name == "pe":
            if len(rest) < 2:
                raise Refused("qsub: ERROR! -pe option must have two arguments")
            given["pe"], given["slots"] = rest.pop(0), rest.pop(0)
        elif name in _VALUES:
            if not rest:
                raise Refused(f"qsub: ERROR! -{name} option must have argument")
            value = rest.pop(0)
            given[name] = f"{given[name]},{value}" if name in _MORE_THAN_ONCE and name in given else value
        elif name:
            raise Refused(f'qsub: Unknown option "-{name}"')
        else:
            break
    return given, rest


def _rejected(why: str) -> Refused:
    return Refused(f"Unable to run job: {why}\nExiting.")


def _request(
    script: str, arguments: list[str], rest: list[str], given: dict[str, str], call: Call, machine: Machine
) -> Request:
    name = given.get("N") or (os.path.basename(rest[0]) if rest else "STDIN")
    if "N" in given and (name[:1].isdigit() or set(name) & set("/\n\t\r@\\*:")):
        why = "cannot start with a digit" if name[:1].isdigit() else "contains a character that is not allowed"
        raise _rejected(f'denied: "{name}" is not a valid object name ({why}).')
    queue = given.get("q", _QUEUES[0]).partition("@")[0]
    if queue not in _QUEUES:
        raise _rejected(f'Job was rejected because job requests unknown queue "{queue}".')
    resources = dict(part.partition("=")[::2] for part in given.get("l", "").split(",") if part)
    for resource in resources:
        if resource not in _RESOURCES:
            raise _rejected(f'unknown resource "{resource}".')
    nodes, cores = _shape(given, machine)
    tasks = _tasks(given["t"]) if "t" in given else None
    if "step" not in given and tasks and len(tasks) > 1:
        given["step"] = str(tasks[1] - tasks[0])
    if given.keys() & {"cwd", "wd"}:
        given["directory"] = os.path.join(call.directory, given.get("wd", ""))
    return Request(
        script=_with_shell(script, given.get("S")),
        arguments=tuple(arguments),
        name=name,
        user=user_name(),
        queue=queue,
        account=given.get("A", "sge"),
        directory=call.directory,
        environment=_environment(given, call, machine),
        nodes=nodes,
        cores=cores,
        gpus=int(resources.get("gpu") or 0),
        exclusive=resources.get("exclusive", "").lower() in ("true", "1"),
        limit=_seconds(resources["h_rt"]) if "h_rt" in resources else 10.0 if queue == "short.q" else None,
        stdin=given.get("i"),
        stdout=given.get("o"),
        stderr=given.get("e"),
        held="h" in given,
        requeue=given.get("r") in ("y", "yes"),
        tasks=tasks,
        tasks_at_once=int(given.get("tc") or 0),
        dependencies=_dependencies(given.get("hold_jid", ""), machine),
        extra={**given, **{f"l.{key}": value for key, value in resources.items()}},
    )


def _shape(given: Mapping[str, str], machine: Machine) -> tuple[int, int]:
    if "pe" not in given:
        return 1, 1
    if given["pe"] not in _PES:
        raise _rejected(f'job rejected: the requested parallel environment "{given["pe"]}" does not exist.')
    first = re.match(r"\d+", given["slots"])
    slots = int(first[0]) if first else 1
    if given["pe"] == "smp" or slots <= machine.settings.cores:
        return 1, slots
    nodes = -(-slots // machine.settings.cores)
    return nodes, -(-slots // nodes)


def _with_shell(script: str, shell: str | None) -> str:
    """``-S`` wins over the script's own ``#!`` line."""
    if shell is None:
        return script
    first, newline, rest = script.partition("\n")
    return f"#!{shell}\n{rest if first.startswith('#!') else first + newline + rest}"


def _tasks(text: str) -> tuple[int, ...]:
    match = re.fullmatch(r"(\d+)(?:-(\d+)(?::(\d+))?)?", text)
    if match is None or int(match[1]) < 1 or int(match[2] or match[1]) < int(match[1]):
        raise Refused(
            'qsub: Numerical value invalid!\nThe initial portion of string "' + text + '" contains no decimal number'
        )
    return tuple(range(int(match[1]), int(match[2] or match[1]) + 1, int(match[3] or 1)))


def _seconds(text: str) -> float:
    parts = text.split(":")
    if not all(part.isdigit() or not part for part in parts) or len(parts) > 3:
        raise _rejected(f'wrong type for value "{text}" of resource "h_rt".')
    numbers = [int(part or 0) for part in parts]
    return float(sum(number * weight for number, weight in zip(reversed(numbers), (1, 60, 3600), strict=False)))


def _dependencies(text: str, machine: Machine) -> tuple[Dependency, ...]:
    ids = []
    for part in filter(None, text.split(",")):
        named = [str(job.number) for job in machine.queue() if job.request.name == part and not job.foreign]
        ids += named or [part]
    return (Dependency("any", tuple(ids)),) if ids else ()


def _environment(given: Mapping[str, str], call: Call, machine: Machine) -> dict[str, str]:
    mine = call.environment
    found = {**mine} if "V" in given else plain_environment(machine.bin)
    for part in filter(None, given.get("v", "").split(",")):
        name, equals, value = part.partition("=")
        found[name] = value if equals else mine.get(name, "")
    for name in ("HOME", "LOGNAME", "PATH", "SHELL", "MAIL", "TZ"):
        if name in mine:
            found[f"SGE_O_{name}"] = mine[name]
    return {**found, "SGE_O_WORKDIR": call.directory, "SGE_O_HOST": GridEngine.server}


def _chosen(words_: Sequence[str], machine: Machine) -> Iterator[tuple[str, list[Job]]]:
    """Each id of a command line, with the jobs that it means: ``12``, ``12.3``, ``12.1-5``."""
    for word in words_:
        for job_id in word.split(","):
            match = re.fullmatch(r"(\d+)\.(\d+)-(\d+)(?::\d+)?", job_id)
            found = machine.find(match[1] if match else job_id)
            if match:
                found = [job for job in found if job.index is not None and int(match[2]) <= job.index <= int(match[3])]
            yield job_id, [job for job in found if job.state is not State.ENDED]


def _qdel(call: Call, machine: Machine) -> Reply:
    rest = list(call.argv)
    ids: list[str] = []
    tasks = ""
    while rest:
        word = rest.pop(0)
        if word == "-t":
            tasks = rest.pop(0) if rest else ""
        elif word == "-u":
            owner = rest.pop(0) if rest else ""
            ids += [job.id for job in machine.queue() if job.request.user == owner and job.state is not State.ENDED]
        elif word != "-f":
            ids += [f"{word}.{tasks}" if tasks else word]
    if not ids:
        raise Refused("qdel: No jobs given")
    me, said, complaints = user_name(), [], 0
    for job_id, jobs in _chosen(ids, machine):
        if not jobs:
            said.append(f'denied: job "{job_id}" does not exist')
            complaints += 1
        for job in jobs:
            if job.foreign:
                said.append(f'denied: user "{me}" does not have permission to delete job {job.number}')
                complaints += 1
                continue
            what = f"job {job.number}" if job.index is None else f"job-array task {job.id}"
            running = job.state is State.RUNNING
            said.append(f"{me} has registered the {what} for deletion" if running else f"{me} has deleted {what}")
            machine.cancel(job, (signal.SIGUSR2,) if "notify" in job.request.extra else ())
    return Reply("".join(f"{line}\n" for line in said), code=1 if complaints == len(said) else 0)


def _change(call: Call, machine: Machine) -> Reply:
    """Answer qhold, qrls, and ``qmod -cj``, which lets a job in error state try again."""
    out = ""
    for job_id, jobs in _chosen([word for word in call.argv if not word.startswith("-")], machine):
        if not jobs:
            return Reply(out + f'denied: job "{job_id}" does not exist\n', code=1)
        for job in jobs:
            (machine.hold if call.program == "qhold" else machine.release)(job)
            out += (
                f"modified hold of job {job.id}\n"
                if call.program != "qmod"
                else f"{user_name()} has cleared error state of job {job.id}\n"
            )
    return Reply(out)
