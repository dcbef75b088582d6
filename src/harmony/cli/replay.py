"""Replay a WfFormat workflow from the command line."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any

from harmony.cli.ending import Ending
from harmony.cli.program import supervise
from harmony.cli.watch import Watch
from harmony.errors import ConfigError, CycleError
from harmony.frontends.wfformat import replay_file
from harmony.workflow import Workflow


def run_replay(path: str, options: Mapping[str, Any], watch: Watch, ending: Ending) -> int:
    """Replay the workflow and print how it compares with the trace; return the exit status."""
    faults: list[str] = []

    def work() -> None:
        try:
            with Workflow(os.path.basename(path)) as workflow:
                report = replay_file(path, workflow, **options)
        except (ConfigError, CycleError) as error:  # raised before anything runs
            print(f"Error: {error}", file=sys.stderr)
            sys.exit(2)
        faults.extend(report.problems)
        print(report)

    return supervise(work, watch, ending) or int(bool(faults))
