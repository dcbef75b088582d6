"""Starting a job's program: without a shell in between where the specification asks for nothing that needs one."""

from __future__ import annotations

import contextlib
import copy
import errno
import os
import re
import stat
import subprocess
from pathlib import Path

from harmony.errors import InvalidJobException, SubmitException
from harmony.jobs.launcher import DEFAULT_LAUNCHER_NAME, Launcher
from harmony.jobs.resource_spec import ResourceSpecV1
from harmony.jobs.script import Frame, Place, job_script
from harmony.jobs.shell import Here
from harmony.jobs.spec import JobSpec

_REFERENCE = re.compile(rb"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
#: What may be otherwise in a moment.
_TRANSIENT = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.ENOSPC, errno.EDQUOT}
#: What a job script needs itself, when the job's program is to see nothing of ours.
_BARE = ("PATH", "HOME", "USER", "LOGNAME", "SHELL", "TMPDIR")
#: A signal to the job reaches its whole process group; the script need not pass it on for a second time.
_PREAMBLE = ["psij_pass_on() { :; }"]

Environment = dict[bytes, bytes]


class NeedsScript(Exception):
    """This specification cannot be started without a shell."""


def is_plain(spec: JobSpec) -> bool:
    """Whether nothing is to be done but to run one program."""
    if spec.pre_launch or spec.post_launch or spec.stage_in or spec.stage_out or spec.cleanup:
        return False
    if spec.launcher not in (None, DEFAULT_LAUNCHER_NAME) or spec.launcher_options:
        return False
    return spec.resources is None or spec.resources_v1.computed_process_count == 1


def on_one_node(spec: JobSpec) -> JobSpec:
    """The same job with all its processes on this machine."""
    if spec.resources is None or spec.resources_v1.computed_node_count == 1:
        return spec
    asked, here = spec.resources_v1, copy.copy(spec)
    here.resources = ResourceSpecV1(
        process_count=asked.computed_process_count,
        cpu_cores_per_process=asked.cpu_cores_per_process,
        gpu_cores_per_process=asked.gpu_cores_per_process,
        memory=asked.memory,
    )
    return here


def start(spec: JobSpec, job_id: str, array_index: int | None, null: int) -> int:
    """Start the program of a plain job as the leader of a new session; return its process id.

    `null` is a descriptor of ``/dev/null``. Raises `NeedsScript`, or as `JobExecutor.submit` does; nothing was started
    then.
    """
    environment = _environment(spec, job_id, array_index)
    executable = _at_home(spec.executable or "", environment)
    arguments = [_expanded(item, environment) for item in spec.arguments or ()]
    folder = None if spec.directory is None else _at_home(str(spec.directory), environment)
    if folder is not None:
        try:
            os.makedirs(folder, exist_ok=True)
        except OSError as error:
            raise _refused(f"directory={str(spec.directory)!r} cannot be used", error) from error
    if spec.stdin_path is None and spec.stdout_path is None and spec.stderr_path is None:
        return _spawn(spec, [executable, *arguments], folder, environment, (null, null, null))
    with contextlib.ExitStack() as opened:
        streams = _streams(spec, folder, environment, null, opened)
        return _spawn(spec, [executable, *arguments], folder, environment, streams)


def _spawn(
    spec: JobSpec,
    command: list[str | bytes],
    folder: str | None,
    environment: Environment,
    streams: tuple[int, int, int],
) -> int:
    try:
        return _ours(
            subprocess.Popen(  # noqa: S603  the program is what the user asked for
                command,
                stdin=streams[0],
                stdout=streams[1],
                stderr=streams[2],
                cwd=folder,
                env=environment,
                start_new_session=True,
            )
        )
    except UnicodeEncodeError as error:
        raise InvalidJobException(f"the job holds a text that this system cannot encode: {error}", error) from error
    except OSError as error:
        if error.errno == errno.ENOEXEC:
            raise NeedsScript from error  # a script without #!, which is a shell's
        if error.filename == folder and folder is not None:
            raise _refused(f"directory={str(spec.directory)!r} cannot be used", error) from error
        where = "" if "/" in (spec.executable or "") else " on the job's PATH"
        raise _refused(f"executable={spec.executable!r} cannot be started{where}", error) from error


def script_text(
    spec: JobSpec, place: Place, launcher: Launcher, array_index: int | None = None, limit: float | None = None
) -> str:
    """Return a job's script."""
    return job_script(spec, place, launcher, Frame(preamble=_PREAMBLE), array_index=array_index, limit=limit)


def start_script(
    spec: JobSpec, place: Place, launcher: Launcher, array_index: int | None, limit: float | None, log: Path | None
) -> int:
    """Write a job's script and start it as the leader of a new session. Raises as `start` does.

    With `limit` the script ends the program after so many seconds. What it prints goes to `log`, or else to the
    place's own.
    """
    text = script_text(spec, place, launcher, array_index, limit)
    environment = None if spec.inherit_environment else {name: os.environ[name] for name in _BARE if name in os.environ}
    flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | (os.O_APPEND if log else os.O_TRUNC)
    try:
        Here().put(place.script, text, executable=True)
        output = os.open(log or place.log, flags, 0o600)
        try:
            return _ours(
                subprocess.Popen(  # noqa: S603  the job script
                    ["/bin/bash", place.script],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    env=environment,
                    start_new_session=True,
                )
            )
        finally:
            os.close(output)
    except UnicodeEncodeError as error:
        raise InvalidJobException(f"the job holds a text that this system cannot encode: {error}", error) from error
    except OSError as error:
        raise _refused("the job script cannot be written and started", error) from error


def _ours(process: subprocess.Popen[bytes]) -> int:
    """Take over the waiting: `Popen` would call an exit status that someone else has taken 0."""
    process.returncode = 0
    return process.pid


def _refused(what: str, error: OSError) -> SubmitException:
    return SubmitException(f"{what}: {error.strerror or error}", error, error.errno in _TRANSIENT)


def _environment(spec: JobSpec, job_id: str, array_index: int | None) -> Environment:
    """What the program sees. ``${NAME}`` in a value is what was set before it, or else what is inherited."""
    known: Environment = os.environb.copy()
    ours = {b"PSIJ_JOB_ID": job_id.encode()}
    if array_index is not None:
        ours[b"PSIJ_ARRAY_INDEX"] = b"%d" % array_index
    known.update(ours)
    if spec.environment:
        if not spec.inherit_environment:
            known = {name: value for name, value in known.items() if name.decode(errors="replace") in _BARE} | ours
        try:
            for name, text in spec.environment.items():
                value = os.fsencode(text)
                if b"${" in value:
                    value = _REFERENCE.sub(lambda match: known.get(match[1], b""), value)
                known[name.encode()] = ours[name.encode()] = value
        except UnicodeEncodeError as error:
            raise InvalidJobException(f"environment: {error}", error) from error
    return known if spec.inherit_environment else ours


def _expanded(text: str, environment: Environment) -> str | bytes:
    """Put the job's variables in; a name that is not set stays as it is written."""
    if "${" not in text:
        return text
    return _REFERENCE.sub(lambda match: environment.get(match[1], match[0]), os.fsencode(text))


def _at_home(path: str, environment: Environment) -> str:
    if path != "~" and not path.startswith("~/"):
        return path
    home = environment.get(b"HOME")
    return (os.fsdecode(home) if home else os.path.expanduser("~")) + path[1:]


def _streams(
    spec: JobSpec, folder: str | None, environment: Environment, null: int, opened: contextlib.ExitStack
) -> tuple[int, int, int]:
    out_flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    found = []
    for name, flags in (("stdin_path", os.O_RDONLY), ("stdout_path", out_flags), ("stderr_path", out_flags)):
        path: Path | None = getattr(spec, name)
        if path is None:
            found.append(null)
        elif name == "stderr_path" and path == spec.stdout_path:
            found.append(found[1])
        else:
            where = os.path.join(folder or "", _at_home(str(path), environment))
            try:
                if os.path.exists(where) and stat.S_ISFIFO(os.stat(where).st_mode):
                    raise NeedsScript  # opening it waits for who is to be at the other end
                descriptor = os.open(where, flags | os.O_CLOEXEC, 0o666)
            except OSError as error:
                raise _refused(f"{name}={str(path)!r} cannot be opened", error) from error
            opened.callback(os.close, descriptor)
            found.append(descriptor)
    return found[0], found[1], found[2]
