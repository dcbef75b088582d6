"""Cobalt."""

from __future__ import annotations

import re
from collections.abc import Sequence

from harmony.jobs.scheduler import NoAnswer, Order, Scheduler, failed, is_transient, one_line
from harmony.jobs.schedulers._environment import inherited
from harmony.jobs.shell import Completed
from harmony.jobs.state import JobState, JobStatus, Reason

_QUEUED = ("queued", "starting", "hold", "user_hold", "admin_hold", "dep_hold", "maxrun_hold")
_HELD = ("user_hold", "admin_hold", "hold")
_ID = re.compile(r"^\s*(\d+)\s*$", re.MULTILINE)
_STATE = re.compile(r"^\s*(JobID|State)\s*:\s*(\S.*?)\s*$", re.MULTILINE | re.IGNORECASE)


class Cobalt(Scheduler):
    """Jobs through Cobalt's qsub, qstat and qdel.

    Cobalt takes ``#COBALT`` lines apart at blanks and knows no quotes, so no value with a blank can be said; in the
    job's name blanks become ``_``. It gives whole nodes, and how a job ended is written in no place that a command
    shows: only the job script's own report tells. `reservation_id` is the reservation's queue.
    """

    name = "cobalt"

    def directives(self, order: Order) -> list[str]:
        """Return the #COBALT lines."""
        resources, attributes = order.resources, order.attributes
        if resources.memory is not None:
            raise self.refuse("memory", resources.memory, "it gives whole nodes, with all their memory")
        if resources.gpus_per_node:
            raise self.refuse("gpu_cores_per_process", resources.gpu_cores_per_process, "it gives whole nodes")
        if attributes.queue_name is not None and attributes.reservation_id is not None:
            raise self.refuse(
                "reservation_id", attributes.reservation_id, "it is a queue, and queue_name names another"
            )
        for field, ids in (("after", order.dependencies.after), ("after_any", order.dependencies.after_any)):
            if ids:
                raise self.refuse(field, list(ids), "Cobalt only waits for other jobs to end well: after_ok")
        log = self._path(order.log)
        words = [
            ("-n", str(resources.computed_node_count)),
            ("--proccount", str(resources.computed_process_count)),
            ("-t", str(order.minutes)),
            ("--jobname", re.sub(r"[\s$]", "_", order.name.strip()) or "job"),
            ("-o", log),
            ("-e", log),
            ("--debuglog", "/dev/null"),
        ]
        for option, field in (("-q", "queue_name"), ("-q", "reservation_id"), ("-A", "account")):
            value = getattr(attributes, field)
            if value is not None:
                words.append((option, self._word(field, value)))
        if order.dependencies.after_ok:
            words.append(("--dependencies", ":".join(order.dependencies.after_ok)))
        lines = [f"#COBALT {option} {value}" for option, value in words]
        for option, given in self.options(order).items():
            dashed = f"-{option}" if len(option) == 1 else f"--{option}"
            self._word("custom_attributes", dashed)
            lines.append(f"#COBALT {dashed}" if given is None else f"#COBALT {dashed} {self._word(option, given)}")
        return lines

    def _word(self, field: str, value: str) -> str:
        if value.split() != [value] or value.startswith("-") is not (field == "custom_attributes"):
            raise self.refuse(field, value, "a #COBALT line holds no value with a blank in it or a - before it")
        return one_line(field, value)

    def _path(self, path: str) -> str:
        if "$" in path:
            raise self.refuse("work_directory", path, "Cobalt replaces $NAME in paths")
        return self._word("work_directory", path)

    def preamble(self, order: Order) -> list[str]:
        """Return the submitter's environment, and the function that lists the job's nodes."""
        show = 'if [ -s "${COBALT_NODEFILE-}" ]; then cat "$COBALT_NODEFILE"'
        function = f"psij_nodes() {{ {show}; else printf '%s\\n' \"${{HOSTNAME:-localhost}}\"; fi; }}"
        return [*inherited(order, "COBALT_"), function]

    def submit_command(self, script: str) -> list[str]:
        """Return the qsub, which wants the script to be executable."""
        return ["sh", "-c", 'chmod u+x -- "$1" && exec qsub "$1"', "qsub", script]

    def native_id(self, out: str) -> str:
        """Return the number in a line of its own."""
        match = _ID.search(out)
        if match is None:
            raise ValueError(f"qsub printed no job id: {out.strip()!r}")
        return match[1]

    def refusal_is_transient(self, done: Completed) -> bool:
        """Return whether the queue manager was not there."""
        return is_transient(done.complaint) or "failed to connect" in done.complaint.lower()

    def status_command(self, ids: Sequence[str]) -> list[str]:
        """Return one qstat for all."""
        return ["qstat", "-l", "--header", "JobID:State", *ids]

    def statuses(self, done: Completed) -> dict[str, JobStatus]:
        """Read it; when it knows none of the jobs it prints nothing and ends with 1."""
        found: dict[str, JobStatus] = {}
        job = ""
        for key, value in _STATE.findall(done.out):
            if key.lower() == "jobid":
                job = value if value.isdigit() else ""
            elif job:
                found[job] = _status(value)
        if not found and (done.out.strip() or done.err.strip() or done.code not in (0, 1)):
            raise NoAnswer(f"qstat: {done.complaint}")
        return found

    def cancel_command(self, ids: Sequence[str]) -> list[str]:
        """Return the qdel."""
        return ["qdel", *ids]

    def list_command(self) -> list[str]:
        """Return the qstat of this user's jobs."""
        return ["sh", "-c", 'exec qstat -l --header JobID:State -u "$(id -un)"']

    def listed(self, done: Completed) -> list[str]:
        """Read it."""
        return list(self.statuses(done))


def _status(state: str) -> JobStatus:
    facts: dict[str, object] = {"native_state": state}
    if state in _HELD:
        facts["reason"] = Reason.HELD
    if state == "dep_fail":  # it stays so for ever
        return failed(Reason.DEPENDENCY, state, "a job that it was to follow did not end well")
    return JobStatus(JobState.QUEUED if state in _QUEUED else JobState.ACTIVE, metadata=facts)
