"""Grid Engine: Sun's, Univa's (Altair's), Son of Grid Engine, Open Cluster Scheduler."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from shlex import quote

from harmony.errors import InvalidJobException
from harmony.jobs.scheduler import NoAnswer, Order, Scheduler, ended, failed, is_transient, one_line
from harmony.jobs.shell import Completed
from harmony.jobs.state import JobState, JobStatus, Reason

_ID = re.compile(r"(\d+)(?:\.(\d+))?")
_SUBMITTED = re.compile(r"(?:Your job(?:-array)? )?(\d+)(?:\.\d+-\d+:\d+)?(?: \(.*)?")
#: What may stand in a queue's, project's or reservation's name; qmaster refuses quotes, spaces and non-ASCII itself.
_OBJECT = re.compile(r"[A-Za-z0-9_.,@*?+=!|&()\[\]-]+")
_RANGE = re.compile(r"(\d+)(?:-(\d+)(?::(\d+))?)?")
#: A path in which qsub finds nothing to replace, no host name and no end of an option.
_PLAIN_PATH = re.compile(r"/[A-Za-z0-9_./+=@%-]*")
#: Settings of this file among the custom attributes; the others are options of qsub.
_SETTINGS = ("pe", "memory_resource", "gpu_resource", "gpu_per_slot")
_OURS = ("C", "N", "S", "b", "e", "help", "j", "now", "o", "sync", "t", "terse", "verify")
_FULL = ("jobs are allowed", "commlib", "got no connection", "failed receiving gdi", "denied: qmaster")
#: `failed` in the accounting: the job was started anew, or the node lost it, or the program did run.
_RESCHEDULED, _LOST, _RAN = (24, 25), (19, 21), (0, 12, 13, 14, 15, 100)
_LIMIT = 37
_NODES = """psij_nodes() {
  if [ -s "${PE_HOSTFILE-}" ]; then awk '{print $1}' "$PE_HOSTFILE"; else printf '%s\\n' "${HOSTNAME:-localhost}"; fi
}"""


class GridEngine(Scheduler):
    """Grid Engine, with ``qacct`` as the judge of how a job has ended.

    A job of more than one process or core needs the site's parallel environment: ``{"sge.pe": "mpi"}``; it has one slot
    for each core. What a site calls its resources differs: `memory` is asked for as ``sge.memory_resource`` (``h_vmem``
    if not given) for each slot, GPUs as ``sge.gpu_resource`` (``gpu``) for the whole job, or for each slot with
    ``sge.gpu_per_slot``. Every other attribute is an option of ``qsub``: ``{"sge.l": "arch=lx*", "sge.notify": None}``.
    A cancel kills at once; with ``sge.notify`` SIGUSR2 goes first, to the program as well, and the job cleans up.
    """

    name = "sge"
    aliases = ("gridengine", "ge")
    array_index = "$((SGE_TASK_ID-1))"
    attempt = "${RESTARTED:-0}"

    # -- submitting

    def directives(self, order: Order) -> list[str]:
        """``#$`` lines. A value with quotes cannot be had: qsub drops them from the middle of a word."""
        plain = _PLAIN_PATH.fullmatch(order.log) is not None
        lines = [f"-N {job_name(order.name)}", "-S /bin/bash", "-j y", f"-o {order.log if plain else '/dev/null'}"]
        lines += ["-V"] if order.spec.inherit_environment else []
        lines += [f"-l h_rt={order.seconds}", *self._resources(order), *self._attributes(order)]
        if order.size is not None:
            lines.append(f"-t 1-{order.size}")
        for name, value in self.options(order).items():
            if name not in _SETTINGS:
                lines.append(self._option(name, value))
        found = [f"#$ {line}" for line in lines]
        return found if plain else [*found, f"exec >>{quote(order.log)} 2>&1"]

    def _resources(self, order: Order) -> Iterator[str]:
        resources, settings = order.resources, self.options(order)
        slots = resources.computed_node_count * resources.cores_per_node
        environment = settings.get("pe")
        if environment is not None:
            yield f"-pe {self._object('sge.pe', environment)} {slots}"
        elif slots > 1:
            raise self.refuse(
                "process_count × cpu_cores_per_process",
                slots,
                "a job of more than one core runs in a parallel environment, whose name the site has chosen; set the "
                "custom attribute 'sge.pe' to it (qconf -spl lists them)",
            )
        if resources.memory is not None:
            resource = self._object("sge.memory_resource", settings.get("memory_resource") or "h_vmem")
            yield f"-l {resource}={-(-resources.memory // (1024 * slots))}K"
        gpus = resources.gpus_per_node * resources.computed_node_count
        if gpus:
            if "gpu_per_slot" in settings:
                if gpus % slots:
                    raise self.refuse("gpu_cores_per_process", gpus, f"{gpus} GPUs cannot be shared by {slots} slots")
                gpus //= slots
            yield f"-l {self._object('sge.gpu_resource', settings.get('gpu_resource') or 'gpu')}={gpus}"
        if resources.exclusive_node_use:
            yield "-l exclusive=true"

    def _attributes(self, order: Order) -> Iterator[str]:
        attributes, dependencies = order.attributes, order.dependencies
        named = {"q": "queue_name", "P": "account", "ar": "reservation_id"}
        for option, field in named.items():
            value = getattr(attributes, field)
            if value is not None:
                yield f"-{option} {self._object(field, value)}"
        for kind, ids in (("after", dependencies.after), ("after_ok", dependencies.after_ok)):
            if ids:
                raise self.refuse(kind, ", ".join(ids), "a job can only wait for the end of others (after_any)")
        for native_id in dependencies.after_any:
            if not native_id.isdigit():
                raise self.refuse(
                    "after_any", native_id, "a job can wait for a whole job only, not for one of its tasks"
                )
        if dependencies.after_any:
            yield f"-hold_jid {','.join(dependencies.after_any)}"

    def _object(self, field: str, value: str) -> str:
        if not _OBJECT.fullmatch(value):
            raise self.refuse(field, value, "a name there has neither spaces nor quotes nor letters beyond ASCII")
        return value

    def _option(self, name: str, value: str | None) -> str:
        if not re.fullmatch(r"[A-Za-z_]+", name) or name in _OURS:
            raise InvalidJobException(
                f"custom_attributes: sge.{name}={value!r} is no option of qsub that a job may have"
            )
        if value is None:
            return f"-{name}"
        if set(one_line(f"sge.{name}", value)) & set("\"'\\"):
            raise self.refuse(f"sge.{name}", value, "its directives can hold neither quotes nor backslashes")
        return f'-{name} "{value}"' if " " in value else f"-{name} {value}"

    def preamble(self, order: Order) -> list[str]:
        """The nodes, from the parallel environment's file; a check that it has given as many as were asked for."""
        resources = order.resources
        # 99 would start the job anew, and 100 keep it in the queue in error; the marker has the program's own status
        lines = [_NODES, "psij_orders='99 100'"]
        if "notify" in self.options(order):
            lines.append("trap 'psij_pass_on TERM' USR2")
        if resources.node_count is not None or resources.processes_per_node is not None:
            nodes = resources.computed_node_count
            lines.append(
                f"""[ "$(psij_nodes | sort -u | wc -l)" -eq {nodes} ] || psij_fail 121 """
                f""""the parallel environment has not given the {nodes} nodes that were asked for" """.rstrip()
            )
        return lines

    def submit_command(self, script: str) -> list[str]:
        """``qsub``."""
        return ["qsub", "-terse", script]

    def native_id(self, out: str) -> str:
        """The number of the job."""
        for line in reversed(out.splitlines()):
            if match := _SUBMITTED.fullmatch(line.strip()):
                return match[1]
        raise ValueError(f"there is no id of a job in {out!r}")

    def array_ids(self, native_id: str, size: int) -> list[str]:
        """``123.1`` to ``123.size``."""
        return [f"{native_id}.{index}" for index in range(1, size + 1)]

    def refusal_is_transient(self, done: Completed) -> bool:
        """Also a limit on the number of a user's jobs passes."""
        complaint = done.complaint.lower()
        return is_transient(complaint) or any(sign in complaint for sign in _FULL)

    # -- knowing

    def status_command(self, ids: Sequence[str]) -> list[str]:
        """``qstat`` of all jobs of the user who asks: it takes no ids."""
        return ["sh", "-c", 'exec qstat -xml -u "$(id -un)"']

    def statuses(self, done: Completed) -> dict[str, JobStatus]:
        """Read the job list. Its XML is not always well-formed (``%lt;`` in a name), so each job is read on its own."""
        if done.code != 0 or "</job_info>" not in done.out:
            raise NoAnswer(f"qstat has failed: {done.complaint}")
        found: dict[str, JobStatus] = {}
        for block in done.out.split("<job_list")[1:]:
            number, state = _element(block, "JB_job_number"), _element(block, "state")
            if number and number.isdigit() and state:
                for task in _tasks(_element(block, "tasks")):
                    found[f"{number}.{task}" if task else number] = _queued(number, state)
        return found

    def accounting_command(self, ids: Sequence[str]) -> list[str]:
        """``qacct`` of each job; of all tasks of an array job at once."""
        numbers = dict.fromkeys(native_id.partition(".")[0] for native_id in ids)
        return ["sh", "-c", 'for id; do qacct -j "$id" || [ $? = 1 ] || exit; done', "qacct", *numbers]

    def outcomes(self, done: Completed) -> dict[str, JobStatus]:
        """The last record of each job or task; one that was started anew has several."""
        complaints = [line for line in done.err.splitlines() if line.strip() and not _unknown_job(line)]
        records = [_record(block) for block in re.split(r"^={20,}$", done.out, flags=re.MULTILINE)[1:]]
        if done.code != 0 or (complaints and not records):
            raise NoAnswer(f"qacct has failed: {done.complaint}")
        found: dict[str, JobStatus] = {}
        for record in records:
            number, task = record.get("jobnumber", ""), record.get("taskid", "")
            if number.isdigit():
                found[f"{number}.{task}" if task.isdigit() else number] = _outcome(record)
        return found

    # -- acting

    def cancel_command(self, ids: Sequence[str]) -> list[str]:
        """``qdel``."""
        return ["qdel", *ids]

    def cancel_failed(self, done: Completed) -> bool:
        """It complains, on either stream, of jobs that are not there any more."""
        lines = [line for line in f"{done.out}\n{done.err}".splitlines() if line.strip()]
        fine = ("does not exist", "has registered", "has deleted", "already in deletion", "do not exist")
        return done.code != 0 and not (lines and all(any(sign in line for sign in fine) for line in lines))

    def list_command(self) -> list[str]:
        """The same as for the status."""
        return self.status_command(())

    def listed(self, done: Completed) -> list[str]:
        """The ids; of an array job, those of its tasks."""
        return list(self.statuses(done))


def job_name(name: str) -> str:
    """The name as Grid Engine takes it: what it does not allow becomes ``_``, and the first is not a digit."""
    name = re.sub(r"[^!-~]|[*?:@\\/\"'#$]", "_", name)
    return f"j{name}"[:512] if name[:1] in "0123456789-" else name[:512]


def _element(block: str, name: str) -> str | None:
    match = re.search(rf"<{name}>([^<]*)</{name}>", block)
    return None if match is None else match[1].strip()


def _tasks(text: str | None) -> Iterator[int]:
    """The numbers of ``1,5-9:2``; 0 for a job that is no array."""
    if not text:
        yield 0
    for match in _RANGE.finditer(text or ""):
        first, last, step = int(match[1]), int(match[2] or match[1]), int(match[3] or 1)
        yield from range(first, last + 1, max(1, step))


def _queued(number: str, state: str) -> JobStatus:
    if "E" in state:
        return failed(
            Reason.LAUNCH,
            state,
            f"the scheduler could not start it: qstat -j {number} says why, qdel {number} removes it",
        )
    active = "q" not in state and bool(set(state) & set("rsST"))
    status = JobStatus(JobState.ACTIVE if active else JobState.QUEUED, metadata={"native_state": state})
    if "R" in state:
        status.metadata["restarts"] = 1
    return status


def _unknown_job(line: str) -> bool:
    return re.search(r"job id \S+ not found|no jobs running since startup", line) is not None


def _record(block: str) -> dict[str, str]:
    pairs = (line.partition(" ") for line in block.splitlines())
    return {name: value.strip() for name, _, value in pairs}


def _outcome(record: Mapping[str, str]) -> JobStatus:
    how = record.get("failed", "")
    why, status = _leading(how), int(_leading(record.get("exit_status", "")) or 0)
    message = how.partition(":")[2].strip() or how
    if why in _RESCHEDULED:
        return JobStatus(JobState.QUEUED, message=message, metadata={"native_state": how, "restarts": 1})
    if status and (why == _LIMIT or why in _RAN):
        limit = _exceeded(record)
        if limit is not None or why == _LIMIT:
            reason, text = limit or (Reason.WALLTIME, message)
            return failed(reason, how, text, status)
    if why in _LOST:
        return failed(Reason.NODE_FAILURE, how, f"the node lost it: {message}")
    if why is None or why in _RAN or why == _LIMIT:
        return ended(signal=status - 128, native_state=how) if status > 128 else ended(status, native_state=how)
    return failed(Reason.LAUNCH, how, f"the scheduler could not start it: {message}")


def _exceeded(record: Mapping[str, str]) -> tuple[Reason, str] | None:
    """Which of its limits a job has reached, by what it used."""
    asked = dict(re.findall(r"\b(h_rt|h_cpu|h_vmem)=([\d.:]+[a-zA-Z]?)", record.get("category", "")))
    wall, cpu = (_amount(record.get(name, "")) for name in ("ru_wallclock", "cpu"))
    if "h_rt" in asked and wall >= _amount(asked["h_rt"]):
        return Reason.WALLTIME, f"ran {wall:g} s, and its walltime was {asked['h_rt']} s"
    if "h_vmem" in asked and _amount(record.get("maxvmem", "")) >= _amount(asked["h_vmem"]):
        return Reason.OUT_OF_MEMORY, f"used {record['maxvmem']} of memory, and was to use {asked['h_vmem']} at most"
    if "h_cpu" in asked and cpu >= _amount(asked["h_cpu"]):
        return Reason.WALLTIME, f"used {cpu:g} s of CPU time, and was to use {asked['h_cpu']} s at most"
    return None


def _amount(text: str) -> float:
    """The number in ``3s``, ``0:01:00``, ``5.2MB`` or ``300M``."""
    match = re.match(r"[\d.:]+", text)
    if match is None:
        return 0.0
    parts = match[0].split(":")
    try:
        number = sum(float(part or 0) * 60.0**place for place, part in enumerate(reversed(parts)))
    except ValueError:
        return 0.0
    unit = text[match.end() : match.end() + 1].upper()
    return number * 1024.0 ** max(0, " KMGT".find(unit or " "))


def _leading(text: str) -> int | None:
    match = re.match(r"\d+", text)
    return None if match is None else int(match[0])
