"""Runs as WfFormat: what Harmony's own front end reads back is the run, and it can be replayed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.store.exported import changed, make_project
from tests.store.sample import make_sample

from harmony import Workflow
from harmony.core.task import TaskState
from harmony.errors import StoreError
from harmony.frontends.wfformat import Instance, read, replay_file
from harmony.store.exports import write_wfformat
from harmony.store.exports.wfformat import FileIds
from harmony.store.history import History


def export(store: Path, path: Path, run: int = 2) -> Instance:
    with History(store) as history:
        write_wfformat(history, run, path)
    return read(path)


def insert_file(store: Path, task: int, role: str, path: str) -> None:
    with changed(store) as base:
        base.execute("INSERT INTO file VALUES (2, ?, ?, ?, 10, 0, NULL)", (task, role, path))


def test_it_has_the_tasks_that_ran_and_their_edges(tmp_path: Path) -> None:
    store = make_sample(tmp_path / "store", 200)
    instance = export(store, tmp_path / "run.json")
    with History(store) as history:
        rows = {row.id: row for row in history.tasks(2)}
        edges = list(history.edges(2))
    ran = {id for id, row in rows.items() if row.started is not None or row.origin_run is not None}
    names = {f"{rows[id].name}.{id}" for id in ran}
    assert {task.id for task in instance.tasks} == names
    assert len(ran) < len(rows)
    expected = {(f"{rows[a].name}.{a}", f"{rows[b].name}.{b}") for a, b in edges if {a, b} <= ran}
    assert {(task.id, parent) for task in instance.tasks for parent in task.parents} == expected
    assert {(child, task.id) for task in instance.tasks for child in task.children} == expected


def test_a_task_has_what_is_known_of_its_run(tmp_path: Path) -> None:
    store = make_sample(tmp_path / "store", 45)
    task = {task.id: task for task in export(store, tmp_path / "run.json").tasks}["simulate.22"]
    with History(store) as history:
        row = history.task(2, 22).row
    run = task.run
    assert run is not None
    assert (run.runtime, run.memory, run.bytes_read, run.bytes_written) == (
        row.seconds, row.memory, row.read, row.written,
    )  # fmt: skip
    assert run.cores == 4
    assert run.average_cpu == pytest.approx(90)
    assert run.command is not None
    assert (run.command.program, run.command.arguments) == ("lmp", ("-in", "in.22", "-log", "log.22"))
    assert run.machines == ("node01",)
    assert task.inputs == ("work/in.22",)
    assert task.outputs == ("work/log.22",)


def test_recalled_tasks_have_the_run_times_of_the_run_that_did_them(tmp_path: Path) -> None:
    store = make_sample(tmp_path / "store", 200)
    tasks = {task.id: task for task in export(store, tmp_path / "run.json").tasks}
    with History(store) as history:
        recalled = [row for row in history.tasks(2) if row.origin_run is not None]
        first = {row.id: row for row in history.tasks(1)}
    assert recalled
    for row in recalled:
        run = tasks[f"{row.name}.{row.id}"].run
        assert run is not None
        assert run.runtime == first[row.origin_task or 0].seconds
        assert run.runtime > 0


def test_a_recalled_task_whose_run_is_gone_has_no_run_time(tmp_path: Path) -> None:
    store = make_sample(tmp_path / "store", 200)
    with changed(store) as base:
        base.execute("DELETE FROM task WHERE run = 1")
    tasks = {task.id: task for task in export(store, tmp_path / "run.json").tasks}
    assert tasks["prepare.1"].run is None
    assert tasks["relax.52"].run is not None


def test_it_says_what_is_left_out(tmp_path: Path) -> None:
    instance = export(make_sample(tmp_path / "store", 200, unfinished=True), tmp_path / "run.json")
    description = instance.description or ""
    assert "were done by an earlier run" in description
    assert "are left out" in description
    assert "run 2 was interrupted" in description
    assert instance.runtime_system is not None
    assert (instance.runtime_system.name, instance.runtime_system.version) == ("Harmony", "0.1.0")


def test_a_replay_has_the_same_tasks_and_edges(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    instance = export(make_project(tmp_path / "project", 60), path)
    with Workflow("replay", engine="inline", store=False) as workflow:
        report = replay_file(path, workflow, scale=0, size_scale=0.1)
    assert report.problems == ()
    assert report.tasks == len(instance.tasks)
    assert report.edges == sum(len(task.parents) for task in instance.tasks)


def test_a_run_in_which_nothing_ended_is_refused(tmp_path: Path) -> None:
    store = make_sample(tmp_path / "store", 45)
    with changed(store) as base:
        base.execute("UPDATE task SET state = 2, ended = NULL, seconds = NULL, origin_run = NULL WHERE run = 2")
    with pytest.raises(StoreError, match="no task that ran to an end yet"):
        export(store, tmp_path / "run.json")
    assert not (tmp_path / "run.json").exists()


@pytest.mark.parametrize(
    ("line", "program", "arguments"),
    [
        ("lmp -in 'a b'", "lmp", ["-in", "a b"]),
        ("cat a | wc -l", "/bin/sh", ["-c", "cat a | wc -l"]),
        ("echo $HOME", "/bin/sh", ["-c", "echo $HOME"]),
        ("A=1 run", "/bin/sh", ["-c", "A=1 run"]),
        ("cd x", "/bin/sh", ["-c", "cd x"]),
        ("echo 'unclosed", "/bin/sh", ["-c", "echo 'unclosed"]),
    ],
)
def test_command_lines_keep_their_meaning(tmp_path: Path, line: str, program: str, arguments: list[str]) -> None:
    store = make_sample(tmp_path / "store", 45)
    with changed(store) as base:
        base.execute("UPDATE command SET line = ? WHERE run = 2 AND task = 22", (line,))
    export(store, tmp_path / "run.json")
    document: dict[str, Any] = json.loads((tmp_path / "run.json").read_text())
    tasks = {task["id"]: task for task in document["workflow"]["execution"]["tasks"]}
    assert tasks["simulate.22"]["command"] == {"program": program, "arguments": arguments}
    assert "command" not in tasks["relax.12"]


def test_names_that_wfformat_does_not_allow_are_changed_and_stay_apart(tmp_path: Path) -> None:
    store = make_sample(tmp_path / "store", 45)
    with changed(store) as base:
        base.execute("UPDATE text SET value = 'größe (1)' WHERE value = 'prepare'")
    insert_file(store, 1, "output", "/home/ada/project/a b")
    insert_file(store, 2, "output", "/home/ada/project/a_b")
    tasks = {task.id: task for task in export(store, tmp_path / "run.json").tasks}
    assert tasks["gr__e__1_.1"].name == "größe (1)"
    assert (tasks["gr__e__1_.1"].outputs, tasks["gr__e__1_.2"].outputs) == (("a_b",), ("a_b.2",))


def test_a_file_with_several_writers_gets_an_id_for_each(tmp_path: Path) -> None:
    store = make_sample(tmp_path / "store", 45)
    for task, role in [(1, "input"), (2, "output"), (3, "input"), (3, "output"), (13, "input")]:
        insert_file(store, task, role, "/home/ada/project/f")
    tasks = {task.id: task for task in export(store, tmp_path / "run.json").tasks}
    assert tasks["prepare.1"].inputs == ("f#before",)
    assert tasks["prepare.2"].outputs == ("f",)
    assert (tasks["prepare.3"].inputs, tasks["prepare.3"].outputs) == (("f",), ("f#3",))
    assert tasks["relax.13"].inputs == ("f#3",)


def test_ids_of_files_are_below_the_directory_or_absolute() -> None:
    ids = FileIds("/home/ada")
    assert [ids._id(path) for path in ("/home/ada/x/y", "/home/adam/x", "/scratch/y")] == [
        "x/y", "/home/adam/x", "/scratch/y",
    ]  # fmt: skip


def test_the_state_of_tasks_that_failed_is_told_in_the_description(tmp_path: Path) -> None:
    store = make_sample(tmp_path / "store", 45)
    with History(store) as history:
        failed = sum(row.state is TaskState.FAILED for row in history.tasks(2))
    assert f"{failed} of its tasks failed" in (export(store, tmp_path / "run.json").description or "")
