"""The parts of the command line that have no process: pace, report, and what is kept for the terminal."""

from __future__ import annotations

import io
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

import pytest

from harmony.cli.pace import ENOUGH, WINDOW, Pace, clock
from harmony.cli.summary import ERRORS, describe, headline, percent, seconds, summarise
from harmony.cli.terminal import LIMIT, Terminal
from harmony.core.report import Counts, Failure, Report

# -- pace ---------------------------------------------------------------------------------------------


def test_pace_before_anything_has_ended() -> None:
    pace = Pace(100.0)
    assert (pace.rate, pace.left(5), pace.left(0)) == (0.0, None, 0.0)
    pace.note(103.0, 0)
    assert (pace.rate, pace.left(5)) == (0.0, None)


def test_pace_of_steady_work() -> None:
    pace = Pace(0.0)
    for tick in range(1, 1001):
        pace.note(tick / 10, tick * 5)
    assert pace.rate == pytest.approx(50)
    assert pace.left(200) == pytest.approx(4)


def test_pace_forgets_what_is_long_ago() -> None:
    pace = Pace(0.0)
    pace.note(1.0, 1000)
    for tick in range(200):
        pace.note(2.0 + tick, 1000 + tick)
    assert pace.rate == pytest.approx(1, rel=0.01)


def test_pace_of_long_tasks_is_taken_over_enough_of_them() -> None:
    pace = Pace(0.0)
    for number in range(1, 101):
        pace.note(number * 60.0, number)  # one a minute, each longer than the window
        assert pace.rate == pytest.approx(1 / 60)
    assert len(pace._samples) <= ENOUGH + 1


def test_pace_slows_while_nothing_ends() -> None:
    pace = Pace(0.0)
    pace.note(1.0, 100)
    rates = []
    for now in (2.0, 4.0, 8.0):
        pace.note(now, 100)
        rates.append(pace.rate)
    assert rates == [50.0, 25.0, 12.5]
    assert WINDOW > 8.0


@pytest.mark.parametrize(
    ("duration", "shown"),
    [
        (None, "-:--"), (0, "0:00"), (59.9, "0:59"), (65, "1:05"), (3600, "1:00:00"), (86399, "23:59:59"),
        (86400, "1d 00:00:00"), (3 * 86400 + 4 * 3600, "3d 04:00:00"),
    ],
)  # fmt: skip
def test_clock(duration: float | None, shown: str) -> None:
    assert clock(duration) == shown


# -- the report ---------------------------------------------------------------------------------------


def report(*failures: Failure, failed: int | None = None, done: int = 2) -> Report:
    count = sum(failure.count for failure in failures) if failed is None else failed
    counts = Counts(done=done, failed=count)
    return Report(name="r", counts=counts, wall=10.0, work=16.0, critical_path=3.0, cores=2, failures=failures)


def test_a_report_in_full() -> None:
    assert summarise(report(Failure(count=3, task="relax", error="ValueError: bad strain"), failed=5)) == (
        "r: 7 tasks: 2 done, 5 failed\n"
        "  3 × ValueError: bad strain (first in relax)\n"
        "  2 × not run, because a task it needs failed\n"
        "  wall time      10.0 s\n"
        "  work           16.0 s on 2 cores: 8 s\n"
        "  critical path  3 s\n"
        "  efficiency     80 % = max(critical path, work / cores) / wall time"
    )


def test_of_a_long_error_the_first_and_last_lines_are_shown() -> None:
    error = "CommandError: it failed\n" + "\n".join(f"line {number}" for number in range(1, 101))
    shown = summarise(report(Failure(count=1, task="t", error=error))).splitlines()[1:8]
    assert shown == [
        "  1 × CommandError: it failed (in t)",
        *(f"      line {number}" for number in (1, 2, 3)),
        "      [… 95 lines …]",
        "      line 99",
        "      line 100",
    ]


def test_an_error_of_a_few_lines_is_shown_whole() -> None:
    error = "\n".join("abcdefg")
    assert "[…" not in summarise(report(Failure(count=1, task="t", error=error)))


def test_a_long_line_is_cut() -> None:
    shown = summarise(report(Failure(count=1, task="t", error="E: " + "x" * 10_000)))
    assert max(map(len, shown.splitlines())) < 250


def test_an_error_without_a_text() -> None:
    assert "\n  1 ×  (in t)\n" in summarise(report(Failure(count=1, task="t", error="")))


def test_many_distinct_errors_are_summed_up() -> None:
    failures = [Failure(count=2, task="t", error=f"E: {number}") for number in range(ERRORS + 5)]
    lines = summarise(report(*failures)).splitlines()
    assert sum("× E: " in line for line in lines) == ERRORS
    assert "  10 × one of 5 other errors" in lines


def test_headlines() -> None:
    first, second = Failure(count=3, task="a", error="E: one\nmore"), Failure(count=1, task="b", error="E: two")
    assert headline(report(first)) == "r: 3 of 5 tasks failed; 3 × E: one (first in a)"
    assert headline(report(first, second)) == "r: 4 of 6 tasks failed; 3 × E: one (first in a), and 1 other error"
    assert headline(report(failed=1, done=0)) == "r: 1 of 1 task failed"


def test_counts_in_words() -> None:
    assert describe(Counts()) == "no tasks"
    assert describe(Counts(done=1)) == "1 task: 1 done"
    assert describe(Counts(done=1, failed=2, cancelled=3)) == "6 tasks: 1 done, 2 failed, 3 cancelled"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0, "0 s"),
        (0.00123456, "1.23 ms"),
        (1.23456, "1.23 s"),
        (12.3456, "12.3 s"),
        (599, "599.0 s"),
        (6000, "1:40:00"),
    ],
)
def test_seconds(value: float, shown: str) -> None:
    assert seconds(value) == shown


@pytest.mark.parametrize(("share", "shown"), [(0, "0 %"), (0.0123, "1.2 %"), (0.5, "50 %"), (0.996, "100 %")])
def test_percent(share: float, shown: str) -> None:
    assert percent(share) == shown


# -- the terminal -------------------------------------------------------------------------------------


class Tty(io.StringIO):
    def isatty(self) -> bool:
        return True


@contextmanager
def installed() -> Iterator[Terminal]:
    """A terminal in the place of stdout and stderr."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = Tty(), Tty()
    terminal = Terminal(lambda: None)
    terminal.install()
    try:
        yield terminal
    finally:
        terminal.uninstall()
        sys.stdout, sys.stderr = before


def shown(stream: TextIO) -> str:
    """What has reached the terminal through a stream."""
    assert isinstance(stream, Tty)
    return stream.getvalue()


def test_what_is_not_held_passes_through() -> None:
    with installed() as terminal:
        stdout, stderr = sys.stdout, sys.stderr
        print("a", "b", end="")
        stderr.writelines(["c", "d\n"])
        assert stdout.isatty()
        assert stdout.tell() == 3  # what is not writing is the real stream's
        terminal.uninstall()
        assert (shown(sys.stdout), shown(sys.stderr)) == ("a b", "cd\n")


def test_whole_lines_are_held_in_their_order() -> None:
    with installed() as terminal:
        terminal.hold()
        print("one\ntwo\nthr", end="")
        print("error", file=sys.stderr)
        assert terminal.take() == "one\ntwo\nerror\n"
        print("ee")
        assert terminal.take() == "three\n"
        assert shown(terminal.file) == ""
        print("rest\nhalf", end="")
        terminal.release()
        terminal.uninstall()
        assert (shown(terminal.file), shown(sys.stdout)) == ("rest\n", "half")


def test_a_display_starts_on_a_line_of_its_own() -> None:
    with installed() as terminal:
        print("half a line", end="")
        terminal.hold()
        terminal.start_line()
        assert shown(terminal.file) == "\n"


def test_who_prints_too_much_waits_for_the_terminal() -> None:
    with installed() as terminal:
        terminal.hold()
        much = "x" * LIMIT
        printed = threading.Event()

        def write() -> None:
            print(much)
            printed.set()

        writer = threading.Thread(target=write)
        writer.start()
        while not terminal._changed._waiters:  # type: ignore[attr-defined]
            assert not printed.is_set()
        assert terminal.take() == f"{much}\n"
        writer.join()
        assert printed.is_set()


def test_a_stream_that_the_program_has_replaced_is_left_alone() -> None:
    with installed() as terminal:
        own = sys.stdout = io.StringIO()
        terminal.uninstall()
        assert sys.stdout is own


def test_wrong_types_are_refused_as_ever() -> None:
    with installed() as terminal:
        terminal.hold()
        with pytest.raises(TypeError):
            sys.stdout.write(b"bytes")  # type: ignore[arg-type]


@pytest.mark.parametrize(("term", "is_there"), [("xterm", True), ("dumb", False), ("", False), (None, False)])
def test_only_a_terminal_that_can_move_its_cursor_counts(
    monkeypatch: pytest.MonkeyPatch, term: str | None, is_there: bool
) -> None:
    monkeypatch.delenv("TERM", raising=False)
    if term is not None:
        monkeypatch.setenv("TERM", term)
    with installed():
        assert Terminal.is_there() is is_there
        sys.stderr = io.StringIO()
        assert not Terminal.is_there()
