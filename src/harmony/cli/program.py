"""Run a Python program as ``python PROGRAM.py ARGS`` would, with its workflows watched."""

from __future__ import annotations

import builtins
import importlib.machinery
import io
import os
import signal
import sys
import types
from collections.abc import Callable, Sequence

from harmony.cli.ending import Ending, Terminated, catch_sigterm
from harmony.cli.watch import Watch
from harmony.errors import ConfigError
from harmony.workflow import Workflow, override

_HERE = os.path.dirname(os.path.abspath(__file__))


def run_program(path: str, arguments: Sequence[str], watch: Watch, ending: Ending) -> int:
    """Run the program in this thread; return the exit status."""

    def work() -> None:
        module = _become_main(path, arguments)
        with io.open_code(module.__file__ or path) as stream:
            code = compile(stream.read(), module.__file__ or path, "exec", dont_inherit=True)
        exec(code, module.__dict__)  # noqa: S102  it is what the user asked for

    return supervise(work, watch, ending)


def supervise(work: Callable[[], None], watch: Watch, ending: Ending) -> int:
    """Do the work with its workflows watched; tell how it ended, then report; return the exit status."""
    catch_sigterm()
    ending.finish = watch.finish
    override(watch.overrides)
    error: BaseException | None = None
    try:
        work()
    except BaseException as caught:  # noqa: BLE001  whatever ends a program is told as Python would
        error = caught
    status = _tell(error, watch, ending)
    watch.let_go()
    return status or int(watch.failed)


def _tell(error: BaseException | None, watch: Watch, ending: Ending) -> int:
    """Say why the program ended as Python would, and return the status it gave."""
    if error is None:
        watch.note_idle()
        return 0
    if isinstance(error, (KeyboardInterrupt, Terminated)):
        ending.signal = signal.SIGINT if isinstance(error, KeyboardInterrupt) else signal.SIGTERM
        print(f"interrupted by {signal.Signals(ending.signal).name}", file=sys.stderr)
        return 128 + ending.signal
    if isinstance(error, SystemExit):
        if error.code is None or isinstance(error.code, int):
            return error.code or 0
        print(error.code, file=sys.stderr)
        return 1
    if isinstance(error, ConfigError) and (options := _blamed(error, watch)):
        print(f"Error: {options}: {error}", file=sys.stderr)
        return 2
    sys.excepthook(type(error), error.with_traceback(_without_ours(error.__traceback__)), error.__traceback__)
    return 1


def _blamed(error: ConfigError, watch: Watch) -> str:
    """The options of the command line that a workflow could not be made with, or ""."""
    chosen, trace = watch.overrides, error.__traceback__
    codes = []
    while trace is not None:
        codes.append(trace.tb_frame.f_code)
        trace = trace.tb_next
    if Workflow.__init__.__code__ not in codes:
        return ""
    for name in ("engine", "site"):
        if getattr(chosen, name) is not None:
            return f"--{name} {getattr(chosen, name)}"
    if chosen.workers is not None and f"workers={chosen.workers}" in str(error):
        return f"--workers {chosen.workers}"
    return ""


def _without_ours(trace: types.TracebackType | None) -> types.TracebackType | None:
    while trace is not None and os.path.dirname(trace.tb_frame.f_code.co_filename) == _HERE:
        trace = trace.tb_next
    return trace


def _become_main(path: str, arguments: Sequence[str]) -> types.ModuleType:
    """Make the program this process's ``__main__``, for as long as it lives: threads and atexit outlast the run.

    So functions of the program are recognised as such when they are sent to other processes.
    """
    full = os.path.abspath(path)
    module = types.ModuleType("__main__")
    module.__file__ = full
    module.__loader__ = importlib.machinery.SourceFileLoader("__main__", full)
    module.__dict__.update(__builtins__=builtins, __cached__=None, __annotations__={})
    sys.modules["__main__"] = module
    sys.argv[:] = [path, *arguments]
    if not (sys.flags.isolated or getattr(sys.flags, "safe_path", False)):  # safe_path: Python 3.11 and later
        sys.path[0] = os.path.dirname(os.path.realpath(path))
    return module
