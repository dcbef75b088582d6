"""A program that is run again takes up where it was."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.projects import Project


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Return an empty project."""
    return Project(tmp_path)


CHAIN = """
@task
def square(x):
    note(f"square {x}")
    return x * x

@task
def total(values):
    note("total")
    return sum(values)

if __name__ == "__main__":
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    with Workflow("campaign") as wf:
        print(total([square(i) for i in range(n)]).result(), wf.report().counts.recalled)
"""


def test_nothing_done_is_done_again(project: Project) -> None:
    project.write(CHAIN)
    assert project.run() == "5 0\n"
    assert project.ran() == ["square 0", "square 1", "square 2", "total"]
    assert project.run() == "5 4\n"
    assert project.ran() == []
    assert "4 of 4 tasks had been done by an earlier run" in project.stderr


def test_what_is_new_is_run_and_what_depends_on_it(project: Project) -> None:
    project.write(CHAIN)
    project.run()
    project.ran()
    assert project.run("4") == "14 3\n"
    assert project.ran() == ["square 3", "total"]


def test_a_changed_function_and_what_depends_on_it_run_again(project: Project) -> None:
    project.write(CHAIN)
    project.run()
    project.ran()
    project.write(CHAIN.replace("return x * x", "return x * x + 0  # the same value"))
    assert project.run() == "5 1\n"
    assert project.ran() == ["square 0", "square 1", "square 2"], "total has the arguments that it had"
    project.write(CHAIN.replace("return x * x", "return x * x + 1"))
    assert project.run() == "8 0\n"
    assert project.ran() == ["square 0", "square 1", "square 2", "total"]


def test_a_comment_changes_nothing(project: Project) -> None:
    project.write(CHAIN)
    project.run()
    project.ran()
    project.write("# a comment\n" + CHAIN.replace("return x * x", "return x * x  # squared"))
    project.run()
    assert project.ran() == []


def test_a_changed_function_of_another_module_that_is_called(project: Project) -> None:
    project.write("def add(a, b):\n    return a + b\n", "sums.py")
    project.write(
        """
        import sums

        @task
        def plus(a, b):
            note("plus")
            return sums.add(a, b)

        if __name__ == "__main__":
            with Workflow() as wf:
                print(plus(1, 2).result())
        """
    )
    assert project.run() == "3\n"
    assert project.ran() == ["plus"]
    project.run()
    assert project.ran() == []
    project.write("def add(a, b):\n    return a + b + 0.5\n", "sums.py")
    assert project.run() == "3.5\n"
    assert project.ran() == ["plus"]


def test_failed_tasks_run_again(project: Project) -> None:
    project.write(
        """
        @task
        def works(x):
            note(f"works {x}")
            return x

        @task
        def fails(x):
            note(f"fails {x}")
            if not os.path.exists(os.path.join(HERE, "mended")):
                raise ValueError("not yet")
            return x

        if __name__ == "__main__":
            with Workflow() as wf:
                future = fails(works(7))
                print(future.exception() or future.result())
        """
    )
    assert project.run() == "not yet\n"
    assert project.ran() == ["fails 7", "works 7"]
    (project.directory / "mended").touch()
    assert project.run() == "7\n"
    assert project.ran() == ["fails 7"]
    assert project.run() == "7\n"
    assert project.ran() == []


def test_equal_calls_are_tasks_of_their_own(project: Project) -> None:
    project.write(
        """
        import random

        @task
        def sample():
            note("sample")
            return random.random()

        if __name__ == "__main__":
            with Workflow() as wf:
                print(sorted(gather([sample() for _ in range(int(sys.argv[1]))])))
        """
    )
    first = project.run("3")
    assert project.ran() == ["sample"] * 3
    assert len(set(first.split())) == 3
    assert project.run("3") == first
    assert project.ran() == []
    assert len(project.run("4").split()) == 4
    assert project.ran() == ["sample"]


def test_never_and_always(project: Project) -> None:
    project.write(
        """
        @task(cache="never")
        def fresh(x):
            note("fresh")
            return x

        @task(cache="always")
        def pure(x):
            note(f"pure {x}")
            return [x]

        if __name__ == "__main__":
            with Workflow(sys.argv[1]) as wf:
                print(gather([fresh(1), pure(2), pure(2), pure(pure(3))]))
        """
    )
    expected = "[1, [2], [2], [[3]]]\n"
    assert project.run("one") == expected
    assert project.ran() == ["fresh", "pure 2", "pure 3", "pure [3]"]
    assert project.run("two") == expected
    assert project.ran() == ["fresh"]


def test_merged_calls_fail_alike(project: Project) -> None:
    project.write(
        """
        @task(cache="always")
        def bad(x):
            note("bad")
            raise KeyError(x)

        if __name__ == "__main__":
            with Workflow() as wf:
                print([repr(future.exception()) for future in [bad(1), bad(1)]])
        """
    )
    assert project.run() == "[\"KeyError(1)\", 'KeyError(1)']\n".replace('"', "'")
    assert project.ran() in (["bad"], ["bad", "bad"])


def test_resume_false_and_no_store(project: Project) -> None:
    project.write(CHAIN.replace('Workflow("campaign")', 'Workflow("campaign", resume=False)'))
    for _ in range(2):
        project.run()
        assert len(project.ran()) == 4
    project.write(CHAIN)
    project.run()
    assert project.ran() == [], "what a run without resume has done is recorded all the same"
    project.run(HARMONY_STORE="none")
    assert len(project.ran()) == 4
    project.run(HARMONY_STORE=str(project.directory / "elsewhere"))
    assert len(project.ran()) == 4
    assert (project.directory / "elsewhere" / "store.db").exists()


def test_relevant_environment(project: Project) -> None:
    project.write(
        """
        @task(relevant=["MODEL"])
        def model():
            note("model")
            return os.environ.get("MODEL")

        if __name__ == "__main__":
            with Workflow() as wf:
                print(model().result())
        """
    )
    assert project.run(MODEL="a", OTHER="1") == "a\n"
    assert project.run(MODEL="a", OTHER="2") == "a\n"
    assert project.ran() == ["model"]
    assert project.run(MODEL="b") == "b\n"
    assert project.ran() == ["model"]


def test_joins_run_again_and_their_tasks_do_not(project: Project) -> None:
    project.write(
        """
        @task
        def leaf(x):
            note(f"leaf {x}")
            return x

        @join
        def spread(n):
            return [leaf(i) for i in range(n)]

        if __name__ == "__main__":
            with Workflow() as wf:
                print(spread(leaf(2)).result())
        """
    )
    assert project.run() == "[0, 1]\n"
    assert project.ran() == ["leaf 0", "leaf 1", "leaf 2"]
    assert project.run() == "[0, 1]\n"
    assert project.ran() == []


def test_two_workflows_of_one_name_are_two(project: Project) -> None:
    project.write(
        """
        @task
        def f(x):
            note("f")
            return x

        if __name__ == "__main__":
            for _ in range(2):
                with Workflow("same") as wf:
                    f(1)
        """
    )
    project.run()
    assert project.ran() == ["f", "f"]
    project.run()
    assert project.ran() == []


def test_large_results_and_arrays(project: Project) -> None:
    project.write(
        """
        import numpy as np

        @task
        def grow(n):
            note("grow")
            return {"array": np.arange(n), "text": "x" * 100_000}

        @task
        def look(value):
            note("look")
            value["array"][0] = 7
            return int(value["array"].sum())

        if __name__ == "__main__":
            with Workflow() as wf:
                print(look(grow(1_000_000)).result())
        """
    )
    first = project.run()
    assert project.ran() == ["grow", "look"]
    assert project.run() == first
    assert project.ran() == []


@pytest.mark.parametrize("engine", ["inline", "threads", "local"])
def test_on_each_engine(project: Project, engine: str) -> None:
    project.write(CHAIN.replace('Workflow("campaign")', f'Workflow("campaign", engine={engine!r})'))
    assert project.run() == "5 0\n"
    assert len(project.ran()) == 4
    assert project.run() == "5 4\n"
    assert project.ran() == []


def test_a_second_driver_is_refused(project: Project) -> None:
    project.write(
        """
        import subprocess

        @task
        def f(x):
            return x

        if __name__ == "__main__":
            with Workflow("mine") as wf:
                if "OUTER" not in os.environ:
                    os.environ["OUTER"] = "1"
                    again = subprocess.run([sys.executable, __file__], capture_output=True, text=True)
                    print(again.returncode, again.stderr.splitlines()[-1], os.getpid())
        """
    )
    status, told = project.run().split(maxsplit=1)
    assert status == "1"
    assert "StoreError" in told
    assert told.split()[-1] in told.rsplit(maxsplit=1)[0], "names the process that drives it"
