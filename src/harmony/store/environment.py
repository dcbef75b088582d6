"""The environment of a run: what of it can be had without asking anyone."""

from __future__ import annotations

import importlib.metadata
import platform
import sys
from typing import Any


def environment() -> dict[str, Any]:
    """Return the versions of Python, the platform, Harmony and the packages that are imported by now."""
    import harmony

    packages = {}
    for name, module in list(sys.modules.items()):
        if "." in name or name.startswith("_") or name in sys.stdlib_module_names or name == "harmony":
            continue
        version = _version(name, module)
        if version is not None:
            packages[name] = version
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "harmony": harmony.__version__,
        "packages": dict(sorted(packages.items())),
    }


def _version(name: str, module: Any) -> str | None:
    told = getattr(module, "__dict__", {}).get("__version__")  # past a module's own __getattr__, which may warn
    if isinstance(told, str):
        return told
    file = getattr(module, "__dict__", {}).get("__file__") or ""
    if "site-packages" not in file and "dist-packages" not in file:
        return None
    try:
        return importlib.metadata.version(name)
    except Exception:  # noqa: BLE001  another's metadata, in whatever state
        return None
