"""Faults: the failures of a run, those alike put together."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from harmony.store.report.survey import Survey

#: So many kinds of error are shown, each with so many examples.
KINDS = 60
EXAMPLES = 3
_TEXT = 12_000
#: What differs between errors that are alike: quoted texts, paths, numbers and addresses.
_VARYING = re.compile(r"'[^'\n]{0,400}'|\"[^\"\n]{0,400}\"|(?:/[\w.+-]+){2,}|0x[0-9a-fA-F]+|\d[\d.,:e+-]*")


@dataclass
class Example:
    """One failed attempt of a task."""

    row: int
    attempt: int
    message: str
    traceback: str = ""
    arguments: str = ""
    exit_code: int | None = None
    signal: int | None = None


@dataclass
class Fault:
    """Errors that are alike: `attempts` failed with one; `final` of them ended their task."""

    type: str
    message: str
    attempts: int = 0
    final: int = 0
    families: set[int] = field(default_factory=set)
    examples: list[Example] = field(default_factory=list)


@dataclass
class Faults:
    """All errors. `followed` are the tasks that were not run because another had failed; `errors` is by attempt."""

    kinds: list[Fault]
    hidden: int = 0
    followed: int = 0
    errors: dict[tuple[int, int], str] = field(default_factory=dict)


def faults(survey: Survey, wanted: set[int]) -> Faults:
    """Read the failures; keep the error of each attempt of the tasks (by id) that are `wanted`."""
    kinds: dict[tuple[str, str], Fault] = {}
    found = Faults([])
    run = survey.run.id
    for task, attempt, kind, message, root in survey.history.rows("report_failures", run=run):
        if task in wanted:
            found.errors[task, attempt] = f"{kind}: {message[:200]}"
        row = survey.row(task)
        if row is None:
            continue
        if not root:
            found.followed += 1
            continue
        key = kind, _VARYING.sub("…", message[:2000])
        fault = kinds.get(key)
        if fault is None:
            fault = kinds[key] = Fault(kind, message)
        fault.attempts += 1
        fault.final += survey.tasks.attempts[row] <= attempt
        fault.families.add(survey.family[row])
        if len(fault.examples) < EXAMPLES:
            fault.examples.append(Example(row, attempt, message[:_TEXT]))
    ranked = sorted(kinds.values(), key=lambda fault: (-fault.final, -fault.attempts))
    found.kinds, found.hidden = ranked[:KINDS], len(ranked[KINDS:])
    for fault in found.kinds:
        for example in fault.examples:
            _fill(survey, example)
    return found


def _fill(survey: Survey, example: Example) -> None:
    task = survey.tasks.id[example.row]
    rows = survey.history.rows("report_failure", run=survey.run.id, task=task, attempt=example.attempt)
    for traceback, arguments, exit_code, signal in rows:
        example.traceback, example.arguments = traceback, arguments
        example.exit_code, example.signal = exit_code, signal
