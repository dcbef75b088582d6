"""HTCondor: condor_submit, condor_q, condor_history, condor_rm, condor_hold, condor_release, condor_version."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from harmony.conformance.emulators import htcondor_ads as ads
from harmony.conformance.emulators.dialect import Dialect, plain_environment, user_name
from harmony.conformance.emulators.htcondor_submit import Description, arguments, environment_of, seconds_limit
from harmony.conformance.emulators.model import Call, Job, NeedsInput, Refused, Reply, Request, State, Streams

if TYPE_CHECKING:
    from harmony.conformance.emulators.engine import Machine

_PROC = "HARMONY_CONDOR_PROC"
_PAST = {"condor_rm": "marked for removal", "condor_hold": "held", "condor_release": "released"}
_WORD = {"condor_rm": "remove", "condor_hold": "hold", "condor_release": "release"}
_WITH_VALUE = ("-constraint", "-limit", "-match", "-name", "-pool", "-attributes", "-format", "-since", "-reason",
               "-scanlimit", "-submitter", "-subcode")  # fmt: skip
_PLAIN = ("-all", "-allusers", "-batch", "-wide", "-w", "-backwards", "-forwards", "-global", "-g", "-local")


class HTCondor(Dialect):
    """HTCondor 23, one access point; jobs run where they were submitted, on a shared file system."""

    name = "htcondor"
    programs = ("condor_submit", "condor_q", "condor_history", "condor_rm", "condor_hold", "condor_release",
                "condor_version")  # fmt: skip
    submitting = ("condor_submit",)
    telling = ("condor_q", "condor_history")
    keep = 0.0
    unreachable = ("\nERROR: Can't find address of local schedd\n", 1)
    refusals = (
        "\nERROR: Failed to commit job submission into the queue.\nERROR: Submission is denied by a requirement",
        "\nERROR: Failed to connect to local queue manager\nCEDAR:6001:Failed to connect to <127.0.0.1:9618>",
    )

    def answer(self, call: Call, machine: Machine) -> Reply:
        """Do what a command asks, and return what it prints."""
        if call.program == "condor_submit":
            return self._submit(call, machine)
        if call.program == "condor_version":
            return Reply("$CondorVersion: 23.0.12 2024-06-12 BuildID: 739441 $\n$CondorPlatform: x86_64_Debian12 $\n")
        if call.program in ("condor_q", "condor_history"):
            return self._tell(call, machine)
        return self._act(call, machine)

    def job_id(self, number: int, index: int | None) -> str:
        """The id of a job, ``12.0``, or of its cluster."""
        return str(number) if index is None else f"{number}.{index}"

    def job_environment(self, job: Job, machine: Machine) -> Mapping[str, str]:
        """What the starter sets; each job's own arguments are chosen by the script."""
        scratch = machine.file(f"{job.id}.job.ad", ads.long_form(ads.ad(job, machine)))
        return {
            _PROC: str(job.index or 0),
            "_CONDOR_JOB_AD": scratch,
            "_CONDOR_SCRATCH_DIR": machine.directory,
            "_CONDOR_SLOT": "slot1_1",
            "_CONDOR_JOB_IWD": self.directory(job),
            "_CONDOR_JOB_PIDS": "",
            "BATCH_SYSTEM": "HTCondor",
            "OMP_NUM_THREADS": str(job.request.cores),
            "TMPDIR": "/tmp",  # noqa: S108
        }

    def directory(self, job: Job) -> str:
        """The initial directory, which may name the job's number in its cluster."""
        extra = job.request.extra
        return extra.get(f"initialdir.{job.index or 0}", job.request.directory)

    def streams(self, job: Job) -> Streams:
        """The files of the description, where the job starts."""
        proc, extra, base = job.index or 0, job.request.extra, self.directory(job)
        source, out, error = (
            os.path.join(base, extra[f"{name}.{proc}"]) if extra.get(f"{name}.{proc}") else None
            for name in ("input", "output", "error")
        )
        return Streams(source, out, error)

    # -- submitting

    def _submit(self, call: Call, machine: Machine) -> Reply:
        words, terse, lines, queue, path = list(call.argv), False, [], "", ""
        while words:
            word = words.pop(0)
            if word in ("-terse", "-ter"):
                terse = True
            elif word in ("-a", "-append", "-batch-name", "-file", "-f"):
                value = words.pop(0) if words else ""
                lines.append(f"batch_name = {value}" if word == "-batch-name" else value)
                if word in ("-file", "-f"):
                    path = lines.pop()
            elif word in ("-queue", "-q"):
                queue, words = " ".join(words), []
            elif word in ("-verbose", "-v", "-disable", "-spool", "-debug", "-single-cluster"):
                continue
            elif word.startswith("-") and word != "-":
                raise Refused(
                    f'condor_submit: unknown option "{word}"\nUsage: condor_submit [options] [<attrib>=<value>]'
                )
            elif "=" in word and not os.path.exists(os.path.join(call.directory, word)):
                lines.append(word)
            else:
                path = word
        text = _description(path, call)
        description = Description(text, lines, queue, path or "-")
        if not description.count:
            raise Refused(f'\nERROR: "{path or "<stdin>"}" doesn\'t contain any "queue" commands -- no jobs queued')
        made = machine.submit(self._request(description, call, machine))
        number, count = made[0].number, len(made)
        for job in made:
            _log(job, self, "submit")
        if terse:
            return Reply(f"{number}.0 - {number}.{count - 1}\n")
        return Reply(f"Submitting job(s){'.' * count}\n{count} job(s) submitted to cluster {number}.\n")

    def _request(self, given: Description, call: Call, machine: Machine) -> Request:
        extra: dict[str, str] = {"description": given.text}
        branches = []
        for proc in range(given.count):
            one = given.expanded(proc, machine)
            executable = one.get("executable", "")
            if not executable:
                raise Refused("\nERROR: No 'executable' parameter was provided")
            base = os.path.join(call.directory, one.get("initialdir", one.get("iwd", ".")))
            path = os.path.normpath(os.path.join(call.directory, executable))
            if not os.access(path, os.F_OK):
                raise Refused(f"\nERROR: Can't access executable file {path}: No such file or directory")
            if not os.path.isdir(base):
                raise Refused(f"\nERROR: No such directory: {base}")
            extra[f"initialdir.{proc}"] = os.path.normpath(base)
            extra.update({f"{name}.{proc}": one[name] for name in ("input", "output", "error", "log") if name in one})
            words = [path, *arguments(one.get("arguments", one.get("args", "")))]
            extra[f"args.{proc}"] = one.get("arguments", "")
            settings = environment_of(one.get("environment", one.get("env", "")))
            exports = "".join(f"export {shlex.quote(f'{name}={value}')}; " for name, value in settings.items())
            branches.append(f"{proc}) unset {_PROC}; {exports}exec {shlex.join(words)} ;;")
        one = given.expanded(0, machine)
        extra.update({f"+{name}": value for name, value in given.attributes(0, machine).items()})
        if "allowed_job_duration" in one or "allowed_execute_duration" in one:
            extra["allowed"] = "y"
        extra["executable"] = os.path.normpath(os.path.join(call.directory, one["executable"]))
        return Request(
            script=f"#!/bin/bash\ncase ${_PROC} in\n" + "\n".join(branches) + "\nesac\n",
            name=one.get("batch_name", one.get("jobbatchname", "")),
            user=user_name(),
            account=one.get("accounting_group", ""),
            directory=os.path.normpath(call.directory),
            environment=_inherited(one.get("getenv", "false"), call, machine),
            nodes=int(one.get("machine_count", "1")),
            cores=int(one.get("request_cpus", "1")),
            gpus=int(one.get("request_gpus", "0")),
            limit=seconds_limit(one),
            held=one.get("hold", "false").lower() in ("true", "1", "yes"),
            tasks=tuple(range(given.count)),
            tasks_at_once=int(one.get("max_materialize", "0")),
            extra=extra,
        )

    # -- telling

    def _tell(self, call: Call, machine: Machine) -> Reply:
        past = call.program == "condor_history"
        form, constraint, ids, limit = _arguments(call)
        found = []
        source: Sequence[Job] = machine.records()[::-1] if past else machine.queue()
        for job in source:
            facts = ads.ad(job, machine)
            mine = ids or constraint or past or ("-allusers" in call.argv) or job.request.user == user_name()
            if mine and _named(job, ids) and (not constraint or ads.true(constraint, facts)):
                found.append(facts)
        if past:  # an attempt that was to be made again is no end
            found = [facts for facts in found if facts.get("JobStatus") in (ads.REMOVED, ads.COMPLETED)]
        return Reply(ads.printed(found[: limit or None], form, past=past))

    # -- acting

    def _act(self, call: Call, machine: Machine) -> Reply:
        _, constraint, ids, _ = _arguments(call)
        word, past = _WORD[call.program], _PAST[call.program]
        if not ids and not constraint and "-all" not in call.argv:
            raise Refused("You did not specify any jobs")
        out, complaints = [], []
        for each in ids:
            jobs = machine.find(each)
            text = f"Job {each}" if "." in each else f"All jobs in cluster {each} have been"
            done = [job for job in jobs if job.state is not State.ENDED and self._does(call.program, job, machine)]
            if done:
                out.append(f"{text} {past}")
            elif "." not in each:
                complaints.append(_nothing(machine, f"Couldn't find/{word} all jobs in cluster {each}"))
            else:
                complaints.append(_why(each, [job for job in jobs if job.state is not State.ENDED], call.program))
        if constraint or "-all" in call.argv:
            jobs = [job for job in machine.queue() if job.state is not State.ENDED]
            jobs = [job for job in jobs if not constraint or ads.true(constraint, ads.ad(job, machine))]
            suffix = f" matching constraint ({constraint})" if constraint else ""
            if [job for job in jobs if self._does(call.program, job, machine)]:
                out.append(f"All jobs{suffix} have been {past}")
            else:
                complaints.append(_nothing(machine, f"Couldn't find/{word} all jobs{suffix}"))
        text, err = ("".join(f"{line}\n" for line in lines) for lines in (out, complaints))
        return Reply(text, err, 1 if any("queue" not in line for line in complaints) else 0)

    def _does(self, program: str, job: Job, machine: Machine) -> bool:
        acts: Mapping[str, Callable[[Job], None]] = {
            "condor_rm": machine.cancel, "condor_hold": machine.hold, "condor_release": machine.release,
        }  # fmt: skip
        if job.foreign or ((program == "condor_release") != (job.state is State.HELD) and program != "condor_rm"):
            return False
        if program == "condor_rm" and job.how is not None:
            return False
        acts[program](job)
        return True


def _description(path: str, call: Call) -> str:
    if path in ("", "-"):
        if call.stdin is None:
            raise NeedsInput
        return call.stdin.decode("utf-8", "surrogateescape")
    full = os.path.join(call.directory, path)
    try:
        with open(full, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except OSError as error:
        raise Refused(f"\nERROR: Failed to open command file ({path}) ({error.strerror})") from error


def _inherited(spec: str, call: Call, machine: Machine) -> dict[str, str]:
    """What ``getenv`` lets through: all, nothing, or variables by name and pattern."""
    if spec.lower() in ("true", "1", "yes"):
        return dict(call.environment)
    if spec.lower() in ("false", "0", "no", ""):
        return {"PATH": plain_environment(machine.bin)["PATH"]}
    patterns = [re.escape(each).replace(r"\*", ".*") for each in re.split(r"[\s,]+", spec) if each]
    return {
        name: value for name, value in call.environment.items() if any(re.fullmatch(each, name) for each in patterns)
    }


def _arguments(call: Call) -> tuple[ads.Form, str, list[str], int]:
    """What a command asks for: a form of output, a constraint, ids, and how many."""
    words, ids, constraint, limit = list(call.argv), [], "", 0
    form = ads.Form()
    while words:
        word = words.pop(0)
        name = word.lstrip("-").partition(":")[0]
        if re.fullmatch(r"\d+(\.\d+)?", word):
            ids.append(word)
        elif word.startswith("-") and name in ("af", "autoformat"):
            form.qualifiers = word.partition(":")[2]
            while words and not words[0].startswith("-"):
                form.columns.append(words.pop(0))
        elif word in ("-json", "-jsonl", "-long", "-l", "-xml", "-nobatch", "-totals"):
            form.kind = word.lstrip("-")
        elif word in _WITH_VALUE or word == "-c":
            value = words.pop(0) if words else ""
            if word in ("-constraint", "-c"):
                constraint = f"({constraint}) && ({value})" if constraint else value
            elif word in ("-limit", "-match"):
                limit = int(value)
            elif word == "-attributes":
                form.attributes = value.split(",")
            elif word == "-format":
                form.formats.append((value, words.pop(0) if words else ""))
        elif word.startswith("-") and word not in (
            "-all",
            "-allusers",
            "-batch",
            "-wide",
            "-w",
            "-backwards",
            "-forwards",
            "-g",
        ):
            raise Refused(f"Error: unknown argument {word}\nUsage: {call.program} [general-opts] [restriction-list]")
    return form, constraint, ids, limit


def _named(job: Job, ids: Sequence[str]) -> bool:
    return not ids or str(job.number) in ids or f"{job.number}.{job.index or 0}" in ids


def _nothing(machine: Machine, complaint: str) -> str:
    return complaint if machine.queue() else "\nThere are no jobs in the queue"


def _why(job_id: str, jobs: Sequence[Job], program: str) -> str:
    if not jobs:
        return f"Job {job_id} not found"
    if jobs[0].foreign:
        return f"Permission denied to {_WORD[program]} job {job_id}"
    if program == "condor_release":
        return f"Job {job_id} not held to be released"
    return f"Job {job_id} already {'held' if program == 'condor_hold' else 'marked for removal'}"


def _log(job: Job, dialect: HTCondor, event: str) -> None:
    """The user log exists from the submission on."""
    path = job.request.extra.get(f"log.{job.index or 0}")
    if path:
        with open(os.path.join(dialect.directory(job), path), "a", encoding="utf-8") as file:
            file.write(f"000 ({job.number:03d}.{job.index or 0:03d}.000) Job submitted from host: <127.0.0.1>\n...\n")
