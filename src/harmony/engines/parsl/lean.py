"""Lean: what Parsl's own processes import, without what they do not need, and their end with the driver.

Importing `parsl` imports all of it: executors, providers, web clients. A node does that once for each of its processes,
one after the other, before its first task. Here the packages are empty until something is looked up in them.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import threading
import time
from multiprocessing import active_children, connection
from types import CodeType, ModuleType
from typing import Any

#: Packages whose ``__init__`` imports much that an interchange or a worker does not need.
_PACKAGES = ("parsl", "parsl.executors", "parsl.monitoring", "parsl.providers", "parsl.data_provider")
#: What is imported for a question to an outside service that is never asked.
_UNUSED = "requests"
#: Seconds between two looks at whether the process is still there that this one belongs to.
_LOOK = 1.0
#: The same for a helper that is about to be started, and might die soon after.
_UNTIL_IT_IS_THERE = 0.02


def program(name: str) -> CodeType:
    """Return the code of a program that is a module of Parsl, having imported what it imports as leanly as possible."""
    for package in (*_PACKAGES, _UNUSED):
        if package not in sys.modules:
            sys.modules[package] = hollow = _hollow(package)
            parent, _, child = package.rpartition(".")
            if parent:
                setattr(sys.modules[parent], child, hollow)
    try:
        importlib.import_module(name)
        del sys.modules[_UNUSED]  # tasks may have use for it
    except (ImportError, AttributeError):  # a Parsl whose modules depend on one another in another way
        for loaded in [module for module in sys.modules if module.partition(".")[0] == "parsl"]:
            del sys.modules[loaded]
    spec = importlib.util.find_spec(name)
    code = None if spec is None or spec.loader is None else spec.loader.get_code(name)  # type: ignore[attr-defined]
    if code is None:
        raise ImportError(f"this Parsl has no module {name}; the parsl engine needs parsl>=2025.11.3")
    assert isinstance(code, CodeType)
    return code


def _hollow(name: str) -> ModuleType:
    """Return a package that is imported at the first look for something in it that is no module of it."""
    spec = importlib.util.find_spec(name)
    if spec is None or spec.loader is None:
        raise ImportError(f"{name} is not installed; install it with: pip install 'harmony-workflows[parsl]'")
    loader, module = spec.loader, importlib.util.module_from_spec(spec)

    def fill(attribute: str) -> Any:
        inner = f"{name}.{attribute}"
        if inner in sys.modules:
            return sys.modules[inner]
        if not attribute.startswith("__") and importlib.util.find_spec(inner) is not None:
            return importlib.import_module(inner)
        if module.__dict__.pop("__getattr__", None) is None:
            raise AttributeError(f"module {name!r} has no attribute {attribute!r}")
        loader.exec_module(module)
        return getattr(module, attribute)

    module.__dict__["__getattr__"] = fill
    return module


def end_with(parent: int) -> None:
    """Have this process end soon after its parent, which is `parent`, has: Parsl leaves it behind."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_LOOK)
        os._exit(1)

    threading.Thread(target=watch, name="harmony-parsl-parent", daemon=True).start()


def end_without_helper() -> None:
    """Have this process, a node's manager, end when the helper has that it shares a table of tasks with.

    Without it no worker runs anything, while Parsl's heartbeats go on, and tasks would wait for ever.
    """

    def watch() -> None:
        while not (found := [child.sentinel for child in active_children() if child.name.startswith("SyncManager")]):
            time.sleep(_UNTIL_IT_IS_THERE)
        connection.wait(found)
        os._exit(1)

    threading.Thread(target=watch, name="harmony-parsl-helper", daemon=True).start()
