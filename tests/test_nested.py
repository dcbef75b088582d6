"""Workflows that tasks start: in a worker, which is not the program whose store lies beside it."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.projects import Project

from harmony.store.history import History

OUTER = """
def square(x):
    note("square")
    return x * x

@task(cache="never")
def nested(x):
    with Workflow("inner", engine="inline") as inner:
        return inner.run_id, inner.submit(square, x).result()

if __name__ == "__main__":
    with Workflow("outer", **eval(sys.argv[1])) as wf:
        print(wf.run_id, nested(3).result(), os.environ.get("HARMONY_STORE"))
"""


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Return a project whose only task starts a workflow."""
    project = Project(tmp_path)
    project.write(OUTER)
    return project


@pytest.mark.parametrize("store", ["", "elsewhere"])
def test_a_workflow_in_a_worker_leaves_the_store_of_its_driver_alone(project: Project, store: str) -> None:
    asked = repr({"store": store} if store else {})
    for number in (1, 2):
        assert project.run(asked) == f"{number} (None, 9) None\n"
        assert project.ran() == ["square"]
    with History(project.directory / (store or ".harmony")) as history:
        assert {run.workflow for run in history.runs()} == {"outer"}


def test_it_is_recorded_where_the_variable_says_so(project: Project) -> None:
    store = str(project.directory / "named")
    assert project.run("{}", HARMONY_STORE=store) == f"1 (2, 9) {store}\n"
    assert project.run("{}", HARMONY_STORE=store) == f"3 (4, 9) {store}\n"
    assert project.ran() == ["square"], "the second time it was known"


def test_a_task_can_name_a_store_for_what_it_starts(project: Project) -> None:
    store = str(project.directory / "own")
    project.write(OUTER.replace('cache="never"', f'cache="never", environment={{"HARMONY_STORE": {store!r}}}'))
    assert project.run("{}") == "1 (1, 9) None\n"
    with History(store) as history:
        assert [run.workflow for run in history.runs()] == ["inner"]
