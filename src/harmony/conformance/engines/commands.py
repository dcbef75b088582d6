"""Level core: commands, and cancelling."""

from __future__ import annotations

from pathlib import Path

import pytest

from harmony.conformance.engines import processes, work
from harmony.conformance.engines.driver import Driver
from harmony.conformance.engines.gates import Gate, News
from harmony.conformance.engines.subject import EngineTests
from harmony.core.data import File
from harmony.core.engine import Capability
from harmony.core.task import Command, TaskState
from harmony.errors import CommandError, MissingFileError


class Commands(EngineTests):
    """Tests of commands, their options, streams and failures."""

    level = "core"

    @pytest.fixture
    def shell(self, driver: Driver) -> Driver:
        """An engine that runs commands."""
        driver.needs(Capability.COMMANDS)
        return driver

    def test_a_list_runs_as_it_is_and_a_text_goes_to_the_shell(self, shell: Driver) -> None:
        assert shell.result(shell.task(Command(("echo", "$HOME", "a  b; c")))).stdout == "$HOME a  b; c\n"
        assert shell.result(shell.task(Command("echo $((1 + 2)) | tr 3 4"))).stdout == "4\n"

    def test_odd_words(self, shell: Driver) -> None:
        words = ["", " ", "it's", '"', "\\", "a\nb", "*", "$(touch danger)", "é模", "-n", "{}", "%s"]
        result = shell.result(shell.task(Command(("printf", "%s\\0", *words))))
        assert result.stdout.split("\0")[:-1] == words

    def test_streams(self, shell: Driver, tmp_path: Path) -> None:
        paths = {name: str(tmp_path / name) for name in ("stdin", "stdout", "stderr")}
        Path(paths["stdin"]).write_text("in\n")
        result = shell.result(shell.task(Command("cat; echo err >&2", **paths)))
        assert (result.stdout, result.stderr) == ("", "")
        assert (Path(paths["stdout"]).read_text(), Path(paths["stderr"]).read_text()) == ("in\n", "err\n")
        captured = shell.result(shell.task(Command("cat; echo out; echo err >&2")))
        assert (captured.stdout, captured.stderr) == ("out\n", "err\n"), "without a stdin there is no input"
        assert captured.seconds > 0

    def test_what_is_written_is_captured_whole(self, shell: Driver) -> None:
        result = shell.result(shell.task(Command("head -c 1000000 /dev/zero | tr '\\0' x; echo end")))
        assert result.stdout == "x" * 1_000_000 + "end\n"

    def test_a_status_that_is_not_0(self, shell: Driver) -> None:
        error = shell.error(shell.task(Command("echo why >&2; exit 3")))
        assert isinstance(error, CommandError)
        assert (error.exit_code, error.signal, error.stderr.strip()) == (3, None, "why")

    def test_a_signal(self, shell: Driver) -> None:
        error = shell.error(shell.task(Command("kill -9 $$")))
        assert isinstance(error, CommandError)
        assert (error.exit_code, error.signal) == (None, 9)

    def test_a_program_that_cannot_be_started(self, shell: Driver, tmp_path: Path) -> None:
        missing = shell.error(shell.task(Command(("no-such-program-at-all",))))
        assert isinstance(missing, CommandError)
        assert "there is no program 'no-such-program-at-all'" in str(missing)
        (tmp_path / "plain").write_text("x")
        assert "is not executable" in str(shell.error(shell.task(Command((str(tmp_path / "plain"),)))))

    def test_a_directory_and_an_environment_per_command(self, shell: Driver, tmp_path: Path) -> None:
        shell.needs(Capability.DIRECTORY, Capability.ENVIRONMENT)
        command = Command("pwd; echo $HARMONY_TEST_A; echo relative > out.txt", stderr="err.txt")
        asked = shell.task(command, directory=str(tmp_path / "new"), environment=(("HARMONY_TEST_A", "a"),))
        assert shell.result(asked).stdout == f"{tmp_path / 'new'}\na\n"
        assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["err.txt", "out.txt"]

    def test_outputs_of_a_command_must_have_been_written(self, shell: Driver, tmp_path: Path) -> None:
        there, missing = str(tmp_path / "there"), str(tmp_path / "missing")
        error = shell.error(shell.task(Command(("touch", there)), [missing]))
        assert isinstance(error, MissingFileError)
        assert missing in str(error)
        assert shell.result(shell.task(Command(("touch", there)), [there])).outputs == (File(there),)


class Cancelling(EngineTests):
    """Tests of cancelling what waits, runs, or has ended."""

    level = "core"

    def test_cancelling_what_is_not_there(self, driver: Driver) -> None:
        ended = driver.task(Command("true")) if Capability.COMMANDS in driver.can else driver.call(work.square, 3)
        driver.run(ended)
        driver.cancel(ended)
        driver.cancel(ended)
        driver.engine.cancel([4711])
        driver.needs(Capability.CALLS)
        assert driver.result(driver.call(work.square, 4)) == 16

    def test_cancelling_what_has_not_begun(self, driver: Driver, gate: Gate, news: News, tmp_path: Path) -> None:
        driver.needs(Capability.CALLS)
        driver.needs_to_run_elsewhere()
        cores = driver.needs_cores(1)
        held = [driver.call(work.hold, gate.path, news.path) for _ in range(cores)]
        queued = [driver.call(work.touch, str(tmp_path / f"ran-{index}")) for index in range(20)]
        driver.submit(*held)
        news.hear(cores)
        driver.submit(*queued)
        driver.cancel(*queued[::2])
        driver.cancel(*queued[::2])
        gate.open()
        assert {end.state for end in driver.ends_of([*held, *queued[1::2]])} == {TaskState.DONE}
        assert {end.state for end in driver.ends_of(queued[::2])} == {TaskState.CANCELLED}
        assert {path.name for path in tmp_path.glob("ran-*")} == {f"ran-{index}" for index in range(1, 20, 2)}

    def test_cancelling_a_function_that_runs(self, driver: Driver, gate: Gate, news: News) -> None:
        driver.needs(Capability.CALLS, Capability.CANCEL_RUNNING)
        running = driver.call(work.hold, gate.path, news.path)
        driver.submit(running)
        news.hear()
        driver.cancel(running)
        assert driver.end_of(running).state is TaskState.CANCELLED
        assert driver.result(driver.call(work.square, 3)) == 9

    def test_cancelling_a_function_that_runs_costs_its_neighbours_nothing(
        self, driver: Driver, gate: Gate, news: News
    ) -> None:
        driver.needs(Capability.CALLS, Capability.CANCEL_RUNNING)
        driver.needs_cores(2)
        running, other = (driver.call(work.hold, gate.path, news.path, value) for value in ("cancelled", "kept"))
        queued = [driver.call(work.square, number) for number in range(20)]
        driver.submit(running, other, *queued)
        news.hear(2)
        driver.cancel(running)
        assert driver.end_of(running).state is TaskState.CANCELLED
        gate.open()
        assert driver.end_of(other).result == "kept"
        assert [end.result for end in driver.ends_of(queued)] == [number * number for number in range(20)]

    def test_cancelling_a_function_that_cannot_be_ended(self, driver: Driver, gate: Gate, news: News) -> None:
        driver.needs(Capability.CALLS)
        driver.needs_to_run_elsewhere()
        driver.lacks(Capability.CANCEL_RUNNING)
        running = driver.call(work.hold, gate.path, news.path, "went on")
        driver.submit(running)
        news.hear()
        driver.cancel(running)
        gate.open()
        assert driver.end_of(running).result == "went on"

    def test_cancelling_a_command_that_runs(self, driver: Driver, news: News) -> None:
        driver.needs(Capability.COMMANDS, Capability.CANCEL_RUNNING)
        running = driver.task(Command(f"sleep 600 & echo $! > {news.path}; wait"))
        driver.submit(running)
        (grandchild,) = news.numbers()
        driver.cancel(running)
        assert driver.end_of(running).state is TaskState.CANCELLED
        processes.wait_gone(grandchild, driver.patience)
