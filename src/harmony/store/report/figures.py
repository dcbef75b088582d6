"""Figures: the numbers of the report: totals by name, the slowest tasks, what the run was bound by. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from heapq import nlargest

from harmony.core.report import Report
from harmony.core.task import TaskState
from harmony.store.report.survey import Survey, is_recalled

#: So many of the slowest tasks, and of those with most attempts, are listed.
SLOWEST = 30
RETRIED = 30


@dataclass
class Use:
    """What the tasks of one name came to. Sums of seconds and bytes, the largest of `longest` and `memory`."""

    count: int = 0
    ran: int = 0
    recalled: int = 0
    failed: int = 0
    seconds: float = 0.0
    longest: float = 0.0
    cpu: float | None = None
    measured: float = 0.0
    memory: int | None = None
    read: int | None = None
    written: int | None = None


def uses(survey: Survey) -> list[Use]:
    """Return one for each of the families."""
    tasks = survey.tasks
    found = [Use() for _ in survey.families]
    columns = zip(
        survey.family, tasks.state, tasks.origin, tasks.started, tasks.seconds, tasks.cpu, tasks.memory, strict=True
    )
    for family, state, origin, started, seconds, cpu, memory in columns:
        use = found[family]
        use.count += 1
        if state == TaskState.FAILED:
            use.failed += 1
        elif is_recalled(state, origin):
            use.recalled += 1
        if started >= 0 and seconds >= 0:
            use.ran += 1
            use.seconds += seconds
            use.longest = max(use.longest, seconds)
            if cpu >= 0:
                use.cpu = cpu + (use.cpu or 0.0)
                use.measured += seconds
        if memory >= 0 and memory > (use.memory or -1):
            use.memory = memory
    for family, read, written in zip(survey.family, tasks.read, tasks.written, strict=True):
        if read >= 0:
            found[family].read = read + (found[family].read or 0)
        if written >= 0:
            found[family].written = written + (found[family].written or 0)
    return found


def slowest(survey: Survey) -> list[int]:
    """Return the rows of the tasks that ran longest, the slowest first."""
    seconds = survey.tasks.seconds
    rows = nlargest(SLOWEST, range(len(seconds)), key=seconds.__getitem__)
    return [row for row in rows if seconds[row] > 0]


def retried(survey: Survey) -> list[int]:
    """Return the rows of the tasks with more than one attempt, those with most first."""
    attempts = survey.tasks.attempts
    rows = [row for row, number in enumerate(attempts) if number > 1]
    return sorted(rows, key=lambda row: (-attempts[row], row))


def states(survey: Survey) -> list[tuple[str, int]]:
    """Return how many tasks are in each state; those recalled are apart from those done."""
    counts = survey.run.counts
    over = survey.run.status != "running"
    pairs = [
        ("done", counts.done - counts.recalled), ("recalled", counts.recalled), ("failed", counts.failed),
        ("cancelled", counts.cancelled), ("interrupted" if over else "running", counts.running),
        ("submitted", counts.submitted), ("waiting", counts.waiting),
    ]  # fmt: skip
    return [(word, max(count, 0)) for word, count in pairs if count > 0]


def totals(survey: Survey) -> Report:
    """Return the run in numbers, those of the tasks where the run has not ended."""
    run, tasks = survey.run, survey.tasks
    work, path = run.work, run.critical_path
    if work is None:
        spent = zip(tasks.shape, tasks.seconds, strict=True)
        work = sum(survey.cores.get(shape, 1) * seconds for shape, seconds in spent if seconds > 0)
    if path is None:
        path = max(0.0, max(tasks.path, default=0.0))
    return Report(
        name=run.workflow, counts=run.counts, wall=survey.wall, work=work, critical_path=path, cores=run.cores
    )


def lost(survey: Survey) -> tuple[int, float]:
    """Return how many attempts were followed by another, and the seconds they took."""
    seconds = survey.tries.seconds
    return len(seconds), sum(value for value in seconds if value > 0)


def by_family(survey: Survey, rows: list[int], seconds: list[float]) -> list[tuple[int, int, float]]:
    """Return (family, tasks, seconds) of these rows, which took so long; the most seconds first."""
    count = Counter[int]()
    spent: dict[int, float] = defaultdict(float)
    for row, taken in zip(rows, seconds, strict=True):
        count[survey.family[row]] += 1
        spent[survey.family[row]] += taken
    return sorted(((family, n, spent[family]) for family, n in count.items()), key=lambda item: -item[2])
