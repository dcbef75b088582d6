"""Display: the open workflows at the bottom of the terminal: tasks by state, rate, time left.

The refresh thread is rich's own. It reads `Workflow.counts` a few times a second; no task pays for being seen.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from harmony.cli.pace import Pace, clock
from harmony.cli.terminal import Terminal
from harmony.core.report import Counts
from harmony.workflow import Workflow

REFRESHES_PER_SECOND = 5


class Display:
    """Shows workflows from `add` to `remove`. Both may be called from any thread."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self._rows: dict[Workflow, _Row] = {}
        self._live: _Live | None = None

    def add(self, workflow: Workflow) -> None:
        """Show a workflow once it has tasks."""
        self._rows[workflow] = _Row(workflow)
        if self._live is None:
            self._terminal.hold()
            self._live = _Live(self._terminal, self)
            self._live.start()

    def remove(self, workflow: Workflow) -> None:
        """Show a workflow no more. With the last one the display goes."""
        if self._rows.keys() <= {workflow}:
            self.clear()
        self._rows.pop(workflow, None)

    def clear(self) -> None:
        """Leave the terminal to the program until another workflow is added."""
        if self._live is not None:
            self._live.stop()
            self._live = None
            self._terminal.release()

    def render(self) -> RenderableType:
        """What to show now: a line at least, or rich would leave an empty one behind."""
        lines = [line for row in list(self._rows.values()) for line in row.lines()]
        return Group(*lines) if lines else Text()


class _Row:
    """One workflow: a line with its bar, and a line with its counts."""

    def __init__(self, workflow: Workflow) -> None:
        self._workflow = workflow
        self._began = time.monotonic()
        self._pace: Pace | None = None

    def lines(self) -> Iterator[RenderableType]:
        counts = self._workflow.counts
        if not counts.total:
            return
        now = time.monotonic()
        if self._pace is None:
            self._pace = Pace(now if not counts.ended else self._began)
        self._pace.note(now, counts.ended)
        yield self._bar(counts, now, self._pace)
        yield _states(counts, self._pace.rate)

    def _bar(self, counts: Counts, now: float, pace: Pace) -> Table:
        line = Table.grid(padding=(0, 1, 0, 0), expand=True)
        line.add_column(max_width=24, no_wrap=True, overflow="crop")
        line.add_column(ratio=1)
        for _ in range(3):
            line.add_column(no_wrap=True, justify="right")
        line.add_row(
            Text(self._workflow.name, style="bold"),
            ProgressBar(total=counts.total, completed=counts.ended),
            f"{counts.ended}/{counts.total}",
            f"{100 * counts.ended // counts.total} %",
            f"{clock(now - self._began)} elapsed, {clock(pace.left(counts.total - counts.ended))} left",
        )
        return line


def _states(counts: Counts, rate: float) -> Text:
    line = Text(no_wrap=True, overflow="crop")  # an ellipsis becomes six characters where stderr is ASCII
    parts = [
        (counts.done, "done", "green"),
        (counts.failed, "failed", "bold red"),
        (counts.cancelled, "cancelled", "yellow"),
        (counts.running, "running", ""),
        (counts.submitted, "submitted", ""),
        (counts.waiting, "waiting", ""),
    ]
    for number, word, style in parts:
        if number:
            line.append(f"{number} {word}", style).append(", ")
    return line.append(f"{rate:.3g} tasks/s" if rate < 100 else f"{rate:.0f} tasks/s")


class _Live(Live):
    """rich's live display, which first prints what the program has printed since the last refresh."""

    def __init__(self, terminal: Terminal, display: Display) -> None:
        self._printed = terminal.take
        super().__init__(
            console=Console(file=terminal.file),
            get_renderable=display.render,
            refresh_per_second=REFRESHES_PER_SECOND,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def stop(self) -> None:
        """Stop, and wait for the refresh thread, which rich lets go."""
        thread = self._refresh_thread
        super().stop()
        if thread is not None:
            thread.join()

    def refresh(self) -> None:
        """Print what waits above the display, then draw the display."""
        text = self._printed()
        if text:
            self.console.print(_Verbatim(text), crop=False)
        super().refresh()


class _Verbatim:
    """Text that rich is to leave as it is, with its tabs, colours and long lines."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Segment(self._text)
