"""NEC NQSV."""

from __future__ import annotations

import re
from collections.abc import Sequence

from harmony.jobs.scheduler import NoAnswer, Order, Scheduler, is_transient, one_line
from harmony.jobs.shell import Completed
from harmony.jobs.state import JobState, JobStatus, Reason

_QUEUED = ("QUE", "WAT", "HLD", "ARI", "TRS", "STG", "GQD", "MIG")
_ACTIVE = ("PRR", "RUN", "SUS", "EXT", "POR")
_ID = re.compile(r"\bRequest (\d+(?:\.[\w-]+)?) submitted", re.IGNORECASE)
_LINE = re.compile(r"^\s*(\d+)(\.\S+)?\s+([A-Z]{3})\b", re.MULTILINE)
_UNKNOWN = re.compile(r"does not exist|not exist|no such|unknown request", re.IGNORECASE)
_SAFE = re.compile(r"[^\s\"'`$\\;&|<>()*?#]+")


class NQSV(Scheduler):
    """Jobs through NQSV's qsub, qstat and qdel, wherever they are on the PATH.

    A node is one of NQSV's jobs (``-b``) inside of a request. NQSV's manuals say nothing of quotes in ``#PBS`` lines:
    a value with a blank or a sign that a shell would read is refused, and in the request's name replaced by ``_``. How
    a request ended is told by the job script's own report alone. NQSV's options for one request after another differ
    between sites; give them as custom attributes.
    """

    name = "nqsv"

    def directives(self, order: Order) -> list[str]:
        """Return the #PBS lines in NQSV's dialect."""
        resources, attributes = order.resources, order.attributes
        for field in ("after", "after_ok", "after_any"):
            if ids := getattr(order.dependencies, field):
                raise self.refuse(field, list(ids), "how requests wait for each other differs between sites")
        hours, seconds = divmod(order.seconds, 3600)
        lines = [
            f"#PBS -N {_name(order.name)}",
            f"#PBS -o {self._path(order.log)}",
            "#PBS -j o",
            f"#PBS -b {resources.computed_node_count}",
            f"#PBS -l cpunum_job={resources.cores_per_node}",
            f"#PBS -l elapstim_req={hours:02}:{seconds // 60:02}:{seconds % 60:02}",
        ]
        if resources.gpus_per_node:
            lines.append(f"#PBS -l gpunum_job={resources.gpus_per_node}")
        if resources.memory_per_node is not None:
            lines.append(f"#PBS -l memsz_job={-(-resources.memory_per_node // 2**20)}mb")
        if resources.exclusive_node_use:
            lines.append("#PBS --exclusive")
        if order.spec.inherit_environment:
            lines.append("#PBS -V")
        for option, field in (("-q", "queue_name"), ("-A", "account"), ("-y", "reservation_id")):
            value = getattr(attributes, field)
            if value is not None:
                lines.append(f"#PBS {option} {self._word(field, value)}")
        for option, value in self.options(order).items():
            dashed = self._word("custom_attributes", f"-{option}" if len(option) == 1 else f"--{option}")
            lines.append(f"#PBS {dashed}" if value is None else f"#PBS {dashed} {self._word(option, value)}")
        return lines

    def _word(self, field: str, value: str) -> str:
        if not _SAFE.fullmatch(one_line(field, value)):
            raise self.refuse(field, value, "a #PBS line of NQSV holds no blanks, quotes or signs of the shell")
        return value

    def _path(self, path: str) -> str:
        if "%" in path or ":" in path:
            raise self.refuse("work_directory", path, "NQSV reads % and : in the path of a request's output")
        return self._word("work_directory", path)

    def preamble(self, order: Order) -> list[str]:
        """Return the lines that leave the script to the first of the request's jobs, and that list their hosts."""
        nodes = (
            'psij_nodes() { if [ -s "${PBS_NODEFILE-}" ]; then awk \'!seen[$1]++ { print $1 }\' "$PBS_NODEFILE"; '
            "else printf '%s\\n' \"${HOSTNAME:-localhost}\"; fi; }"
        )
        return ["case ${PBS_JOBID-} in 0:*) ;; [0-9]*:*) trap - EXIT; exit 0 ;; esac", nodes]

    def submit_command(self, script: str) -> list[str]:
        """Return the qsub."""
        return ["qsub", script]

    def native_id(self, out: str) -> str:
        """Return the id in ``Request 996644.nqsv submitted to queue: gen_S.``."""
        match = _ID.search(out)
        if match is None:
            raise ValueError(f"qsub printed no request id: {out.strip()!r}")
        return match[1]

    def refusal_is_transient(self, done: Completed) -> bool:
        """Return whether the batch server was not there."""
        return is_transient(done.complaint) or "cannot connect" in done.complaint.lower()

    def status_command(self, ids: Sequence[str]) -> list[str]:
        """Return one qstat for all, with two columns and no header."""
        return ["qstat", "-F", "rid,stt", "-n", "-l", *ids]

    def statuses(self, done: Completed) -> dict[str, JobStatus]:
        """Read it; each request is given by its number with and without the server's name."""
        found: dict[str, JobStatus] = {}
        for number, server, state in _LINE.findall(done.out):
            status = _status(state)
            found[number] = status
            if server:
                found[number + server] = status
        if not found and done.code != 0 and not _UNKNOWN.search(done.complaint):
            raise NoAnswer(f"qstat: {done.complaint}")
        return found

    def cancel_command(self, ids: Sequence[str]) -> list[str]:
        """Return the qdel."""
        return ["qdel", *ids]

    def cancel_failed(self, done: Completed) -> bool:
        """Return whether a request may be left."""
        return done.code != 0 and not _UNKNOWN.search(done.complaint)

    def list_command(self) -> list[str]:
        """Return the qstat of this user's requests."""
        return ["qstat", "-F", "rid,stt", "-n", "-l"]

    def listed(self, done: Completed) -> list[str]:
        """Read it."""
        if done.code != 0:
            raise NoAnswer(f"qstat: {done.complaint}")
        return [number + server for number, server, _ in _LINE.findall(done.out)]


def _name(name: str) -> str:
    return re.sub(r"[\s\"'`$\\;&|<>()*?#]", "_", name.strip())[:63] or "job"


def _status(state: str) -> JobStatus:
    facts: dict[str, object] = {"native_state": state}
    if state == "HLD":
        facts["reason"] = Reason.HELD
    return JobStatus(JobState.QUEUED if state in _QUEUED else JobState.ACTIVE, metadata=facts)
