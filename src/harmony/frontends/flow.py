"""Flow: plain functions that become tasks when they are called inside a workflow."""

from __future__ import annotations

import functools
import inspect
import os
import re
import typing
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from typing import Any, Generic, TypeVar, overload

from harmony.core import graph
from harmony.core.current import current, submitter
from harmony.core.data import OUTPUT, File
from harmony.core.future import TaskFuture
from harmony.core.retry import Retry
from harmony.core.task import Call, Command, CommandResult, Join, Options, Task, Template
from harmony.errors import ConfigError
from harmony.resources import resources

R = TypeVar("R")
_NONE: dict[str, Any] = {}  # one for all calls without keywords; nobody writes to it
_new = tuple.__new__  # a named tuple at half the price of calling its class; two are made for every call
_RESOURCES = frozenset({"cores", "gpus", "ranks", "nodes", "memory", "exclusive"})
_OPTIONS = frozenset({"walltime", "retries", "environment", "directory", "on", "cache", "relevant"})
_SHAPE = frozenset({"name", "outputs"})
_STREAMS = ("stdin", "stdout", "stderr")


class TaskFunction(Generic[R]):
    """A function whose calls are tasks. `fn` is the plain function; `with_options` makes a variant."""

    def __init__(self, fn: Callable[..., Any], settings: Mapping[str, Any]) -> None:
        if not callable(fn):
            raise ConfigError(f"{self._word} decorates a function, not {fn!r}; options go by keyword")
        if inspect.iscoroutinefunction(fn):
            raise ConfigError(f"{fn.__name__} is async; a task is a plain function, so call asyncio.run inside one")
        functools.update_wrapper(self, fn)
        self.fn = fn
        self._settings = dict(settings)
        self.name = str(settings.get("name") or getattr(fn, "__name__", type(fn).__name__))
        for key in ("name", "on"):
            if not isinstance(settings.get(key), (str, type(None))):
                raise ConfigError(f"{key}={settings[key]!r} must be a text")
        self.options = make_options(self._word, settings, self._own())
        self._written = _output_parameters(fn, settings.get("outputs", ()))
        self._signature = _signature_to_bind(fn, self._written)

    __name__: str
    _word = "@task"

    @classmethod
    def _own(cls) -> frozenset[str]:
        return _SHAPE

    def __call__(self, *args: Any, **kwargs: Any) -> TaskFuture[R]:
        """Submit the call to the open workflow; returns at once."""
        workflow = current.get() or submitter(self.name)
        future: Any = workflow.submit_task(self.make_task(args, kwargs))
        return future  # type: ignore[no-any-return]

    def make_task(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Task:
        """Return the task that a call with these arguments is, without submitting it."""
        if self._signature is None:
            return _new(Task, (_new(Call, (self.fn, args, kwargs or _NONE)), self.name, self.options, (), ()))
        args, kwargs, outputs = self._bind(args, kwargs)
        return Task(Call(self.fn, args, kwargs), self.name, self.options, (), outputs)

    def with_options(self, **settings: Any) -> TaskFunction[R]:
        """Return the same function with some of the decorator's options changed."""
        return type(self)(self.fn, {**self._settings, **settings})

    def _bind(
        self, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any], tuple[File, ...]]:
        assert self._signature is not None
        parallel = self.options.resources.is_parallel  # then `comm` may be left out
        bind = self._signature.bind_partial if parallel else self._signature.bind
        bound = bind(*args, **kwargs)
        bound.apply_defaults()
        outputs: list[File] = []
        for name in self._written:
            value = bound.arguments[name]
            value = bound.arguments[name] = _as_files(value)
            futures: list[Future[Any]] = []
            graph.find(value, futures, outputs)
            if futures:
                raise ConfigError(f"{self.name}: output {name!r} is a future; the path of an output must be known")
        return bound.args, bound.kwargs, tuple(dict.fromkeys(outputs))

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return self if instance is None else BoundTask(self, instance)

    def __repr__(self) -> str:
        return f"<{self._word} {self.name}, {self.options.resources}>"


class BoundTask(Generic[R]):
    """A method that is a task, of one object, which travels as its first argument."""

    def __init__(self, unbound: TaskFunction[R], instance: Any) -> None:
        self._unbound = unbound
        self._instance = instance

    def __call__(self, *args: Any, **kwargs: Any) -> TaskFuture[R]:
        """See `TaskFunction`."""
        return self._unbound(self._instance, *args, **kwargs)

    def make_task(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Task:
        """See `TaskFunction`."""
        return self._unbound.make_task((self._instance, *args), kwargs)

    def with_options(self, **settings: Any) -> BoundTask[R]:
        """See `TaskFunction`."""
        return BoundTask(self._unbound.with_options(**settings), self._instance)

    def fn(self, *args: Any, **kwargs: Any) -> Any:
        """Call the plain method."""
        return self._unbound.fn(self._instance, *args, **kwargs)


class CommandFunction(TaskFunction[CommandResult]):
    """A function that returns a command; its calls are tasks that run it."""

    _word = "@command"

    @classmethod
    def _own(cls) -> frozenset[str]:
        return _SHAPE.union(_STREAMS)

    def make_task(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Task:
        """Return the task. The command is built now, or when the futures it needs have ended."""
        outputs: tuple[File, ...] = ()
        if self._signature is not None:
            args, kwargs, outputs = self._bind(args, kwargs)
        futures: list[Future[Any]] = []
        files: list[File] = []
        graph.find((args, kwargs), futures, files)
        streams = {key: self._settings.get(key) for key in _STREAMS}
        files += [streams["stdin"]] if isinstance(streams["stdin"], File) else []
        outputs += tuple(file for key in _STREAMS[1:] if isinstance(file := streams[key], File))
        inputs = tuple(file for file in files if file not in outputs)
        work = Template(self._build, args, kwargs) if futures else self._build(*args, **kwargs)
        return Task(work, self.name, self.options, inputs, outputs)

    def _build(self, *args: Any, **kwargs: Any) -> Command:
        built = self.fn(*args, **kwargs)
        if isinstance(built, Command):
            return built
        streams = {key: _text(self._settings[key]) for key in _STREAMS if self._settings.get(key) is not None}
        if isinstance(built, str):
            return Command(built, **streams)
        if isinstance(built, Iterable) and not isinstance(built, bytes):
            return Command(tuple(_text(part) for part in built), **streams)
        raise ConfigError(f"{self.name} must return a list, a text or a Command, not {type(built).__name__}: {built!r}")


class JoinFunction(TaskFunction[Any]):
    """A function that runs in the driver, calls tasks and returns their futures."""

    _word = "@join"

    def __init__(self, fn: Callable[..., Any], settings: Mapping[str, Any]) -> None:
        for key in settings:
            if key not in ("name", "retries"):
                raise ConfigError(f"@join has no option {key!r}: it runs in the driver; it has: name, retries")
        super().__init__(fn, settings)

    def make_task(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Task:
        """Return the task; it ends when the futures that the function returns have ended."""
        return Task(Join(_InWorkflow(self.fn, submitter(self.name)), args, kwargs), self.name, self.options)


class _InWorkflow:
    """Calls a function with a workflow open, in whichever thread."""

    def __init__(self, fn: Callable[..., Any], workflow: Any) -> None:
        self._fn = fn
        self._workflow = workflow

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        token = current.set(self._workflow)
        try:
            return self._fn(*args, **kwargs)
        finally:
            current.reset(token)


def _as_files(value: Any) -> Any:
    if isinstance(value, (str, os.PathLike)):
        return value if isinstance(value, File) else File(value)
    if type(value) in (list, tuple, set):
        return type(value)(map(_as_files, value))
    if type(value) is dict:
        return {key: _as_files(item) for key, item in value.items()}
    return value


def _text(part: Any) -> str:
    if isinstance(part, (str, os.PathLike)):
        return os.fspath(part)
    if isinstance(part, (int, float)) and not isinstance(part, bool):
        return str(part)
    raise ConfigError(f"a command's argument must be a text, a path or a number, not {type(part).__name__}: {part!r}")


def _output_parameters(fn: Callable[..., Any], named: str | Iterable[str]) -> tuple[str, ...]:
    try:
        hints: Mapping[str, Any] = typing.get_type_hints(fn, include_extras=True)
    except Exception:  # noqa: BLE001  a hint may name what exists for type checkers only
        hints = getattr(fn, "__annotations__", {})
    found = [name for name, hint in hints.items() if name != "return" and _marks_output(hint)]
    extra = [named] if isinstance(named, str) or not isinstance(named, Iterable) else list(named)
    if extra:
        known = list(inspect.signature(fn).parameters)
        for name in extra:
            if name not in known:
                raise ConfigError(f"outputs={name!r} is not a parameter of {fn.__name__}; it has: {', '.join(known)}")
    return tuple(dict.fromkeys([*found, *extra]))


def _signature_to_bind(fn: Callable[..., Any], written: tuple[str, ...]) -> inspect.Signature | None:
    """The signature, where calls have to be bound to it: for outputs, and for files that are defaults."""
    try:
        signature = inspect.signature(fn)
    except (ValueError, TypeError):
        return None  # some built-in functions have none
    has_files = any(isinstance(parameter.default, File) for parameter in signature.parameters.values())
    return signature if written or has_files else None


def _marks_output(hint: Any) -> bool:
    if isinstance(hint, str):
        return re.search(r"\bOutput\b", hint) is not None
    if OUTPUT in getattr(hint, "__metadata__", ()):
        return True
    return any(_marks_output(part) for part in typing.get_args(hint) if not isinstance(part, str))


def make_options(word: str, settings: Mapping[str, Any], others: frozenset[str] = frozenset()) -> Options:
    """Return `Options` from the decorators' keywords; raise `ConfigError` for one that does not exist."""
    for key in settings:
        if key not in _RESOURCES and key not in _OPTIONS and key not in others:
            known = ", ".join(sorted(_RESOURCES | _OPTIONS | others))
            raise ConfigError(f"{word} has no option {key!r}; it has: {known}")
    retries = settings.get("retries", 0)
    directory = settings.get("directory")
    environment = settings.get("environment") or {}
    if not isinstance(environment, Mapping):
        raise ConfigError(f"environment={environment!r} must be a mapping of names to values")
    if directory is not None and not isinstance(directory, (str, os.PathLike)):
        raise ConfigError(f"directory={directory!r} must be a path")
    return Options(
        resources=resources(**{key: value for key, value in settings.items() if key in _RESOURCES}),
        walltime=settings.get("walltime"),
        retry=retries if isinstance(retries, Retry) else Retry(retries),
        environment=tuple((str(key), str(value)) for key, value in environment.items()),
        directory=None if directory is None else os.path.abspath(directory),
        engine=settings.get("on"),
        cache=settings.get("cache", "run"),
        relevant=_names("relevant", settings.get("relevant", ())),
    )


def _names(key: str, value: Any) -> tuple[str, ...]:
    names = (value,) if isinstance(value, str) else tuple(value) if isinstance(value, Iterable) else (value,)
    for name in names:
        if not isinstance(name, str):
            raise ConfigError(f"{key}={value!r} must be a text or texts")
    return names


@overload
def task(fn: Callable[..., R]) -> TaskFunction[R]: ...
@overload
def task(**options: Any) -> Callable[[Callable[..., R]], TaskFunction[R]]: ...
def task(fn: Callable[..., R] | None = None, **options: Any) -> Any:
    """Make a function a task: called inside a workflow, it returns a `TaskFuture` at once.

    Options, all by keyword: `cores`, `gpus` (per rank), `ranks`, `nodes`, `memory` (bytes, or "4GB"),
    `exclusive`, `walltime` (seconds), `retries` (a number or a `Retry`), `environment`, `directory`, `on` (the
    engine's name), `name`, and `outputs` (parameters, besides those annotated `Output`, that hold files it
    writes). `cache` says which result may be used again: "run", of the same call in an earlier run of the program;
    "always", of any call with the same arguments; "never". `relevant` names environment variables that belong to what
    makes calls the same. With `ranks` the function runs on each of them under MPI, is given the communicator if it
    has a parameter `comm`, and the result is the list of the ranks' results. Raises `ConfigError` for bad options.
    """
    return TaskFunction(fn, options) if fn is not None else lambda plain: TaskFunction(plain, options)


@overload
def command(fn: Callable[..., Any]) -> CommandFunction: ...
@overload
def command(**options: Any) -> Callable[[Callable[..., Any]], CommandFunction]: ...
def command(fn: Callable[..., Any] | None = None, **options: Any) -> Any:
    """Make a function that returns a command a task that runs it; the future's result is a `CommandResult`.

    A list runs as it is, a text goes to the shell, a `Command` may also set its streams. Options as for
    `task`, and `stdin`, `stdout`, `stderr`: paths, relative to `directory`; a stream without one is captured.
    With `ranks` the command is started by the MPI launcher that is found here.
    """
    return CommandFunction(fn, options) if fn is not None else lambda plain: CommandFunction(plain, options)


@overload
def join(fn: Callable[..., Any]) -> JoinFunction: ...
@overload
def join(**options: Any) -> Callable[[Callable[..., Any]], JoinFunction]: ...
def join(fn: Callable[..., Any] | None = None, **options: Any) -> Any:
    """Make a function that calls tasks a task itself: it may decide, from results, which tasks there are.

    It runs in the driver, in a thread, and should return futures, alone or nested, rather than wait for them; the
    task ends with their results in their place.
    """
    return JoinFunction(fn, options) if fn is not None else lambda plain: JoinFunction(plain, options)
