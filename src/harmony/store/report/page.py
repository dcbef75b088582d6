"""Page: the report as one HTML file that loads nothing and runs nothing but its own script."""

from __future__ import annotations

import re
from base64 import b64encode
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harmony.store.report import drawing, figures, sections, timeline
from harmony.store.report.faults import faults
from harmony.store.report.links import SINGLE, Links, links
from harmony.store.report.markup import data, duration, number, percent, swatch, text
from harmony.store.report.survey import Survey

if TYPE_CHECKING:
    from harmony.store.history import History

_HERE = Path(__file__).parent
#: The parts of the script, in this order.
SCRIPTS = ("format.js", "view.js", "plot.js", "load.js", "lanes.js", "tables.js", "start.js")
#: With more tasks than this in a layer, the drawing of each task is closed at first.
TALL = 40
_SLOT = re.compile(r"\{\{(\w+)\}\}")


def render(history: History, run_id: int) -> str:
    """Return the page about a run."""
    with history.snapshot():
        parts = _parts(Survey(history, run_id))
    style, script = _file("page.css"), _script()
    parts.update(
        style=style,
        script=script,
        policy=(
            f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; "
            "base-uri 'none'; form-action 'none'"
        ),
    )
    return _SLOT.sub(lambda slot: parts[slot[1]], _file("page.html"))


def _parts(survey: Survey) -> dict[str, str]:
    found = links(survey)
    ran = timeline.bars(survey)
    load = timeline.load(survey, ran)
    again = figures.retried(survey)
    errors = faults(survey, {survey.tasks.id[row] for row in again[: figures.RETRIED]})
    run = survey.run
    drawn: dict[str, Any] = {"wall": survey.wall, "began": run.began, "cores": run.cores, "colours": survey.legend}
    drawn |= timeline.timeline(survey, ran)
    drawn["load"] = load
    return {
        "title": text(f"{run.workflow}, run {run.id}"),
        "heading": sections.heading(survey),
        "summary": sections.summary(survey),
        "legend": _legend(survey),
        "time": _time(survey, ran, load, drawn),
        "graph": _graph(survey, found),
        "path": sections.critical_path(survey, found, survey.wall),
        "slowest": sections.slowest(survey),
        "resources": sections.resources(survey),
        "failures": sections.failures(survey, errors),
        "attempts": sections.attempts(survey, again, errors),
        "environment": sections.environment(survey),
        "foot": sections.footer(),
        "data": data(drawn),
    }


def _legend(survey: Survey) -> str:
    items = "".join(
        f'<li><button type="button" data-colour="{colour}" aria-pressed="false">{swatch(colour)}{text(name)}'
        "</button></li>"
        for colour, name in enumerate(survey.legend)
    )
    return f'<ul class="legend names" aria-label="Colours by task name">{items}</ul>' if items else ""


def _time(survey: Survey, ran: timeline.Bars, load: dict[str, Any], drawn: dict[str, Any]) -> str:
    """The drawings over time, or a sentence where there is nothing to draw."""
    if not len(ran) or survey.wall <= 0:
        return "<p>No task has run.</p>"
    cores = survey.run.cores
    busy = [sum(cell) for cell in zip(*load["busy"], strict=True)]
    mean = sum(busy) / len(busy)
    at, most = timeline.peak(busy)
    share = f" ({percent(mean / cores)})" if cores else ""
    use = (
        f"{mean:,.1f} of {number(cores, 'core')}{share} were busy on average, {most:,.1f} at most, "
        f"{duration(at * survey.wall / len(busy))} after the begin."
    )
    width = survey.wall / load["bins"]
    ended = [sum(pair) for pair in zip(load["done"], load["failed"], strict=True)]
    at, most = timeline.peak(ended)
    rate = (
        f"{_rate(sum(ended) / survey.wall)} ended on average, {_rate(most / width)} at most, "
        f"{duration(at * width)} after the begin."
    )
    lanes, many = len(drawn["lanes"]), "cells" in drawn
    row = f"{number(len(ran), 'run')} of tasks on {number(len(ran.places), 'worker')}"
    rows = f"{row}, drawn as {number(lanes, 'row')}" if lanes != len(ran.places) else row
    told = "; a bin shows how busy it was, in the colour of the task it mostly ran" if many else ""
    return "".join(
        _figure(name, title, words)
        for name, title, words in (
            ("busy", "Busy cores", use),
            ("rate", "Tasks ended per second", rate),
            ("lanes", "Workers", f"{rows}{told}. What failed is marked in red."),
        )
    )


def _rate(value: float) -> str:
    return f"{value:,.0f} tasks/s" if value >= 100 else f"{value:.3g} tasks/s"


def _figure(name: str, title: str, words: str) -> str:
    return (
        f'<figure class="chart" id="chart-{name}"><figcaption><b>{title}</b> {text(words)}</figcaption>'
        f'<div class="canvas"><canvas role="img" tabindex="0" aria-label="{title}: {text(words)}"></canvas></div>'
        "</figure>"
    )


def _graph(survey: Survey, found: Links) -> str:
    """The graph by names, and task by task where there are few."""
    tasks = len(survey.tasks)
    if not tasks:
        return "<p>No task has begun.</p>"
    told = f"{number(found.total, 'dependency', 'dependencies')} between {number(tasks, 'task')}."
    told += " The critical path is drawn in bold." if found.chain else ""
    svg, widest = drawing.task_by_task(survey, found) if tasks <= SINGLE else ("", tasks)
    is_tall = widest > TALL
    every = _drawing(f"Task by task ({tasks:,})", svg, not is_tall) if svg else ""
    by_name = _drawing(f"By task name ({len(set(survey.family)):,})", drawing.by_name(survey, found), is_tall)
    return f"<p>{told}</p>{by_name}{every}" if is_tall else f"<p>{told}</p>{every}{by_name}"


def _drawing(title: str, svg: str, is_open: bool) -> str:
    return (
        f'<details class="graph"{" open" * is_open}><summary>{title}</summary>'
        f'<div class="scroll" role="region" tabindex="0" aria-label="{title}">{svg}</div></details>'
    )


def _file(name: str) -> str:
    return (_HERE / name).read_text(encoding="utf-8")


def _script() -> str:
    parts = "\n".join(_file(f"script/{name}") for name in SCRIPTS)
    return f'(() => {{\n"use strict";\n{parts}}})();\n'


def _hash(content: str) -> str:
    return f"sha256-{b64encode(sha256(content.encode()).digest()).decode()}"
