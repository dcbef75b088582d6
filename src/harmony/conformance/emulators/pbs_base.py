"""What the emulated PBS family shares: directives, resources, paths of output, lists of attributes."""

from __future__ import annotations

import os
import re
import signal
import tempfile
from abc import abstractmethod
from collections.abc import Iterable, Mapping
from typing import ClassVar

from harmony.conformance.emulators.dialect import Dialect, plain_environment, read_script, user_name
from harmony.conformance.emulators.engine import Machine
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
from harmony.conformance.emulators.options import Options, directive_lines, long_options, words
from harmony.conformance.emulators.pbs_words import Entry, indices, pairs

UNKNOWN_JOB = 153  # PBSE_UNKJOBID, 15001, as an exit status
_NAMES = {"walltime", "ncpus", "mem", "vmem", "pmem", "pvmem", "cput", "pcput", "select", "place", "nodes", "procs",
          "file",
          "ngpus", "gpus", "nodect", "software", "arch", "host", "nice", "min_walltime", "max_walltime", "feature",
          "naccesspolicy",
          "depend", "mppwidth", "mppnppn", "mppdepth", "filesystems", "qos", "partition", "advres"}  # fmt: skip
_KINDS = {"after": "after", "afterok": "ok", "afternotok": "notok", "afterany": "any",
          "afterstart": "after", "afterstartarray": "after", "afterokarray": "ok", "afternotokarray": "notok",
          "afteranyarray": "any"}  # fmt: skip


class PBSFamily(Dialect):
    """What they have in common: jobs start in the home directory, and their output comes at the end."""

    programs = ("qsub", "qstat", "qdel", "qselect", "qsig", "qhold", "qrls")
    submitting = ("qsub",)
    telling = ("qstat", "qselect")
    unreachable: ClassVar[tuple[str, int]] = (
        "Connection refused\n{program}: cannot connect to server emulator (errno=15010)", 162,
    )  # fmt: skip
    refusals: ClassVar[tuple[str, str]] = (
        "qsub: Unauthorized Request",
        "Connection timed out\nqsub: cannot connect to server emulator (errno=110)",
    )
    #: What getopt is told, the option for arrays, and the variable of a task's index.
    qsub_options: ClassVar[str]
    array_option: ClassVar[str]
    index_variable: ClassVar[str]
    unknown: ClassVar[str]
    #: What stands before a task's index in the name of its output file.
    index_mark: ClassVar[str] = "."
    queues: ClassVar[tuple[str, ...]] = ("workq", "debug", "batch", "short", "gpu")

    def job_id(self, number: int, index: int | None) -> str:
        """``12.emulator``, ``12[3].emulator`` for a task; the engine asks for an array as for a job."""
        return f"{number}{'' if index is None else f'[{index}]'}.{self.server}"

    def full_id(self, text: str) -> str:
        """An id as a user types it, with the server's name."""
        return text if "." in text else f"{text}.{self.server}"

    def find(self, text: str, machine: Machine) -> list[Job]:
        """The jobs of an id; of all tasks for ``12[]``, of some for ``12[1-3]``. Raises `Refused` if there are none."""
        match = re.fullmatch(r"(\d+)\[([\d,-]*)\](?:\..*)?", text)
        if match and not match[2].isdigit():
            found = machine.find(match[1])
            wanted = set(indices(match[2])) if match[2] else None
            found = [job for job in found if job.index is not None and (wanted is None or job.index in wanted)]
        else:
            found = machine.find(self.full_id(text))
            if found and found[0].index is not None and not match:
                found = []  # an array is known as 12[] only
        return found

    # -- qsub

    def qsub(self, call: Call, machine: Machine) -> Reply:
        """Answer ``qsub``."""
        options, rest = self._options(call.argv, call)
        if rest and rest[0] != "-":
            script = read_script(rest[0], call, self._unreadable)
        elif call.stdin is None:
            raise NeedsInput
        else:
            script = call.stdin.decode("utf-8", "surrogateescape")
        prefix = dict(options).get("C") or call.environment.get("PBS_DPREFIX", "#PBS")
        lines = [line for line in directive_lines(script, prefix) if not line or line[0].isspace()]
        inner: Options = []
        for line in lines:
            inner += self._options(words(line, "qsub", escapes=" "), call)[0]
        if {"I", "X"} & {name for name, _ in (*inner, *options)}:
            raise Refused("qsub: this emulated PBS has no interactive jobs")
        made = machine.submit(self._request(script, rest, [*inner, *options], call, machine))
        return Reply((made[0].id if made[0].index is None else f"{made[0].number}[].{self.server}") + "\n")

    def _unreadable(self, path: str, why: str) -> str:
        return f"qsub: script file:: {why}"

    def _options(self, argv: Iterable[str], call: Call) -> tuple[Options, list[str]]:
        try:
            return long_options(list(argv), self.qsub_options, {}, "qsub")
        except Refused as refused:
            raise Refused(f"{refused.complaint}\nusage: qsub [-a date_time] [-A account_string] …", 2) from None

    def _request(self, script: str, rest: list[str], options: Options, call: Call, machine: Machine) -> Request:
        given: dict[str, str] = {}
        for name, value in options:
            if name in ("l", "W", "v") and name in given:
                given[name] += "," + (value or "")
            else:
                given[name] = value or ""
        name = given.get("N") or (os.path.basename(rest[0]) if rest and rest[0] != "-" else "STDIN")
        if "N" in given and (not re.fullmatch(r"[A-Za-z0-9_+.-]\S*", name) or len(name) > 236):
            raise Refused("qsub: illegal -N value")
        queue = (given.get("q") or self.queues[0]).partition("@")[0]
        if queue not in self.queues:
            raise Refused("qsub: Unknown queue", 170)
        resources = _resources(given.get("l", ""))
        nodes, cores, gpus = _shape(resources)
        if nodes > len(machine.nodes) or cores > machine.settings.cores:
            raise Refused("qsub: Job violates queue and/or server resource limits", 188)
        extra_attributes = {key: value or "" for key, value in pairs(given.get("W", "")).items()}
        tasks, at_once = self._array(given.get(self.array_option))
        limit = _seconds(resources["walltime"]) if "walltime" in resources else None
        return Request(
            script=script,
            arguments=tuple(words(given["F"], "qsub")) if "F" in given else (),
            name=name,
            user=user_name(),
            queue=queue,
            account=given.get("A", ""),
            directory=call.directory,
            environment=self._environment(call, given, machine),
            nodes=nodes,
            cores=cores,
            gpus=gpus,
            exclusive="excl" in resources.get("place", "") or resources.get("naccesspolicy") == "singlejob",
            limit=limit,
            stdout=given.get("o"),
            stderr=given.get("e"),
            held="h" in given,
            requeue=given.get("r", "y") == "y",
            tasks=tasks,
            tasks_at_once=at_once,
            dependencies=self._dependencies(extra_attributes.get("depend", ""), machine),
            end_if_never=True,
            extra={**{f"l.{key}": value for key, value in resources.items()}, **given, **extra_attributes},
        )

    def _array(self, text: str | None) -> tuple[tuple[int, ...] | None, int]:
        if text is None:
            return None, 0
        listed, _, at_once = text.partition("%")
        try:
            return tuple(indices(listed)), int(at_once or 0)
        except ValueError:
            raise Refused(f"qsub: illegal -{self.array_option} value") from None

    def _dependencies(self, text: str, machine: Machine) -> tuple[Dependency, ...]:
        found = []
        for part in filter(None, re.split(r",(?=[a-z])", text)):
            kind, *ids = part.split(":")
            if kind not in _KINDS or not ids:
                raise Refused("qsub: illegal -W value")
            plain = [re.sub(r"\[\]", "", each) for each in ids]
            for job_id in ids:
                if not self.find(job_id, machine):
                    raise Refused(f"qsub: {self.unknown}", UNKNOWN_JOB)
            found.append(Dependency(_KINDS[kind], tuple(self.full_id(each) for each in plain)))
        return tuple(found)

    def _environment(self, call: Call, given: Mapping[str, str], machine: Machine) -> dict[str, str]:
        from_user = call.environment
        found = {**plain_environment(machine.bin), "PBS_O_WORKDIR": given.get("w") or call.directory}
        for name in ("HOME", "LANG", "LOGNAME", "PATH", "SHELL", "MAIL", "TZ"):
            if name in from_user:
                found[f"PBS_O_{name}"] = from_user[name]
        if "V" in given:
            found = {**from_user, **{name: value for name, value in found.items() if name.startswith("PBS_O_")}}
        for name, value in pairs(given.get("v", "")).items():
            found[name] = from_user.get(name, "") if value is None else value
        return {
            **found,
            "PBS_O_HOST": self.server,
            "PBS_O_QUEUE": given.get("q") or self.queues[0],
            "PBS_ENVIRONMENT": "PBS_BATCH",
        }

    # -- jobs

    def directory(self, job: Job) -> str:
        """Jobs start in the home directory."""
        return job.request.extra.get("d") or job.request.environment.get("HOME", "/")

    def streams(self, job: Job) -> Streams:
        """Output comes to where the job was submitted, at the job's end, unless it is to be kept (``-k``)."""
        request, join = job.request, job.request.extra.get("j", "n")
        late = "d" not in request.extra.get("k", "")
        out, err = self.path(job, "o"), self.path(job, "e")
        if join == "oe":
            return Streams(None, out, "", late=late)
        return Streams(None, err, "", late=late) if join == "eo" else Streams(None, out, err, late=late)

    def path(self, job: Job, letter: str) -> str:
        """Where a stream goes: "o" or "e"."""
        request = job.request
        default = f"{request.name}.{letter}{job.number}" + (
            "" if job.index is None else f"{self.index_mark}{job.index}"
        )
        given = request.stdout if letter == "o" else request.stderr
        plain = re.sub(r"^[A-Za-z0-9.-]+:(?=/|\w)", "", given or "")
        path = os.path.join(request.directory, plain or default)
        path = path.replace("^array_index^", str(job.index)).replace("$PBS_JOBID", job.id)
        return os.path.join(path, default) if os.path.isdir(path) else path

    def job_environment(self, job: Job, machine: Machine) -> Mapping[str, str]:
        """The ``PBS_`` variables of a job."""
        request = job.request
        found = {"PBS_JOBID": job.id, "PBS_JOBNAME": request.name, "PBS_QUEUE": request.queue,
                 "NCPUS": str(request.cores),
                 "OMP_NUM_THREADS": str(request.cores), "TMPDIR": tempfile.gettempdir(), "PBS_NODENUM": "0",
                 "PBS_TASKNUM": "1",
                 "PBS_JOBDIR": self.directory(job), "PBS_MOMPORT": "15003"}  # fmt: skip
        if job.index is not None:
            found |= {self.index_variable: str(job.index), "PBS_ARRAY_ID": f"{job.number}[].{self.server}"}
        return found

    def node_files(self, job: Job) -> Mapping[str, str]:
        """``PBS_NODEFILE``: each node once for each of its processes."""
        select = job.request.extra.get("l.select", "")
        match = re.search(r"mpiprocs=(\d+)", select)
        each = int(match[1]) if match else 1 if select else job.request.cores
        return {"PBS_NODEFILE": "".join(f"{node}\n" * each for node in job.nodes)}

    # -- the other commands

    def entries(self, machine: Machine, *, tasks: bool) -> list[Entry]:
        """All that the queue remembers; of array jobs their tasks too, if these are wanted."""
        found: list[Entry] = []
        groups: dict[int, list[Job]] = {}
        for job in machine.queue():
            if job.index is None:
                found.append(Entry([job]))
            else:
                groups.setdefault(job.number, []).append(job)
        for group in groups.values():
            found.append(Entry(group, array=True))
            found += [Entry([job]) for job in group] if tasks else []
        return found

    def named(self, text: str, machine: Machine, *, tasks: bool) -> list[Entry]:
        """What an id on qstat's command line means; nothing if it is unknown."""
        found = self.find(text, machine)
        if "[]" in text and found:
            return [Entry(found, array=True), *([Entry([job]) for job in found] if tasks else [])]
        return [Entry([job]) for job in found]

    def _each(self, call: Call, machine: Machine, short: str) -> tuple[Options, list[Job], Reply]:
        """The options and jobs of a command like qdel, and what it says about ids that are unknown."""
        options, ids = long_options(call.argv, short, {}, call.program)
        jobs: list[Job] = []
        complaints, code = "", 0
        for job_id in ids:
            found = self.find(job_id, machine)
            jobs += found
            if not found:
                complaints += f"{call.program}: {self.unknown} {self.full_id(job_id)}\n"
                code = UNKNOWN_JOB
            elif any(job.foreign for job in found):
                raise Refused(f"{call.program}: Unauthorized Request  {self.full_id(job_id)}", 159)
        return options, jobs, Reply(err=complaints, code=code)

    def qselect(self, call: Call, machine: Machine) -> Reply:
        """Answer ``qselect``: the ids of jobs, one a line; of array jobs as a whole."""
        given = dict(long_options(call.argv, "a:A:c:h:HJl:N:p:P:q:r:s:t:Tu:x", {}, "qselect")[0])
        found = [entry for entry in self.entries(machine, tasks="T" in given) if "x" in given or self.current(entry)]
        for name, value in given.items():
            wanted = (value or "").split(",")
            what = {
                "u": lambda job: job.request.user,
                "q": lambda job: job.request.queue,
                "N": lambda job: job.request.name,
            }
            if name in what:
                found = [entry for entry in found if what[name](entry.job) in wanted]
            elif name == "s":
                found = [entry for entry in found if self.letter(entry) in (value or "")]
        return Reply("".join(f"{entry.name(self.server)}\n" for entry in found))

    def current(self, entry: Entry) -> bool:
        """Whether a job is shown to one who does not ask for history."""
        return True

    @abstractmethod
    def letter(self, entry: Entry) -> str:
        """A job's state."""

    def _small(self, call: Call, machine: Machine) -> Reply:
        """Answer qsig, qhold and qrls."""
        options, jobs, reply = self._each(call, machine, {"qsig": "s:", "qhold": "h:", "qrls": "h:"}[call.program])
        for job in jobs:
            if call.program == "qsig":
                if job.state is not State.RUNNING:
                    return Reply(err=f"qsig: Request invalid for state of job {job.id}\n", code=168)
                machine.signal(job, _signal(dict(options).get("s") or "TERM"))
            elif call.program == "qhold":
                machine.hold(job)
            else:
                machine.release(job)
        return reply


def _shape(resources: Mapping[str, str]) -> tuple[int, int, int]:
    """Nodes, cores and GPUs on each, of a resource list."""
    nodes, cores, gpus = 0, 0, 0
    text = resources.get("select") or resources.get("nodes")
    for chunk in (text or "").split("+") if text else ():
        count, *parts = chunk.split(":")
        if not count.isdigit():
            count, parts = "1", [count, *parts]
        values = dict(part.partition("=")[::2] for part in parts)
        nodes += int(count)
        cores = max(cores, int(values.get("ncpus") or values.get("ppn") or 1))
        gpus = max(gpus, int(values.get("ngpus") or values.get("gpus") or 0))
    return nodes or 1, cores or int(resources.get("ncpus") or resources.get("procs") or 1), gpus


def _signal(text: str) -> int:
    try:
        return int(text) if text.isdigit() else int(signal.Signals["SIG" + text.upper().removeprefix("SIG")])
    except KeyError:
        raise Refused("qsig: Unknown/illegal signal name", 184) from None


def _resources(text: str) -> dict[str, str]:
    found = {name: value or "" for name, value in pairs(text).items()}
    for name in found:
        if name not in _NAMES:
            raise Refused(f"qsub: Unknown resource: {name}", 187)
    if "walltime" in found:
        _seconds(found["walltime"])
    return found


def _seconds(text: str) -> float:
    if not re.fullmatch(r"\d+(:\d+){0,3}(\.\d+)?", text):
        raise Refused("qsub: Illegal attribute or resource value Resource_List.walltime", 166)
    total = 0.0
    for part, weight in zip(reversed(text.split(":")), (1, 60, 3600, 86400), strict=False):
        total += float(part) * weight
    return total
