"""Flux: flux batch, submit, run, jobs, cancel, job, hostlist, uri, version."""

from __future__ import annotations

import shlex
import signal
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from harmony.conformance.emulators import flux_text
from harmony.conformance.emulators.dialect import Dialect, user_name
from harmony.conformance.emulators.flux_options import (
    JOBS_ALIASES,
    LONG,
    changes,
    directives,
    environment,
    options,
    seconds,
    shape,
    usage,
)
from harmony.conformance.emulators.flux_text import f58, fluid, parsed
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
from harmony.conformance.emulators.options import NONE, ONE, Options, long_options
from harmony.conformance.emulators.processes import copies

if TYPE_CHECKING:
    from harmony.conformance.emulators.engine import Machine

_QUEUES = ("batch", "debug")
_KINDS = {"after": "after", "afterstart": "after", "afterany": "any", "afterok": "ok", "afternotok": "notok",
          "afterexcept": "notok"}  # fmt: skip


class Flux(Dialect):
    """Flux (flux-core 0.88) as a system instance."""

    name = "flux"
    programs = ("flux",)
    submitting = ("flux",)
    telling = ()
    keep = 3600.0
    unreachable = (
        "{program}: ERROR: Unable to connect to Flux: broker socket file/var/run/flux/local was not found",
        1,
    )
    refusals = (
        "flux-batch: ERROR: [Errno 1] not authorized to submit jobs",
        "flux-batch: ERROR: [Errno 110] Connection timed out",
    )

    def answer(self, call: Call, machine: Machine) -> Reply:
        """Do what a command asks, and return what it prints."""
        word = call.argv[0] if call.argv else ""
        rest = call.argv[1:]
        if word in ("batch", "submit"):
            return self._submit(word, rest, call, machine)
        if word == "run":
            return self._run(rest, call, machine)
        if word == "jobs":
            return self._jobs(rest, call, machine)
        if word == "cancel":
            return self._cancel(rest, call, machine)
        if word == "job":
            return self._job(rest, call, machine)
        if word == "hostlist":
            hosts = call.environment.get("HARMONY_FLUX_HOSTS", self.server)
            return Reply(hosts.replace(" ", "\n" if "-ed" in "".join(rest) else " ") + "\n")
        if word in ("version", "-V", "--version"):
            return Reply(
                "commands:    \t\t0.88.0\nlibflux-core:\t\t0.88.0\nbuild-options:\t\t+systemd+hwloc==2.9.0+zmq==4.3.4\n"
            )
        raise Refused(f"flux: `{word}' is not a flux command.  See 'flux --help'")

    def job_id(self, number: int, index: int | None) -> str:
        """The id in ASCII; in a UTF-8 locale the commands print a ƒ for the f."""
        return f58(fluid(number), "f")

    def job_environment(self, job: Job, machine: Machine) -> Mapping[str, str]:
        """Of a batch script little, for it is the first program of an instance of its own; of others all."""
        hosts = {"HARMONY_FLUX_HOSTS": " ".join(job.nodes)}
        uri = f"local:///tmp/flux-{job.id}/local-0"
        if "batch" in job.request.extra:
            return {**hosts, "FLUX_URI": uri, "FLUX_ENCLOSING_ID": flux_text.local(job.id, job.request.environment)}
        return {**hosts, "FLUX_URI": "local:///run/flux/local", **_task_environment(job)}

    def streams(self, job: Job) -> Streams:
        """A batch script's output is in flux-ID.out; that of ``flux submit`` is kept by Flux."""
        request = job.request
        out = flux_text.filled(request.stdout, job) if request.stdout else None
        error = flux_text.filled(request.stderr, job) if request.stderr else ""
        source = flux_text.filled(request.stdin, job) if request.stdin else None
        return Streams(source, out, error)

    # -- submitting

    def _submit(self, word: str, argv: Sequence[str], call: Call, machine: Machine) -> Reply:
        program = f"flux-{word}"
        found, rest = options(argv, program)
        if word == "batch":
            script, name, found = self._script(found, rest, call)
        else:
            if not rest:
                raise Refused(f"{program}: ERROR: job command and arguments are missing")
            script, name = "", rest[0].rpartition("/")[2]
        given = {option: value or "" for option, value in found}
        request = self._request(word, given, found, call, machine)
        if word == "submit":
            script = _copies(rest, int(request.extra["ntasks"]))
        extra = {**request.extra, "name": given.get("job-name", name)}
        arguments = tuple(rest[1:]) if word == "batch" else ()
        request = Request(
            **{**vars(request), "script": script, "name": extra["name"], "extra": extra, "arguments": arguments}
        )
        if "dry-run" in given:
            return Reply('{"version": 1}\n')
        made = machine.submit(request)
        return Reply("" if "quiet" in given else flux_text.local(made[0].id, call.environment) + "\n")

    def _script(self, found: Options, rest: list[str], call: Call) -> tuple[str, str, Options]:
        """The batch script, its name, and all options: those of the command line count more, and come last."""
        if rest and ("wrap", None) in found:
            return "#!/bin/sh\n" + " ".join(rest) + "\n", rest[0], found
        if rest:
            try:
                with open(flux_text.absolute(rest[0], call.directory), encoding="utf-8") as file:
                    script = file.read()
            except OSError as error:
                raise Refused(f"flux-batch: ERROR: [Errno {error.errno}] {error.strerror}: '{rest[0]}'") from error
            except UnicodeError:
                complaint = f"{rest[0]} does not appear to be a script, or failed to encode as utf-8"
                raise Refused(f"flux-batch: ERROR: {complaint}") from None
        elif call.stdin is None:
            raise NeedsInput
        else:
            script = call.stdin.decode("utf-8", "surrogateescape")
        name = rest[0] if rest else "stdin"
        return script, rest[0] if rest else "batch", [*directives(script, name), *found]

    def _request(self, word: str, given: dict[str, str], found: Options, call: Call, machine: Machine) -> Request:
        program = f"flux-{word}"
        queue = given.get("queue", "")
        if queue and queue not in _QUEUES:
            raise Refused(f"{program}: ERROR: [Errno 22] Invalid queue '{queue}' specified")
        batch = word == "batch"
        nodes, cores, tasks = shape(given, machine, program, batch=batch)
        gpus = given.get("gpus-per-slot" if batch else "gpus-per-task", given.get("gpus-per-task", "0"))
        inherited = environment(found, call)
        dependencies = tuple(
            _dependency(value or "", machine, program) for option, value in found if option == "dependency"
        )
        extra = {"ntasks": str(tasks), "cores": str(cores * nodes)}
        if batch:
            extra["batch"] = "y"
        if any((value or "").startswith("after:") for option, value in found if option == "dependency"):
            extra["deprecated"] = "y"
        directory = flux_text.absolute(given.get("cwd", "."), call.directory)
        default = "flux-{{id}}.out" if batch else None
        return Request(
            script="",
            user=user_name(),
            queue=queue,
            account=given.get("bank", ""),
            directory=directory,
            environment=inherited,
            nodes=nodes,
            cores=cores,
            gpus=int(gpus) * (tasks // nodes or 1),
            exclusive="exclusive" in given,
            limit=seconds(given["time-limit"], program) if "time-limit" in given else None,
            stdin=given.get("input"),
            stdout=given.get("output", default),
            stderr=given.get("error"),
            held=given.get("urgency") in ("0", "hold"),
            dependencies=dependencies,
            end_if_never=True,
            requeue=False,
            extra=extra,
        )

    def _run(self, argv: Sequence[str], call: Call, machine: Machine) -> Reply:
        """``flux run`` in a batch script: the program's copies are started here and now."""
        found, rest = options(argv, "flux-run")
        if not rest:
            raise Refused("flux-run: ERROR: job command and arguments are missing")
        given = {option: value or "" for option, value in found}
        nodes, _, tasks = shape(given, machine, "flux-run", batch=False)
        shared = {
            "FLUX_JOB_SIZE": str(tasks),
            "FLUX_JOB_NNODES": str(nodes),
            "FLUX_JOB_ID": "ƒ1",
            "PMI_SIZE": str(tasks),
        }
        ranks = ("FLUX_TASK_RANK", "FLUX_TASK_LOCAL_ID", "PMI_RANK")
        return Reply(execute=("bash", "-c", copies(tasks, rest, ranks, shared)), environment=changes(found))

    # -- telling

    def _jobs(self, argv: Sequence[str], call: Call, machine: Machine) -> Reply:
        try:
            found, ids = long_options(argv, "aAnc:f:u:q:i:o:w:R", LONG, "flux-jobs", JOBS_ALIASES)
        except Refused as refused:
            raise usage("flux-jobs", refused) from None
        given = {option: value or "" for option, value in found}
        complaints = []
        if ids:
            known = {job.id: job for job in machine.queue()}
            asked = [(each, _asked(each)) for each in ids]
            jobs = [known[job_id] for _, job_id in asked if job_id in known]
            complaints = [f"JobID {each} unknown" for each, job_id in asked if job_id not in known]
            if not jobs:
                return Reply(err="".join(f"{line}\n" for line in complaints), code=1)
        else:
            jobs = _selected(given, machine)
        one = "json" in given and len(ids) == 1
        form = given.get("format", "default")
        header = "no-header" not in given and "suppress-header" not in given
        if "json" in given:
            out = flux_text.as_json(jobs, machine, one=one)
        else:
            out = flux_text.table(form, jobs, machine, header=header, environment=call.environment)
        return Reply(out, "".join(f"{line}\n" for line in complaints))

    # -- acting

    def _cancel(self, argv: Sequence[str], call: Call, machine: Machine) -> Reply:
        found, ids = long_options(argv, "nqu:S:m:", LONG, "flux-cancel", {"q": "quiet", "m": "message", "u": "user"})
        given = {option: value or "" for option, value in found}
        if "all" in given:
            ids = [job.id for job in machine.queue() if not job.foreign and job.state is not State.ENDED]
            if not ids:
                return Reply(err="" if "quiet" in given else "flux-cancel: Matched 0 jobs\n")
        if not ids:
            raise Refused("flux-cancel: ERROR: No target jobs were provided")
        complaints = []
        for each in ids:
            job, complaint = _one(each, machine)
            if job is None:
                complaints.append(f"flux-cancel: ERROR: {flux_text.local(_asked(each), call.environment)}: {complaint}")
            else:
                job.note = given.get("message", "")
                machine.cancel(job)
        return Reply(err="".join(f"{line}\n" for line in complaints), code=1 if complaints else 0)

    def _job(self, argv: Sequence[str], call: Call, machine: Machine) -> Reply:
        word, rest = (argv[0], argv[1:]) if argv else ("", ())
        if word == "id":
            return Reply("".join(f"{parsed(each)}\n" for each in rest))
        if word not in ("kill", "raise", "eventlog", "urgency", "cancel"):
            raise Refused(f"flux-job: Unknown command: {word}")
        long = {"signal": ONE, "severity": ONE, "type": ONE, "message": ONE, "format": ONE, "verbose": NONE}
        found, ids = long_options(
            rest, "s:t:m:f:v", long, f"flux-job {word}", {"s": "signal", "t": "type", "m": "message"}
        )
        given = {option: value or "" for option, value in found}
        if not ids:
            raise Refused(f"Usage: flux-job {word} [OPTIONS] id ...")
        if word == "urgency":
            return _urgency(ids, machine)
        complaints, out = [], ""
        for each in ids:
            job, complaint = _one(each, machine, ended=word == "eventlog", running=word == "kill")
            if job is None:
                complaints.append(f"flux-job: {word} {each}: {complaint}")
            elif word == "eventlog":
                out += flux_text.eventlog(job)
            elif word == "kill":
                machine.signal(job, _signal(given.get("signal", "SIGTERM")))
            else:
                machine.cancel(job)
        return Reply(out, "".join(f"{line}\n" for line in complaints), 1 if complaints else 0)


def _dependency(uri: str, machine: Machine, program: str) -> Dependency:
    scheme, colon, value = uri.partition(":")
    if not colon:
        raise Refused(f'{program}: ERROR: Invalid dependency URI "{uri}"')
    if scheme not in _KINDS:
        raise Refused(f'{program}: ERROR: [Errno 22] dependency scheme "{scheme}" not supported')
    job_id = _asked(value, program)
    if not machine.find(job_id):
        raise Refused(f"{program}: ERROR: [Errno 2] dependency: after: id {value}: job not found")
    return Dependency(_KINDS[scheme], (job_id,))


def _selected(given: Mapping[str, str], machine: Machine) -> list[Job]:
    user = given.get("user", user_name())
    states = set(given["filter"].split(",")) if "filter" in given else set()
    jobs = [job for job in machine.queue() if user in ("all", job.request.user)]
    if states:
        jobs = [job for job in jobs if states & flux_text.words(job)]
    elif "all" not in given:
        jobs = [job for job in jobs if job.state is not State.ENDED]
    for option, attribute in (("name", "name"), ("queue", "queue")):
        if option in given:
            jobs = [job for job in jobs if getattr(job.request, attribute) == given[option]]
    count = int(given.get("count", "1000"))
    return jobs[::-1][: count or None]


def _asked(text: str, program: str = "flux-jobs") -> str:
    number = parsed(text)
    if number is None:
        complaint = f"usage: {program.replace('-', ' ')} [OPTIONS] [JOBID...]\n{program}: error: argument JOBID: "
        raise Refused(f"{complaint}invalid JobID value: '{text}'", 2)
    return f58(number, "f")


def _one(text: str, machine: Machine, *, ended: bool = False, running: bool = False) -> tuple[Job | None, str]:
    jobs = machine.find(_asked(text, "flux-cancel"))
    if not jobs:
        return None, "unknown job id"
    if jobs[0].foreign:
        return None, "guests can only raise exceptions on their own jobs"
    if jobs[0].state is State.ENDED and not ended:
        return None, "job is inactive"
    if running and jobs[0].state is not State.RUNNING:
        return None, "job is not running"
    return jobs[0], ""


def _urgency(words: list[str], machine: Machine) -> Reply:
    job, complaint = _one(words[0], machine)
    if job is None:
        raise Refused(f"flux-job: {words[0]}: {complaint}")
    if words[1:] in (["hold"], ["0"]):
        machine.hold(job)
    else:
        machine.release(job)
    return Reply()


def _signal(text: str) -> signal.Signals:
    name = text.upper().removeprefix("SIG")
    try:
        return signal.Signals(int(text)) if text.isdigit() else signal.Signals[f"SIG{name}"]
    except (KeyError, ValueError):
        raise Refused(f"flux-job: kill: Invalid signal {text}") from None


def _task_environment(job: Job) -> dict[str, str]:
    return {
        "FLUX_JOB_ID": flux_text.local(job.id, job.request.environment),
        "FLUX_JOB_SIZE": job.request.extra["ntasks"],
        "FLUX_JOB_NNODES": str(job.request.nodes),
        "FLUX_KVS_NAMESPACE": f"job-{fluid(job.number)}",
        "FLUX_TASK_RANK": "0",
        "FLUX_TASK_LOCAL_ID": "0",
    }


def _copies(words: Sequence[str], count: int) -> str:
    if count == 1:
        return f"#!/bin/sh\nexec {shlex.join(words)}\n"
    return "#!/bin/bash\n" + copies(count, words, ("FLUX_TASK_RANK", "FLUX_TASK_LOCAL_ID"), {}) + "\n"
