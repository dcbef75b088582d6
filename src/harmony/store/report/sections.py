"""Sections: the parts of the page that are text and tables; see `charts` for what is drawn."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterable
from datetime import datetime, timezone

import harmony
from harmony.core.report import Report
from harmony.core.task import TaskState
from harmony.store.report import figures
from harmony.store.report.faults import Example, Fault, Faults
from harmony.store.report.links import Links
from harmony.store.report.markup import (
    Column,
    Raw,
    duration,
    facts,
    named,
    number,
    percent,
    shortened,
    table,
    text,
)
from harmony.store.report.survey import Survey

#: So many tasks of the critical path are listed: those that ran longest.
CHAIN = 60
_ARGUMENTS = 4_000
_TRACEBACK = 12_000


def heading(survey: Survey) -> str:
    """What was run, and how it stands."""
    run = survey.run
    part = f", workflow {run.ordinal} of that name," if run.ordinal > 1 else ""
    return (
        f'<h1>{text(run.workflow)} <span class="state s-{text(run.status)}">{text(run.status)}</span></h1>'
        f"<p>Run {run.id}{part} of <code>{text(run.program)}</code>, "
        f"began {moment(run.began)} on {text(run.host)}</p>"
    )


def moment(when: float) -> str:
    """A time of day where the report is written."""
    there = datetime.fromtimestamp(when, timezone.utc).astimezone()
    return f'<time datetime="{there.isoformat(timespec="seconds")}">{there:%Y-%m-%d %H:%M:%S} {there:%z}</time>'


def footer() -> str:
    """What wrote the page, and when."""
    return f"Written by Harmony {harmony.__version__} on {moment(time.time())}."


def summary(survey: Survey) -> str:
    """The key numbers, the tasks by state, and what follows from them."""
    run, report = survey.run, figures.totals(survey)
    attempts, seconds = figures.lost(survey)
    pairs = [
        ("Wall time", text(duration(report.wall))),
        ("Tasks", f"{run.counts.total:,}"),
        ("Work", f"{text(duration(report.work))} <small>core time</small>"),
        ("Cores", f"{run.cores:,}"),
        ("Core use", _core_use(report)),
        ("Critical path", text(duration(report.critical_path))),
        ("Efficiency", percent(report.efficiency) if report.wall > 0 else "–"),
        ("Retries", f"{attempts:,}" + (f" <small>{text(duration(seconds))} lost</small>" if attempts else "")),
    ]
    notes = "".join(f"<li>{note}</li>" for note in _notes(survey, report))
    return facts(pairs, "figures") + _state_bar(figures.states(survey)) + f'<ul class="notes">{notes}</ul>'


def _core_use(report: Report) -> str:
    return percent(report.work / report.cores / report.wall) if report.wall > 0 and report.cores else "–"


def _state_bar(states: list[tuple[str, int]]) -> str:
    total = sum(count for _, count in states)
    if not total:
        return ""
    parts, place = [], 0.0
    for word, count in states:
        width = 1000 * count / total
        parts.append(f'<rect class="s-{word}" x="{place:.2f}" width="{width:.2f}" height="10"/>')
        place += width
    words = "; ".join(f"{count:,} {word}" for word, count in states)
    legend = "".join(
        f'<li><svg class="swatch s-{word}" viewBox="0 0 10 10" aria-hidden="true"><rect width="10" height="10"/></svg>'
        f"{word} <b>{count:,}</b></li>"
        for word, count in states
    )
    return (
        f'<svg class="states" viewBox="0 0 1000 10" preserveAspectRatio="none" role="img" '
        f'aria-label="Tasks by state: {words}">{"".join(parts)}</svg><ul class="legend">{legend}</ul>'
    )


def _notes(survey: Survey, report: Report) -> Iterable[str]:
    run, status = survey.run, survey.run.status
    if status == "running":
        yield f"The run was going on when this was written; all numbers are those after {duration(report.wall)}."
    if status == "interrupted":
        yield (
            f"The driver ended without closing the run: nothing is known of it after {duration(report.wall)}. "
            "Running the program again takes it up from here."
        )
    if status == "stopped":
        yield "The program stopped the run by an error, or by closing it, before all tasks had ended."
    if run.resumes is not None:
        recalled = number(run.counts.recalled, "task") if run.counts.recalled else "no task"
        yield f"It resumed run {run.resumes}: {recalled} did not have to be run again."
    if 0 < report.ideal <= report.wall:  # more work than that was on more cores than was told
        longest = report.critical_path >= report.work / max(report.cores, 1)
        bound = "its longest chain of tasks" if longest else f"its work on {number(report.cores, 'core')}"
        yield (
            f"{bound[0].upper()}{bound[1:]} takes {duration(report.ideal)} at least: the efficiency is that time "
            f"as a share of the {duration(report.wall)} it took."
        )


def critical_path(survey: Survey, links: Links, wall: float) -> str:
    """The chain with the longest run times."""
    chain = links.chain
    if not chain:
        return "<p>No task has ended after having run.</p>"
    total = survey.tasks.path[chain[-1]] or 1.0
    share = f", {percent(total / wall)} of the wall time" if wall > 0 else ""
    told = f"<p>{number(len(chain), 'task')} one after the other ran for {duration(total)}{share}.</p>"
    return told + _by_family(survey, links, total) + _steps(survey, links, total)


def _by_family(survey: Survey, links: Links, total: float) -> str:
    groups = figures.by_family(survey, links.chain, links.steps)
    if len(groups) == len(links.chain):
        return ""
    columns = [Column("Task name"), Column("Tasks", "count"), Column("Run time", "seconds")]
    columns += [Column("Share", "percent"), Column("", "bar")]
    rows = [
        (named(survey.families[family], survey.colour[family]), count, seconds, seconds / total, seconds / total)
        for family, count, seconds in groups
    ]
    return table("Critical path by task name", columns, rows)


def _steps(survey: Survey, links: Links, total: float) -> str:
    chain, steps, wait = links.chain, links.steps, _waits(survey, links.chain)
    shown = sorted(sorted(range(len(chain)), key=lambda at: -steps[at])[:CHAIN])
    columns = [
        Column("Step", "count"), Column("Task"), Column("Id", "count"),
        Column("Run time", "seconds", "of the last attempt"), Column("Share", "percent"), Column("", "bar"),
        Column("Waited", "seconds", "from the end of the step before to its own start"), Column("Worker"),
    ]  # fmt: skip
    rows = [
        (
            at + 1, _task(survey, chain[at]), survey.tasks.id[chain[at]], steps[at], steps[at] / total,
            steps[at] / total, wait[at], _worker(survey, chain[at]),
        )
        for at in shown
    ]  # fmt: skip
    some = f"The {CHAIN} longest of {len(chain):,} steps" if len(shown) < len(chain) else "All steps"
    return table(some, columns, rows)


def _waits(survey: Survey, chain: list[int]) -> list[float | None]:
    tasks = survey.tasks
    ends = [0.0, *(survey.end(row) for row in chain[:-1])]
    return [
        max(tasks.started[row] - end, 0.0) if tasks.started[row] >= 0 and tasks.attempts[row] <= 1 else None
        for row, end in zip(chain, ends, strict=True)
    ]


def slowest(survey: Survey) -> str:
    """The tasks that ran longest."""
    rows = figures.slowest(survey)
    if not rows:
        return "<p>No task has ended after having run.</p>"
    tasks = survey.tasks
    columns = [
        Column("Task"), Column("Id", "count"), Column("State"), Column("Run time", "seconds"),
        Column("CPU", "seconds"), Column("Memory", "bytes", "the most at one time"), Column("Began", "seconds"),
        Column("Attempts", "count"), Column("Worker"),
    ]  # fmt: skip
    cells = [
        (
            _task(survey, row), tasks.id[row], _state(survey, row), tasks.seconds[row], _known(tasks.cpu[row]),
            _known(tasks.memory[row]), _known(tasks.started[row]), tasks.attempts[row], _worker(survey, row),
        )
        for row in rows
    ]  # fmt: skip
    return table(f"{number(len(rows), 'task')} of {len(tasks):,}, by run time", columns, cells)


def resources(survey: Survey) -> str:
    """What the tasks of each name took."""
    found = figures.uses(survey)
    if not found:
        return "<p>No task has begun.</p>"
    whole = sum(use.seconds for use in found) or 1.0
    columns = [
        Column("Task name"), Column("Tasks", "count"), Column("Recalled", "count"), Column("Failed", "count"),
        Column("Total", "seconds", "run time of all attempts"), Column("Share", "percent"), Column("", "bar"),
        Column("Mean", "seconds"), Column("Max", "seconds"), Column("CPU", "seconds"),
        Column("CPU / run time", "percent"), Column("Peak memory", "bytes"), Column("Read", "bytes"),
        Column("Written", "bytes"),
    ]  # fmt: skip
    rows = [
        (
            named(survey.families[family], survey.colour[family]), use.count, use.recalled, use.failed, use.seconds,
            use.seconds / whole, use.seconds / whole, use.seconds / use.ran if use.ran else None,
            use.longest if use.ran else None, use.cpu, use.cpu / use.measured if use.cpu and use.measured else None,
            use.memory, use.read, use.written,
        )
        for family, use in enumerate(found)
    ]  # fmt: skip
    return table("Resource use by task name", columns, rows)


def failures(survey: Survey, found: Faults) -> str:
    """The distinct errors, each with examples."""
    if not found.kinds and not found.followed:
        return "<p>No attempt of a task has failed.</p>"
    parts = []
    if found.followed:
        parts.append(f"<p>{number(found.followed, 'task')} did not run because a task they needed had failed.</p>")
    parts += [_fault(survey, fault) for fault in found.kinds]
    if found.hidden:
        parts.append(f"<p>{number(found.hidden, 'rarer error is', 'rarer errors are')} not shown.</p>")
    return "".join(parts)


def _fault(survey: Survey, fault: Fault) -> str:
    first, _, _ = fault.message.strip().partition("\n")
    again = fault.attempts - fault.final
    told = [f"ended {number(fault.final, 'task')}"] if fault.final else []
    told += [f"{number(again, 'attempt')} tried again"] if again else []
    names = ", ".join(survey.families[family] for family in sorted(fault.families)[:6])
    more = f" and {len(fault.families) - 6} more" if len(fault.families) > 6 else ""
    examples = "".join(_example(survey, example) for example in fault.examples)
    return (
        f'<details class="fault"><summary><b class="n">{fault.attempts:,} ×</b> <code class="type">{text(fault.type)}'
        f"</code> <span>{text(shortened(first, 300))}</span> <small>{', '.join(told)} · in {text(names)}{more}</small>"
        f"</summary>{examples}</details>"
    )


def _example(survey: Survey, example: Example) -> str:
    row = example.row
    pairs = [("Task", f"{_task(survey, row)} {survey.tasks.id[row]}, attempt {example.attempt}")]
    if survey.tasks.place[row] >= 0:
        pairs.append(("Worker", text(_worker(survey, row))))
    if example.exit_code is not None:
        pairs.append(("Exit code", str(example.exit_code)))
    if example.signal is not None:
        pairs.append(("Signal", str(example.signal)))
    parts = ['<div class="example">', facts(pairs), f"<h4>Message</h4><pre>{text(example.message)}</pre>"]
    if example.arguments:
        parts.append(f"<h4>Arguments</h4><pre>{text(shortened(example.arguments, _ARGUMENTS))}</pre>")
    if example.traceback.strip():
        parts.append(f"<h4>Traceback</h4><pre>{text(shortened(example.traceback, _TRACEBACK))}</pre>")
    return "".join([*parts, "</div>"])


def attempts(survey: Survey, rows: list[int], found: Faults) -> str:
    """The tasks that were tried again."""
    if not rows:
        return "<p>Every task was tried once at most.</p>"
    tasks = survey.tasks
    count, seconds = figures.lost(survey)
    columns = [
        Column("Task"), Column("Id", "count"), Column("Attempts", "count"), Column("In the end"),
        Column("Run time", "seconds", "of all attempts"), Column("Errors"),
    ]  # fmt: skip
    cells = [
        (
            _task(survey, row), tasks.id[row], tasks.attempts[row], _state(survey, row),
            _known(tasks.seconds[row]), _errors(found, tasks.id[row], tasks.attempts[row]),
        )
        for row in rows[: figures.RETRIED]
    ]  # fmt: skip
    told = f"{number(len(rows), 'task was', 'tasks were')} tried more than once"
    told += f"; {number(count, 'attempt')} came to nothing, in {duration(seconds)}."
    return f"<p>{told}</p>" + table(f"{len(cells):,} of {number(len(rows), 'task')} with retries", columns, cells)


def _errors(found: Faults, task: int, tries: int) -> Raw:
    lines = [
        f"{attempt}. {text(shortened(found.errors[task, attempt], 160))}"
        for attempt in range(1, min(tries, 6) + 1)
        if (task, attempt) in found.errors
    ]
    return Raw("<br>".join(lines) or "–")


def environment(survey: Survey) -> str:
    """Where and with what it ran."""
    run = survey.run
    pairs = [
        ("Command line", f"<code>{text(shlex.join(run.argv))}</code>"),
        ("Directory", f"<code>{text(run.directory)}</code>"),
        ("User", text(run.user)),
        ("Driver", f"process {run.pid} on {text(run.host)}"),
        ("Engines", text(", ".join(run.engines)) or "–"),
        ("Began", moment(run.began)),
        ("Ended", moment(run.began + run.ended) if run.ended is not None else "–"),
        ("Run", f"<code>{text(run.uuid)}</code>"),
    ]
    packages = run.environment.get("packages")
    pairs += [(key.capitalize(), text(value)) for key, value in run.environment.items() if key != "packages"]
    if not packages:
        return facts(pairs)
    items = packages.items() if isinstance(packages, dict) else [str(item).partition("==")[::2] for item in packages]
    rows = sorted((str(name), str(version)) for name, version in items)
    listing = table("Packages", [Column("Package"), Column("Version")], rows)
    return f"{facts(pairs)}<details><summary>{number(len(rows), 'package')}</summary>{listing}</details>"


def _task(survey: Survey, row: int) -> Raw:
    return named(survey.name(row), survey.colour[survey.family[row]])


def _worker(survey: Survey, row: int) -> str:
    place = survey.tasks.place[row]
    return survey.where(survey.tasks.engine[row], place) if place >= 0 else "–"


def _state(survey: Survey, row: int) -> str:
    state = TaskState(survey.tasks.state[row])
    if state is TaskState.RUNNING and survey.run.status != "running":
        return "interrupted"
    return state.name.lower()


def _known(value: float) -> float | None:
    return value if value >= 0 else None
