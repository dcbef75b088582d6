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
#: How much of what a job script has printed is shown, in bytes.
_LOG_TAIL = 1000
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
    def ended(self) -> str:
        """Where the last markers of jobs are kept that their submitter knows to have ended."""
        return os.path.join(self.directory, "ended")

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

    def printed(self) -> str:
        """What the job script itself has printed, the end of it, to be shown with a failure."""
        try:
            with open(self.log, "rb") as file:
                file.seek(max(0, os.fstat(file.fileno()).st_size - _LOG_TAIL))
                return file.read().decode(errors="replace").strip()
        except OSError:
            return ""

    def tidy(self, markers: Iterable[str]) -> None:
        """Delete the job's files, but for its last marker, which another program that follows it may want yet."""
        for path in (self.script, self.log, self.cancel_flag, self._file("nodes")):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
        for name in markers:
            with contextlib.suppress(FileNotFoundError):
                os.replace(os.path.join(self.news, name), os.path.join(self.ended, name))


@dataclass(frozen=True)
class Frame:
    """What a batch system puts into a job's script: `Scheduler` says what each means.

    A task of an array job has no directives, for its script is started by the array's, and must `redirect` what it
    prints to its log.
    """

    directives: Sequence[str] = ()
    preamble: Sequence[str] = ()
    attempt: str = "0"
    redirect: bool = False


_BARE = Frame()


def job_script(
    spec: JobSpec,
    place: Place,
    launcher: Launcher,
    frame: Frame = _BARE,
    *,
    array_index: int | None = None,
    limit: float | None = None,
) -> str:
    """Return the whole script of a job.

    `limit` has the script itself end the program after so many seconds, where no scheduler does. `array_index` is what
    the program finds in ``PSIJ_ARRAY_INDEX``.
    """
    parts = [
        "#!/bin/bash",
        *frame.directives,
        *_settings(place, frame.attempt, redirect=frame.redirect),
        *_finish(spec),
        *frame.preamble,
        f"psij_nodefile {spec.resources_v1.computed_processes_per_node}",
        *_environment(spec, place, array_index, alone=launcher.starts_here and not spec.inherit_environment),
        *_directory(spec),
        *_stage_in(spec),
        *_sourced("pre_launch", spec.pre_launch),
        *_program(spec, launcher, limit),
        *_sourced("post_launch", spec.post_launch),
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
    """Return shell text for a path that no command takes for an option.

    A leading ``~/`` is the home directory of where the job runs.
    """
    text = str(path)
    if text == "~":
        return '"$HOME"'
    if text.startswith("~/"):
        return f'"$HOME"/{shlex.quote(text[2:])}'
    return shlex.quote(text if text.startswith(("/", "./")) else f"./{text}")


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
    if redirect:  # a failing exec would end the script before it can report
        log = shlex.quote(place.log)
        lines.append(f"if true 2>/dev/null >{log}; then exec >{log} 2>&1; fi")
    return [*lines, _library()]


def _environment(spec: JobSpec, place: Place, array_index: int | None, *, alone: bool) -> list[str]:
    lines = ["psij_alone", "export PSIJ_NODEFILE"] if alone else []
    lines.append(f"export PSIJ_JOB_ID={place.job_id}")
    if array_index is not None:
        lines.append(f"export PSIJ_ARRAY_INDEX={array_index}")
    return lines + [
        f"export {name}={expanded(value, keep_unset=False)}" for name, value in (spec.environment or {}).items()
    ]


def _directory(spec: JobSpec) -> list[str]:
    given = "" if spec.directory is None else str(spec.directory)
    # Batch systems differ in where a script begins; a job begins where its submitter is, on all of them.
    where = path_text(given if given.startswith("~") else os.path.abspath(given))
    return ["psij_phase=directory", f"psij_enter {where}"]


def _sourced(phase: str, path: Path | None) -> list[str]:
    if path is None:
        return []
    # At the top level, so that what it declares is seen; errexit: a module that cannot be loaded must not be noticed
    # hours later.
    return [f"psij_phase={phase}", "set -e", f". {path_text(path)}", "psij_sourced"]


def _program(spec: JobSpec, launcher: Launcher, limit: float | None) -> list[str]:
    name = _executable(spec.executable or "")
    words = [name, *(expanded(item, keep_unset=True) for item in spec.arguments or [])]
    command = launcher.shell_command(spec, " ".join(words))
    prefix = launcher.prefix(spec)
    lines = ["psij_phase=launch"]
    if launcher.starts_here or prefix:
        lines.append(f"psij_find {name if launcher.starts_here else shlex.quote(prefix[0])}")
    if limit is not None:
        lines.append(f"psij_limit={limit:g}")
    same = spec.stderr_path == spec.stdout_path is not None
    error = "2>&1" if same else f"2>{_stream(spec.stderr_path)}"
    return [
        *lines,
        "{",
        "psij_phase=run",
        "psij_mark S",
        f"( {command} ) <&0 &" if launcher.starts_here else f"{command} <&0 &",
        "psij_pid=$!",
        '[ -z "$psij_signal" ] || psij_pass_on "$psij_signal" || :',  # which came while the program was being started
        f"}} <{_stream(spec.stdin_path)} >{_stream(spec.stdout_path)} {error} ||",
        f"psij_fail {SETUP_FAILED} 'an input or output file of the program cannot be opened'",
        "psij_wait",
    ]


def _executable(name: str) -> str:
    return path_text(name) if name.startswith(("~/", "/")) else shlex.quote(name)


def _stream(path: Path | None) -> str:
    if path is None:
        return "/dev/null"
    # Not relative to where pre-launch code may have gone.
    return path_text(path) if str(path).startswith(("~/", "/")) else f'"$psij_home"/{shlex.quote(str(path))}'


def _stage_in(spec: JobSpec) -> list[str]:
    if not spec.stage_in:
        return []
    lines = ["psij_phase=stage_in", "psij_mark I"]
    return lines + [f"psij_in {_ends(item.mode.name, item.source, item.target)}" for item in spec.stage_in]


def _ends(mode: str, source: URI | Path, target: URI | Path) -> str:
    return " ".join([mode, *(path_text(_local(end)) for end in (source, target))])


def _local(end: URI | Path) -> str:
    """The path of a staged file; a relative one that the submitting process names is relative to that process."""
    if isinstance(end, Path):
        return str(end)
    path = end.file_path or ""
    return path if path.startswith("~/") else os.path.abspath(path)


def _conditions(flags: StageOutFlags) -> str:
    names = [name for name in ("SUCCESS", "ERROR", "CANCEL") if flags.normalized & StageOutFlags[f"ON_{name}"]]
    return f"'{' '.join(names)}'"


def _finish(spec: JobSpec) -> list[str]:
    """What is done at the end, however the job has ended: a function, for that may be anywhere in the script."""
    lines = []
    if spec.stage_out:
        lines += ["psij_phase=stage_out", "psij_mark O"]
    for item in spec.stage_out or []:
        flag = "present" if item.flags & StageOutFlags.IF_PRESENT else "must"
        ends = _ends(item.mode.name, item.source, item.target)
        lines.append(f'psij_out "$1" {_conditions(item.flags)} {ends} {flag}')
    if spec.cleanup:
        paths = " ".join(path_text(f"./{path}") for path in spec.cleanup)
        lines += ["psij_phase=cleanup", "psij_mark C"]
        lines.append(f'psij_cleanup "$1" {_conditions(spec.cleanup_flags)} {paths}')
    return ["psij_finish() {", *lines, "}"] if lines else []
