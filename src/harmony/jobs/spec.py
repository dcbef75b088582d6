"""What is to run: the specification of a job, in PSI/J's words."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from harmony.errors import InvalidJobException, shown
from harmony.jobs.attributes import JobAttributes
from harmony.jobs.resource_spec import ResourceSpec, ResourceSpecV1
from harmony.jobs.staging import StageIn, StageOut, StageOutFlags

#: Linux passes no argument and no variable that is longer, in bytes.
_LONGEST = 128 * 1024
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class InvalidTypeException(InvalidJobException, TypeError):
    """A field of the specification holds something of the wrong type."""


class _PathField:
    """An attribute that turns a text into a Path."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = f"_{name}"

    def __get__(self, instance: Any, owner: type) -> Path | None:
        found: Path | None = instance.__dict__.get(self.name)
        return found

    def __set__(self, instance: Any, value: str | os.PathLike[str] | None) -> None:
        if value is not None and not isinstance(value, str | os.PathLike):
            raise InvalidTypeException(f"{self.name[1:]}={shown(value)} must be a path")
        instance.__dict__[self.name] = None if value is None else Path(value)


class JobSpec:
    """What a job runs, where, with which files and resources.

    - `executable` is a path or a name found on the job's PATH; `arguments` reach it as they are, except that
      ``${NAME}`` stands for the job's environment variable of that name if there is one.
    - `directory`: where it runs; made if it does not exist.
    - `environment`: added to what is inherited. Numbers are taken as texts. ``${NAME}`` in a value is replaced, as
      in ``{"PATH": "/opt/x/bin:${PATH}"}``; nothing else in it means anything.
    - `inherit_environment=False`: the job sees `environment` and nothing else.
    - `stdin_path`, `stdout_path`, `stderr_path`: relative to `directory`; without one the stream is ``/dev/null``.
    - `pre_launch`, `post_launch`: paths of shell scripts sourced before and after, on the first node.
    - `launcher`: what starts the processes (``single`` if not given); `launcher_options` are added to its command.
    - `stage_in`, `stage_out`: in order; `cleanup`: paths inside `directory` deleted at the end, as `cleanup_flags` say.

    Paths may begin with ``~/``. What is wrong is said by `check`, which every `submit` calls.
    """

    directory = _PathField()
    stdin_path = _PathField()
    stdout_path = _PathField()
    stderr_path = _PathField()
    pre_launch = _PathField()
    post_launch = _PathField()

    def __init__(  # noqa: PLR0913, PLR0917  the fields of the specification, in psij-python's order
        self,
        executable: str | os.PathLike[str] | None = None,
        arguments: Sequence[str] | None = None,
        directory: str | os.PathLike[str] | None = None,
        name: str | None = None,
        inherit_environment: bool = True,
        environment: Mapping[str, str | int] | None = None,
        stdin_path: str | os.PathLike[str] | None = None,
        stdout_path: str | os.PathLike[str] | None = None,
        stderr_path: str | os.PathLike[str] | None = None,
        resources: ResourceSpec | None = None,
        attributes: JobAttributes | None = None,
        pre_launch: str | os.PathLike[str] | None = None,
        post_launch: str | os.PathLike[str] | None = None,
        launcher: str | None = None,
        stage_in: Iterable[StageIn] | None = None,
        stage_out: Iterable[StageOut] | None = None,
        cleanup: Iterable[str | os.PathLike[str]] | None = None,
        cleanup_flags: StageOutFlags = StageOutFlags.ALWAYS,
        launcher_options: Sequence[str] | None = None,
    ) -> None:
        self.executable = os.fspath(executable) if isinstance(executable, os.PathLike) else executable
        self.arguments = arguments if isinstance(arguments, list) else _listed("arguments", arguments)
        self.directory = directory
        self._name = name
        self.inherit_environment = inherit_environment
        self.environment = environment
        self.stdin_path = stdin_path
        self.stdout_path = stdout_path
        self.stderr_path = stderr_path
        self.resources = resources
        self.attributes = JobAttributes() if attributes is None else attributes
        self.pre_launch = pre_launch
        self.post_launch = post_launch
        self.launcher = launcher
        self.launcher_options = _listed("launcher_options", launcher_options)
        self.stage_in = stage_in
        self.stage_out = stage_out
        self.cleanup = cleanup
        self.cleanup_flags = cleanup_flags

    @property
    def name(self) -> str | None:
        """The job's name, as the scheduler shows it; the executable if none is given."""
        return self._name if self._name is not None else self.executable

    @name.setter
    def name(self, value: str | None) -> None:
        self._name = value

    @property
    def environment(self) -> dict[str, str] | None:
        """The variables that are set for the job; numbers given become texts."""
        return self._environment

    @environment.setter
    def environment(self, value: Mapping[str, str | int] | None) -> None:
        if value is not None and not isinstance(value, Mapping):
            raise InvalidTypeException(f"environment={shown(value)} must be a mapping of names to texts")
        # A value of any other type stays as it is, for `check` to name it.
        taken: Any = value if value is None else {key: _number_as_text(item) for key, item in value.items()}
        self._environment: dict[str, str] | None = taken

    @property
    def stage_in(self) -> list[StageIn] | None:
        """What is brought, in this order."""
        return self._stage_in

    @stage_in.setter
    def stage_in(self, value: Iterable[StageIn] | None) -> None:
        self._stage_in = _listed("stage_in", value)

    @property
    def stage_out(self) -> list[StageOut] | None:
        """What is taken away, in this order."""
        return self._stage_out

    @stage_out.setter
    def stage_out(self, value: Iterable[StageOut] | None) -> None:
        self._stage_out = _listed("stage_out", value)

    @property
    def cleanup(self) -> list[Path] | None:
        """What is deleted at the end."""
        return self._cleanup

    @cleanup.setter
    def cleanup(self, value: Iterable[str | os.PathLike[str]] | None) -> None:
        paths = _listed("cleanup", value)
        for path in paths or ():
            if not isinstance(path, str | os.PathLike):
                raise InvalidTypeException(f"cleanup: {shown(path)} must be a path")
        self._cleanup = None if paths is None else [Path(path) for path in paths]

    @property
    def resources_v1(self) -> ResourceSpecV1:
        """The resources, or those of one process; the specification itself is not changed."""
        if self.resources is None:
            return ResourceSpecV1()
        if not isinstance(self.resources, ResourceSpecV1):
            raise InvalidJobException(f"resources={shown(self.resources)} must be a ResourceSpecV1")
        return self.resources

    def check(self) -> None:
        """Raise `InvalidJobException` naming the field that cannot be, its value, and what to write instead."""
        _check_text("executable", self.executable)
        if not self.executable:
            raise InvalidJobException("executable is not set; it names what the job runs")
        _check_text("name", self._name)
        _check_text("launcher", self.launcher)
        _check_texts("arguments", self.arguments)
        _check_texts("launcher_options", self.launcher_options)
        _check_environment(self._environment)
        if not isinstance(self.inherit_environment, bool):
            raise InvalidTypeException(f"inherit_environment={shown(self.inherit_environment)} must be True or False")
        if not isinstance(self.attributes, JobAttributes):
            raise InvalidTypeException(f"attributes={shown(self.attributes)} must be JobAttributes")
        for path in ("directory", "stdin_path", "stdout_path", "stderr_path", "pre_launch", "post_launch"):
            _check_text(path, None if getattr(self, path) is None else str(getattr(self, path)))
        self.attributes.check()
        self.resources_v1.check()
        self._check_staging()

    def _check_staging(self) -> None:
        for name, kind in (("stage_in", StageIn), ("stage_out", StageOut)):
            for item in getattr(self, name) or ():
                if not isinstance(item, kind):
                    raise InvalidTypeException(f"{name}: {shown(item)} must be a {kind.__name__}")
        uris = [("stage_in", "source", item.source) for item in self.stage_in or ()]
        uris += [("stage_out", "target", item.target) for item in self.stage_out or ()]
        for name, end, uri in uris:
            if uri.file_path is None:
                raise InvalidJobException(
                    f"{name}: the {end} {str(uri)!r} is not a file of this machine; only paths and file:// URIs "
                    "can be staged here"
                )
        for path in self.cleanup or ():
            if path.is_absolute() or str(path).startswith("~") or ".." in path.parts or path == Path("."):
                raise InvalidJobException(f"cleanup: {str(path)!r} must be a path inside the job's directory")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, JobSpec):
            return NotImplemented
        return {**vars(self), "_name": self.name} == {**vars(other), "_name": other.name}

    __hash__ = None  # type: ignore[assignment]  # it can be changed

    def __repr__(self) -> str:
        given = {name.lstrip("_"): value for name, value in vars(self).items() if value not in (None, [], {})}
        return f"JobSpec({', '.join(f'{name}={shown(value)}' for name, value in given.items())})"


def _number_as_text(value: object) -> object:
    return str(value) if type(value) is int else value


def _listed(name: str, values: Iterable[Any] | None) -> list[Any] | None:
    if values is None:
        return None
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        raise InvalidTypeException(f"{name}={shown(values)} must be a list")
    return list(values)


def _check_text(name: str, value: object) -> None:
    if value is not None and not isinstance(value, str):
        raise InvalidTypeException(f"{name}={shown(value)} must be a text")
    if value is not None and "\0" in value:
        raise InvalidJobException(f"{name}={shown(value)} must not hold a NUL character")
    if value is not None and len(value) >= _LONGEST // 4 and len(os.fsencode(value)) >= _LONGEST:
        raise InvalidJobException(f"{name}={shown(value)} is too long for a program's start; put it into a file")


def _check_texts(name: str, values: object) -> None:
    if values is None:
        return
    if not isinstance(values, list | tuple):
        raise InvalidTypeException(f"{name}={shown(values)} must be a list of texts")
    for index, value in enumerate(values):
        if value is None:
            raise InvalidTypeException(f"{name}[{index}]=None must be a text")
        _check_text(f"{name}[{index}]", value)


def _check_environment(environment: Mapping[str, str] | None) -> None:
    for name, value in (environment or {}).items():
        if not isinstance(name, str):
            raise InvalidTypeException(f"environment: the name {shown(name)} must be a text")
        if not _NAME.fullmatch(name):
            raise InvalidJobException(f"environment: {shown(name)} cannot be the name of a variable in a job script")
        if not isinstance(value, str):
            raise InvalidTypeException(f"environment[{shown(name)}]={shown(value)} must be a text or a whole number")
        _check_text(f"environment[{shown(name)}]", value)
