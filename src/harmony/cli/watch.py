"""Watch: sees the workflows of a program open and close; shows them meanwhile, and reports on them afterwards."""

from __future__ import annotations

import os
import sys
import threading
from typing import TYPE_CHECKING, Any

from harmony.cli.summary import headline, summarise
from harmony.cli.terminal import Terminal
from harmony.core.report import Report
from harmony.workflow import Overrides, Workflow

if TYPE_CHECKING:
    from harmony.cli.display import Display


class Watch:
    """What the command line decides about a program's workflows, and what it learns of them.

    A workflow's report is printed when it ends; if it ends by an exception, after that has been told, or the
    next workflow opens. A fork of the program reports nothing.
    """

    def __init__(self, *, quiet: bool, **decided: Any) -> None:
        self.overrides = Overrides(**decided, opened=self._opened, closed=self._closed)
        self.failed = False
        self._seen = 0
        self._quiet = quiet
        self._pid = os.getpid()
        self._changing = threading.RLock()
        self._is_over = False
        self._open: list[Workflow] = []
        self._due: list[Report] = []
        self._display: Display | None = None
        self._terminal: Terminal | None = None
        if not quiet and Terminal.is_there():
            self._terminal = Terminal(self.hide)
            self._terminal.install()

    @property
    def is_fork(self) -> bool:
        """True in a child that the program has forked."""
        return os.getpid() != self._pid

    def let_go(self) -> None:
        """The main part of the program is over. What is still open is watched until Python closes it at the exit."""
        self._is_over = True
        self.tell()
        if not self._open:
            self.finish()

    def finish(self) -> bool:
        """Leave the terminal as it was; return whether a task has failed."""
        self.hide()
        if self._terminal is not None and not self.is_fork:
            self._terminal.uninstall()
        return self.failed

    def hide(self) -> None:
        """Leave the terminal to the program."""
        if self._display is not None and not self.is_fork:
            with self._changing:
                self._display.clear()

    def tell(self) -> None:
        """Print the reports that are due."""
        if self.is_fork:
            return
        with self._changing:
            if self._due and self._terminal is not None:
                self._terminal.start_line()
            while self._due:
                report = self._due.pop(0)
                if not self._quiet:
                    print(summarise(report), file=sys.stderr, flush=True)
                elif not report.ok:
                    print(headline(report), file=sys.stderr, flush=True)

    def note_idle(self) -> None:
        """Say so when no workflow was opened: there may be a main function that nobody calls."""
        if not (self._seen or self._quiet or self.is_fork) and threading.active_count() == 1:
            print(f"{sys.argv[0]} opened no workflow, so there is nothing to report", file=sys.stderr)

    def _opened(self, workflow: Workflow) -> None:
        if self.is_fork:
            return
        self.tell()
        with self._changing:
            self._seen += 1
            self._open.append(workflow)
            if self._terminal is not None:
                if self._display is None:
                    from harmony.cli.display import Display

                    self._display = Display(self._terminal)
                self._display.add(workflow)

    def _closed(self, workflow: Workflow) -> None:
        if self.is_fork:
            return
        with self._changing:
            self._open.remove(workflow)
            if self._display is not None:
                self._display.remove(workflow)
            report = workflow.report()
            self.failed = self.failed or not report.ok
            ended_by_error = sys.exc_info()[0] is not None
            if report.counts.total or not ended_by_error:
                self._due.append(report)
        if not ended_by_error or self._is_over:
            self.tell()
