"""Local engine: files that are missing, that wait for each other, or that do not fit on the disk."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.engines.rig import PATIENCE, lines, note, run

from harmony import File, Output, Workflow, command, task
from harmony.core.task import Call, Command, Task
from harmony.errors import CommandError, CycleError, DependencyError, MissingFileError, ResourceError


@command
def copy(source: File, target: Output) -> list[object]:
    return ["cp", source, target]


@task
def write(target: Output, text: str) -> None:
    target.write_text(text)


@task
def read(source: File) -> str:
    return source.read_text()


def test_files_order_their_tasks(wf: Workflow) -> None:
    write(File("a"), "text")
    copy(File("a"), File("b"))
    copy(File("b"), File("c"))
    assert read(File("c")).result(PATIENCE) == "text"


def test_missing_input(wf: Workflow, tmp_path: Path) -> None:
    ran = tmp_path / "ran"

    @task
    def use(source: File) -> None:
        note(str(ran), "ran")

    for future in (use(File("missing")), copy(File("missing"), File("copy"))):
        error = future.exception(PATIENCE)
        assert isinstance(error, MissingFileError)
        assert "missing" in str(error)
    assert lines(ran) == []
    assert not os.path.exists("copy")


def test_missing_output(wf: Workflow) -> None:
    @task
    def forgets(target: Output) -> None:
        pass

    @command
    def forgets_too(target: Output) -> list[str]:
        return ["true"]

    for future, path in ((forgets(File("one")), "one"), (forgets_too(File("two")), "two")):
        error = future.exception(PATIENCE)
        assert isinstance(error, MissingFileError)
        assert os.path.abspath(path) in str(error)
    reader = read(File("one")).exception(PATIENCE)
    assert isinstance(reader, DependencyError)
    assert isinstance(reader.__cause__, MissingFileError)


def test_tasks_that_wait_for_each_other(wf: Workflow) -> None:
    a, b, c = File("a"), File("b"), File("c")
    ring = [
        Task(Command(("cp", str(source), str(target))), f"to-{target.name}", inputs=(source,), outputs=(target,))
        for source, target in ((a, b), (b, c), (c, a))
    ]
    with pytest.raises(CycleError, match="to-a") as caught:
        wf.submit_tasks([*ring, Task(Call(abs, (1,)))])
    assert all(name in str(caught.value) for name in ("to-b", "to-c"))
    assert wf.report().counts.total == 0
    assert not os.path.exists("a")


def test_resources_that_are_not_there(wf: Workflow) -> None:
    asked: list[dict[str, Any]] = [{"cores": 5}, {"gpus": 2}, {"memory": "2GB"}, {"ranks": 5}, {"nodes": 2}]
    for settings in asked:
        for fn in (task(**settings)(os.getpid), command(**settings)(lambda: ["true"])):
            with pytest.raises(ResourceError) as caught:
                fn()
            assert "LocalEngine" in str(caught.value)
            if "nodes" not in settings:
                assert "4 cores, 1 GPUs, 1 GB" in str(caught.value)
    assert wf.report().counts.total == 0


# -- a disk that is full ------------------------------------------------------------------------------


def test_full_disk_under_a_function(wf: Workflow) -> None:
    def fill() -> None:
        with open("/dev/full", "w", encoding="ascii") as stream:
            stream.write("x" * 100_000)

    error = wf.submit(fill).exception(PATIENCE)
    assert isinstance(error, OSError)
    assert error.errno == errno.ENOSPC


def test_full_disk_under_a_command(wf: Workflow) -> None:
    error = wf.submit_task(Task(Command("/bin/echo text", stdout="/dev/full"))).exception(PATIENCE)
    assert isinstance(error, CommandError)
    assert error.exit_code
    assert "No space left" in error.stderr
    both = wf.submit_task(Task(Command("/bin/echo text", stdout="/dev/full", stderr="/dev/full"))).exception(PATIENCE)
    assert isinstance(both, CommandError)
    assert both.stderr == ""


def test_limit_on_the_size_of_files(wf: Workflow) -> None:
    limited = ("prlimit", "--fsize=4096", "head", "-c", "100000", "/dev/zero")
    error = wf.submit_task(Task(Command(limited, stdout="out"))).exception(PATIENCE)
    assert isinstance(error, CommandError)
    assert error.signal == signal.SIGXFSZ
    assert os.path.getsize("out") == 4096


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "disk"
    path.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", path], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("mounting a small disk needs root")
    yield path
    subprocess.run(["umount", "--lazy", path], check=True)


def test_small_disk(small_disk: Path, tmp_path: Path) -> None:
    program = """
        import errno, os, sys
        from harmony import File, Output, Workflow, command, task
        from harmony.errors import CommandError

        @command(stdout=sys.argv[1] + "/out")
        def to_file(): return ["head", "-c", "1000000", "/dev/zero"]

        @command
        def captured(): return ["head", "-c", "1000000", "/dev/zero"]

        @task
        def write(target: Output): target.write_text("x" * 1_000_000)

        with Workflow() as wf:
            error = to_file().exception()
            assert isinstance(error, CommandError) and "No space left" in error.stderr, error
            os.unlink(sys.argv[1] + "/out")
            error = write(File(sys.argv[1] + "/written")).exception()
            assert isinstance(error, OSError) and error.errno == errno.ENOSPC, error
            os.unlink(sys.argv[1] + "/written")
            os.environ["TMPDIR"] = sys.argv[1]
            import tempfile
            tempfile.tempdir = None
            assert isinstance(captured().exception(), CommandError)
            os.environ["TMPDIR"] = "/no/such/place"
            assert wf.submit(abs, -3).result() == 3
        print("well")
    """
    assert run(tmp_path, program, str(small_disk)) == "well\n"


def test_limit_on_the_size_of_files_of_the_whole_program(tmp_path: Path) -> None:
    program = """
        import resource
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
        from harmony import Workflow
        from harmony.errors import SerializationError

        with Workflow() as wf:
            for fn, argument in ((len, bytes(10_000_000)), (len, [bytes(10_000_000)]), (bytes, 10_000_000)):
                error = wf.submit(fn, argument).exception()
                assert error is None or isinstance(error, (SerializationError, OSError)), error
            assert wf.submit(len, b"abc").result() == 3
        print("well")
    """
    assert run(tmp_path, program) == "well\n"
