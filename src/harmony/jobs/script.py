"""The job script: one body for every batch system, and the names by which it reports."""

from __future__ import annotations

import contextlib
import os
import pkgutil
import re
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from harmony.jobs.launcher import Launcher
from harmony.jobs.spec import JobSpec
from harmony.jobs.staging import URI, StageOutFlags
from harmony.jobs.state import JobState

_REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
#: The letters of the marker files.
STATES = {"I": JobState.STAGE_IN, "S": JobState.ACTIVE, "O": JobState.STAGE_OUT, "C": JobState.CLEANUP}
#: Exit status of a job script that could not get as far as its program, or not cleanly away from it.
SETUP_FAILED = 121


@dataclass(frozen=True, slots=True)
class Marker:
    """What a job script has reported: that it reached a state, or that it ended (`code` is not None)."""

    job_id: str
    attempt: int
    time: float
    state: JobState | None = None
    code: int | None = None
    phase: str = ""
    name: str = ""

    @classmethod
    def parse(cls, name: str) -> Marker | None:
        """Read the name of a marker file; None for any other name."""
        parts = name.split(".")
        try:
            if len(parts) == 6 and parts[1] == "E":
                return cls(parts[0], int(parts[2]), int(parts[3]), None, int(parts[4]), parts[5], name)
            if len(parts) == 4:
                return cls(parts[0], int(parts[2]), int(parts[3]), STATES[parts[1]], name=name)
        except (KeyError, ValueError):
            pass
        return None


@dataclass(frozen=True)
class Place:
    """Where a job's script finds and leaves its files: one directory for all jobs of an executor.

    `script_name` is given where it differs from the job's id: a task of an array job.
    """

    directory: str
    job_id: str
    script_name: str = ""

    def _file(self, ending: str) -> str:
        return os.path.join(self.directory, f"{self.job_id}.{ending}")

    @property
    def news(self) -> str:
        """The directory of the marker files."""
        return os.path.join(self.directory, "news")

    @property
    def script(self) -> str:
        """The job script."""
        return os.path.join(self.directory, f"{self.script_name or self.job_id}.sh")

    @property
    def log(self) -> str:
        """What the script itself, pre-launch code and launchers print."""
        return self._file("out")

    @property
    def cancel_flag(self) -> str:
        """Exists once a cancel was asked for."""
        return self._file("cancel")

    def tidy(self, markers: Iterable[str]) -> None:
        """Delete the job's files, but for its last marker, which another program that follows it may want yet."""
        for path in (self.script, self.log, self.cancel_flag, self._file("nodes")):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
        for name in markers:
            with contextlib.suppress(FileNotFoundError):
                os.replace(os.path.join(self.news, name), os.path.join(self.directory, "ended", name))


def job_script(
    spec: JobSpec,
    place: Place,
    launcher: Launcher,
    *,
    directives: Sequence[str] = (),
    preamble: Sequence[str] = (),
    attempt: str = "0",
    array_index: int | None = None,
    redirect: bool = False,
    limit: float | None = None,
) -> str:
    """Return the whole script of a job.

    `limit` has the script itself end the program after so many seconds, where no scheduler does. A task of an array
    job has no directives, for its script is started by the array's, and must `redirect` what it prints to its log.
    `array_index` is what the program finds in ``PSIJ_ARRAY_INDEX``.
    """
    parts = [
        "#!/bin/bash",
        *directives,
        *_settings(place, attempt, redirect=redirect),
        *preamble,
        *_environment(spec, array_index),
        *_directory(spec),
        f"psij_nodefile {spec.resources_v1.computed_processes_per_node}",
        *_stage_in(spec),
        *_sourced("pre_launch", spec.pre_launch),
        *_program(spec, launcher, limit),
        *_sourced("post_launch", spec.post_launch),
        *_stage_out(spec),
        "psij_phase=done",
        'psij_end "$psij_code"',
    ]
    return "\n".join(parts) + "\n"


def array_script(directory: str, array_id: str, directives: list[str], index: str) -> str:
    """Return the script of an array job: each task goes on in the script of its own job."""
    task = f"{shlex.quote(os.path.join(directory, array_id))}.{index}.sh"
    return "\n".join(["#!/bin/bash", *directives, f"exec /bin/bash {task}"]) + "\n"


def expanded(text: str, *, keep_unset: bool) -> str:
    """Return shell text for a value in which ``${NAME}`` stands for a variable and nothing else means anything.

    A name that is not set gives nothing, or with `keep_unset` stays as it is written.
    """
    pieces: list[str] = []
    position = 0
    for match in _REFERENCE.finditer(text):
        literal, name = text[position : match.start()], match[1]
        pieces.append(shlex.quote(literal) if literal else "")
        pieces.append(f'"${{{name}-\\${{{name}\\}}}}"' if keep_unset else f'"${{{name}-}}"')
        position = match.end()
    rest = text[position:]
    if rest or not pieces:
        pieces.append(shlex.quote(rest))
    return "".join(pieces)


def path_text(path: Path | str) -> str:
    """Return shell text for a path; a leading ``~/`` is the home directory of where the job runs."""
    text = str(path)
    if text == "~":
        return '"$HOME"'
    return f'"$HOME"/{shlex.quote(text[2:])}' if text.startswith("~/") else shlex.quote(text)


@cache
def _library() -> str:
    data = pkgutil.get_data("harmony.jobs", "job.sh")
    assert data is not None
    return data.decode().rstrip()


def _settings(place: Place, attempt: str, *, redirect: bool) -> list[str]:
    lines = [
        f"psij_id={place.job_id} psij_dir={shlex.quote(place.directory)} psij_news={shlex.quote(place.news)}",
        f"psij_attempt={attempt}",
    ]
    if redirect:
        lines.append(f"exec >{shlex.quote(place.log)} 2>&1")
    return [*lines, _library(), f"export PSIJ_JOB_ID={place.job_id}"]


def _environment(spec: JobSpec, array_index: int | None) -> list[str]:
    lines = [] if array_index is None else [f"export PSIJ_ARRAY_INDEX={array_index}"]
    return lines + [
        f"export {name}={expanded(value, keep_unset=False)}" for name, value in (spec.environment or {}).items()
    ]


def _directory(spec: JobSpec) -> list[str]:
    given = "" if spec.directory is None else str(spec.directory)
    # Batch systems differ in where a script begins; a job begins where its submitter is, on all of them.
    where = path_text(given if given.startswith("~") else os.path.abspath(given))
    return [
        "psij_phase=directory",
        f"{{ [ -d {where} ] || mkdir -p -- {where}; }} && cd -- {where} || "
        f'psij_fail {SETUP_FAILED} "cannot run in "{where}',
    ]


def _sourced(phase: str, path: Path | None) -> list[str]:
    if path is None:
        return []
    # errexit: a module that cannot be loaded must not be noticed hours later
    return [f"psij_phase={phase}", "set -e", f". {path_text(path if '/' in str(path) else f'./{path}')}", "set +e"]


def _program(spec: JobSpec, launcher: Launcher, limit: float | None) -> list[str]:
    executable = path_text(spec.executable or "")
    words = [executable, *(expanded(item, keep_unset=True) for item in spec.arguments or [])]
    lines = ["psij_phase=launch"]
    if launcher.starts_here:
        lines.append(f'type -P -- {executable} >/dev/null || psij_fail 127 {executable}": there is no such program"')
        if not spec.inherit_environment:
            names = ["PSIJ_NODEFILE", "PSIJ_JOB_ID", "PSIJ_ARRAY_INDEX", *(spec.environment or {})]
            words = ["env", "-i", *(f'${{{name}+"{name}=${name}"}}' for name in names), *words]
    command = launcher.shell_command(spec, " ".join(words))
    if limit is not None:
        lines.append(f"psij_limit={limit:g}")
    streams = (
        f"<{_stream(spec.stdin_path)} >{_stream(spec.stdout_path)} "
        + ("2>&1" if spec.stderr_path == spec.stdout_path is not None else f"2>{_stream(spec.stderr_path)}")
    )
    run = [f"{command} {streams} &", "psij_pid=$!", "psij_wait", "psij_code=$?", "psij_pid="]
    return [*lines, "psij_mark S", "psij_phase=run", *run]


def _stream(path: Path | None) -> str:
    return "/dev/null" if path is None else path_text(path)


def _stage_in(spec: JobSpec) -> list[str]:
    if not spec.stage_in:
        return []
    lines = ["psij_phase=stage_in", "psij_mark I"]
    return lines + [_stage_line(item.mode.name, item.source, item.target) for item in spec.stage_in]


def _stage_line(mode: str, source: URI | Path, target: URI | Path, flag: str = "must") -> str:
    ends = [path_text(_local(end)) for end in (source, target)]
    return f"psij_stage {mode} {ends[0]} {ends[1]} {flag}"


def _local(end: URI | Path) -> str:
    """The path of a staged file; a relative one that the submitting process names is relative to that process."""
    if isinstance(end, Path):
        return str(end)
    path = end.file_path or ""
    return path if path.startswith("~/") else os.path.abspath(path)


def _condition(flags: StageOutFlags) -> str:
    names = [name for name in ("SUCCESS", "ERROR", "CANCEL") if flags & StageOutFlags[f"ON_{name}"]]
    return "|".join(names)


def _stage_out(spec: JobSpec) -> list[str]:
    lines = []
    if spec.stage_out:
        lines += ["psij_phase=stage_out", "psij_mark O"]
        for item in spec.stage_out:
            flag = "present" if item.flags & StageOutFlags.IF_PRESENT else "must"
            line = _stage_line(item.mode.name, item.source, item.target, flag)
            lines.append(f'case $(psij_how "$psij_code") in {_condition(item.flags)}) {line} ;; esac')
    if spec.cleanup:
        paths = " ".join(path_text(f"./{path}") for path in spec.cleanup)
        lines += ["psij_phase=cleanup", "psij_mark C"]
        condition = _condition(spec.cleanup_flags.normalized)
        lines.append(f'case $(psij_how "$psij_code") in {condition}) rm -rf -- {paths} ;; esac')
    return lines
