"""System: the versions and the machine, as the field's community policies ask every product to tell."""

from __future__ import annotations

import glob
import os
import platform
import re
import shutil
import sys
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, requires, version
from typing import Any, NamedTuple

import harmony
from harmony import plugins
from harmony.core.mpi import find_launcher
from harmony.engines.local.slots import count_cores, find_gpus, total_memory
from harmony.errors import PluginError
from harmony.resources import format_bytes

DISTRIBUTION = "harmony-workflows"
_SHARED_MEMORY = "/dev/shm"  # noqa: S108  where the operating system has it; nothing is written
#: Extras for working on Harmony; what they bring says nothing about a run.
_DEVELOPMENT = {"bench", "dev", "examples", "rocrate", "test"}


class Requirement(NamedTuple):
    """A package that a distribution asks for: with one of its extras, or always; maybe not on every Python."""

    name: str
    constraint: str
    extra: str | None
    is_conditional: bool


def describe() -> dict[str, Any]:
    """Return versions, machine and engines, in plain values that JSON can hold; sizes in bytes.

    Imports every engine to see whether it can be, which may take seconds where big systems are installed.
    """
    return {**machine(), "engines": {name: _engine_state(name) for name in plugins.names(plugins.ENGINES)}}


def machine() -> dict[str, Any]:
    """Return what `describe` does, without the engines: nothing is imported."""
    return {
        "harmony": harmony.__version__,
        "python": {
            "version": platform.python_version(),
            "implementation": platform.python_implementation(),
            "executable": sys.executable,
        },
        "system": {"name": _system_name(), "platform": platform.platform(), "machine": platform.machine()},
        "cores": {"usable": count_cores(), "present": os.cpu_count(), "limit": _core_limit()},
        "memory": {"total": total_memory(), "available": _available_memory(), "limit": _memory_limit()},
        "gpus": {"devices": list(find_gpus(None)), "models": _gpu_models()},
        "shared_memory": _shared_memory(),
        "mpi": _mpi(),
        "packages": _packages(),
    }


def text(system: Mapping[str, Any]) -> str:
    """Return what `describe` found, for people."""
    python, where, engines = system["python"], system["system"], system["engines"]
    rows = [
        ("harmony", system["harmony"]),
        ("python", f"{python['implementation']} {python['version']}, {python['executable']}"),
        ("system", f"{where['name']}, {where['platform']}"),
        ("cores", _cores_text(system["cores"])),
        ("memory", _memory_text(system["memory"])),
        ("GPUs", _gpus_text(system["gpus"])),
        ("shared memory", _shared_memory_text(system["shared_memory"])),
        ("MPI", _mpi_text(system["mpi"])),
        ("packages", ", ".join(f"{name} {number}" for name, number in system["packages"].items())),
        *((f"engine {name}", state) for name, state in engines.items()),
    ]
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in rows)


def _cores_text(cores: Mapping[str, Any]) -> str:
    limit = f", limited to the time of {cores['limit']:g}" if cores["limit"] else ""
    return f"{cores['usable']} usable of {cores['present']}{limit}"


def _memory_text(memory: Mapping[str, Any]) -> str:
    parts = [f"{format_bytes(memory['total'])}"]
    if memory["available"] is not None:
        parts.append(f"{format_bytes(memory['available'])} available")
    if memory["limit"] is not None:
        parts.append(f"limited to {format_bytes(memory['limit'])}")
    return ", ".join(parts)


def _gpus_text(gpus: Mapping[str, Any]) -> str:
    devices, models = gpus["devices"], gpus["models"]
    if not devices:
        return "none"
    return f"{len(devices)} ({', '.join(devices)})" + (f": {', '.join(models)}" if models else "")


def _shared_memory_text(shared: Mapping[str, Any] | None) -> str:
    if shared is None:
        return f"no {_SHARED_MEMORY}"
    return f"{shared['path']}, {format_bytes(shared['total'])}, {format_bytes(shared['free'])} free"


def _mpi_text(mpi: Mapping[str, str] | None) -> str:
    if mpi is None:
        return "no launcher (mpiexec) that works"
    flavour = {"openmpi": "Open MPI", "mpich": "MPICH"}.get(mpi["flavour"], "MPI of another kind")
    return f"{flavour} {mpi['version']}".rstrip() + f", {mpi['path']}"


def _system_name() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return platform.system()


def _core_limit() -> float | None:
    """The CPU time per second that the container may use, in cores."""
    quota, _, period = (_read("/sys/fs/cgroup/cpu.max") or "max").strip().partition(" ")
    return None if quota == "max" or not period else int(quota) / int(period)


def _memory_limit() -> int | None:
    limit = (_read("/sys/fs/cgroup/memory.max") or "max").strip()
    return None if limit == "max" else int(limit)


def _available_memory() -> int | None:
    found = re.search(r"MemAvailable:\s*(\d+) kB", _read("/proc/meminfo") or "")
    return int(found[1]) * 1024 if found else None


def _gpu_models() -> list[str]:
    found = [
        re.search(r"Model:\s*(.+)", _read(path) or "") for path in glob.glob("/proc/driver/nvidia/gpus/*/information")
    ]
    return sorted({match[1].strip() for match in found if match})


def _shared_memory() -> dict[str, Any] | None:
    try:
        usage = shutil.disk_usage(_SHARED_MEMORY)
    except OSError:
        return None
    return {"path": _SHARED_MEMORY, "total": usage.total, "free": usage.free}


def _mpi() -> dict[str, str] | None:
    launcher = find_launcher()
    return None if launcher is None else asdict(launcher)


def _packages() -> dict[str, str]:
    """The versions of what is installed among what this distribution names."""
    try:
        names = [item.name for item in requirements(DISTRIBUTION) if item.extra not in _DEVELOPMENT]
    except PackageNotFoundError:  # run from its source
        names = ["click", "cloudpickle", "rich"]
    found: dict[str, str] = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return dict(sorted(found.items()))


def requirements(distribution: str) -> list[Requirement]:
    """Return what a distribution asks for, with all its extras. Raises `PackageNotFoundError`."""
    found = []
    for line in requires(distribution) or ():
        what, _, marker = line.partition(";")
        match = re.match(r"([\w.-]+)\s*(?:\[[^\]]*\])?\s*\(?([^()]*)\)?\s*$", what)
        if match is None:  # by its address
            continue
        extra = re.search(r"extra\s*==\s*['\"]([\w.-]+)['\"]", marker)
        conditions = re.sub(r"extra\s*==\s*['\"][\w.-]+['\"]", "", marker).strip()
        found.append(Requirement(match[1], match[2].strip(), extra[1] if extra else None, bool(conditions)))
    return found


def _engine_state(name: str) -> str:
    try:
        plugins.load(plugins.ENGINES, name)
    except PluginError as error:
        return str(error)
    except Exception as error:  # noqa: BLE001  a broken package must not hide the rest
        return f"cannot be imported: {type(error).__name__}: {error}"
    return "ready"


def _read(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return stream.read()
    except OSError:
        return None
