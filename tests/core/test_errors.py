"""Errors: one tree as it is drawn, texts that say what happened, and safe travel between processes."""

from __future__ import annotations

import inspect
import pickle
import traceback

import pytest

from harmony import errors
from harmony.errors import CommandError, HarmonyError, RemoteError, RemoteTraceback

TREE = [
    kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, HarmonyError)
]  # fmt: skip


def drawn() -> dict[str, str]:
    """error → the error it stands under, in the picture at the top of the module."""
    parents, path = {}, {-4: ""}
    for line in (errors.__doc__ or "").splitlines():
        name = line.strip("│├└─ ").split(" ")[0]
        indent = len(line) - len(line.lstrip("│├└─ "))
        if name in vars(errors) and line.startswith("    "):
            path[indent] = name
            parents[name] = path[max(i for i in path if i < indent)]
            path = {i: kind for i, kind in path.items() if i <= indent}
    return parents


def test_the_picture_is_the_tree() -> None:
    assert drawn() == {kind.__name__: "" if kind is HarmonyError else kind.__bases__[0].__name__ for kind in TREE}


def test_they_are_also_what_python_calls_them() -> None:
    assert issubclass(errors.ConfigError, ValueError)
    assert issubclass(errors.WorkflowError, RuntimeError)  # as the standard pools raise after shutdown
    assert issubclass(errors.MissingFileError, FileNotFoundError)
    assert issubclass(errors.WalltimeExceeded, TimeoutError)


@pytest.mark.parametrize("kind", [kind for kind in TREE if kind not in (CommandError, RemoteError)])
def test_every_error_travels(kind: type[HarmonyError]) -> None:
    error = kind("what happened")
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is kind
    assert str(copy) == "what happened"


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (CommandError(["ls", "a b"], exit_code=2), "command ls 'a b' ended with exit code 2"),
        (CommandError("ls | wc", signal=9), "command ls | wc was killed by signal SIGKILL (9)"),
        (CommandError("x", signal=250), "command x was killed by signal 250"),
        (CommandError(["x"], reason="could not be started: no"), "command x could not be started: no"),
        (
            CommandError(["x"], exit_code=1, stderr="line 1\nline 2\n\n"),
            "command x ended with exit code 1; the end of its stderr:\nline 1\nline 2",
        ),
        (CommandError(["x"], exit_code=1, stderr=" \n"), "command x ended with exit code 1"),
    ],
)
def test_a_failing_command(error: CommandError, text: str) -> None:
    assert str(error) == text
    copy = pickle.loads(pickle.dumps(error))
    assert str(copy) == text
    assert (copy.command, copy.exit_code, copy.signal, copy.stderr, copy.reason) == (
        error.command,
        error.exit_code,
        error.signal,
        error.stderr,
        error.reason,
    )


def test_the_stand_in_for_an_exception_that_cannot_be_rebuilt() -> None:
    error = RemoteError("pkg.Odd", "it broke", "Traceback …")
    for same in (
        error,
        pickle.loads(pickle.dumps(error)),
        pickle.loads(pickle.dumps(pickle.loads(pickle.dumps(error)))),
    ):
        assert str(same) == "pkg.Odd: it broke"
        assert (same.type_name, same.traceback) == ("pkg.Odd", "Traceback …")


def test_the_remote_traceback_is_printed_with_the_error() -> None:
    error = ValueError("here")
    error.__cause__ = RemoteTraceback("Traceback (most recent call last):\n  there\n")
    printed = "".join(traceback.format_exception(error))
    assert "Traceback (most recent call last):\n  there" in printed
    assert printed.rstrip().endswith("ValueError: here")
    assert str(pickle.loads(pickle.dumps(error.__cause__))) == str(error.__cause__)
