"""Local engine: however its program ends, nothing is left behind; whatever else it does, tasks go on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.engines.rig import PATIENCE, ROOT, Gate, News, children, hold, run, started, wait_gone

from harmony import Workflow
from harmony.conformance.engines.processes import command_line
from harmony.core.task import Command, Task

START = """
import os, shlex, sys, threading, time
from harmony import Workflow, command, task
from harmony.engines.local import LocalEngine
from tests.engines.rig import hold, pass_gate, tell

GATE, NEWS = sys.argv[1:3]
path, barred = shlex.quote(NEWS), shlex.quote(GATE)

def family():
    if os.fork() == 0:
        os.setsid()
    hold(GATE, NEWS)

def nested():
    with Workflow(engine=LocalEngine(workers=1)) as inner:
        inner.submit(hold, GATE, NEWS)

@command
def tree():
    one = f"(echo $BASHPID > {path}; exec flock -s {barred} true)"
    return ["bash", "-c", f"trap '' TERM; {one} & (trap - TERM; {one}) & {one}"]

@command
def stripped(): return f"echo $$ > {path}; exec env -i flock -s {barred} true"

@command
def apart(): return f"echo $$ > {path}; exec setsid --wait flock -s {barred} true"

def start(wf):
    wf.submit(family), wf.submit(nested), wf.submit(hold, GATE, NEWS)
    tree(), stripped(), apart()

def open_workflow(): return Workflow(engine=LocalEngine(workers=3, cores=6))
"""
#: So many processes tell their ids once `start` has been called.
STARTED = 9


def everything_of(process: int, news: News) -> set[int]:
    """Wait until all that `start` starts runs; return it, and the engine's own processes."""
    found = set(news.numbers(STARTED))
    for parent in (process, *found):
        found |= children(parent)
    return found


IN_THE_BLOCK = "with open_workflow() as wf:\n    start(wf)\n    pass_gate(GATE)\n"
AT_ITS_END = "with open_workflow() as wf:\n    start(wf)\n"


def test_driver_is_killed(tmp_path: Path, gate: Gate, news: News) -> None:
    with started(tmp_path, START + IN_THE_BLOCK, gate.path, news.path) as driver:
        found = everything_of(driver.pid, news)
        driver.kill()
        for process in found:
            wait_gone(process)


@pytest.mark.parametrize("where", [IN_THE_BLOCK, AT_ITS_END], ids=["in the block", "at its end"])
def test_ctrl_c(tmp_path: Path, gate: Gate, news: News, where: str) -> None:
    with started(tmp_path, START + where, gate.path, news.path) as driver:
        found = everything_of(driver.pid, news)
        os.killpg(driver.pid, signal.SIGINT)
        for process in found:
            wait_gone(process)
        _, err = driver.communicate(timeout=PATIENCE)
        assert driver.returncode in (-signal.SIGINT, 130)
        assert err.count("Traceback") == 1, err  # the program's own KeyboardInterrupt
        assert "KeyboardInterrupt" in err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_driver_is_told_to_end(tmp_path: Path, gate: Gate, news: News, number: signal.Signals) -> None:
    with started(tmp_path, START + IN_THE_BLOCK, gate.path, news.path) as driver:
        found = everything_of(driver.pid, news)
        driver.send_signal(number)
        for process in found:
            wait_gone(process)


WAITING = "with open_workflow() as wf:\n    start(wf)\n    pass_gate(sys.argv[3])\n    "
OPEN = "wf = open_workflow().start()\nstart(wf)\npass_gate(sys.argv[3])\n"
THREAD = """
def drive():
    with open_workflow() as wf:
        start(wf)

threading.Thread(target=drive, daemon=True).start()
pass_gate(sys.argv[3])
"""
LEAVING = {
    "sys.exit": (WAITING + "sys.exit(3)", 3),
    "error": (WAITING + "1 / 0", 1),
    "os._exit": (WAITING + "os._exit(4)", 4),
    "no close": (OPEN, 0),
    "close in a thread": (OPEN + "thread = threading.Thread(target=wf.close)\nthread.start()\nthread.join()", 0),
    "daemon thread": (THREAD, 0),
}


@pytest.mark.parametrize(("end", "status"), LEAVING.values(), ids=LEAVING)
def test_driver_ends_by_itself(tmp_path: Path, gate: Gate, news: News, end: str, status: int) -> None:
    go = Gate(tmp_path / "go")
    with started(tmp_path, START + end, gate.path, news.path, go.path) as driver:
        found = everything_of(driver.pid, news)
        go.open()
        for process in found:
            wait_gone(process)
        assert driver.wait(PATIENCE) == status


# -- what the program does beside ---------------------------------------------------------------------------


FORKS = """
    import multiprocessing, os, signal, sys, warnings
    from harmony import Workflow, command
    warnings.simplefilter("ignore", DeprecationWarning)  # of fork in a program with threads

    @command
    def say(text): return ["echo", text]

    context = multiprocessing.get_context("fork")
    with Workflow(workers=2) as wf:
        assert wf.submit(abs, -1).result() == 1
        child = os.fork()
        if child:
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 5
    if not child:
        os._exit(5)  # it has left the block as well
    with Workflow(workers=2) as wf:
        assert wf.submit(abs, -1).result() == 1
        if not (child := os.fork()):
            sys.exit(6)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 6
        with context.Pool(2) as pool:
            assert pool.map(abs, [-1, -2]) == [1, 2]
            assert wf.submit(abs, -2).result() == 2
        assert say("x").result().stdout == "x\\n"
        lasting = context.Process(target=signal.pause)
        lasting.start()
        assert wf.submit(abs, -3).result() == 3
    assert lasting.is_alive()  # leaving the block has not waited for it
    lasting.kill()
    print("well")
"""

SPAWNS = """
    import multiprocessing, sys
    from concurrent.futures import ProcessPoolExecutor
    from harmony import Workflow

    def double(x): return 2 * x

    if __name__ == "__main__":
        with Workflow(workers=2) as wf:
            assert wf.submit(double, 1).result() == 2
            for method in ("spawn", "forkserver"):
                with ProcessPoolExecutor(2, multiprocessing.get_context(method)) as pool:
                    futures = wf.map(double, range(50))
                    assert list(pool.map(double, range(10))) == wf.gather(futures)[:10]
        print("well")
"""

IGNORES_CHILDREN = """
    import signal
    from harmony import Workflow, command
    from harmony.errors import CommandError
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with Workflow(workers=1) as wf:
        assert wf.submit(abs, -1).result() == 1
        error = command(lambda: ["true"])().exception()
        assert error is None or isinstance(error, CommandError), error  # how it ended cannot be known
        assert wf.submit(abs, -2).result() == 2
    print("well")
"""

REAPS_CHILDREN = """
    import os, threading
    from harmony import Workflow, command
    from harmony.errors import CommandError, WorkerLost

    def reap():
        while not enough.is_set():
            try: os.wait()
            except ChildProcessError: pass

    enough = threading.Event()
    with Workflow(workers=2) as wf:
        assert wf.submit(abs, -1).result() == 1
        thread = threading.Thread(target=reap)
        thread.start()
        for future in [command(lambda: ["true"])() for _ in range(20)]:
            error = future.exception()
            assert error is None or isinstance(error, CommandError), error
        assert isinstance(wf.submit(os._exit, 3).exception(), WorkerLost)
        assert wf.submit(abs, -2).result() == 2
        enough.set()
    thread.join()
    print("well")
"""

TWO_AT_ONCE = """
    import threading
    from harmony import Workflow, command, task

    @task
    def double(x): return 2 * x

    @command
    def say(text): return ["echo", text]

    def drive(number):
        with Workflow(f"number {number}", workers=1) as wf:
            futures = [double(number * 1000 + i) for i in range(300)]
            said = [say(number) for _ in range(20)]
            assert wf.gather(futures) == [2 * (number * 1000 + i) for i in range(300)]
            assert {future.result().stdout for future in said} == {f"{number}\\n"}
            assert wf.counts.done == 320
        done.append(number)

    done = []
    threads = [threading.Thread(target=drive, args=(i,)) for i in range(3)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    assert sorted(done) == [0, 1, 2], done
    with Workflow(workers=1) as outer:
        held = outer.submit(abs, -1)
        with Workflow(workers=1) as inner:
            assert inner.submit(abs, held).result() == 1  # a future of the other one
            ours = double(4)
        assert double(ours).result() == 16
    print("well")
"""

OLD_SYSTEM = """
    import os
    del os.pidfd_open, os.memfd_create
    from harmony import Workflow, command
    from harmony.errors import CommandError, WorkerLost

    with Workflow(workers=2) as wf:
        assert wf.submit(bytes, 1_000_000).result() == bytes(1_000_000)
        assert command(lambda: ["echo", "x"])().result().stdout == "x\\n"
        assert command(lambda: "exit 3")().exception().exit_code == 3
        assert isinstance(wf.submit(os._exit, 3).exception(), WorkerLost)
        assert wf.submit(abs, -2).result() == 2
    print("well")
"""

MANY_FILES = """
    import resource
    resource.setrlimit(resource.RLIMIT_NOFILE, (128, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    from harmony import Workflow, command

    def make(i): return bytearray([i % 256]) * 200_000

    with Workflow(workers=2) as wf:
        kept = wf.gather(wf.map(make, range(400)))
        assert all(value[0] == i % 256 and len(value) == 200_000 for i, value in enumerate(kept))
        assert wf.gather(wf.map(len, kept)) == [200_000] * 400
        for future in [command(lambda: ["true"])() for _ in range(200)]: future.result()
    print("well")
"""


@pytest.mark.parametrize(
    "text",
    [FORKS, SPAWNS, IGNORES_CHILDREN, REAPS_CHILDREN, TWO_AT_ONCE, OLD_SYSTEM, MANY_FILES],
    ids=["forks", "spawns", "ignores children", "reaps children", "two workflows", "old system", "many files"],
)
def test_program_that(tmp_path: Path, text: str) -> None:
    assert run(tmp_path, text) == "well\n"


def test_driver_without_standard_streams(tmp_path: Path) -> None:
    """As a daemon is started, so that its first descriptors are given to what it opens."""
    (tmp_path / "program.py").write_text(
        "import sys\n"
        "from harmony import Workflow, command\n"
        "with Workflow(workers=1) as wf:\n"
        "    texts = [wf.submit(abs, -1).result(), command(lambda: 'echo x; echo y >&2; cat')().result()]\n"
        "    texts.append(wf.submit(print, 'printed').result())\n"
        "open('written', 'w').write(f'{texts[0]} {texts[1].stdout!r} {texts[1].stderr!r}')\n"
    )
    shell = f"exec {sys.executable} program.py <&- >&- 2>&-"
    subprocess.run(
        shell, shell=True, check=True, cwd=tmp_path, timeout=PATIENCE, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    assert (tmp_path / "written").read_text() == "1 'x\\n' 'y\\n'"


def test_guard_is_killed(wf: Workflow, gate: Gate, news: News) -> None:
    wf.submit(hold, gate.path, news.path)
    found = news.numbers()
    (guard,) = (child for child in children(os.getpid()) if "_guard.py" in command_line(child))
    os.kill(guard, signal.SIGKILL)
    wait_gone(guard)
    assert wf.submit_task(Task(Command("echo x"))).result(PATIENCE).stdout == "x\n"
    wf.close()
    for process in found:
        wait_gone(process)
