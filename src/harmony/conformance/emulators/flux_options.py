"""How Flux's submitting commands read their options."""

from __future__ import annotations

import fnmatch
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from harmony.conformance.emulators.model import Call, Refused
from harmony.conformance.emulators.options import MAYBE, NONE, ONE, Options, long_options

if TYPE_CHECKING:
    from harmony.conformance.emulators.engine import Machine

_DIRECTIVE = re.compile(r"^([^\w]*)((?:flux|FLUX):)(.*)$")
_ONE = (
    "bank queue time-limit urgency job-name setopt setattr add-file dependency requires begin-time env env-remove "
    "env-file rlimit input output error cwd flags signal taskmap nodes ntasks cores-per-task gpus-per-task cores "
    "tasks-per-node tasks-per-core gpus-per-node nslots cores-per-slot gpus-per-slot conf broker-opts cc bcc "
    "wait-event log log-stderr filter count format sort user name include since width message states"
)
_NONE = (
    "unbuffered label-io dry-run quiet exclusive wrap wait watch progress jps verbose no-header json all stats "
    "stats-only suppress-header"
)
LONG = {**dict.fromkeys(_ONE.split(), ONE), **dict.fromkeys(_NONE.split(), NONE), "dump": MAYBE, "color": MAYBE}
_ALIASES = {
    "B": "bank", "q": "queue", "t": "time-limit", "o": "setopt", "S": "setattr", "u": "unbuffered", "l": "label-io",
    "N": "nodes", "x": "exclusive", "n": "ntasks", "c": "cores-per-task", "g": "gpus-per-task", "v": "verbose",
}  # fmt: skip
JOBS_ALIASES = {
    "a": "all", "A": "all", "n": "no-header", "o": "format", "c": "count", "f": "filter", "u": "user", "q": "queue",
    "i": "include",
}  # fmt: skip
_UNITS = {"": 60.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def options(argv: Sequence[str], program: str) -> tuple[Options, list[str]]:
    """Read the options of a submission, in the words of argparse when something is wrong."""
    try:
        return long_options(argv, "B:q:t:o:S:uln:N:xc:g:v", LONG, program, _ALIASES)
    except Refused as refused:
        raise usage(program, refused) from None


def usage(program: str, refused: Refused) -> Refused:
    """A complaint of the C library, in the words of argparse."""
    words = re.findall(r"'(.*?)'", refused.complaint)
    what = f"unrecognized arguments: {words[0] if words else ''}" if "requires" not in refused.complaint else (
        f"argument {words[0]}: expected one argument"
    )  # fmt: skip
    return Refused(f"usage: {program.replace('-', ' ')} [OPTIONS...]\n{program}: error: {what}", 2)


def directives(script: str, name: str) -> Options:
    """The options in a script's ``# flux:`` lines."""
    found: Options = []
    for number, line in enumerate(script.splitlines(), 1):
        match = _DIRECTIVE.match(line)
        if not match:
            continue
        lexer = shlex.shlex(match[3], posix=True, punctuation_chars=True)
        lexer.whitespace_split, lexer.escapedquotes = True, "\"'"
        try:
            words = list(lexer)
        except ValueError as error:
            raise Refused(f"flux-batch: ERROR: {name}: line {number}: {match[3]}: {error}") from None
        if words and not words[0].startswith("-"):
            raise Refused(f"flux-batch: ERROR: {name}: line {number}: Unknown directive: {match[3]}")
        try:
            found += options(words, "flux-batch")[0]
        except Refused as refused:
            complaint = f"{refused.complaint}\nflux-batch: ERROR: argument parsing failed at {name} line {number}"
            raise Refused(complaint, 2) from None
    return found


def shape(given: Mapping[str, str], machine: Machine, program: str, *, batch: bool) -> tuple[int, int, int]:
    """Nodes, cores on each, and tasks or slots."""
    capacity = max(node.cores for node in machine.nodes.values())
    tasks = given.get("nslots" if batch else "ntasks", given.get("ntasks"))
    if batch and tasks is None and "nodes" not in given:
        raise Refused(f"{program}: ERROR: Number of slots to allocate must be specified")
    per = given.get("cores-per-slot" if batch else "cores-per-task", given.get("cores-per-task", "1"))
    try:
        count, each, nodes = int(tasks or given.get("nodes", "1")), int(per), int(given.get("nodes", "0"))
    except ValueError as error:
        raise Refused(f"{program}: ERROR: {error}") from None
    if count < 1 or each < 1:
        raise Refused(f"{program}: ERROR: task count must be a integer >= 1")
    if nodes > len(machine.nodes) or count * each > capacity * len(machine.nodes):
        raise Refused(f"{program}: ERROR: [Errno 22] unsatisfiable request")
    if nodes:
        return nodes, capacity if tasks is None and batch else -(-count // nodes) * each, count
    nodes = -(-count // max(1, capacity // each))
    return nodes, -(-count // nodes) * each, count


def seconds(text: str, program: str) -> float | None:
    """Read a duration: minutes, or a number with its unit; None for 0, which means no limit."""
    match = re.fullmatch(r"([\d.]+)(ms|[smhd]?)", text)
    if not match:
        raise Refused(f"{program}: ERROR: invalid Flux standard duration '{text}'")
    return float(match[1]) * _UNITS[match[2]] or None


def environment(found: Options, call: Call) -> dict[str, str]:
    """The environment that a job is given."""
    environment = dict(call.environment)
    for name, value in changes(found, call.environment).items():
        if value is None:
            environment.pop(name, None)
        else:
            environment[name] = value
    return environment


def changes(found: Options, environment: Mapping[str, str] = {}) -> dict[str, str | None]:
    """What ``--env`` and ``--env-remove`` change, in their order."""
    changes: dict[str, str | None] = {}
    for option, rule in found:
        if option not in ("env", "env-remove") or not rule:
            continue
        remove = option == "env-remove" or rule.startswith("-")
        pattern = rule.removeprefix("-") if option == "env" else rule
        name, equals, value = pattern.partition("=")
        if equals and not remove:
            changes[name] = value
            continue
        names = [each for each in environment if fnmatch.fnmatchcase(each, pattern)]
        changes.update({each: None if remove else environment[each] for each in names})
    return changes
