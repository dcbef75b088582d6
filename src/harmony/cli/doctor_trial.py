"""One trial of ``harmony doctor``, in a process of its own: ``python -m harmony.cli.doctor_trial ORDER``.

What it finds goes, step by step, to the file that the order names; what systems print goes to stdout and stderr.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from harmony import plugins
from harmony.cli.doctor_needs import absent_commands
from harmony.errors import HarmonyError, PluginError, text_of

if TYPE_CHECKING:
    from harmony.jobs import JobExecutor, Scheduler, Shell

#: What the task of the smoke run is given, and must give back twice.
_NUMBER = 21
#: Seconds for the name and version of a command.
_PATIENCE = 10.0
#: The commands that say what system is here: the first that prints a number with a dot in it.
_VERSIONS: Mapping[str, Sequence[Sequence[str]]] = {
    "flux": [["flux", "version"]],
    "htcondor": [["condor_version"]],
    "lsf": [["bjobs", "-V"], ["lsid"]],
    "oar": [["oarstat", "--version"]],
    "slurm": [["squeue", "--version"]],
}
#: Five systems have commands of the same names, and are told apart by what ``qstat`` prints.
_QSTAT: Mapping[str, str] = {
    "cobalt": r"(?i)\bcobalt\b",
    "nqsv": r"\bNQSV?\b|request-identifier",
    "pbs": r"\bpbs_version\b|PBSPro|OpenPBS",
    "sge": r"\b[A-Z]*GE \d|Grid Engine|gridengine|act_qmaster",
    "pbs_classic": r"(?m)^[Vv]ersion: ?\d",
}
_ASK_QSTAT = (["qstat", "--version"], ["qstat", "-help"])


class Missing(Exception):
    """Something that is needed is not here; the text names it."""


class Notes:
    """What is told, a line each: a step that begins, one that has ended, a fact."""

    def __init__(self, path: str) -> None:
        self._stream = open(path, "w", encoding="utf-8")  # noqa: SIM115  as long as the process

    def tell(self, **facts: Any) -> None:
        """Write facts down."""
        self._stream.write(json.dumps(facts) + "\n")
        self._stream.flush()

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Tell that a step is under way, and how many seconds it took."""
        self.tell(begun=name)
        start = time.perf_counter()
        yield
        self.tell(ended=name, seconds=time.perf_counter() - start)


def main(text: str) -> int:
    """Do what is ordered; 0 when all went well."""
    order = json.loads(text)
    notes = Notes(order["notes"])
    trial = {"engine": try_engine, "scheduler": try_scheduler}[order["kind"]]
    try:
        trial(order, notes)
    except Missing as error:
        notes.tell(missing=str(error))
        return 0
    except BaseException as error:  # noqa: BLE001  whatever it is, it is what was asked for
        if not isinstance(error, HarmonyError):
            traceback.print_exc()
        notes.tell(problem=_sentence(error))
        return 1
    notes.tell(begun="exit")
    return 0


def _sentence(error: BaseException) -> str:
    text = text_of(error)
    return text if isinstance(error, HarmonyError) and text else f"{type(error).__name__}: {text}".removesuffix(": ")


# -- engines ----------------------------------------------------------------------------------------------


def try_engine(order: Mapping[str, Any], notes: Notes) -> None:
    """Import an engine and its system; with ``smoke``, run one call and one command on one worker of it."""
    from harmony.jobs import Here

    with notes.step("import"):
        _import_engine(order)
        _import_systems(order["packages"], order["modules"])
    for program in order["programs"]:
        if number := _number(_said(Here(), [program, "--version"])):
            notes.tell(program=program, version=number)
    if order["smoke"]:
        _smoke(order["name"], notes)


def _import_engine(order: Mapping[str, Any]) -> None:
    try:
        plugins.load(plugins.ENGINES, order["name"])
    except PluginError as error:
        cause = error.__cause__
        if isinstance(cause, ModuleNotFoundError) and not order["packages"]:  # it does not say what it needs
            raise Missing(f"the Python module {cause.name}") from error
        raise


def _import_systems(packages: Sequence[str], modules: Sequence[str]) -> None:
    from importlib import import_module
    from importlib.metadata import packages_distributions

    for module in modules:
        import_module(module)
    if packages:
        for module, owners in packages_distributions().items():
            if not set(packages).isdisjoint(owners) and module.isidentifier() and not module.startswith("_"):
                import_module(module)


def _smoke(name: str, notes: Notes) -> None:
    import harmony
    from harmony.core.engine import Capability
    from harmony.engines import make_engines

    with notes.step("start"):
        (engine,) = make_engines(name, None, workers=1).values()
        workflow = harmony.Workflow("doctor", engines={name: engine}, store=False).start()
    try:
        if Capability.CALLS in engine.capabilities:
            with notes.step("call"):
                _expect(workflow.submit(double, _NUMBER).result(), 2 * _NUMBER)
        if Capability.COMMANDS in engine.capabilities:
            with notes.step("command"):
                _expect(workflow.submit(harmony.command(echo), str(_NUMBER)).result().stdout, f"{_NUMBER}\n")
    except BaseException:
        workflow.close()
        raise
    with notes.step("close"):
        workflow.close()


def double(number: int) -> int:
    """Return twice the number: what is called."""
    return 2 * number


def echo(text: str) -> list[str]:
    """Return the command that is run."""
    return ["echo", text]


def _expect(found: object, expected: object) -> None:
    if found != expected:
        raise RuntimeError(f"the result is {found!r}, and should be {expected!r}")


# -- schedulers -------------------------------------------------------------------------------------------


def try_scheduler(order: Mapping[str, Any], notes: Notes) -> None:
    """Ask a scheduler for its version and, with ``smoke``, for this user's jobs; with ``submit``, have it run one."""
    from harmony.jobs import BatchJobExecutor, Here, JobExecutor

    with notes.step("import"):
        plugins.load("harmony.executors", order["name"])
    executor = JobExecutor.get_instance(order["name"])
    try:
        is_known = True
        if isinstance(executor, BatchJobExecutor):
            if absent := absent_commands(executor.scheduler):
                raise Missing(", ".join(absent))
            with notes.step("version"):
                is_known = _tell_version(order["name"], executor.scheduler, Here(), notes)
        if order["smoke"]:
            with notes.step("queue"):
                _ask_queue(executor, is_known)
        if order["submit"]:
            with notes.step("job"):
                _run_job(executor, order["wait"])
    finally:
        executor.close()


def _tell_version(name: str, scheduler: Scheduler, shell: Shell, notes: Notes) -> bool:
    """Tell the version; return whether this is surely the system. Raises `Missing` when it is another one."""
    if name not in _QSTAT:
        for command in _VERSIONS.get(name, ()):
            if number := _number(_said(shell, command)):
                notes.tell(program=name, version=number)
                break
        return True
    said = [_said(shell, command) for command in _ASK_QSTAT]
    found = [(other, text) for text in said for other, form in _QSTAT.items() if re.search(form, text)]
    if not found:
        return False
    other, text = found[0]
    if other != name:
        raise Missing(f"its commands (those of their names are {other}'s)")
    if number := _number(text):
        notes.tell(program=name, version=number)
    return True


def _said(shell: Shell, command: Sequence[str]) -> str:
    from harmony.jobs import CommandUnavailable

    try:
        done = shell.run(command, timeout=_PATIENCE)
    except CommandUnavailable:
        return ""
    return f"{done.out}\n{done.err}"


def _number(text: str) -> str | None:
    match = re.search(r"\b\d+\.\d[\w.]*", text)
    return match[0] if match else None


def _ask_queue(executor: JobExecutor, is_known: bool) -> None:
    try:
        executor.list()
    except HarmonyError as error:
        if is_known:
            raise
        raise Missing(f"its commands (those of their names seem to be another system's: {error})") from error


def _run_job(executor: JobExecutor, wait: float) -> None:
    from harmony.errors import EngineError
    from harmony.jobs import Job, JobAttributes, JobSpec, JobState

    job = Job(JobSpec("/bin/true", name="harmony-doctor", attributes=JobAttributes(timedelta(minutes=1))))
    executor.submit(job)
    try:
        status = job.wait(wait)
    except BaseException:
        job.cancel()
        raise
    if status is None:
        state = job.status.state.name
        job.cancel()
        raise EngineError(f"job {job.native_id} was still {state} after {wait:g} s, and was cancelled; wait longer")
    if status.state is not JobState.COMPLETED:
        raise EngineError(f"job {job.native_id} is {status.state.name}: {status.message or 'no reason was given'}")


if __name__ == "__main__":
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    code = main(sys.argv[1])
    sys.stdout.flush()
    if code:  # what has failed may also have left threads that would never end
        os._exit(code)
