"""Replay a WfFormat workflow from the command line."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from harmony.cli.ending import Ending
from harmony.cli.program import supervise
from harmony.cli.watch import Watch
from harmony.errors import HarmonyError
from harmony.frontends.wfformat import replay_file
from harmony.workflow import Workflow


def run_replay(path: str, options: Mapping[str, Any], watch: Watch, ending: Ending) -> int:
    """Replay the workflow with its end told like a program's; return the exit status."""
    refused: list[HarmonyError | OSError] = []
    problems: list[str] = []

    def work() -> None:
        try:
            with Workflow(path) as workflow:
                report = replay_file(path, workflow, **options)
        except (HarmonyError, OSError) as error:  # of the file and the options; a task's own is in the report
            refused.append(error)
        else:
            problems.extend(report.problems)
            print(report)

    status = supervise(work, watch, ending)
    for error in refused:
        print(f"Error: {error}", file=sys.stderr)
    return 2 if refused else status or int(bool(problems))
