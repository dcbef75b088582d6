"""Drawing: the graph of a run as SVG, by task names or task by task. Colours are by classes, so that themes apply."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from harmony.core.task import TaskState
from harmony.store.report.layout import Edge, Layout, lay_out
from harmony.store.report.links import Links
from harmony.store.report.markup import duration, number, text
from harmony.store.report.survey import Survey

#: So many tasks in one layer still have room for their names.
LABELLED = 12
_EDGE_MOST = 3.5


@dataclass(frozen=True)
class Node:
    """What is drawn for a task or a name. `lines` are written into its box; a dot has only its `title`."""

    title: str
    lines: tuple[str, ...]
    colour: int
    marks: str = ""
    bad: str = ""


@dataclass(frozen=True)
class Grid:
    """Sizes in pixels: of a node, and from one to the next."""

    width: float
    height: float
    across: float
    down: float


BOXES = Grid(176, 46, 248, 66)
SMALL = Grid(120, 24, 190, 32)
DOTS = Grid(10, 10, 110, 14)


def by_name(survey: Survey, links: Links) -> str:
    """Draw one box for each name, with how many tasks there are and how many wait for how many."""
    tasks, family = survey.tasks, survey.family
    order = list(dict.fromkeys(family))
    rank = {name: place for place, name in enumerate(order)}
    count, failed = Counter(family), Counter[int]()
    seconds = [0.0] * len(survey.families)
    for row, (state, spent) in enumerate(zip(tasks.state, tasks.seconds, strict=True)):
        seconds[family[row]] += max(spent, 0.0)
        failed[family[row]] += state == TaskState.FAILED
    chain = {family[row] for row in links.chain}
    steps = {(family[one], family[other]) for one, other in pairwise(links.chain)}
    nodes = []
    for name in order:
        own = links.between[name, name]
        told = [f"{survey.families[name]}: {number(count[name], 'task')}, {duration(seconds[name])} in all"]
        told += [f"{failed[name]:,} failed"] if failed[name] else []
        told += [f"{number(own, 'dependency', 'dependencies')} among themselves"] if own else []
        line = f"{count[name]:,} × · {duration(seconds[name])}" + (f" · ↻ {own:,}" if own else "")
        bad = f"{failed[name]:,} failed" if failed[name] else ""
        nodes.append(
            Node("; ".join(told), (survey.families[name], line), survey.colour[name], "chain" * (name in chain), bad)
        )
    weights = {(rank[one], rank[other]): n for (one, other), n in links.between.items() if one != other}
    marked = {(rank[one], rank[other]) for one, other in steps if one != other}
    layout = lay_out(len(nodes), list(weights))
    about = f"{number(len(nodes), 'task name')} in {number(layout.size[0], 'layer')}: " + "; ".join(
        f"{survey.families[order[one]]} to {survey.families[order[other]]} {n:,}"
        for (one, other), n in sorted(weights.items(), key=lambda item: -item[1])[:20]
    )
    return _svg("Dependencies between task names", about, nodes, layout, BOXES, weights, marked)


def task_by_task(survey: Survey, links: Links) -> tuple[str, int]:
    """Draw each task; return also how many there are in the largest layer."""
    tasks = survey.tasks
    chain = set(links.chain)
    nodes = []
    for row, state in enumerate(tasks.state):
        word = TaskState(state).name.lower()
        seconds = duration(max(tasks.seconds[row], 0.0))
        title = f"{survey.name(row)} (task {tasks.id[row]}): {word}, {seconds}"
        bad = word if state in (TaskState.FAILED, TaskState.CANCELLED) else ""
        line = f"{survey.name(row)} {tasks.id[row]}"
        nodes.append(Node(title, (line,), survey.colour[survey.family[row]], "chain" * (row in chain), bad))
    layout = lay_out(len(nodes), links.single)
    marked = set(pairwise(links.chain))
    widest = max(Counter(layout.layer).values(), default=0)
    grid = SMALL if widest <= LABELLED else _dots(layout.size[0])
    about = (
        f"{number(len(nodes), 'task')} in {number(layout.size[0], 'layer')}, "
        f"{number(len(links.single), 'dependency', 'dependencies')}"
    )
    return _svg("Dependencies between tasks", about, nodes, layout, grid, {}, marked), widest


def _dots(layers: int) -> Grid:
    """Dots over the width of the page, where there are few layers."""
    return replace(DOTS, across=min(max(1100 / layers, 60.0), 220.0))


def _svg(
    title: str, about: str, nodes: Sequence[Node], layout: Layout, grid: Grid, weights: dict[Edge, int],
    marked: set[Edge],
) -> str:  # fmt: skip
    across, down = layout.size
    width, height = (across - 1) * grid.across + grid.width + 20, down * grid.down + 16
    start = (
        f'<svg class="dag" role="img" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" '
        f'height="{height:.0f}"><title>{text(title)}</title><desc>{text(about)}</desc>'
        '<defs><marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" '
        'markerUnits="userSpaceOnUse" orient="auto"><path d="M0 1L7 4L0 7z"/></marker></defs>'
    )
    parts = [start]
    most = max(weights.values(), default=1)
    labels = []
    for edge, route in layout.routes.items():
        weight = weights.get(edge)
        thick = 1.0 + (weight or 0) / most * (_EDGE_MOST - 1) if weight and len(weights) > 1 else 1.0
        points = [(layer * grid.across + 10, (y + 0.5) * grid.down + 8) for layer, y in route]
        kind = "edge" + " chain" * (edge in marked) + " back" * (edge in layout.back)
        path, middle = (_loop if edge in layout.back else _curve)(points, grid)
        parts.append(f'<path class="{kind}" d="{path}" stroke-width="{thick:.1f}"/>')
        if weight:
            labels.append(f'<text class="count" x="{middle[0]:.0f}" y="{middle[1] - 7:.0f}">{weight:,}</text>')
    for index, node in enumerate(nodes):
        x, y = layout.layer[index] * grid.across + 10, (layout.y[index] + 0.5) * grid.down + 8
        parts.append(_box(node, x, y, grid))
    return "".join([*parts, *labels, "</svg>"])


def _curve(points: list[tuple[float, float]], grid: Grid) -> tuple[str, tuple[float, float]]:
    """A line from the right of a node through the points to the left of another, and where its label goes."""
    x, y = points[0][0] + grid.width, points[0][1]
    path, middle = [f"M{x:.1f} {y:.1f}"], (x, y)
    for place, (left, level) in enumerate(points[1:], 1):
        bend = (left - x) / 2
        path.append(f"C{x + bend:.1f} {y:.1f} {left - bend:.1f} {level:.1f} {left:.1f} {level:.1f}")
        if place == 1:
            middle = (x + bend, (y + level) / 2)
        x, y = left, level
        if place < len(points) - 1:
            x += grid.width
            path.append(f"H{x:.1f}")
    return "".join(path), middle


def _loop(points: list[tuple[float, float]], grid: Grid) -> tuple[str, tuple[float, float]]:
    """A line that goes back, below both nodes."""
    (x, y), (left, level) = points[0], points[-1]
    x, low = x + grid.width, max(y, level) + grid.down * 0.5
    out = 30
    path = (
        f"M{x:.1f} {y:.1f}C{x + out:.1f} {y:.1f} {x + out:.1f} {low:.1f} {x:.1f} {low:.1f}H{left:.1f}"
        f"C{left - out:.1f} {low:.1f} {left - out:.1f} {level:.1f} {left:.1f} {level:.1f}"
    )
    return path, ((x + left) / 2, low)


def _box(node: Node, x: float, y: float, grid: Grid) -> str:
    kind = f"node c{node.colour} {node.marks}{' bad' if node.bad else ''}"
    if grid.height == DOTS.height:
        shape = f'<circle cx="{x + 5:.1f}" cy="{y:.1f}" r="4.5"/>'
        cross = f'<path class="cross" d="M{x + 3:.1f} {y - 2:.1f}l4 4m0 -4l-4 4"/>' if node.bad else ""
        return f'<g class="{kind}"><title>{text(node.title)}</title>{shape}{cross}</g>'
    top = y - grid.height / 2
    frame = (
        f'<g class="{kind}"><title>{text(node.title)}</title>'
        f'<rect class="frame" x="{x:.1f}" y="{top:.1f}" width="{grid.width:.0f}" height="{grid.height:.0f}" rx="3"/>'
        f'<rect class="edge-mark" x="{x:.1f}" y="{top:.1f}" width="5" height="{grid.height:.0f}"/>'
    )
    parts = [frame]
    room = int((grid.width - 18) / 6.4)
    step = grid.height / (len(node.lines) + 0.4)
    for place, line in enumerate(node.lines):
        level = top + step * (place + 0.7) + 4
        shown = line if len(line) <= room else line[: room - 1] + "…"
        parts.append(f'<text class="line{place}" x="{x + 12:.1f}" y="{level:.1f}">{text(shown)}</text>')
    if node.bad and len(node.lines) > 1:
        parts.append(f'<text class="fault" x="{x + grid.width:.1f}" y="{top - 4:.1f}">{text(node.bad)}</text>')
    return "".join([*parts, "</g>"])
