"""Level core: functions, what they are given, what they return and raise, and what cannot be sent."""

from __future__ import annotations

import functools
import os
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harmony.conformance.engines import odd, processes, work
from harmony.conformance.engines.driver import Driver
from harmony.conformance.engines.subject import EngineTests, Subject
from harmony.core.data import File
from harmony.core.engine import Capability
from harmony.core.task import Call, TaskState
from harmony.errors import CommandError, MissingFileError, RemoteError, RemoteTraceback, SerializationError

#: Errors that end more than a task, where code catches too little.
KINDS = [ValueError, SystemExit, KeyboardInterrupt]


class FunctionTests(EngineTests):
    """The tests of engines that run functions."""

    level = "core"

    @pytest.fixture
    def caller(self, driver: Driver) -> Driver:
        """An engine that runs functions."""
        driver.needs(Capability.CALLS)
        return driver

    @pytest.fixture
    def apart(self, caller: Driver) -> Driver:
        """An engine that runs functions in other processes."""
        caller.needs_processes()
        return caller


class Functions(FunctionTests):
    """Tests of functions, their options and their errors."""

    def test_arguments_and_results(self, caller: Driver) -> None:
        args = (1, -2.5, "é\n\0", b"\xff", None, True, [1, {2: (3,)}], {"a": {4}}, range(3))
        call = Call(work.echo, args, {"fn": 1, "self": [2], "name": "x"})
        assert caller.result(caller.task(call)) == (args, dict(call.kwargs))
        assert caller.result(caller.call(work.identity, None)) is None

    def test_all_that_can_be_called(self, caller: Driver) -> None:
        base = 10

        def closure(number: int) -> int:
            return base + number

        counter = work.Counter(base)
        for fn in (closure, lambda number: base + number, functools.partial(work.add, base), counter):
            assert caller.result(caller.call(fn, 5)) == 15
        assert caller.result(caller.call(counter.times, 5)) == 50
        assert caller.result(caller.call(max, 5, 7)) == 7
        assert caller.result(caller.call("a,b".split, ",")) == ["a", "b"]
        assert caller.result(caller.call(work.Counter, 3)).base == 3

    def test_functions_of_the_main_module(self, subject: Subject, caller: Driver, tmp_path: Path) -> None:
        program = tmp_path / "program.py"
        program.write_text(textwrap.dedent(MAIN), encoding="utf-8")
        with processes.started([str(program), subject.save(tmp_path / "subject")], tmp_path, subject.patience) as run:
            assert [run.line() for _ in range(4)] == ["Point(6)", "CustomError: 3", "120", "closed"]
            assert run.wait() == 0

    def test_errors_keep_their_type_and_tell_where_they_were_raised(self, caller: Driver) -> None:
        error = caller.error(caller.call(work.fail_on, 3, 3))
        assert (type(error), str(error)) == (ValueError, "3 is bad")
        if Capability.SHARED_MEMORY not in caller.can:
            assert isinstance(error.__cause__, RemoteTraceback)
            assert "in fail_on" in str(error.__cause__)
            assert 'raise ValueError(f"{number} is bad")' in str(error.__cause__)

    def test_the_chain_of_an_error_is_told(self, apart: Driver) -> None:
        text = str(apart.error(apart.call(odd.throw_chain)).__cause__)
        assert "KeyError: 'first'" in text
        assert "direct cause" in text
        assert "in throw_chain" in text

    @pytest.mark.parametrize("kind", [SystemExit, GeneratorExit, StopIteration, OSError, MemoryError])
    def test_any_type_of_error_arrives_as_it_is(self, caller: Driver, kind: type[BaseException]) -> None:
        error = caller.error(caller.call(odd.throw, kind, 3))
        assert type(error) is kind
        assert error.args == (3,)

    def test_errors_with_constructors_of_their_own(self, caller: Driver) -> None:
        error = caller.error(caller.task(Call(odd.throw, (odd.WantsMore, 5), {"where": "here"})))
        assert isinstance(error, odd.WantsMore)
        assert (str(error), error.code, error.where) == ("code 5 at here", 5, "here")
        ours = caller.error(caller.task(Call(odd.throw, (CommandError, ("ls", "x y")), {"exit_code": 2})))
        assert isinstance(ours, CommandError)
        assert (ours.exit_code, ours.command) == (2, "ls 'x y'")

    def test_sys_exit_is_an_error_of_the_task(self, caller: Driver) -> None:
        error = caller.error(caller.call(work.leave, 3))
        assert isinstance(error, SystemExit)
        assert error.code == 3
        assert caller.result(caller.call(work.square, 3)) == 9

    def test_what_is_printed_comes_with_the_end(self, apart: Driver) -> None:
        batch = [apart.call(work.say, f"text {number}") for number in range(5)]
        apart.submit(*batch)
        assert [end.stdout for end in apart.ends_of(batch)] == [f"text {number}\n" for number in range(5)]
        failed = apart.run(apart.call(work.say_and_fail, "before"))
        assert (failed.state, failed.stdout) == (TaskState.FAILED, "before\n")
        assert apart.run(apart.call(work.square, 2)).stdout == ""

    def test_an_environment_per_function(self, caller: Driver) -> None:
        caller.needs(Capability.ENVIRONMENT)
        environment = (("HARMONY_TEST_A", "a=b c"), ("PATH", "/nowhere"))
        asked = caller.call(work.variables, "HARMONY_TEST_A", "PATH", environment=environment)
        assert caller.result(asked) == ["a=b c", "/nowhere"]
        for _ in range(4):  # every worker has had its turn
            left = caller.result(caller.call(work.variables, "HARMONY_TEST_A", "PATH"))
            assert left[0] is None
            assert left[1] != "/nowhere"

    def test_a_directory_per_function(self, caller: Driver, tmp_path: Path) -> None:
        caller.needs(Capability.DIRECTORY)
        inside = str(tmp_path / "made" / "for it")
        assert caller.result(caller.call(os.getcwd, directory=inside)) == inside
        assert inside not in [caller.result(caller.call(os.getcwd)) for _ in range(4)]

    def test_outputs_must_have_been_written(self, caller: Driver, tmp_path: Path) -> None:
        there, missing = str(tmp_path / "there"), str(tmp_path / "missing")
        error = caller.error(caller.task(Call(work.touch, (there,)), [missing]))
        assert isinstance(error, MissingFileError)
        assert missing in str(error)
        assert caller.result(caller.task(Call(work.touch, (there,)), [there])) == there

    def test_a_file_arrives_as_a_path(self, caller: Driver, tmp_path: Path) -> None:
        source, target = tmp_path / "in", tmp_path / "out"
        source.write_text("text")
        task = caller.task(Call(work.copy_upper, (File(source), File(target))), [str(target)])
        assert caller.result(task) == 4
        assert target.read_text() == "TEXT"


MAIN = """
    import sys
    from harmony.conformance.engines import Subject

    class CustomError(Exception): pass

    class Point:
        def __init__(self, x): self.x = x
        def __repr__(self): return f"Point({self.x})"

    def double(point): return Point(2 * point.x)

    def fail(code): raise CustomError(code)

    def factorial(n): return n * factorial(n - 1) if n else 1

    if __name__ == "__main__":
        driver = Subject.load(sys.argv[1]).drive()
        print(driver.result(driver.call(double, Point(3))), flush=True)
        error = driver.error(driver.call(fail, 3))
        assert isinstance(error, CustomError)
        print(f"{type(error).__name__}: {error}", flush=True)
        print(driver.result(driver.call(factorial, 5)), flush=True)
        driver.close()
        print("closed", flush=True)
"""


class Pickling(FunctionTests):
    """Tests of what cannot be sent to a worker or back: it is the error of that task, and of no other."""

    def still_works(self, driver: Driver) -> None:
        """Run two tasks on each of two workers."""
        batch = [driver.call(work.square, number) for number in range(4)]
        driver.submit(*batch)
        assert [end.result for end in driver.ends_of(batch)] == [0, 1, 4, 9]

    def refused(self, driver: Driver, fn: Callable[..., Any], *args: Any) -> str:
        """The words of the `SerializationError` that it ends with."""
        error = driver.error(driver.call(fn, *args))
        assert isinstance(error, SerializationError)
        self.still_works(driver)
        return str(error)

    def test_functions_that_cannot_be_pickled(self, apart: Driver) -> None:
        lock, generator = threading.Lock(), (number for number in range(3))
        for held in (lock, generator):
            self.refused(apart, lambda held=held: held)

    def test_one_in_a_batch(self, apart: Driver) -> None:
        lock = threading.Lock()
        batch = [apart.call(work.identity, lock if number % 10 == 3 else number) for number in range(50)]
        apart.submit(*batch)
        for number, end in enumerate(apart.ends_of(batch)):
            if number % 10 == 3:
                assert isinstance(end.error, SerializationError)
            else:
                assert end.result == number

    @pytest.mark.parametrize("kind", KINDS)
    def test_arguments_that_refuse_to_be_pickled(self, apart: Driver, kind: type[BaseException]) -> None:
        self.refused(apart, work.identity, {"deep": [odd.Refuses(kind)]})

    @pytest.mark.parametrize("kind", KINDS)
    def test_arguments_that_cannot_be_unpickled(self, apart: Driver, kind: type[BaseException]) -> None:
        assert "will not be unpickled" in self.refused(apart, work.identity, odd.Bomb(kind, os.getpid()))

    def test_results_that_cannot_be_pickled(self, apart: Driver) -> None:
        assert "result" in self.refused(apart, odd.make_lock)
        assert "result" in self.refused(apart, odd.make_generator)

    @pytest.mark.parametrize("kind", KINDS)
    def test_results_that_refuse_to_be_pickled(self, apart: Driver, kind: type[BaseException]) -> None:
        assert "result" in self.refused(apart, odd.make_refusing, kind)

    @pytest.mark.parametrize("kind", KINDS)
    def test_results_that_cannot_be_unpickled(self, apart: Driver, kind: type[BaseException]) -> None:
        self.refused(apart, odd.make_bomb, kind)

    def test_values_that_are_too_deep(self, apart: Driver) -> None:
        self.refused(apart, id, odd.make_nested(100_000))
        self.refused(apart, odd.make_nested, 100_000)

    def test_errors_with_attributes_that_cannot_be_pickled(self, apart: Driver) -> None:
        error = apart.error(apart.call(odd.throw, odd.HoldsLock, "locked"))
        assert isinstance(error, odd.HoldsLock)
        assert str(error) == "locked"

    def test_errors_that_cannot_be_pickled(self, apart: Driver) -> None:
        error = apart.error(apart.call(odd.throw_unsendable))
        assert isinstance(error, RemoteError)
        assert error.type_name == f"{odd.__name__}.Unsendable"
        assert "throw_unsendable" in error.traceback
        self.still_works(apart)

    @pytest.mark.parametrize("kind", [odd.RefusesError, odd.BombError])
    def test_errors_that_will_not_travel(self, apart: Driver, kind: type[Exception]) -> None:
        error = apart.error(apart.call(odd.throw, kind, "some text"))
        assert isinstance(error, kind | RemoteError)
        assert "some text" in str(error)
        self.still_works(apart)

    def test_errors_without_a_text(self, apart: Driver) -> None:
        assert isinstance(apart.error(apart.call(odd.throw, odd.Speechless, 1)), odd.Speechless)

    def test_types_made_in_the_task(self, apart: Driver) -> None:
        error = apart.error(apart.call(odd.throw_local))
        assert (type(error).__name__, str(error)) == ("Local", "made here")
