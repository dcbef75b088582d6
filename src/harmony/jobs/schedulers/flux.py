"""Flux."""

from __future__ import annotations

import re
from collections.abc import Sequence

from harmony.jobs.scheduler import NoAnswer, Order, Scheduler, ended, failed, is_transient, one_line
from harmony.jobs.shell import Completed
from harmony.jobs.state import JobState, JobStatus, Reason

#: The note comes last: it alone may hold the separator.
_FORMAT = "{id.f58}|{id.dec}|{state}|{result}|{returncode}|{exception.severity}|{exception.type}|{exception.note}"
_FIELDS = 8
_QUEUED = ("NEW", "DEPEND", "PRIORITY", "SCHED")
_ACTIVE = ("RUN", "CLEANUP")
_EXCEPTIONS = {
    "timeout": Reason.WALLTIME,
    "cancel": Reason.CANCELED,
    "dependency": Reason.DEPENDENCY,
    "dependency-after": Reason.DEPENDENCY,
    "alloc": Reason.LAUNCH,
    "validate": Reason.LAUNCH,
    "node-failure": Reason.NODE_FAILURE,
    "exec-lost": Reason.NODE_FAILURE,
}
_ID = re.compile(r"^\s*(?:ƒ|f)([1-9A-HJ-NP-Za-km-z]+)\s*$", re.MULTILINE)
_PLAIN = re.compile(r"([^\w@%+=:,./-])")
_GONE = re.compile(r"^(?!.*connect).*(inactive|unknown|no such|not found)", re.IGNORECASE)


class Flux(Scheduler):
    """Jobs through flux batch, flux jobs and flux cancel.

    Each job is a Flux instance of its own, so that ``flux run`` inside of it has the job's resources. It works inside
    a Flux instance, or with the system's. Flux schedules no memory. An id is given with an ``f``; the commands take
    it in that form.
    """

    name = "flux"
    can_signal = True

    def directives(self, order: Order) -> list[str]:
        """Return the #FLUX: lines."""
        resources, attributes = order.resources, order.attributes
        if resources.memory is not None:
            raise self.refuse("memory", resources.memory, "it schedules no memory")
        if attributes.reservation_id is not None:
            raise self.refuse("reservation_id", attributes.reservation_id, "it has no reservations")
        nodes, slots = resources.computed_node_count, resources.computed_process_count
        words = [f"--nodes={nodes}", f"--nslots={slots}", f"--cores-per-slot={resources.cpu_cores_per_process or 1}"]
        if resources.gpu_cores_per_process:
            words.append(f"--gpus-per-slot={resources.gpu_cores_per_process}")
        if resources.exclusive_node_use:
            words.append("--exclusive")
        words += [f"--time-limit={order.seconds}s", f"--job-name={order.name.strip() or 'job'}"]
        words.append(f"--output={self._log(order.log)}")
        for option, field in (("queue", "queue_name"), ("bank", "account")):
            value = getattr(attributes, field)
            if value is not None:
                words.append(f"--{option}={one_line(field, value)}")
        if not order.spec.inherit_environment:
            words.append("--env-remove=*")
        waits = order.dependencies
        for scheme, ids in (("after", waits.after), ("afterok", waits.after_ok), ("afterany", waits.after_any)):
            words += [f"--dependency={scheme}:{job}" for job in ids]
        for option, value in self.options(order).items():
            dashed = f"--{one_line('custom_attributes', option)}"
            words.append(dashed if value is None else f"{dashed}={one_line(option, value)}")
        return [f"#FLUX: {_quoted(word)}" for word in words]

    def _log(self, path: str) -> str:
        if "{{" in path:
            raise self.refuse("work_directory", path, "Flux replaces what stands in {{ }} in a path")
        return one_line("work_directory", path)

    def preamble(self, order: Order) -> list[str]:
        """Return the function that lists the job's nodes."""
        # Without the submitter's environment, flux may not be on the PATH.
        hosts = "flux hostlist -e local 2>/dev/null | tr ' ' '\\n' | grep ."
        return [f"psij_nodes() {{ {hosts} || printf '%s\\n' \"${{HOSTNAME:-localhost}}\"; }}"]

    def submit_command(self, script: str) -> list[str]:
        """Return the flux batch."""
        return ["flux", "batch", script]

    def native_id(self, out: str) -> str:
        """Return the id, as ``f`` and base 58."""
        match = _ID.search(out)
        if match is None:
            raise ValueError(f"flux batch printed no job id: {out.strip()!r}")
        return f"f{match[1]}"

    def refusal_is_transient(self, done: Completed) -> bool:
        """Return whether no Flux instance was to be reached."""
        return is_transient(done.complaint) or "unable to connect to flux" in done.complaint.lower()

    def status_command(self, ids: Sequence[str]) -> list[str]:
        """Return one flux jobs for all."""
        return ["flux", "jobs", "--no-header", f"--format={_FORMAT}", *ids]

    def statuses(self, done: Completed) -> dict[str, JobStatus]:
        """Read it; each job is given under every form of its id."""
        found: dict[str, JobStatus] = {}
        for line in done.out.splitlines():
            fields = [field.strip() for field in line.split("|", _FIELDS - 1)]
            if len(fields) == _FIELDS and fields[1].isdigit():
                status = _status(*fields[2:])
                short = fields[0].lstrip("ƒf")
                found.update(dict.fromkeys((f"f{short}", f"ƒ{short}", fields[1]), status))
        if done.code != 0 and not found and not _unknown(done):
            raise NoAnswer(f"flux jobs: {done.complaint}")
        return found

    def cancel_command(self, ids: Sequence[str]) -> list[str]:
        """Return the flux cancel."""
        return ["flux", "cancel", *ids]

    def cancel_failed(self, done: Completed) -> bool:
        """Return whether a job may be left."""
        lines = [line for line in done.complaint.splitlines() if line.strip()]
        return done.code != 0 and not all(_GONE.search(line) for line in lines)

    def signal_command(self, ids: Sequence[str], signal: str) -> list[str]:
        """Return the flux job kill."""
        return ["flux", "job", "kill", f"--signal={signal}", *ids]

    def list_command(self) -> list[str]:
        """Return the flux jobs of this user's jobs."""
        return ["flux", "jobs", "--no-header", "--count=0", f"--format={_FORMAT}"]

    def listed(self, done: Completed) -> list[str]:
        """Read it."""
        if done.code != 0:
            raise NoAnswer(f"flux jobs: {done.complaint}")
        return [job for job in self.statuses(done) if job.startswith("f")]


def _quoted(word: str) -> str:
    """A word for the parser of directives, in which quotes, thrice in a row, mean several lines."""
    return _PLAIN.sub(r"\\\1", word)


def _unknown(done: Completed) -> bool:
    lines = [line for line in done.err.splitlines() if line.strip()]
    return bool(lines) and all("unknown" in line for line in lines)


def _status(state: str, result: str, code: str, severity: str, exception: str, note: str) -> JobStatus:
    if state in _QUEUED:
        return JobStatus(JobState.QUEUED, metadata={"native_state": state})
    if state != "INACTIVE":
        known = state in _ACTIVE
        return JobStatus(JobState.ACTIVE if known else JobState.QUEUED, metadata={"native_state": state})
    number = int(code) if code.lstrip("-").isdigit() else None
    if severity not in ("", "0"):  # only those of severity 0 end a job; others warn
        exception = note = ""
    reason = _EXCEPTIONS.get(exception)
    if result == "TIMEOUT":
        reason = Reason.WALLTIME
    elif result == "CANCELED":
        reason = Reason.CANCELED if reason in (None, Reason.WALLTIME) else reason
    elif result == "COMPLETED":
        return ended(number or 0, native_state=result)
    elif result != "FAILED":
        return ended(number, native_state=result or state)
    if reason is not None:
        return failed(reason, result, note or exception or result.lower())
    if number is not None and (number < 0 or number > 128):
        return ended(signal=-number if number < 0 else number - 128, native_state=result)
    if exception == "exec" and not number:
        return failed(Reason.LAUNCH, result, note or "it could not be started")
    return ended(number or 1, native_state=result)
