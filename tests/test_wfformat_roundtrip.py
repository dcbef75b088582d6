"""WfFormat documents: what is written is read back, for any instance."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from harmony.frontends.wfformat import read, write
from harmony.frontends.wfformat.document import dumps
from harmony.frontends.wfformat.instance import (
    Author,
    Execution,
    Instance,
    Machine,
    TaskRun,
    TraceCommand,
    TraceFile,
    TraceTask,
)

ids = st.text("abcXYZ019-_.#", min_size=1, max_size=8)
texts = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8)
numbers = st.none() | st.floats(0, 1e12) | st.integers(0, 10**15)
runs = st.builds(
    TaskRun,
    runtime=st.floats(0, 1e9),
    executed_at=st.none() | texts,
    command=st.none() | st.builds(TraceCommand, st.none() | texts, st.lists(texts, max_size=3).map(tuple)),
    cores=st.none() | st.integers(1, 99),
    average_cpu=numbers,
    memory=numbers,
    priority=st.none() | st.integers(-5, 5),
    machines=st.lists(ids, max_size=2).map(tuple),
)
machines = st.builds(Machine, name=ids, system=st.sampled_from([None, "linux", "macos"]), speed=st.just(2000))


@st.composite
def instances(draw: st.DrawFn) -> Instance:
    """Random workflows: edges with and without a file behind them, tasks with and without a run."""
    names = draw(st.lists(ids, min_size=1, max_size=6, unique=True))
    edges = [(a, b) for a in range(len(names)) for b in range(a + 1, len(names)) if draw(st.booleans())]
    backed = [edge for edge in edges if draw(st.booleans())]
    files = [TraceFile(f"{a}/{b}", draw(st.integers(0, 10**12))) for a, b in backed]
    tasks = tuple(
        TraceTask(
            id=id,
            name=draw(texts),
            parents=tuple(names[a] for a, b in edges if b == index),
            children=tuple(names[b] for a, b in edges if a == index),
            inputs=tuple(f"{a}/{b}" for a, b in backed if b == index),
            outputs=tuple(f"{a}/{b}" for a, b in backed if a == index),
            run=draw(st.none() | runs),
        )
        for index, id in enumerate(names)
    )
    ran = any(task.run for task in tasks)
    execution = Execution(draw(st.floats(0, 1e9)), draw(texts), tuple(draw(st.lists(machines, max_size=2))))
    return Instance(
        name=draw(texts),
        tasks=tasks,
        files=tuple(files),
        execution=execution if ran else None,
        description=draw(st.none() | texts),
        author=draw(st.none() | st.builds(Author, texts, texts)),
    )


@given(instances())
def test_what_is_written_is_read_back(instance: Instance) -> None:
    text = dumps(instance)
    assert dumps(instance) == text
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "wf.json")
        write(instance, path)
        assert path.read_text(encoding="utf-8") == text
        assert read(path) == instance
