"""Local engine: what cannot be sent to a worker or back is the error of that task, and of no other."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.engines.rig import PATIENCE, identity, lines, note

from harmony import Workflow
from harmony.conformance.engines import odd
from harmony.errors import CommandError, RemoteError, RemoteTraceback, SerializationError

#: Errors that end more than a task, where code catches too little.
KINDS = [ValueError, SystemExit, KeyboardInterrupt]


@pytest.fixture(autouse=True)
def _engine_works_after_it(wf: Workflow) -> Iterator[None]:
    yield
    assert wf.submit(abs, -7).result(PATIENCE) == 7


def error_of(wf: Workflow, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> BaseException:
    error = wf.submit(fn, *args, **kwargs).exception(PATIENCE)
    assert error is not None
    return error


def test_function_that_cannot_be_pickled(wf: Workflow, tmp_path: Path) -> None:
    generator = (x for x in range(3))
    with socket.socket() as channel, (tmp_path / "written").open("w") as stream:
        for held in (threading.Lock(), channel, stream, generator):
            error = error_of(wf, lambda held=held: held)
            assert isinstance(error, SerializationError)
            assert "<lambda>" in str(error)


def test_one_in_a_batch(wf: Workflow) -> None:
    lock = threading.Lock()
    futures = [wf.submit(identity, lock if i % 10 == 3 else i) for i in range(200)]
    for i, future in enumerate(futures):
        if i % 10 == 3:
            assert isinstance(future.exception(PATIENCE), SerializationError)
        else:
            assert future.result(PATIENCE) == i


@pytest.mark.parametrize("kind", KINDS)
def test_argument_that_cannot_be_pickled(wf: Workflow, kind: type[BaseException]) -> None:
    assert isinstance(error_of(wf, identity, threading.Lock()), SerializationError)
    error = error_of(wf, identity, {"deep": [odd.Refuses(kind)]})
    assert isinstance(error, SerializationError)
    assert "identity" in str(error)


@pytest.mark.parametrize("kind", KINDS)
def test_argument_that_cannot_be_unpickled_in_the_worker(wf: Workflow, kind: type[BaseException]) -> None:
    error = error_of(wf, identity, odd.Bomb(kind, os.getpid()))
    assert isinstance(error, SerializationError)
    assert "will not be unpickled" in str(error)


@pytest.mark.parametrize("kind", KINDS)
def test_closure_that_cannot_be_unpickled(wf: Workflow, kind: type[BaseException]) -> None:
    bomb = odd.Bomb(kind)
    error = error_of(wf, lambda: bomb)
    assert isinstance(error, SerializationError)


@pytest.mark.parametrize("kind", KINDS)
def test_result_that_cannot_be_pickled(wf: Workflow, kind: type[BaseException]) -> None:
    for error in (error_of(wf, odd.make_lock), error_of(wf, odd.make_refusing, kind)):
        assert isinstance(error, SerializationError)
        assert "result" in str(error)


@pytest.mark.parametrize("kind", KINDS)
def test_result_that_cannot_be_unpickled_in_the_driver(wf: Workflow, kind: type[BaseException]) -> None:
    error = error_of(wf, odd.make_bomb, kind)
    assert isinstance(error, SerializationError)
    assert "make_bomb" in str(error)


def test_what_cannot_be_sent_is_not_tried_again(wf: Workflow, tmp_path: Path) -> None:
    from harmony import task

    noted = tmp_path / "noted"

    @task(retries=3)
    def run() -> Any:
        note(str(noted), "ran")
        return odd.make_lock()

    assert isinstance(run().exception(PATIENCE), SerializationError)
    assert lines(noted) == ["ran"]


def test_deep_nesting(wf: Workflow) -> None:
    assert wf.submit(identity, odd.make_nested(200)).result(PATIENCE) == odd.make_nested(200)
    assert isinstance(error_of(wf, id, odd.make_nested(100_000)), SerializationError)
    assert isinstance(error_of(wf, odd.make_nested, 100_000), SerializationError)


# -- exceptions -------------------------------------------------------------------------------------


def test_constructor_that_takes_other_arguments(wf: Workflow) -> None:
    error = error_of(wf, odd.throw, odd.WantsMore, 5, where="here")
    assert isinstance(error, odd.WantsMore)
    assert (str(error), error.code, error.where) == ("code 5 at here", 5, "here")
    assert isinstance(error.__cause__, RemoteTraceback)
    assert "in throw" in str(error.__cause__)


def test_attributes_that_cannot_be_pickled(wf: Workflow) -> None:
    error = error_of(wf, odd.throw, odd.HoldsLock, "locked")
    assert isinstance(error, odd.HoldsLock)
    assert str(error) == "locked"


def test_constructor_that_words_its_argument(wf: Workflow) -> None:
    error = error_of(wf, odd.throw, odd.Worded, 5)
    assert isinstance(error, odd.Worded)
    assert (str(error), error.code) == ("code 5", 5)


def test_arguments_that_cannot_be_pickled(wf: Workflow) -> None:
    error = error_of(wf, odd.throw_unsendable)
    assert isinstance(error, RemoteError)
    assert error.type_name == f"{odd.__name__}.Unsendable"
    assert "throw_unsendable" in error.traceback


@pytest.mark.parametrize("kind", [odd.RefusesError, odd.BombError])
def test_exception_that_will_not_travel(wf: Workflow, kind: type[Exception]) -> None:
    error = error_of(wf, odd.throw, kind, "some text")
    assert isinstance(error, (kind, RemoteError))
    assert "some text" in str(error)


def test_exception_without_a_text(wf: Workflow) -> None:
    future = wf.submit(odd.throw, odd.Speechless, 1)
    assert isinstance(future.exception(PATIENCE), odd.Speechless)
    assert "failed" in repr(future)
    child = wf.submit(identity, future)
    assert child.exception(PATIENCE) is not None
    assert wf.report().counts.failed == 2


def test_text_that_is_another_each_time(wf: Workflow) -> None:
    error = error_of(wf, odd.throw, KeyError, odd.Plain())
    assert isinstance(error, KeyError)
    assert isinstance(error.args[0], odd.Plain)


def test_exception_that_cannot_be_changed(wf: Workflow) -> None:
    error = error_of(wf, odd.throw, odd.Frozen, 3)
    assert error == odd.Frozen(3)
    assert isinstance(error.__cause__, RemoteTraceback)


def test_type_made_in_the_task(wf: Workflow) -> None:
    error = error_of(wf, odd.throw_local)
    assert (type(error).__name__, str(error)) == ("Local", "made here")


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, GeneratorExit, StopIteration, OSError, MemoryError])
def test_any_type_arrives_as_it_is(wf: Workflow, kind: type[BaseException]) -> None:
    error = error_of(wf, odd.throw, kind, 3)
    assert type(error) is kind
    assert error.args == (3,)


def test_traceback_shows_the_chain_and_not_our_frames(wf: Workflow) -> None:
    error = error_of(wf, odd.throw_chain)
    text = str(error.__cause__)
    assert "KeyError: 'first'" in text
    assert "direct cause" in text
    assert "worker.py" not in text


def test_an_error_of_ours_raised_by_the_user(wf: Workflow) -> None:
    error = error_of(wf, odd.throw, CommandError, ("ls", "x y"), exit_code=2, stderr="gone")
    assert isinstance(error, CommandError)
    assert (error.exit_code, error.stderr, error.command) == (2, "gone", "ls 'x y'")
