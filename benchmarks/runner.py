"""Starts a fresh process for each session, reads what it reports, ends it if it hangs, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.cost import clean_up
from benchmarks.programs import PROGRAMS, ProgramFailed
from benchmarks.systems import system as make

ROOT = Path(__file__).resolve().parents[1]


@dataclass(slots=True)
class Record:
    """One value, or why there is none."""

    measure: str
    system: str
    count: int
    round: int
    value: float | None = None
    driver_us: float | None = None
    total_us: float | None = None
    extra: dict[str, float] = field(default_factory=dict)
    error: str = ""


@dataclass(frozen=True, slots=True)
class Runner:
    """`timeout` is the most seconds that opening, one measure or one program may take."""

    workers: int
    timeout: float

    def session(self, system: str, takes: Sequence[tuple[str, int]], round: int) -> list[Record]:
        """Take measures in one process; after a hang the rest is taken in another."""
        if not make(system).is_installed():
            return [Record(name, system, count, round, error="not installed") for name, count in takes]
        records: list[Record] = []
        while len(records) < len(takes):
            left = takes[len(records) :]
            records += self._one_process(system, left, round)
        return records

    def program(self, name: str, system: str, round: int) -> Record:
        """Run a whole program."""
        record = Record(name, system, 1, round)
        made = make(system)
        if not made.is_installed():
            record.error = "not installed"
            return record
        with tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as scratch:
            try:
                facts = PROGRAMS[name].take(made, Path(scratch), self.timeout)
            except ProgramFailed as error:
                record.error = str(error)
            else:
                record.value, record.extra = facts["value"], facts["extra"]
        return record

    def _one_process(self, system: str, takes: Sequence[tuple[str, int]], round: int) -> list[Record]:
        """At least one record: what was measured, then the one that hung or broke the process, if any."""
        records: list[Record] = []
        opened = False
        with tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as scratch:
            log = Path(scratch) / "session.log"
            with log.open("wb") as output:
                process, reports = self._start(system, takes, scratch, output)
            trouble = ""
            try:
                for report in self._reports(reports):
                    step = report.pop("step")
                    if step == "opened":
                        opened = True
                    elif step != "closed":
                        name, count = takes[len(records)]
                        records.append(Record(name, system, count, round, **report))
            except TimeoutError as error:
                trouble = str(error)
                process.kill()
            finally:
                os.close(reports)
                clean_up(process)
            if len(records) < len(takes):
                trouble = trouble or _last_line(log) or f"exit code {process.returncode}"
                lost = takes[len(records) :] if not opened else takes[len(records) : len(records) + 1]
                records += [Record(name, system, count, round, error=trouble) for name, count in lost]
            elif trouble:
                records[-1].error = f"closing it: {trouble}"
        return records

    def _start(
        self, system: str, takes: Sequence[tuple[str, int]], scratch: str, output: Any
    ) -> tuple[subprocess.Popen[bytes], int]:
        reports, end = os.pipe()
        argv = [sys.executable, "-m", "benchmarks.session", "--system", system, "--workers", str(self.workers)]
        argv += ["--scratch", scratch, "--report", str(end), *(f"{name}={count}" for name, count in takes)]
        # The pools' workers import benchmarks.work from here; Parsl finds its programs on the PATH.
        path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        process = subprocess.Popen(
            argv, cwd=scratch, stdin=subprocess.DEVNULL, stdout=output, stderr=output, pass_fds=[end],
            env={**os.environ, "PYTHONPATH": path},
        )  # fmt: skip
        os.close(end)
        return process, reports

    def _reports(self, stream: int) -> Iterator[dict[str, Any]]:
        """Lines as they come; `TimeoutError` when none comes in time."""
        buffer = b""
        while True:
            deadline = time.monotonic() + self.timeout
            while b"\n" not in buffer:
                ready, _, _ = select.select([stream], [], [], max(0.0, deadline - time.monotonic()))
                if not ready:
                    raise TimeoutError(f"no end after {self.timeout:g} s")
                data = os.read(stream, 65536)
                if not data:
                    return
                buffer += data
            line, _, buffer = buffer.partition(b"\n")
            yield json.loads(line)


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1][:120] if lines else ""
