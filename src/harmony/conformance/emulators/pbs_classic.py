"""Emulated Torque 6."""

from __future__ import annotations

from typing import ClassVar
from xml.sax.saxutils import escape

from harmony.conformance.emulators.engine import Machine
from harmony.conformance.emulators.model import Call, How, Job, Reply, State
from harmony.conformance.emulators.options import long_options
from harmony.conformance.emulators.pbs_attributes import Attributes, attribute_lines, exit_status, shared_attributes
from harmony.conformance.emulators.pbs_base import UNKNOWN_JOB, PBSFamily
from harmony.conformance.emulators.pbs_words import Entry

_CODES = {How.TIMEOUT: -11, How.OUT_OF_MEMORY: -10, How.LAUNCH_FAILED: -9, How.NODE_FAILED: -4}
_DELETED = 271
_WORDS = {State.WAITING: "Q", State.HELD: "H", State.RUNNING: "R", State.ENDED: "C"}


class PBSClassic(PBSFamily):
    """Torque: jobs that have ended are shown as C for ``keep_completed``, 300 s; its default queue is ``batch``."""

    name = "pbs_classic"
    keep = 300.0
    qsub_options: ClassVar[str] = "a:A:b:c:C:d:D:e:EfF:hi:Ij:J:k:K:l:L:m:M:nN:o:p:P:q:r:S:t:T:u:v:Vw:W:Xxz"
    array_option = "t"
    index_mark = "-"
    index_variable = "PBS_ARRAYID"
    unknown = "Unknown Job Id Error"
    queues: ClassVar[tuple[str, ...]] = ("batch", "debug", "workq", "short", "gpu")

    def answer(self, call: Call, machine: Machine) -> Reply:
        """Do what a command asks."""
        if "--version" in call.argv:
            return Reply(err="Version: 6.1.2\nCommit: emulated\n")
        if call.program == "qsub":
            return self.qsub(call, machine)
        if call.program == "qselect":
            return self.qselect(call, machine)
        if call.program == "qstat":
            return self._qstat(call, machine)
        return self._qdel(call, machine) if call.program == "qdel" else self._small(call, machine)

    def _unreadable(self, path: str, why: str) -> str:
        return f"qsub: script file '{path}' cannot be loaded - {why}"

    def _qdel(self, call: Call, machine: Machine) -> Reply:
        options, jobs, reply = self._each(call, machine, "ab:cm:pW:t:")
        wanted = dict(options).get("t")
        complaints, code = reply.err, reply.code
        for job in jobs:
            if wanted is not None and str(job.index) not in wanted.split(","):
                continue
            if job.state is not State.ENDED:
                machine.cancel(job, () if ("p", None) in options else None)
            elif job.index is None:
                complaints += f"qdel: Request invalid for state of job MSG=invalid state for job - COMPLETE {job.id}\n"
                code = 170
        return Reply(err=complaints, code=code)

    def _qstat(self, call: Call, machine: Machine) -> Reply:
        options, ids = long_options(call.argv, "acCeE:filn1pqrstu:xGMQRBW:", {}, "qstat")
        letters = {name for name, _ in options}
        complaints, code = "", 0
        entries = [] if ids else self.entries(machine, tasks="t" in letters)
        if "t" in letters:
            entries = [entry for entry in entries if not entry.array]
        for job_id in ids:
            found = self.named(job_id, machine, tasks="t" in letters)
            entries += [entry for entry in found if not (entry.array and "t" in letters)]
            if not found:
                complaints, code = complaints + f"qstat: {self.unknown} {self.full_id(job_id)}\n", UNKNOWN_JOB
        user = dict(options).get("u")
        if user:
            entries = [entry for entry in entries if entry.job.request.user in user.split(",")]
        if "x" in letters:
            return Reply(self._xml(entries, machine) if entries else "", complaints, code)
        if "f" in letters:
            one = "1" in letters
            shown = [(entry.name(self.server), self._attributes(entry, machine)) for entry in entries]
            text = "".join(attribute_lines(name, found, one_line=one) for name, found in shown)
            return Reply(text, complaints, code)
        return Reply(self._table(entries), complaints, code)

    def letter(self, entry: Entry) -> str:
        """A job's state, in one letter."""
        job = entry.job
        if entry.array:
            if entry.over:
                return "C"
            return "R" if any(each.state is State.RUNNING for each in entry.jobs) else "Q"
        if job.state is State.RUNNING and job.how is not None:
            return "E"
        if job.state is State.WAITING and job.reason in ("dependency", "never"):
            return "H"
        return "W" if job.reason == "delay" and job.request.start_after else _WORDS[job.state]

    def _attributes(self, entry: Entry, machine: Machine) -> Attributes:
        job = entry.job
        found = shared_attributes(self, job, machine, self.letter(entry))
        found.append(("euser", job.request.user))
        if entry.array:
            return [*found, ("job_array_request", job.request.extra["t"])]
        if job.index is not None:
            found.append(("job_array_id", str(job.index)))
        if job.foreign:
            found.append(("comment", job.note))
        code = exit_status(job, _CODES) if job.state is State.ENDED and job.started is not None else None
        if job.how is How.DEPENDENCY:  # as if it had been deleted while it ran
            code = _DELETED
            others = [each for dependency in job.request.dependencies for each in dependency.ids]
            found.append(("comment", f"Job deleted as result of dependency on job {others[0]}"))
        if code is not None:
            found.append(("exit_status", str(code)))
        if job.started is not None:
            found += [("start_count", str(job.restarts + 1)), ("start_time", str(int(job.started)))]
        if job.ended is not None:
            found.append(("comp_time", str(int(job.ended))))
        return found

    def _xml(self, entries: list[Entry], machine: Machine) -> str:
        jobs = []
        for entry in entries:
            text, group = f"<Job><Job_Id>{entry.name(self.server)}</Job_Id>", ""
            for attribute, value in self._attributes(entry, machine):
                head, dot, tail = attribute.partition(".")
                if group and head != group:
                    text, group = f"{text}</{group}>", ""
                if dot and not group:
                    text, group = f"{text}<{head}>", head
                name = tail if dot else attribute
                text += f"<{name}>{escape(value)}</{name}>"
            jobs.append(f"{text}{f'</{group}>' if group else ''}</Job>")
        return f"<Data>{''.join(jobs)}</Data>\n"

    def _table(self, entries: list[Entry]) -> str:
        if not entries:
            return ""
        lines = ["Job ID                    Name             User            Time Use S Queue",
                 "------------------------- ---------------- --------------- -------- - -----"]  # fmt: skip
        for entry in entries:
            job: Job = entry.job
            used = "00:00:00" if job.started is not None else "       0"
            name = job.request.name if len(job.request.name) <= 16 else f"...{job.request.name[-13:]}"
            lines.append(f"{entry.name(self.server):<25} {name:<16} {job.request.user[:15]:<15} {used} "
                         f"{self.letter(entry)} "
                         f"{job.request.queue:<15}")  # fmt: skip
        return "\n".join(lines) + "\n"
