"""Slurm, by its text commands: sbatch, squeue, sacct, scancel."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar

from harmony.errors import InvalidJobException
from harmony.jobs.scheduler import NoAccounting, NoAnswer, Order, Scheduler, ended, failed, one_line
from harmony.jobs.shell import Completed
from harmony.jobs.state import JobState, JobStatus, Reason

_CODES = {
    "BF": "BOOT_FAIL", "CA": "CANCELLED", "CD": "COMPLETED", "CF": "CONFIGURING", "CG": "COMPLETING",
    "DL": "DEADLINE", "F": "FAILED", "NF": "NODE_FAIL", "OOM": "OUT_OF_MEMORY", "PD": "PENDING", "PR": "PREEMPTED",
    "R": "RUNNING", "RD": "RESV_DEL_HOLD", "RF": "REQUEUE_FED", "RH": "REQUEUE_HOLD", "RQ": "REQUEUED",
    "RS": "RESIZING", "RV": "REVOKED", "SI": "SIGNALING", "SE": "SPECIAL_EXIT", "SO": "STAGE_OUT", "ST": "STOPPED",
    "S": "SUSPENDED", "TO": "TIMEOUT",
}  # fmt: skip
#: REVOKED: the job has started on another cluster of the federation.
_WAITING = {"PENDING", "CONFIGURING", "POWER_UP_NODE", "EXPEDITING", "REQUEUED", "REQUEUE_FED", "REVOKED"}
_HELD = {"RESV_DEL_HOLD", "REQUEUE_HOLD", "SPECIAL_EXIT"}
_ENDS = {
    "CANCELLED": (Reason.CANCELED, "cancelled"),
    "TIMEOUT": (Reason.WALLTIME, "ended at its time limit"),
    "DEADLINE": (Reason.WALLTIME, "ended at its deadline"),
    "OUT_OF_MEMORY": (Reason.OUT_OF_MEMORY, "ended because it used more memory than it had asked for"),
    "NODE_FAIL": (Reason.NODE_FAILURE, "ended because a node failed"),
    "BOOT_FAIL": (Reason.NODE_FAILURE, "a node could not be booted for it"),
    "LAUNCH_FAILED": (Reason.LAUNCH, "Slurm could not start it"),
    "RECONFIG_FAIL": (Reason.LAUNCH, "a node could not be configured for it"),
    "PREEMPTED": (Reason.PREEMPTED, "preempted by another job"),
}
_FAILURES = {
    "OutOfMemory": _ENDS["OUT_OF_MEMORY"],
    "TimeLimit": _ENDS["TIMEOUT"],
    "NodeDown": _ENDS["NODE_FAIL"],
    "NodeFail": _ENDS["NODE_FAIL"],
    "SystemFailure": _ENDS["NODE_FAIL"],
}
#: What Slurm puts in place of a signal when the job script could not be started.
_NOT_STARTED = 53
_JOB_ID = re.compile(r"\d+(_\d+)?")
_TASKS = re.compile(r"(\d+)_\[([\d,\-]+)(?:%\d+)?\]")
_OPTION = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_TRANSIENT = re.compile(
    r"socket timed out|unable to contact slurm controller|temporarily unable to accept job|try again later|"
    r"resource temporarily unavailable|connection (refused|reset|timed out)|backup controller in standby|"
    r"zero bytes were transmitted|message (receive|send) failure|communication (connection )?(failure|error)|"
    r"transport endpoint|slurm_persist_conn|requested nodes are busy|"
    r"\b(qos|assoc)\w*submit\w*limit|in the future or past by too much|"
    r"credential (expired|replayed)|munge(d)? (daemon|connection)|failed to connect to .*munge",
    re.IGNORECASE,
)
#: What directives would contradict how jobs are submitted here, and what to do instead.
_NOT_BY_ATTRIBUTE = {
    **dict.fromkeys(("array", "a"), "submit_all makes array jobs"),
    **dict.fromkeys(("output", "o"), "stdout_path names the program's output"),
    **dict.fromkeys(("clusters", "cluster", "M"), "set SLURM_CLUSTERS in this process's environment instead"),
    **dict.fromkeys(("wait", "W", "wrap", "test-only"), "no job would be watched"),
}
#: Unsets what an allocation or a login script has set, and sbatch would put above the job's own wishes.
_SUBMIT = """\
command -v sbatch >/dev/null || {
  echo "the command 'sbatch' is not on the PATH; is Slurm installed here?" >&2
  exit 127
}
if [ -n "${SLURM_JOB_ID-}" ]; then
  set -f
  IFS='
'
  for line in $(export -p); do
    name=${line#export }; name=${name#declare -x }; name=${name%%=*}
    case $name in
      SLURM_CONF | SLURM_CONF_SERVER | SLURM_CLUSTERS | SLURM_JWT | SLURM_SACK_* | SLURM_MPI_TYPE) ;;
      SLURM_*[!A-Z0-9_]* | SLURMD_*[!A-Z0-9_]*) ;;
      SLURM_* | SLURMD_*) unset "$name" ;;
    esac
  done
  unset IFS
fi
unset SBATCH_JOB_NAME SBATCH_TIMELIMIT SBATCH_OUTPUT SBATCH_EXPORT SBATCH_ARRAY_INX SBATCH_WAIT SBATCH_CLUSTERS
while IFS= read -r line; do
  case $line in
    '#SBATCH --account='*) unset SBATCH_ACCOUNT ;;
    '#SBATCH --partition='*) unset SBATCH_PARTITION ;;
    '#SBATCH --reservation='*) unset SBATCH_RESERVATION ;;
    '#SBATCH --exclusive'*) unset SBATCH_EXCLUSIVE ;;
    '#SBATCH --gpus-per-task='*) unset SBATCH_GPUS_PER_TASK SBATCH_GPUS SBATCH_GPUS_PER_NODE SBATCH_GRES ;;
    '#SBATCH --mem='*) unset SBATCH_MEM_PER_NODE SBATCH_MEM_PER_CPU SBATCH_MEM_PER_GPU ;;
    '#'*) ;;
    *) break ;;
  esac
done <"$1"
exec sbatch --parsable "$1"
"""
#: The variables that make this necessary.
_KEPT_FROM_SBATCH = ("SLURM_JOB_ID", *sorted(set(re.findall(r"SBATCH_\w+", _SUBMIT))))


class Slurm(Scheduler):
    """Slurm 19.05 or newer.

    Each custom attribute ``slurm.OPTION`` becomes a directive of sbatch, one of a single letter too; it comes after
    those of the specification's own fields and so replaces one of the same name. Times are rounded up to minutes by
    Slurm. For another cluster than the default one set ``SLURM_CLUSTERS`` in the environment.
    """

    name: ClassVar[str] = "slurm"
    id_form: ClassVar[str] = r"\d+([_+]\d+)?"
    array_index: ClassVar[str] = "$SLURM_ARRAY_TASK_ID"
    attempt: ClassVar[str] = "${SLURM_RESTART_COUNT:-0}"
    can_signal: ClassVar[bool] = True

    def directives(self, order: Order) -> list[str]:
        """The lines at the head of the job script."""
        options = self._options(order)
        asked = [*self._resources(order, options), *self._attributes(order)]
        if text := _dependencies(order, options):
            asked += [("dependency", text), ("kill-on-invalid-dep", "yes")]
        return [_directive(name, value) for name, value in [*asked, *options.items()]]

    def preamble(self, order: Order) -> list[str]:
        """Names the nodes, and sees to it that srun's programs get their environment, cores and signals."""
        lines = ['psij_nodes() { scontrol show hostnames "${SLURM_JOB_NODELIST-$SLURM_NODELIST}"; }']
        if not order.spec.inherit_environment:
            lines.append("unset SLURM_EXPORT_ENV")
        # since 22.05 srun does not look at the job's own setting
        lines.append('[ -z "${SLURM_CPUS_PER_TASK-}" ] || export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK')
        if order.spec.launcher == "srun":
            # srun answers a signal of its own by killing its programs
            lines.append('psij_pass_on() { psij_signal=$1; scancel --signal="$1" "$SLURM_JOB_ID" 2>/dev/null; }')
        return lines

    def submit_command(self, script: str) -> list[str]:
        """sbatch, without what the environment of an allocation would tell it."""
        return ["/bin/sh", "-c", _SUBMIT, "sbatch", script]

    def submit_command_in(self, environment: Mapping[str, str] | None, script: str) -> list[str]:
        """Sbatch alone, where nothing is to be kept from it: a shell in between costs a tenth of sbatch."""
        if environment is None or any(name in environment for name in _KEPT_FROM_SBATCH):
            return self.submit_command(script)
        return ["sbatch", "--parsable", script]

    def native_id(self, out: str) -> str:
        """The id; what the site's plug-ins print before it is passed over."""
        for line in reversed(out.splitlines()):
            if match := re.fullmatch(r"(?:Submitted batch job )?(\d+)(?:;\S*|\s.*)?", line.strip()):
                return match[1]
        raise ValueError(f"sbatch has not printed an id but {out.strip()!r}")

    def array_ids(self, native_id: str, size: int) -> list[str]:
        """``123_0``, ``123_1`` and so on."""
        return [f"{native_id}_{index}" for index in range(size)]

    def refusal_is_transient(self, done: Completed) -> bool:
        """Trouble on the way to the controller, or too many jobs of this user."""
        return _TRANSIENT.search(done.complaint) is not None

    def status_command(self, ids: Sequence[str]) -> list[str]:
        """squeue, for all jobs of this user; it shows ended ones too for some minutes.

        The controller itself selects a user's jobs, but not those of a list of ids; one id that it has forgotten
        would make it fail.
        """
        columns = "JobArrayID:40,State:24,exit_code:12,RestartCnt:8,Reason:200"
        return ["squeue", "--me", "--noheader", "--array", "--states=all", f"--Format={columns}"]

    def statuses(self, done: Completed) -> dict[str, JobStatus]:
        """What squeue has told."""
        if done.code != 0:
            raise NoAnswer(f"squeue: {done.complaint}")
        found: dict[str, JobStatus] = {}
        known: dict[str, JobStatus | None] = {}  # most of thousands of jobs wait, for the same reason
        for line in done.out.splitlines():
            job_id, _, rest = line.lstrip().partition(" ")
            facts = rest.strip()
            if facts not in known:
                known[facts] = _sighting(facts)
            if (status := known[facts]) is not None:
                found.update(dict.fromkeys(_ids(job_id), status))
        return found

    def accounting_command(self, ids: Sequence[str]) -> list[str]:
        """sacct; its times in seconds since the epoch."""
        columns = "JobIDRaw,JobID,ExitCode,End,Reason,State"
        return [
            "env", "SLURM_TIME_FORMAT=%s", "sacct", "--allocations", "--parsable2", "--noheader",
            f"--jobs={','.join(ids)}", f"--format={columns}",
        ]  # fmt: skip

    def outcomes(self, done: Completed) -> dict[str, JobStatus]:
        """What sacct has told."""
        if done.code != 0:
            if "accounting storage is disabled" in done.complaint:
                raise NoAccounting(f"sacct: {done.complaint}")
            raise NoAnswer(f"sacct: {done.complaint}")
        found: dict[str, JobStatus] = {}
        for line in done.out.splitlines():
            head, _, rest = line.partition("|")
            parts = [head, *rest.split("|")]
            if len(parts) < 6 or not (codes := re.fullmatch(r"(\d+):(\d+)", parts[2])):
                continue
            status = _status(parts[-1], "|".join(parts[4:-1]), int(codes[1]), int(codes[2]))
            if parts[3].isdecimal():
                status.time = float(parts[3])
            found.update((job_id, status) for job_id in _ids(parts[1]))
        return found

    def cancel_command(self, ids: Sequence[str]) -> list[str]:
        """scancel, which is content with jobs that are gone."""
        return ["scancel", *ids]

    def cancel_failed(self, done: Completed) -> bool:
        """Whether something else than the jobs' end was complained of."""
        if done.code == 0:
            return False
        lines = [line for line in done.complaint.splitlines() if line.strip()]
        return not all("already complet" in line or "Invalid job id" in line for line in lines)

    def signal_command(self, ids: Sequence[str], signal: str) -> list[str]:
        """To the job script, by scancel; it passes the signal on."""
        return ["scancel", f"--signal={signal}", "--batch", *ids]

    def list_command(self) -> list[str]:
        """squeue, for the jobs of this user that have not ended."""
        return ["squeue", "--me", "--noheader", "--array", "--Format=JobArrayID:40"]

    def listed(self, done: Completed) -> list[str]:
        """The ids."""
        if done.code != 0:
            raise NoAnswer(f"squeue: {done.complaint}")
        return [job_id for line in done.out.splitlines() for job_id in _ids(line.strip())]

    def _options(self, order: Order) -> dict[str, str | None]:
        """The custom attributes, without leading dashes."""
        options: dict[str, str | None] = {}
        for given, value in self.options(order).items():
            name, field = given.lstrip("-"), f"custom_attributes['slurm.{given}']"
            if not _OPTION.fullmatch(name):
                raise self.refuse(field, value, "that cannot be an option of sbatch")
            if name in _NOT_BY_ATTRIBUTE:
                raise self.refuse(field, value, _NOT_BY_ATTRIBUTE[name])
            options[name] = None if value is None else one_line(field, value)
        return options

    def _resources(self, order: Order, options: dict[str, str | None]) -> Iterator[tuple[str, str | None]]:
        wanted = order.resources
        yield "job-name", order.name
        yield "output", _pattern(one_line("the path of the job's log", order.log))
        yield "export", "ALL" if order.spec.inherit_environment else "NONE"
        yield "time", f"{order.seconds // 60}:{order.seconds % 60:02d}"
        yield "nodes", str(wanted.computed_node_count)
        yield "ntasks", str(wanted.computed_process_count)
        yield "ntasks-per-node", str(wanted.computed_processes_per_node)
        if wanted.cpu_cores_per_process is not None:
            yield "cpus-per-task", str(wanted.cpu_cores_per_process)
        if wanted.gpu_cores_per_process and not {"gres", "gpus", "G", "gpus-per-node", "gpus-per-task"} & set(options):
            yield "gpus-per-task", str(wanted.gpu_cores_per_process)
        if wanted.memory_per_node is not None:
            yield "mem", f"{-(-wanted.memory_per_node // 1024)}K"
        if wanted.exclusive_node_use:
            yield "exclusive", None
        if order.size is not None:
            yield "array", f"0-{order.size - 1}"

    def _attributes(self, order: Order) -> Iterator[tuple[str, str | None]]:
        given = order.attributes
        for option, field in (("partition", "queue_name"), ("account", "account"), ("reservation", "reservation_id")):
            if (value := getattr(given, field)) is not None:
                yield option, one_line(field, value)


def _dependencies(order: Order, options: dict[str, str | None]) -> str:
    """All that the job waits for, with what a custom attribute says of it, which is taken out of `options`."""
    wanted = order.dependencies
    groups = (("after", wanted.after), ("afterok", wanted.after_ok), ("afterany", wanted.after_any))
    for name, ids in groups:
        for job_id in ids:
            if not _JOB_ID.fullmatch(job_id):
                raise InvalidJobException(f"{name}: {job_id!r} is not the id of a job of Slurm")
    texts = [":".join([name, *ids]) for name, ids in groups if ids]
    if texts:
        texts += [text for name in ("dependency", "d") if (text := options.pop(name, None))]
    return ",".join(texts)


def _directive(name: str, value: str | None) -> str:
    dashes, equals = ("-", " ") if len(name) == 1 else ("--", "=")
    return f"#SBATCH {dashes}{name}" + ("" if value is None else equals + _quoted(value))


def _quoted(value: str) -> str:
    """Quote a value as sbatch reads it: within double quotes a backslash takes the next letter as it is."""
    if re.fullmatch(r"[\w.,:=/+@-]+", value, re.ASCII):
        return value
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _pattern(path: str) -> str:
    """Return the file name pattern that stands for a path: a backslash anywhere switches patterns off."""
    return path.replace("\\", "\\\\") if "\\" in path else path.replace("%", "%%")


def _ids(text: str) -> list[str]:
    """The ids that a column names; tasks of an array that have not started may share a line."""
    if _JOB_ID.fullmatch(text):
        return [text]
    found = []
    if match := _TASKS.fullmatch(text):
        for part in match[2].split(","):
            first, _, last = part.partition("-")
            if first.isdecimal() and (last or first).isdecimal():
                found += [f"{match[1]}_{index}" for index in range(int(first), int(last or first) + 1)]
    return found


def _sighting(facts: str) -> JobStatus | None:
    """What a line of squeue says behind the id; None if that is no such line."""
    parts = facts.split(None, 3)
    if len(parts) < 3 or not (parts[1].isdecimal() and parts[2].isdecimal()):
        return None
    raw = int(parts[1])  # as wait(2) gives it
    status = _status(parts[0], parts[3] if len(parts) > 3 else "", raw >> 8 & 0xFF, raw & 0x7F)
    if restarts := int(parts[2]):
        status.metadata["restarts"] = restarts
    return status


def _status(state: str, reason: str, exit_code: int, signal: int) -> JobStatus:
    word = re.split(r"[ ,+]", state.strip(), maxsplit=1)[0].upper()
    native = _CODES.get(word, word)
    why = "" if reason in ("None", "(null)", "N/A") else reason
    if native == "COMPLETED":
        return ended(exit_code, signal, native)
    if native == "FAILED":
        return _failure(why, exit_code, signal)
    if native == "CANCELLED" and why == "DependencyNeverSatisfied":
        return failed(Reason.DEPENDENCY, native, "a job that it was to follow did not end as needed")
    if native in _ENDS:
        cause, message = _ENDS[native]
        return failed(cause, native, message, exit_code or None)
    facts: dict[str, object] = {"native_state": native, **({"native_reason": why} if why else {})}
    if native not in _WAITING and native not in _HELD:
        return JobStatus(JobState.ACTIVE, message=why or None, metadata=facts)
    if why == "DependencyNeverSatisfied":
        facts["reason"] = Reason.DEPENDENCY
    elif native in _HELD or "held" in why.lower():
        facts["reason"] = Reason.HELD
    return JobStatus(JobState.QUEUED, message=why or None, metadata=facts)


def _failure(why: str, exit_code: int, signal: int) -> JobStatus:
    """FAILED says little: the reason, where Slurm gives one that is not the program's, goes before the exit code."""
    for word, (cause, message) in _FAILURES.items():
        if word in why:
            return failed(cause, "FAILED", message, exit_code or None)
    # a script that a signal has ended is called JobLaunchFailure too
    if signal == _NOT_STARTED or (why == "JobLaunchFailure" and not signal):
        return failed(Reason.LAUNCH, "FAILED", "Slurm could not start it; is its log's directory there on the node?")
    if exit_code or signal:
        return ended(exit_code, signal, "FAILED")
    return failed(Reason.UNKNOWN, "FAILED", f"Slurm says that it has failed: {why or 'no reason given'}")
