"""Emulated PBS Professional, as OpenPBS 20 speaks."""

from __future__ import annotations

import json
from typing import Any, ClassVar

from harmony.conformance.emulators.engine import Machine
from harmony.conformance.emulators.model import Call, How, Job, Refused, Reply, State
from harmony.conformance.emulators.options import long_options
from harmony.conformance.emulators.pbs_attributes import Attributes, attribute_lines, exit_status, shared_attributes
from harmony.conformance.emulators.pbs_base import UNKNOWN_JOB, PBSFamily
from harmony.conformance.emulators.pbs_words import Entry

_FINISHED = 35  # PBSE_HISTJOBID, 15139, as an exit status
_CODES = {How.TIMEOUT: -29, How.OUT_OF_MEMORY: -27, How.LAUNCH_FAILED: -1, How.NODE_FAILED: -20}
_SUBSTATES = {"Q": 10, "W": 30, "R": 42, "E": 50, "X": 69, "B": 70}
_WORDS = {State.WAITING: "Q", State.HELD: "H", State.RUNNING: "R"}


class PBS(PBSFamily):
    """PBS Professional with job history; its default queue is ``workq``."""

    name = "pbs"
    keep = 14 * 86400.0
    qsub_options: ClassVar[str] = "a:A:c:C:e:fhIj:J:k:l:m:M:N:o:p:q:r:R:S:u:v:VW:XzP:"
    array_option = "J"
    index_variable = "PBS_ARRAY_INDEX"
    unknown = "Unknown Job Id"

    def answer(self, call: Call, machine: Machine) -> Reply:
        """Do what a command asks."""
        if "--version" in call.argv:
            return Reply("pbs_version = 20.0.1\n")
        if call.program == "qsub":
            return self.qsub(call, machine)
        if call.program == "qselect":
            return self.qselect(call, machine)
        if call.program == "qstat":
            return self._qstat(call, machine)
        return self._qdel(call, machine) if call.program == "qdel" else self._small(call, machine)

    def _qdel(self, call: Call, machine: Machine) -> Reply:
        options, jobs, reply = self._each(call, machine, "W:x")
        complaints, code = reply.err, reply.code
        for job in jobs:
            if job.state is not State.ENDED:
                machine.cancel(job, () if ("W", "force") in options else None)
            elif ("x", None) in options:
                machine.forget(job)
            elif job.index is None:
                complaints += f"qdel: Job has finished {job.id}\n"
                code = _FINISHED
        return Reply(err=complaints, code=code)

    def _qstat(self, call: Call, machine: Machine) -> Reply:
        options, ids = long_options(call.argv, "ainpqrstwxu:fGHJMQEBW:T1F:D:", {}, "qstat")
        letters = {name for name, _ in options}
        form = dict(options).get("F")
        if form is not None and ("f" not in letters or form not in ("json", "dsv")):
            raise Refused("qstat: illegal -F value" if "f" in letters else "usage: qstat [-f] [-J] [-p] [-t] [-x] …", 2)
        history, tasks = bool(letters & {"x", "H"}), "t" in letters
        complaints, code = "", 0
        entries = (
            []
            if ids
            else [entry for entry in self.entries(machine, tasks=tasks) if history or self._current(entry, machine)]
        )
        for job_id in ids:
            found = self.named(job_id, machine, tasks=tasks)
            entries += [entry for entry in found if history or self._current(entry, machine)]
            if not found:
                complaints, code = complaints + f"qstat: {self.unknown} {self.full_id(job_id)}\n", UNKNOWN_JOB
            elif not history and not self._current(found[0], machine):
                what = "Job has finished, use -x or -H to obtain historical job information"
                complaints, code = complaints + f"qstat: {self.full_id(job_id)} {what}\n", _FINISHED
        user = dict(options).get("u")
        if user:
            entries = [entry for entry in entries if entry.job.request.user in user.split(",")]
        return Reply(self._shown(entries, letters, form, machine), complaints, code)

    def current(self, entry: Entry) -> bool:
        """Whether it has not ended."""
        return not entry.over

    def _current(self, entry: Entry, machine: Machine) -> bool:
        """Whether it is no history yet: tasks stay until their whole array has ended."""
        whole = [entry.job] if entry.job.index is None else machine.find(str(entry.job.number))
        return any(job.state is not State.ENDED for job in whole)

    def _shown(self, entries: list[Entry], letters: set[str], form: str | None, machine: Machine) -> str:
        if "f" not in letters:
            return self._table(entries, letters, machine)
        shown = [(entry.name(self.server), self._attributes(entry, machine)) for entry in entries]
        if form == "json":
            return _json(shown, machine.now(), self.server)
        if form == "dsv":
            return "".join(
                "|".join([f"Job Id: {name}", *(f"{a}={v}" for a, v in found)]) + "\n" for name, found in shown
            )
        return "".join(attribute_lines(name, found, one_line="w" in letters) for name, found in shown)

    def letter(self, entry: Entry) -> str:
        """A job's state, in one letter."""
        if entry.array:
            if entry.over:
                return "F"
            return "B" if any(job.started is not None for job in entry.jobs) else "Q"
        job = entry.job
        if job.state is State.ENDED:
            return "F" if job.index is None else "X"
        if job.state is State.RUNNING and job.how is not None:
            return "E"
        if job.reason in ("dependency", "never"):
            return "H"
        return "W" if job.reason == "delay" and job.request.start_after else _WORDS[job.state]

    def _attributes(self, entry: Entry, machine: Machine) -> Attributes:
        job, letter = entry.job, self.letter(entry)
        found = shared_attributes(self, job, machine, letter)
        found.append(("substate", str(_substate(job, letter))))
        if entry.array:
            counts = {"Queued": "Q", "Running": "R", "Exiting": "E", "Expired": "X"}
            letters = [self.letter(Entry([each])) for each in entry.jobs]
            text = " ".join(f"{word}:{letters.count(each)}" for word, each in counts.items())
            found = [
                pair
                for pair in found
                if not pair[0].startswith("resources_used") and pair[0] not in ("exec_host", "session_id")
            ]
            found += [
                ("array", "True"),
                ("array_state_count", text),
                ("array_indices_submitted", job.request.extra["J"]),
            ]
            if letter == "F":
                found.append(("Exit_status", str(int(any(each.status for each in entry.jobs)))))
            return found
        if job.index is not None:
            found += [("array_id", f"{job.number}[].{self.server}"), ("array_index", str(job.index))]
        found.append(("comment", _comment(job)))
        if job.started is not None:
            found.append(("run_count", str(job.restarts + 1)))
        code = exit_status(job, _CODES) if job.state is State.ENDED else None
        if code is not None:
            found.append(("Exit_status", str(code)))
        if job.request.extra.get("P"):
            found.append(("project", job.request.extra["P"]))
        return found

    def _table(self, entries: list[Entry], letters: set[str], machine: Machine) -> str:
        if not entries:
            return ""
        lines = ["Job id            Name             User              Time Use S Queue",
                 "----------------  ---------------- ----------------  -------- - -----"]  # fmt: skip
        for entry in entries:
            job = entry.job
            used = "00:00:00" if job.started is not None and not entry.array else "0"
            lines.append(
                f"{_cut(entry.name(self.server), 17):<17} {_cut(job.request.name, 16):<16} "
                f"{_cut(job.request.user, 15):<16}  "
                f"{used:>8} {self.letter(entry)} {_cut(job.request.queue, 15):<5}"
            )
        return "\n".join(lines) + "\n"


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "*"


def _substate(job: Job, letter: str) -> int:
    if letter == "F":
        return 91 if job.how is How.CANCELLED else 92 if job.well else 93
    return 22 if letter == "H" and job.state is State.WAITING else 20 if letter == "H" else _SUBSTATES[letter]


def _comment(job: Job) -> str:
    if job.foreign:
        return job.note
    if job.how is How.DEPENDENCY:
        return "Job deleted as result of dependency"
    if job.state is State.ENDED:
        words = {How.CANCELLED: "terminated", How.EXITED: "finished" if job.well else "failed"}
        return f"Job run on ({'+'.join(job.nodes)}) and {words.get(job.how or How.EXITED, 'failed')}"
    if job.started is not None:
        return f"Job run on ({'+'.join(job.nodes)})"
    return "Not Running: Insufficient amount of resource: ncpus" if job.reason == "resources" else "Job is queued"


def _json(shown: list[tuple[str, Attributes]], now: float, server: str) -> str:
    jobs: dict[str, Any] = {}
    for name, found in shown:
        entry: dict[str, Any] = {}
        for attribute, value in found:
            group, dot, tail = attribute.partition(".")
            if attribute == "Variable_List":
                entry[attribute] = dict(part.partition("=")[::2] for part in value.split(","))
            elif dot:
                entry.setdefault(group, {})[tail] = _number(value)
            else:
                entry[attribute] = _number(value)
        jobs[name] = entry
    head = {"timestamp": int(now), "pbs_version": "20.0.1", "pbs_server": server}
    return json.dumps({**head, "Jobs": jobs} if jobs else head, indent=4) + "\n"


def _number(text: str) -> str | int:
    return int(text) if text.lstrip("-").isdigit() else text
