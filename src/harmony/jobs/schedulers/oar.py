"""OAR."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from harmony.jobs.scheduler import NoAnswer, Order, Scheduler, ended, failed, is_transient, one_line
from harmony.jobs.schedulers._environment import inherited
from harmony.jobs.schedulers._json import json_in
from harmony.jobs.shell import Completed
from harmony.jobs.state import JobState, JobStatus, Reason

_ACTIVE = ("Running", "Suspended", "Resuming", "Finishing")
_ENDED = ("Terminated", "Error")
#: What an event in a job's record says of its end; the first in this order counts.
_EVENTS = (
    ("WALLTIME", Reason.WALLTIME),
    ("BESTEFFORT_KILL", Reason.PREEMPTED),
    ("FRAG_JOB_REQUEST", Reason.CANCELED),
    ("CANNOT_CREATE_TMP_DIRECTORY", Reason.LAUNCH),
    ("LAUNCHING_OAREXEC_TIMEOUT", Reason.LAUNCH),
    ("CPUSET_ERROR", Reason.LAUNCH),
    ("PROLOGUE_ERROR", Reason.LAUNCH),
    ("SERVER_PROLOGUE_ERROR", Reason.LAUNCH),
    ("SERVER_PROLOGUE_TIMEOUT", Reason.LAUNCH),
    ("WORKING_DIRECTORY", Reason.LAUNCH),
    ("OUTPUT_FILES", Reason.LAUNCH),
    ("BIPBIP_BAD_JOBID", Reason.LAUNCH),
    ("CAN_NOT_WRITE_NODE_FILE", Reason.LAUNCH),
    ("CAN_NOT_WRITE_PID_FILE", Reason.LAUNCH),
    ("USER_SHELL", Reason.LAUNCH),
    ("NO_MATCHING", Reason.LAUNCH),
    ("EXTERMINATE_JOB", Reason.NODE_FAILURE),
    ("PING_CHECKER_NODE_SUSPECTED", Reason.NODE_FAILURE),
    ("DEAD_NODE", Reason.NODE_FAILURE),
)
_ID = re.compile(r"^OAR_JOB_ID=(\d+)$", re.MULTILINE)
_SAFE_PATH = re.compile(r"[\w./,:+=@%-]+", re.ASCII)
_SAFE = re.compile(r"[\w ./,:+=@-]+")
_NOT_DELETED = re.compile(r"^Cannot frag \d+ ; (?!This job was already killed)", re.MULTILINE)


class OAR(Scheduler):
    """Jobs through oarsub, oarstat and oardel.

    Cores are asked for as OAR's smallest resource (``resource_id``), which on most sites is a core; ``oar.l`` takes the
    place of the whole request. `reservation_id` names the container job to run inside of. OAR hands names and paths to
    shells and databases unquoted: what it could not hold is refused, or, in the job's name, replaced by ``_``.
    """

    name = "oar"
    array_index = "$((OAR_ARRAY_INDEX - 1))"
    can_signal = True

    def directives(self, order: Order) -> list[str]:
        """Return the #OAR lines, whose values go as they are to the end of the line."""
        attributes = order.attributes
        options = self.options(order)
        log = self._path(order.log)
        lines = [f"#OAR -n {_name(order.name)}", f"#OAR -O {log}", f"#OAR -E {log}"]
        if "l" not in options and "resource" not in options:
            lines.append(f"#OAR -l {self._resources(order)}")
        if attributes.queue_name is not None:
            lines.append(f"#OAR -q {self._safe('queue_name', attributes.queue_name)}")
        if attributes.account is not None:
            lines.append(f"#OAR --project {self._safe('account', attributes.account)}")
        if attributes.reservation_id is not None:
            lines.append(f"#OAR -t inner={self._safe('reservation_id', attributes.reservation_id)}")
        if order.size is not None:
            lines.append(f"#OAR --array {order.size}")
        for field, ids in (("after", order.dependencies.after), ("after_ok", order.dependencies.after_ok)):
            if ids:
                raise self.refuse(field, list(ids), "OAR only waits for another job's end, however it ended: after_any")
        lines += [f"#OAR -a {job}" for job in order.dependencies.after_any]
        for option, value in options.items():
            one_line("custom_attributes", option)
            dashed = f"-{option}" if len(option) == 1 else f"--{option}"
            if value is not None and value != value.strip():
                raise self.refuse(f"oar.{option}", value, "an #OAR line loses blanks at the ends of a value")
            lines.append(f"#OAR {dashed}" if value is None else f"#OAR {dashed} {one_line(option, value)}")
        return lines

    def _resources(self, order: Order) -> str:
        resources = order.resources
        if resources.memory is not None:
            raise self.refuse("memory", resources.memory, "it is a property of a site's own making; see oar.p")
        levels = [f"nodes={resources.computed_node_count}"]
        if resources.gpus_per_node:
            levels.append(f"gpu={resources.gpus_per_node}")
        if not resources.exclusive_node_use:
            levels.append(f"resource_id={-(-resources.cores_per_node // (resources.gpus_per_node or 1))}")
        hours, seconds = divmod(order.seconds, 3600)
        return f"/{'/'.join(levels)},walltime={hours}:{seconds // 60}:{seconds % 60}"

    def _safe(self, field: str, value: str) -> str:
        if not _SAFE.fullmatch(one_line(field, value)) or value != value.strip():
            raise self.refuse(field, value, "OAR takes letters, digits, blanks and . / , : + = @ _ - here")
        return value

    def _path(self, path: str) -> str:
        if not _SAFE_PATH.fullmatch(path) or "%job" in path:
            raise self.refuse("work_directory", path, "OAR takes paths of ASCII letters, digits and . / , : + = @ _ -")
        return path

    def preamble(self, order: Order) -> list[str]:
        """Return the submitter's environment, and the function that lists the job's nodes, each of them once."""
        return [
            *inherited(order, "OAR_", "OARDO_"),
            "psij_nodes() { awk '!seen[$1]++ { print $1 }' \"$OAR_NODEFILE\"; }",
        ]

    def submit_command(self, script: str) -> list[str]:
        """Return the oarsub that looks for #OAR lines."""
        return ["oarsub", "-S", script]

    def native_id(self, out: str) -> str:
        """Return the id; of an array job the ids of all its tasks, with commas between them."""
        ids = _ID.findall(out)
        if not ids:
            raise ValueError(f"oarsub printed no job id: {out.strip()!r}")
        return ",".join(ids)

    def array_ids(self, native_id: str, size: int) -> list[str]:
        """Return the tasks' ids, in the order of their indices."""
        return sorted(native_id.split(","), key=int)

    def refusal_is_transient(self, done: Completed) -> bool:
        """Return whether the server or its database was not there."""
        return is_transient(done.complaint) or "database" in done.complaint.lower()

    def status_command(self, ids: Sequence[str]) -> list[str]:
        """Return one oarstat for all; it knows ended jobs too."""
        return ["oarstat", "-J", "-f", *(word for job in _each(ids) for word in ("-j", job))]

    def statuses(self, done: Completed) -> dict[str, JobStatus]:
        """Read it; an unknown job is left out in silence."""
        return {job: _status(record) for job, record in self._records(done).items()}

    def cancel_command(self, ids: Sequence[str]) -> list[str]:
        """Return the oardel."""
        return ["oardel", *_each(ids)]

    def cancel_failed(self, done: Completed) -> bool:
        """Return whether a job is left that was not deleted, now or before; one that has ended is, once more."""
        return done.code not in (0, 6) or bool(_NOT_DELETED.search(done.err))

    def signal_command(self, ids: Sequence[str], signal: str) -> list[str]:
        """Return the oardel that sends a signal."""
        return ["oardel", "-s", signal, *_each(ids)]

    def list_command(self) -> list[str]:
        """Return the oarstat of this user's jobs."""
        return ["oarstat", "-J", "-u"]

    def listed(self, done: Completed) -> list[str]:
        """Read it."""
        return list(self._records(done))

    def _records(self, done: Completed) -> dict[str, Mapping[str, Any]]:
        if done.code != 0:
            raise NoAnswer(f"oarstat: {done.complaint}")
        if not done.out.strip():
            return {}
        try:
            records = json_in(done.out)
        except ValueError as error:
            raise NoAnswer(f"oarstat printed what is not JSON: {done.out[:200]!r}") from error
        if not isinstance(records, dict):
            raise NoAnswer(f"oarstat printed no jobs: {done.out[:200]!r}")
        return {job: record for job, record in records.items() if isinstance(record, dict) and record.get("state")}


def _name(name: str) -> str:
    safe = re.sub(r"[^\w .,:+=@-]", "_", name)
    return safe.encode()[:100].decode(errors="ignore").strip() or "job"  # its database keeps 100 bytes


def _each(ids: Sequence[str]) -> list[str]:
    return [job for joined in ids for job in joined.split(",")]


def _status(record: Mapping[str, Any]) -> JobStatus:
    state = str(record["state"])
    if state in _ENDED:
        return _ended(state, record)
    facts: dict[str, object] = {"native_state": state}
    message = record.get("message")
    if state == "Hold":
        facts["reason"] = Reason.HELD
    if state in _ACTIVE:
        return JobStatus(JobState.ACTIVE, metadata=facts)
    return JobStatus(JobState.QUEUED, message=str(message) if message else None, metadata=facts)


def _counts(event: object, record: Mapping[str, Any]) -> bool:
    """Whether an event can be why the job ended: a job that has ended by itself may be deleted once more."""
    if not isinstance(event, dict):
        return False
    date, stop = event.get("date"), record.get("stopTime")
    return record.get("exit_code") is None or not (isinstance(date, int) and isinstance(stop, int) and date > stop > 0)


def _ended(state: str, record: Mapping[str, Any]) -> JobStatus:
    events = record.get("events")
    told = [event for event in events if _counts(event, record)] if isinstance(events, list) else []
    raw = record.get("exit_code")
    code = int(raw) if isinstance(raw, int) or (isinstance(raw, str) and raw.isdigit()) else None
    for kind, reason in _EVENTS:
        for event in told:
            if event.get("type") == kind:
                return failed(reason, state, str(event.get("description") or kind), _shell_code(code))
    if code is not None:
        return ended(code >> 8, code & 127, native_state=state)
    if state == "Error":
        return failed(Reason.UNKNOWN, state, str(record.get("message") or "OAR says that it failed, and not how"))
    return ended(native_state=state)


def _shell_code(code: int | None) -> int | None:
    """Return a wait status as a shell gives it; None when it says nothing beside an event."""
    if not code:
        return None
    return 128 + (code & 127) if code & 127 else code >> 8
