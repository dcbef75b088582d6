"""What PBS Professional, OpenPBS and Torque have in common: `#PBS` lines, `qstat -f`, ids and exit statuses."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from shlex import quote
from typing import ClassVar

from harmony.errors import InvalidJobException
from harmony.jobs.scheduler import NoAnswer, Order, Scheduler, ended, failed, is_transient, one_line
from harmony.jobs.shell import Completed
from harmony.jobs.state import JobState, JobStatus, Reason

_ID = re.compile(r"(\d+)(\[\d*\])?(\.[\w.-]+)?(@[\w.:-]+)?")
_SUBJOB = re.compile(r"(\d+)\[\d+\](.*)")
_ATTRIBUTE = re.compile(r" {4}([\w.]+) = (.*)")
_OPTION = re.compile(r"[A-Za-z]")
_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
#: Complaints about a job that mean: it is not there any more.
_GONE = ("unknown job", "job has finished", "invalid state for job", "nonexistent job", "has completed")
#: Limits on how much a user, group or project may have at once: there will be room again.
_FULL = ("maximum number of jobs", "would exceed", "shutting down")
#: Attributes that only a job which was started has.
_STARTED = {"stime", "start_time", "start_count", "run_count", "exec_host", "resources_used.walltime"}
#: Options that would take the job out of our hands.
_OURS = {
    "C": "the prefix of directives is #PBS",
    "I": "a job of Harmony is not interactive",
    "J": "use submit_all for array jobs",
    "N": "use JobSpec.name",
    "S": "the job script is one for bash",
    "X": "a job of Harmony is not interactive",
    "e": "use JobSpec.stderr_path",
    "j": "use JobSpec.stdout_path and stderr_path",
    "o": "use JobSpec.stdout_path",
    "t": "use submit_all for array jobs",
    "z": "without the job's id nothing can be known of it",
}
_STATES = {
    "Q": JobState.QUEUED, "H": JobState.QUEUED, "W": JobState.QUEUED, "T": JobState.QUEUED, "M": JobState.QUEUED,
    "R": JobState.ACTIVE, "E": JobState.ACTIVE, "S": JobState.ACTIVE, "U": JobState.ACTIVE, "B": JobState.ACTIVE,
}  # fmt: skip


class PBSFamily(Scheduler):
    """The base of `PBS` and `PBSClassic`; custom attributes are the one-letter options of ``qsub``."""

    can_signal = True
    #: The states of a job that has ended.
    final_states: ClassVar[tuple[str, ...]]
    #: What the negative exit statuses mean, which the daemon on the node gives when the job's shell has none.
    verdicts: ClassVar[Mapping[int, tuple[Reason, str]]]
    #: The most letters of a job's name, and what may not be in it.
    name_limit: ClassVar[int]
    not_in_names: ClassVar[re.Pattern[str]]

    # -- submitting

    @abstractmethod
    def request(self, order: Order) -> list[str]:
        """The options that ask for resources, reservation and, for an array job, its size; not quoted yet."""

    @abstractmethod
    def dependency(self, kind: str, ids: Sequence[str]) -> str:
        """What stands for ``after``, ``after_ok`` or ``after_any`` these jobs in ``-W depend=``."""

    def directives(self, order: Order) -> list[str]:
        """``#PBS`` lines. PBS brings its own output file only after the end, so the script writes the log itself."""
        attributes = order.attributes
        options = [f"-N {quote(self._job_name(order.name))}", "-S /bin/bash", "-j oe", "-o /dev/null"]
        options += [f"-{letter} {quote(value)}" if value else f"-{letter}" for letter, value in self._asked(order)]
        if order.spec.inherit_environment:
            options.append("-V")
        if attributes.queue_name is not None:
            options.append(f"-q {quote(one_line('queue_name', attributes.queue_name))}")
        if attributes.account is not None:
            options.append(f"-A {quote(one_line('account', attributes.account))}")
        for letter, text in self.options(order).items():
            options.append(f"-{letter}" if text is None else f"-{letter} {quote(one_line(letter, text))}")
        return [*(f"#PBS {option}" for option in options), f"exec >>{quote(order.log)} 2>&1"]

    def _asked(self, order: Order) -> Iterator[tuple[str, str]]:
        for option in self.request(order):
            letter, _, value = option.removeprefix("-").partition(" ")
            yield letter, value
        hours, rest = divmod(order.seconds, 3600)
        yield "l", f"walltime={hours:02}:{rest // 60:02}:{rest % 60:02}"
        kinds = {"after": order.dependencies.after, "after_ok": order.dependencies.after_ok}
        kinds["after_any"] = order.dependencies.after_any
        for kind, ids in kinds.items():
            for native_id in ids:
                if not _ID.fullmatch(native_id):
                    raise self.refuse(kind, native_id, "it is no id of a job there")
        depend = ",".join(self.dependency(kind, ids) for kind, ids in kinds.items() if ids)
        if depend:
            yield "W", f"depend={depend}"

    def _job_name(self, name: str) -> str:
        """The name as PBS takes it: what it does not allow becomes ``_``, and the first letter is a letter."""
        name = self.not_in_names.sub("_", name)
        if not (name[:1].isascii() and name[:1].isalpha()):
            name = f"j{name}"
        return name[: self.name_limit]

    def options(self, order: Order) -> dict[str, str | None]:
        """The custom attributes. Raises `InvalidJobException` for one that is no option of ``qsub``."""
        found = super().options(order)
        for letter, value in found.items():
            if not _OPTION.fullmatch(letter):
                raise InvalidJobException(
                    f"custom_attributes: {self.name}.{letter}={value!r} is no option of qsub, which have one letter; "
                    f"a resource is given as {self.name}.l='{letter}=…'"
                )
            if letter in _OURS:
                raise InvalidJobException(f"custom_attributes: {self.name}.{letter}={value!r}: {_OURS[letter]}")
        return found

    def preamble(self, order: Order) -> list[str]:
        """The nodes, in the order of the node file."""
        return ["""psij_nodes() { awk '!seen[$0]++' "$PBS_NODEFILE"; }"""]

    def submit_command(self, script: str) -> list[str]:
        """``qsub``."""
        return ["qsub", script]

    def native_id(self, out: str) -> str:
        """The last line that is an id; sites print advice before it."""
        for line in reversed(out.splitlines()):
            if _ID.fullmatch(line.strip()):
                return line.strip()
        raise ValueError(f"there is no id of a job in {out!r}")

    def array_ids(self, native_id: str, size: int) -> list[str]:
        """``123[].server`` has the tasks ``123[0].server``, ``123[1].server`` and so on."""
        number, _, rest = native_id.partition("[]")
        return [f"{number}[{index}]{rest}" for index in range(size)]

    def refusal_is_transient(self, done: Completed) -> bool:
        """Also a limit on the number of jobs passes."""
        return is_transient(done.complaint) or any(sign in done.complaint.lower() for sign in _FULL)

    # -- knowing

    def statuses(self, done: Completed) -> dict[str, JobStatus]:
        """Read ``qstat -f``. It complains of each job that it does not know, and tells of the others."""
        if done.code != 0 and not _only_gone(done):
            raise NoAnswer(f"qstat has failed: {done.complaint}")
        return {native_id: self._status(found) for native_id, found in _jobs(done.out) if found.get("job_state")}

    def _status(self, found: Mapping[str, str]) -> JobStatus:
        letter = found["job_state"]
        if letter in self.final_states:
            status = self._end(found)
        else:
            status = JobStatus(_STATES.get(letter, JobState.QUEUED), message=found.get("comment"))
            if letter == "H" and set(found.get("Hold_Types", "")) & set("uop"):
                status.metadata["reason"] = Reason.HELD
        status.metadata["native_state"] = letter
        starts = found.get("run_count") or found.get("start_count") or ""
        if starts.isdigit() and int(starts) > 1:
            status.metadata["restarts"] = int(starts) - 1
        return status

    def _end(self, found: Mapping[str, str]) -> JobStatus:
        letter, comment = found["job_state"], found.get("comment", "")
        code = _number(found.get("Exit_status") or found.get("exit_status"))
        terminated = found.get("substate") == "91" or "terminated" in comment.lower()
        if code == 0:
            return ended(0)
        if "dependency" in comment.lower():
            return failed(Reason.DEPENDENCY, letter, comment)
        if code is not None and code < 0:
            reason, why = self.verdicts.get(code, (Reason.LAUNCH, "could not be started"))
            return failed(reason, letter, f"{why} (exit status {code}). {comment}".strip())
        if terminated:
            return failed(Reason.CANCELED, letter, comment or "the job was deleted", code)
        if code is not None and (
            128 < code <= 192 or code > 256
        ):  # by what ended the shell, or what ended the program as the shell says
            return _killed(code - 256 if code > 256 else code - 128, found)
        if code is None and found.get("substate") == "93":
            return failed(Reason.EXIT, letter, comment or "failed")
        if code is None and not found.keys() & _STARTED and "[" not in found["id"]:
            if "after" in found.get("depend", ""):  # it is taken away when it is met
                return failed(Reason.DEPENDENCY, letter, comment or "the job was deleted while it waited for others")
            return failed(Reason.CANCELED, letter, comment or "the job was deleted before it started")
        return ended(code)

    # -- acting

    def cancel_command(self, ids: Sequence[str]) -> list[str]:
        """``qdel``: TERM, and KILL after the site's delay."""
        return ["qdel", *ids]

    def cancel_failed(self, done: Completed) -> bool:
        """A job that has ended needs no cancel."""
        return done.code != 0 and not _only_gone(done)

    def signal_command(self, ids: Sequence[str], signal: str) -> list[str]:
        """``qsig``."""
        return ["qsig", "-s", f"SIG{signal.removeprefix('SIG')}", *ids]

    def list_command(self) -> list[str]:
        """``qselect``, which does not shorten ids, as whoever asks there."""
        return ["sh", "-c", 'exec qselect -u "$(id -un)"']

    def listed(self, done: Completed) -> list[str]:
        """One id a line."""
        if done.code != 0:
            raise NoAnswer(f"qselect has failed: {done.complaint}")
        return [line.strip() for line in done.out.splitlines() if _ID.fullmatch(line.strip())]


def whole_arrays(ids: Sequence[str]) -> list[str]:
    """The ids with each array job once in place of its tasks."""
    return list(dict.fromkeys(_SUBJOB.sub(r"\1[]\2", native_id) for native_id in ids))


def _jobs(out: str) -> Iterator[tuple[str, dict[str, str]]]:
    """The attributes of each job in what ``qstat -f`` has printed; of those given twice, the first."""
    for block in re.split(r"^Job Id:", out, flags=re.MULTILINE)[1:]:
        lines = block.replace("\n\t", "").splitlines()  # long values are folded
        found = {"id": lines[0].strip()}
        for line in lines[1:]:
            if match := _ATTRIBUTE.fullmatch(line.rstrip()):
                found.setdefault(match[1], match[2])
        if _ID.fullmatch(found["id"]):
            yield found["id"], found


def _only_gone(done: Completed) -> bool:
    """Whether all that a command complains of is jobs that are not there."""
    lines = [line.lower() for line in done.err.splitlines() if line.strip()]
    return bool(lines) and all(any(sign in line for sign in _GONE) for line in lines)


def _killed(signal: int, found: Mapping[str, str]) -> JobStatus:
    """A job that a signal has ended, where PBS does not say why it was sent: more used than asked for tells."""
    letter, code = found["job_state"], 128 + signal
    used, limit = (_seconds(found.get(f"{kind}.walltime", "")) for kind in ("resources_used", "Resource_List"))
    if used is not None and limit is not None and used >= limit:
        return failed(Reason.WALLTIME, letter, f"ran {used} s and was killed at its walltime of {limit} s", code)
    memory, most = (_bytes(found.get(f"{kind}.mem", "")) for kind in ("resources_used", "Resource_List"))
    if memory is not None and most is not None and memory >= most:
        return failed(Reason.OUT_OF_MEMORY, letter, f"used {memory} bytes of memory of {most}", code)
    return ended(signal=signal)


def _number(text: str | None) -> int | None:
    try:
        return None if text is None else int(text)
    except ValueError:
        return None


def _seconds(text: str) -> int | None:
    parts = text.split(":")
    if not all(part.isdigit() for part in parts):
        return None
    total = 0
    for part in parts:
        total = total * 60 + int(part)
    return total


def _bytes(text: str) -> int | None:
    match = re.fullmatch(r"(\d+)([kmgt]?)b?", text.lower())
    return None if match is None else int(match[1]) * _UNITS[match[2]]
