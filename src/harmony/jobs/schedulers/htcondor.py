"""HTCondor."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from harmony.jobs.scheduler import NoAnswer, Order, Scheduler, ended, failed, is_transient, one_line
from harmony.jobs.schedulers._json import json_in
from harmony.jobs.shell import Completed
from harmony.jobs.state import JobState, JobStatus, Reason

_MARK = "#HTCONDOR "
_ATTRIBUTES = (
    "ClusterId", "ProcId", "JobStatus", "ExitCode", "ExitBySignal", "ExitSignal", "HoldReason", "HoldReasonCode",
    "RemoveReason", "NumShadowStarts",
)  # fmt: skip
_IDLE, _RUNNING, _REMOVED, _COMPLETED, _HELD, _TRANSFERRING, _SUSPENDED = range(1, 8)
#: The holds that no waiting ends: what the job's own demands or its files have caused.
_FATAL_HOLDS = {
    6: Reason.LAUNCH,
    7: Reason.LAUNCH,
    8: Reason.LAUNCH,
    12: Reason.STAGING,
    13: Reason.STAGING,
    14: Reason.LAUNCH,
    34: Reason.OUT_OF_MEMORY,
    46: Reason.WALLTIME,
    47: Reason.WALLTIME,
}
_TERSE = re.compile(r"^\s*(\d+\.\d+) - (\d+\.\d+)\s*$", re.MULTILINE)
_GONE = re.compile(r"not found|couldn't find/remove all jobs|already|no jobs? ", re.IGNORECASE)


class HTCondor(Scheduler):
    """Jobs of the vanilla universe through condor_submit, condor_q, condor_history and condor_rm.

    The submit description stands in comment lines at the head of the job script. Jobs need a file system that the
    machines share with this one: no files are transferred. A job is on one machine. The pool removes it when its time
    is up, and when it was held for a fault that waiting does not mend.
    """

    name = "htcondor"
    aliases = ("condor",)
    array_index = "$PSIJ_PROCESS"
    attempt = '$(( $(sed -n "s/^NumShadowStarts = //p" "${_CONDOR_JOB_AD:-/dev/null}" 2>/dev/null) + 0 ))'

    def directives(self, order: Order) -> list[str]:
        """Return the lines of the submit description, as comments."""
        self._check(order)
        resources, attributes = order.resources, order.attributes
        seconds = order.seconds
        holds = " || ".join(f"HoldReasonCode =?= {code}" for code in _FATAL_HOLDS)
        lines = {
            "universe": "vanilla",
            "executable": "/bin/bash",
            "transfer_executable": "False",
            "should_transfer_files": "NO",
            # a \ at the end would take the next line in
            "batch_name": _text(re.sub(r"\\$", "_", order.name.strip()) or "job"),
            "output": self._log(order.log),
            "getenv": str(order.spec.inherit_environment),
            "environment": '"PSIJ_PROCESS=$(Process)"',
            "request_cpus": str(resources.cores_per_node),
            "periodic_remove": f"(JobStatus == 2 && time() - EnteredCurrentStatus > {seconds}) || "
            f"(JobStatus == 5 && ({holds}))",
        }
        if resources.memory is not None:
            lines["request_memory"] = str(-(-resources.memory // 2**20))
        if resources.gpus_per_node:
            lines["request_gpus"] = str(resources.gpus_per_node)
        if attributes.account is not None:
            lines["accounting_group"] = self._plain("account", attributes.account)
        for option, value in self.options(order).items():
            field = f"{self.name}.{option}"
            lines[one_line(field, option)] = "True" if value is None else self._plain(field, value)
        queue = "queue" if order.size is None else f"queue {order.size}"
        return [f"{_MARK}{key} = {value}" for key, value in lines.items()] + [f"{_MARK}{queue}"]

    def _check(self, order: Order) -> None:
        resources, attributes = order.resources, order.attributes
        if resources.computed_node_count > 1:
            raise self.refuse("node_count", resources.computed_node_count, "a job is on one machine")
        if resources.exclusive_node_use:
            raise self.refuse("exclusive_node_use", True, "no job can ask for a whole machine")
        if attributes.queue_name is not None:
            raise self.refuse("queue_name", attributes.queue_name, "it has no queues; see htcondor.requirements")
        if attributes.reservation_id is not None:
            raise self.refuse("reservation_id", attributes.reservation_id, "it has no reservations")
        for field in ("after", "after_ok", "after_any"):
            if ids := getattr(order.dependencies, field):
                raise self.refuse(field, list(ids), "a job cannot wait for another one outside of DAGMan")

    def _plain(self, field: str, value: str) -> str:
        one_line(field, value)
        if value.endswith("\\"):
            raise self.refuse(field, value, "a \\ at the end of a line of a submit description goes on in the next")
        if value != value.strip():
            raise self.refuse(field, value, "a submit description loses blanks at the ends of a value")
        return _text(value)

    def _log(self, path: str) -> str:
        return self._plain("work_directory", path)

    def preamble(self, order: Order) -> list[str]:
        """Return the line that sends both streams to the log: two files of one name would overwrite each other."""
        return ["exec 2>&1"]

    def submit_command(self, script: str) -> list[str]:
        """Return the command that hands the description on, up to the first line that is none of its own."""
        words = script.replace("'", "''").replace('"', '""').replace("$", "$(DOLLAR)")
        pick = f'sed -n -e 1d -e "/^{_MARK}/!q" -e "s///p" "$1" | condor_submit -terse -append "$2"'
        return ["sh", "-c", pick, "condor_submit", script, f"arguments = \"'{words}'\""]

    def native_id(self, out: str) -> str:
        """Return the first id of ``123.0 - 123.4``."""
        match = _TERSE.search(out)
        if match is None:
            raise ValueError(f"condor_submit printed no job id: {out.strip()!r}")
        return match[1]

    def array_ids(self, native_id: str, size: int) -> list[str]:
        """Return ``123.0``, ``123.1`` and so on."""
        return [f"{native_id.partition('.')[0]}.{index}" for index in range(size)]

    def refusal_is_transient(self, done: Completed) -> bool:
        """Return whether the schedd was not to be reached."""
        return is_transient(done.complaint) or "can't find address of" in done.complaint.lower()

    def status_command(self, ids: Sequence[str]) -> list[str]:
        """Return one condor_q for all; an array's processes are asked for by their cluster."""
        return ["condor_q", *_clusters(ids), "-json", "-attributes", ",".join(_ATTRIBUTES)]

    def statuses(self, done: Completed) -> dict[str, JobStatus]:
        """Read it; nothing at all is printed when no job is left."""
        return {name: _status(ad) for name, ad in self._ads(done, "condor_q").items()}

    def accounting_command(self, ids: Sequence[str]) -> list[str]:
        """Return the condor_history that ends with the last of them."""
        return ["condor_history", *ids, "-limit", str(len(ids)), "-json", "-attributes", ",".join(_ATTRIBUTES)]

    def outcomes(self, done: Completed) -> dict[str, JobStatus]:
        """Read it."""
        ads = self._ads(done, "condor_history")
        return {name: status for name, ad in ads.items() if (status := _status(ad)).final}

    def cancel_command(self, ids: Sequence[str]) -> list[str]:
        """Return the condor_rm."""
        return ["condor_rm", *ids]

    def cancel_failed(self, done: Completed) -> bool:
        """Return whether a job is left that is neither removed nor gone."""
        lines = [line for line in f"{done.out}\n{done.err}".splitlines() if line.strip() and "marked for" not in line]
        return done.code != 0 and (not lines or not all(_GONE.search(line) for line in lines))

    def list_command(self) -> list[str]:
        """Return the condor_q of this user's jobs."""
        return ["condor_q", "-json", "-attributes", ",".join(_ATTRIBUTES)]

    def listed(self, done: Completed) -> list[str]:
        """Read it."""
        return [name for name, status in self.statuses(done).items() if not status.final]

    def _ads(self, done: Completed, command: str) -> dict[str, dict[str, Any]]:
        if done.code != 0:
            raise NoAnswer(f"{command}: {done.complaint}")
        if not done.out.strip():
            return {}
        try:
            ads = json_in(done.out)
        except ValueError as error:
            raise NoAnswer(f"{command} printed what is not JSON: {done.out[:200]!r}") from error
        if not isinstance(ads, list):
            raise NoAnswer(f"{command} printed no list of jobs: {done.out[:200]!r}")
        return {f"{ad['ClusterId']}.{ad['ProcId']}": ad for ad in ads if _readable(ad)}


def _readable(ad: object) -> bool:
    return isinstance(ad, dict) and all(isinstance(ad.get(key), int) for key in ("ClusterId", "ProcId", "JobStatus"))


def _text(value: str) -> str:
    """A value in which nothing is a macro."""
    return value.replace("$", "$(DOLLAR)")


def _clusters(ids: Sequence[str]) -> list[str]:
    by_cluster: dict[str, list[str]] = {}
    for name in ids:
        by_cluster.setdefault(name.partition(".")[0], []).append(name)
    return [names[0] if len(names) == 1 else cluster for cluster, names in by_cluster.items()]


def _status(ad: Mapping[str, Any]) -> JobStatus:
    state = ad["JobStatus"]
    facts: dict[str, object] = {"native_state": str(state)}
    starts = ad.get("NumShadowStarts")
    if isinstance(starts, int) and starts > 1:
        facts["restarts"] = starts - 1
    if state == _COMPLETED:
        if ad.get("ExitBySignal"):
            return ended(signal=_number(ad.get("ExitSignal")), native_state="4")
        return ended(_number(ad.get("ExitCode")), native_state="4")
    if state == _REMOVED:
        return _removed(ad)
    if state == _HELD:
        return _held(ad, facts)
    if state in (_RUNNING, _TRANSFERRING, _SUSPENDED):
        return JobStatus(JobState.ACTIVE, metadata=facts)
    return JobStatus(JobState.QUEUED, metadata=facts)


def _number(value: object) -> int | None:
    return value if isinstance(value, int) else None


def _held(ad: Mapping[str, Any], facts: dict[str, object]) -> JobStatus:
    message = str(ad.get("HoldReason") or "held")
    reason = _FATAL_HOLDS.get(ad.get("HoldReasonCode", 0))
    if reason is not None:
        return failed(reason, "5", message)
    return JobStatus(JobState.QUEUED, message=message, metadata={**facts, "reason": Reason.HELD})


def _removed(ad: Mapping[str, Any]) -> JobStatus:
    message = str(ad.get("RemoveReason") or "removed")
    hold = _FATAL_HOLDS.get(ad.get("HoldReasonCode", 0))
    if re.search(r"PeriodicRemove\b", message):
        if hold is not None:
            return failed(hold, "3", str(ad.get("HoldReason") or message))
        return failed(Reason.WALLTIME, "3", message)
    if re.search(r"SYSTEM_PERIODIC|policy|OnExitRemove", message, re.IGNORECASE):
        return failed(Reason.UNKNOWN, "3", message)
    return failed(Reason.CANCELED, "3", message)
