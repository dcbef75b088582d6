"""IBM Spectrum LSF."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from harmony.jobs.scheduler import NoAnswer, Order, Scheduler, ended, failed, is_transient, one_line
from harmony.jobs.shell import Completed
from harmony.jobs.state import JobState, JobStatus, Reason

_FIELDS = ("jobid", "jobindex", "stat", "exit_code", "exit_reason", "pend_reason")
_QUEUED = ("PEND", "PSUSP", "WAIT", "PROV", "FWD_PEND")
_REASONS = {
    "TERM_RUNLIMIT": Reason.WALLTIME,
    "TERM_DEADLINE": Reason.WALLTIME,
    "TERM_MEMLIMIT": Reason.OUT_OF_MEMORY,
    "TERM_SWAP": Reason.OUT_OF_MEMORY,
    "TERM_OWNER": Reason.CANCELED,
    "TERM_FORCE_OWNER": Reason.CANCELED,
    "TERM_ADMIN": Reason.CANCELED,
    "TERM_FORCE_ADMIN": Reason.CANCELED,
    "TERM_BUCKET_KILL": Reason.CANCELED,
    "TERM_PREEMPT": Reason.PREEMPTED,
    "TERM_LOAD": Reason.PREEMPTED,
    "TERM_WINDOW": Reason.PREEMPTED,
    "TERM_ZOMBIE": Reason.NODE_FAILURE,
    "TERM_SYSTEM": Reason.NODE_FAILURE,
    "TERM_ORPHAN_SYSTEM": Reason.DEPENDENCY,
    "TERM_PRE_EXEC_FAIL": Reason.LAUNCH,
    "TERM_CWD_NOTEXIST": Reason.LAUNCH,
}
_GONE = re.compile(r"no matching job|already finished|is not found|has already", re.IGNORECASE)
_NONE = re.compile(r"is not found|no (unfinished |matching )?job found|no matching job", re.IGNORECASE)
_DOWN = re.compile(r"please wait|LSF is down|mbatchd|not running|failed in an lsf library call", re.IGNORECASE)
_NEVER = re.compile(r"dependency condition invalid or never satisfied", re.IGNORECASE)
_SUBMITTED = re.compile(r"Job <(\d+)>")
_RECORD = re.compile(r"^Job <(\d+(?:\[\d+\])?)>", re.MULTILINE)


class LSF(Scheduler):
    """Jobs through bsub, bjobs, bhist and bkill.

    A slot is one core, and `memory` is reserved on each host. Where hosts are ordered by ``-nnodes`` (Summit and its
    kin), the custom attribute ``lsf.nnodes`` takes the place of slots, hosts, cores and GPUs. LSF knows walltimes in
    minutes. The parser of ``#BSUB`` lines joins words by single blanks and knows no escapes: a queue, account or path
    that it would change is refused, and a name is given with what it can hold.
    """

    name = "lsf"
    array_index = "$((LSB_JOBINDEX - 1))"
    attempt = '$([ "${LSB_RESTART-}" = Y ] && echo 1 || echo 0)'
    can_signal = True

    def directives(self, order: Order) -> list[str]:
        """Return the #BSUB lines."""
        attributes = order.attributes
        options = self.options(order)
        name = _name(order.name) + ("" if order.size is None else f"[1-{order.size}]")
        lines = [self._line("J", name), self._line("o", self._log(order.log)), f"#BSUB -W {order.minutes}"]
        lines += [] if "nnodes" in options else self._resources(order)
        if order.resources.exclusive_node_use:
            lines.append("#BSUB -x")
        if not order.spec.inherit_environment:
            lines.append('#BSUB -env "none"')
        for letter, field in (("q", "queue_name"), ("P", "account"), ("U", "reservation_id")):
            value = getattr(attributes, field)
            if value is not None:
                lines.append(self._line(letter, self._exact(field, value)))
        after = _dependencies(order)
        if after:
            # -ti: ended, and not left waiting, when what it waits for cannot happen any more
            lines += [self._line("w", after), "#BSUB -ti"]
        for option, value in options.items():
            exact = None if value is None else self._exact(f"{self.name}.{option}", value)
            lines.append(self._line(one_line("custom_attributes", option), exact))
        return lines

    def _resources(self, order: Order) -> list[str]:
        resources = order.resources
        slots = resources.computed_node_count * resources.cores_per_node
        lines = [f"#BSUB -n {slots}", f'#BSUB -R "span[ptile={resources.cores_per_node}]"']
        if resources.memory_per_node is not None:
            lines.append(f'#BSUB -R "rusage[mem={-(-resources.memory_per_node // 2**20)}MB/host]"')
        if resources.gpus_per_node:
            lines.append(f'#BSUB -gpu "num={resources.gpus_per_node}"')
        return lines

    def _line(self, option: str, value: str | None) -> str:
        if value is None:
            return f"#BSUB -{option}"
        mark = "'" if '"' in value else '"'
        return f"#BSUB -{option} {mark}{value}{mark}"

    def _exact(self, field: str, value: str) -> str:
        one_line(field, value)
        if ('"' in value and "'" in value) or value != " ".join(value.split()) or value.startswith("#"):
            raise self.refuse(
                field, value, "a #BSUB line holds no text with both kinds of quotes, with several blanks in a row or "
                "at an end, or with a # at its beginning"
            )  # fmt: skip
        return value

    def _log(self, path: str) -> str:
        if "%J" in path or "%I" in path:
            raise self.refuse("work_directory", path, "LSF replaces %J and %I in paths by numbers")
        return self._exact("work_directory", path)

    def preamble(self, order: Order) -> list[str]:
        """Return the function that lists the job's hosts."""
        return [
            "psij_nodes() {",
            '  if [ -s "${LSB_DJOB_HOSTFILE-}" ]; then awk \'!seen[$1]++ { print $1 }\' "$LSB_DJOB_HOSTFILE"',
            "  else printf '%s' \"${LSB_MCPU_HOSTS-${HOSTNAME:-localhost} 1}\" | tr -s ' ' '\\n' | awk 'NR % 2'; fi",
            "}",
        ]

    def submit_command(self, script: str) -> list[str]:
        """Return the command; bsub reads #BSUB lines only from its standard input."""
        return ["sh", "-c", 'exec bsub <"$1"', "bsub", script]

    def native_id(self, out: str) -> str:
        """Return the id in ``Job <123> is submitted to queue <normal>.``."""
        match = _SUBMITTED.search(out)
        if match is None:
            raise ValueError(f"bsub printed no job id: {out.strip()!r}")
        return match[1]

    def array_ids(self, native_id: str, size: int) -> list[str]:
        """Return ``123[1]``, ``123[2]`` and so on."""
        return [f"{native_id}[{index}]" for index in range(1, size + 1)]

    def refusal_is_transient(self, done: Completed) -> bool:
        """Return whether LSF was not there; a refused request has another message."""
        return is_transient(done.complaint) or bool(_DOWN.search(done.complaint))

    def status_command(self, ids: Sequence[str]) -> list[str]:
        """Return one bjobs for all; an array's tasks are asked for by the array's id."""
        return ["bjobs", "-a", "-noheader", "-o", f"{' '.join(_FIELDS)} delimiter='^'", *_arrays(ids)]

    def statuses(self, done: Completed) -> dict[str, JobStatus]:
        """Read bjobs."""
        found: dict[str, JobStatus] = {}
        for line in done.out.splitlines():
            fields = line.split("^", len(_FIELDS) - 1)
            if len(fields) == len(_FIELDS) and fields[0].isdigit():
                job, index, state, code, reason, pending = (field.strip() for field in fields)
                name = f"{job}[{index}]" if index.isdigit() and index != "0" else job
                found[name] = _status(state, code, reason, pending)
        # Its exit status is not 0 as soon as one of the jobs is unknown.
        if not found and (done.code or _complaints(done)) and not _NONE.search(done.complaint):
            raise NoAnswer(f"bjobs: {done.complaint}")
        if _DOWN.search(done.err):
            raise NoAnswer(f"bjobs: {done.complaint}")
        return found

    def accounting_command(self, ids: Sequence[str]) -> list[str]:
        """Return the bhist that searches all event files."""
        return ["bhist", "-l", "-n", "0", *_arrays(ids)]

    def outcomes(self, done: Completed) -> dict[str, JobStatus]:
        """Read bhist's long form, whose lines are cut at 80 columns and go on behind 21 blanks."""
        found = {name: _outcome(text) for name, text in _records(done.out)}
        if not found and not _NONE.search(done.complaint) and not _RECORD.search(done.out):
            raise NoAnswer(f"bhist: {done.complaint}")
        return found

    def cancel_command(self, ids: Sequence[str]) -> list[str]:
        """Return the bkill."""
        return ["bkill", *ids]

    def cancel_failed(self, done: Completed) -> bool:
        """Return whether a job is left that neither was killed nor has ended."""
        lines = [line for line in _complaints(done) if "is being terminated" not in line]
        return done.code != 0 and (not lines or not all(_GONE.search(line) for line in lines))

    def signal_command(self, ids: Sequence[str], signal: str) -> list[str]:
        """Return the bkill with a signal."""
        return ["bkill", "-s", signal, *ids]

    def list_command(self) -> list[str]:
        """Return the bjobs of this user's unfinished jobs."""
        return ["bjobs", "-noheader", "-o", f"{' '.join(_FIELDS)} delimiter='^'"]

    def listed(self, done: Completed) -> list[str]:
        """Read it."""
        return list(self.statuses(done))


def _name(name: str) -> str:
    """The name without what bsub would take for an array, and with one kind of quotes."""
    name = " ".join(name.translate(str.maketrans('[]"', "()'")).split())
    return name.lstrip("#") or "job"


def _dependencies(order: Order) -> str:
    wanted = order.dependencies
    terms = [f"started({job})" for job in wanted.after]
    terms += [f"done({job})" for job in wanted.after_ok]
    terms += [f"ended({job})" for job in wanted.after_any]
    return " && ".join(terms)


def _arrays(ids: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(job.partition("[")[0] for job in ids))


def _complaints(done: Completed) -> list[str]:
    return [line for line in f"{done.out}\n{done.err}".splitlines() if line.strip()]


def _status(state: str, code: str, reason: str, pending: str) -> JobStatus:
    if state == "DONE":
        return ended(0, native_state=state)
    if state == "EXIT":
        return _exit(state, int(code) if code.isdigit() else None, "" if reason == "-" else reason)
    facts: dict[str, object] = {"native_state": state}
    if state == "PSUSP":
        facts["reason"] = Reason.HELD
    if _NEVER.search(pending):
        facts["reason"] = Reason.DEPENDENCY
    message = pending if pending not in ("", "-") else None
    queued = state in _QUEUED
    return JobStatus(
        JobState.QUEUED if queued else JobState.ACTIVE, message=message if queued else None, metadata=facts
    )


def _exit(state: str, code: int | None, text: str) -> JobStatus:
    """How a job ended that did not end well: a TERM_… word says more than the code."""
    word = re.search(r"TERM_\w+", text)
    reason = _REASONS.get(word[0]) if word else None
    if reason is not None:
        return failed(reason, state, text, code)
    if code is None:
        return failed(Reason.UNKNOWN, state, text or "LSF says that it failed, and not how")
    if code > 128 and ("signal" in text.lower() or (word and word[0] == "TERM_EXTERNAL_SIGNAL")):
        return ended(signal=code - 128, native_state=state)
    return ended(code, native_state=state)


def _records(out: str) -> Iterator[tuple[str, str]]:
    text = re.sub(r"\n {21}", "", out)
    starts = list(_RECORD.finditer(text))
    ends = [start.start() for start in starts[1:]] + [len(text)]
    for start, end in zip(starts, ends, strict=False):
        yield start[1], text[start.start() : end]


def _outcome(text: str) -> JobStatus:
    """The last end in a job's history; a job that was requeued has several."""
    ends = list(re.finditer(r": (Done successfully|Exited(?: with exit code (\d+)| by signal (\d+))?)", text))
    if not ends:
        return JobStatus(JobState.ACTIVE)  # or not yet; it has not ended
    if ends[-1][1] == "Done successfully":
        return ended(0, native_state="DONE")
    words = re.findall(r"TERM_\w+[^.;\n]*", text[ends[-1].start() :])
    reason = words[0] if words else ""
    if ends[-1][3] and reason.partition(":")[0] in ("", "TERM_EXTERNAL_SIGNAL"):
        return ended(signal=int(ends[-1][3]), native_state="EXIT")
    return _exit("EXIT", int(ends[-1][2]) if ends[-1][2] else None, reason)
