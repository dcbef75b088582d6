"""Links: who waited for whom, read in one pass: counts between names, and the chain that was the critical path."""

from __future__ import annotations

from array import array
from collections import Counter
from itertools import pairwise
from typing import NamedTuple

from harmony.store.report.survey import Survey

#: A run of at most so many tasks is drawn with each of them.
SINGLE = 200


class Links(NamedTuple):
    """`between` counts edges by (family of the parent, family of the task). `single` holds each edge as rows."""

    between: Counter[tuple[int, int]]
    single: list[tuple[int, int]]
    chain: list[int]
    steps: list[float]
    total: int


def links(survey: Survey) -> Links:
    """Read the edges. `chain` are the rows of the tasks of the critical path, the first one first.

    `steps` are the seconds that each adds to it: those of its last attempt.
    """
    tasks, index, family, path = survey.tasks, survey.index, survey.family, survey.tasks.path
    between: Counter[tuple[int, int]] = Counter()
    single: list[tuple[int, int]] = []
    longest = array("q", [-1]) * len(tasks)
    known, total = len(index), 0
    for task, parent in survey.history.rows("report_edges", run=survey.run.id):
        total += 1
        child = index[task] if task < known else -1
        before = index[parent] if parent < known else -1
        if child < 0 or before < 0:
            continue
        between[family[before], family[child]] += 1
        if longest[child] < 0 or path[before] > path[longest[child]]:
            longest[child] = before
        if len(tasks) <= SINGLE:
            single.append((before, child))
    chain = _chain(path, longest)
    ends = [0.0, *(path[row] for row in chain)]
    return Links(between, single, chain, [end - start for start, end in pairwise(ends)], total)


def _chain(path: array[float], longest: array[int]) -> list[int]:
    row = max(range(len(path)), key=path.__getitem__, default=-1)
    if row < 0 or path[row] <= 0:
        return []
    chain, seen = [], set()
    while row >= 0 and path[row] > 0 and row not in seen:
        chain.append(row)
        seen.add(row)
        row = longest[row]
    return chain[::-1]
