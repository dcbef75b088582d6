"""What a result is worth nothing without: machine, Python, versions, load."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


def version_of(distribution: str) -> str:
    """The installed version; "" if there is none."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return ""


def load() -> str:
    """Load average over 1, 5 and 15 minutes."""
    return " ".join(f"{value:.2f}" for value in os.getloadavg())


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def facts(distributions: list[str]) -> dict[str, str]:
    """Machine and versions."""
    usable = len(os.sched_getaffinity(0))
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    found = {"python": platform.python_version(), **{name: version_of(name) for name in distributions}}
    return {
        "machine": f"{usable} cores ({_cpu_model()}), {memory:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}",
        "versions": ", ".join(f"{name} {text or 'not installed'}" for name, text in found.items()),
    }
