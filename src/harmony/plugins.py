"""Plug-ins: name → class by entry point, imported when it is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harmony.errors import PluginError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoints

ENGINES = "harmony.engines"


def names(group: str) -> list[str]:
    """The names registered in a group, ours and third parties' alike."""
    return sorted({point.name for point in _points(group)})


def _points(group: str) -> EntryPoints:
    from importlib.metadata import entry_points  # 30 ms, which each worker saves

    return entry_points(group=group)


def load(group: str, name: str) -> Any:
    """Import and return what `name` stands for.

    Raises `PluginError` for a name that nobody registered, or when the package it needs is missing.
    """
    points = _points(group).select(name=name)
    if not points:
        import difflib

        known = names(group)
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else "."
        kind = group.rpartition(".")[2].rstrip("s")
        raise PluginError(f"there is no {kind} {name!r}{hint} Known here: {', '.join(known) or 'none'}")
    try:
        return next(iter(points)).load()
    except ModuleNotFoundError as error:
        raise PluginError(
            f"{name!r} needs the package {error.name!r}, which is not installed; "
            f"install it with: pip install 'harmony-workflows[{name}]'"
        ) from error
