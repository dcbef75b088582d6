"""WfFormat documents: what is read, what is written, and what is said about a wrong one."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harmony.errors import ConfigError, CycleError
from harmony.frontends.wfformat import read, write
from harmony.frontends.wfformat.document import dumps
from harmony.frontends.wfformat.instance import (
    Author,
    Execution,
    Instance,
    Machine,
    RuntimeSystem,
    TaskRun,
    TraceCommand,
    TraceFile,
    TraceTask,
    critical_path,
    order,
)

MINIMUM = {
    "name": "x",
    "schemaVersion": "1.5",
    "workflow": {"specification": {"tasks": [{"name": "a", "id": "a1", "parents": [], "children": []}]}},
}
Document = dict[str, Any]


def diamond() -> Document:
    """Split into two, merge: with files, run times, machines, and keys that 1.5 does not know."""

    def spec(id: str, parents: str, children: str, inputs: str, outputs: str) -> Document:
        lists = {"parents": parents, "children": children, "inputFiles": inputs, "outputFiles": outputs}
        return {"name": id.rstrip("12"), "id": id, **{key: value.split() for key, value in lists.items()}, "colour": 1}

    tasks = [
        spec("split", "", "work1 work2", "raw", "p1 p2"),
        spec("work1", "split", "merge", "p1", "r1"),
        spec("work2", "split", "merge", "p2", "r2"),
        spec("merge", "work1 work2", "", "r1 r2", "end"),
    ]
    files = [{"id": id, "sizeInBytes": size} for size, id in enumerate(["raw", "p1", "p2", "r1", "r2", "end"])]
    runs: list[Document] = [
        {"id": task["id"], "runtimeInSeconds": seconds, "avgCPU": 97.5, "coreCount": 2, "machines": ["n1"]}
        for task, seconds in zip(tasks, (1, 2.5, 4, 0), strict=True)
    ]
    runs[0]["command"] = {"program": "cut", "arguments": ["-f", "1", "-f", "2"]}
    machine = {"nodeName": "n1", "system": "linux", "cpu": {"coreCount": 48, "speedInMHz": 2300, "vendor": "v"}}
    return {
        "name": "diamond",
        "description": "four tasks",
        "createdAt": "2026-01-01T00:00:00Z",
        "schemaVersion": "1.5",
        "runtimeSystem": {"name": "Pegasus", "version": "5.0"},
        "author": {"name": "A", "email": "a@b.c", "country": "D"},
        "workflow": {
            "specification": {"tasks": tasks, "files": files},
            "execution": {
                "makespanInSeconds": 9,
                "executedAt": "2026-01-01",
                "tasks": runs,
                "machines": [machine],
            },
        },
        "metrics": {"numberOfTasks": 4},
    }


def saved(document: Any, folder: Path) -> Path:
    path = folder / "wf.json"
    path.write_text(document if isinstance(document, str) else json.dumps(document), encoding="utf-8")
    return path


# -- reading -----------------------------------------------------------------------------------------


def test_the_documented_minimum_is_read(tmp_path: Path) -> None:
    assert read(saved(MINIMUM, tmp_path)) == Instance(name="x", tasks=(TraceTask(id="a1", name="a"),))


def test_everything_documented_is_read(tmp_path: Path) -> None:
    instance = read(saved(diamond(), tmp_path))
    assert [task.id for task in instance.tasks] == ["split", "work1", "work2", "merge"]
    assert instance.tasks[0].run == TaskRun(
        runtime=1,
        command=TraceCommand("cut", ("-f", "1", "-f", "2")),
        cores=2,
        average_cpu=97.5,
        machines=("n1",),
    )
    assert instance.tasks[3].parents == ("work1", "work2")
    assert instance.sizes == {"raw": 0, "p1": 1, "p2": 2, "r1": 3, "r2": 4, "end": 5}
    assert instance.producers == {"p1": "split", "p2": "split", "r1": "work1", "r2": "work2", "end": "merge"}
    assert instance.author == Author("A", "a@b.c", None, "D")
    assert instance.runtime_system == RuntimeSystem("Pegasus", "5.0")
    machine = Machine(name="n1", system="linux", cores=48, speed=2300, vendor="v")
    assert instance.execution == Execution(9, "2026-01-01", (machine,))
    assert critical_path(instance) == 5


@pytest.mark.parametrize("version", ["1.4", "1.5", "1.6", "1.10"])
def test_neighbouring_versions_of_the_same_layout_are_read(version: str, tmp_path: Path) -> None:
    assert read(saved(MINIMUM | {"schemaVersion": version}, tmp_path)).schema_version == version


def test_a_byte_order_mark_is_no_error(tmp_path: Path) -> None:
    assert read(saved("\ufeff" + json.dumps(MINIMUM), tmp_path)).name == "x"


def test_a_missing_file_is_the_usual_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "none.json")


def test_order_puts_parents_first_and_keeps_ties(tmp_path: Path) -> None:
    document = diamond()
    document["workflow"]["specification"]["tasks"].reverse()
    assert [task.id for task in order(read(saved(document, tmp_path)))] == ["split", "work2", "work1", "merge"]


# -- wrong documents ---------------------------------------------------------------------------------

Change = Callable[[Document], object]


def tasks_of(document: Document) -> list[Document]:
    found: list[Document] = document["workflow"]["specification"]["tasks"]
    return found


def runs_of(document: Document) -> list[Document]:
    found: list[Document] = document["workflow"]["execution"]["tasks"]
    return found


def files_of(document: Document) -> list[Document]:
    found: list[Document] = document["workflow"]["specification"]["files"]
    return found


WRONG: Mapping[str, tuple[Change, str]] = {
    "no name": (lambda d: d.pop("name"), "the whole file: 'name' is missing; WfFormat 1.5 requires it: add 'name'"),
    "empty name": (lambda d: d.update(name=""), "name: the text is empty; give at least one character"),
    "number for text": (
        lambda d: d.update(name=7),
        "name: a number, 7, stands where a text is expected; give a text",
    ),
    "old version": (
        lambda d: d.update(schemaVersion="1.0"),
        "schemaVersion: '1.0' cannot be read; convert the file to '1.5'",
    ),
    "old layout": (
        lambda d: d.update(schemaVersion="1.4", workflow={"tasks": []}),
        "workflow: this is the flat layout of WfFormat 1.4 and before (schemaVersion '1.4'); convert the file to 1.5",
    ),
    "no tasks": (
        lambda d: d["workflow"]["specification"].update(tasks=[]),
        "workflow.specification.tasks: there is no task; a workflow has at least one",
    ),
    "tasks no array": (
        lambda d: d["workflow"]["specification"].update(tasks={}),
        "workflow.specification.tasks: an object stands where an array is expected; give an array",
    ),
    "task no object": (
        lambda d: tasks_of(d).append("x"),  # type: ignore[arg-type]
        "workflow.specification.tasks[4]: a text, 'x', stands where an object is expected; give an object",
    ),
    "no children": (
        lambda d: tasks_of(d)[1].pop("children"),
        "workflow.specification.tasks[1]: 'children' is missing; WfFormat 1.5 requires it: add 'children'",
    ),
    "same id": (
        lambda d: tasks_of(d)[2].update(id="work1"),
        "workflow.specification.tasks[2].id: 'work1' is also the id of task 1; give each task its own id",
    ),
    "same file": (
        lambda d: files_of(d)[5].update(id="p1"),
        "workflow.specification.files[5].id: 'p1' is also the id of file 1; give each file its own id",
    ),
    "unknown parent": (
        lambda d: tasks_of(d)[3]["parents"].append("ghost"),
        "workflow.specification.tasks[3].parents[2]: 'ghost' is not the id of a task; correct it, or add that task",
    ),
    "unknown child": (
        lambda d: tasks_of(d)[3]["children"].append("ghost"),
        "workflow.specification.tasks[3].children[0]: 'ghost' is not the id of a task; correct it, or add that task",
    ),
    "parent does not know": (
        lambda d: tasks_of(d)[3]["parents"].append("split"),
        "tasks[3].parents[2]: 'merge' names 'split', but the children of 'split' do not name 'merge'; add it there",
    ),
    "child does not know": (
        lambda d: tasks_of(d)[0]["children"].append("merge"),
        "tasks[0].children[2]: 'split' names 'merge', but the parents of 'merge' do not name 'split'; add it there",
    ),
    "parent twice": (
        lambda d: tasks_of(d)[3]["parents"].append("work1"),
        "workflow.specification.tasks[3].parents[2]: 'work1' is named twice, first at 0; name it once",
    ),
    "undeclared file": (
        lambda d: tasks_of(d)[0]["inputFiles"].append("lost"),
        "tasks[0].inputFiles[1]: 'lost' is not in workflow.specification.files; add it there with its sizeInBytes",
    ),
    "two writers": (
        lambda d: tasks_of(d)[2]["outputFiles"].append("r1"),
        "tasks[2].outputFiles[1]: 'r1' is written by 'work1' and by 'work2'; a file has one writer",
    ),
    "reads what it writes": (
        lambda d: tasks_of(d)[1]["inputFiles"].append("r1"),
        "workflow.specification.tasks[1].outputFiles[0]: 'work1' reads and writes 'r1'; give what it writes an id",
    ),
    "negative size": (
        lambda d: files_of(d)[1].update(sizeInBytes=-1),
        "workflow.specification.files[1].sizeInBytes: -1 is less than 0; give a number of at least 0",
    ),
    "half a byte": (
        lambda d: files_of(d)[1].update(sizeInBytes=1.5),
        "workflow.specification.files[1].sizeInBytes: 1.5 is not a whole number; give a whole one",
    ),
    "no run time": (
        lambda d: runs_of(d)[0].pop("runtimeInSeconds"),
        "workflow.execution.tasks[0]: 'runtimeInSeconds' is missing",
    ),
    "text for a number": (
        lambda d: runs_of(d)[0].update(runtimeInSeconds="3"),
        "workflow.execution.tasks[0].runtimeInSeconds: a text, '3', stands where a number is expected",
    ),
    "not a number": (
        lambda d: runs_of(d)[0].update(runtimeInSeconds=float("nan")),
        "workflow.execution.tasks[0].runtimeInSeconds: nan is not a finite number; give a finite one",
    ),
    "true is no number": (
        lambda d: runs_of(d)[0].update(coreCount=True),
        "workflow.execution.tasks[0].coreCount: true or false, True, stands where a number is expected",
    ),
    "no core": (
        lambda d: runs_of(d)[0].update(coreCount=0),
        "workflow.execution.tasks[0].coreCount: 0 is less than 1; give a number of at least 1",
    ),
    "unknown task ran": (
        lambda d: runs_of(d)[2].update(id="ghost"),
        "workflow.execution.tasks[2].id: 'ghost' is not the id of a task in workflow.specification.tasks",
    ),
    "ran twice": (
        lambda d: runs_of(d)[2].update(id="work1"),
        "workflow.execution.tasks[2].id: 'work1' has been executed twice; keep one of the two entries",
    ),
    "no makespan": (
        lambda d: d["workflow"]["execution"].pop("makespanInSeconds"),
        "workflow.execution: 'makespanInSeconds' is missing",
    ),
    "nameless machine": (
        lambda d: d["workflow"]["execution"]["machines"][0].pop("nodeName"),
        "workflow.execution.machines[0]: 'nodeName' is missing",
    ),
}


@pytest.mark.parametrize(("change", "message"), WRONG.values(), ids=list(WRONG))
def test_what_is_wrong_is_said_exactly(change: Change, message: str, tmp_path: Path) -> None:
    document = diamond()
    change(document)
    path = saved(document, tmp_path)
    with pytest.raises(ConfigError) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1, column 1: not JSON: Expecting value; is the file complete?"),
        ('{"name": "x",\n "wor', "line 2, column 2: not JSON: Unterminated string"),
        ("[]", "the whole file: an array stands where an object is expected; give an object"),
        ("[" * 200_000, "nested too deeply to be a WfFormat file"),
    ],
)
def test_what_is_no_document_is_said(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        read(saved(text, tmp_path))


def test_other_encodings_are_said(tmp_path: Path) -> None:
    path = tmp_path / "wf.json"
    path.write_bytes('{"name": "Zürich"}'.encode("latin-1"))
    with pytest.raises(ConfigError, match=r"wf\.json: byte 11 is not UTF-8; a WfFormat file is JSON in UTF-8"):
        read(path)


def cycle_of_edges(document: Document) -> None:
    first, last = tasks_of(document)[0], tasks_of(document)[3]
    first["parents"], last["children"] = ["merge"], ["split"]


def cycle_of_files(document: Document) -> None:
    tasks_of(document)[0]["inputFiles"] = ["end"]


@pytest.mark.parametrize("change", [cycle_of_edges, cycle_of_files])
def test_a_cycle_is_named(change: Change, tmp_path: Path) -> None:
    document = diamond()
    change(document)
    cycle = r"(split → work1 → merge → split|work1 → merge → split → work1|merge → split → work1 → merge)"
    with pytest.raises(CycleError, match=rf"tasks: tasks wait for each other: {cycle}; take one of these edges out"):
        read(saved(document, tmp_path))


# -- writing -----------------------------------------------------------------------------------------


def test_what_was_read_is_written_without_what_1_5_does_not_know(tmp_path: Path) -> None:
    instance = read(saved(diamond(), tmp_path))
    write(instance, tmp_path / "copy.json")
    expected = diamond()
    del expected["metrics"]
    for task in tasks_of(expected):
        del task["colour"]
    assert json.loads((tmp_path / "copy.json").read_text(encoding="utf-8")) == expected
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy.json", "wf.json"]


def test_the_documented_minimum_stays_minimal(tmp_path: Path) -> None:
    text = dumps(read(saved(MINIMUM, tmp_path)))
    task = {"name": "a", "id": "a1", "parents": [], "children": [], "inputFiles": [], "outputFiles": []}
    assert json.loads(text) == MINIMUM | {"workflow": {"specification": {"tasks": [task]}}}


A = TraceTask(id="a", name="a", run=TaskRun(runtime=1))
RAN = Execution(1, "2026-01-01")


@pytest.mark.parametrize(
    ("instance", "message"),
    [
        (Instance(name="x", tasks=()), "x: workflow.specification.tasks: there is no task"),
        (
            Instance(name="x", tasks=(TraceTask(id="a b", name="a"),)),
            "x: workflow.specification.tasks[0].id: WfFormat does not allow 'a b'; rename it to match",
        ),
        (
            Instance(name="x", tasks=(A,), files=(TraceFile("ä", 1),), execution=RAN),
            "x: workflow.specification.files[0].id: WfFormat does not allow 'ä'; rename it to match",
        ),
        (Instance(name="x", tasks=(A,)), "x: workflow.execution: 'a' ran, but no execution; give both or neither"),
        (
            Instance(name="x", tasks=(replace(A, run=None),), execution=RAN),
            "x: workflow.execution: no task has a run, so there is no execution; give both or neither",
        ),
        (
            Instance(name="x", tasks=(A,), execution=replace(RAN, machines=(Machine(name="n", system="plan9"),))),
            "x: machine n: system='plan9' is none of ('linux', 'macos', 'windows')",
        ),
    ],
)
def test_what_1_5_does_not_allow_is_not_written(instance: Instance, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        write(instance, tmp_path / "wf.json")
    assert list(tmp_path.iterdir()) == []
