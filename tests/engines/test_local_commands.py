"""Local engine: commands that cannot start, fail, are killed, write too much, or leave others behind."""

from __future__ import annotations

import os
import shlex
import signal
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.engines.rig import PATIENCE, News, run, wait_gone

from harmony import Workflow
from harmony.core.future import TaskFuture
from harmony.core.task import Command, CommandResult, Options, Task
from harmony.core.work import CAPTURE_LIMIT
from harmony.errors import CommandError

#: A command is started in one way, or in another when it has a directory.
DIRECTORIES = pytest.mark.parametrize("directory", [None, "somewhere"])


def start(wf: Workflow, args: Sequence[str] | str, directory: str | None = None) -> TaskFuture[CommandResult]:
    command = Command(args if isinstance(args, str) else tuple(args))
    return wf.submit_task(Task(command, "run", Options(directory=directory)))


def error_of(wf: Workflow, args: Sequence[str] | str, directory: str | None = None) -> CommandError:
    error = start(wf, args, directory).exception(PATIENCE)
    assert isinstance(error, CommandError)
    return error


@DIRECTORIES
def test_what_is_captured(wf: Workflow, directory: str | None) -> None:
    result = start(wf, "echo out; echo err >&2; pwd", directory).result(PATIENCE)
    assert result.stdout == f"out\n{os.path.abspath(directory or '.')}\n"
    assert result.stderr == "err\n"
    assert start(wf, ["printf", "%s|", "a b", "$HOME", "'"], directory).result(PATIENCE).stdout == "a b|$HOME|'|"
    assert start(wf, ["cat"], directory).result(PATIENCE).stdout == ""  # its input is empty, not ours
    assert start(wf, ["printf", r"\377\n"], directory).result(PATIENCE).stdout == "\N{REPLACEMENT CHARACTER}\n"


@DIRECTORIES
@pytest.mark.parametrize("name", ["no-such-program", "./no-such-program", "/no/such/program"])
def test_program_that_does_not_exist(wf: Workflow, name: str, directory: str | None) -> None:
    error = error_of(wf, [name, "x"], directory)
    assert f"there is no program '{name}'" in str(error)
    assert (error.exit_code, error.signal) == (None, None)


@DIRECTORIES
def test_program_that_is_not_executable(wf: Workflow, tmp_path: Path, directory: str | None) -> None:
    path = tmp_path / "text"
    path.write_text("no program\n")
    assert "not executable" in str(error_of(wf, [str(path)], directory))
    path.chmod(0o755)
    assert "could not be started" in str(error_of(wf, [str(path)], directory))  # nor does it say what runs it
    path.write_text("#!/no/such/interpreter\n")
    assert "could not be started" in str(error_of(wf, [str(path)], directory))
    assert "not executable" in str(error_of(wf, [str(tmp_path)], directory))  # a directory


@DIRECTORIES
def test_arguments_that_are_too_long(wf: Workflow, directory: str | None) -> None:
    assert "could not be started" in str(error_of(wf, ["echo", "x" * 4_000_000], directory))


def test_directory_that_cannot_be_entered(wf: Workflow, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "directory" in str(error_of(wf, ["true"], "file"))


@DIRECTORIES
def test_exit_code_and_end_of_stderr(wf: Workflow, directory: str | None) -> None:
    error = error_of(wf, "seq 100000 >&2; echo the end >&2; exit 7", directory)
    assert (error.exit_code, error.signal) == (7, None)
    assert error.stderr.endswith("\nthe end\n")
    assert len(error.stderr) < 10_000
    assert "exit code 7" in str(error)
    assert "the end" in str(error)


def test_end_of_a_stderr_that_goes_to_a_file(wf: Workflow, tmp_path: Path) -> None:
    command = Command("echo reason >&2; exit 1", stderr=str(tmp_path / "err"))
    error = wf.submit_task(Task(command)).exception(PATIENCE)
    assert isinstance(error, CommandError)
    assert error.stderr == "reason\n"


@DIRECTORIES
def test_killed_by_a_signal(wf: Workflow, directory: str | None) -> None:
    for number in (signal.SIGKILL, signal.SIGSEGV, signal.SIGPIPE, signal.SIGINT):
        error = error_of(wf, f"kill -{int(number)} $$", directory)
        assert (error.exit_code, error.signal) == (None, number)
        assert number.name in str(error)


@DIRECTORIES
def test_signals_are_as_a_shell_starts_programs(wf: Workflow, directory: str | None) -> None:
    text = start(wf, ["grep", "^Sig[BI]", "/proc/self/status"], directory).result(PATIENCE).stdout
    blocked, ignored = (int(line.split()[1], 16) for line in text.splitlines())
    assert (blocked, ignored & ~(3 << 31)) == (0, 0)  # the C library keeps 32 and 33 for itself


def test_output_larger_than_what_is_kept(tmp_path: Path) -> None:
    program = f"""
        import resource
        from harmony import Workflow, command

        def used(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

        @command
        def shout(count): return f"yes x | head -c {{count}}; echo end"

        with Workflow() as wf:
            shout(10).result()
            before = used()
            text = shout(100_000_000).result().stdout
            print(used() - before)
            first, _, rest = text.partition("]")
            assert first == "[… {100_000_004 - CAPTURE_LIMIT} bytes left out …", first[:60]
            assert len(rest) == {CAPTURE_LIMIT} + 1, len(rest)
            assert rest.split() == ["x"] * (len(rest) // 2 - 2) + ["end"], rest[-10:]
    """
    assert int(run(tmp_path, program)) < 4 * CAPTURE_LIMIT


def test_output_to_a_file_is_whole(wf: Workflow, tmp_path: Path) -> None:
    path = tmp_path / "out"
    command = Command(("head", "-c", "100000000", "/dev/zero"), stdout=str(path))
    assert wf.submit_task(Task(command)).result(PATIENCE).stdout == ""
    assert path.stat().st_size == 100_000_000


def test_streams_that_cannot_be_opened(wf: Workflow, tmp_path: Path) -> None:
    for name in ("stdin", "stdout", "stderr"):
        path = str(tmp_path / "no" / "such")
        error = wf.submit_task(Task(Command("true", **{name: path}))).exception(PATIENCE)
        assert isinstance(error, CommandError)
        assert path in str(error)
        assert name in str(error)


def test_one_file_for_both_streams(wf: Workflow, tmp_path: Path) -> None:
    path = str(tmp_path / "log")
    wf.submit_task(Task(Command("echo a; echo b >&2; echo c", stdout=path, stderr=path))).result(PATIENCE)
    assert Path(path).read_text() == "a\nb\nc\n"


def test_descriptors_of_the_driver_stay_there(tmp_path: Path) -> None:
    program = """
        import sys
        from harmony import Workflow, command

        @command
        def look(): return [sys.executable, "-I", "-S", "-c", "import os; print(len(os.listdir('/proc/self/fd')))"]

        with Workflow() as wf:
            print(look().result().stdout, look.with_options(directory=".")().result().stdout)
    """
    assert run(tmp_path, program).split() == ["4", "4"]  # three streams, and the one that looks


def test_many_short_ones(wf: Workflow) -> None:
    futures = [start(wf, ["echo", str(i)]) for i in range(300)]
    assert [int(future.result(PATIENCE).stdout) for future in futures] == list(range(300))


def test_those_left_running_end_with_the_workflow(wf: Workflow, news: News) -> None:
    path = shlex.quote(news.path)
    start(wf, f"sleep 1000 & echo $! > {path}; setsid sleep 1000 & echo $! > {path}").result(PATIENCE)
    left = news.numbers(2)
    wf.close()
    for process in left:
        wait_gone(process)
