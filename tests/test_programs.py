"""Whole programs in processes of their own: forks, Ctrl-C, an end without closing. None hangs or leaves anything."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from tests.engines import rig
from tests.engines.conftest import news

__all__ = ["news"]  # a fixture
PARALLEL = ["threads", "local"]


@pytest.mark.parametrize("engine", ["inline", *PARALLEL])
def test_a_fork_whose_child_leaves_the_block(tmp_path: Path, engine: str) -> None:
    program = """
        import os, sys, warnings
        from harmony import Workflow, WorkflowClosedError
        warnings.simplefilter("ignore", DeprecationWarning)  # of forking with threads

        with Workflow(engine=sys.argv[1], workers=2) as wf:
            before = wf.submit(abs, -1)
            assert before.result(30) == 1
            child = os.fork()
            if not child:
                try:
                    wf.submit(abs, -2)
                except WorkflowClosedError as error:
                    print("child:", error, flush=True)
                assert before.result(0) == 1
            else:
                _, status = os.waitpid(child, 0)
                print("status", status)
                print("parent:", wf.submit(abs, -3).result(30))
        if not child:
            os._exit(0)
    """
    assert rig.run(tmp_path, program, engine).splitlines() == [
        "child: workflow 'workflow' belongs to the process that was forked; abs was not accepted",
        "status 0",
        "parent: 3",
    ]


@pytest.mark.parametrize("engine", ["inline", *PARALLEL])
def test_a_fork_whose_child_ends_as_a_program_does(tmp_path: Path, engine: str) -> None:
    program = """
        import os, sys, warnings
        from harmony import Workflow
        warnings.simplefilter("ignore", DeprecationWarning)

        with Workflow(engine=sys.argv[1], workers=2) as wf:
            wf.submit(abs, -1).result(30)
            child = os.fork()
            if not child:
                sys.exit(7)
            _, status = os.waitpid(child, 0)
            print(os.waitstatus_to_exitcode(status), wf.submit(abs, -3).result(30))
    """
    assert rig.run(tmp_path, program, engine) == "7 3\n"


@pytest.mark.parametrize("engine", PARALLEL)
def test_multiprocessing_beside_a_workflow(tmp_path: Path, engine: str) -> None:
    program = """
        import multiprocessing, sys, warnings
        from harmony import Workflow
        warnings.simplefilter("ignore", DeprecationWarning)

        if __name__ == "__main__":
            with Workflow(engine=sys.argv[1], workers=2) as wf:
                futures = wf.map(abs, range(-100, 0))
                for method in ("fork", "spawn"):
                    with multiprocessing.get_context(method).Pool(2) as pool:
                        print(method, sum(pool.map(abs, range(-10, 0))))
                print(sum(future.result(30) for future in futures))
    """
    assert rig.run(tmp_path, program, engine) == "fork 55\nspawn 55\n5050\n"


@pytest.mark.parametrize("engine", ["inline", *PARALLEL])
def test_a_program_that_never_closes(tmp_path: Path, engine: str) -> None:
    program = """
        import sys
        from harmony import Workflow

        wf = Workflow(engine=sys.argv[1], workers=2).start()
        print(wf.submit(abs, -1).result(30))
        waiting = wf.submit(abs, -2)
    """
    assert rig.run(tmp_path, program, engine) == "1\n"


def test_ctrl_c_while_tasks_run(tmp_path: Path, news: rig.News) -> None:
    program = """
        import os, sys, time
        from harmony import Command, Task, Workflow

        def wait_for_ever(news):
            with open(news, "w") as stream:
                print(os.getpid(), file=stream)
            time.sleep(600)

        with Workflow(engine="local", workers=2) as wf:
            wf.submit_task(Task(Command(f"echo $$ > {sys.argv[1]}; exec sleep 600")))
            futures = [wf.submit(wait_for_ever, sys.argv[1]) for _ in range(10)]
            wf.wait()
    """
    with rig.started(tmp_path, program, news.path) as process:
        running = news.numbers(2)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=rig.PATIENCE)
        assert process.returncode in (130, -signal.SIGINT)
        assert err.strip().splitlines()[-1] == "KeyboardInterrupt"
        for child in running:
            rig.wait_gone(child)


@pytest.mark.parametrize("engine", ["inline", *PARALLEL])
def test_an_error_in_the_program(tmp_path: Path, engine: str) -> None:
    program = """
        import sys
        from harmony import Workflow

        with Workflow(engine=sys.argv[1], workers=2) as wf:
            wf.submit(abs, -1)
            raise RuntimeError("in the program")
    """
    with rig.started(tmp_path, program, engine) as process:
        _, err = process.communicate(timeout=rig.PATIENCE)
        assert process.returncode == 1
        assert err.strip().splitlines()[-1] == "RuntimeError: in the program"
        assert "harmony" not in err.lower().replace(str(tmp_path).lower(), "")
