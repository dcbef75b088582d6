"""Markup: text and numbers as HTML. Every text of a run passes through `text`."""

from __future__ import annotations

import html
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

#: Control characters as pictures, so that none is hidden and none ends the page.
_VISIBLE = {code: 0x2400 + code for code in range(32) if chr(code) not in "\t\n"} | {0x7F: 0x2421}
_IN_SCRIPT = {ord("<"): "\\u003c", ord(">"): "\\u003e", ord("&"): "\\u0026", 0x2028: "\\u2028", 0x2029: "\\u2029"}


def text(value: object) -> str:
    """Return it escaped, for elements and for attributes in double quotes."""
    return html.escape(str(value).replace("\r\n", "\n").translate(_VISIBLE))


def data(value: Any) -> str:
    """Return JSON that may stand inside a script element."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).translate(_IN_SCRIPT)


def shortened(value: str, most: int) -> str:
    """Return the start and the end of a long text."""
    if len(value) <= most:
        return value
    return f"{value[: most // 3]}\n[… {len(value) - most:,} characters …]\n{value[-(most - most // 3) :]}"


def duration(seconds: float) -> str:
    """Return ``12.3 s``, ``850 ms``, ``3 min 05 s``, ``2 h 10 min``."""
    if seconds < 1e-9:
        return "0 s"
    if seconds < 0.9995:
        return f"{seconds * 1e3:.3g} ms" if seconds >= 0.9995e-3 else f"{seconds * 1e6:.3g} µs"
    if seconds < 59.95:
        return f"{seconds:.1f} s" if seconds >= 9.995 else f"{seconds:.2f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    if hours < 48:
        return f"{hours} h {minutes:02} min"
    days, hours = divmod(round(seconds / 3600), 24)
    return f"{days} d {hours:02} h"


def number(value: int, noun: str, plural: str = "") -> str:
    """Return ``1 task``, ``1,200 tasks``."""
    return f"{value:,} {noun if value == 1 else plural or noun + 's'}"


def percent(share: float) -> str:
    """Return ``63 %``; small shares are not rounded away."""
    if 0 < share < 0.0995:
        return f"{max(100 * share, 0.1):.1f} %"
    return f"{100 * share:.0f} %"


@dataclass(frozen=True)
class Column:
    """A column of a table: how its cells are shown. A cell is a value; None is shown as a dash."""

    title: str
    kind: str = "text"
    help: str = ""


Cells = Sequence[Any]
_SCALES: dict[str, tuple[tuple[float, str], ...]] = {
    "seconds": ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")),
    "bytes": ((2.0**30, "GiB"), (2.0**20, "MiB"), (2.0**10, "KiB"), (1.0, "B")),
}


class Raw(str):
    """Text that is HTML already."""

    __slots__ = ()


def table(caption: str, columns: Sequence[Column], rows: Iterable[Cells], *, sortable: bool = True) -> str:
    """Return a table whose numbers are aligned: the cells of a column have one unit and so many decimals."""
    rows = list(rows)
    shown = [_shown(column, [row[index] for row in rows]) for index, column in enumerate(columns)]
    head = "".join(_head(column, unit, sortable) for column, (unit, _) in zip(columns, shown, strict=True))
    lines = []
    for row in rows:
        cells = []
        for column, (_, show), value in zip(columns, shown, row, strict=True):
            cells.append(_cell(column, show, value))
        lines.append(f"<tr>{''.join(cells)}</tr>")
    kind = ' class="sortable"' if sortable else ""
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{text(caption)}"><table{kind}>'
        f"<caption>{text(caption)}</caption><thead><tr>{head}</tr></thead><tbody>\n" + "\n".join(lines)
    ) + "\n</tbody></table></div>"


def _head(column: Column, unit: str, sortable: bool) -> str:
    title = text(column.title) + (f" <small>{unit}</small>" if unit else "")
    kind = "" if column.kind == "text" else ' class="n"'
    hint = f' title="{text(column.help)}"' if column.help else ""
    inner = f'<button type="button">{title}</button>' if sortable and column.title else title
    return f'<th scope="col"{kind}{hint}>{inner}</th>'


def _cell(column: Column, show: Callable[[Any], str], value: Any) -> str:
    if column.kind == "text":
        return f"<td>{'–' if value is None else text(value) if not isinstance(value, Raw) else value}</td>"
    if column.kind == "bar":
        return f"<td>{bar(value)}</td>"
    if value is None:
        return '<td class="n" data-v="-1">–</td>'
    return f'<td class="n" data-v="{value:.9g}">{show(value)}</td>'


def _shown(column: Column, values: list[Any]) -> tuple[str, Callable[[Any], str]]:
    """Return the unit of a column, and how its numbers are written."""
    largest = max((value for value in values if value is not None), default=0) if column.kind != "text" else 0
    if column.kind in _SCALES:
        scales = _SCALES[column.kind]
        scale, unit = next((entry for entry in scales if largest >= entry[0]), scales[-1 if largest else 0])
        most = largest / scale
        decimals = 0 if unit == "B" else 3 if most < 10 else 2 if most < 100 else 1 if most < 10_000 else 0
        return unit, lambda value: f"{value / scale:,.{decimals}f}"
    if column.kind == "percent":
        return "%", lambda value: f"{100 * value:.1f}"
    return "", lambda value: f"{value:,}"


def bar(share: float) -> str:
    """Return a share as a bar, for the eye; the number stands beside it."""
    width = f"{max(0.0, min(share, 1.0)) * 100:.1f}"
    return (
        '<svg class="bar" viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect width="100" height="8" class="ground"/><rect width="{width}" height="8"/></svg>'
    )


def swatch(colour: int) -> Raw:
    """Return the mark of a colour."""
    return Raw(
        f'<svg class="swatch c{colour}" viewBox="0 0 10 10" aria-hidden="true"><rect width="10" height="10"/></svg>'
    )


def named(name: str, colour: int) -> Raw:
    """Return a task's name behind the mark of its colour."""
    return Raw(f'<span class="name">{swatch(colour)}<span>{text(name)}</span></span>')


def facts(pairs: Iterable[tuple[str, str]], kind: str = "facts") -> str:
    """Return a list of names and values; the values are HTML."""
    return f'<dl class="{kind}">' + "".join(f"<div><dt>{text(a)}</dt><dd>{b}</dd></div>" for a, b in pairs) + "</dl>"
