"""RO-Crates of runs: what they say, what they hold, and that the validator accepts them."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import zipfile
from pathlib import Path
from typing import Any

import pytest
from tests.store.exported import changed, make_project
from tests.store.sample import held, make_sample
from tests.store.validating import fill_cache, findings

from harmony.errors import StoreError
from harmony.store.exports import write_rocrate
from harmony.store.history import History

COMPLETED, FAILED = "http://schema.org/CompletedActionStatus", "http://schema.org/FailedActionStatus"
needs_validator = pytest.mark.skipif(
    importlib.util.find_spec("rocrate_validator") is None, reason="roc-validator is not installed"
)
Graph = dict[str, dict[str, Any]]


def export(store: Path, crate: Path, run: int = 2, **options: Any) -> Graph:
    with History(store) as history:
        write_rocrate(history, run, crate, **options)
    return graph((crate / "ro-crate-metadata.json").read_text(encoding="utf-8"))


def graph(text: str) -> Graph:
    entities = json.loads(text)["@graph"]
    found = {entity["@id"]: entity for entity in entities}
    assert len(found) == len(entities), "an entity is there twice"
    return found


def ids(value: Any) -> list[str]:
    """What a property refers to."""
    return [item["@id"] for item in (value if isinstance(value, list) else [value])] if value else []


def of_type(graph: Graph, name: str) -> dict[str, dict[str, Any]]:
    return {id: entity for id, entity in graph.items() if name in (entity["@type"], *entity["@type"])}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return make_project(tmp_path / "project")


@needs_validator
@pytest.mark.parametrize("name", ["crate", "crate.zip"])
def test_the_validator_accepts_it(project: Path, tmp_path: Path, name: str) -> None:
    fill_cache(tmp_path / "cache")
    with History(project) as history:
        write_rocrate(history, 2, tmp_path / name)
    assert [issue.message for issue in findings(tmp_path / name, tmp_path / "cache")] == []


@needs_validator
def test_the_validator_accepts_an_interrupted_run_whose_program_is_gone(tmp_path: Path) -> None:
    fill_cache(tmp_path / "cache")
    export(make_sample(tmp_path / "store", 100, unfinished=True), tmp_path / "crate")
    assert [issue.message for issue in findings(tmp_path / "crate", tmp_path / "cache")] == []


@needs_validator
def test_the_validator_misses_only_recommended_things_that_nobody_knows(project: Path, tmp_path: Path) -> None:
    fill_cache(tmp_path / "cache")
    export(project, tmp_path / "crate")
    messages = {issue.message for issue in findings(tmp_path / "crate", tmp_path / "cache", "RECOMMENDED")}
    assert messages == {
        "The SoftwareApplication id SHOULD be an absolute URI",  # a function of the user's has none
        "The Application SHOULD have a url",
        "The SoftwareApplication SHOULD have a version or softwareVersion",
        "The Action SHOULD have a result",  # one that failed
        "The Main Workflow SHOULD comply with Bioschemas ComputationalWorkflow profile version 1.0 or later",
        "The `publisher` property of a `Root Data Entity` SHOULD be an `Organization`",
        "The author SHOULD have an organizational affiliation.",
        "The author SHOULD have a Contextual Entity which specifies the organizational `affiliation`.",
    }


@needs_validator
def test_the_validator_of_the_tests_finds_what_is_wrong(project: Path, tmp_path: Path) -> None:
    fill_cache(tmp_path / "cache")
    found = export(project, tmp_path / "crate")
    del found["#run/2/task/22"]["instrument"]
    del found["#run/2/engine"]["result"]
    document = json.loads((tmp_path / "crate" / "ro-crate-metadata.json").read_text())
    document["@graph"] = list(found.values())
    (tmp_path / "crate" / "ro-crate-metadata.json").write_text(json.dumps(document))
    messages = " ".join(issue.message for issue in findings(tmp_path / "crate", tmp_path / "cache"))
    assert "MUST have an instrument" in messages
    assert "OrganizeAction must reference the action representing the workflow run" in messages


def test_every_reference_leads_somewhere(project: Path, tmp_path: Path) -> None:
    found = export(project, tmp_path / "crate")
    foreign = {"https://w3id.org/ro/crate/1.1"}
    for entity in found.values():
        for value in entity.values():
            for item in value if isinstance(value, list) else [value]:
                if isinstance(item, dict):
                    assert item["@id"] in found or item["@id"] in foreign


def test_a_task_is_told_with_its_times_use_files_and_end(project: Path, tmp_path: Path) -> None:
    found = export(project, tmp_path / "crate")
    with History(project) as history:
        run, row = history.run(2), history.task(2, 22).row
    action = found["#run/2/task/22"]
    assert action["@type"] == "CreateAction"
    assert action["startTime"].startswith("2025-06-15T")
    assert action["startTime"].endswith("+00:00")
    assert action["startTime"] < action["endTime"]
    assert (action["actionStatus"], "error" in action) == (COMPLETED, False)
    assert ids(action["object"]) == ["files/work/in.22", "#run/2/task/12/result"]
    assert ids(action["result"]) == ["files/work/log.22", "#run/2/task/22/result"]
    assert found["#run/2/task/22/result"]["value"] == "task 22: step 100 of 100\n"
    used = {found[id]["name"]: found[id] for id in ids(action["resourceUsage"])}
    assert float(used["CPU time"]["value"]) == row.cpu
    assert used["CPU time"]["unitCode"].endswith("/SEC")
    assert int(used["peak memory"]["value"]) == row.memory
    assert used["peak memory"]["propertyID"].endswith("#ru_maxrss")
    assert found[action["agent"]["@id"]]["name"] == run.user
    tool = found[action["instrument"]["@id"]]
    assert (tool["name"], tool["@type"]) == ("simulate", "SoftwareApplication")
    assert "lmp -in in." in tool["description"]
    step = found[found["#run/2/task/22/control"]["instrument"]["@id"]]
    assert (step["@type"], step["workExample"]) == ("HowToStep", {"@id": tool["@id"]})


def test_what_failed_says_why(project: Path, tmp_path: Path) -> None:
    found = export(project, tmp_path / "crate")
    action = found["#run/2/task/26"]
    assert action["actionStatus"] == FAILED
    assert action["error"].startswith("harmony.errors.CommandError: command lmp -in in.26")
    assert "result" not in action
    assert found["#run/2"]["actionStatus"] == FAILED
    # analyse 36 needed it and never ran.
    assert "#run/2/task/36" not in found


def test_an_attempt_that_was_followed_by_another_is_an_action_of_its_own(project: Path, tmp_path: Path) -> None:
    found = export(project, tmp_path / "crate")
    first, last = found["#run/2/task/14/attempt/1"], found["#run/2/task/14"]
    assert (first["actionStatus"], last["actionStatus"]) == (FAILED, COMPLETED)
    assert first["error"].startswith("ValueError: no convergence after ")
    assert first["endTime"] <= last["startTime"]
    assert ids(found["#run/2/task/14/control"]["object"]) == [first["@id"], last["@id"]]
    assert {found[id]["value"] for id in ids(last["environment"])} == {"2"}


def test_the_engine_brought_about_all_steps(project: Path, tmp_path: Path) -> None:
    found = export(project, tmp_path / "crate")
    engine = found["#run/2/engine"]
    assert found[engine["instrument"]["@id"]]["softwareVersion"] == "0.1.0"
    assert set(ids(engine["object"])) == set(of_type(found, "ControlAction"))
    assert engine["result"] == {"@id": "#run/2"}
    assert set(ids(found["./"]["mentions"])) == set(of_type(found, "CreateAction"))
    main = found[found["./"]["mainEntity"]["@id"]]
    assert set(ids(main["step"])) == set(of_type(found, "HowToStep"))
    assert [found[id]["softwareVersion"] for id in ids(main["softwareRequirements"])] == ["2.1"]


def test_a_recalled_task_is_told_by_the_run_that_did_it(tmp_path: Path) -> None:
    store = make_sample(tmp_path / "store", 200)
    found = export(store, tmp_path / "crate")
    action = found["#run/1/task/1"]
    with History(store) as history:
        run, row = history.run(1), history.task(1, 1).row
    assert row.started is not None
    assert action["startTime"].startswith("2025-06-15T16:06:40")  # of run 1, an hour before
    assert run.wall(row.started) < 1_750_007_200
    assert "recalled by run 2" in action["description"]
    assert found["#run/2/task/1/control"]["object"] == {"@id": "#run/1/task/1"}
    assert "#run/2/task/1" not in found


def test_a_recalled_task_whose_run_is_gone_has_no_times(tmp_path: Path) -> None:
    store = make_sample(tmp_path / "store", 200)
    with changed(store) as base:
        for table in ("task", "file", "edge"):
            base.execute(f"DELETE FROM {table} WHERE run = 1")
        base.execute("DELETE FROM run WHERE id = 1")
    found = export(store, tmp_path / "crate")
    action = found["#run/2/task/1"]
    assert "startTime" not in action
    assert "of run 1, which the store no longer has" in action["description"]


def test_the_program_and_small_files_go_in(project: Path, tmp_path: Path) -> None:
    crate = tmp_path / "crate"
    found = export(project, crate)
    assert (crate / "campaign.py").read_text() == "print('the program')\n"
    assert found["./"]["mainEntity"] == {"@id": "campaign.py"}
    entity = found["files/work/log.22"]
    data = (crate / "files/work/log.22").read_bytes()
    assert (entity["contentSize"], entity["sha256"]) == ("10022", hashlib.sha256(data).hexdigest())
    assert len(data) == 10022
    listed = set(ids(found["./"]["hasPart"]))
    in_it = {path.relative_to(crate).as_posix() for path in crate.rglob("*") if path.is_file()}
    assert in_it - {"ro-crate-metadata.json"} == {id for id in listed if not id.startswith("file:")}


def test_a_file_that_is_large_changed_or_gone_is_only_referred_to(project: Path, tmp_path: Path) -> None:
    work = project.parent / "work"
    (work / "log.21").unlink()
    (work / "log.22").write_bytes(b"y" * 10022)
    with changed(project) as base:
        base.execute("UPDATE file SET size = ? WHERE path = ?", (2**20 + 1, str(work / "log.23")))
    (work / "log.23").write_bytes(b"z" * (2**20 + 1))
    os.utime(work / "log.23", ns=(1_750_000_000 * 10**9,) * 2)
    found = export(project, tmp_path / "crate")
    reasons = {21: "it was not there any more", 22: "it was changed after the run", 23: "it is too large"}
    for number, reason in reasons.items():
        entity = found[f"file://{work}/log.{number}"]
        assert reason in entity["description"]
        assert "sha256" not in entity
        assert entity["contentSize"]
    assert not (tmp_path / "crate" / "files/work/log.22").exists()


def test_no_more_than_so_much_goes_in(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harmony.store.exports.payload.MOST", 25_000)
    export(project, tmp_path / "crate")
    sizes = [path.stat().st_size for path in (tmp_path / "crate" / "files").rglob("*") if path.is_file()]
    assert 15_000 < sum(sizes) <= 25_000


def test_names_that_need_quoting_do_not_leave_the_crate(project: Path, tmp_path: Path) -> None:
    odd = project.parent / "work" / "a b#1%.txt"
    odd.write_text("odd")
    outside = tmp_path / "elsewhere.txt"
    outside.write_text("outside")
    with changed(project) as base:
        for path in (odd, outside):
            state = path.stat()
            row = (2, 22, "input", str(path), state.st_size, state.st_mtime_ns, b"\1" * 16)
            base.execute("INSERT INTO file VALUES (?, ?, ?, ?, ?, ?, ?)", row)
    found = export(project, tmp_path / "crate")
    assert found["files/work/a%20b%231%25.txt"]["name"] == "a b#1%.txt"
    assert (tmp_path / "crate" / "files/work/a b#1%.txt").read_text() == "odd"
    assert found["files/work/a%20b%231%25.txt"]["identifier"] == f"xxh3_128:{'01' * 16}"
    assert (tmp_path / "crate" / "files/outside" / str(outside).lstrip("/")).read_text() == "outside"


def test_without_its_program_the_workflow_is_a_trace(project: Path, tmp_path: Path) -> None:
    (project.parent / "campaign.py").unlink()
    found = export(project, tmp_path / "crate")
    assert found["./"]["mainEntity"] == {"@id": "workflow.json"}
    assert "was not there any more" in found["workflow.json"]["description"]
    assert json.loads((tmp_path / "crate" / "workflow.json").read_text())["schemaVersion"] == "1.5"


def test_a_program_that_was_changed_since_is_said_to_be(project: Path, tmp_path: Path) -> None:
    os.utime(project.parent / "campaign.py", (1_740_000_000, 1_740_000_000))
    assert "changed" not in export(project, tmp_path / "before")["campaign.py"]["description"]
    (project.parent / "campaign.py").write_text("other\n")
    assert "It was changed after" in export(project, tmp_path / "after")["campaign.py"]["description"]


def test_an_archive_holds_what_a_directory_does(project: Path, tmp_path: Path) -> None:
    export(project, tmp_path / "crate")
    for name in ("a.zip", "b.zip"):
        with History(project) as history:
            write_rocrate(history, 2, tmp_path / name)
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        for path in (tmp_path / "crate").rglob("*"):
            if path.is_file():
                assert archive.read(path.relative_to(tmp_path / "crate").as_posix()) == path.read_bytes()


def test_the_licence_is_what_was_given(project: Path, tmp_path: Path) -> None:
    assert export(project, tmp_path / "a")["./"]["license"] == {"@id": "#license"}
    assert export(project, tmp_path / "b", license="CC-BY-4.0")["./"]["license"] == {
        "@id": "https://spdx.org/licenses/CC-BY-4.0"
    }
    assert export(project, tmp_path / "c", license="https://a.org/l")["./"]["license"] == {"@id": "https://a.org/l"}


def test_a_run_that_goes_on_says_so(tmp_path: Path) -> None:
    store = make_sample(tmp_path / "store", 100, unfinished=True)
    with History(store) as history:
        lock = history.run(2).lock
    with held(store, lock):
        going = export(store, tmp_path / "going")
    gone = export(store, tmp_path / "gone")
    assert "is still going" in going["./"]["description"]
    assert "endTime" not in going["#run/2"]
    assert going["#run/2"]["actionStatus"].endswith("/ActiveActionStatus")
    assert "was interrupted" in gone["./"]["description"]
    assert gone["#run/2"]["actionStatus"] == FAILED
    open_in = {id for id, action in of_type(going, "CreateAction").items() if "Active" in action["actionStatus"]}
    assert len(open_in) > 1
    assert {gone[id]["actionStatus"] for id in open_in} == {FAILED}
    assert all("still running" in gone[id]["error"] for id in open_in - {"#run/2"})


def test_a_run_without_tasks_is_refused(tmp_path: Path) -> None:
    store = make_sample(tmp_path / "store", 200)
    with changed(store) as base:
        base.execute("DELETE FROM task WHERE run = 2")
    with pytest.raises(StoreError, match="run 2 has no task that has run yet"):
        export(store, tmp_path / "crate")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["store"]


def test_what_is_there_is_replaced_when_asked_only(project: Path, tmp_path: Path) -> None:
    crate = tmp_path / "crate"
    export(project, crate)
    (crate / "old").write_text("")
    with pytest.raises(StoreError, match="is there already"):
        export(project, crate)
    assert (crate / "old").exists()
    export(project, crate, force=True)
    assert not (crate / "old").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["crate", "project"]


def test_a_directory_with_other_things_is_never_replaced(project: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1.tex").write_text("years of work")
    with pytest.raises(StoreError, match="something else than an RO-Crate"):
        export(project, tmp_path / "thesis", force=True)
    assert (tmp_path / "thesis" / "chapter1.tex").read_text() == "years of work"
