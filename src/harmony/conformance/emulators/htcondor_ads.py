"""ClassAds: what HTCondor knows of a job, in its words, the expressions over it, and how it is printed."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from harmony.conformance.emulators.dialect import stamp
from harmony.conformance.emulators.model import How, Job, State

if TYPE_CHECKING:
    from harmony.conformance.emulators.engine import Machine

IDLE, RUNNING, REMOVED, COMPLETED, HELD = 1, 2, 3, 4, 5
Ad = dict[str, Any]


@dataclass
class Form:
    """How ads are to be printed."""

    kind: str = ""
    columns: list[str] = field(default_factory=list)
    qualifiers: str = ""
    attributes: list[str] = field(default_factory=list)
    formats: list[tuple[str, str]] = field(default_factory=list)


_REMOVED = {
    How.CANCELLED: "via condor_rm (by user {user})",
    How.DEPENDENCY: "The job attribute PeriodicRemove expression evaluated to TRUE",
    How.NODE_FAILED: "via condor_rm (by user condor)",
}


def _status(job: Job) -> int:
    if job.state is State.ENDED:
        return COMPLETED if job.how is How.EXITED else REMOVED
    return {State.HELD: HELD, State.WAITING: IDLE, State.RUNNING: RUNNING}[job.state]


def ad(job: Job, machine: Machine) -> Ad:
    """What is known of a job."""
    request, proc, now = job.request, job.index or 0, machine.now()
    extra = request.extra
    facts: Ad = {
        "MyType": "Job", "TargetType": "Machine", "ClusterId": job.number, "ProcId": proc,
        "GlobalJobId": f"{machine.dialect.server}#{job.number}.{proc}#{int(job.submitted)}", "Owner": request.user,
        "User": f"{request.user}@{machine.dialect.server}", "JobUniverse": 5, "JobStatus": _status(job),
        "QDate": int(job.submitted), "Cmd": extra.get("executable", "/bin/true"), "Args": extra.get(f"args.{proc}", ""),
        "Iwd": extra.get(f"initialdir.{proc}", request.directory), "In": extra.get(f"input.{proc}", "/dev/null"),
        "Out": extra.get(f"output.{proc}", "/dev/null"), "Err": extra.get(f"error.{proc}", "/dev/null"),
        "EnteredCurrentStatus": int(job.ended or job.started or job.submitted), "JobPrio": 0,
        "NumJobStarts": job.restarts + (job.started is not None), "NumRestarts": job.restarts,
        "NumShadowStarts": job.restarts + (job.started is not None),
        "RequestCpus": request.cores, "RequestMemory": 128, "RequestDisk": 1024, "RequestGPUs": request.gpus,
        "CurrentTime": int(now), "ServerTime": int(now), "ImageSize": 1, "MinHosts": 1, "MaxHosts": 1,
        "RemoteWallClockTime": round(job.elapsed(now), 1), "ExitStatus": 0, "CompletionDate": 0,
        "TotalSubmitProcs": len(request.tasks or (0,)),
    }  # fmt: skip
    if request.name:
        facts["JobBatchName"] = request.name
    if request.account:
        facts["AcctGroup"] = facts["AccountingGroup"] = request.account
    if f"log.{proc}" in extra:
        facts["UserLog"] = os.path.join(facts["Iwd"], extra[f"log.{proc}"])
    if job.started is not None:
        facts["JobStartDate"] = facts["JobCurrentStartDate"] = int(job.started)
        facts["RemoteHost" if job.state is State.RUNNING else "LastRemoteHost"] = f"slot1@{(*job.nodes, '?')[0]}"
    facts.update(_ending(job))
    for name, text in extra.items():
        if name.startswith("+"):
            facts[name[1:]] = evaluate(text, facts)
    return facts


def _ending(job: Job) -> Ad:
    status, user = _status(job), job.request.user
    if status == HELD:
        reason = "submitted on hold at user's request" if job.request.held else f"via condor_hold (by user {user})"
        if job.reason == "launch":
            reason = f"Failed to start job: {job.note}"
        code = 6 if job.reason == "launch" else 15 if job.request.held else 1
        return {"HoldReason": job.note if job.foreign else reason, "HoldReasonCode": code, "HoldReasonSubCode": 0}
    if status == REMOVED:
        default = "The job attribute PeriodicRemove expression evaluated to TRUE"
        reason = _REMOVED.get(job.how or How.EXITED, default).format(user=user)
        facts: Ad = {"RemoveReason": job.note or reason, "CompletionDate": 0}
        if job.how is How.TIMEOUT and job.request.extra.get("allowed"):  # held first, and then removed
            facts.update(HoldReason="The job exceeded allowed job duration", HoldReasonCode=46, HoldReasonSubCode=0)
        if job.how is How.OUT_OF_MEMORY:
            facts.update(HoldReason="Job has gone over cgroup memory limit", HoldReasonCode=34, HoldReasonSubCode=102)
        return facts
    if status == COMPLETED:
        facts = {"ExitBySignal": bool(job.signal), "CompletionDate": int(job.ended or 0), "JobFinishedHookDone": 1}
        facts["ExitSignal" if job.signal else "ExitCode"] = job.signal or job.exit_code
        return {**facts, "ExitStatus": job.exit_code}
    return {}


# -- expressions

_TOKEN = re.compile(
    r"\s*(?:(\d+\.\d*|\d+)|\"((?:[^\"\\]|\\.)*)\"|(=\?=|=!=|==|!=|<=|>=|&&|\|\||[-+*/%<>!?:(),{}])|([A-Za-z_][\w.]*))"
)
_LEVELS = (("||",), ("&&",), ("==", "!=", "=?=", "=!="), ("<", "<=", ">", ">="), ("+", "-"), ("*", "/", "%"))
UNDEFINED = None


def true(text: str, facts: Mapping[str, Any]) -> bool:
    """Whether an expression holds of an ad."""
    value = evaluate(text, facts)
    return bool(value) and not isinstance(value, str)


def evaluate(text: str, facts: Mapping[str, Any]) -> Any:
    """The value of an expression; None for what is not defined, and for what cannot be read."""
    tokens, at = [], 0
    while at < len(text.rstrip()):
        match = _TOKEN.match(text, at)
        if not match:
            return UNDEFINED
        tokens.append((match.lastindex or 0, match[match.lastindex or 0]))
        at = match.end()
    try:
        return _Reader(tokens, {name.lower(): value for name, value in facts.items()}).choice()
    except (IndexError, TypeError, ZeroDivisionError):
        return UNDEFINED


class _Reader:
    """Reads an expression from its tokens, and evaluates it meanwhile."""

    def __init__(self, tokens: Sequence[tuple[int, str]], facts: Mapping[str, Any]) -> None:
        self._tokens, self._facts, self._at = tokens, facts, 0

    def _next(self, *wanted: str) -> str:
        if self._at < len(self._tokens):
            kind, text = self._tokens[self._at]
            if kind == 3 and (text in wanted):
                self._at += 1
                return text
        return ""

    def choice(self) -> Any:
        """An expression, or ``a ? b : c``."""
        value = self._binary(0)
        if self._next("?"):
            yes = self.choice()
            self._next(":")
            no = self.choice()
            return yes if value else no
        return value

    def _binary(self, level: int) -> Any:
        if level == len(_LEVELS):
            return self._single()
        value = self._binary(level + 1)
        while operator := self._next(*_LEVELS[level]):
            value = _apply(operator, value, self._binary(level + 1))
        return value

    def _single(self) -> Any:
        if operator := self._next("!", "-", "+"):
            value = self._single()
            if value is UNDEFINED:
                return UNDEFINED
            return (not value) if operator == "!" else -value if operator == "-" else value
        if self._next("("):
            value = self.choice()
            self._next(")")
            return value
        kind, text = self._tokens[self._at]
        self._at += 1
        if kind == 1:
            return float(text) if "." in text else int(text)
        if kind == 2:
            return re.sub(r"\\(.)", r"\1", text)
        return self._name(text)

    def _name(self, text: str) -> Any:
        name = text.lower().removeprefix("my.")
        if self._next("("):
            values = []
            while not self._next(")"):
                values.append(self.choice())
                self._next(",")
            return _call(name, values)
        constants = {"true": True, "false": False, "undefined": UNDEFINED, "error": UNDEFINED}
        return constants[name] if name in constants else self._facts.get(name)


def _apply(operator: str, left: Any, right: Any) -> Any:
    if operator in ("=?=", "=!="):
        return (type(left) is type(right) and left == right) == (operator == "=?=")
    if operator in ("&&", "||"):
        decisive = operator == "||"
        if left is decisive or right is decisive:
            return decisive
        return (
            UNDEFINED if UNDEFINED in (left, right) else (bool(left) or bool(right)) == decisive or bool(left and right)
        )
    if UNDEFINED in (left, right):
        return UNDEFINED
    if operator in ("==", "!=") and isinstance(left, str) and isinstance(right, str):
        return (left.lower() == right.lower()) == (operator == "==")
    acts: dict[str, Callable[[], Any]] = {
        "==": lambda: left == right, "!=": lambda: left != right, "<": lambda: left < right, ">": lambda: left > right,
        "<=": lambda: left <= right, ">=": lambda: left >= right, "+": lambda: left + right, "-": lambda: left - right,
        "*": lambda: left * right, "%": lambda: left % right,
        "/": lambda: left // right if isinstance(left, int) and isinstance(right, int) else left / right,
    }  # fmt: skip
    return acts[operator]()


def _call(name: str, values: Sequence[Any]) -> Any:
    if name == "time":
        return int(time.time())
    if name == "member":
        return values[0] in values[1:]
    if name in ("stringlistmember", "stringlistimember"):
        return values[0] in re.split(r"[,\s]+", values[1])
    if name == "regexp":
        return re.search(values[0], values[1]) is not None
    if name == "isundefined":
        return values[0] is UNDEFINED
    if name == "ifthenelse":
        return values[1] if values[0] else values[2]
    if name in ("int", "string"):
        return int(values[0]) if name == "int" else literal(values[0], quoted=False)
    return UNDEFINED


# -- printing


def literal(value: Any, *, quoted: bool = True) -> str:
    """A value, as ClassAds write it."""
    if value is UNDEFINED:
        return "undefined"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"' if quoted else value
    return f"{value:.1f}" if isinstance(value, float) and value == int(value) else str(value)


def long_form(facts: Ad) -> str:
    """An ad, as ``-long`` prints it."""
    return "".join(f"{name} = {literal(value)}\n" for name, value in sorted(facts.items()))


def printed(found: Sequence[Ad], form: Form, *, past: bool) -> str:
    """Ads, as a command prints them."""
    if form.columns:
        return _autoformat(found, form)
    if form.formats:
        return "".join(_printf(spec, evaluate(name, facts)) for facts in found for spec, name in form.formats)
    if form.attributes:
        wanted = {name.lower() for name in form.attributes}
        found = [{name: value for name, value in facts.items() if name.lower() in wanted} for facts in found]
    if form.kind == "json":
        text = "\n,\n".join(json.dumps(facts, indent=2, ensure_ascii=False) for facts in found)
        return f"[\n{text}\n]\n" if found else "[\n]\n"
    if form.kind == "jsonl":
        return "".join(json.dumps(facts, ensure_ascii=False) + "\n" for facts in found)
    if form.kind in ("l", "long"):
        return "".join(long_form(facts) + "\n" for facts in found)
    return _table(found, past)


def _autoformat(found: Sequence[Ad], form: Form) -> str:
    marks = form.qualifiers
    gap = "\t" if "t" in marks else " "
    lines = []
    if "h" in marks:
        lines.append(gap.join([*(["ID"] if "j" in marks else []), *form.columns]))
    for facts in found:
        cells = []
        for column in form.columns:
            text = literal(evaluate(column, facts), quoted="V" in marks)
            text = f"{column} = {text}" if "l" in marks else text
            cells.append(text + ("," if "," in marks else "") + ("\n" if "n" in marks else ""))
        if "j" in marks:
            cells.insert(0, f"{facts['ClusterId']}.{facts['ProcId']}")
        lines.append(("" if "n" in marks else gap).join(cells).rstrip("\n" if "n" in marks else ""))
    return "".join(f"{line}\n" for line in lines)


def _printf(spec: str, value: Any) -> str:
    if value is UNDEFINED:
        return ""
    spec = spec.replace("\\n", "\n").replace("\\t", "\t").replace("%v", "%s").replace("%V", "%s")
    try:
        return spec % (value if re.search(r"%[-\d.]*[dfgux]", spec) else literal(value, quoted=False))
    except TypeError:
        return ""


def _table(found: Sequence[Ad], past: bool) -> str:
    letters = {IDLE: "I", RUNNING: "R", REMOVED: "X", COMPLETED: "C", HELD: "H"}
    head = " ID     OWNER          SUBMITTED   RUN_TIME     ST COMPLETED   CMD" if past else (
        " ID      OWNER            SUBMITTED     RUN_TIME ST PRI SIZE CMD"
    )  # fmt: skip
    lines = [head]
    for facts in found:
        ran = int(facts["RemoteWallClockTime"])
        took = f"{ran // 86400}+{ran % 86400 // 3600:02d}:{ran % 3600 // 60:02d}:{ran % 60:02d}"
        when, letter = stamp(facts["QDate"], "%-m/%-d  %H:%M"), letters[facts["JobStatus"]]
        name = os.path.basename(facts["Cmd"])
        job_id = f"{facts['ClusterId']:4}.{facts['ProcId']:<3}"
        lines.append(f"{job_id} {facts['Owner']:<14.14} {when:>11} {took:>12} {letter}  0 0.0 {name}")
    return "".join(f"{line}\n" for line in lines)
