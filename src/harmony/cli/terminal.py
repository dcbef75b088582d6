"""Terminal: lets a display live at the bottom of the terminal while the program prints above it.

    program's threads ──write──▶ Stream ──held──▶ Terminal ◀──take── display's refresh thread
                                   └──not held──▶ the real stream

Only streams that are the terminal are replaced, and they pass through unless `hold` is on. Then whole lines wait,
at most a refresh long, so that printing costs an append and not a redrawn display.
"""

from __future__ import annotations

import builtins
import os
import sys
import threading
from collections.abc import Callable, Iterable
from typing import Any, TextIO, cast

#: So many characters may wait before who prints waits too.
LIMIT = 1 << 20


class Stream:
    """Stands for stdout or stderr; whatever else a program does with it goes to the real one."""

    def __init__(self, terminal: Terminal, real: TextIO) -> None:
        self._terminal = terminal
        self.real = real
        self.partial = ""

    def write(self, text: str) -> int:
        """Write now, or, while the terminal holds, with the next refresh."""
        if not (isinstance(text, str) and self._terminal.keep(self, text)):
            self.real.write(text)
            self._terminal.mid_line = not text.endswith("\n") if text else self._terminal.mid_line
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write each."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Flush the real stream; what is held is shown soon anyway."""
        self.real.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)


class Terminal:
    """The terminal that stderr is, and stdout too perhaps. One per process; a fork of it never holds.

    `asked` is called when the program reads a line from the user, who must then see what it prints at once.
    """

    def __init__(self, asked: Callable[[], None]) -> None:
        self.file = sys.stderr
        self.mid_line = False
        self._asked = asked
        self._pid = os.getpid()
        self._changed = threading.Condition()
        self._held: list[str] = []
        self._size = 0
        self._holds = False
        self._streams: list[Stream] = []
        self._input = builtins.input

    @staticmethod
    def is_there() -> bool:
        """True when stderr is a terminal that can move its cursor."""
        return sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM", "dumb") not in ("", "dumb")

    def install(self) -> None:
        """Take the place of the program's stdout and stderr, and of `input`."""
        for name in ("stdout", "stderr"):
            real = getattr(sys, name)
            if real is not None and real.isatty():
                self._streams.append(Stream(self, real))
                setattr(sys, name, cast("TextIO", self._streams[-1]))
        builtins.input = self._ask

    def uninstall(self) -> None:
        """Put everything back that the program has not replaced itself."""
        for name in ("stdout", "stderr"):
            stream = getattr(sys, name)
            if stream in self._streams:
                setattr(sys, name, stream.real)
        builtins.input = self._input

    def hold(self) -> None:
        """From now on what is printed waits for `take`."""
        self.start_line()
        with self._changed:
            self._holds = True

    def start_line(self) -> None:
        """Begin a new line if the program is in the middle of one."""
        for stream in self._streams:
            stream.flush()
        if self.mid_line:
            self.file.write("\n")
            self.file.flush()
            self.mid_line = False

    def release(self) -> None:
        """Print what has waited, and hold no more."""
        with self._changed:
            self._holds = False
            self.file.write(self.take())
            self.file.flush()
            for stream in self._streams:
                partial, stream.partial = stream.partial, ""
                if partial:
                    stream.write(partial)

    def keep(self, stream: Stream, text: str) -> bool:
        """Keep a text that was printed; False when it must be written now."""
        if not self._holds or os.getpid() != self._pid:
            return False
        with self._changed:
            if not self._holds:
                return False
            lines, newline, rest = text.rpartition("\n")
            if newline:
                line = f"{stream.partial}{lines}\n"
                self._held.append(line)
                self._size += len(line)
                stream.partial = rest
            else:
                stream.partial += text
            if self._size > LIMIT:
                self._changed.wait_for(lambda: self._size <= LIMIT, timeout=1.0)
        return True

    def take(self) -> str:
        """Return the whole lines that wait."""
        with self._changed:
            text = "".join(self._held)
            self._held.clear()
            self._size = 0
            self._changed.notify_all()
        return text

    def _ask(self, prompt: object = "", /) -> str:
        self._asked()
        answer = self._input(prompt)
        self.mid_line = False
        return answer
