"""psij-python's module names, for programs that `import psij`: each stands for the same thing in `harmony.jobs`.

    python -m harmony.compat.psij PROGRAM ARGUMENT…     (or -m MODULE ARGUMENT…)

runs a program as it is; ``harmony.compat.psij.install()`` at its beginning does the same. Classes are Harmony's own,
not copies, so that both ways of importing them can be mixed.
"""

from __future__ import annotations

import importlib
import os
import runpy
import sys
from collections.abc import Callable, Sequence
from functools import cache
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import IO, Any

import harmony
from harmony import jobs, plugins
from harmony.errors import ConfigError
from harmony.jobs.batch import BatchJobExecutor
from harmony.jobs.executor import EXECUTORS, JobExecutor, JobExecutorConfig
from harmony.jobs.job import Job, JobStatusCallback
from harmony.jobs.state import JobStatus

#: psij-python's module → its names in `harmony.jobs`.
_SAME = {
    "psij.exceptions": "InvalidJobException InvalidStateException SubmitException",
    "psij.executors.local": "LocalJobExecutor",
    "psij.job": "Job JobStatusCallback",
    "psij.job_attributes": "JobAttributes",
    "psij.job_executor": "JobExecutor",
    "psij.job_executor_config": "JobExecutorConfig",
    "psij.job_launcher": "Launcher",
    "psij.job_spec": "JobSpec",
    "psij.job_state": "JobState",
    "psij.job_status": "JobStatus",
    "psij.resource_spec": "ResourceSpec ResourceSpecV1",
    "psij.serialize": "JSONSerializer Serializer",
    "psij.staging": "StageIn StageOut StageOutFlags StagingMode URI",
}
#: psij-python's module → its launcher and ours.
_LAUNCHERS = {
    "aprun": ("AprunLauncher", "Aprun"),
    "jsrun": ("JsrunLauncher", "Jsrun"),
    "mpirun": ("MPILauncher", "Mpirun"),
    "multiple": ("MultipleLauncher", "Multiple"),
    "single": ("SingleLauncher", "Single"),
    "srun": ("SrunLauncher", "Srun"),
}
#: The executor, which is also psij-python's module → the beginning of its classes' names there.
_BATCH = {
    "cobalt": "Cobalt", "lsf": "Lsf", "nqsv": "NQSV", "pbs": "PBS", "pbs_classic": "PBSClassic", "slurm": "Slurm",
}  # fmt: skip
_PACKAGES = ("psij", "psij.executors", "psij.executors.batch", "psij.launchers")


class FunctionJobStatusCallback(JobStatusCallback):
    """A callback that is a function."""

    def __init__(self, fn: Callable[[Job, JobStatus], None]) -> None:
        self._fn = fn

    def job_status_changed(self, job: Job, job_status: JobStatus) -> None:
        """Call the function."""
        self._fn(job, job_status)


@cache
def _executor(name: str, label: str) -> type[BatchJobExecutor]:
    """The class that psij-python has for one batch system; `JobExecutor.get_instance` makes the same without it."""

    def make(self: BatchJobExecutor, url: str | None = None, config: JobExecutorConfig | None = None) -> None:
        BatchJobExecutor.__init__(self, plugins.load(EXECUTORS, name)(), url, config)

    return type(label, (BatchJobExecutor,), {"__init__": make, "__doc__": f"Submits jobs to {name}."})


def _ours(home: str, name: str) -> Callable[[], Any]:
    return lambda: getattr(importlib.import_module(home), name)


def _executor_class(name: str, label: str) -> Callable[[], Any]:
    return lambda: _executor(name, label)


def _table() -> dict[str, dict[str, Callable[[], Any]]]:
    """Each of psij-python's modules: its names, and how to come by what they stand for."""
    config = _ours("harmony.jobs.batch", "BatchSchedulerExecutorConfig")
    base = {"BatchSchedulerExecutor": _ours("harmony.jobs.batch", "BatchJobExecutor")}
    table = {module: {name: _ours("harmony.jobs", name) for name in names.split()} for module, names in _SAME.items()}
    table["psij"] = {name: _ours("harmony.jobs", name) for name in jobs.__all__}
    table["psij.job"]["FunctionJobStatusCallback"] = lambda: FunctionJobStatusCallback
    table["psij.version"] = {"VERSION": _ours("harmony", "__version__")}
    table["psij.executors"] = dict(table["psij.executors.local"])
    table["psij.executors.batch"] = {}
    table["psij.executors.batch.batch_scheduler_executor"] = {**base, "BatchSchedulerExecutorConfig": config}
    for name, label in _BATCH.items():
        made = {f"{label}JobExecutor": _executor_class(name, f"{label}JobExecutor")}
        table["psij.executors"] |= made
        table[f"psij.executors.batch.{name}"] = {**made, f"{label}ExecutorConfig": config}
    table["psij.launchers"] = {}
    for name, (theirs, ours) in _LAUNCHERS.items():
        table[f"psij.launchers.{name}"] = {theirs: _ours(f"harmony.jobs.launchers.{name}", ours)}
        table["psij.launchers"] |= table[f"psij.launchers.{name}"]
    return table


class _Finder(MetaPathFinder, Loader):
    """Finds and makes the modules called ``psij`` and ``psij.…``; a name in them is looked up when it is first used."""

    def __init__(self) -> None:
        self._table = _table()

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> ModuleSpec | None:
        """Say that a module of psij-python's is made by `exec_module`; leave all others alone."""
        return ModuleSpec(fullname, self, is_package=fullname in _PACKAGES) if fullname in self._table else None

    def exec_module(self, module: ModuleType) -> None:
        """Give the module its names."""
        names = self._table[module.__name__]

        def look_up(name: str) -> Any:
            if name not in names:
                raise AttributeError(f"module {module.__name__!r} of harmony.compat has no attribute {name!r}")
            value = names[name]()
            setattr(module, name, value)
            return value

        vars(module).update(__getattr__=look_up, __all__=sorted(names), __doc__=f"harmony.jobs, as {module.__name__}.")


def install() -> None:
    """Have ``import psij`` give Harmony's jobs from now on, whether or not psij-python is installed.

    Raises `ConfigError` if the program has imported psij-python before.
    """
    if any(isinstance(finder, _Finder) for finder in sys.meta_path):
        return
    if "psij" in sys.modules:
        raise ConfigError("psij-python is imported already; call harmony.compat.psij.install() before that")
    sys.meta_path.insert(0, _Finder())
    BatchJobExecutor._create_script_context = _create_script_context  # type: ignore[attr-defined]
    BatchJobExecutor.generate_submit_script = _generate_submit_script  # type: ignore[attr-defined]
    JobExecutorConfig.DEFAULT = JobExecutorConfig()  # type: ignore[attr-defined]
    try:
        JobExecutor.version = importlib.import_module("packaging.version").Version(harmony.__version__)
    except ModuleNotFoundError:
        pass  # a program that lacks the package has no use for its type


def _create_script_context(executor: BatchJobExecutor, job: Job) -> dict[str, object]:
    return {"job": job}


def _generate_submit_script(executor: BatchJobExecutor, job: Job, context: object, submit_file: IO[str]) -> None:
    submit_file.write(executor.script(job))


def run(arguments: Sequence[str]) -> None:
    """Run a program as ``python PROGRAM ARGUMENT…`` or ``python -m MODULE ARGUMENT…`` does, with `install` before it.

    Raises `SystemExit` when it is given no program.
    """
    module = list(arguments[:1]) == ["-m"]
    words = list(arguments[1:] if module else arguments)
    if not words:
        raise SystemExit("usage: python -m harmony.compat.psij PROGRAM ARGUMENT…  (or -m MODULE ARGUMENT…)")
    install()
    sys.argv[:] = words
    sys.path[0] = os.getcwd() if module else os.path.dirname(os.path.realpath(words[0]))
    if module:
        runpy.run_module(words[0], run_name="__main__", alter_sys=True)
    else:
        runpy.run_path(words[0], run_name="__main__")


if __name__ == "__main__":
    importlib.import_module("harmony.compat.psij").run(sys.argv[1:])  # the module, not this copy of it
