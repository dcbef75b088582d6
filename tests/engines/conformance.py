"""What every engine promises, held at the port. One body of tests; what an engine does not declare is skipped.

A module that offers a fixture `make_engine`, which returns a new engine of two workers each time it is called, runs
them all with ``from tests.engines.conformance import *``.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.core import functions
from tests.engines import rig
from tests.engines.rig import PATIENCE, Gate, News

from harmony.core.data import File
from harmony.core.engine import Capability, Capacity, Engine, Notice, Submission, Update
from harmony.core.task import Call, Command, Options, TaskState
from harmony.errors import CommandError, MissingFileError, WalltimeExceeded
from harmony.resources import Resources

MakeEngine = Callable[[], Engine]
ENDS = (TaskState.DONE, TaskState.FAILED, TaskState.CANCELLED)


class Driver:
    """Stands where the kernel stands: starts an engine, hands it work, and keeps what it reports."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.updates: list[Update] = []
        self.notices: list[Notice] = []
        self._ids = itertools.count(1)
        self._changed = threading.Condition()
        engine.start(self._report)

    def _report(self, news: Sequence[Update | Notice]) -> None:
        with self._changed:
            for item in news:
                self.updates.append(item) if isinstance(item, Update) else self.notices.append(item)
            self._changed.notify_all()

    def needs(self, *capabilities: Capability) -> None:
        """Skip the test if the engine does not declare them."""
        for capability in capabilities:
            if capability not in self.engine.capabilities:
                pytest.skip(f"it does not declare {capability.value}")

    def needs_to_run_elsewhere(self) -> None:
        """Skip the test if work runs in the caller, which cannot open a gate meanwhile."""
        if Capability.IN_CALLER in self.engine.capabilities:
            pytest.skip(f"it declares {Capability.IN_CALLER.value}")

    def task(self, work: Call | Command, outputs: Sequence[str] = (), **options: Any) -> Submission:
        return Submission(next(self._ids), work, Options(**options), "job", tuple(outputs))

    def call(self, fn: Any, *args: Any, **options: Any) -> Submission:
        return self.task(Call(fn, args), **options)

    def submit(self, *batch: Submission) -> None:
        self.engine.submit(batch)

    def cancel(self, *batch: Submission) -> None:
        self.engine.cancel([submission.id for submission in batch])

    def end_of(self, submission: Submission) -> Update:
        """Wait until the task has ended; return the news of it."""
        with self._changed:
            assert self._changed.wait_for(lambda: self._ends(submission), PATIENCE), f"{submission.name} never ended"
        return self._ends(submission)[0]

    def _ends(self, submission: Submission) -> list[Update]:
        return [update for update in self.updates if update.id == submission.id and update.state in ENDS]

    def run(self, submission: Submission) -> Update:
        self.submit(submission)
        return self.end_of(submission)

    def result(self, submission: Submission) -> Any:
        update = self.run(submission)
        assert (update.state, update.error) == (TaskState.DONE, None)
        return update.result

    def error(self, submission: Submission) -> BaseException:
        update = self.run(submission)
        assert update.state is TaskState.FAILED
        assert update.error is not None
        return update.error

    def close(self) -> None:
        """Close the engine, and hold it to exactly one end for each task."""
        self.engine.close()
        ends = [update.id for update in self.updates if update.state in ENDS]
        assert len(ends) == len(set(ends)), "a task was reported to its end twice"


@pytest.fixture
def driver(make_engine: MakeEngine) -> Iterator[Driver]:
    made = Driver(make_engine())
    yield made
    made.close()


# -- the port ------------------------------------------------------------------------------------------


def test_it_is_an_engine(make_engine: MakeEngine) -> None:
    engine = make_engine()
    assert isinstance(engine, Engine)
    assert engine.capabilities
    assert all(isinstance(capability, Capability) for capability in engine.capabilities)
    assert isinstance(engine.capacity, Capacity)


def test_making_one_starts_nothing(make_engine: MakeEngine) -> None:
    threads, processes = threading.active_count(), rig.children(os.getpid())
    make_engine()
    assert threading.active_count() == threads
    assert rig.children(os.getpid()) == processes


def test_close_is_idempotent(make_engine: MakeEngine) -> None:
    driver = Driver(make_engine())
    driver.close()
    driver.close()


def test_close_without_work(driver: Driver) -> None:
    assert driver.updates == []


def test_close_after_work_leaves_nothing(make_engine: MakeEngine) -> None:
    for _ in range(3):
        driver = Driver(make_engine())
        driver.needs(Capability.CALLS)
        assert driver.result(driver.call(functions.square, 3)) == 9
        driver.close()


def test_an_empty_batch(driver: Driver) -> None:
    driver.submit()
    driver.engine.cancel([])


def test_news_of_a_task_in_their_order(driver: Driver) -> None:
    driver.needs(Capability.CALLS)
    submission = driver.call(functions.square, 3)
    end = driver.run(submission)
    news = [update for update in driver.updates if update.id == submission.id]
    assert [update.state for update in news] in ([TaskState.RUNNING, TaskState.DONE], [TaskState.DONE])
    assert end.result == 9
    assert end.error is None
    assert end.seconds >= 0.0
    assert any(update.place for update in news), "it says where"


def test_each_of_many_ends_once(driver: Driver) -> None:
    driver.needs(Capability.CALLS)
    batches = [[driver.call(functions.square, number) for number in range(300)] for _ in range(5)]
    for batch in batches:
        driver.submit(*batch)
    for batch in batches:
        assert [driver.end_of(submission).result for submission in batch] == [n * n for n in range(300)]


def test_submit_does_not_wait_for_the_work(driver: Driver, gate: Gate) -> None:
    driver.needs(Capability.CALLS)
    driver.needs_to_run_elsewhere()
    batch = [driver.call(rig.pass_gate, gate.path, number) for number in range(20)]
    driver.submit(*batch)
    driver.submit(*(driver.call(functions.square, number) for number in range(20)))
    gate.open()
    assert [driver.end_of(submission).result for submission in batch] == list(range(20))


def test_one_failure_in_a_batch_harms_no_other(driver: Driver) -> None:
    driver.needs(Capability.CALLS)
    batch = [driver.call(functions.fail_on, number, 3) for number in range(6)]
    driver.submit(*batch)
    states = [driver.end_of(submission).state for submission in batch]
    assert states == [TaskState.FAILED if number == 3 else TaskState.DONE for number in range(6)]


def test_what_cannot_be_called_is_reported_not_raised(driver: Driver) -> None:
    driver.needs(Capability.CALLS)
    assert isinstance(driver.error(driver.call(5)), TypeError)
    assert driver.result(driver.call(functions.square, 2)) == 4


def test_no_more_at_once_than_there_are_cores(driver: Driver, tmp_path: Path) -> None:
    driver.needs(Capability.CALLS)
    if driver.engine.capacity.cores is None:
        pytest.skip("it knows no cores")
    log = tmp_path / "log"
    all_cores = Resources(cpu_cores_per_process=driver.engine.capacity.cores)
    batch = [driver.call(enter_and_leave, str(log), resources=all_cores) for _ in range(20)]
    driver.submit(*batch)
    for submission in batch:
        driver.end_of(submission)
    assert rig.lines(log) == ["in", "out"] * 20


def enter_and_leave(log: str) -> None:
    rig.note(log, "in")
    hashlib.sha256(bytes(4_000_000))  # long enough for another to come in, if it could
    rig.note(log, "out")


# -- cancelling ----------------------------------------------------------------------------------------


def test_cancelling_what_is_not_there(driver: Driver) -> None:
    driver.needs(Capability.CALLS)
    ended = driver.call(functions.square, 3)
    driver.run(ended)
    driver.cancel(ended)
    driver.engine.cancel([4711])
    assert driver.result(driver.call(functions.square, 4)) == 16


def test_cancelling_what_has_not_begun(driver: Driver, gate: Gate, news: News, tmp_path: Path) -> None:
    driver.needs(Capability.CALLS)
    driver.needs_to_run_elsewhere()
    held = [driver.call(rig.hold, gate.path, news.path) for _ in range(2)]
    queued = [driver.call(functions.touch, str(tmp_path / f"ran-{index}")) for index in range(20)]
    driver.submit(*held)
    news.hear(2)
    driver.submit(*queued)
    driver.cancel(*queued[::2])
    driver.cancel(*queued[::2])
    gate.open()
    for submission in (*held, *queued[1::2]):
        assert driver.end_of(submission).state is TaskState.DONE
    assert {driver.end_of(submission).state for submission in queued[::2]} == {TaskState.CANCELLED}
    assert {path.name for path in tmp_path.glob("ran-*")} == {f"ran-{index}" for index in range(1, 20, 2)}


def test_cancelling_a_function_that_runs(driver: Driver, gate: Gate, news: News) -> None:
    driver.needs(Capability.CALLS, Capability.CANCEL_RUNNING)
    running = driver.call(rig.hold, gate.path, news.path)
    driver.submit(running)
    news.hear()
    driver.cancel(running)
    assert driver.end_of(running).state is TaskState.CANCELLED
    assert driver.result(driver.call(functions.square, 3)) == 9


def test_cancelling_a_function_that_cannot_be_ended(driver: Driver, gate: Gate, news: News) -> None:
    driver.needs(Capability.CALLS)
    driver.needs_to_run_elsewhere()
    if Capability.CANCEL_RUNNING in driver.engine.capabilities:
        pytest.skip(f"it declares {Capability.CANCEL_RUNNING.value}")
    running = driver.call(rig.hold, gate.path, news.path, "went on")
    driver.submit(running)
    news.hear()
    driver.cancel(running)
    gate.open()
    assert driver.end_of(running).result == "went on"


def test_cancelling_a_command_that_runs(driver: Driver, news: News) -> None:
    driver.needs(Capability.COMMANDS, Capability.CANCEL_RUNNING)
    running = driver.task(Command(f"sleep 600 & echo $! > {news.path}; wait"))
    driver.submit(running)
    (grandchild,) = news.numbers()
    driver.cancel(running)
    assert driver.end_of(running).state is TaskState.CANCELLED
    rig.wait_gone(grandchild)


def test_silence_after_the_close(make_engine: MakeEngine, news: News) -> None:
    driver = Driver(make_engine())
    driver.needs(Capability.CALLS, Capability.CANCEL_RUNNING)
    batch = [driver.call(rig.hold, os.devnull, news.path), *(driver.call(wait_for_ever, news.path) for _ in range(10))]
    driver.submit(*batch)
    news.hear(2)
    driver.close()
    told = len(driver.updates)
    driver.engine.close()
    assert len(driver.updates) == told


def wait_for_ever(news: str) -> None:
    rig.tell(news, "here")
    threading.Event().wait()


def test_commands_end_with_the_engine(make_engine: MakeEngine, news: News) -> None:
    driver = Driver(make_engine())
    driver.needs(Capability.COMMANDS, Capability.CANCEL_RUNNING)
    driver.submit(driver.task(Command(f"sleep 600 & echo $! > {news.path}; wait")))
    (grandchild,) = news.numbers()
    driver.close()
    rig.wait_gone(grandchild)


# -- options -------------------------------------------------------------------------------------------


def test_an_environment_per_function(driver: Driver) -> None:
    driver.needs(Capability.CALLS, Capability.ENVIRONMENT)
    environment = (("HARMONY_TEST_A", "a=b c"), ("PATH", "/nowhere"))
    asked = driver.call(variables, "HARMONY_TEST_A", "PATH", environment=environment)
    assert driver.result(asked) == ["a=b c", "/nowhere"]
    for _ in range(4):  # every worker has had its turn
        left = driver.result(driver.call(variables, "HARMONY_TEST_A", "PATH"))
        assert left[0] is None
        assert left[1] != "/nowhere"


def variables(*names: str) -> list[str | None]:
    return [os.environ.get(name) for name in names]


def test_a_directory_per_function(driver: Driver, tmp_path: Path) -> None:
    driver.needs(Capability.CALLS, Capability.DIRECTORY)
    home = driver.result(driver.call(os.getcwd))
    inside = str(tmp_path / "made" / "for it")
    assert driver.result(driver.call(os.getcwd, directory=inside)) == inside
    assert [driver.result(driver.call(os.getcwd)) for _ in range(4)] == [home] * 4


def test_a_directory_and_an_environment_per_command(driver: Driver, tmp_path: Path) -> None:
    driver.needs(Capability.COMMANDS, Capability.DIRECTORY, Capability.ENVIRONMENT)
    command = Command("pwd; echo $HARMONY_TEST_A; echo relative > out.txt", stderr="err.txt")
    asked = driver.task(command, directory=str(tmp_path / "new"), environment=(("HARMONY_TEST_A", "a"),))
    assert driver.result(asked).stdout == f"{tmp_path / 'new'}\na\n"
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["err.txt", "out.txt"]


def test_a_walltime_of_a_function(driver: Driver, gate: Gate) -> None:
    driver.needs(Capability.CALLS, Capability.WALLTIME)
    error = driver.error(driver.call(rig.pass_gate, gate.path, walltime=0.1))
    assert isinstance(error, WalltimeExceeded)
    assert "0.1 s" in str(error)
    assert driver.result(driver.call(functions.square, 3, walltime=600.0)) == 9


def test_a_walltime_of_a_command(driver: Driver, news: News) -> None:
    driver.needs(Capability.COMMANDS, Capability.WALLTIME)
    asked = driver.task(Command(f"sleep 600 & echo $! > {news.path}; wait"), walltime=0.3)
    assert isinstance(driver.error(asked), WalltimeExceeded)
    (grandchild,) = news.numbers()
    rig.wait_gone(grandchild)


# -- commands ------------------------------------------------------------------------------------------


def test_a_list_runs_as_it_is_and_a_text_goes_to_the_shell(driver: Driver) -> None:
    driver.needs(Capability.COMMANDS)
    assert driver.result(driver.task(Command(("echo", "$HOME", "a  b; c")))).stdout == "$HOME a  b; c\n"
    assert driver.result(driver.task(Command("echo $((1 + 2)) | tr 3 4"))).stdout == "4\n"


def test_streams(driver: Driver, tmp_path: Path) -> None:
    driver.needs(Capability.COMMANDS)
    paths = {name: str(tmp_path / name) for name in ("stdin", "stdout", "stderr")}
    Path(paths["stdin"]).write_text("in\n")
    result = driver.result(driver.task(Command("cat; echo err >&2", **paths)))
    assert (result.stdout, result.stderr) == ("", "")
    assert (Path(paths["stdout"]).read_text(), Path(paths["stderr"]).read_text()) == ("in\n", "err\n")
    captured = driver.result(driver.task(Command("cat; echo out; echo err >&2")))
    assert (captured.stdout, captured.stderr) == ("out\n", "err\n"), "without a stdin there is no input"
    assert captured.seconds > 0


def test_commands_that_fail(driver: Driver, tmp_path: Path) -> None:
    driver.needs(Capability.COMMANDS)
    failed = driver.error(driver.task(Command("echo why >&2; exit 3")))
    assert isinstance(failed, CommandError)
    assert (failed.exit_code, failed.signal, failed.stderr.strip()) == (3, None, "why")
    killed = driver.error(driver.task(Command("kill -9 $$")))
    assert isinstance(killed, CommandError)
    assert (killed.exit_code, killed.signal) == (None, 9)
    missing = driver.error(driver.task(Command(("no-such-program-at-all",))))
    assert isinstance(missing, CommandError)
    assert "there is no program 'no-such-program-at-all'" in str(missing)
    (tmp_path / "plain").write_text("x")
    assert "is not executable" in str(driver.error(driver.task(Command((str(tmp_path / "plain"),)))))


def test_outputs_must_have_been_written(driver: Driver, tmp_path: Path) -> None:
    driver.needs(Capability.COMMANDS, Capability.CALLS)
    there, missing = str(tmp_path / "there"), str(tmp_path / "missing")
    for task in (
        driver.task(Command(("touch", there)), [missing]),
        driver.task(Call(functions.touch, (there,)), [missing]),
    ):
        error = driver.error(task)
        assert isinstance(error, MissingFileError)
        assert missing in str(error)
    assert driver.result(driver.task(Command(("touch", there)), [there])).outputs == (File(there),)
    assert driver.result(driver.task(Call(functions.touch, (there,)), [there])) == there
