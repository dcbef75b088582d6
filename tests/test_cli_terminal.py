"""``harmony run`` in a terminal: the display, what is printed above it, and what is left on the screen."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

WIDTH, HEIGHT = 100, 50


class Screen:
    """What a terminal shows: lines, and a cursor. It knows what rich sends: colours, erasing, going up, hiding."""

    _SEQUENCE = re.compile(r"\x1b\[(\??[\d;]*)([A-Za-z])|(\r)|(\n)|([^\x1b\r\n]+)")

    def __init__(self) -> None:
        self.lines = [""]
        self.row = self.column = 0
        self.cursor_is_shown = True

    def feed(self, text: str) -> None:
        end = 0
        for match in self._SEQUENCE.finditer(text):
            assert match.start() == end, f"the terminal was sent {text[end : match.start()]!r}"
            end = match.end()
            argument, letter, back, down, plain = match.groups()
            if letter:
                self._control(argument, letter)
            elif back:
                self.column = 0
            elif down:
                self.row += 1
                self.lines += [""] * (self.row + 1 - len(self.lines))
            else:
                self._put(plain)

    def _put(self, text: str) -> None:
        line = self.lines[self.row].ljust(self.column)
        self.lines[self.row] = line[: self.column] + text + line[self.column + len(text) :]
        self.column += len(text)

    def _control(self, argument: str, letter: str) -> None:
        if letter == "A":
            self.row = max(0, self.row - int(argument or 1))
        elif letter == "K":
            assert argument == "2"
            self.lines[self.row] = ""
        elif argument == "?25":
            self.cursor_is_shown = letter == "h"
        else:
            assert letter == "m", f"the terminal was sent an unknown sequence {argument}{letter}"

    @property
    def text(self) -> str:
        return "\n".join(line.rstrip() for line in self.lines).rstrip("\n")


class Session:
    """A command line in a terminal of its own. `stdout`, if given, goes there instead."""

    def __init__(self, *words: str | Path, stdout: int | None = None, **environment: str) -> None:
        self._terminal, inside = pty.openpty()
        fcntl.ioctl(inside, termios.TIOCSWINSZ, struct.pack("HHHH", HEIGHT, WIDTH, 0, 0))
        self.sent = b""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "harmony", *words],
            stdin=inside,
            stdout=inside if stdout is None else stdout,
            stderr=inside,
            start_new_session=True,
            preexec_fn=_take_terminal,  # noqa: PLW1509  it calls nothing that a thread could hold
            env={**os.environ, "TERM": "xterm-256color", **environment},
        )
        os.close(inside)

    def read_until(self, pattern: str) -> str:
        """Read until the terminal was sent the pattern; "" reads to the end."""
        deadline = time.monotonic() + 30
        while not (pattern and re.search(pattern, self.text)):
            ready, _, _ = select.select([self._terminal], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, f"{pattern!r} did not appear in: {self.text}"
            try:
                data = os.read(self._terminal, 1 << 16)
            except OSError:  # all who had the terminal open have ended
                data = b""
            self.sent += data
            if not data:
                assert not pattern, f"the program ended without {pattern!r}: {self.text}"
                break
        return self.text

    def write(self, text: str) -> None:
        os.write(self._terminal, text.encode())

    def end(self) -> Screen:
        """Wait for the end; return what is on the screen."""
        self.read_until("")
        self.process.wait(timeout=20)
        screen = Screen()
        screen.feed(self.sent.decode())
        return screen

    @property
    def text(self) -> str:
        """All that was sent, without its colours and movements."""
        return re.sub(r"\x1b\[\??[\d;]*[A-Za-z]", "", self.sent.decode(errors="replace"))

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._terminal)


def _take_terminal() -> None:
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


Start = Callable[..., Session]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Write a program, and run ``harmony run [options] program`` in a terminal. Gates are FIFOs: g1, g2, g3."""
    sessions = []
    for name in ("g1", "g2", "g3"):
        os.mkfifo(tmp_path / name)
    gates = f"def wait(name): open({str(tmp_path) + os.sep!r} + name).read()\n"

    def make(text: str, *options: str, **others: int | str) -> Session:
        path = tmp_path / "program.py"
        path.write_text(gates + text, encoding="utf-8")
        sessions.append(Session("run", *options, path, **others))  # type: ignore[arg-type]
        return sessions[-1]

    yield make
    for session in sessions:
        session.close()


def open_gate(tmp_path: Path, name: str) -> None:
    """Let the task that waits for the gate go on."""
    with open(tmp_path / name, "w", encoding="utf-8"):
        pass


REPORT = re.compile(
    r"wall time +\S+ m?s\n +work +\S+ m?s on 3 cores: \S+ m?s\n +critical path +\S+ m?s\n +efficiency .*\Z"
)
THREE = """
from harmony import Workflow
with Workflow("three") as workflow:
    workflow.submit(wait, "g1")
    workflow.submit(str, workflow.submit(wait, "g2"))
    workflow.submit(int, 1), workflow.submit(int, "x")
"""


@pytest.mark.parametrize("engine", ["threads", "local"])
def test_the_display_counts_tasks_by_state(start: Start, tmp_path: Path, engine: str) -> None:
    session = start(THREE, "--engine", engine, "--workers", "3")
    seen = session.read_until(
        r"three .*2/5 40 % 0:\d\d elapsed, \d+:\d\d left\s+1 done, 1 failed, 2 running, 1 waiting"
    )
    assert re.search(r"1 waiting, [\d.]+ tasks/s", seen)
    open_gate(tmp_path, "g1")
    session.read_until(r"three .*3/5 60 % .*\s+2 done, 1 failed, 1 running, 1 waiting")
    open_gate(tmp_path, "g2")
    screen = session.end()
    lines = screen.text.splitlines()
    assert lines[0] == "three: 5 tasks: 4 done, 1 failed"
    assert lines[1].startswith("  1 × ValueError: invalid literal")
    assert REPORT.search(screen.text), screen.text
    assert "elapsed" not in screen.text  # the display itself is gone
    assert screen.cursor_is_shown
    assert session.process.returncode == 1


PRINTING = """
import sys, threading
from harmony import Workflow
print("before, no newline", end="")
def speak(i): print(f"task {i}\\tsays " + "long " * 40 + f"\\x1b[31mred\\x1b[0m {i}")
with Workflow("printing") as workflow:
    gates = [workflow.submit(wait, "g1")]
    print("main ", end=""); print("one")
    print("error one", file=sys.stderr)
    for future in [workflow.submit(speak, i) for i in range(100)]: future.result()
    print("half", end="", flush=True)
    wait("g2")
    print(" and half")
    print("end without newline", end="")
print(" ended")
print([thread.name for thread in threading.enumerate()])
"""


@pytest.mark.parametrize("engine", ["threads", "local"])
def test_prints_stay_whole_and_in_order(start: Start, tmp_path: Path, engine: str) -> None:
    session = start(PRINTING, "--engine", engine, "--workers", "2")
    session.read_until(r"error one(?s:.*)100/101 99 %")
    open_gate(tmp_path, "g2")
    open_gate(tmp_path, "g1")
    screen = session.end()
    assert screen.lines[:3] == ["before, no newline", "main one", "error one"]
    spoken = screen.lines[3:103]
    assert sorted(spoken) == sorted(f"task {i}\tsays {'long ' * 40}red {i}" for i in range(100))
    assert screen.lines[103] == "half and half"
    assert screen.lines[104] == "end without newline"
    assert screen.lines[105] == "printing: 101 tasks: 101 done"
    assert screen.text.endswith("\n ended\n['MainThread']")
    assert "elapsed" not in screen.text


def test_stdout_that_is_not_the_terminal_is_untouched(start: Start, tmp_path: Path) -> None:
    program = (
        "from harmony import Workflow\n"
        "with Workflow('piped') as workflow:\n"
        "    workflow.submit(print, 'from a task'), workflow.submit(wait, 'g1')\n"
        "    print('héllo', '\\r', end='\\0')\n"
    )
    with (tmp_path / "stdout").open("wb") as stdout:
        session = start(program, "--engine", "local", "--workers", "2", stdout=stdout.fileno())
    session.read_until("1 done, 1 running")
    open_gate(tmp_path, "g1")
    screen = session.end()
    assert sorted((tmp_path / "stdout").read_bytes().split(b"from a task\n")) == [b"", "héllo \r\0".encode()]
    assert screen.lines[0] == "piped: 2 tasks: 2 done"


def test_a_terminal_that_knows_ascii_only(start: Start, tmp_path: Path) -> None:
    program = (
        "from harmony import Workflow\n"
        "with Workflow('w' * 80) as workflow:\n"
        "    workflow.submit(print, 'from a task'), workflow.submit(wait, 'g1')\n"
        "    print('printed')\n"
        "    wait('g2')\n"
    )
    session = start(program, "--engine", "local", "--workers", "2", PYTHONIOENCODING="ascii:backslashreplace")
    session.read_until(r"1/2 50 %(?s:.*)1 done, 1 running(?s:.*)1 done, 1 running")
    open_gate(tmp_path, "g2")
    open_gate(tmp_path, "g1")
    screen = session.end()
    assert sorted(screen.lines[:2]) == ["from a task", "printed"]
    assert screen.lines[2] == "w" * 80 + ": 2 tasks: 2 done"


def test_quiet_shows_nothing(start: Start, tmp_path: Path) -> None:
    session = start(THREE.replace('"x"', "2") + "print('over')\n", "--quiet", "--engine", "local")
    open_gate(tmp_path, "g1")
    open_gate(tmp_path, "g2")
    session.end()
    assert session.sent == b"over\r\n"


def test_a_dumb_terminal_gets_the_report_only(start: Start, tmp_path: Path) -> None:
    session = start(THREE, "--engine", "local", TERM="dumb")
    open_gate(tmp_path, "g1")
    open_gate(tmp_path, "g2")
    session.end()
    assert b"\x1b" not in session.sent
    assert session.text.startswith("three: 5 tasks: 4 done, 1 failed\r\n")


def test_workflows_that_are_open_at_once_have_a_bar_each(start: Start, tmp_path: Path) -> None:
    program = (
        "from harmony import Workflow\n"
        "with Workflow('outer') as outer:\n"
        "    outer.submit(wait, 'g1')\n"
        "    with Workflow('inner') as inner:\n"
        "        inner.submit(wait, 'g2'), inner.submit(int)\n"
        "    wait('g3')\n"
    )
    session = start(program, "--engine", "local", "--workers", "2")
    session.read_until(r"outer [^\n]* 0/1 0 %[^\n]*\n[^\n]*1 running[^\n]*\n\r?inner [^\n]* 1/2 50 %")
    open_gate(tmp_path, "g2")
    session.read_until(r"inner: 2 tasks: 2 done(?s:.*)outer [^\n]* 0/1 0 %")
    open_gate(tmp_path, "g3")
    open_gate(tmp_path, "g1")
    screen = session.end()
    assert re.findall(r"^(\w+): \d task", screen.text, re.MULTILINE) == ["inner", "outer"]
    assert screen.lines[0] == "inner: 2 tasks: 2 done"


def test_ctrl_c_ends_with_the_report_and_a_clean_terminal(start: Start) -> None:
    program = "from harmony import Workflow\nwith Workflow('endless') as workflow: workflow.map(wait, ['g1'] * 3)\n"
    session = start(program, "--engine", "local", "--workers", "2")
    session.read_until("2 running, 1 submitted")
    session.write("\x03")
    screen = session.end()
    told = screen.text.removeprefix("^C").lstrip("\n")
    assert told.startswith("interrupted by SIGINT\nendless: 3 tasks: 3 cancelled\n  wall time")
    assert screen.cursor_is_shown
    assert session.process.returncode == -signal.SIGINT


def test_a_question_has_the_terminal_for_itself(start: Start, tmp_path: Path) -> None:
    program = (
        "from harmony import Workflow\n"
        "with Workflow('asking') as workflow:\n"
        "    workflow.submit(wait, 'g1')\n"
        "    wait('g2')\n"
        "    print('not shown yet', end='')\n"
        "    print('', 'answer', input('? '))\n"
        "    print('and on')\n"
        "    wait('g3')\n"
    )
    session = start(program, "--engine", "local")
    session.read_until("1 running")
    open_gate(tmp_path, "g2")
    session.read_until(r"not shown yet\? ")
    session.write("yes\n")
    session.read_until("and on")
    open_gate(tmp_path, "g3")
    open_gate(tmp_path, "g1")
    screen = session.end()
    assert screen.lines[:3] == ["not shown yet? yes", " answer yes", "and on"]
    assert screen.lines[3] == "asking: 1 task: 1 done"


def test_a_fork_prints_for_itself(start: Start, tmp_path: Path) -> None:
    program = (
        "import os, sys, warnings\n"
        "from harmony import Workflow\n"
        "warnings.simplefilter('ignore')\n"
        "with Workflow('forking') as workflow:\n"
        "    workflow.submit(wait, 'g1')\n"
        "    wait('g2')\n"
        "    if not (child := os.fork()):\n"
        "        print('from the child')\n"
        "        sys.exit(7)\n"
        "    print('child ended with', os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
    )
    session = start(program, "--engine", "local")
    session.read_until("1 running")
    open_gate(tmp_path, "g2")
    session.read_until("child ended with 7")
    open_gate(tmp_path, "g1")
    session.end()
    assert "from the child" in session.text
    assert session.text.count("forking: 1 task: 1 done") == 1
    assert session.process.returncode == 0


def test_an_exception_is_told_below_what_was_printed(start: Start) -> None:
    program = (
        "from harmony import Workflow\n"
        "with Workflow('broken') as workflow:\n"
        "    workflow.submit(wait, 'g1')\n"
        "    print('printed')\n"
        "    raise RuntimeError('no more')\n"
    )
    screen = start(program, "--engine", "local").end()
    wanted = [line for line in screen.text.splitlines() if not line.startswith("  ")]
    assert wanted == [
        "printed",
        "Traceback (most recent call last):",
        "RuntimeError: no more",
        "broken: 1 task: 1 cancelled",
    ]
    assert screen.cursor_is_shown


def test_an_engine_that_cannot_start_leaves_a_clean_terminal(start: Start) -> None:
    program = (
        "from harmony import Workflow\n"
        "from harmony.engines.threads import ThreadEngine\n"
        "class Broken(ThreadEngine):\n"
        "    def start(self, report): raise RuntimeError('no licence')\n"
        "try: Workflow('first', engine=Broken()).start()\n"
        "except RuntimeError: print('another one')\n"
        "with Workflow('second', engine=Broken()): pass\n"
    )
    session = start(program)
    screen = session.end()
    assert screen.lines[0] == "another one"
    assert "RuntimeError: no licence" in screen.lines
    assert screen.cursor_is_shown
    assert session.process.returncode == 1
